"""The first screen: answers that can be read without machine learning, and never say more than the findings."""

from __future__ import annotations

import itertools
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import large_pack as world
import pytest
from answered_packs import EXAMPLE, GROUP, REGIMES, SITES, steps_of, text_of, two_attributes
from large_pack import VERDICTS, large_pack

from proxyaudit.evidence.pack import EvidencePack, read_pack
from proxyaudit.reporting import blocks as b
from proxyaudit.reporting.first import answers_of, cure_command, kept, report_page
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.sentences import checks_line, context, cure_words, sure_line
from proxyaudit.reporting.summary import Row, summarize
from proxyaudit.reporting.terminal import found_lines, found_table
from proxyaudit.reporting.training import TriedView, best_cure, oriented, pair_of
from proxyaudit.reporting.words import answer, lead
from proxyaudit.types import Change, Control, Estimate, Finding, Origin
from tests.helpers.released_packs import PLAIN_FILES

# Words of the trade that a reader of the first screen need not know.
BANNED = ("regime", "verdict site", "cell", "relay", "trace", "placebo", "leak inside", "subspace", "estimate")


def _finding(regime: str, verdict: Any, at_least: Any = None) -> Finding:
    return Finding(
        attribute="sex",
        role="protected",
        regime=regime,
        verdict=verdict,
        at_least=at_least,
        encoding="unknown",
        use=("unknown",),
        recoverable=("unknown",),
        origin=Origin(encoding="unknown", use="unknown"),
        change=Change(encoding="unknown", use="unknown"),
        sentence="",
    )


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["removed", "removed"], "No."),
        (["exposed", "hidden"], "Yes."),
        (["inconclusive", "inconclusive"], "These data cannot tell."),
        (["exposed", "inconclusive"], "Yes, wherever these data can tell."),
        (["exposed", "removed"], "In some, not in all."),
        (["removed", "inconclusive"], "Not in some; for the rest these data cannot tell."),
        (["removed", "inconclusive", "exposed"], "In some, not in all; for the rest these data cannot tell."),
    ],
)
def test_the_lead_is_about_synthetic_data(verdicts: list[str], expected: str) -> None:
    findings = [_finding(f"g{index}", verdict) for index, verdict in enumerate(verdicts)]
    for real in ("exposed", "hidden", "removed", "inconclusive"):
        assert lead([_finding("real", real), *findings]) == expected


def test_no_is_said_only_where_every_synthetic_verdict_is_removed() -> None:
    for verdicts in itertools.product(VERDICTS, repeat=3):
        text = lead([_finding("real", "exposed"), *(_finding(f"g{i}", v) for i, v in enumerate(verdicts))])
        assert (text == "No.") == (set(verdicts) == {"removed"})


def test_what_the_label_explains_is_said_only_where_it_explains_everything() -> None:
    shown = [_finding("a", "exposed").model_copy(update={"basis": "explained_by_label"}), _finding("b", "inconclusive")]
    assert "explained by the true label" in answer(shown)
    assert "explained by the true label" not in answer([*shown, _finding("c", "exposed")])


def test_at_least_hidden_is_still_there_and_real_alone_is_answered_too() -> None:
    assert lead([_finding("g", "inconclusive", "hidden")]) == "Yes."
    assert lead([_finding("real", "exposed")]) == "Yes."
    assert lead([_finding("real", "removed")]) == "No."
    assert lead([_finding("a", "exposed")], bare=True) == "Yes."
    assert lead([]) == "No verdict."


def _first(pack: EvidencePack) -> str:
    """What is seen of the page before its contents, without what stands in the picture."""
    html = render_html(pack)
    html = html[html.index("<header>") : html.index("<nav")]
    html = re.sub(r"<svg.*?</svg>|<h2[^>]*unseen.*?</h2>", " ", html, flags=re.DOTALL)
    return re.sub(r"<[^>]+>", " ", html)


def _words(text: str) -> list[str]:
    return [word for word in text.split() if re.search(r"\w", word)]


