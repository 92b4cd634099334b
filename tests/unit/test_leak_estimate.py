"""Drafts of the leak and output channels say what they are about in fields, as packs of schema 1.0 said it in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from leak_records import SITES, leak_facts, leak_record

from proxyaudit.channels.leak.estimate import estimate
from proxyaudit.channels.leak.record import SITE_LEAKS
from proxyaudit.channels.outputs.estimate import estimate as estimate_outputs
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.ledger import Drafts, decide_ledger
from proxyaudit.estimates.record import OUTPUT_SITE
from proxyaudit.evidence.schema import identify
from proxyaudit.probes.results import LevelTrace

N = 400
SEX = Attribute("sex", "protected", "binary", ("f", "m"), np.arange(N) % 2)
AGE = Attribute("age", "protected", "continuous", (), np.arange(N) / N)


def of_a_run() -> Facts:
    return leak_facts(SEX, AGE, regimes=("real", "untrained"))


def of_activations() -> Facts:
    facts = leak_facts(SEX, AGE, verdict_sites=("early", "late"))
    return replace(facts, bare=True, unprofiled=(), beyond="job, town", doubts={"age": "copies agree in it"})


@pytest.mark.parametrize("facts", [of_a_run(), of_activations()], ids=["run", "probe"])
def test_fields_say_what_the_words_said(facts: Facts) -> None:
    drafts = estimate(facts).numbers if facts.bare else [*estimate(facts).numbers, *estimate_outputs(facts).numbers]
    assert all(draft.measure for draft in drafts)
    for draft in drafts:
        said = identify(draft.channel, draft.regime, draft.context, draft.site)
        assert (draft.measure, draft.subject, draft.reference_for) == said, draft.context
    names = {(draft.channel, draft.measure) for draft in drafts}
    assert {("linear", "leak"), ("nonlinear", "leak_nonlinear"), ("beyond", "leak"), ("effort", "few_shot")} <= names
    assert {draft.subject for draft in drafts if draft.channel == "beyond"} == {facts.beyond}


def test_no_two_numbers_of_a_run_are_about_the_same() -> None:
    drafts = [*estimate(of_a_run()).numbers, *estimate_outputs(of_a_run()).numbers]
    keys = [(d.channel, d.measure, d.attribute, d.regime, d.site, d.subject, d.reference_for) for d in drafts]
    assert len(set(keys)) == len(keys)


def test_bare_activations_have_no_outputs_and_their_doubts_bar_absence() -> None:
    found = estimate(of_activations())
    assert {draft.channel for draft in found.numbers} == {"linear", "nonlinear", "beyond", "effort"}
    assert not any(draft.regime in ("inputs", "placebo") and draft.value is None for draft in found.numbers)
    by_name = {(d.attribute, d.measure, d.site): d for d in found.numbers if d.channel == "nonlinear"}
    assert by_name["sex", "leak_nonlinear", "late"].can_be_absent
    assert by_name["age", "leak_nonlinear", "late"].reason == "copies agree in it"
    assert by_name["age", "leak_in_quarters_nonlinear", "late"].can_be_absent


def test_absent_everywhere_but_at_a_doubt() -> None:
    ledger = decide_ledger(estimate(of_activations()))
    states = {(e.attribute, e.measure): e.state for e in ledger.estimates if e.channel == "nonlinear" and e.site == "late"}
    assert states["sex", "leak_nonlinear"] == "absent"
    assert states["age", "leak_nonlinear"] == "unknown"


def test_controls_of_every_site_that_decides() -> None:
    def kinds(found: Drafts) -> set[tuple[str, str, str | None, bool | None]]:
        return {(c.kind, c.channel, c.site, c.passed) for c in decide_ledger(found).controls}

    run = kinds(estimate(of_a_run()))
    assert ("negative", "expressed", None, True) in run
    assert ("negative", "linear", "late", True) in run
    assert not any(site == "early" for _, _, site, _ in run)
    bare = kinds(estimate(of_activations()))
    assert {("positive", channel, "early", True) for channel in ("linear", "nonlinear", "beyond")} <= bare
    assert not any(site is None for _, _, site, _ in bare)


@pytest.mark.parametrize("site", [*SITES, OUTPUT_SITE])
@pytest.mark.parametrize("kind", ["quarters", "quarters nonlinear"])
def test_a_trace_of_single_values_in_one_model_bars_absence_where_it_is(site: str, kind: str) -> None:
    facts = leak_facts(AGE)
    second, record = leak_facts(AGE).runs[0].measured[0], leak_record(AGE, 0)
    traced = replace(record.tests[kind], levels=LevelTrace(found=30.0, chance=4.0, share=0.5))
    SITE_LEAKS.write(second, replace(record, tests={**record.tests, kind: traced}), "age", site)
    facts = replace(facts, runs=(replace(facts.runs[0], measured=(facts.runs[0].measured[0], second)),))
    decided = [e for e in decide_ledger(Drafts([*estimate(facts).numbers])).estimates if e.state is not None and e.measure != "unprofiled"]
    channel = "expressed" if site == OUTPUT_SITE else "elsewhere" if site == "early" else kind.replace("quarters", "").strip() or "linear"
    here = [e for e in decided if e.channel == channel and e.site in (site, None)]
    assert any(e.state == "unknown" and "single values" in (e.reason or "") for e in here)
    assert not [e for e in decided if "single values" in (e.reason or "") and e not in here]
