"""Conclude: from published numbers and controls to findings. Pure and total, so that ``verify`` concludes again and compares.

Contrasts to real training are made from row influences before that, and published: whoever holds the pack alone can check the words.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from proxyaudit.estimates.advice import would_settle
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.ledger import TURNED, Draft, Drafts, Ledger
from proxyaudit.estimates.numbers import Numbers, What, strongest
from proxyaudit.estimates.scope import Scope
from proxyaudit.estimates.sentences import Concluded, sentence
from proxyaudit.estimates.states import LARGER, UNCHANGED, Decision, change_word
from proxyaudit.estimates.training import deciding_site, training_of
from proxyaudit.stats.group_gaps import gap_in
from proxyaudit.stats.intervals import Interval, Measured, crossed_interval, distinct_seeds, fieller_ratio, over_seeds
from proxyaudit.types import (
    Basis,
    Change,
    ChangeWord,
    Control,
    Estimate,
    Evidence,
    Finding,
    NotTested,
    Origin,
    OriginWord,
    RunInfo,
    State,
    TriedCure,
)

TOO_WIDE: Final = "the ratio says nothing: its interval is wider than from nothing kept to three times as much, and than the ratio itself"
WIDEST: Final = 3.0  # of a ratio to real training: nothing kept to three times as much
_PAIRED = "paired on the same rows"
_LEVEL: Final = 0.05  # of the two tests that the basis rests on
_BASES: Final[Mapping[State, Basis]] = {"present": "beyond_label", "absent": "explained_by_label"}


def contrasts(ledger: Ledger, scope: Scope, facts: Facts | None = None) -> Drafts:
    """Differences and ratios to real training, and what exceeds the untrained model and the placebos.

    Where models were trained (``facts``), a gap is compared between the groups that differ in real training.
    """
    numbers, out = Numbers(ledger.estimates, scope), Drafts()
    for attribute in scope.roles:
        for regime in scope.regimes:
            _add_changes(out, ledger, numbers, facts, attribute, regime)
            states = numbers.states(attribute, regime) if scope.surface == "outputs" else {}
            if states.get("linear") == "present":
                _add_origin(out, ledger, numbers, "encoding", numbers.strongest_linear(attribute, regime))
            if "present" in (states.get("expressed"), states.get("used")):
                _add_origin(out, ledger, numbers, "use", _acting(numbers, attribute, regime))
    return out


def _add_changes(out: Drafts, ledger: Ledger, numbers: Numbers, facts: Facts | None, attribute: str, regime: str) -> None:
    whats: tuple[What, What] = ("encoding", "use")
    for what in whats:
        pair = numbers.compared(attribute, regime, what)
        if pair is None:
            continue
        mine, theirs = pair
        draft, real = ledger.drafts[mine.id], ledger.drafts[theirs.id]
        if draft.measured is None or real.measured is None:
            continue
        top, bottom, turned = draft.measured, real.measured, False
        if numbers.scope.surface == "prompts" and mine.group != theirs.group:
            # Each gap was turned to be positive; compared, both must run the same way.
            top = -top
        if facts is not None and mine.measure == "gap":
            top = _gap_of_pair(facts, attribute, regime, real)
            turned = crossed_interval(top).high < 0 and mine.state == "present"
        if facts is not None and not turned and min(len(distinct_seeds(m.seed_values)) for m in (top, bottom)) < 2:
            # One model on a side: what differs may be nothing but its initial weights.
            continue
        _add_change(out, numbers.scope, what, (draft, top), (real, bottom), turned)


def _add_change(out: Drafts, scope: Scope, what: What, mine: tuple[Draft, Measured], real: tuple[Draft, Measured], turned: bool) -> None:
    (draft, top), (theirs, bottom) = mine, real
    said, group, subject, method = "real training", draft.group, None, _PAIRED
    if scope.surface == "prompts":
        said, group, subject, method = f"{scope.real}", theirs.group, draft.context, draft.method
    about = f"{what}: {subject}, " if subject else f"{what}: "
    base = Draft("", draft.attribute, draft.regime, draft.site, group=group, subject=subject, unit=draft.unit, decides=False, n=draft.n)
    difference, base = top - bottom, replace(base, marks=(theirs.margin, -theirs.margin))
    shown = replace(base, channel="change", measure=f"{what}_difference", context=f"{about}difference to {said}", method=method)
    if turned:
        shown = replace(shown, measure="use_difference_turned", reason=TURNED)
    out.add(replace(shown, measured=difference, interval=crossed_interval(difference)))
    # A ratio to real training is given where the lower bound of real training exceeds the margin.
    ratio = None if turned or crossed_interval(bottom).low <= theirs.margin else fieller_ratio(top, bottom)
    if ratio is not None:
        kept = replace(base, channel="retention", measure=f"{what}_ratio", context=f"{about}ratio to {said}")
        kept = replace(kept, unit="ratio", method="Fieller", marks=(LARGER, *UNCHANGED))
        if ratio.high - ratio.low > max(WIDEST, ratio.value):
            out.add(replace(kept, reason=TOO_WIDE))
        else:
            out.add(replace(kept, interval=ratio), value=ratio.value)


def _gap_of_pair(facts: Facts, attribute: str, regime: str, real: Draft) -> Measured:
    """The signed gap between the groups that real training's gap is about, in the same output: a gap turned round is no gap kept."""
    groups, _ = next(a for a in facts.attributes if a.name == attribute).groups()
    (low, high), run = real.extras["pair"], facts.run(regime)
    outputs, places = (run.outputs, run.places) if run else ([], ())
    return over_seeds([gap_in(one, groups, low, high, real.extras["column"], facts.clusters_n) for one in outputs], places)