def test_the_first_screen_says_what_training_did_who_is_favoured_and_what_was_tried() -> None:
    page = answers_of(Report.of(two_attributes(verdicts=("exposed",))))
    sex = page.items[0]
    assert (sex.name, sex.lead) == ("sex", "Yes.")
    assert "The models score Male higher than Female for >50K by 30 points after real, 17 after gaussian_copula" in sex.sentence
    assert "Training made it 1.0 times as prominent inside after real, 3.0 after tvae and 4.0 after mixed" in sex.sentence
    assert "unclear after gaussian_copula" in sex.sentence
    assert sex.table is not None
    assert [cell.text or (cell.chip.word if cell.chip else "") for cell in sex.table.rows[0]] == [
        *("real", "30", "2.0 %", "0.900", "No, exposed", "reweighed: 24, costs 0.004")
    ]
    assert sex.picture is not None
    for part in ("untrained", "the target itself", "Gap, points", "Prominent inside, %"):
        assert part in sex.picture.svg


@pytest.mark.parametrize("trained", [("amplified", "unknown", "amplified", "amplified"), world._TRAINED])
@pytest.mark.parametrize("verdicts", [("exposed", "inconclusive", "exposed", "exposed"), ("removed", "exposed"), ("inconclusive",)])
def test_the_first_screen_of_two_attributes_and_four_kinds_has_at_most_350_words(trained: Any, verdicts: Any) -> None:
    text = _first(two_attributes(trained=trained, verdicts=verdicts))
    assert len(_words(text)) <= 350
    assert len(_words(text)) > 150


def _sentences(pack: EvidencePack) -> list[str]:
    """Every sentence of the first screen and of the paragraphs that are seen at once below it."""
    page, told = report_page(pack), []
    for block in (*page.first, *(block for section in page.sections for block in section.blocks)):
        match block:
            case b.Para():
                told.append(text_of(part for part in block.parts if not isinstance(part, b.Code)))
            case b.Answers():
                told += [f"{item.lead} {item.sentence} {item.sure}" for item in block.items]
                told += [text_of(part for part in step if not isinstance(part, b.Code)) for step in block.steps]
                told.append(block.checks)
            case b.Pictures():
                told += [text_of([item.caption]) for item in block.items]
    return [sentence for text in told for sentence in re.split(r"(?<=[.?!;:])\s+", text)]


@pytest.mark.parametrize(
    "pack", [two_attributes(), two_attributes(verdicts=("exposed",)), read_pack(EXAMPLE)], ids=["mixed", "exposed", "example"]
)
def test_no_sentence_that_is_seen_at_once_has_more_than_30_words(pack: EvidencePack) -> None:
    found = _sentences(pack)
    assert len(found) > 30
    assert [sentence for sentence in found if len(_words(sentence)) > 30] == []


@pytest.mark.parametrize("verdicts", [("exposed",), ("hidden",), ("removed",), ("inconclusive",), VERDICTS])
def test_the_first_screen_has_no_word_of_the_trade(verdicts: Any) -> None:
    text = _first(two_attributes(verdicts=verdicts)).lower().replace("--regime", "")  # an option of the command that is to be copied
    assert [word for word in BANNED if re.search(rf"\b{word}", text)] == []


@pytest.mark.parametrize("verdict", VERDICTS)
@pytest.mark.parametrize("training", [False, True])
def test_only_what_was_tried_is_a_next_step(verdict: str, training: bool) -> None:
    pack = large_pack(("sex",), ("real", "vendor"), ("last",), verdicts=(verdict,), training=training)
    steps = steps_of(pack)
    commands = [part.text for step in answers_of(Report.of(pack)).steps for part in step if isinstance(part, b.Code)]
    tried = {(f.attribute, f.regime, cure.name) for f in pack.evidence.findings for cure in f.cures}
    asked = [re.fullmatch(r"proxyaudit cure RUN --attribute (\S+) --regime (\S+) --cure (\S+)", command) for command in commands]
    assert all(found is not None and found.groups() in tried for found in asked)
    assert bool(commands) == training
    told = " ".join(steps)
    assert not any(words in told for words in ("Make the data again", "mitigate", "keep weights", "Judge whether"))
    assert ("To settle sex after" in told) == (verdict == "inconclusive")


