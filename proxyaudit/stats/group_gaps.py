"""Differences in mean output: of one pair of groups, of the worst pair, within true labels, along a number, and of names over templates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Places
from proxyaudit.stats.intervals import (
    UNSHARED,
    Interval,
    Measured,
    SharedSpread,
    absent_everywhere,
    crossed_interval,
    group_floor,
    in_every_seed,
    over_seeds,
)

NOT_FLAT = "the outputs differ along this number, cut finely, by the margin, or these rows cannot tell: its halves alone prove nothing"
BINS, ROWS_PER_BIN = 64, 40
_SURELY = 2.33  # standard errors: one in a hundred
FEWEST_TEMPLATES = 3
FEWEST_DEPARTING = 5  # names of each group; of fewer a share near 0 or 1 has no error worth the name


def gap_in(
    outputs_nc: Floats, groups_n: Ints, low: int, high: int, column: int, clusters_n: Ints, rows_n: NDArray[np.bool_] | None = None
) -> Measured:
    """Difference of mean output between two groups in one model, with the row influences."""
    p = outputs_nc[:, column]
    influence, value = np.zeros(len(p)), 0.0
    for group, sign in ((high, 1.0), (low, -1.0)):
        inside = (groups_n == group) if rows_n is None else (groups_n == group) & rows_n
        mean = float(p[inside].mean())
        value += sign * mean
        influence[inside] += sign * (p[inside] - mean) / inside.sum()
    compared = groups_n if rows_n is None else np.where(rows_n, groups_n, -1)
    extra, fewest = group_floor(influence, compared, clusters_n, (low, high))
    return Measured(np.array([value]), influence, clusters_n, extra, fewest, fewest)


@dataclass(frozen=True)
class LargestGap:
    """The pair of groups and the output column that carry the evidence; the gap is oriented to be non-negative."""

    measured: Measured
    interval: Interval
    low: int
    high: int
    column: int
    present_p: float  # for "some pair is above the margin", corrected for their number
    absent_p: float  # for "every pair lies within it"

    def in_order(self) -> "LargestGap":
        """The same of the later group minus the earlier one, whichever is above."""
        if self.low < self.high:
            return self
        own = self.interval
        turned = replace(own, value=-own.value, low=-own.high, high=-own.low)
        return replace(self, measured=-self.measured, interval=turned, low=self.high, high=self.low)


def largest_gap(
    outputs_snc: Sequence[Floats],
    groups_n: Ints,
    count: int,
    clusters_n: Ints,
    margin: float,
    level: float,
    shared: SharedSpread = UNSHARED,
    places: Places = (),
) -> LargestGap:
    """Largest gap between two of ``count`` groups over pairs and output columns, with a simultaneous interval (Bonferroni).

    ``shared`` is what gaps of this audit have in common of the variance between repetitions; ``places`` are theirs, where tables were
    crossed with models.
    """
    asked = list(product(combinations(range(count), 2), range(outputs_snc[0].shape[1])))
    # The pair that carries the evidence is the one reported: the smallest p-value, of equals the largest gap.
    best: tuple[tuple[float, float], Measured, int, int, int] | None = None
    absent = 0.0
    for (a, b), column in asked:
        singles = [gap_in(outputs, groups_n, a, b, column, clusters_n) for outputs in outputs_snc]
        gap = shared.applied(over_seeds(singles, places))
        if gap.value < 0:
            singles = [-single for single in singles]
        # Twice, since the sign was taken from the data.
        key = min(1.0, 2 * len(asked) * in_every_seed(singles, margin)), -abs(gap.value)
        if best is None or key < best[0]:
            best = key, gap.oriented(), *((a, b) if gap.value >= 0 else (b, a)), column
        absent = max(absent, absent_everywhere(gap.oriented(), [m.oriented() for m in singles], margin))
    if best is None:
        raise ValueError("a gap needs two groups and an output")
    (present, _), gap, low, high, column = best
    return LargestGap(gap, crossed_interval(gap, 1 - (1 - level) / len(asked)), low, high, column, present, absent)


def gaps_within_label(
    outputs_snc: Sequence[Floats],
    groups_n: Ints,
    labels_n: Ints,
    low: int,
    high: int,
    column: int,
    clusters_n: Ints,
    fewest: int,
    places: Places = (),
    target_n: Floats | None = None,
) -> list[tuple[float, Measured]] | None:
    """The gap within each true label, with its share of the rows; ``None`` where one has fewer than ``fewest`` rows of either group.

    Where labels are bands of a number ``target_n``, what goes along with that number within the groups of a band is taken out.
    """
    gaps = []
    either = (groups_n == low) | (groups_n == high)
    for label in np.unique(labels_n[either]):
        inside = labels_n == label
        if min(int((inside & (groups_n == g)).sum()) for g in (low, high)) < fewest:
            return None  # leaving a group out would look better than it is
        asked = (groups_n, low, high, column, clusters_n, inside)
        own = [gap_in(outputs, *asked) if target_n is None else _gap_beside(outputs, target_n, *asked) for outputs in outputs_snc]
        gap = over_seeds(own, places)
        gaps.append((float((inside & either).sum() / either.sum()), gap))
    return gaps


def _gap_beside(
    outputs_nc: Floats, target_n: Floats, groups_n: Ints, low: int, high: int, column: int, clusters_n: Ints, rows_n: NDArray[np.bool_]
) -> Measured:
    """The gap among rows without what follows the target there, by one slope within both groups, whose error is counted in."""
    p, about, along = outputs_nc[:, column], np.zeros(len(target_n)), np.zeros(len(target_n))
    means = []
    for group in (low, high):
        inside = rows_n & (groups_n == group)
        means.append(float(target_n[inside].mean()))
        about[inside], along[inside] = target_n[inside] - means[-1], p[inside] - p[inside].mean()
    spread = float(about @ about)
    slope = float(about @ along) / spread if spread > 0 else 0.0
    gap = gap_in((p - slope * target_n)[:, None], groups_n, low, high, 0, clusters_n, rows_n)
    turned = about * (along - slope * about) / spread if spread > 0 else about
    return replace(gap, influence_n=gap.influence_n - (means[1] - means[0]) * turned)


def distance_in(outputs_n: Floats, groups_n: Ints, low: int, high: int, clusters_n: Ints) -> tuple[Measured, float]:
    """Largest difference between two groups in the share of rows at or below a value, and its 95th percentile were there none."""
    sides = [np.sort(outputs_n[groups_n == group]) for group in (low, high)]
    values = np.unique(np.concatenate(sides))
    apart = np.subtract(*(np.searchsorted(side, values, "right") / len(side) for side in sides))
    at = int(np.abs(apart).argmax())
    found = gap_in((outputs_n <= values[at]).astype(np.float64)[:, None], groups_n, low, high, 0, clusters_n)
    people = [len(np.unique(clusters_n[groups_n == group])) for group in (low, high)]
    return found.oriented(), float(1.358 * np.sqrt(1 / people[0] + 1 / people[1]))


def weighted_sum(gaps: Sequence[tuple[float, Measured]]) -> Measured:
    """Sum of numbers on the same rows, each times its weight."""
    seeds = np.sum([weight * gap.seed_values for weight, gap in gaps], axis=0)
    influence = np.sum([weight * gap.influence_n for weight, gap in gaps], axis=0)
    extra = sum(weight**2 * gap.extra for weight, gap in gaps)
    first, df = gaps[0][1], min(g.extra_df for _, g in gaps)
    return Measured(seeds, influence, first.clusters_n, extra, df, min(g.row_df for _, g in gaps), first.places)


def spread_along(output_n: Floats, values_n: Floats) -> tuple[float, float]:
    """Variance of an output's means over quantile bins (40 rows at least) of a number, free of the rows' noise, and its standard error."""
    bins = max(2, min(BINS, len(values_n) // ROWS_PER_BIN))
    edges = np.unique(np.quantile(values_n, np.linspace(0, 1, bins + 1)[1:-1]))
    codes = np.unique(np.searchsorted(edges, values_n, side="left"), return_inverse=True)[1]
    counts = np.bincount(codes).astype(np.float64)
    means = np.bincount(codes, weights=output_n) / counts
    n, k = len(output_n), len(counts)
    if n <= k:
        return float("nan"), float("nan")
    noise = float(((output_n - means[codes]) ** 2).sum() / (n - k))
    between = float((counts * (means - output_n.mean()) ** 2).sum() / n)
    value = between - (k - 1) * noise / n
    # Of the sum of squares: its own scatter, and its cross term with what is there.
    return value, float(np.sqrt(2 * (k - 1) * noise**2 + 4 * n * max(between, 0.0) * noise) / n)


def surely_flat(outputs: Sequence[Floats], values_n: Floats, margin: float) -> bool:
    """Whether every output ``(n, C)`` of every model surely differs by less than the margin (root mean square) along the number."""
    known = np.isfinite(values_n)
    spreads = (spread_along(output, values_n[known]) for outputs_nc in outputs for output in outputs_nc[known].T)
    return all(value + _SURELY * error < margin**2 for value, error in spreads)


# Names crossed with templates, both taken as random: neither one name nor one template can carry a claim. ``y[t, n]`` is what template t
# gives with name n, contexts averaged. The part of the variance that they share is counted in each: intervals are never too narrow.


def crossed_gap(y_tn: Floats, groups_n: Ints, low: int, high: int) -> Measured:
    """Mean of group ``high`` minus that of group ``low``; its rows are names, the templates' variance comes as ``extra``.

    With one template the claim is about that template, and names alone are random.
    """
    names = gap_in(y_tn.mean(axis=0)[:, None], groups_n, low, high, 0, np.arange(y_tn.shape[1]))
    if len(y_tn) == 1:
        return names
    gaps = y_tn[:, groups_n == high].mean(axis=1) - y_tn[:, groups_n == low].mean(axis=1)
    extra = names.extra + float(gaps.var(ddof=1)) / len(gaps)
    return replace(names, extra=extra, extra_df=min(names.row_df, float(len(gaps) - 1)))


def share_floor(y_tcn: Floats, groups_n: Ints, low: int, high: int) -> float:
    """Least variance of a difference of shares of yes: one yes and one no are added to each template and context (Agresti & Coull 1998)."""
    total = 0.0
    for group in (low, high):
        inside = y_tcn[:, :, groups_n == group]
        n = inside.shape[2] + 2
        p = (inside.sum(axis=2) + 1) / n
        total += float((p * (1 - p) / n).sum()) / p.size**2
    return total


def permutation_null(y_tn: Floats, groups_n: Ints, low: int, high: int, rng: np.random.Generator, times: int) -> Floats:
    """Absolute differences with the names dealt to the two groups anew, shape ``(times,)``."""
    means_n = y_tn.mean(axis=0)
    values = np.concatenate([means_n[groups_n == low], means_n[groups_n == high]])
    size = int((groups_n == low).sum())
    dealt = values[rng.permuted(np.tile(np.arange(len(values)), (times, 1)), axis=1)]
    return np.asarray(np.abs(dealt[:, size:].mean(axis=1) - dealt[:, :size].mean(axis=1)), dtype=np.float64)


def has_support(y_tn: Floats, groups_n: Ints, low: int, high: int) -> bool:
    """Whether enough names of each group depart from what most names give, in any template, for their spread to mean something."""
    departs = np.zeros(y_tn.shape[1], dtype=bool)
    for y_n in np.round(y_tn, 9):
        values, counts = np.unique(y_n, return_counts=True)
        departs |= y_n != values[counts.argmax()]
    return all(int(departs[groups_n == group].sum()) >= FEWEST_DEPARTING for group in (low, high))


def auroc(scores_n: Floats, positive_n: NDArray[np.bool_]) -> float:
    """Area under the ROC curve with ties counted half (Mann-Whitney)."""
    from scipy.stats import rankdata  # slow to import, and needed where something is measured alone

    positives = int(positive_n.sum())
    negatives = len(positive_n) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores_n)
    return float((ranks[positive_n].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auroc_of_classes(log2_p_nk: Floats, codes_n: Ints, classes: int) -> float:
    """Area of the second of two classes, or the mean over classes of each against the rest, from log probabilities in bits."""
    odds = log2_p_nk - np.log2(-np.expm1(log2_p_nk * np.log(2)) + 1e-300)
    areas = [auroc(odds[:, k], codes_n == k) for k in range(classes)]
    return areas[1] if classes == 2 else float(np.mean(areas))
