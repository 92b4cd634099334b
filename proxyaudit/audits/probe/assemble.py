"""Findings about bare activations: the activations themselves are the surface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from proxyaudit.audits.probe.inputs import ProbeInputs
from proxyaudit.channels.leak.estimate import estimate
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.findings import compare, strongest
from proxyaudit.estimates.ledger import Ledger, decide_ledger, significant
from proxyaudit.estimates.methods import some_reasons
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.row_sums import row_parts
from proxyaudit.estimates.verdicts import Decision, combine, decide, encoding_word
from proxyaudit.recipe.recipe import Margins
from proxyaudit.stats.intervals import crossed_interval
from proxyaudit.types import Basis, Change, ChangeWord, Estimate, Evidence, Finding, NotTested, Origin, RunInfo, State

_NOT_APPLICABLE = ("elsewhere", "expressed", "used", "relearned")
_NOT_TESTED = (
    ("outputs, use and relearning", "bare activations were given, no model; 'proxyaudit run' audits a model"),
    ("sites that were not given", "what is not in the files was not looked at"),
    ("where the feature comes from (learned, or relayed from the inputs)", "it takes an untrained model and placebo attributes"),
)
_BASIS: dict[State, Basis] = {"present": "beyond_label", "absent": "explained_by_label"}


def facts_of(inputs: ProbeInputs, runs: Sequence[Run], plan: Mapping[str, Any]) -> Facts:
    """What was measured of bare activations, as the leak tests read it."""
    sites = tuple(plan["sites"]["verdict"])
    return Facts(
        attributes=inputs.attributes,
        clusters_n=inputs.clusters,
        people_n=inputs.clusters,
        labels_n=np.zeros(0, dtype=np.int64),
        classes=(),
        followed={},
        sites=sites,
        verdict_sites=sites,
        unprofiled=(),
        margins=Margins(**plan["margins"]),
        runs=tuple(runs),
        inputs=Measurement(),
        bare=True,
        beyond=", ".join(inputs.conditions),
        doubts=inputs.doubts,
    )


def assemble_probe(inputs: ProbeInputs, runs: Sequence[Run], plan: dict[str, Any], real: str | None) -> tuple[Evidence, dict[str, Any]]:
    """Evidence of all regimes, and the arrays beside it."""
    channels = ("linear", "nonlinear", *(("beyond",) if inputs.conditions else ()))
    ledger = decide_ledger(estimate(facts_of(inputs, runs, plan)))
    findings = [_find(ledger, inputs, attribute, run, real, channels) for attribute in inputs.attributes for run in runs]
    findings += [_unfit(name, why, run.regime) for name, why in inputs.unfit.items() for run in runs]
    beyond = () if inputs.conditions else (("leakage beyond what a label explains", "no --condition-on column was named"),)
    notes = [NotTested(what=what, why=why) for what, why in (*_NOT_TESTED, *beyond)]
    evidence = Evidence(
        run=RunInfo(
            id=plan["run_id"],
            name=plan["name"],
            status="complete",
            plan_digest=plan["digest"],
            versions=plan["versions"],
            seed=plan["seed"],
        ),
        findings=tuple(findings),
        estimates=tuple(ledger.estimates),
        controls=tuple(ledger.controls),
        not_tested=(*notes, *inputs.notes),
    )
    return evidence, row_parts(ledger, inputs.places)


def _find(ledger: Ledger, inputs: ProbeInputs, attribute: Attribute, run: Run, real: str | None, channels: Sequence[str]) -> Finding:
    own = [e for e in ledger.estimates if (e.attribute, e.regime) == (attribute.name, run.regime) and e.state is not None]
    states: dict[str, State] = dict.fromkeys(_NOT_APPLICABLE, "not_applicable")
    if "beyond" not in channels:
        states["beyond"] = "not_applicable"
    for channel in channels:
        states[channel] = combine([e.state for e in own if e.channel == channel and e.state is not None])
    decision = decide(states, surface="activations")
    word, retention = _change(ledger, attribute, run.regime, real, decision)
    decided = [e for e in own if e.channel in decision.mechanisms and e.state in ("present", "absent")]
    basis: Basis | None = None
    if decision.verdict == "exposed" and inputs.conditions:
        basis = _BASIS.get(states["beyond"], "unknown")
    return Finding(
        attribute=attribute.name,
        role=attribute.role,
        regime=run.regime,
        verdict=decision.verdict,
        at_least=decision.at_least,
        encoding=decision.encoding,
        use=decision.use,
        recoverable=decision.recoverable,
        mechanisms=decision.mechanisms,
        basis=basis,
        origin=Origin(encoding="unknown" if decision.encoding == "linear" else "not_applicable", use="not_applicable"),
        change=Change(encoding=word, use="not_applicable"),
        retention=retention,
        sentence=sentence(attribute.name, run.regime, decision, own, inputs, basis, word, real),
        decided_by=tuple(e.id for e in decided),
        would_settle=would_settle(decision, own),
        control_refs=tuple(c.id for c in ledger.controls if (c.regime, c.attribute) == (run.regime, attribute.name)),
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


def _change(ledger: Ledger, attribute: Attribute, regime: str, real: str | None, decision: Decision) -> tuple[ChangeWord, str | None]:
    """How the strongest leak differs from that in the real regime at the same site: a statement about these two models."""
    if regime == real:
        return "not_applicable", None
    if real is None:
        return "unknown", None
    channel = _channel_of(ledger, attribute, real)
    mine, theirs = (_strongest(ledger, channel, attribute, name) for name in (regime, real))
    if mine is None or theirs is None:
        return "unknown", None
    # At the site where either of the two holds most.
    site = (mine if (mine.value or 0.0) >= (theirs.value or 0.0) else theirs).site
    mine, theirs = (ledger.find(channel, attribute.name, name, site=site) for name in (regime, real))
    if mine is None or theirs is None:
        return "unknown", None
    top, bottom = ledger.draft_of(mine), ledger.draft_of(theirs)
    if top.measured is None or bottom.measured is None:
        return "unknown", None
    word, ratio, difference = compare(top, bottom)
    beside = Draft(
        "change",
        attribute.name,
        regime,
        mine.site,
        "encoding: difference to real training",
        unit=top.unit,
        method="paired on the same rows",
        decides=False,
        n=top.n,
    )
    ledger.add_one(replace(beside, measured=difference, interval=crossed_interval(difference)))
    retention = None
    if ratio is not None:
        kept = replace(
            beside, channel="retention", context="encoding: ratio to real training", unit="ratio", method="Fieller", interval=ratio
        )
        retention = ledger.add_one(kept, value=ratio.value)
    return encoding_word(word, decision), retention


def _channel_of(ledger: Ledger, attribute: Attribute, real: str) -> str:
    """The channel in which real training holds the attribute: linear unless only a non-linear reader finds it there."""
    present = {e.channel for e in ledger.estimates if (e.attribute, e.regime, e.state) == (attribute.name, real, "present")}
    return "nonlinear" if "nonlinear" in present and "linear" not in present else "linear"


def _strongest(ledger: Ledger, channel: str, attribute: Attribute, regime: str) -> Estimate | None:
    return strongest([e for e in ledger.estimates if (e.channel, e.attribute, e.regime) == (channel, attribute.name, regime)])


def would_settle(decision: Decision, own: Sequence[Estimate]) -> str | None:
    """What would settle an inconclusive finding."""
    if decision.verdict != "inconclusive":
        return None
    reasons = sorted({e.reason for e in own if e.state == "unknown" and e.reason})
    return some_reasons(reasons) or "more audit rows"


_CHANGES = {
    "amplified": "more than in '{real}'",
    "reduced": "less than in '{real}'",
    "unchanged": "about as much as in '{real}'",
    "eliminated": "unlike in '{real}'",
}


def sentence(
    attribute: str,
    regime: str,
    decision: Decision,
    own: Sequence[Estimate],
    inputs: ProbeInputs,
    basis: Basis | None,
    word: ChangeWord,
    real: str | None,
) -> str:
    """One plain sentence or two for people who do no machine learning."""
    best = strongest([e for e in own if e.channel == "linear"])
    sites = len(next(iter(inputs.acts.values())))
    where = f"In the activations of '{regime}'"
    found = "" if best is None or best.value is None else f", with a leak of {_span(best)} at '{best.site}'"
    beside = f", {_CHANGES[word].format(real=real)}" if word in _CHANGES and real else ""
    looked = "the one site given" if sites == 1 else f"all {sites} sites given"
    if decision.verdict == "exposed":
        why = {
            "explained_by_label": f"; {', '.join(inputs.conditions)} explains it: nothing was found beyond that",
            "beyond_label": f"; it goes beyond what {', '.join(inputs.conditions)} explains",
        }.get(basis or "", "")
        return (
            f"{where}, '{attribute}' can be read by a linear reader{found}{beside}{why}. Whoever gets these activations gets '{attribute}'."
        )
    if decision.verdict == "hidden" or decision.at_least == "hidden":
        how = strongest([e for e in own if e.channel in decision.mechanisms and e.state == "present"])
        place = "" if how is None or how.value is None else f", with a leak of {_span(how)} at '{how.site}'"
        known = ", ".join(inputs.conditions)
        kinds = {"nonlinear": "a non-linear reader recovers it", "beyond": f"it can be read once {known} is known"}
        how_so = " and ".join(kinds[m] for m in decision.mechanisms if m in kinds)
        if decision.verdict == "hidden":
            return f"{where}, '{attribute}' is hidden: a linear reader finds nothing, but {how_so}{place}."
        return f"{where}, '{attribute}' is still inside: {how_so}{place}. Whether a linear reader finds it too is not settled."
    if decision.verdict == "removed":
        limits = [e.detection_limit for e in own if e.channel == "linear" and e.detection_limit is not None]
        limit = f" A linear leak of {significant(max(limits), 2):.3f} would have been found in 95 % of cases." if limits else ""
        return f"{where}, no reader found '{attribute}' at {looked}, and each could have found it at its margin{beside}.{limit}"
    return f"The data cannot tell whether '{attribute}' is in the activations of '{regime}'{found}."


def _span(estimate: Estimate) -> str:
    parts = [f"{v:.3f}" if v is not None else "?" for v in (estimate.value, estimate.low, estimate.high)]
    return f"{parts[0]} ({parts[1]} to {parts[2]})"