def test_a_release_whose_cures_do_not_help_says_so() -> None:
    pack = two_attributes(verdicts=("exposed",))
    still = [e.model_copy(update={"low": -0.01, "high": 0.01}) if e.measure == "gap_change" else e for e in pack.evidence.estimates]
    still = [e for e in still if e.regime != "reweighed"]
    pack = replace(pack, evidence=pack.evidence.model_copy(update={"estimates": tuple(still)}))
    page = answers_of(Report.of(pack))
    assert page.items[0].table is not None
    assert {row[-1].text for row in page.items[0].table.rows} == {"none tried surely helps"}
    assert not any(isinstance(part, b.Code) for step in page.steps for part in step)
    assert "No cure tried surely brings the gap of sex below 5 points." in steps_of(pack)


def _tried(name: str, left: float, cost: float, *, sure: bool = True) -> TriedView:
    e = Estimate(id="E1", channel="cure", attribute="a", regime="g", value=left, low=left - 0.01, high=left + 0.01)
    change = e.model_copy(update={"value": left - 0.2, "low": left - 0.25, "high": left - 0.15 if sure else 0.1})
    return TriedView(name, name, e, change, e.model_copy(update={"value": cost}), None)


def test_the_best_cure_is_sure_and_cheap() -> None:
    before = Estimate(id="E1", channel="expressed", attribute="a", regime="g", value=0.2)
    dear, cheap, weak = _tried("dear", 0.01, 0.02), _tried("cheap", 0.1, 0.01), _tried("weak", 0.15, -0.01)
    unsure = _tried("no", 0.02, 0, sure=False)
    found = best_cure((dear, weak, cheap, unsure), before)
    assert found is not None
    assert found.name == "cheap"
    assert best_cure((dear, unsure), before) is None
    # One that turns the gap round is judged by its size.
    assert best_cure((_tried("turned", -0.3, 0.0),), before) is None


def _eraser(left: float, cost: float, low: float | None) -> TriedView:
    leak = None if low is None else Estimate(id="E1", channel="cure", attribute="a", regime="g", value=low + 0.02, low=low, high=low + 0.04)
    return _tried("erased", left, cost)._replace(leak=leak, words="a linear eraser (LEACE) for a put into the trained model")


@pytest.mark.parametrize("low", [0.01, -0.01, None])
def test_an_eraser_is_named_on_equal_terms_and_what_it_leaves_is_told(low: float | None) -> None:
    before = Estimate(id="E1", channel="expressed", attribute="a", regime="g", value=0.2)
    eraser, cheap = _eraser(0.02, 0.01, low), _tried("mixed-vendor", 0.1, 0.0)
    assert best_cure((cheap, eraser), before) is eraser
    assert best_cure((cheap, _eraser(0.02, 0.011, low)), before) is cheap
    assert eraser.readable == (low == 0.01)
    row = Row("g", None, None, before, tried=(cheap, eraser))
    assert cure_words(row) == "erased: 2, costs 0.010" + (", still readable inside" if low == 0.01 else "")


def test_each_cure_is_made_by_its_own_command() -> None:
    view = summarize(read_pack(EXAMPLE)).attributes[0]
    row, start = view.rows[0], f"RUN --attribute {view.name} --regime {view.rows[0].regime}"
    assert cure_command(view, row, _tried("mixed-vendor", 0.1, 0.0), "RUN") == f"proxyaudit cure {start} --cure mixed-vendor"
    assert cure_command(view, row, _eraser(0.02, 0.01, None), "RUN") == f"proxyaudit mitigate {start}"


def test_gaps_are_told_the_same_way_round() -> None:
    e = Estimate(id="E1", channel="expressed", attribute="a", regime="g", value=0.1, low=0.05, high=0.2, group="x minus y, predicted 'z'")
    pair = pair_of(e.model_copy(update={"group": "y minus x, predicted 'z'"}))
    turned = oriented(e, pair)
    assert turned is not None
    assert (turned.value, turned.low, turned.high, turned.group) == (-0.1, -0.2, -0.05, "y minus x, predicted 'z'")
    assert oriented(turned, pair_of(e)) == e
    assert oriented(e, pair_of(e)) == e
    other = pair_of(e.model_copy(update={"group": "x minus w, predicted 'z'"}))
    assert oriented(e, other) == e


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        ((), "All 4 instrument checks passed."),
        (("positive",), "1 of 4 instrument checks failed: 1 bars “absent”."),
        (("negative",), "1 of 4 instrument checks failed: 1 bars “present”."),
        (
            ("positive", "negative"),
            "2 of 4 instrument checks failed: 1 bars “absent” and 1 bars “present”.",
        ),
    ],
)
def test_failed_checks_are_told_with_what_they_limit(failed: tuple[str, ...], words: str) -> None:
    kinds = ("positive", "positive", "negative", "eraser")
    left, controls = list(failed), []
    for index, kind in enumerate(kinds):
        passed = kind not in left
        if not passed:
            left.remove(kind)
        controls.append(
            Control(id=f"C{index}", kind=kind, channel="linear", attribute="a", regime="g", site=None, passed=passed, detail="")
        )
    assert checks_line(controls) == words


