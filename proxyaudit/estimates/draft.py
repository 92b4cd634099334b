"""Drafts: one number of one attribute in one regime at one site, on its way to publication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from proxyaudit.stats.intervals import Interval, Measured
from proxyaudit.types import State

PRESENT_AT = 0.05
ABSENT_AT = 0.01
FOUND = 0.8  # share of plants that a positive control must find
NEGATIVE_FAILED: Final = "the negative control failed: a permuted attribute was found here too"
TURNED: Final = "the gap has turned its direction"

Outcome = Literal[
    "asks nothing", "not measured", "blocked", "within its null", "present", "unstable", "unsure", "corrected", "absent", "between"
]
"""How a number came to its state; what is said beside an unknown depends on it."""


@dataclass(frozen=True)
class Draft:
    """A number on its way to a state.

    ``present_p`` and ``absent_p`` are the margin tests; ``null_rejected`` is the permutation null where the channel
    has one. ``can_be_absent`` is false where this version has no test of absence that could be relied on. ``more`` is what would settle
    it, where that is no seeds and no rows.
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
    more: str | None = None
    state: State | None = None
    extras: dict[str, Any] = field(default_factory=dict)


def reason_of(draft: Draft, outcome: Outcome) -> str | None:
    """Why a number is unknown and what would settle it; ``None`` where nothing is to be said."""
    if outcome in ("present", "absent"):
        return None
    fixed = {"blocked": NEGATIVE_FAILED, "within its null": draft.null_reason, "unstable": "unstable across seeds"}
    if outcome in fixed:
        return fixed[outcome]
    if outcome == "unsure":
        return _unsure(draft)
    if outcome == "corrected":
        more = draft.more or "more seeds or rows"
        return f"above the margin here, but not after the correction for looking at many cells: {more} would settle it"
    return draft.reason or (_between(draft) if outcome == "between" else "not measured")


def _unsure(draft: Draft) -> str:
    if draft.measured is not None and len(draft.measured.seed_values) > 1:
        more = draft.more or "more seeds or audit rows"
        return f"above the margin on average, but not surely in every trained model: {more} would settle it"
    return _rows_needed(draft) or f"above the margin, but not surely: {draft.more or 'more rows'} would settle it"


def _between(draft: Draft) -> str:
    """What would settle a number between the tests of presence and absence."""
    more = draft.more or "more seeds or audit rows"
    below = draft.measured is None or draft.measured.value <= draft.margin
    return (_rows_needed(draft) if below else None) or f"between the tests of presence and absence: {more} would settle it"


def _rows_needed(draft: Draft) -> str | None:
    rows, n = draft.extras.get("rows_needed"), draft.n
    if not rows or not n or rows <= n:
        return None
    return f"too few audit rows to tell: about {float(f'{rows:.2g}'):,.0f} would show absence where there is none"
