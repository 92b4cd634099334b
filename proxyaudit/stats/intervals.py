"""Intervals for numbers measured on one set of rows by several independently trained models.

Seeds are crossed with rows, not nested in them. The variance of the mean over seeds is therefore ``s_seed**2 / S + s_row**2``.
``influence_n[i]`` is row i's share of the sampling error of the mean over seeds, so that the row variance is the sum over clusters of the
squared cluster sums.

Satterthwaite's degrees of freedom of that sum (Satterthwaite 1946) are far too many where two or three seeds vary little by chance: at
level .01 a test errs in up to .049 of cases with two seeds and .024 with three. Half-widths whose squares add up, each part's variance
times the square of its own quantile of Student's t, err at most as often as they say, whatever the variances (Banerjee 1960). Absence
rests on them. Of intervals, 95 % of which are to hold the truth, such would be wider than they need be (``_usual_half``).

Where models were trained on each of several synthetic tables, what tables and models bring is told apart (``stats/components.py``).

Two or three repetitions hardly tell how much repetitions differ. Numbers measured alike in one audit (gaps of several attributes, in
several regimes) tell it together: the variance of each is drawn towards what they have in common (Smyth 2004).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from proxyaudit.arrays import Floats, Ints, Places
from proxyaudit.later import Later
from proxyaudit.stats.components import Part, Spread
from proxyaudit.stats.laws import t_quantile, t_tail
from proxyaudit.stats.p_values import ABSENT_AT
from proxyaudit.stats.pools import Pool

special = Later("scipy.special")  # slow to load, and needless for commands that read evidence

LEVEL = 0.95
_SMALLEST_P, _LARGEST_P = 1e-30, 0.4999
FEWEST_FOR_NEXT = 3  # repetitions that tell where the next one may lie


@dataclass(frozen=True)
class Measured:
    """One number before it is judged."""

    seed_values: Floats  # the number in each seed, shape (S,)
    influence_n: Floats  # row influences on the mean over seeds, in the unit of the number
    clusters_n: Ints  # cluster id of each row
    extra: float = 0.0  # variance that the influences do not carry (a floor for small groups, an estimated direction)
    extra_df: float = float("inf")
    row_df: float = float("inf")  # upper bound on the degrees of freedom of the rows: those of the smallest group compared
    places: Places = ()  # table and model of each repetition, where tables were crossed with models
    prior: Mapping[str, Part] = field(default_factory=dict)  # mean squares between repetitions as other numbers tell them, by source

    @property
    def value(self) -> float:
        """Mean over seeds."""
        return float(self.seed_values.mean())

    def __sub__(self, other: "Measured") -> "Measured":
        """Paired difference on the same rows; repetitions are paired where both have as many, or the same models."""
        extra = self.extra + other.extra
        extra_df = min(self.extra_df, other.extra_df)
        matched = _matched(self, other)
        seeds = self.seed_values - (other.value if matched is None else matched)
        # The other's repetitions vary too, and that must not be lost.
        if matched is None and other.places and (spread := Spread.of(other.seed_values, other.places)) is not None:
            variance, df = spread.of_mean({})
            extra, extra_df = extra + variance, min(extra_df, df)
        elif matched is None and not other.places and len(other.seed_values) > 1:
            extra += float(other.seed_values.var(ddof=1)) / len(other.seed_values)
            extra_df = min(extra_df, len(other.seed_values) - 1)
        row_df = min(self.row_df, other.row_df)
        return Measured(seeds, self.influence_n - other.influence_n, self.clusters_n, extra, extra_df, row_df, self.places)

    def __neg__(self) -> "Measured":
        """The number with its sign turned."""
        return replace(self, seed_values=-self.seed_values, influence_n=-self.influence_n)

    def oriented(self) -> "Measured":
        """The number with the sign that makes its mean non-negative."""
        return self if self.value >= 0 else -self


@dataclass(frozen=True)
class Interval:
    """A two-sided interval with the standard error and degrees of freedom behind it."""

    value: float
    low: float
    high: float
    se: float
    df: float


def _matched(mine: Measured, other: Measured) -> Floats | None:
    """The other's value that belongs to each of mine: of the same place, or of the same model where the other has one table."""
    if mine.places == other.places:
        return other.seed_values if len(mine.seed_values) == len(other.seed_values) else None
    by_model = {model: value for (_, model), value in zip(other.places, other.seed_values, strict=False)}
    if len({table for table, _ in other.places}) != 1 or not mine.places or not {model for _, model in mine.places} <= by_model.keys():
        return None
    return np.array([by_model[model] for _, model in mine.places])


