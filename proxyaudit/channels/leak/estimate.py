"""Drafts of the leak channels: linear, non-linear, at other sites, beyond the label, and in the outputs; floors and placebos beside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from proxyaudit.channels.leak.effort import add_effort
from proxyaudit.channels.leak.planted import planted_draft
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.controls import Key, add_eraser, add_plants, negative_controls
from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.instrument import FAILED_AT
from proxyaudit.estimates.ledger import UNIT_CLASSES, UNIT_VALUES, Drafts
from proxyaudit.estimates.methods import METHODS, POOLED
from proxyaudit.estimates.record import INPUT_SITE, OUTPUT_SITE, cell_key

MEASURES = {
    "linear": "leak",
    "nonlinear": "leak_nonlinear",
    "beyond": "leak",
    "beyond nonlinear": "leak_nonlinear",
    "quarters": "leak_in_quarters",
    "quarters nonlinear": "leak_in_quarters_nonlinear",
}
_QUARTERS = (("quarters", "in quarters"), ("quarters nonlinear", "in quarters, nonlinear"))


def unit_of(attribute: Attribute) -> str:
    """Unit of an attribute's leak."""
    return UNIT_VALUES if attribute.classes == 0 else UNIT_CLASSES


def estimate(facts: Facts) -> Drafts:
    """Drafts and controls of every attribute in every regime and in the inputs."""
    out = Drafts()
    for attribute in facts.attributes:
        out.add(_of_inputs(facts, attribute))
    for run in facts.runs:
        for attribute in facts.attributes:
            for draft in _deciding(facts, attribute, run):
                if run.is_reference:
                    # A reference has numbers, never a verdict.
                    draft = replace(draft, decides=False, reason=None if draft.measured is not None else draft.reason)
                out.add(draft)
        for attribute in facts.attributes:
            if run.measured:
                _add_beside(out, facts, attribute, run)
    _add_controls(out, facts)
    return out


def _of_inputs(facts: Facts, attribute: Attribute) -> Draft:
    margin = facts.margins.leak
    base = Draft("linear", attribute.name, "inputs", INPUT_SITE, margin=margin, unit=unit_of(attribute), method=METHODS["linear"])
    numbers = [facts.inputs.numbers["cells"][attribute.name][INPUT_SITE]]
    key = cell_key(attribute.name, INPUT_SITE, "")
    draft = planted_draft(base, numbers, [facts.inputs.arrays], key, "linear", facts.clusters_n)
    return replace(draft, measure="leak", decides=False, n=int(attribute.known.sum()))


def _deciding(facts: Facts, attribute: Attribute, run: Run) -> list[Draft]:
    found = []
    quarters = attribute.classes == 0
    for site in facts.sites:
        if site not in facts.verdict_sites:
            found.append(_leak(facts, "elsewhere", attribute, run, site, "linear"))
            if not run.is_reference:
                found.append(_leak(facts, "elsewhere", attribute, run, site, "nonlinear", "nonlinear"))
                found += [_leak(facts, "elsewhere", attribute, run, site, *test) for test in _QUARTERS if quarters]
            continue
        found.append(_leak(facts, "linear", attribute, run, site, "linear"))
        if not run.is_reference:
            found.append(_leak(facts, "nonlinear", attribute, run, site, "nonlinear"))
            found.append(_leak(facts, "beyond", attribute, run, site, "beyond", "beyond the label"))
            found.append(_leak(facts, "beyond", attribute, run, site, "beyond nonlinear", "beyond the label, nonlinear"))
            if quarters:
                found.append(_leak(facts, "linear", attribute, run, site, *_QUARTERS[0]))
                found.append(_leak(facts, "nonlinear", attribute, run, site, *_QUARTERS[1]))
    if not run.is_reference and facts.unprofiled:
        why = f"not every part of the model was looked at: nothing of {', '.join(facts.unprofiled)} is among the profiled sites"
        base = Draft("elsewhere", attribute.name, run.regime, measure="unprofiled", unit=unit_of(attribute), reason=why)
        found.append(replace(base, margin=facts.margins.leak))
    found.append(_leak(facts, "expressed", attribute, run, OUTPUT_SITE, "linear", "output leak"))
    if not run.is_reference:
        found.append(_leak(facts, "expressed", attribute, run, OUTPUT_SITE, "nonlinear", "output leak, nonlinear"))
    return found


