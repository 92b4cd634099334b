"""The frozen values of a comparison, and one answer for each attribute and pair of regimes from the numbers compared and the verdicts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from proxyaudit.estimates.questions import word_of
from proxyaudit.types import Finding

Word = Literal["worse", "better", "unchanged", "not_seen", "cannot_tell"]
"""``unchanged``: the interval shows it; ``not_seen``: no difference beyond noise, and none is excluded either."""
MatchedBy = Literal["name", "role", "outputs", "joint"]
Models = Literal["given", "trained"]
"""``given``: models as such (checkpoints, activations); ``trained``: they stand for a way of training."""
Outcome = Literal["worse", "better", "no_change", "cannot_tell"]

EXIT_CODES: dict[str, int] = {"worse": 1, "cannot_tell": 3, "better": 0, "no_change": 0}
# Margins: where verdicts differ, a worsening of this many must be excluded, or the answer is "cannot be told". Where A could not
# decide itself its number lies near the margin or above, and repetitions differ more there.
RESOLVED, RESOLVED_OPEN = 2.0, 3.0
BLIND = 0.5  # of all there is to know, or of probability: where not even this much is excluded, nothing was compared
_RANK = {"removed": 0, "hidden": 1, "exposed": 2}
GAP = ("expressed", "gap")
_MAIN = ("linear", "leak"), GAP
_SUSPECT, _GROWN_MUCH = 0.1, 0.25  # level, of either direction, of a growth that is no all-clear; and of what share of the gap before
_MUST = ("linear", "expressed", "used")
_Who = tuple[str, str, str, str]
"""Attribute, its role, regime in A, regime in B."""


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
    p_gaps: float | None = None  # of a gap, after Holm's correction over the gaps alone
    paired: bool = False  # whether the interval is paired on the same rows
    laxer: bool = False  # whether B was decided at a laxer margin
    word: Word = "cannot_tell"  # what can be said
    note: str = ""  # and why, where it needs saying
    missing: str = ""  # why B has no number
    bound_a: float | None = None  # the smallest leak certified absent, where a run says it
    bound_b: float | None = None

    @property
    def bound_words(self) -> str:
        """How the bound moved, in words; empty where one of the runs says none, or both the same."""
        if self.bound_a is None or self.bound_b is None or self.bound_a == self.bound_b:
            return ""
        how = "fell" if self.bound_b < self.bound_a else "rose"
        return f"what can be read at most {how} from {self.bound_a:.3f} to {self.bound_b:.3f}"


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


Moved = Literal["more", "less", "unchanged", "cannot_tell"]
"""``unchanged``: the interval excludes a quarter more and a fifth less; ``cannot_tell``: it holds more than one answer, or nothing may be
claimed of models that were trained on other rows."""


_MOVED: dict[Moved, str] = {
    "more": "more prominent",
    "less": "less prominent",
    "unchanged": "about as prominent as before",
    "cannot_tell": "whether it is more or less prominent cannot be told",
}


@dataclass(frozen=True)
class ProminenceChange:
    """Prominence of one attribute in a pair of regimes: shares of variance, their difference (B minus A) with its 95 % interval."""

    attribute: str
    regime_a: str
    regime_b: str
    site_a: str
    site_b: str
    value_a: float
    value_b: float
    difference: float | None
    low: float | None
    high: float | None
    training_a: str | None  # what training did, in the words of each run
    training_b: str | None
    word: Moved

    @property
    def text(self) -> str:
        """One sentence."""
        where = self.regime_b if self.regime_a == self.regime_b else f"{self.regime_a} to {self.regime_b}"
        times = (
            f", {self.value_b / self.value_a:.1f} times" if min(self.value_a, self.value_b) > 0 and self.word in ("more", "less") else ""
        )
        sides = f"{self.value_a:.3f} before, {self.value_b:.3f} after, at '{self.site_b}'"
        if self.difference is None or self.low is None or self.high is None:
            between = "no interval is known"
        else:
            value, low, high = (f"{round(end, 3) + 0.0:.3f}" for end in (self.difference, self.low, self.high))
            between = f"difference {value}, 95 % interval {low} to {high}"
        return f"'{self.attribute}' in {where}: {_MOVED[self.word]}{times} ({sides}; {between}{self._no_claim()})"

    def _no_claim(self) -> str:
        """Why nothing is claimed of an interval that shows a difference."""
        excludes_zero = self.low is not None and self.high is not None and not self.low <= 0 <= self.high
        return ", which other initial weights or training rows alone may make" if self.word == "cannot_tell" and excludes_zero else ""


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
    prominence: tuple[ProminenceChange, ...] = ()  # what is known of it beside the outcomes
    changes: tuple[dict[str, Any], ...] = ()  # recorded changes that B audits, with the names in which they were signed

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


def pair_outcome(
    who: _Who, a: Finding | None, b: Finding | None, numbers: Sequence[NumberChange], models: Models, *, by_chance: bool = False
) -> PairOutcome:
    """Answer for one attribute: a number that is surely worse decides, and what :func:`_open` finds makes it "cannot be told"."""
    worse, better = ([n for n in numbers if n.word == word] for word in ("worse", "better"))
    open_ = _open(a, b, numbers)
    if by_chance and a is not None and b is not None:
        # Nothing changed that could have made it worse; verdicts that differ say how unstable they are.
        differ = (a.verdict, a.at_least) != (b.verdict, b.at_least)
        unstable = ["the verdict differs between two seeds of one recipe: it is not stable, and more repetitions or rows would settle it"]
        return outcome_of(who, a, b, "no_change", models, unstable if differ else [])
    less = [_clause(n, "less") for n in better]
    outcome: Outcome = "worse" if worse else "cannot_tell" if open_ else "better" if better else "no_change"
    return outcome_of(who, a, b, outcome, models, [*([_clause(n, "more") for n in worse] or open_), *less])


def outcome_of(who: _Who, a: Finding | None, b: Finding | None, outcome: Outcome, models: Models, reasons: Sequence[str]) -> PairOutcome:
    """An outcome with the verdicts that it stands beside."""
    verdicts = (a.verdict if a else None, b.verdict if b else None, a.at_least if a else None, b.at_least if b else None)
    return PairOutcome(*who, *verdicts, outcome, models, tuple(reasons))


def _open(a: Finding | None, b: Finding | None, numbers: Sequence[NumberChange]) -> list[str]:
    """What keeps "did not get worse" from being said; where B's verdict may be worse, states that differ must not have grown much."""
    if a is None or b is None:
        return [f"run {'A' if a is None else 'B'} has no finding for it"]
    found = [f"{place(n)}: {n.note}" for n in numbers if n.word == "cannot_tell" and n.difference is not None]
    if may_be_worse(a, b):
        # States of one kind: B's "absent" at a laxer margin is no absence at A's.
        differ = [n for n in numbers if n.state_b in ("present", "unknown") and n.state_a != n.state_b and n.state_a != "present"]
        found += [why for n in differ if (why := _unresolved(n))]
        if "inconclusive" not in (a.verdict, b.verdict):
            found.append(f"the verdict is worse ({a.verdict} before, {b.verdict} after), but no number differs by more than noise")
    main = [n for n in numbers if (n.channel, n.measure) in _MAIN]
    # Gone beyond its margin by its own interval, though not after Holm's correction: no all-clear, whatever the verdicts are.
    appeared = [n for n in numbers if n.word == "not_seen" and n.p is not None and (n.state_a, n.state_b) == ("absent", "present")]
    sure = "too unsure for a claim among so many numbers"
    found += [f"{_clause(n, 'more')}, {sure}" for n in appeared if n.low is not None and n.margin is not None and n.low > n.margin]
    grown = [n for n in main if n.word == "not_seen" and _has_grown(n)]
    found += [f"{_clause(n, 'more')}, {sure}" for n in grown]
    laxer = [n for n in numbers if n.laxer and n.difference is not None and n.state_b == "absent"]
    found += [why for n in laxer if (why := _unresolved(n))]
    gone = [n for n in main if n.value_b is None and n.value_a is not None]
    found += [f"{place(n)}: measured in A but not in B ({n.missing})" for n in gone]
    alone = [n for n in numbers if n.channel == "linear" and n.site_a is None and n.state_a is None and n.state_b in ("present", "unknown")]
    found += [f"{place(n)}: no site of A is known to be its counterpart" for n in alone]
    for channel in _MUST:
        own = [n for n in numbers if n.channel == channel]
        if any(n.value_a is not None for n in own) and all(n.value_b is None for n in own):
            found.append(f"{word_of(channel)}: measured in A but not in B")
    if a.verdict != "exposed":
        found += [f"{place(n)}: a growth of up to {n.high:.2f} cannot be excluded" for n in main if n.high is not None and n.high > BLIND]
    return list(dict.fromkeys(found))


