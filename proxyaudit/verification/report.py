"""What a verification looked at and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Check:
    """One thing that was checked."""

    name: str
    detail: str  # how much of it, or why it was skipped
    problems: tuple[str, ...] = ()  # one line per fault, each naming the file it lies in
    skipped: bool = False  # it could not be done here: another version wrote the file

    @property
    def state(self) -> Literal["passed", "failed", "skipped"]:
        """The outcome in a word."""
        return "failed" if self.problems else "skipped" if self.skipped else "passed"

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "state": self.state, "detail": self.detail, "problems": list(self.problems)}


@dataclass(frozen=True)
class Verification:
    """The outcome for one folder."""

    folder: Path
    kind: Literal["run", "mitigation"]
    checks: tuple[Check, ...] = field(default=())

    @property
    def problems(self) -> tuple[str, ...]:
        """Every fault, in the order in which it was found."""
        return tuple(problem for check in self.checks for problem in check.problems)

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names of the checks that could not be done here."""
        return tuple(check.name for check in self.checks if check.state == "skipped")

    @property
    def outcome(self) -> Literal["verified", "verified in part", "altered"]:
        """``verified`` only where everything was checked and nothing is wrong."""
        return "altered" if self.problems else "verified in part" if self.skipped else "verified"

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "folder": str(self.folder),
            "kind": self.kind,
            "verified": self.outcome == "verified",
            "outcome": self.outcome,
            "skipped": list(self.skipped),
            "checks": [check.as_dict() for check in self.checks],
            "problems": list(self.problems),
        }


def checked(name: str, detail: str, problems: Sequence[str]) -> Check:
    """A check that was done."""
    return Check(name, detail, tuple(problems))