def test_commands_in_steps_are_quoted_for_a_shell() -> None:
    pack = large_pack(("a; rm -rf ~", "b"), ("real", "x $(y)"), ("last",), verdicts=("exposed",), training=True)
    codes = [part.text for step in answers_of(Report.of(pack)).steps for part in step if isinstance(part, b.Code)]
    assert codes == ["proxyaudit cure RUN --attribute 'a; rm -rf ~' --regime real --cure reweighed"]


def test_the_context_names_task_data_what_is_hidden_and_what_is_not_tested() -> None:
    pack = two_attributes()
    said = context(pack, summarize(pack), asked=False)
    for part in ("predict income", "rows of adult", "never see sex and race", "3 of each kind", "No test of"):
        assert part in said


def test_the_example_says_who_is_scored_higher_and_what_training_did() -> None:
    pack = read_pack(EXAMPLE)
    sex = answers_of(Report.of(pack)).items[0]
    assert "by 18 points after real, 4 after gaussian_copula (not settled), 23 after tvae (worse) and 16 after mixed" in sex.sentence
    assert "Training made it 3.6 times as prominent inside after real, 7.0 after tvae and 4.9 after mixed" in sex.sentence
    assert sex.sure == "settled gaps hold in 3 of 3 models."
    assert sex.table is not None
    cures = ["reweighed: 11, costs 0.005", "only costly: erased leaves 0, costs 0.070 AUROC", "resampled: 19, costs nothing"]
    assert [row[-1].text for row in sex.table.rows][:3] == cures
    assert "unstable across ." not in render_html(pack)
    assert "9 of 100 instrument checks failed: 7 bar “absent” and 2 bar “present”." in render_markdown(pack)


def test_a_pack_of_an_earlier_schema_answers_from_what_it_holds(tmp_path: Path) -> None:
    with tarfile.open(Path(__file__).parents[1] / "fixtures" / "packs" / "run-1.0.tar.xz") as packed:
        packed.extractall(tmp_path, **PLAIN_FILES)
    pack = read_pack(tmp_path / "run")
    assert pack.evidence.schema_version == "1.0"
    sex = answers_of(Report.of(pack)).items[0]
    assert "Whether the gap counts is open: f above m for low by 11 points after real and 11 after vendor." in sex.sentence
    assert "Inside, 24 to 31 % of it can be read after training, 29 % before." in sex.sentence
    assert "unstable across ." not in render_html(pack)


def test_a_quick_start_fits_40_kb_of_markdown_and_400_kb_of_page() -> None:
    whole = large_pack(("sex", "race", "hours"), REGIMES, SITES, columns=tuple("abcdefgh"), group=GROUP, training=True)
    for pack in (read_pack(EXAMPLE), whole):
        assert len(render_markdown(pack).encode()) <= 40_000
        assert len(render_html(pack).encode()) <= 400_000


@pytest.mark.parametrize(
    "pack", [two_attributes(), two_attributes(verdicts=("inconclusive",)), read_pack(EXAMPLE)], ids=["mixed", "open", "example"]
)
def test_the_table_of_the_terminal_fits_100_columns_and_leads_with_training(pack: EvidencePack, capsys: pytest.CaptureFixture[str]) -> None:
    from proxyaudit.cli.console import show_findings

    summary = summarize(pack)
    show_findings(summary)
    table = capsys.readouterr().out.partition("sex: ")[0]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 100
    header, rows = found_table(summary)
    assert header[2] == ("Prominence" if summary.attributes[0].inside else "Inside")
    assert len(rows) == len(pack.evidence.findings)
    assert [line.partition(":")[0] for line in found_lines(summary)] == [view.name for view in summary.attributes]


