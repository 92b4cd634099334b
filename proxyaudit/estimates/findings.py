"""Findings: for each attribute and regime the verdict, where it comes from, how it changed, and one sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from proxyaudit.data.dataset import Attribute
from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import Ledger, significant
from proxyaudit.estimates.methods import some_reasons
from proxyaudit.estimates.origins import origin_word
from proxyaudit.estimates.verdicts import Decision, change_word, combine, decide, encoding_word
from proxyaudit.stats.group_gaps import gap_in
from proxyaudit.stats.intervals import Interval, Measured, crossed_interval, distinct_seeds, fieller_ratio, over_seeds
from proxyaudit.types import CHANNELS, USE_CHANNELS, Basis, Change, ChangeWord, Estimate, Finding, Origin, OriginWord, State

TURNED = "the gap has turned its direction"


def find_all(ledger: Ledger, facts: Facts) -> list[Finding]:
    """Findings in the order attributes x regimes; adds the ratios to real training to the ledger."""
    return [_find(ledger, facts, attribute, run) for attribute in facts.attributes for run in facts.audited]


def _find(ledger: Ledger, facts: Facts, attribute: Attribute, run: Run) -> Finding:
    regime = run.regime
    own = [
        e for e in ledger.estimates if (e.attribute, e.regime) == (attribute.name, regime) and e.state is not None and e.channel in CHANNELS
    ]
    states: dict[str, State] = {}
    for channel in CHANNELS:
        found = [e.state for e in own if e.channel == channel and e.state is not None]
        # Two numbers of `expressed` (gap and output leak) are one channel: present in either, absent only in both.
        # Only a model without other sites has no elsewhere; any other channel without a number was forgotten.
        states[channel] = combine(found) if found else "not_applicable" if channel == "elsewhere" else "unknown"
    decision = decide(states)  # each absence rests on its own positive control already
    real = facts.run("real")
    linear, gap = (
        strongest(ledger_linear(ledger, attribute.name, regime)),
        ledger.find("expressed", attribute.name, regime, context="gap"),
    )
    change, retention, turned = Change(encoding="not_applicable", use="not_applicable"), None, False
    if regime != "real" and real is not None:
        change, retention, turned = _change(ledger, facts, attribute, run, linear, gap, decision)
    elif regime != "real":
        change = Change(encoding="unknown", use="unknown")
    origin = Origin(
        encoding=_origin(ledger, attribute, run, linear, "linear") if states["linear"] == "present" else "not_applicable",
        use=_origin(ledger, attribute, run, gap, "expressed") if "expressed" in decision.use else "not_applicable",
    )
    decided = [e for e in own if e.channel in decision.mechanisms and e.state in ("present", "absent")]
    controls = [c.id for c in ledger.controls if c.regime == regime and c.attribute in (attribute.name, None)]
    return Finding(
        attribute=attribute.name,
        role=attribute.role,
        regime=regime,
        verdict=decision.verdict,
        at_least=decision.at_least,
        encoding=decision.encoding,
        use=decision.use,
        recoverable=decision.recoverable,
        mechanisms=decision.mechanisms,
        basis=_basis(ledger, attribute.name, regime) if "expressed" in decision.use else None,
        origin=origin,
        change=change,
        retention=retention,
        sentence=sentence(attribute.name, regime, decision, linear, gap, own, run, change, origin, turned) + _learnt_little(ledger, regime),
        decided_by=tuple(e.id for e in decided),
        would_settle=_would_settle(decision, own, run),
        control_refs=tuple(controls),
    )


def ledger_linear(ledger: Ledger, attribute: str, regime: str) -> list[Estimate]:
    """Linear estimates of a regime at its verdict sites."""
    return [e for e in ledger.estimates if (e.channel, e.attribute, e.regime, e.measure) == ("linear", attribute, regime, "leak")]


def strongest(estimates: list[Estimate]) -> Estimate | None:
    """The estimate with the largest value, the first of equals; ``None`` if there is none."""
    return max(estimates, key=lambda e: -np.inf if e.value is None else e.value) if estimates else None


def _origin(ledger: Ledger, attribute: Attribute, run: Run, estimate: Estimate | None, channel: str) -> OriginWord:
    """``learned``: above untrained and above the placebos' 95th percentile by more than the margin; else ``relayed``."""
    cell = ledger.draft_of(estimate) if estimate else None
    if estimate is None or cell is None or cell.measured is None:
        return "relayed"
    margin = cell.margin
    where = {"site": estimate.site} if channel == "linear" else {"context": "gap"}
    untrained = ledger.find(channel, attribute.name, "untrained", **where)
    before = ledger.draft_of(untrained).measured if untrained else None
    found = {"site": estimate.site, "measure": "leak"} if channel == "linear" else {"measure": "gap"}
    placebos = ledger.find(channel, attribute.name, "placebo", reference_for=run.regime, **found)
    relayed = placebos.value if placebos is not None else None
    return origin_word(ledger, cell, before, relayed, margin)


