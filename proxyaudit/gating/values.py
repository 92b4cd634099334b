"""The frozen values of a gate and their JSON form."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Outcome = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True)
class GateCase:
    """The answer for one attribute in one regime, or for one attribute against the baseline."""

    kind: Literal["verdict", "baseline"]
    attribute: str
    regime: str
    verdict: str  # for the baseline the outcome of the comparison
    at_least: str | None  # what is certain of an inconclusive verdict
    allowed: tuple[str, ...]  # verdicts that the policy allows here
    outcome: Outcome
    reason: str
    detail: str = ""  # the finding's own sentence, or the comparison's reasons


@dataclass(frozen=True)
class GateResult:
    """What a gate decided of a run."""

    run: str
    run_id: str
    plan_digest: str
    status: str
    cases: tuple[GateCase, ...]
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """5 where a task of the run failed, 1 where the policy is not met, 3 where that cannot be told, else 0."""
        if self.status != "complete":
            return 5
        found = {case.outcome for case in self.cases}
        return 1 if "fail" in found else 3 if "undecided" in found or not self.cases else 0

    @property
    def outcome(self) -> str:
        """The same as a word."""
        return {0: "pass", 1: "fail", 3: "undecided", 5: "partial"}[self.exit_code]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"outcome": self.outcome, "exit_code": self.exit_code, **asdict(self)}
