"""Conclude: from published numbers and controls to findings. Pure and total, so that ``verify`` concludes again and compares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from proxyaudit.estimates.contrasts import contrasts
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.numbers import Numbers, What
from proxyaudit.estimates.scope import Scope
from proxyaudit.estimates.sentences import Concluded, sentence, would_settle
from proxyaudit.estimates.verdicts import Decision, change_word, encoding_word
from proxyaudit.types import Basis, Change, ChangeWord, Control, Estimate, Evidence, Finding, NotTested, Origin, OriginWord, RunInfo, State

_LEVEL: Final = 0.05  # of the two tests that the basis rests on
_BASES: Final[Mapping[State, Basis]] = {"present": "beyond_label", "absent": "explained_by_label"}


def evidence_of(
    ledger: Ledger,
    scope: Scope,
    plan: Mapping[str, Any],
    not_tested: Sequence[NotTested],
    *,
    status: Literal["complete", "partial"] = "complete",
    facts: Facts | None = None,
) -> Evidence:
    """The whole of a decided ledger: its contrasts are published, then everything is concluded; ``facts`` where models were trained."""
    ledger.publish(contrasts(ledger, scope, facts))
    names = {"id": plan["run_id"], "name": plan["name"], "plan_digest": plan["digest"], "versions": plan["versions"], "seed": plan["seed"]}
    return Evidence(
        run=RunInfo(status=status, **names),
        findings=conclude(ledger.estimates, ledger.controls, scope),
        estimates=tuple(ledger.estimates),
        controls=tuple(ledger.controls),
        not_tested=tuple(not_tested),
    )


def conclude(estimates: Iterable[Estimate], controls: Iterable[Control], scope: Scope) -> tuple[Finding, ...]:
    """Findings in the order attributes x regimes; attributes that could not be measured come last."""
    numbers, controls = Numbers(estimates, scope), tuple(controls)
    found = [_finding(numbers, controls, attribute, regime) for attribute in scope.roles for regime in scope.regimes]
    unfit = [_unfit(name, why, regime) for name, why in scope.unfit.items() for regime in scope.regimes]
    return (*found, *unfit)


def _finding(numbers: Numbers, controls: tuple[Control, ...], attribute: str, regime: str) -> Finding:
    decision, own = numbers.decision(attribute, regime), numbers.own(attribute, regime)
    encoding, retention, _ = _changed(numbers, attribute, regime, "encoding", decision)
    use, _, turned = _changed(numbers, attribute, regime, "use", decision)
    change, origin, basis = Change(encoding=encoding, use=use), _origin(numbers, attribute, regime, decision), None
    if numbers.scope.surface == "activations":
        basis = _basis_of_activations(numbers, attribute, regime, decision)
    elif "expressed" in decision.use:
        basis = _basis(numbers, attribute, regime)
    about = Concluded(attribute, regime, decision, tuple(own), change, origin, basis, turned)
    return Finding(
        attribute=attribute,
        role=numbers.scope.roles[attribute],
        regime=regime,
        **vars(decision),
        basis=basis,
        origin=origin,
        change=change,
        retention=retention,
        sentence=sentence(about, numbers),
        decided_by=tuple(e.id for e in own if e.channel in decision.mechanisms and e.state in ("present", "absent")),
        would_settle=would_settle(about, numbers),
        control_refs=tuple(c.id for c in controls if c.regime == regime and c.attribute in (attribute, None)),
    )


def _unfit(name: str, why: str, regime: str) -> Finding:
    return Finding(
        attribute=name,
        role="protected",
        regime=regime,
        verdict="inconclusive",
        encoding="unknown",
        use=("unknown",),
        recoverable=("unknown",),
        origin=Origin(encoding="not_applicable", use="not_applicable"),
        change=Change(encoding="unknown", use="not_applicable"),
        sentence=f"The data cannot tell whether '{name}' is in the activations of '{regime}': {why}.",
        would_settle="rows of at least two groups, or values that vary",
    )


def _changed(numbers: Numbers, attribute: str, regime: str, what: What, decision: Decision) -> tuple[ChangeWord, str | None, bool]:
    """The word of change against real training, the id of the ratio, and whether the gap turned its direction."""
    scope = numbers.scope
    unasked = (scope.surface, what) in (("activations", "use"), ("prompts", "encoding"))
    # Models that answer prompts are compared only where one of them was named.
    if unasked or regime == scope.real or (scope.surface == "prompts" and scope.real is None):
        return "not_applicable", None, False
    if what == "use" and numbers.find("change", attribute, regime, measure="use_difference_turned") is not None:
        return "unknown", None, True
    difference = numbers.find("change", attribute, regime, measure=f"{what}_difference")
    pair = numbers.compared(attribute, regime, what)
    if pair is None or pair[1].margin is None or difference is None or difference.low is None or difference.high is None:
        return "unknown", None, False
    ratio, shown = numbers.find("retention", attribute, regime, measure=f"{what}_ratio"), None
    if ratio is not None and ratio.value is not None and ratio.low is not None and ratio.high is not None:
        shown = (ratio.value, ratio.low, ratio.high)
    word = change_word(pair[0].state, pair[1].state, pair[1].margin, (difference.low, difference.high), shown)
    if what == "encoding":
        word = encoding_word(word, decision)
    elif word == "reduced" and decision.use == ("none",):
        word = "eliminated"
    return word, ratio.id if ratio is not None else None, False


def _origin(numbers: Numbers, attribute: str, regime: str, decision: Decision) -> Origin:
    """Where encoding and use come from; it takes an untrained model and placebos, which only trained models have beside them."""
    surface = numbers.scope.surface
    encoding: OriginWord = "not_applicable"
    if decision.encoding == "linear" and surface != "prompts":
        encoding = "unknown" if surface == "activations" else _origin_word(numbers, attribute, regime, "encoding")
    if surface == "prompts":
        return Origin(encoding=encoding, use="unknown")
    shows = surface == "outputs" and "expressed" in decision.use
    return Origin(encoding=encoding, use=_origin_word(numbers, attribute, regime, "use") if shows else "not_applicable")


def _origin_word(numbers: Numbers, attribute: str, regime: str, what: What) -> OriginWord:
    """``learned``: above the untrained model and above the placebos' 95th percentile by more than the margin; else ``relayed``."""
    number = numbers.strongest_linear(attribute, regime) if what == "encoding" else numbers.gap(attribute, regime)
    found = [numbers.find("origin", attribute, regime, measure=f"{what}_above_{beside}") for beside in ("untrained", "placebos")]
    if number is None or number.margin is None:
        return "relayed"
    lows = [e.low for e in found if e is not None and e.low is not None]
    return "learned" if len(lows) == len(found) and min(lows) > number.margin else "relayed"


def _basis(numbers: Numbers, attribute: str, regime: str) -> Basis | None:
    """Whether the gap goes beyond what the true label explains."""
    within, gap = numbers.gap(attribute, regime, "gap_within_label"), numbers.gap(attribute, regime)
    if within is None:
        return None
    if within.p_present is None or within.p_absent is None:
        return "unknown"
    # A label explains a gap that is there; where only a reader of the outputs finds something, no gap speaks about it.
    explained = within.p_absent <= _LEVEL and gap is not None and gap.state == "present"
    return "beyond_label" if within.p_present <= _LEVEL else "explained_by_label" if explained else "unknown"


def _basis_of_activations(numbers: Numbers, attribute: str, regime: str, decision: Decision) -> Basis | None:
    """Whether what is read goes beyond what the named columns explain."""
    if decision.verdict != "exposed" or not numbers.scope.conditions:
        return None
    return _BASES.get(numbers.states(attribute, regime)["beyond"], "unknown")
