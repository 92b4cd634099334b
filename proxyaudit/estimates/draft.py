"""Cells: one channel of one attribute in one regime at one site, before and after the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.stats.intervals import Interval, Measured, crossed_interval, group_floor, mean_influence, p_above, p_below
from proxyaudit.stats.multiplicity import holm
from proxyaudit.types import State

LEVEL = 0.95
PRESENT_AT = 0.05
FOUND = 0.8  # share of plants that a positive control must find
ABSENT_AT = 0.01


@dataclass(frozen=True)
class Draft:
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
    null_reason: str = "above the margin, but not beyond its null (permutations, or random subspaces)"
    can_be_absent: bool = False
    decides: bool = True
    raw: float | None = None
    auroc: float | None = None
    null_high: float | None = None
    detection_limit: float | None = None
    calibrated: bool = False
    n: int | None = None
    reason: str | None = None
    state: State | None = None
    extras: dict[str, Any] = field(default_factory=dict)


def decide_drafts(cells: Sequence[Draft], blocked: dict[tuple[str, str | None], str] | None = None) -> list[Draft]:
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


def _decide(cell: Draft, adjusted_p: float, blocked: str | None) -> Draft:
    if cell.measured is None or cell.present_p is None:
        return replace(cell, state="unknown", reason=cell.reason or "not measured")
    if adjusted_p <= PRESENT_AT and cell.measured.value > cell.margin:
        if blocked is not None:
            return replace(cell, state="unknown", reason=blocked)
        if cell.null_rejected:
            return replace(cell, state="present", reason=None)
        return replace(cell, state="unknown", reason=cell.null_reason)
    seeds = cell.measured.seed_values
    if len(seeds) > 1 and (seeds > cell.margin).any() and (seeds < cell.margin).any():
        return replace(cell, state="unknown", reason="unstable across seeds")
    if cell.measured.value > cell.margin and cell.present_p > PRESENT_AT:
        several = len(seeds) > 1
        more = "above the margin on average, but not surely in every trained model: more seeds or audit rows would settle it"
        if not several:
            more = "above the margin, but not surely: more rows would settle it"
            if cell.extras.get("rows_needed") and cell.n and cell.extras["rows_needed"] > cell.n:
                more = _between(replace(cell, measured=None))
        return replace(cell, state="unknown", reason=more)
    if cell.present_p <= PRESENT_AT:
        more = "above the margin here, but not after the correction for looking at many cells: more seeds or rows would settle it"
        return replace(cell, state="unknown", reason=more)
    if cell.can_be_absent and cell.absent_p is not None and cell.absent_p <= ABSENT_AT:
        return replace(cell, state="absent", reason=None)
    return replace(cell, state="unknown", reason=cell.reason or _between(cell))


def _between(cell: Draft) -> str:
    """What would settle a number between the tests of presence and absence."""
    rows, n = cell.extras.get("rows_needed"), cell.n
    if rows and n and rows > n and not (cell.measured and cell.measured.value > cell.margin):
        return f"too few audit rows to tell: about {float(f'{rows:.2g}'):,.0f} would show absence where there is none"
    return "between the tests of presence and absence: more seeds or audit rows would settle it"


def in_every_seed(singles: Sequence[Measured], margin: float) -> float:
    """p-value of "above the margin in every trained model": the largest of the single models' p-values.

    The claim is about these models, so each is tested on its own rows (an intersection-union test needs no
    correction); how much repetitions differ is shown by the interval, which crosses seeds with rows.
    """
    return max(p_above(single, margin) for single in singles)


def absent_everywhere(mean: Measured, singles: Sequence[Measured], margin: float) -> float:
    """p-value of "below the margin": in the mean over seeds, and in every single model as well."""
    return max(p_below(mean, margin), *(p_below(single, margin) for single in singles))


def over_seeds(singles: Sequence[Measured]) -> Measured:
    """The mean over seeds of numbers measured on the same rows."""
    return Measured(
        np.concatenate([m.seed_values for m in singles]),
        mean_influence([m.influence_n for m in singles]),
        singles[0].clusters_n,
        max(m.extra for m in singles),
        min(m.extra_df for m in singles),
        min(m.row_df for m in singles),
    )


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


def effect_draft(
    base: Draft, per_seed: Sequence[dict[str, Any]], arrays: Sequence[dict[str, NDArray[Any]]], key: str, clusters_n: Ints
) -> Draft:
    """Fill a cell with an interchange effect: ``max(|mean tau|, sqrt(mean tau1 tau2))`` minus that of random subspaces.

    The branch (``signed`` or ``per-row``) is taken on the mean over seeds.
    """
    signed = np.array([cell["signed"] for cell in per_seed])
    root = float(np.sqrt(max(0.0, float(np.mean([cell["product"] for cell in per_seed])))))
    branch = "signed" if abs(signed.mean()) >= root else "per-row"
    sign = 1.0 if signed.mean() >= 0 else -1.0
    singles, random = [], []
    for cell, a in zip(per_seed, arrays, strict=True):
        random.append(float(np.mean(cell["random"])) if cell["random"] else 0.0)
        size, influence = sign * cell["signed"], sign * a[key + "signed"]
        if branch == "per-row":
            size = float(np.sqrt(max(0.0, cell["product"])))
            influence = a[key + "product"] / (2 * max(size, root / 2))
        # Each part of the audit rows had subspaces of its own: how much the parts differ is the error of the directions,
        # which no row influence carries. A feature that the head ignores would seem used without it.
        parts = [sign * one if branch == "signed" else float(np.sqrt(max(0.0, other))) for one, other in cell["parts"]]
        extra = float(np.var(parts, ddof=1)) / len(parts) if len(parts) > 1 else float("inf")
        singles.append(Measured(np.array([size - random[-1]]), influence, clusters_n, extra, float(max(len(parts) - 1, 1))))
    measured = over_seeds(singles)
    # Where no model exceeds the margin no null was needed.
    nulls = [cell["null"] for cell in per_seed]
    null_high = float(np.quantile(np.mean(nulls, axis=0), 0.95)) if all(nulls) else None
    return replace(
        base,
        measured=measured,
        interval=crossed_interval(measured),
        context=branch,
        present_p=in_every_seed(singles, base.margin),
        absent_p=absent_everywhere(measured, singles, base.margin),
        null_rejected=null_high is not None and measured.value + float(np.mean(random)) > null_high,
        null_high=null_high,
        n=per_seed[0]["n"],
    )