def _acting(numbers: Numbers, attribute: str, regime: str) -> Estimate | None:
    """What tells where use comes from: the gap where the outputs show the attribute, else the strongest effect of swapping it inside."""
    if numbers.states(attribute, regime)["expressed"] == "present":
        return numbers.gap(attribute, regime)
    used = [e for e in numbers.own(attribute, regime) if (e.channel, e.measure, e.state) == ("used", "effect", "present")]
    return strongest(used)


def _add_origin(out: Drafts, ledger: Ledger, numbers: Numbers, what: What, estimate: Estimate | None) -> None:
    """What exceeds the untrained model, and the 95th percentile of what models relay of attributes planted on their inputs."""
    draft = ledger.drafts[estimate.id] if estimate else None
    if estimate is None or draft is None or draft.measured is None:
        return
    where = {"site": estimate.site, "measure": estimate.measure}
    untrained = numbers.find(estimate.channel, estimate.attribute, "untrained", **where)
    placebos = numbers.find(estimate.channel, estimate.attribute, "placebo", reference_for=estimate.regime, **where)
    base = Draft("origin", draft.attribute, draft.regime, draft.site, group=draft.group, unit=draft.unit, decides=False, n=draft.n)
    base, mine = replace(base, margin=draft.margin), draft.measured.oriented()
    before = ledger.drafts[untrained.id].measured if untrained else None
    if before is not None:
        difference = mine - before.oriented()
        shown = replace(base, measure=f"{what}_above_untrained", context=f"{what}: above the untrained model", method=_PAIRED)
        out.add(replace(shown, measured=difference, interval=crossed_interval(difference)))
    if placebos is not None and placebos.value is not None:
        own, relayed = crossed_interval(mine), placebos.value
        interval = Interval(own.value - relayed, own.low - relayed, own.high - relayed, own.se, own.df)
        shown = replace(base, measure=f"{what}_above_placebos", context=f"{what}: above the placebos' 95th percentile")
        method = "what the model relays of attributes planted on the inputs is taken as known"
        out.add(replace(shown, interval=interval, method=method), value=interval.value)


