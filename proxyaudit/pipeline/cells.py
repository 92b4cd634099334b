"""Cells: one channel of one attribute in one regime at one site, before and after the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.stats.intervals import Interval, Measured, crossed_interval, mean_influence, p_above, p_below
from proxyaudit.stats.multiplicity import holm
from proxyaudit.stats.nulls import permutation_p
from proxyaudit.types import State

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRESENT_AT = 0.05
ABSENT_AT = 0.01


@dataclass(frozen=True)
class Cell:
    """A number on its way to a state.

    ``present_p`` and ``absent_p`` are the margin tests; ``null_rejected`` is the permutation null where the channel
    has one. ``can_be_absent`` is false where this version has no test of absence that could be relied on.
    """

    channel: str
    attribute: str
    regime: str
    site: str | None = None
    context: str | None = None
    group: str | None = None
    measured: Measured | None = None
    interval: Interval | None = None
    margin: float = 0.0
    unit: str = ""
    method: str = ""
    present_p: float | None = None
    absent_p: float | None = None
    null_rejected: bool = True
    can_be_absent: bool = False
    absent_in_every_seed: bool = True
    decides: bool = True
    raw: float | None = None
    auroc: float | None = None
    null_high: float | None = None
    n: int | None = None
    reason: str | None = None
    state: State | None = None
    extras: dict[str, Any] = field(default_factory=dict)


def decide_cells(cells: Sequence[Cell], blocked: dict[tuple[str, str | None], str] | None = None) -> list[Cell]:
    """Give the cells of one regime their states: Holm over all that decide.

    Args:
        cells: Cells of one regime.
        blocked: ``(attribute, site)`` whose negative control failed, with the reason; presence is disabled there.
    """
    blocked = blocked or {}
    deciding = [index for index, cell in enumerate(cells) if cell.decides and cell.present_p is not None]
    adjusted = dict(zip(deciding, holm([float(cells[i].present_p or 0.0) for i in deciding]) if deciding else [], strict=True))
    decided = []
    for index, cell in enumerate(cells):
        if not cell.decides:
            decided.append(cell)
            continue
        decided.append(_decide(cell, adjusted.get(index, 1.0), blocked.get((cell.attribute, cell.site))))
    return decided


def _decide(cell: Cell, adjusted_p: float, blocked: str | None) -> Cell:
    if cell.measured is None or cell.present_p is None:
        return replace(cell, state="unknown", reason=cell.reason or "not measured")
    if adjusted_p <= PRESENT_AT and cell.measured.value > cell.margin:
        if blocked is not None:
            return replace(cell, state="unknown", reason=blocked)
        if cell.null_rejected:
            return replace(cell, state="present", reason=None)
        return replace(cell, state="unknown", reason="above the margin, but not beyond the permutation null")
    seeds = cell.measured.seed_values
    if len(seeds) > 1 and (seeds > cell.margin).any() and (seeds < cell.margin).any():
        return replace(cell, state="unknown", reason="unstable across seeds")
    if cell.can_be_absent and cell.absent_p is not None and cell.absent_p <= ABSENT_AT and cell.absent_in_every_seed:
        return replace(cell, state="absent", reason=None)
    return replace(
        cell, state="unknown", reason=cell.reason or "between the tests of presence and absence: more audit rows would settle it"
    )


def leak_cell(
    base: Cell, per_seed: Sequence[dict[str, Any]], arrays: Sequence[dict[str, NDArray[Any]]], key: str, clusters_n: Ints
) -> Cell:
    """Fill a cell with the cross-fitted leak of one attribute at one site.

    Args:
        base: The cell with its names, margin and unit.
        per_seed: The measured numbers of each seed.
        arrays: The measured arrays of each seed.
        key: Prefix of the arrays' keys; ``influence`` and ``null`` are appended.
        clusters_n: Cluster id of each audit row.
    """
    missing = [cell["reason"] for cell in per_seed if cell["leak"] is None]
    if missing or not per_seed:
        return replace(base, reason=missing[0] if missing else "the training or capture of this regime failed")
    measured = Measured(np.array([cell["leak"] for cell in per_seed]), mean_influence([a[key + "influence"] for a in arrays]), clusters_n)
    statistic = sum(cell["statistic"] for cell in per_seed)
    null = np.sum([a[key + "null"] for a in arrays], axis=0)
    null_p = permutation_p(statistic, null)
    floor = [value for cell in per_seed for value in cell["floor"]]
    areas = [cell["auroc"] for cell in per_seed]
    every = all(
        p_below(Measured(np.array([cell["leak"]]), a[key + "influence"], clusters_n), base.margin) <= ABSENT_AT
        for cell, a in zip(per_seed, arrays, strict=True)
    )
    return replace(
        base,
        measured=measured,
        interval=crossed_interval(measured),
        raw=measured.value,
        auroc=float(np.mean(areas)) if all(area is not None for area in areas) else None,
        null_high=float(np.quantile(floor, 0.95)) if floor else None,
        present_p=p_above(measured, base.margin),
        absent_p=p_below(measured, base.margin),
        absent_in_every_seed=every,
        null_rejected=null_p <= PRESENT_AT,
        n=per_seed[0]["n"],
        reason=base.reason,
        extras={"null_p": null_p, "floor": floor, "statistic": statistic},
    )


def gap_measured(
    outputs_snc: Sequence[Floats], groups_n: Ints, low: int, high: int, column: int, clusters_n: Ints, weight_n: Floats | None = None
) -> Measured:
    """Difference of mean output between two groups, each seed's value and the row influences on the mean."""
    weight = np.ones(len(groups_n)) if weight_n is None else weight_n
    influences, values = [], []
    for outputs in outputs_snc:
        p = outputs[:, column]
        influence, value = np.zeros(len(p)), 0.0
        for group, sign in ((high, 1.0), (low, -1.0)):
            mass = weight * (groups_n == group)
            mean = float((mass * p).sum() / mass.sum())
            value += sign * mean
            influence += sign * mass * (p - mean) / mass.sum()
        values.append(value)
        influences.append(influence)
    return Measured(np.array(values), mean_influence(influences), clusters_n)


