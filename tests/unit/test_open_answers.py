"""What the first screen says where outputs do not give the answer: gaps that do not count, what is at least hidden, what was not tried."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from answered_packs import EXAMPLE, steps_of, two_attributes

from proxyaudit.evidence.pack import EvidencePack, read_pack
from proxyaudit.reporting.first import answers_of
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.summary import summarize
from proxyaudit.reporting.terminal import found_table


def _quiet(pack: EvidencePack, *, but: str = "") -> EvidencePack:
    """The pack with gaps of a point that are surely below the margin, but after one kind of training."""
    small = {"value": 0.01, "low": -0.01, "high": 0.02, "state": "absent"}
    told = [
        e.model_copy(update=small) if e.channel == "expressed" and e.measure == "gap" and e.state and e.regime != but else e
        for e in pack.evidence.estimates
    ]
    return replace(pack, evidence=pack.evidence.model_copy(update={"estimates": tuple(told)}))


@pytest.mark.parametrize("verdicts", [("hidden",), ("removed",), ("inconclusive",)])
def test_a_gap_that_is_too_small_to_count_is_never_told_as_a_finding(verdicts: Any) -> None:
    for but, start in (
        ("", "Scores hardly differ: Male above Female for >50K by 1 point after real"),
        ("tvae", "1 after gaussian_copula (too small)"),
    ):
        said = answers_of(Report.of(_quiet(two_attributes(verdicts=verdicts), but=but))).items[0].sentence
        assert start in said, said
        assert ("The models score Male higher" in said) == bool(but)


@pytest.mark.parametrize(("value", "words"), [(-0.3, "30 the other way after tvae"), (-0.001, "0 after tvae"), (0.3, "30 after tvae")])
def test_no_gap_is_told_as_a_negative_amount(value: float, words: str) -> None:
    pack = two_attributes(verdicts=("exposed",))
    turned = {"value": value, "low": value - 0.01, "high": value + 0.01}
    told = [
        e.model_copy(update=turned) if (e.channel, e.measure, e.regime) == ("expressed", "gap", "tvae") else e
        for e in pack.evidence.estimates
    ]
    pack = replace(pack, evidence=pack.evidence.model_copy(update={"estimates": tuple(told)}))
    sentence = answers_of(Report.of(pack)).items[0].sentence
    assert words in sentence
    assert "\N{MINUS SIGN}" not in sentence


@pytest.mark.parametrize("verdict", ["hidden", "inconclusive", "exposed"])
def test_where_outputs_do_not_give_the_answer_the_first_screen_says_what_does(verdict: Any) -> None:
    pack = _quiet(two_attributes(verdicts=(verdict,)))
    item = answers_of(Report.of(pack)).items[0]
    quiet = verdict == "hidden" or any(f.at_least for f in pack.evidence.findings if f.attribute == "sex")
    assert ("of it can be read" in item.sentence or "What found it after " in item.sentence) == quiet, item.sentence


def test_one_name_for_what_is_at_least_hidden() -> None:
    findings = [("real", "exposed", None), ("tvae", "inconclusive", "hidden")]
    pack = two_attributes(verdicts=("inconclusive",))
    found = tuple(
        f.model_copy(update={"verdict": v, "at_least": a}) for f, (_, v, a) in zip(pack.evidence.findings, findings * 8, strict=False)
    )
    pack = replace(pack, evidence=pack.evidence.model_copy(update={"findings": found}))
    for text in (render_html(pack), render_markdown(pack), " ".join(str(cell) for row in found_table(summarize(pack))[1] for cell in row)):
        assert "t least hidden" in text
        for other in ("Still inside", "still inside", "surely inside", "certainly inside"):
            assert other not in text.replace("the attribute is still inside the model", "").replace("it is still inside", "")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"effort": "decide"}, ": 'effort: standard' in the recipe asks for it."),
        ({"cures": False}, ": 'cures: true' in the recipe"),
        ({}, "run."),
    ],
)
def test_where_no_cure_was_tried_the_line_that_asks_for_it_is_named(recipe: dict[str, Any], words: str) -> None:
    pack = two_attributes()
    kept = tuple(e for e in pack.evidence.estimates if e.channel != "cure")
    pack = replace(pack, recipe={**pack.recipe, **recipe}, evidence=pack.evidence.model_copy(update={"estimates": kept}))
    pack = replace(
        pack,
        evidence=pack.evidence.model_copy(update={"findings": tuple(f.model_copy(update={"cures": ()}) for f in pack.evidence.findings)}),
    )
    assert any(step.startswith("No cure was tried in this run") and words in step for step in steps_of(pack)), steps_of(pack)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"state": "present", "value": 0.2}, ": yes, it comes back."),
        ({"state": "absent", "value": 0.0}, ": no, it does not come back."),
        ({"state": "unknown", "value": None, "reason": "too few audit rows"}, ": open: too few audit rows."),
    ],
)
def test_whether_it_comes_back_is_answered_without_a_picture_too(found: dict[str, Any], words: str) -> None:
    pack = read_pack(EXAMPLE)
    told = tuple(
        e.model_copy(update=found) if e.channel == "relearned" and e.state is not None else e
        for e in pack.evidence.estimates
        if not (e.channel == "relearned" and e.measure == "curve")
    )
    text = render_markdown(replace(pack, evidence=pack.evidence.model_copy(update={"estimates": told})))
    section = text.partition("## Does it come back")[2].partition("\n## ")[0]
    assert words in section
    assert "**sex** after real, gaussian_copula, tvae and mixed-gaussian_copula-0.5" in section
