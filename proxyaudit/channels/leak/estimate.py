"""Drafts of the leak tests: linear, non-linear, at other sites, beyond the label, and in the outputs; floors and placebos beside.

The same code reads what `run` measures of models and what `probe` measures of bare activations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from proxyaudit.channels.closed import ASKED_ONCE
from proxyaudit.channels.leak.planted import planted_draft
from proxyaudit.channels.leak.record import ERASURES, SITE_LEAKS, SiteRecord
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import UNIT_CLASSES, UNIT_VALUES, Draft, Drafts, unit_of
from proxyaudit.estimates.record import INPUT_SITE, OUTPUT_SITE
from proxyaudit.estimates.states import FAILED_AT
from proxyaudit.names import in_short
from proxyaudit.stats.p_values import exceeded_by_few, holm

_CUT = "of the number cut at its quartiles (value by value where it has few), inverted along planted"
_QUESTION = "of the yes-or-no question about its value that half of the rows answer best, on the other half, inverted along planted"
_WITHIN, _SAME_STRATA = "within strata of what is conditioned on", "planted within the same strata"
METHODS: Final = {
    "linear": (
        "score test in exactly whitened coordinates, inverted: the least and the most favourable of some hundred planted directions, "
        "screened by their moments and simulated"
    ),
    "nonlinear": (
        "quadratic score test, freed of everything linear, inverted along planted products and squares; "
        "quadratic, perceptron, tree and neighbour readers beside it, their gain over the linear reader as raw"
    ),
    "beyond": f"score test {_WITHIN}, inverted along directions {_SAME_STRATA}; conditional V-information",
    "beyond nonlinear": f"quadratic score test {_WITHIN}, freed of everything linear, inverted along products and squares {_SAME_STRATA}",
    "quarters": f"score test {_CUT} directions",
    "quarters nonlinear": f"quadratic score test {_CUT} products and squares; stronger readers beside it",
    "levels": f"score test {_QUESTION} directions",
    "levels nonlinear": f"quadratic score test {_QUESTION} products and squares",
    "raw": "cross-fitted ridge-logistic probe in whitened coordinates, nested regularisation, uncalibrated",
}

_CUT_WORDS: Final = {"quarters": "in quarters", "levels": "in two parts"}
POOLED: Final = "it has so many levels that some were taken together, and what tells those apart was not asked, so absence is not claimed"

Key = tuple[str, str, str]
"""(regime, attribute, site)"""
Records = dict[Key, list[SiteRecord]]


def estimate(facts: Facts) -> Drafts:
    """Drafts and controls of every attribute in every regime and in the inputs."""
    out = Drafts()
    if not facts.bare:
        for attribute in facts.attributes:
            out.add(_of_inputs(facts, attribute))
    sites = facts.sites if facts.bare else (*facts.sites, OUTPUT_SITE)
    records: Records = {
        (run.regime, attribute.name, site): [SITE_LEAKS.read(m, attribute.name, site) for m in run.measured]
        for run in facts.runs
        for attribute in facts.attributes
        for site in sites
    }
    for run in facts.runs:
        for attribute in facts.attributes:
            for draft in _deciding(facts, attribute, run, records):
                if run.is_reference:
                    # A reference has numbers, never a verdict.
                    draft = replace(draft, decides=False, reason=None if draft.measured is not None else draft.reason)
                out.add(draft)
        for attribute in facts.attributes:
            if run.measured:
                _add_beside(out, facts, attribute, run, records)
    _add_controls(out, facts, records)
    return out


def _of_inputs(facts: Facts, attribute: Attribute) -> Draft:
    method = METHODS["linear"]
    base = Draft("linear", attribute.name, "inputs", INPUT_SITE, margin=facts.margins.leak, unit=unit_of(attribute), method=method)
    draft = planted_draft(base, [SITE_LEAKS.read(facts.inputs, attribute.name, INPUT_SITE)], "linear", facts.clusters_n, probed=False)
    return replace(draft, measure="leak", decides=False, n=int(attribute.known.sum()))


def _deciding(facts: Facts, attribute: Attribute, run: Run, records: Records) -> Iterator[Draft]:
    for site in facts.sites:
        for test, channel in _tests(facts, attribute, run, site, records).items():
            yield _leak(facts, channel, attribute, run, site, test, records)
    if not run.is_reference and facts.unprofiled:
        why = f"not every part of the model was looked at: nothing of {in_short(facts.unprofiled)} is among the profiled sites"
        base = Draft("elsewhere", attribute.name, run.regime, measure="unprofiled", unit=unit_of(attribute), reason=why, remedy="site")
        yield replace(base, margin=facts.margins.leak)
    if not facts.bare:
        more = () if run.is_reference else ("nonlinear", *_of_one_question(attribute, records[run.regime, attribute.name, OUTPUT_SITE]))
        for test in ("linear", *more):
            yield _leak(facts, "expressed", attribute, run, OUTPUT_SITE, test, records)


def _tests(facts: Facts, attribute: Attribute, run: Run, site: str, records: Records) -> dict[str, str]:
    """The tests of a site, each with the channel that it stands under; a channel is absent only in all of its tests."""
    verdict = site in facts.verdict_sites
    linear, nonlinear = ("linear", "nonlinear") if verdict else ("elsewhere", "elsewhere")
    tests = {"linear": linear}
    if run.is_reference:
        return tests
    tests["nonlinear"] = nonlinear
    if verdict and facts.beyond:
        tests |= {"beyond": "beyond", "beyond nonlinear": "beyond"}
    if attribute.classes == 0:
        tests |= {"quarters": linear, "quarters nonlinear": nonlinear}
        asked = _of_one_question(attribute, records[run.regime, attribute.name, site])
        tests |= {test: nonlinear if test.endswith("nonlinear") else linear for test in asked}
    return tests


def _of_one_question(attribute: Attribute, found: Sequence[SiteRecord]) -> tuple[str, ...]:
    """Tests of one question about a number, only where its single values show something: what is asked of all is that screen."""
    if attribute.classes or not found:
        return ()
    return tuple(test for test in ("levels", "levels nonlinear") if all(test in one.tests for one in found))


def _context(channel: str, test: str, beyond: str) -> str | None:
    cut = next((words for name, words in _CUT_WORDS.items() if test.startswith(name)), "")
    part = {"expressed": f"output leak {cut}".strip(), "beyond": f"beyond {beyond}"}.get(channel, cut)
    if test.endswith("nonlinear") and (part or channel == "elsewhere"):
        return f"{part}, nonlinear" if part else "nonlinear"
    return part or None


def _leak(facts: Facts, channel: str, attribute: Attribute, run: Run, site: str, test: str, records: Records) -> Draft:
    outputs = site == OUTPUT_SITE
    # Outputs have few dimensions: a non-linear leak is held to the same margin there as a linear one.
    margin = facts.margins.nonlinear if test.endswith("nonlinear") and not outputs else facts.margins.leak
    cut = next((f"_{words.replace(' ', '_')}" for name, words in _CUT_WORDS.items() if test.startswith(name)), "")
    measure = f"leak{cut}" + ("_nonlinear" if test.endswith("nonlinear") else "")
    unit = UNIT_CLASSES if cut else unit_of(attribute)
    base = Draft(channel, attribute.name, run.regime, context=_context(channel, test, facts.beyond), margin=margin, unit=unit)
    base = replace(base, measure=measure, site=site, method=METHODS[test], subject=facts.beyond if channel == "beyond" else None)
    if outputs:
        base = replace(base, measure=f"output_{measure}", site=None, method=f"{METHODS[test]}; on the log-odds of the outputs")
    found = records[run.regime, attribute.name, site]
    draft = planted_draft(base, found, test, facts.clusters_n, run.places, probed=not run.is_reference)
    doubt = facts.doubts.get(attribute.name, POOLED if attribute.pools_levels else None)
    if test == "nonlinear" and not outputs and doubt is not None:
        draft = replace(draft, can_be_absent=False, reason=doubt, remedy="merge" if doubt == POOLED else None)
    rows = int(attribute.known.sum())
    return replace(draft, n=min(rows, draft.extras.get("rows", rows)) if draft.n else None)


def _add_beside(out: Drafts, facts: Facts, attribute: Attribute, run: Run, records: Records) -> None:
    for site in facts.verdict_sites:
        found = records[run.regime, attribute.name, site]
        values = [one.linear.unweighted for one in found if one.linear is not None and one.linear.unweighted is not None]
        if len(values) == len(found) and not facts.bare:
            unit = UNIT_VALUES if attribute.classes == 0 else "fraction of the attribute's entropy"
            draft = Draft("linear", attribute.name, run.regime, site, "unweighted", unit=unit, method=METHODS["raw"], decides=False)
            out.add(replace(draft, measure="unweighted_leak", seed_values=values), value=float(np.mean(values)))
        _add_effort(out, attribute.name, run.regime, site, found)
    for (regime, name, site), found in records.items():
        if (regime, name) == (run.regime, attribute.name):
            _add_references(out, facts, attribute, regime, site, found)


def _add_effort(out: Drafts, attribute: str, regime: str, site: str, records: Sequence[SiteRecord]) -> None:
    """How easily a linear reader gets the attribute out: no verdict rests on it."""
    found = [record.effort for record in records if record.effort is not None]
    if not found or len(found) < len(records):
        return
    base = Draft("effort", attribute, regime, site, decides=False)

    def add(draft: Draft, values: Sequence[float]) -> None:
        out.add(replace(draft, seed_values=values), value=float(np.mean(values)))

    saved = [one.saved for one in found if one.saved is not None]
    if len(saved) == len(found):
        rows = min(one.rows for one in found if one.rows is not None)
        draft = replace(base, measure="codelength", context="online codelength", n=rows)
        unit = "share of the labels' own code that the activations save"
        add(replace(draft, unit=unit, method="prequential code, ridge-logistic (Voita & Titov 2020)"), saved)
    method = "ridge-logistic on equally many rows of each class, mean of 5 draws, scored on a third of the rows; raw is the leak"
    for shots in zip(*(one.shots for one in found), strict=False):
        m = shots[0][0]
        if all(rows == m for rows, _, _ in shots):
            draft = replace(base, measure="few_shot", subject=str(m), context=f"few-shot, {m} labelled rows", unit="AUROC", method=method)
            add(replace(draft, raw=float(np.mean([leak for _, leak, _ in shots]))), [area for _, _, area in shots])
    pairs = [(one.accuracy, one.control) for one in found if one.accuracy is not None and one.control is not None]
    if len(pairs) == len(found):
        context = f"selectivity; control task {float(np.mean([control for _, control in pairs])):.3f}"
        draft = replace(base, measure="selectivity", context=context, unit="difference in class-balanced accuracy")
        draft = replace(draft, method="accuracy on the attribute minus that on random labels by group (Hewitt & Liang 2019)")
        add(draft, [accuracy - control for accuracy, control in pairs])


def _add_references(out: Drafts, facts: Facts, attribute: Attribute, regime: str, site: str, records: Sequence[SiteRecord]) -> None:
    """The placebos' 95th percentile at every site, and that of permuted labels at verdict sites."""
    asked = [one.linear for one in records if one.linear is None or one.linear.reason != ASKED_ONCE]
    linear = [one for one in asked if one is not None]
    outputs = site == OUTPUT_SITE
    base = Draft("", attribute.name, "placebo", None if outputs else site, unit=unit_of(attribute), decides=False, reference_for=regime)
    # Where one model has no linear test there is no percentile over models.
    relayed = np.array([np.mean(column) for column in zip(*(one.placebos for one in linear), strict=False)])
    if len(relayed) and len(linear) == len(asked):
        context = f"{regime}: 95th percentile of {len(relayed)} placebos" + (", output leak" if outputs else "")
        measure = "output_leak" if outputs else "leak"
        draft = replace(base, channel=_channel_of(facts, site), measure=measure, context=context, method="label-planted on the inputs")
        out.add(draft, value=exceeded_by_few(relayed))
    if linear and site in facts.verdict_sites:
        context = f"{regime}: 95th percentile of permuted labels"
        draft = replace(base, channel="linear", regime="floor", measure="leak", context=context, method=METHODS["linear"])
        out.add(draft, value=float(np.mean([one.null_high for one in linear])))