def cluster_sums(influence_n: Floats, clusters_n: Ints) -> Floats:
    """Sum rows within clusters; returns shape ``(number of clusters,)``."""
    return np.asarray(np.bincount(clusters_n, weights=influence_n), dtype=np.float64)


def row_variance(influence_n: Floats, clusters_n: Ints) -> tuple[float, int]:
    """Variance of a sum of independent cluster influences, and the number of clusters."""
    sums = cluster_sums(influence_n, clusters_n)
    count = int(np.count_nonzero(np.bincount(clusters_n)))
    if count < 2:
        return float("inf"), count
    return float(sums @ sums) * count / (count - 1), count


def _variance_and_df(measured: Measured, *, another: bool = False) -> tuple[float, float]:
    """Variance of the mean and its degrees of freedom; of ``another`` repetition, what it differs by from the mean."""
    rows, clusters = row_variance(measured.influence_n, measured.clusters_n)
    parts = [(rows, max(min(float(clusters - 1), measured.row_df), 1.0)), (measured.extra, max(measured.extra_df, 1.0))]
    spread = Spread.of(measured.seed_values, measured.places)
    if spread is not None:
        parts.append((spread.of_next if another else spread.of_mean)(measured.prior))
    return _satterthwaite(parts)


def _satterthwaite(parts: Sequence[Part]) -> Part:
    total = sum(variance for variance, _ in parts)
    if total == 0 or not np.isfinite(total):
        return total, 1.0
    return total, float(total**2 / sum(variance**2 / df for variance, df in parts))


def _without_repetitions(measured: Measured) -> Part:
    """The variance that rows and what they do not carry bring, with its degrees of freedom."""
    return _variance_and_df(replace(measured, seed_values=measured.seed_values[:1], places=()))


def _sure_half(parts: Sequence[Part], p: float) -> float:
    """Half of an interval that leaves out at most ``p`` on either side, from independent parts of the variance (Banerjee 1960)."""
    return float(np.sqrt(sum(variance * special.stdtrit(df, p) ** 2 for variance, df in parts if variance > 0)))


def _usual_half(parts: Sequence[Part], p: float) -> float:
    """Half of an interval as published: its square lies between Satterthwaite's and Banerjee's, nearer to his the fewer degrees of freedom.

    Whatever the variances, such a 95 % interval holds the truth in at least 93.3 %; Banerjee's is often much wider than it need be.
    """
    total, df = _satterthwaite(parts)
    share = 0.5 ** min(df for variance, df in parts if variance > 0)
    return float(np.sqrt(share * _sure_half(parts, p) ** 2 + (1 - share) * total * special.stdtrit(df, p) ** 2))


def parts_of_variance(measured: Measured) -> tuple[float, float]:
    """What rows bring of the mean's variance, and what repetitions do."""
    spread = Spread.of(measured.seed_values, measured.places)
    rows = row_variance(measured.influence_n, measured.clusters_n)[0] + measured.extra
    return rows, 0.0 if spread is None else spread.of_mean(measured.prior)[0]


def group_floor(influence_n: Floats, groups_n: Ints, clusters_n: Ints, groups: Sequence[int]) -> tuple[float, float]:
    """Variance that small groups lack, and the degrees of freedom of the smallest (effective clusters minus one).

    A rare group that by chance holds no unusual value has a sample variance near zero, a group of one cluster exactly none. Each group's
    share of the variance is therefore at least what the pooled spread gives for its number of rows and clusters. The influence of a row is
    ``(x_i - mean of its group) * c / n_group``.
    """
    inside = [groups_n == group for group in groups]
    counts = [int(rows.sum()) for rows in inside]
    pooled = sum(float((influence_n[rows] ** 2).sum()) * n**2 for rows, n in zip(inside, counts, strict=True)) / max(sum(counts), 1)
    missing, fewest = 0.0, float("inf")
    for rows, n in zip(inside, counts, strict=True):
        if n == 0:
            return float("inf"), 1.0
        ids = np.unique(clusters_n[rows], return_inverse=True)[1]
        share = float((np.bincount(ids).astype(np.float64) ** 2).sum()) / n**2  # 1 / effective clusters
        own = float((np.bincount(ids, weights=influence_n[rows]) ** 2).sum())
        missing += max(0.0, pooled * share - own)
        fewest = min(fewest, 1 / share - 1)
    return missing, fewest


