"""Many runs over time on one page: verdicts, prominence and bounds, with what changed between runs. Pure: the same runs, the same text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from proxyaudit.comparison.history import Changes, changes
from proxyaudit.comparison.outcomes import may_be_worse
from proxyaudit.comparison.records import cited
from proxyaudit.estimates.task import YARDSTICKS
from proxyaudit.evidence.changes import ChangeRecord
from proxyaudit.evidence.pack import EvidencePack, run_date
from proxyaudit.reporting.change import main_numbers, signed_words
from proxyaudit.reporting.summary import Row, summarize
from proxyaudit.reporting.text import DASH, number
from proxyaudit.reporting.words import verdict_text
from proxyaudit.types import ROLES, Estimate, Finding

Pair = tuple[str, str]
"""Attribute and regime."""


class Reading(NamedTuple):
    """What one run says of one attribute in one regime."""

    finding: Finding
    gap: Estimate | None  # its size, whichever group is ahead
    prominence: Estimate | None
    leak: Estimate | None
    bound: float | None  # the most that can be left of what was not found
    more: tuple[str, ...] = ()  # what is surely larger than in the run before: the whole interval lies above that one's
    worse: bool = False  # whether the verdict may be worse than that of the run before


@dataclass(frozen=True)
class Point:
    """One run on the line of time."""

    number: int  # from 1, the oldest
    name: str
    id: str
    date: str
    partial: bool
    changes: Changes | None  # to the run before; none of the first
    readings: Mapping[Pair, Reading]
    roles: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        head = {"number": self.number, "name": self.name, "run_id": self.id, "date": self.date, "partial": self.partial}
        changed = {} if self.changes is None else {**self.changes._asdict(), "changed": self.changes.words}
        return {**head, "changes": changed, "findings": [_told(pair, reading) for pair, reading in self.readings.items()]}


class Left(NamedTuple):
    """A run that is not shown, and why."""

    folder: str
    why: str


class RecordedChange(NamedTuple):
    """A change record, in whose names it was signed (which nobody checked), and the runs here that audit what it made."""

    folder: str
    record: ChangeRecord
    signers: tuple[str, ...]
    audits: tuple[str, ...]

    def row(self) -> tuple[str, ...]:
        """As a table shows it."""
        record, shown = self.record, {}
        for one in main_numbers(record):
            figures = [DASH if side is None or side.value is None else number(side.value) for side in (one.before, one.after)]
            shown[one.measure] = figures[1] if one.measure.endswith("_cost") else " to ".join(figures)
        known = (shown.get(name) for by in YARDSTICKS.values() for name in (by.cost, by.measure))
        task = next(filter(None, known), DASH)
        verdict = f"{record.verdict_before or DASH} to {record.verdict_after or 'open'}"
        audited = ", ".join(self.audits) or "no run here"
        return (
            f"{record.kind} {record.id[-12:]}",
            record.source.run_id,
            record.mechanism.words,
            shown.get("gap", DASH),
            task,
            verdict,
            audited,
            signed_words(self.signers),
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"folder": self.folder, **cited(self.record, self.signers), "audited_as": list(self.audits)}


@dataclass(frozen=True)
class History:
    """Runs of one or several audits over time, the oldest first in each."""

    audits: Mapping[str, tuple[Point, ...]]  # by name
    left: tuple[Left, ...]
    notes: tuple[str, ...] = ()
    changes: tuple[RecordedChange, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        runs = {name: [point.as_dict() for point in points] for name, points in self.audits.items()}
        found = {"audits": runs, "left_out": [one._asdict() for one in self.left], "notes": list(self.notes)}
        return {**found, "changes": [one.as_dict() for one in self.changes]}


def history_of(
    packs: Iterable[EvidencePack], left: Iterable[Left] = (), notes: Iterable[str] = (), changes: Iterable[RecordedChange] = ()
) -> History:
    """Arrange runs: by the name of their audit, each in the order of their dates; beside them the ``changes`` that were recorded."""
    named: dict[str, list[EvidencePack]] = {}
    for pack in sorted(packs, key=lambda pack: (pack.evidence.run.name, run_date(pack.environment), pack.evidence.run.id)):
        named.setdefault(pack.evidence.run.name, []).append(pack)
    return History({name: _points(found) for name, found in named.items()}, tuple(left), tuple(notes), tuple(changes))


def _points(packs: Sequence[EvidencePack]) -> tuple[Point, ...]:
    points: list[Point] = []
    for index, pack in enumerate(packs):
        before = packs[index - 1] if index else None
        run, was = pack.evidence.run, points[-1].readings if points else {}
        readings = {pair: _beside(reading, was.get(pair)) for pair, reading in _readings(pack).items()}
        changed = None if before is None else changes(before, pack)
        roles = {finding.attribute: str(finding.role) for finding in pack.evidence.findings}
        points.append(Point(index + 1, run.name, run.id, run_date(pack.environment), run.status != "complete", changed, readings, roles))
    return tuple(points)


def _readings(pack: EvidencePack) -> dict[Pair, Reading]:
    summary = summarize(pack)
    return {
        (view.name, row.regime): _reading(row, view.inside.own.get(row.regime) if view.inside else None, bare=summary.bare)
        for view in summary.attributes
        for row in view.rows
        if row.finding is not None
    }


def _reading(row: Row, prominence: Estimate | None, *, bare: bool) -> Reading:
    assert row.finding is not None
    bound = max(row.bounds.values(), default=None)
    return Reading(row.finding, None if bare else _size(row.gap), _known(prominence), _known(row.leak), bound)


def _known(e: Estimate | None) -> Estimate | None:
    return None if e is None or e.value is None else e


def _size(e: Estimate | None) -> Estimate | None:
    """A gap without its direction: which group is ahead may differ between runs."""
    if e is None or e.value is None:
        return None
    low, high = e.low, e.high
    if low is not None and high is not None:
        low, high = (0.0, max(-low, high)) if low <= 0 <= high else (min(abs(low), abs(high)), max(abs(low), abs(high)))
    return e.model_copy(update={"value": abs(e.value), "low": low, "high": high})


def _beside(reading: Reading, before: Reading | None) -> Reading:
    if before is None:
        return reading
    pairs = (("gap", before.gap, reading.gap), ("prominence", before.prominence, reading.prominence), ("leak", before.leak, reading.leak))
    more = tuple(name for name, old, new in pairs if _above(old, new))
    return reading._replace(more=more, worse=may_be_worse(before.finding, reading.finding))


def _above(old: Estimate | None, new: Estimate | None) -> bool:
    return old is not None and new is not None and old.high is not None and new.low is not None and new.low > old.high


def _told(pair: Pair, reading: Reading) -> dict[str, Any]:
    finding = reading.finding
    numbers = {
        name: None if e is None else {"id": e.id, "value": e.value, "low": e.low, "high": e.high}
        for name, e in (("gap", reading.gap), ("prominence", reading.prominence), ("leak", reading.leak))
    }
    said = {"attribute": pair[0], "role": finding.role, "regime": pair[1], "verdict": finding.verdict, "at_least": finding.at_least}
    training = finding.training.word if finding.training else None
    return {**said, "training": training, **numbers, "bound": reading.bound, "worse": reading.worse, "more": list(reading.more)}


def worsenings(points: Sequence[Point]) -> list[tuple[Point, Pair, str]]:
    """Where a verdict may be worse than before, or a number surely is larger: the run, of what, in words; verdicts first in each run."""
    found = []
    for before, point in pairwise(points):
        for pair, reading in point.readings.items():
            told = []
            if reading.worse:
                old = before.readings[pair].finding
                words = (verdict_text(f.verdict, f.at_least) for f in (old, reading.finding))
                told.append(" before, ".join(words) + " now")
            told += [f"more {name}" if name != "gap" else "a larger gap" for name in reading.more]
            if told:
                found.append((point, pair, "; ".join(told)))
    roles = {name: role for point in points for name, role in point.roles.items()}
    return sorted(found, key=lambda one: (one[0].number, place_of(roles.get(one[1][0])), not one[0].readings[one[1]].worse))


def place_of(role: str | None) -> int:
    """Protected attributes before intersections, and those before proxies."""
    return [*ROLES, role].index(role)
