"""Presence and absence of one attribute at one site: the observed score statistic among planted ones.

*Absent* where nearly every plant at the margin scores higher, in every family; *present* where nearly none does, and
a permutation of the labels does not reach it either. What lies between is *unknown*, with the rows that would settle it.

Rows that stand alone are planted by drawing labels. Beside them, and alone where rows belong together, stand
plants on the attribute's own noise: its values with random signs (one sign for each cluster) plus the planted excess
probability, which keeps whatever pattern the attribute has within clusters and classes of unequal covariance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.probes.own_noise import own_directions, score_ratio
from proxyaudit.probes.results import PlantedTest
from proxyaudit.probes.score import ScoreStatistic, flipped, indicator_columns, permuted, standardise
from proxyaudit.stats.directions import (
    LINEAR_FAMILIES,
    QUADRATIC_FAMILIES,
    Rows,
    least_favourable,
    linear_directions,
    quadratic,
)
from proxyaudit.stats.nulls import permutation_p
from proxyaudit.stats.spike_in import Plant, Prior, plant_values, plants_at_leak
from proxyaudit.stats.standard_curve import StandardCurve, fit_curve, tail_counts

Streams = Callable[[str], np.random.Generator]

PLANTS = 199
CURVE_PLANTS = 50
PERMUTATIONS = 999
_STRENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_STRONGEST = 0.9
_DIRECTIONS = 67  # distinct directions of a family; each is drawn several times
_SEVERAL_DIRECTIONS = 40  # the same for an attribute with several classes
_PER_DIMENSION = 16  # outputs have one or two dimensions: there are no more directions than that to tell apart
_AT_ONCE = 512
_RAREST = "rarest class"  # the class whose leak moves the statistic least, apart from all others
_LESS = 0.8  # of what an even plant moves the score by; nearer to one the difference is noise
_QUADRATIC_PERMUTATIONS = 399  # each costs as much as rows have pairs


@dataclass(frozen=True)
class Target:
    """Labels of one attribute on whitened rows.

    Attributes:
        labels_n: Codes from 0, or numbers.
        classes: Number of classes; 0 for numbers.
        prior: Rates of the classes; ``None`` for numbers.
        clusters_n: Rows that belong together; ``None`` where every row stands alone.
    """

    labels_n: NDArray[np.generic]
    classes: int
    prior: Prior | None
    clusters_n: Ints | None = None

    @property
    def weights(self) -> Floats:
        """Weight of each class in the statistic, one over its odds: a leak counts by how far a class is off, not by how common it is."""
        if self.prior is None or self.classes == 2:
            return np.ones(1)
        weights = 1 / self.prior.rates_k - 1
        return np.asarray(weights / weights.mean())

    @staticmethod
    def of_codes(codes_n: Ints, classes: int, clusters_n: Ints | None = None, strata_n: Ints | None = None) -> Target:
        """A categorical attribute with the rates that it has, within strata if there are any."""
        return Target(codes_n, classes, Prior.of_codes(codes_n, classes, strata_n), clusters_n)

    @staticmethod
    def of_values(values_n: Floats, clusters_n: Ints | None = None) -> Target:
        """A continuous attribute."""
        return Target(np.asarray(values_n, dtype=np.float64), 0, None, clusters_n)


def planted_test(
    statistic: ScoreStatistic,
    target: Target,
    margin: float,
    streams: Streams,
    *,
    plants: int = PLANTS,
    permutations: int = PERMUTATIONS,
) -> PlantedTest:
    """Compare an attribute's score statistic with planted ones.

    Args:
        statistic: The statistic on the site's rows.
        target: The attribute on the same rows.
        margin: Leak that matters.
        streams: Gives a generator for each purpose; equal purposes give equal draws, so that sites and models are paired.
        plants: Plants in each family.
        permutations: Size of the null.
    """
    rows = statistic.rows
    if statistic.channel == "nonlinear":
        permutations = min(permutations, _QUADRATIC_PERMUTATIONS)
    prepared = [statistic.prepare(columns) for columns in indicator_columns(target.labels_n[:, None], target.classes)]
    if rows.rank == 0 or not any(e.any() for e in prepared):
        return _nothing_there(rows.n, permutations, "the site, or the attribute, is constant")
    if all(block.rank >= block.rows.stop - block.rows.start - 1 for block in rows.blocks):
        # What differs between labellings then is rounding noise.
        return _nothing_there(rows.n, permutations, "as many dimensions as rows: every labelling fits them equally well")
    scored = [statistic.of_prepared(e) for e in prepared]
    score = float(target.weights @ [s.scores_m[0] for s in scored])
    planter = _Planter(statistic, target, streams)
    null = planter.null(permutations)
    null_high = float(np.quantile(null, 0.95))
    at_margin = planter.at_margin(margin, plants)
    if not any(name.startswith("isotropic") for name in at_margin):
        return _nothing_there(rows.n, permutations, "no direction can carry a leak of the margin on these rows")
    families = {name: tail_counts(score, planted) for name, planted in at_margin.items()}
    leaks, scores = planter.series(margin, null)
    curve = fit_curve(leaks, scores)
    reading = _read_off(statistic, target, curve, score, prepared, list(at_margin.values()), streams("halves"))
    limit, needed = curve.detection_limit(null_high), curve.rows_needed(rows.n, margin)
    twice = scores[leaks.index(2 * margin)] if 2 * margin in leaks else scores[-1]
    shares = np.asarray(target.weights @ np.stack([s.shares_n for s in scored]))
    return PlantedTest(
        score=score,
        p_present=max(p for p, _ in families.values()),
        p_absent=max(p for _, p in families.values()),
        families=families,
        null=null,
        null_p=permutation_p(score, null),
        leak=reading.leak,
        low=reading.low,
        high=reading.high,
        influence_n=_influence(shares, curve, reading.leak, target.clusters_n) / reading.ratio,
        detection_limit=None if limit is None or limit > reading.weakest else limit / reading.weakest,
        null_high=max(curve.calibrate(null_high)[0], 0.0),
        found_once=min(float((p > null_high).mean()) for p in at_margin.values()),
        found_twice=float((twice > null_high).mean()),
        rows_needed=None if needed is None else int(np.ceil(needed / reading.weakest)),
        curve=curve,
    )


@dataclass(frozen=True)
class _Reading:
    """A score read off the standard curve of even plants.

    Attributes:
        leak: The leak; ``low`` and ``high`` its interval.
        low: Lower end.
        high: Upper end.
        ratio: Signal along the attribute's own direction over that of an even plant.
        weakest: How much less the family that moves the score least moves it.
    """

    leak: float
    low: float
    high: float
    ratio: float
    weakest: float


def _read_off(
    statistic: ScoreStatistic,
    target: Target,
    curve: StandardCurve,
    score: float,
    prepared: Sequence[Singles],
    at_margin: Sequence[Floats],
    rng: np.random.Generator,
) -> _Reading:
    """Read a score off the curve, corrected for directions that move it by more or less than an even one."""
    quadratic_score = statistic.channel == "nonlinear"
    ratio, weakest, strongest = 1.0, 1.0, 1.0
    apart = _families_apart(at_margin, float(curve.means[0]))
    if quadratic_score or target.classes > 2:
        weakest, strongest = apart
    if target.classes or quadratic_score:  # R squared and the linear statistic are one and the same
        own = own_directions(statistic, prepared, target.clusters_n, rng)
        ratio = score_ratio(statistic, own, target.prior, target.weights, curve, score)
        if quadratic_score:
            # Below one it is mostly noise in the direction, here; what reads too high is corrected.
            ratio = max(1.0, ratio)
        elif ratio < _LESS:
            # The direction is known up to noise, which is even: what reads too low may be lower still.
            weakest = min(weakest, apart[0] / ratio)
    even_low = curve.calibrate(score)[1]
    leak, low, high = curve.calibrate(curve.means[0] + (score - curve.means[0]) / ratio)
    low = min(low, even_low / strongest if strongest > 1 or ratio < 1 else low)
    return _Reading(leak, low, min(1.0, high / weakest), ratio, weakest)


def _families_apart(at_margin: Sequence[Floats], null_mean: float) -> tuple[float, float]:
    """How much less, and how much more, a family of the same leak moves the score than the first one, the curve's own."""
    signals = [float(planted.mean()) - null_mean for planted in at_margin]
    ratios = [signal / signals[0] for signal in signals if signals[0] > 0] or [1.0]
    return max(min(1.0, *ratios), 0.1), max(1.0, *ratios)