def _change(
    ledger: Ledger, facts: Facts, attribute: Attribute, run: Run, linear: Estimate | None, gap: Estimate | None, decision: Decision
) -> tuple[Change, str | None, bool]:
    """Change against real training, the id of the retention ratio, and whether the gap turned its direction."""
    regime = run.regime
    words: dict[str, ChangeWord] = {"encoding": "unknown", "use": "unknown"}
    ratios: dict[str, str] = {}
    turned = False
    for what, mine in (("encoding", linear), ("use", _of_use(ledger, attribute.name, regime, gap))):
        where = {"site": mine.site, "context": None} if mine and what == "encoding" else {"context": mine.context if mine else "gap"}
        theirs = ledger.find(mine.channel, attribute.name, "real", **where) if mine else None
        top = ledger.draft_of(mine) if mine else None
        bottom = ledger.draft_of(theirs) if theirs else None
        if top is None or bottom is None or top.measured is None or bottom.measured is None:
            continue
        if what == "use" and mine is gap:
            # The same pair of groups in the same direction as in real training: a gap turned round is no gap kept.
            same = _gap_of_pair(facts, attribute, run, bottom.extras["pair"], bottom.extras["column"])
            turned = crossed_interval(same).high < 0 and top.state == "present"
            top = replace(top, measured=same)
        if min(len(distinct_seeds(m.seed_values)) for m in (top.measured, bottom.measured) if m is not None) < 2:
            # One model on a side: what differs may be nothing but its initial weights.
            continue
        word, ratio, difference = compare(top, bottom)
        _add_change(ledger, attribute.name, regime, what, top, difference, TURNED if turned and mine is gap else None)
        if turned and mine is gap:
            continue
        gone = word == "reduced" and decision.use == ("none",)
        words[what] = encoding_word(word, decision) if what == "encoding" else "eliminated" if gone else word
        if ratio is not None:
            ratios[what] = ledger.add_one(
                replace(_beside(top, "retention", f"{what}: ratio to real training", "ratio", "Fieller"), measured=None, interval=ratio),
                value=ratio.value,
            )
    return Change(encoding=words["encoding"], use=words["use"]), ratios.get("encoding"), turned


def _of_use(ledger: Ledger, attribute: str, regime: str, gap: Estimate | None) -> Estimate | None:
    """The number in which the outputs are compared: the gap, unless only a reader of the outputs finds the attribute there."""
    find = ledger.find
    gaps = (gap, find("expressed", attribute, "real", context="gap"))
    read = [find("expressed", attribute, name, context="output leak") for name in (regime, "real")]
    if any(e is not None and e.state == "present" for e in gaps) or not any(e is not None and e.state == "present" for e in read):
        return gap
    return read[0]


def _gap_of_pair(facts: Facts, attribute: Attribute, run: Run, pair: tuple[int, int], column: int) -> Measured:
    """Signed gap of one pair of groups in one output column."""
    groups, _ = attribute.groups()
    return over_seeds([gap_in(outputs, groups, *pair, column, facts.clusters_n) for outputs in run.outputs])


def _basis(ledger: Ledger, attribute: str, regime: str) -> Basis | None:
    """Whether the gap goes beyond what the true label explains."""
    within = ledger.find("expressed", attribute, regime, measure="gap_within_label")
    gap = ledger.find("expressed", attribute, regime, measure="gap")
    if within is None:
        return None
    if within.p_present is None or within.p_absent is None:
        return "unknown"
    # A label explains a gap that is there; where only a reader of the outputs finds something, no gap speaks about it.
    explained = within.p_absent <= 0.05 and gap is not None and gap.state == "present"
    return "beyond_label" if within.p_present <= 0.05 else "explained_by_label" if explained else "unknown"


def _beside(cell: Draft, channel: str, context: str, unit: str, method: str) -> Draft:
    return Draft(channel, cell.attribute, cell.regime, cell.site, context, cell.group, unit=unit, method=method, decides=False, n=cell.n)


def _add_change(ledger: Ledger, attribute: str, regime: str, what: str, top: Draft, difference: Measured, reason: str | None) -> None:
    cell = _beside(top, "change", f"{what}: difference to real training", top.unit, "paired on the same rows")
    ledger.add_one(replace(cell, measured=difference, interval=crossed_interval(difference), reason=reason))