def largest_gap(
    outputs_snc: Sequence[Floats], groups_n: Ints, names: Sequence[str], clusters_n: Ints, margin: float, level: float
) -> dict[str, Any]:
    """Largest gap between two groups over pairs and output columns, with a simultaneous interval (Bonferroni).

    Returns:
        ``measured`` (oriented to be non-negative), ``interval``, ``group`` ("high minus low"), ``column``, ``present_p``,
        ``absent_p`` (every pair must lie within the margin) and ``absent_in_every_seed``.
    """
    pairs = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names))]
    columns = range(outputs_snc[0].shape[1])
    compared = [(a, b, c, gap_measured(outputs_snc, groups_n, a, b, c, clusters_n)) for a, b in pairs for c in columns]
    count = len(compared)
    present = min(min(1.0, 2 * count * p_above(gap.oriented(), margin)) for *_, gap in compared)
    absent = max(p_below(gap.oriented(), margin) for *_, gap in compared)
    every = all(
        p_below(gap_measured([outputs], groups_n, a, b, c, clusters_n).oriented(), margin) <= ABSENT_AT
        for outputs in outputs_snc
        for a, b, c, _ in compared
    )
    low, high, column, gap = max(compared, key=lambda item: abs(item[3].value))
    low, high = (low, high) if gap.value >= 0 else (high, low)
    oriented = gap.oriented()
    return {
        "measured": oriented,
        "interval": crossed_interval(oriented, 1 - (1 - level) / count),
        "group": f"{names[high]} minus {names[low]}",
        "pair": (low, high),
        "column": column,
        "present_p": present,
        "absent_p": absent,
        "absent_in_every_seed": every,
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
        gap = gap_measured(outputs_snc, groups_n, low, high, column, clusters_n, inside.astype(np.float64))
        gaps.append((float((inside & either).sum() / either.sum()), gap))
    return gaps


def weighted_sum(gaps: Sequence[tuple[float, Measured]]) -> Measured:
    """Sum of numbers on the same rows, each times its weight."""
    seeds = np.sum([weight * gap.seed_values for weight, gap in gaps], axis=0)
    influence = np.sum([weight * gap.influence_n for weight, gap in gaps], axis=0)
    return Measured(seeds, influence, gaps[0][1].clusters_n)


def effect_measured(
    per_seed: Sequence[dict[str, Any]], arrays: Sequence[dict[str, NDArray[Any]]], key: str, clusters_n: Ints
) -> tuple[Measured, str, float]:
    """Interchange effect minus that of random subspaces, the branch that decided, and the 95 % point of its null.

    ``max(|mean tau|, sqrt(mean tau1 tau2))``: the branch is taken on the mean over seeds.
    """
    signed = np.array([cell["signed"] for cell in per_seed])
    product = np.array([cell["product"] for cell in per_seed])
    random = np.array([float(np.mean(cell["random"])) for cell in per_seed])
    null = np.mean([cell["null"] for cell in per_seed], axis=0)
    root = float(np.sqrt(max(0.0, product.mean())))
    if abs(signed.mean()) >= root:
        sign = 1.0 if signed.mean() >= 0 else -1.0
        influence = sign * mean_influence([a[key + "signed"] for a in arrays])
        return Measured(sign * signed - random, influence, clusters_n), "signed", float(np.quantile(null, 0.95))
    influence = mean_influence([a[key + "product"] for a in arrays]) / (2 * root)
    return Measured(np.sqrt(np.maximum(product, 0.0)) - random, influence, clusters_n), "per-row", float(np.quantile(null, 0.95))