def test_bare_activations_are_not_spoken_of_as_models(pack: EvidencePack) -> None:
    plan = {**pack.plan, "regimes": [{"name": name, "kind": "activations"} for name in ("real", "tvae")]}
    bare = replace(pack, plan=plan)
    found = answers_of(Report.of(bare))
    told = " ".join([*steps_of(bare), *(f"{item.sentence} {item.sure}" for item in found.items)])
    assert "mitigate" not in told
    assert "for these rows" in told
    assert "activations" in text_of(report_page(bare).first[0].parts)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.2, 0.1, 0.3), "gaps hold in 3 of 3 models."),
        ((0.2, 0.04, 0.3), "gaps hold in 2 of 3"),
        ((0.2, -0.2, 0.3), "gaps hold in 2 of 3"),
    ],
)
def test_a_gap_is_firm_in_the_models_that_agree_on_it(values: tuple[float, ...], words: str) -> None:
    pack = two_attributes(verdicts=("exposed",))
    told = tuple(
        e.model_copy(update={"seed_values": values}) if (e.channel, e.measure, e.regime) == ("expressed", "gap", "tvae") else e
        for e in pack.evidence.estimates
    )
    told = tuple(e.model_copy(update={"state": "present"}) if (e.channel, e.measure) == ("expressed", "gap") else e for e in told)
    summary = summarize(replace(pack, evidence=pack.evidence.model_copy(update={"estimates": told})))
    assert sure_line(summary.attributes[0], summary).startswith(words)


def test_what_only_a_stronger_reader_finds_is_told_by_its_own_number(pack: EvidencePack) -> None:
    plan = {**pack.plan, "regimes": [{"name": "real", "kind": "activations"}]}
    summary = summarize(replace(pack, plan=plan))
    strong = Estimate(id="E1", channel="nonlinear", attribute="sex", regime="real", value=0.31)
    view = summary.attributes[0]
    view = view._replace(rows=(replace(view.rows[0], stronger=strong),))
    report = Report(replace(pack, plan=plan), summary._replace(attributes=(view,)))
    table = answers_of(report).items[0].table
    assert table is not None
    assert (table.rows[0][1].text, table.rows[0][1].lines) == ("31 %", ("non-linear leak",))


def test_a_ratio_that_could_not_be_formed_is_said_in_words(make_pack: Callable[..., EvidencePack]) -> None:
    none = Estimate(id="E1", channel="retention", attribute="a", regime="g", reason="nothing to keep")
    assert kept(none) == "cannot be compared with real"
    assert kept(none.model_copy(update={"value": 1.04, "low": 0.78, "high": 1.71})) == "104 % of real (78 to 171)"


def test_weights_beside_real_training_are_no_cure_where_none_was_asked_for() -> None:
    pack = two_attributes()
    findings = tuple(finding.model_copy(update={"cures": ()}) for finding in pack.evidence.findings)
    kept = tuple(e for e in pack.evidence.estimates if e.channel != "cure")
    pack = replace(pack, evidence=pack.evidence.model_copy(update={"findings": findings, "estimates": kept}))
    assert any(e.regime == "reweighed" for e in pack.evidence.estimates)
    report = Report.of(pack)
    table = answers_of(report).items[0].table
    assert table is not None
    assert {row[-1].text for row in table.rows} == {"not tried"}
    assert "No cure was tried in this run." in steps_of(pack)
    assert "Cures tried" not in render_html(pack)
    header, rows = found_table(report.summary)
    assert header[-1] == "Best cure"
    assert {row[-1] for row in rows} == {"not tried"}


def test_a_mixture_says_beside_its_name_how_much_of_it_is_real() -> None:
    table = answers_of(Report.of(two_attributes(verdicts=("exposed",)))).items[0].table
    assert table is not None
    told = {row[0].text: row[0].lines for row in table.rows}
    assert [name for name, lines in told.items() if lines] == [name for name in told if name.startswith("mixed")] != []
    assert all(lines == ("50 % real",) for lines in told.values() if lines)