def compare(mine: Draft, real: Draft) -> tuple[ChangeWord, Interval | None, Measured]:
    """How a number changed against real training, from the paired difference on the same rows.

    Returns:
        The word, Fieller's interval of the ratio where real's lower bound exceeds the margin (else ``None``), and
        the paired difference.
    """
    if mine.measured is None or real.measured is None:
        raise ValueError("both numbers must have been measured")
    top, bottom = mine.measured, real.measured
    difference = top - bottom
    interval = crossed_interval(difference)
    ratio = None
    if crossed_interval(bottom).low > real.margin:
        ratio = fieller_ratio(top, bottom)
    shown = None if ratio is None else (ratio.value, ratio.low, ratio.high)
    return change_word(mine.state, real.state, real.margin, (interval.low, interval.high), shown), ratio, difference


def _learnt_little(ledger: Ledger, regime: str) -> str:
    """A warning where the models of a regime know much less of the task than those trained on real data."""
    own, real = (ledger.find("task", None, name) for name in (regime, "real"))
    if own is None or own.value is None:
        return ""
    reference = real.value if real is not None and real.value is not None else 1.0
    if own.value - 0.5 >= (reference - 0.5) / 2 and own.value >= 0.55:
        return ""
    beside = f" against {reference:.2f} with real data" if real is not None else ""
    return f" Mind that these models learnt little of the task (AUROC {own.value:.2f}{beside}): quiet outputs prove little."


def _would_settle(decision: Decision, own: list[Estimate], run: Run) -> str | None:
    if run.failures:
        return f"run the failed repetitions again: {run.failures[0]}"
    if decision.verdict != "inconclusive":
        return None
    if decision.at_least == "hidden":
        unsure = sorted({e.reason for e in own if e.state == "unknown" and e.reason and e.channel in USE_CHANNELS})
        return "whether the model uses the feature: " + (some_reasons(unsure) or "more seeds and audit rows")
    reasons = sorted({e.reason for e in own if e.state == "unknown" and e.reason})
    return some_reasons(reasons) or "channels that this version does not measure"


def _interval(estimate: Estimate) -> str:
    return f"{_number(estimate.value)} ({_number(estimate.low)} to {_number(estimate.high)})"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{significant(value, 2):.2f}" if abs(value) >= 0.1 else f"{value:.3f}"


_VERBS = {
    "amplified": "more than in models trained on the real data",
    "reduced": "less than in models trained on the real data",
    "unchanged": "about as much as in models trained on the real data",
    "eliminated": "no longer, unlike in models trained on the real data",
}


def sentence(
    attribute: str,
    regime: str,
    decision: Decision,
    linear: Estimate | None,
    gap: Estimate | None,
    own: list[Estimate],
    run: Run,
    change: Change,
    origin: Origin,
    turned: bool = False,
) -> str:
    """One plain sentence or two for people who do no machine learning."""
    models = len(run.measured)
    if models == 0:
        return (
            f"'{attribute}' could not be audited for '{regime}': every model failed ({run.failures[0] if run.failures else 'no models'})."
        )
    trained = f"all {models} models" if models > 1 else "the one model"
    where = f"In {trained} of regime '{regime}'"
    inside = (
        f"a reader of the model's internal state recovers it (leak {_interval(linear)})"
        if linear and linear.value is not None
        else "its internal trace was not measured"
    )
    if origin.encoding == "relayed":
        inside += ", no more than such a network relays of its inputs by itself"
    shown = (
        f"predictions differ by {_interval(gap)} between groups ({gap.group})"
        if gap and gap.value is not None
        else "its outputs were not measured"
    )
    beside = f", {_VERBS[change.use]}" if change.use in _VERBS else ""
    if turned:
        beside = ", in the opposite direction to models trained on the real data"
    if decision.verdict == "exposed":
        read = next((e for e in own if (e.channel, e.context, e.state) == ("expressed", "output leak", "present")), None)
        if read is not None and (gap is None or gap.state != "present"):
            shown = f"a reader of the outputs alone recovers it (leak {_interval(read)}), while {shown}"
        how = {"expressed": "shows in the outputs", "used": "moves the outputs when its internal trace is swapped"}
        acts = " and ".join(how[m] for m in decision.mechanisms if m in how) or "can be read at the surface"
        inner = inside if decision.encoding == "linear" else "inside, what a linear reader finds is not settled"
        return f"{where}, '{attribute}' {acts}: {shown}{beside}; {inner}."
    if decision.verdict == "hidden":
        place = inside if decision.encoding == "linear" else f"it was found through: {', '.join(decision.mechanisms)}"
        return (
            f"{where}, '{attribute}' neither shows in the outputs nor moves them when its trace is swapped, but is still inside: {place}."
        )
    if decision.verdict == "removed":
        return f"{where}, no channel of this audit found '{attribute}', and each could have found it at its margin."
    if decision.at_least == "hidden":
        place = inside if decision.encoding == "linear" else f"it was found through: {', '.join(decision.mechanisms)}"
        return f"{where}, '{attribute}' is still inside: {place}. Whether the model uses it is not settled; {shown}."
    return f"For regime '{regime}' the data cannot tell whether '{attribute}' is still in the model; {shown}."