def _has_grown(n: NumberChange) -> bool:
    """Whether a gap that is present grew by what matters, with little doubt among the gaps, if too much among all numbers."""
    if n.p_gaps is None or n.p_gaps > _SUSPECT or n.state_b != "present" or n.difference is None or n.margin is None:
        return False
    return n.difference > max(n.margin, _GROWN_MUCH * abs(n.value_a or 0.0))


def may_be_worse(a: Finding, b: Finding) -> bool:
    """Whether B's verdict could be worse than A's; an undecided one may be any from its ``at_least`` on."""
    if (a.verdict, a.at_least) == (b.verdict, b.at_least):
        return False
    least = _RANK["hidden"] if a.verdict == "inconclusive" and a.at_least else _RANK.get(a.verdict, 0)
    return _RANK.get(b.verdict, 2) > least


def _unresolved(n: NumberChange) -> str | None:
    if n.high is None or n.margin is None:
        return f"{place(n)}: {n.state_a or 'not measured'} in A, {n.state_b or 'not measured'} in B, and no difference is known ({n.note})"
    if n.high > (RESOLVED_OPEN if n.state_a == "unknown" else RESOLVED) * n.margin:
        return f"{place(n)}: {n.state_a} in A, {n.state_b} in B; a growth of up to {n.high:.3f} cannot be excluded"
    return None


def place(n: NumberChange) -> str:
    """Where a number was measured, in words."""
    site = n.site_b or n.site_a
    moved = f" ('{n.site_a}' in A)" if n.site_a and n.site_b and n.site_a != n.site_b else ""
    where = f" at '{site}'{moved}" if site else ""
    return f"{word_of(n.channel)}{f' ({n.kind})' if n.kind else ''}{where}"


def _clause(n: NumberChange, how: str) -> str:
    assert n.value_a is not None
    assert n.value_b is not None
    low, high = sorted(abs(end or 0.0) for end in (n.low, n.high))
    return f"{place(n)}: {n.value_a:.3f} before, {n.value_b:.3f} after, {how} by {abs(n.difference or 0):.3f} ({low:.3f} to {high:.3f})"
