"""The frozen values of a comparison and their JSON form."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Word = Literal["worse", "better", "unchanged", "not_seen", "cannot_tell"]
"""``unchanged``: the interval shows it; ``not_seen``: no difference beyond noise, and none is excluded either."""
MatchedBy = Literal["name", "role", "outputs", "joint"]
Models = Literal["given", "trained"]
"""``given``: models as such (checkpoints, activations); ``trained``: they stand for a way of training."""
Outcome = Literal["worse", "better", "no_change", "cannot_tell"]

EXIT_CODES: dict[str, int] = {"worse": 1, "cannot_tell": 3, "better": 0, "no_change": 0}


@dataclass(frozen=True)
class NumberChange:
    """One number of B beside its counterpart in A; ``None`` stands where a run has none."""

    attribute: str
    channel: str
    measure: str
    subject: str | None
    kind: str  # measure and subject in words (gap, output leak, learned trace, ...); empty for the plain number
    regime_a: str
    regime_b: str
    site_a: str | None  # None for outputs
    site_b: str | None
    matched_by: MatchedBy
    id_a: str | None
    id_b: str | None
    state_a: str | None
    state_b: str | None
    value_a: float | None  # calibrated, in ``unit``
    value_b: float | None
    margin: float | None  # smallest amount that matters, in ``unit``: the stricter of both runs
    unit: str
    difference: float | None = None  # B minus A, with its 95 % interval
    low: float | None = None
    high: float | None = None
    p: float | None = None  # two-sided, of no difference
    p_adjusted: float | None = None  # after Holm's correction over all numbers of the comparison
    paired: bool = False  # whether the interval is paired on the same rows
    laxer: bool = False  # whether B was decided at a laxer margin
    word: Word = "cannot_tell"  # what can be said
    note: str = ""  # and why, where it needs saying
    missing: str = ""  # why B has no number


@dataclass(frozen=True)
class PairOutcome:
    """The answer for one attribute and one pair of regimes, with a clause for each reason."""

    attribute: str
    role: str
    regime_a: str
    regime_b: str  # empty where B has none
    verdict_a: str | None  # None where a run has no finding
    verdict_b: str | None
    at_least_a: str | None
    at_least_b: str | None
    outcome: Outcome
    models: Models
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class RunName:
    """What identifies a run for readers."""

    name: str
    id: str
    status: str
    plan_digest: str


@dataclass(frozen=True)
class Comparison:
    """Everything that changed between two runs, or between regimes of one: ``a`` is compared with (before), ``b`` is judged (after)."""

    a: RunName
    b: RunName
    regimes: tuple[tuple[str, str], ...]
    same_rows: bool  # whether both measured the same rows, so that intervals could be paired
    outcomes: tuple[PairOutcome, ...]
    numbers: tuple[NumberChange, ...]
    notes: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """The worst of the outcomes: ``worse``, then ``cannot_tell``, then ``better``, then ``no_change``."""
        found = {pair.outcome for pair in self.outcomes}
        return next((word for word in ("worse", "cannot_tell", "better") if word in found), "no_change")

    @property
    def exit_code(self) -> int:
        """What ``proxyaudit compare`` returns: 1 got worse, 3 cannot be told, else 0."""
        return EXIT_CODES[self.outcome]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"outcome": self.outcome, "exit_code": self.exit_code, **asdict(self)}