def _nothing_there(n: int, permutations: int, reason: str) -> PlantedTest:
    return PlantedTest(reason, null=np.zeros(permutations), influence_n=np.zeros(n))


def _influence(shares_n: Floats, curve: StandardCurve, leak: float, clusters_n: Ints | None) -> Floats:
    """Row influences on the calibrated leak: their shape from the score, their whole variance from the curve."""
    shares = shares_n - shares_n.mean()
    sums = shares if clusters_n is None else np.bincount(np.unique(clusters_n, return_inverse=True)[1], weights=shares)
    spread = float(np.sqrt(sums @ sums))
    return np.asarray(shares * (curve.sd_of_leak(leak) / spread)) if spread > 0 else np.zeros(len(shares))


class _Planter:
    """Planted scores of one attribute at one site."""

    def __init__(self, statistic: ScoreStatistic, target: Target, streams: Streams) -> None:
        self.statistic, self.target, self.streams = statistic, target, streams
        self.rows: Rows = statistic.rows
        # Whole labels, linear part included: what a linear fit leaves of them has lost more in clusters of high leverage,
        # and with turned signs it would lose it twice.
        self.noise = [standardise(self.rows, columns) for columns in indicator_columns(target.labels_n[:, None], target.classes)]
        # Labels drawn row by row would lack the attribute's pattern within clusters.
        self.wild_only = target.clusters_n is not None
        self.heavy: Singles | None = None
        self.plants: dict[tuple[str, float, int], list[Plant | None]] = {}

    def families(self) -> list[tuple[str, bool]]:
        """Families to compare with, each with whether its noise is the attribute's own."""
        names = list(LINEAR_FAMILIES if self.statistic.channel == "linear" else QUADRATIC_FAMILIES)
        if self.target.classes == 0 and "heavy" in names:
            names.remove("heavy")  # R squared and the statistic are one and the same: no direction is less favourable
        if self.target.classes > 2:
            names.append(_RAREST)
        if self.wild_only:
            return [(name, True) for name in names]
        return [*((name, False) for name in names), *((name, True) for name in names if name in ("isotropic", "heavy", _RAREST))]

    def null(self, count: int) -> Floats:
        """Statistics of permuted labels; of turned signs where rows belong together."""
        rng = self.streams("permutations")
        if self.wild_only:
            return self._own_noise(None, count, rng)
        parts = []
        for start in range(0, count, _AT_ONCE):
            labels = permuted(self.rows, _small(self.target.labels_n), min(_AT_ONCE, count - start), rng)
            parts.append(self.statistic.of_labels(labels, self.target.classes, self.target.weights))
        return np.concatenate(parts)

    def at_margin(self, margin: float, count: int) -> dict[str, Floats]:
        """Statistics of the plants of each family that can hold that much, by its name."""
        found = {}
        for family, wild in self.families():
            planted = self.plant(family, margin, count, wild=wild)
            if planted is not None:
                found[f"{family}, own noise" if wild else family] = planted
        return found

    def series(self, margin: float, null: Floats) -> tuple[list[float], list[Floats]]:
        """Leaks from zero upwards, and the statistics of even plants at each."""
        leaks, scores = [0.0], [null]
        for leak in (margin * times for times in _STRENGTHS):
            if leak > _STRONGEST and len(leaks) > 3:
                break
            planted = self.plant("isotropic", min(leak, _STRONGEST), CURVE_PLANTS, wild=self.wild_only)
            if planted is not None:
                leaks.append(min(leak, _STRONGEST))
                scores.append(planted)
        return leaks, scores

    def plant(self, family: str, leak: float, count: int, *, wild: bool) -> Floats | None:
        """Statistics of ``count`` plants, or ``None`` where the family cannot carry the leak."""
        if self.target.classes == 0:
            return self._plant_values(family, leak, count, wild)
        found = self._class_plants(family, leak, count)
        usable = [plant for plant in found if plant is not None]
        if not usable:
            return None
        rng = self.streams(f"draws {family}" + (", own noise" if wild else ""))
        if wild:
            # Columns in turn use the plants in turn.
            width = min(count, len(usable))
            means = [np.stack([self._excess(usable[i], k) for i in range(width)], axis=1) for k in self._classes()]
            return self._own_noise([m[:, np.arange(count) % m.shape[1]] for m in means], count, rng)
        each = -(-count // len(usable))
        labels = np.concatenate([plant.draw_many(each, rng) for plant in usable], axis=1)
        labels = labels[:, np.argsort(np.arange(labels.shape[1]) % each, kind="stable")[:count]]
        return np.concatenate(
            [
                self.statistic.of_labels(labels[:, start : start + _AT_ONCE], self.target.classes, self.target.weights)
                for start in range(0, count, _AT_ONCE)
            ]
        )

    def _classes(self) -> list[int]:
        return [1] if self.target.classes == 2 else list(range(self.target.classes))

    def _excess(self, plant: Plant, k: int) -> Singles:
        prior = self.target.prior
        assert prior is not None
        known = np.exp(prior.log_nk[:, k])
        spread = np.sqrt(float(((np.asarray(self.target.labels_n) == k) - known).var()))
        return np.asarray((plant.probabilities_nk[:, k] - known) / max(spread, 1e-9), dtype=np.float32)

    def _own_noise(self, means: list[Singles] | None, count: int, rng: np.random.Generator) -> Floats:
        """Statistics of the attribute with turned signs, plus planted means (one matrix for each class column)."""
        scores = np.zeros(count)
        for start in range(0, count, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, count))
            signs = flipped(self.target.clusters_n, self.rows.n, part.stop - part.start, rng)
            for index, e in enumerate(self.noise):
                columns = signs * e
                if self.statistic.channel == "nonlinear":
                    columns = self.statistic.prepare(columns)
                if means is not None:
                    mean = means[index][:, part]
                    if self.statistic.channel == "nonlinear":
                        mean = self.rows.residual(mean)
                    size = np.minimum((mean**2).mean(axis=0), np.float32(0.99))
                    columns = columns * np.sqrt(1 - size) + mean
                scores[part] += self.target.weights[index] * self.statistic.of_prepared(columns).scores_m
        return scores

    def _directions(self, family: str, count: int, rng: np.random.Generator) -> Singles | None:
        if self.statistic.channel == "nonlinear":
            found = quadratic(self.rows, family, count, rng)
            found = found[:, found.any(axis=0)]
            return found if found.shape[1] else None
        if family == "heavy":
            return None if self.heavy is None else np.repeat(self.heavy[:, None], count, axis=1)
        return linear_directions(self.rows, family, count, rng)

    def _class_plants(self, family: str, leak: float, count: int) -> list[Plant | None]:
        """Plants of a family at a leak; those of few directions are made once and drawn often."""
        if (family, leak, count) not in self.plants:
            self.plants[family, leak, count] = self._make_plants(family, leak, count)
        return self.plants[family, leak, count]

    def _make_plants(self, family: str, leak: float, count: int) -> list[Plant | None]:
        prior, classes = self.target.prior, self.target.classes
        assert prior is not None
        if family == "heavy":
            self.heavy = least_favourable(self.rows, prior, leak, self.streams("least favourable"))
        rng = self.streams(f"directions {family}")
        few = (family in ("low", "high", "heavy", "norm") and self.statistic.channel == "linear") or family == "norm"
        if classes == 2:
            distinct = min(-(-count // 2) if count <= CURVE_PLANTS else _DIRECTIONS, count, _PER_DIMENSION * self.rows.rank)
            found = self._directions(family, (1 if family in ("heavy", "norm") else 2) if few else distinct, rng)
            if found is None:
                return []
            if few and family in ("low", "high"):
                found = np.stack([found[:, 0], -found[:, 0]], axis=1)
            if family == "norm":
                found = np.concatenate([found, -found], axis=1)
            return plants_at_leak(found, prior, leak)
        distinct = min(count, 8 if few else min(_SEVERAL_DIRECTIONS, _PER_DIMENSION * self.rows.rank))
        together = family == "isotropic"
        found = self._directions("isotropic" if family == _RAREST else family, distinct * (classes - 1 if together else 1), rng)
        if found is None:
            return []
        if together:
            return plants_at_leak(_class_scores(found, classes, distinct, rng), prior, leak)
        signs = np.ones(distinct) if family == "heavy" else (-1.0) ** np.arange(distinct)
        scores = found[:, np.arange(distinct) % found.shape[1]] * signs.astype(np.float32)
        return plants_at_leak(scores, prior, leak, chosen=int(prior.rates_k.argmin()))

    def _plant_values(self, family: str, leak: float, count: int, wild: bool) -> Floats | None:
        found = self._directions(family, count, self.streams(f"directions {family}"))
        if found is None:
            return None
        found = found[:, np.arange(count) % found.shape[1]]
        rng = self.streams(f"draws {family}" + (", own noise" if wild else ""))
        if wild:
            return self._own_noise([found * np.float32(np.sqrt(leak))], count, rng)
        noise = permuted(self.rows, self.noise[0][:, 0], count, rng)
        return self.statistic.of_labels(plant_values(found, noise, leak), 0)


def _class_scores(found_nm: Singles, classes: int, distinct: int, rng: np.random.Generator) -> Singles:
    """Scores ``(n, K, distinct)`` of several classes: a direction for each class but one."""
    scores = np.zeros((len(found_nm), classes, distinct), dtype=np.float32)
    for index in range(distinct):
        columns = np.arange(index * (classes - 1), (index + 1) * (classes - 1)) % found_nm.shape[1]
        scores[:, rng.permutation(classes)[1:], index] = found_nm[:, columns]
    return scores


def _small(labels_n: NDArray[np.generic]) -> NDArray[np.generic]:
    return labels_n.astype(np.int8) if labels_n.dtype.kind in "iu" else labels_n.astype(np.float32)