def distinct_seeds(seed_values: Floats) -> Floats:
    """Seed values with identical repetitions collapsed: two equal runs are one run."""
    return np.unique(seed_values)


def crossed_interval(measured: Measured, level: float = 0.95) -> Interval:
    """Interval of the mean over seeds, seeds crossed with rows."""
    return _interval(measured, level)


def next_interval(measured: Measured, level: float = 0.95) -> Interval | None:
    """Prediction interval for one more repetition, rows included; ``None`` where fewer than three differ."""
    if len(distinct_seeds(measured.seed_values)) < FEWEST_FOR_NEXT:
        return None
    return _interval(measured, level, another=True)


def _interval(measured: Measured, level: float, *, another: bool = False) -> Interval:
    variance, df = _variance_and_df(measured, another=another)
    se, half = float(np.sqrt(variance)), float("inf")
    if np.isfinite(se):
        spread = Spread.of(measured.seed_values, measured.places)
        if spread is None:
            half = float(t_quantile(0.5 + level / 2, df)) * se
        else:
            between = (spread.of_next if another else spread.of_mean)(measured.prior)
            half = _usual_half([_without_repetitions(measured), between], (1 - level) / 2)
    return Interval(measured.value, measured.value - half, measured.value + half, se, df)


def p_above(measured: Measured, margin: float) -> float:
    """One-sided p-value of the hypothesis that the number is at most ``margin``."""
    interval = crossed_interval(measured)
    if not np.isfinite(interval.se):
        return 1.0
    if interval.se == 0:
        return 0.0 if interval.value > margin else 1.0
    return t_tail((interval.value - margin) / interval.se, interval.df)


def p_below(measured: Measured, margin: float) -> float:
    """One-sided p-value of the hypothesis that the number is at least ``margin``: what absence rests on.

    Other numbers never make it surer than its own repetitions are. That one varies three times as much as the others is seldom seen in
    two or three repetitions, and the mean would be called absent several times as often as the level says. They may make it less sure: at
    level .01 the 95 % interval must not hold the margin either.
    """
    spread = Spread.of(measured.seed_values, measured.places)
    if spread is None:
        return p_above(-measured, -margin)
    rows, distance = _without_repetitions(measured), margin - measured.value
    if not np.isfinite(rows[0]):
        return 1.0
    alone, shared = ([rows, *spread.alone()], [rows, spread.of_mean(measured.prior)])
    return max(_p_of(_sure_half, alone, distance), _p_of(_usual_half, shared, distance) * 2 * ABSENT_AT / (1 - LEVEL))


def _p_of(half: Callable[[Sequence[Part], float], float], parts: Sequence[Part], distance: float) -> float:
    """The share left out on that side by an interval about a number which ends so far from it."""
    if distance < 0:
        return 1.0 - _p_of(half, parts, -distance)
    if distance <= half(parts, _LARGEST_P):
        return 0.5
    if distance >= half(parts, _SMALLEST_P):
        return _SMALLEST_P
    from scipy.optimize import brentq  # slow to import, and seldom needed

    found = brentq(lambda log: half(parts, float(np.exp(log))) - distance, np.log(_SMALLEST_P), np.log(_LARGEST_P))
    return float(np.exp(found))


@dataclass(frozen=True)
class SharedSpread:
    """What numbers measured alike have in common of the variance between repetitions, by its source (``stats/pools.py``).

    The size that variances are compared with has the number's row error in it; of a mean whose sign turns from model to model, also the
    mean square behind it (``size2``).
    """

    pools: Mapping[str, Pool] = field(default_factory=dict)

    @classmethod
    def of(cls, numbers: Iterable[tuple[Measured, float]]) -> Self:
        """From numbers with repetitions, each with its ``size2``; nothing is shared where they are few, or unlike each other."""
        found: defaultdict[str, list[tuple[Part, float]]] = defaultdict(list)
        for number, size2 in numbers:
            spread, scale = Spread.of(number.seed_values, number.places), _scale(number, size2)
            if spread is not None and 0 < scale < np.inf:
                for source, square in spread.squares.items():
                    found[source].append((square, scale))
        pools = {source: Pool.of(squares) for source, squares in found.items()}
        return cls({source: pool for source, pool in pools.items() if pool is not None})

    def applied(self, measured: Measured, size2: float = 0.0) -> Measured:
        """The number, which is one of them or like one, with the variance between its repetitions drawn towards what is shared."""
        spread, scale = Spread.of(measured.seed_values, measured.places), _scale(measured, size2)
        if not self.pools or spread is None or not 0 < scale < np.inf:
            return measured
        told = {source: pool.told(spread.squares[source], scale) for source, pool in self.pools.items() if source in spread.squares}
        return replace(measured, prior=told)