def _channel_of(facts: Facts, site: str) -> str:
    return "expressed" if site == OUTPUT_SITE else "linear" if site in facts.verdict_sites else "elsewhere"


def _add_controls(out: Drafts, facts: Facts, records: Records) -> None:
    for (regime, name, site), p in _negative_controls(records).items():
        # At other sites only those that failed: presence there was disabled by them, and the pack must show why.
        if site == OUTPUT_SITE or site in facts.verdict_sites or p <= FAILED_AT:
            detail, where = f"permuted attribute: Holm-adjusted p = {p:.2g}", None if site == OUTPUT_SITE else site
            out.control("negative", _channel_of(facts, site), name, regime, where, detail, p=p)
    for run in facts.runs:
        for attribute in facts.attributes:
            for site in facts.verdict_sites:
                key = (run.regime, attribute.name, site)
                tests = _tests(facts, attribute, run, site, records)
                if not facts.bare:
                    tests = {test: test for test in ("linear", "nonlinear", "beyond")}
                _add_plants(out, records[key], key, tests)
                _add_baselines(out, records[key], key, facts.margins.leak)
        for site in facts.verdict_sites:
            _add_eraser(out, run, site, facts.margins.leak)


def _negative_controls(records: Mapping[Key, Sequence[SiteRecord]]) -> dict[Key, float]:
    """Holm-adjusted p-values of the permuted attribute at every site of every regime."""
    raw: dict[Key, float] = {}
    for key, of_models in records.items():
        p = [one.linear.negative for one in of_models if one.linear is not None and one.linear.negative is not None]
        if p:
            raw[key] = min(1.0, min(p) * len(p))
    return dict(zip(raw, (float(p) for p in holm(list(raw.values()))), strict=True)) if raw else {}


