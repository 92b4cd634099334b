"""Cells: one channel of one attribute in one regime at one site, before and after the decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from proxyaudit.stats.intervals import Interval, Measured
from proxyaudit.stats.multiplicity import holm
from proxyaudit.types import State

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
    measure: str = ""
    subject: str | None = None
    reference_for: str | None = None
    shown_by: str | None = None
    measured: Measured | None = None
    value: float | None = None
    seed_values: Sequence[float] | None = None
    seeds: int | None = None
    shows_p: bool = False
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