def _leak(facts: Facts, channel: str, attribute: Attribute, run: Run, site: str, test: str, context: str | None = None) -> Draft:
    outputs = site == OUTPUT_SITE
    # Outputs have few dimensions: a non-linear leak is held to the same margin there as a linear one.
    margin = facts.margins.nonlinear if test.endswith("nonlinear") and not outputs else facts.margins.leak
    base = Draft(
        channel,
        attribute.name,
        run.regime,
        None if outputs else site,
        context,
        measure=f"output_{MEASURES[test]}" if outputs else MEASURES[test],
        subject="the label" if channel == "beyond" else None,
        margin=margin,
        unit=UNIT_CLASSES if test.startswith("quarters") else unit_of(attribute),
        method=METHODS[test] + ("; on the log-odds of the outputs" if outputs else ""),
    )
    per_model = [m.numbers["cells"][attribute.name][site] for m in run.measured]
    arrays = [m.arrays for m in run.measured]
    draft = planted_draft(base, per_model, arrays, cell_key(attribute.name, site, ""), test, facts.clusters_n)
    if test == "nonlinear" and not outputs and attribute.pools_levels:
        draft = replace(draft, can_be_absent=False, reason=POOLED)
    rows = int(attribute.known.sum())
    return replace(draft, n=min(rows, draft.extras.get("rows", rows)) if draft.n else None)


# Numbers reported beside the deciding ones --------------------------------------------------------------------------


def _add_beside(out: Drafts, facts: Facts, attribute: Attribute, run: Run) -> None:
    per_model: list[dict[str, Any]] = [m.numbers["cells"][attribute.name] for m in run.measured]
    for site in facts.verdict_sites:
        numbers = [sites[site] for sites in per_model]
        if all("linear" in one for one in numbers):
            values = [float(one["linear"]["unweighted"]) for one in numbers]
            unit = UNIT_VALUES if attribute.classes == 0 else "fraction of the attribute's entropy"
            draft = Draft("linear", attribute.name, run.regime, site, "unweighted", unit=unit, method=METHODS["raw"], decides=False)
            out.add(replace(draft, measure="unweighted_leak", seed_values=values), value=float(np.mean(values)))
        add_effort(out, attribute.name, run.regime, site, numbers)
    for site in (*facts.sites, *((OUTPUT_SITE,))):
        _add_references(out, facts, attribute, run, site, [sites[site].get("linear", {}) for sites in per_model])


def _add_references(out: Drafts, facts: Facts, attribute: Attribute, run: Run, site: str, linear: list[dict[str, Any]]) -> None:
    """The placebos' 95th percentile at every site, and that of permuted labels at verdict sites."""
    relayed = np.array([np.mean(column) for column in zip(*(one.get("placebo", []) for one in linear), strict=False)])
    outputs = site == OUTPUT_SITE
    base = Draft("", attribute.name, "placebo", None if outputs else site, unit=unit_of(attribute), decides=False)
    base = replace(base, reference_for=run.regime)
    if len(relayed):
        channel = "expressed" if outputs else "linear" if site in facts.verdict_sites else "elsewhere"
        context = f"{run.regime}: 95th percentile of {len(relayed)} placebos" + (", output leak" if outputs else "")
        measure = "output_leak" if outputs else "leak"
        draft = replace(base, channel=channel, measure=measure, context=context, method="label-planted on the inputs")
        out.add(draft, value=float(np.quantile(relayed, 0.95)))
    floor = [one["null_high"] for one in linear if one]
    if floor and site in facts.verdict_sites:
        context = f"{run.regime}: 95th percentile of permuted labels"
        draft = replace(base, channel="linear", regime="floor", measure="leak", context=context, method=METHODS["linear"])
        out.add(draft, value=float(np.mean(floor)))


def _add_controls(out: Drafts, facts: Facts) -> None:
    negatives: dict[Key, float] = negative_controls(facts.runs, facts.attributes, facts.sites)
    for (regime, name, site), p in negatives.items():
        # At other sites only those that failed: presence there was disabled by them, and the pack must show why.
        if site is None or site in facts.verdict_sites or p <= FAILED_AT:
            channel = "expressed" if site is None else "linear" if site in facts.verdict_sites else "elsewhere"
            out.control("negative", channel, name, regime, site, f"permuted attribute: Holm-adjusted p = {p:.3g}", p=p)
    for run in facts.runs:
        for attribute in facts.attributes:
            for site in facts.verdict_sites:
                add_plants(out, run, attribute, site)
        for site in facts.verdict_sites:
            add_eraser(out, run, site, facts.margins.leak)