def evidence_of(
    ledger: Ledger, scope: Scope, plan: Mapping[str, Any], not_tested: Sequence[NotTested], facts: Facts | None = None
) -> Evidence:
    """The whole of a decided ledger: its contrasts are published, then everything is concluded; ``facts`` where models were trained."""
    ledger.publish(contrasts(ledger, scope, facts))
    names: dict[str, Any] = {"input_encoding": plan.get("input_encoding")}
    names |= {"id": plan["run_id"], "name": plan["name"], "plan_digest": plan["digest"], "versions": plan["versions"], "seed": plan["seed"]}
    return Evidence(
        run=RunInfo(status="partial" if scope.failures else "complete", **names),
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
    trained, _ = training_of(numbers, attribute, regime)
    if numbers.scope.surface == "activations":
        # Whether what is read goes beyond what the named columns explain.
        if decision.verdict == "exposed" and numbers.scope.conditions:
            basis = _BASES.get(numbers.states(attribute, regime)["beyond"], "unknown")
    elif "expressed" in decision.use:
        basis = _basis(numbers, attribute, regime)
    elif "used" in decision.use:
        basis = _basis_of_use(numbers, attribute, regime)
    about = Concluded(attribute, regime, decision, tuple(own), change, origin, basis, turned, trained)
    named = {"attribute": attribute, "role": numbers.scope.roles[attribute], "regime": regime, **vars(decision)}
    refs: dict[str, Any] = {"retention": retention}
    refs["decided_by"] = tuple(e.id for e in own if e.channel in decision.mechanisms and e.state in ("present", "absent"))
    refs["cures"] = _cures(numbers, attribute, regime)
    refs["control_refs"] = tuple(c.id for c in controls if c.regime == regime and c.attribute in (attribute, None))
    words: dict[str, Any] = {"sentence": sentence(about, numbers), "would_settle": would_settle(about, numbers)}
    return Finding(**named, basis=basis, origin=origin, change=change, training=trained, **words, **refs)


def _cures(numbers: Numbers, attribute: str, regime: str) -> tuple[TriedCure, ...]:
    """The cures that were tried, each with its numbers."""
    found: dict[str, list[Estimate]] = {}
    for e in numbers.all_of("cure", attribute, regime):
        found.setdefault(str(e.subject), []).append(e)
    costs = {name: next((e.value for e in own if e.measure == "auroc_cost"), None) for name, own in found.items()}
    return tuple(TriedCure(name=name, estimates=tuple(e.id for e in own), auroc_cost=costs[name]) for name, own in found.items())


def _unfit(name: str, why: str, regime: str) -> Finding:
    decision = Decision("inconclusive", None, "unknown", ("unknown",), ("unknown",), ())
    origin, change = Origin(encoding="not_applicable", use="not_applicable"), Change(encoding="unknown", use="not_applicable")
    said = f"The data cannot tell whether '{name}' is in the activations of '{regime}': {why}."
    words: dict[str, Any] = {"sentence": said, "would_settle": "rows of at least two groups, or values that vary"}
    return Finding(attribute=name, role="protected", regime=regime, **vars(decision), origin=origin, change=change, **words)


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
    if word == "reduced":
        # Gone where nothing is left, no reduction where only a stronger reader finds it now.
        gone = decision.encoding == "absent" if what == "encoding" else decision.use == ("none",)
        word = "eliminated" if gone else "unknown" if (what, decision.encoding) == ("encoding", "nonlinear_only") else word
    return word, ratio.id if ratio is not None else None, False


def _origin(numbers: Numbers, attribute: str, regime: str, decision: Decision) -> Origin:
    """Where encoding and use come from; it takes an untrained model and placebos, which only trained models have beside them."""
    surface = numbers.scope.surface
    encoding: OriginWord = "not_applicable"
    if decision.encoding == "linear" and surface != "prompts":
        encoding = "unknown" if surface == "activations" else _origin_word(numbers, attribute, regime, "encoding")
    if surface == "prompts":
        return Origin(encoding=encoding, use="unknown")
    told = {"expressed", "used"} if _by_untrained(numbers, attribute) else {"expressed"}
    shows = surface == "outputs" and not told.isdisjoint(decision.use)
    return Origin(encoding=encoding, use=_origin_word(numbers, attribute, regime, "use") if shows else "not_applicable")


def _by_untrained(numbers: Numbers, attribute: str) -> bool:
    """Whether use has its origin from the untrained model alone: as long as prominence was not measured, placebos spoke to it too."""
    return deciding_site(numbers, attribute) is not None


def _origin_word(numbers: Numbers, attribute: str, regime: str, what: What) -> OriginWord:
    """``learned``: an encoding above the untrained model and the placebos' 95th percentile by more than the margin; else ``relayed``.

    Use is learned where the untrained model shows or moves less by more than the margin, whatever other attributes do; relayed where that
    model surely does as much, or surely does something itself. Where a reference is missing neither can be said, unless the other already
    shows that an encoding is no more than relayed.
    """
    number = numbers.strongest_linear(attribute, regime) if what == "encoding" else _acting(numbers, attribute, regime)
    found = [numbers.find("origin", attribute, regime, measure=f"{what}_above_{beside}") for beside in ("untrained", "placebos")]
    if number is None or number.margin is None:
        return "unknown"
    if what == "use" and _by_untrained(numbers, attribute):
        over = found[0]
        if over is None or over.low is None or over.high is None:
            return "unknown"
        where = {"site": number.site, "measure": number.measure}
        before = numbers.find(number.channel, attribute, "untrained", **where)
        itself = before is not None and before.low is not None and before.low > number.margin
        return "learned" if over.low > number.margin else "relayed" if itself or over.high <= number.margin else "unknown"
    lows = [e.low for e in found if e is not None and e.low is not None]
    if any(low <= number.margin for low in lows):
        return "relayed"
    return "learned" if len(lows) == len(found) else "unknown"


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


def _basis_of_use(numbers: Numbers, attribute: str, regime: str) -> Basis | None:
    """Whether a use without a gap goes beyond the true label: the interchange among rows of one label, at any verdict site."""
    sites = (*numbers.scope.verdict_sites, None)
    asked = [numbers.find("used", attribute, regime, measure="effect_within_label", site=site) for site in sites]
    tests = [(within.p_present, within.p_absent) for within in asked if within is not None]
    if not tests:
        return None
    if any(present is not None and present <= _LEVEL for present, _ in tests):
        return "beyond_label"
    return "explained_by_label" if all(absent is not None and absent <= _LEVEL for _, absent in tests) else "unknown"
