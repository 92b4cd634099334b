"""Whether rates at the declared threshold meet a policy: by the whole interval, never by the number alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from proxyaudit.estimates.scope import listed, mapping, standard_deviation
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.gating.policy import PolicySelection
from proxyaudit.types import AUDITED, Estimate

Outcome = Literal["pass", "fail", "undecided"]
_CHANNEL = "selection"
_RANK: dict[Outcome, int] = {"pass": 0, "undecided": 1, "fail": 2}
_UNCOUNTED = ("rare levels", "rare combinations")  # notes on groups of an attribute, or of an intersection, that were left out
_UNMEASURED = "the run counted none; 'selection: {threshold: 0.5}' in its recipe does"

_OF_NUMBER = "rates do not apply: the target is a number and nobody is selected; 'data: {target_threshold: ...}' in its recipe cuts it"


@dataclass(frozen=True)
class Judged:
    """The answer for one measure of one attribute in one regime: that of the group that meets the policy least."""

    measure: str
    said: str  # the number with its interval
    asked: str
    outcome: Outcome
    reason: str


def judge_selection(pack: EvidencePack, asked: PolicySelection, attribute: str, role: str | None, regime: str) -> list[Judged]:
    """One answer for each measure that the policy limits; of proxies, whose groups are not counted, none."""
    if role not in AUDITED:
        return []
    other = _other_threshold(pack, asked)
    # People of a level that is too rare to ask were selected or not all the same: what the others get does not speak for them.
    rare = next((note.why for note in pack.evidence.not_tested if note.what in {f"{attribute}: {name}" for name in _UNCOUNTED}), None)
    found = []
    for measure, limit in asked.limits().items():
        wanted = (_CHANNEL, measure, attribute, regime)
        own = [e for e in pack.evidence.estimates if (e.channel, e.measure, e.attribute, e.regime) == wanted]
        told = f"{'at most' if measure in asked.AT_MOST else 'at least'} {limit:g}"
        answers = [_judged(e, limit, at_most=measure in asked.AT_MOST) for e in own]
        none = _UNMEASURED if standard_deviation(pack.plan) is None else _OF_NUMBER
        outcome, said, reason = max(answers, key=lambda one: _RANK[one[0]], default=("undecided", "not counted", none))
        if rare is not None and outcome == "pass":
            outcome, reason = "undecided", f"rare groups were not counted: {rare}"
        if other is not None:
            outcome, reason = "fail", other
        found.append(Judged(measure, said, told, outcome, f"{measure.replace('_', ' ')}: {reason}"))
    return found


def _judged(e: Estimate, limit: float, *, at_most: bool) -> tuple[Outcome, str, str]:
    """Whether a whole interval lies on the side that is asked for."""
    if e.low is None or e.high is None:
        return "undecided", "no number", f"{_about(e)} has no number: {e.reason or 'not measured'}"
    value = "not told" if e.value is None else f"{e.value:.2f}"
    said = f"{value} ({e.low:.2f} to {e.high:.2f})"
    word = "at most" if at_most else "at least"
    good, bad = (e.high <= limit, e.low > limit) if at_most else (e.low >= limit, e.high < limit)
    side = "above" if at_most else "below"
    if bad:
        return "fail", said, f"{_about(e)}: {said}, wholly {side} {limit:g}"
    if good:
        return "pass", said, f"{_about(e)}: {said}, wholly {word} {limit:g}"
    return "undecided", said, f"{_about(e)}: {said}, and {limit:g} lies inside the interval"


def _about(e: Estimate) -> str:
    return f"{e.group} against {e.subject}" if e.subject else str(e.group or "all groups")


def _other_threshold(pack: EvidencePack, asked: PolicySelection) -> str | None:
    """Why the run counted others than the policy means, or ``None``: whoever makes a run chooses who is selected."""
    own: Mapping[str, Any] = mapping(pack.recipe, _CHANNEL)
    if not own:
        return None
    classes = [str(name) for name in listed(mapping(pack.plan, "target"), "classes")]
    outcome = own.get("outcome") or (classes[1] if len(classes) == 2 else None)
    for key, wanted, there in (("threshold", asked.threshold, own.get("threshold")), ("outcome", asked.outcome, outcome)):
        if wanted is not None and wanted != there:
            return f"the run counted at the {key} {there}, the policy asks for {wanted}"
    return None
