"""Differences between groups in mean output: of one pair, of the worst pair, and within true labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.stats.intervals import Measured, absent_everywhere, crossed_interval, group_floor, in_every_seed, over_seeds


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


def largest_gap(
    outputs_snc: Sequence[Floats], groups_n: Ints, names: Sequence[str], clusters_n: Ints, margin: float, level: float
) -> dict[str, Any]:
    """Largest gap between two groups over pairs and output columns, with a simultaneous interval (Bonferroni).

    Returns:
        ``measured`` (oriented to be non-negative), ``interval``, ``group`` ("high minus low"), ``pair``, ``column``,
        ``present_p`` (some pair, corrected for their number) and ``absent_p`` (every pair lies within the margin).
    """
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    count = len(pairs) * outputs_snc[0].shape[1]
    compared = []
    for a, b in pairs:
        for column in range(outputs_snc[0].shape[1]):
            singles = [gap_in(outputs, groups_n, a, b, column, clusters_n) for outputs in outputs_snc]
            gap = over_seeds(singles)
            if gap.value < 0:
                singles = [-single for single in singles]
            # Twice, since the sign was taken from the data.
            present = min(1.0, 2 * count * in_every_seed(singles, margin))
            compared.append(
                (present, -abs(gap.value), a, b, column, gap, absent_everywhere(gap.oriented(), [m.oriented() for m in singles], margin))
            )
    absent = max(item[-1] for item in compared)
    # The pair that carries the evidence is the one reported: the smallest p-value, of equals the largest gap.
    present, _, low, high, column, gap, _ = min(compared, key=lambda item: item[:2])
    low, high = (low, high) if gap.value >= 0 else (high, low)
    return {
        "measured": gap.oriented(),
        "interval": crossed_interval(gap.oriented(), 1 - (1 - level) / count),
        "group": f"{names[high]} minus {names[low]}",
        "pair": (low, high),
        "column": column,
        "present_p": present,
        "absent_p": absent,
    }


def gaps_within_label(
    outputs_snc: Sequence[Floats], groups_n: Ints, labels_n: Ints, low: int, high: int, column: int, clusters_n: Ints, fewest: int
) -> list[tuple[float, Measured]] | None:
    """The gap between two groups among rows of each true label, with the label's share of the rows.

    Returns ``None`` where a label has fewer than ``fewest`` rows of either group: a metric that leaves a cell
    out would look better than it is.
    """
    gaps = []
    either = (groups_n == low) | (groups_n == high)
    for label in np.unique(labels_n[either]):
        inside = labels_n == label
        if min(int((inside & (groups_n == g)).sum()) for g in (low, high)) < fewest:
            return None
        gap = over_seeds([gap_in(outputs, groups_n, low, high, column, clusters_n, inside) for outputs in outputs_snc])
        gaps.append((float((inside & either).sum() / either.sum()), gap))
    return gaps


def weighted_sum(gaps: Sequence[tuple[float, Measured]]) -> Measured:
    """Sum of numbers on the same rows, each times its weight."""
    seeds = np.sum([weight * gap.seed_values for weight, gap in gaps], axis=0)
    influence = np.sum([weight * gap.influence_n for weight, gap in gaps], axis=0)
    extra = sum(weight**2 * gap.extra for weight, gap in gaps)
    return Measured(seeds, influence, gaps[0][1].clusters_n, extra, min(g.extra_df for _, g in gaps), min(g.row_df for _, g in gaps))