UNSHARED = SharedSpread()  # each number for itself


@dataclass(frozen=True)
class SharedSpreads:
    """What effects of one audit have in common of the variance between models: signed ones, and products of donor halves."""

    signed: SharedSpread = UNSHARED
    product: SharedSpread = UNSHARED

    @classmethod
    def of(cls, pairs: Sequence[tuple[Measured, Measured]]) -> Self:
        """From signed effects and products that were measured alike, each in several models."""
        signed = SharedSpread.of((signed, max(product.value, 0.0)) for signed, product in pairs)
        return cls(signed, SharedSpread.of((product, 0.0) for _, product in pairs))

    def applied(self, signed: Measured, product: Measured) -> tuple[Measured, Measured]:
        """Both numbers of an effect with what is shared of their variance between models."""
        return self.signed.applied(signed, max(product.value, 0.0)), self.product.applied(product)


ALONE = SharedSpreads()  # each effect for itself


def _scale(measured: Measured, size2: float) -> float:
    return measured.value**2 + size2 + row_variance(measured.influence_n, measured.clusters_n)[0]


def fieller_ratio(top: Measured, bottom: Measured, level: float = 0.95) -> Interval | None:
    """Fieller's interval of ``top / bottom`` for two numbers on the same rows (Fieller 1954); ``None`` where it is unbounded."""
    a, b = top.value, bottom.value
    var_a, df_a = _variance_and_df(top)
    var_b, df_b = _variance_and_df(bottom)
    var_d, _ = _variance_and_df(top - bottom)
    covariance = (var_a + var_b - var_d) / 2
    t = float(t_quantile(0.5 + level / 2, min(df_a, df_b)))
    g = t**2 * var_b / b**2 if b else float("inf")
    if not np.isfinite(g) or g >= 1 or not np.isfinite(var_a):
        return None
    ratio = a / b
    centre = (ratio - g * covariance / var_b) / (1 - g) if var_b > 0 else ratio
    inside = var_a - 2 * ratio * covariance + ratio**2 * var_b - (g * (var_a - covariance**2 / var_b) if var_b > 0 else 0.0)
    half = t / (abs(b) * (1 - g)) * float(np.sqrt(max(inside, 0.0)))
    return Interval(ratio, centre - half, centre + half, half / t if t else 0.0, min(df_a, df_b))


def in_every_seed(singles: Sequence[Measured], margin: float) -> float:
    """p-value of "above the margin in every trained model": the largest of the single models' (an intersection-union test)."""
    return max(p_above(single, margin) for single in singles)


def absent_everywhere(mean: Measured, singles: Sequence[Measured], margin: float) -> float:
    """p-value of "below the margin": in the mean over seeds, and in every single model as well."""
    return max(p_below(mean, margin), *(p_below(single, margin) for single in singles))


def over_seeds(singles: Sequence[Measured], places: Places = ()) -> Measured:
    """The mean over seeds of numbers measured on the same rows; ``places`` of all repetitions, where tables were crossed with models."""
    seeds, influence = np.concatenate([m.seed_values for m in singles]), np.mean([m.influence_n for m in singles], axis=0)
    extra, extra_df = max(m.extra for m in singles), min(m.extra_df for m in singles)
    found = Measured(seeds, influence, singles[0].clusters_n, extra, extra_df, min(m.row_df for m in singles))
    return placed(found, places)


def placed(measured: Measured, places: Places) -> Measured:
    """The number with the table and the model of each of its repetitions."""
    values = measured.seed_values
    if len(places) == len(values):
        return replace(measured, places=places)
    if places and len(distinct_seeds(values)) > 1:
        # Which of them were measured is not known here: together they say no more than one of them.
        extra_df = min(measured.extra_df, len(values) - 1.0)
        return replace(measured, extra=measured.extra + float(values.var(ddof=1)), extra_df=extra_df)
    return measured
