"""Findings about bare activations: the activations themselves are the surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from proxyaudit.audits.probe.inputs import ProbeInputs
from proxyaudit.channels.leak.effort import add_effort
from proxyaudit.channels.leak.estimate import MEASURES, unit_of
from proxyaudit.channels.leak.planted import planted_draft
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.controls import Key, negative_controls
from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import UNIT_CLASSES, Drafts, decide_ledger
from proxyaudit.estimates.methods import METHODS
from proxyaudit.estimates.record import cell_key
from proxyaudit.estimates.row_sums import row_parts
from proxyaudit.estimates.scope import read_scope
from proxyaudit.types import Evidence, NotTested

_NOT_TESTED = (
    ("outputs, use and relearning", "bare activations were given, no model; 'proxyaudit run' audits a model"),
    ("sites that were not given", "what is not in the files was not looked at"),
    ("where the feature comes from (learned, or relayed from the inputs)", "it takes an untrained model and placebo attributes"),
)
_QUARTERS = {"quarters": "in quarters", "quarters nonlinear": "in quarters, nonlinear"}


def assemble_probe(inputs: ProbeInputs, runs: Sequence[Run], plan: dict[str, Any], real: str | None) -> tuple[Evidence, dict[str, Any]]:
    """Evidence of all regimes, and the arrays beside it."""
    out, sites = Drafts(), plan["sites"]["verdict"]
    negatives = negative_controls(runs, inputs.attributes, sites, outputs=False) if inputs.attributes else {}
    channels = ("linear", "nonlinear", *(("beyond",) if inputs.conditions else ()))
    for run in runs:
        for attribute, site, channel in product(inputs.attributes, sites, channels):
            for test in _tests(channel, attribute):
                out.add(_draft(inputs, attribute, run, site, channel, test, plan))
        _add_floor(out, inputs, run, sites)
        for attribute, site in product(inputs.attributes, sites):
            add_effort(out, attribute.name, run.regime, site, [m.numbers["cells"][attribute.name][site] for m in run.measured])
        _add_controls(out, inputs, run, sites, channels, negatives, plan["margins"]["leak"])
    ledger = decide_ledger(out)
    beyond = () if inputs.conditions else (("leakage beyond what a label explains", "no --condition-on column was named"),)
    notes = [NotTested(what=what, why=why) for what, why in (*_NOT_TESTED, *beyond)]
    evidence = evidence_of(ledger, read_scope(plan, {"real": real}, {}), plan, (*notes, *inputs.notes))
    return evidence, row_parts(ledger, inputs.places)


def _tests(channel: str, attribute: Attribute) -> tuple[str, ...]:
    """The tests of a channel; it is present in any of them, and absent only in all."""
    if attribute.classes == 0 and channel in ("linear", "nonlinear"):
        return (channel, "quarters" if channel == "linear" else "quarters nonlinear")
    return ("beyond", "beyond nonlinear") if channel == "beyond" else (channel,)


def _draft(inputs: ProbeInputs, attribute: Attribute, run: Run, site: str, channel: str, test: str, plan: dict[str, Any]) -> Draft:
    conditions = ", ".join(inputs.conditions)
    contexts = {"beyond": f"beyond {conditions}", "beyond nonlinear": f"beyond {conditions}, nonlinear", **_QUARTERS}
    base = Draft(
        channel,
        attribute.name,
        run.regime,
        site,
        contexts.get(test),
        measure=MEASURES[test],
        subject=conditions if channel == "beyond" else None,
        margin=plan["margins"]["nonlinear" if test.endswith("nonlinear") else "leak"],
        unit=UNIT_CLASSES if test in _QUARTERS else unit_of(attribute),
        method=METHODS[test],
    )
    per_seed = [m.numbers["cells"][attribute.name][site] for m in run.measured]
    cell = planted_draft(base, per_seed, [m.arrays for m in run.measured], cell_key(attribute.name, site, ""), test, inputs.clusters)
    if attribute.name in inputs.doubts and test == "nonlinear":
        cell = replace(cell, can_be_absent=False, reason=inputs.doubts[attribute.name])
    rows = int(attribute.known.sum())
    return replace(cell, n=min(rows, cell.extras.get("rows", rows)) if cell.n else None)


def _add_floor(out: Drafts, inputs: ProbeInputs, run: Run, sites: Sequence[str]) -> None:
    for attribute in inputs.attributes:
        for site in sites:
            found = [m.numbers["cells"][attribute.name][site].get("linear") for m in run.measured]
            if found and found[0] is not None:
                base = Draft("linear", attribute.name, "floor", site, f"{run.regime}: 95th percentile of permuted labels", decides=False)
                base = replace(base, measure="leak", reference_for=run.regime, unit=unit_of(attribute), method=METHODS["linear"])
                out.add(base, value=found[0]["null_high"])


def _add_controls(
    out: Drafts, inputs: ProbeInputs, run: Run, sites: Sequence[str], channels: Sequence[str], negatives: dict[Key, float], margin: float
) -> None:
    for attribute in inputs.attributes:
        for site in sites:
            p = negatives.get((run.regime, attribute.name, site))
            if p is not None:
                detail = f"permuted attribute: Holm-adjusted p = {p:.3g}"
                out.control("negative", "linear", attribute.name, run.regime, site, detail, p=p)
            for channel, name in [(c, name) for c in channels for name in _tests(c, attribute)]:
                place = (channel, attribute.name, run.regime, site)
                for test in [m.numbers["cells"][attribute.name][site].get(name) for m in run.measured]:
                    if test and test.get("found"):
                        once, twice = test["found"]["1"], test["found"]["2"]
                        detail = f"plants found at the margin {once:.0%}, at twice the margin {twice:.0%}"
                        out.control("positive", *place, detail, found_once=once, found_twice=twice)
                    if test and test.get("control") is not None:
                        detail = f"random features of what is conditioned on: leak {test['control']:.3f}"
                        out.control("baseline", *place, detail, leak=test["control"], margin=margin)