def _add_plants(out: Drafts, records: Sequence[SiteRecord], key: Key, tests: Mapping[str, str]) -> None:
    """Whether plants at the margin and at twice the margin were found in each test, with the channel that it stands under."""
    regime, attribute, site = key
    for test, channel in tests.items():
        found = [one.tests[test] for one in records if test in one.tests and one.tests[test].asked]
        if found:
            once, twice = min(one.found_once for one in found), min(one.found_twice for one in found)
            detail = f"plants along the least favourable direction: found at the margin {once:.0%}, at twice the margin {twice:.0%}"
            out.control("positive", channel, attribute, regime, site, detail, share=twice)


def _add_baselines(out: Drafts, records: Sequence[SiteRecord], key: Key, margin: float) -> None:
    """Whether random features of what is conditioned on show nothing beyond it."""
    regime, attribute, site = key
    for record in records:
        test = record.tests.get("beyond")
        if test is not None and test.control is not None:
            detail = f"random features of what is conditioned on: leak {test.control:.3f}"
            out.control("baseline", "beyond", attribute, regime, site, detail, leak=test.control, margin=margin)


def _add_eraser(out: Drafts, run: Run, site: str, margin: float) -> None:
    """Whether the eraser takes a planted signal to nothing on fresh rows."""
    found = [one for one in (ERASURES.find(m, site) for m in run.measured) if one is not None]
    if found:
        before, after = float(np.mean([one.before for one in found])), float(np.mean([one.after for one in found]))
        detail = f"planted leak {before:.3f} on fresh rows, {after:.3f} after LEACE"
        out.control("eraser", "linear", None, run.regime, site, detail, before=before, after=after, margin=margin)
