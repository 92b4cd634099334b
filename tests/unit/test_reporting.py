from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from large_pack import large_pack

from proxyaudit.estimates.questions import all_questions, deciding_names
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.charts import style_of
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.reporting.sentences import found_sentences
from proxyaudit.reporting.summary import Numbers, Row, summarize
from proxyaudit.reporting.text import number, shorten, visible
from proxyaudit.reporting.words import CHANGES, REFERENCE_WORDS, STATES, VERDICTS, answer, question
from proxyaudit.types import REFERENCES, Estimate, Evidence
from tests.unit.small_packs import finding

VOID = {"meta", "br"}


class _Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += " " + data


def _read(html: str) -> str:
    page = _Balanced()
    page.feed(html)
    assert page.open == []
    return " ".join(page.text.split())


def test_same_pack_same_bytes(pack: EvidencePack, make_pack: Callable[..., EvidencePack]) -> None:
    first = render_html(pack), render_markdown(pack)
    assert (render_html(make_pack()), render_markdown(make_pack())) == first


def test_the_page_answers_before_it_explains(pack: EvidencePack) -> None:
    text = _read(re.sub(r"<nav.*?</nav>", "", render_html(pack), flags=re.DOTALL))
    order = [
        "Is sex or race still in these models?",
        "No test of leaks of single records",
        "Yes. Predictions differ between groups by 17 points after real",
        "25 after tvae",
        "How sure:",
        "Trained on",
        "What next",
        "The audit in short",
        "Each kind of training",
        "Present means: found in every one",
        "Where in the model it is",
        "Surface against depth",
        "Mixing real and synthetic rows",
        "Does the model use it",
        "Controls of the instrument",
        "What Why Non-linear readers",
        "Something of the attribute is inside; whether it also shows or acts is not settled",
    ]
    assert [part for part in order if part not in text] == []
    places = [text.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_every_report_says_what_a_reader_needs(render: Callable[[EvidencePack], str], pack: EvidencePack) -> None:
    text = render(pack)
    for part in (
        "about 30 000 audit rows",
        "Non-linear readers",
        "no, they were withheld",
        "torch 2.13.0",
        "d" * 64,
        "14.5 to 17.1",
        "◐ Hidden" if render is render_markdown else "◐</span> Hidden",
        "untrained",
        "reweighed",
    ):
        assert part in text, part
    for part in ("the interval covers the margin", "comes with planting"):
        assert (part in text) == (render is render_html), part  # one click below, which a text does not have


def test_a_partial_run_says_so_first(make_pack: Callable[..., EvidencePack]) -> None:
    for text in (_read(render_html(make_pack(status="partial"))), render_markdown(make_pack(status="partial"))):
        assert "This run is partial" in text[:700]
        assert "train tvae, repetition 1: out of memory" in text[:700]
    assert "This run is partial" not in render_html(make_pack())


def test_no_script_no_request_no_fixed_width(pack: EvidencePack) -> None:
    html = render_html(pack)
    assert "<script" not in html
    assert "http:" not in html
    assert "https:" not in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html
    assert "default-src 'none'" in html
    assert html.count('role="img"') == html.count("<figure>")
    assert html.count("<table>") == html.count('<div class="scroll"')


def test_an_empty_or_bare_pack_still_renders(pack: EvidencePack) -> None:
    evidence = Evidence(run=pack.evidence.run, findings=(), estimates=(), controls=(), not_tested=())
    for plan in ({}, {"regimes": 3, "sites": [], "margins": None, "attributes": None}):
        bare = replace(pack, evidence=evidence, plan=plan, recipe={}, environment={}, arrays={})
        assert "No attribute was audited" in _read(render_html(bare))
        assert render_markdown(bare).startswith("# Is the attribute")
    findings_only = pack.evidence.model_copy(update={"estimates": (), "controls": (), "not_tested": ()})
    text = _read(render_html(replace(pack, evidence=findings_only, plan={})))
    assert "No layer profile was measured" in text
    assert "not measured" in text


def test_numbers_without_interval_or_value_are_shown_as_such(pack: EvidencePack) -> None:
    bare = tuple(e.model_copy(update={"low": None, "high": None, "value": None, "reason": "no rows"}) for e in pack.evidence.estimates)
    text = _read(render_html(replace(pack, evidence=pack.evidence.model_copy(update={"estimates": bare}))))
    assert "no rows" in text
    assert "None" not in text


def test_the_words_cover_every_state_and_channel() -> None:
    from typing import get_args

    from proxyaudit.types import ChangeWord, State, Verdict

    assert set(VERDICTS) == set(get_args(Verdict))
    assert set(get_args(State)) <= set(STATES)
    assert set(CHANGES) == set(get_args(ChangeWord))
    assert all(all_questions()[name].word and all_questions()[name].asks.endswith("?") for name in deciding_names())
    assert set(REFERENCE_WORDS) == set(REFERENCES)
    assert len({word.symbol for word in VERDICTS.values()}) == len(VERDICTS)


def test_regimes_differ_by_more_than_colour() -> None:
    names = [f"r{index}" for index in range(12)]
    styles = [style_of(name, names) for name in names]
    assert len({style.marker for style in styles}) == 12
    assert len({(style.colour, style.dashes) for style in styles}) == 12


def _estimate(ident: str, **more: Any) -> Estimate:
    return Estimate(**{"id": ident, "channel": "expressed", "attribute": "a", "regime": "real", "value": 0.1, **more})


def test_the_deciding_number_is_the_gap_then_the_plain_one() -> None:
    estimates = (
        _estimate("E1", measure="output_leak", state="present", value=0.9),
        _estimate("E2", measure="gap_within_label", value=0.8),
        _estimate("E3", measure="gap", state="present", group="x"),
        _estimate("E4", channel="linear", measure="leak", site="hidden1", value=0.7),
        _estimate("E5", channel="linear", measure="leak", site="last", state="present", value=0.2),
        _estimate("E6", channel="linear", measure="unweighted_leak", site="last", value=0.5),
    )
    numbers = Numbers(estimates, {}, ("last",))
    found = numbers.deciding("real", "expressed")
    assert found is not None
    assert found.id == "E3"
    found = numbers.deciding("real", "linear", ("last",))
    assert found is not None
    assert found.id == "E5"
    assert numbers.deciding("other", "linear") is None


def test_the_headline_number_is_the_reading_that_decided() -> None:
    """A nominal code read as a number: R squared .010 stood beside Exposed, where .212, cut into quarters, had decided."""
    at = {"channel": "linear", "site": "last"}
    absent = _estimate("E1", **at, measure="leak", state="absent", value=0.010)
    decided = _estimate("E2", **at, measure="leak_in_quarters", state="present", value=0.212)
    exposed = finding("exposed", attribute="a", regime="real").model_copy(update={"decided_by": ("E1", "E2")})
    for findings in ({"real": exposed}, {}):
        for estimates in ((absent, decided), (decided, absent)):
            found = Numbers(estimates, findings, ("last",)).deciding("real", "linear", ("last",))
            assert found is not None
            assert found.id == "E2"
    quiet = Numbers((absent, decided.model_copy(update={"state": "unknown"})), {}, ("last",)).deciding("real", "linear", ("last",))
    assert quiet is not None
    assert quiet.id == "E1"


@pytest.mark.parametrize(
    ("gap", "read", "moved", "words"),
    [
        ("present", "present", "present", ""),
        ("absent", "present", "absent", "After vendor 31 % of it can be read from the outputs alone."),
        ("unknown", "absent", "present", "After vendor predictions move by 9 points when exchanged inside."),
    ],
)
def test_an_exposed_answer_names_what_shows_it(pack: EvidencePack, gap: Any, read: Any, moved: Any, words: str) -> None:
    row = Row(
        "vendor",
        finding("exposed", attribute="a", regime="vendor"),
        None,
        _estimate("E1", measure="gap", state=gap, value=0.01),
        _estimate("E2", channel="used", measure="effect", state=moved, value=0.09),
        output_leak=_estimate("E3", measure="output_leak", state=read, value=0.31),
    )
    summary = summarize(pack)
    assert " ".join(found_sentences(summary.attributes[0]._replace(rows=(row,)), summary)) == words


def test_an_output_leak_that_decides_stands_beside_the_gap(pack: EvidencePack) -> None:
    leak = Estimate(id="E999", channel="expressed", attribute="sex", regime="tvae", measure="output_leak", state="present", value=0.0777)
    more = replace(pack, evidence=pack.evidence.model_copy(update={"estimates": (*pack.evidence.estimates, leak)}))
    assert "read from outputs 7.8 %: ✚ present" in _read(render_html(more))
    assert "read from outputs 7.8 %: ✚ present" in render_markdown(more)
    assert "read from outputs 7.8 %" not in _read(render_html(pack))


def test_protected_attributes_come_first_and_references_never_are_columns(make_pack: Callable[..., EvidencePack]) -> None:
    summary = summarize(make_pack(("b", "a", "proxy")))
    assert [view.name for view in summary.attributes] == ["b", "a", "proxy"]
    assert not set(summary.regimes) & set(REFERENCES)
    assert [row.regime for row in summary.attributes[0].references] == ["untrained", "reweighed", "placebo", "inputs"]
    assert summary.attributes[0].rows[0].placebo_leak is not None
    assert summary.attributes[0].profile.sites == ("inputs", "hidden1", "hidden2", "penultimate")
    assert set(summary.attributes[0].profile.band) == {"hidden1", "hidden2", "penultimate"}


def test_the_answer_names_every_regime_once(pack: EvidencePack) -> None:
    for attribute in ("sex", "race"):
        findings = [f for f in pack.evidence.findings if f.attribute == attribute]
        text = answer(findings)
        for one in findings:
            assert len(re.findall(rf"(?<![\w-]){re.escape(one.regime)}(?![\w-])", text)) == 1
    assert answer([]) == "No verdict was reached."


def test_the_question_stays_short() -> None:
    assert len(question(["x" * 500, "y" * 500])) < 200
    assert "these 5 attributes" in question(list("abcde"))


@given(st.text())
def test_visible_text_is_encodable_and_stable(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert visible(shown) == shown


@given(st.text(), st.integers(2, 40))
def test_shortened_text_fits(text: str, length: int) -> None:
    assert len(shorten(text, length)) <= length


@given(st.floats(-1e6, 1e6))
def test_numbers_never_show_a_negative_zero(value: float) -> None:
    text = number(value).replace("\N{MINUS SIGN}", "-")
    assert abs(float(text) - value) <= 0.0005001
    assert not re.fullmatch(r"-0\.0*", text)


def test_markdown_and_page_have_the_same_sections_in_the_same_order(pack: EvidencePack) -> None:
    titles = re.findall(r'<h2 id="[\w-]+-title">([^<]+)</h2>', render_html(pack))
    assert len(titles) > 8
    assert re.findall(r"^## (.+)$", render_markdown(pack), flags=re.MULTILINE) == titles


def test_headings_go_down_by_one_and_tables_name_their_columns_and_rows(pack: EvidencePack) -> None:
    html = render_html(pack)
    levels = [int(level) for level in re.findall(r"<h(\d)", html)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for body in re.findall(r"<table>.*?</table>", html, flags=re.DOTALL):
        rows = re.findall(r"<tr.*?</tr>", body, flags=re.DOTALL)
        assert '<th scope="col">' in rows[0]
        assert all(row.count('<th scope="row">') == 1 for row in rows[1:])
    assert html.index('class="skip" href="#answer"') < html.index("<header>")
    assert html.count("<main>") == html.count("</main>") == 1


def test_a_run_of_texts_speaks_of_texts_and_of_its_groups(pack: EvidencePack) -> None:
    name = summarize(pack).attributes[0].name
    recipe = {
        **pack.recipe,
        "data": {"path": "r.csv", "text": "review", "bands": {name: [30]}, "exclude": [name]},
        "model": {"max_length": 64},
    }
    kinds = ({"kind": "scrubbed", "scrub": ["names", "ages"]}, {"kind": "quantised", "of": "real", "quantise": "int8"})
    regimes = [entry | more for entry, more in zip(pack.plan["regimes"], ({"kind": "real"}, *kinds), strict=False)]
    levels = [{**entry, "levels": ["under 30", "30 <b>and</b> over"]} for entry in pack.plan["attributes"]]
    texts = replace(pack, recipe=recipe, plan={**pack.plan, "regimes": regimes, "attributes": levels, "columns": ["review"]})
    for said in (_read(render_html(texts)), render_markdown(texts)):
        assert "still in these models?" in said
        assert "the models trained on real, their transformer rounded to int8" in said
        assert "with names and ages masked; its models meet audit texts masked in the same way" in said
        assert f"Groups of {name}" in said
        assert "the text in 'review', at most 64 tokens of it, and nothing else" in said
        assert "encoded columns" not in said
        assert "the pretrained transformer under a head of random weights" in said
        assert "Columns the models never see" not in said
    assert "not known to this audit" not in render_markdown(texts)
    assert "30 <b>and" not in render_html(texts)
    three = [{**entry, "levels": ["under 30", "30 to 50", "over 50"]} for entry in levels]
    said = render_markdown(replace(texts, plan={**texts.plan, "attributes": three}))
    assert said.index("under 30") < said.index("Each kind of training")


_LOOKS = ("dashed", "grey", "right of", "falls to the right", "shaded", "marks:", "crosses", "Short bars")
OF_A_DRAWING = (*_LOOKS, "Lines:", "Lines join", "Square-root")


def _whole() -> EvidencePack:
    return large_pack(("sex", "race", "age"), ("real", "vendor", "mixed-vendor-0.5"), ("block0", "block1", "penultimate"))


def test_bold_words_of_markdown_are_closed_and_stand_free() -> None:
    text = render_markdown(_whole())
    lines = [line for line in text.splitlines() if "**" in line]
    assert len(lines) > 20
    for line in lines:
        before, *parts = line.split("**")
        assert len(parts) % 2 == 0, line
        assert all(bold and bold == bold.strip() for bold in parts[::2]), line
        assert all(not plain or plain[-1] in " (" for plain in (before, *parts[1:-1:2])), line


def test_markdown_says_nothing_of_drawings_that_it_does_not_have() -> None:
    pack = _whole()
    html, text = _read(render_html(pack)), render_markdown(pack)
    for words in OF_A_DRAWING:
        assert words.lower() in html.lower(), words
        assert words.lower() not in text.lower(), words
    for instead in ("Placebos: what 95 % of", "Value: how far"):
        assert instead in text
        assert instead not in html


@pytest.mark.parametrize(("seeds", "told"), [(1, "1 model each"), (3, "3 models each")])
def test_models_of_each_kind_are_counted_in_the_right_number(pack: EvidencePack, seeds: int, told: str) -> None:
    text = render_markdown(replace(pack, plan={**pack.plan, "seeds": seeds}))
    assert f", {told}, on " in text
    assert "1 models" not in text


def test_the_recipe_beside_a_page_says_where_its_paths_start(pack: EvidencePack) -> None:
    for said in (_read(render_html(pack)), render_markdown(pack)):
        told = said[said.index("The recipe as resolved lies beside this page as recipe.yaml") :]
        assert "relative paths in it, as that of the data, still start from the folder of the original recipe: copy it there" in told[:300]


def test_the_column_on_the_task_holds_the_task_alone(pack: EvidencePack) -> None:
    own = Estimate(id="E901", channel="task", attribute=None, regime="real", value=0.875, unit="AUROC")
    inside = Estimate(id="E902", channel="prominence", attribute=None, regime="real", measure="units", value=0.4321, site="penultimate")
    evidence = pack.evidence.model_copy(update={"estimates": (*pack.evidence.estimates, own, inside)})
    for text in (render_html(replace(pack, evidence=evidence)), render_markdown(replace(pack, evidence=evidence))):
        told = text[text.index("Data and training") :]
        assert "0.875" in told
        assert "0.432" not in told
