"""Channels and sections of other packages stand in reports, comparisons and gates with their own words; nothing there reads prose."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from large_pack import large_pack

from proxyaudit.comparison import compare_packs
from proxyaudit.estimates.questions import all_questions, registered
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.gating.decide import gate
from proxyaudit.gating.policy import Policy
from proxyaudit.reporting.blocks import Pictures
from proxyaudit.reporting.comparison import comparison_page
from proxyaudit.reporting.html import page_html, render_html
from proxyaudit.reporting.markdown import page_markdown, render_markdown
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.sections import all_sections
from proxyaudit.reporting.sections.causal import causal
from proxyaudit.reporting.sections.depth import depth
from proxyaudit.reporting.sections.mixing import mixing
from proxyaudit.reporting.sections.profile import profile
from proxyaudit.reporting.sections.relearning import relearning
from proxyaudit.reporting.summary import Row, summarize
from proxyaudit.types import Control, Estimate
from tests.unit.small_packs import estimate, finding, small_pack

TOY = """
from proxyaudit.estimates.channel import Channel, Question
from proxyaudit.reporting.blocks import Section, para
from proxyaudit.reporting.sections import ReportSection

CHANNEL = Channel(
    "echo",
    95,
    (
        Question("echo", "recoverable", ("leak",), "Echo", "Does an echo answer?", measures={"loudness": "as loud as it was"}),
        Question("murmur", word="Murmur", asks="Does it murmur?"),
    ),
    controls={"silence": "a silent room gives no echo"},
)
SECTION = ReportSection(25, lambda report: Section("rooms", "Rooms with an echo", (para(f"Of {report.pack.evidence.run.name}."),)))
"""
ENTRIES = """[proxyaudit.channels]
echo = proxyaudit_echo:CHANNEL

[proxyaudit.report_sections]
rooms = proxyaudit_echo:SECTION
"""


def _forget() -> None:
    for known in (registered, all_questions, all_sections):
        known.cache_clear()
    sys.modules.pop("proxyaudit_echo", None)
    importlib.invalidate_caches()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package that is not part of this one: a module and the folder by which it is installed."""
    (tmp_path / "proxyaudit_echo.py").write_text(TOY, encoding="utf-8")
    installed = tmp_path / "proxyaudit_echo-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: proxyaudit-echo\nVersion: 1.0\n", encoding="utf-8")
    (installed / "entry_points.txt").write_text(ENTRIES, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    _forget()
    yield
    monkeypatch.undo()
    _forget()


def _echo(value: float, state: str, digest: str = "d") -> EvidencePack:
    numbers = [
        estimate("echo", value, state, measure="loudness", se=0.002),
        estimate("murmur", 0.3, None, measure="murmur", method="heard"),
        estimate("linear", 0.001, "absent"),
    ]
    kinds = (("positive", "echo", False), ("silence", "echo", True))
    controls = tuple(
        Control(id=f"C{i}", kind=k, channel=c, attribute="sex", regime="model", site="penultimate", passed=ok, detail="")
        for i, (k, c, ok) in enumerate(kinds)
    )
    return small_pack(numbers, [finding("removed", recoverable=("echo",))], controls=controls, digest=digest * 64)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_a_channel_and_a_section_of_another_package_stand_in_the_report(render) -> None:
    text = render(_echo(0.2, "present"))
    if render is render_html:
        table = text[text.index("Non-linear leak") :]
        assert table.index("Relearned") < table.index("Echo") < table.index("Controls of the instrument")
        assert "recoverable: echo" in text
        assert "a silent room gives no echo" in text
    assert re.search(r"Echo(\*\*:|</dt><dd>) ?Does an echo answer\?", text)
    assert "Murmur: sex" in text
    assert "Does it murmur?" in text
    assert text.index("Each kind of training") < text.index("Rooms with an echo") < text.index("Where in the model it is")
    assert "Of small." in text


@pytest.mark.usefixtures("plugin")
def test_a_channel_of_another_package_is_compared_and_gated_in_its_words() -> None:
    comparison = compare_packs(_echo(0.001, "absent"), _echo(0.2, "present", "e"))
    assert comparison.outcome == "worse"
    assert comparison.outcomes[0].reasons[0].startswith("echo (as loud as it was) at 'penultimate': 0.001 before, 0.200 after")
    for text in (page_html(comparison_page(comparison)), page_markdown(comparison_page(comparison))):
        assert "as loud as it was" in text
    case = gate(_echo(0.001, "absent"), Policy()).cases[0]
    assert case.outcome == "undecided"
    assert "the positive control of the echo check at 'penultimate' failed" in case.reason


def test_without_the_package_the_number_is_no_check() -> None:
    assert compare_packs(_echo(0.001, "absent"), _echo(0.2, "present", "e")).outcome == "no_change"
    assert "Echo" not in render_html(_echo(0.2, "present"))
    assert "Further numbers" not in render_html(_echo(0.2, "present"))


# Prose -------------------------------------------------------------------------------------------------------------


def _babel(pack: EvidencePack) -> EvidencePack:
    """The pack with every text for people in another place."""

    def mixed(e: Estimate, other: Estimate) -> Estimate:
        return e.model_copy(update={key: getattr(other, key) for key in ("context", "method", "reason")})

    evidence = pack.evidence
    estimates = tuple(map(mixed, evidence.estimates, (*evidence.estimates[-7:], *evidence.estimates[:-7])))
    said = {"sentence": "about 99 rows", "would_settle": "shown by the reader 'x'"}
    findings = tuple(f.model_copy(update=said) for f in evidence.findings)
    controls = tuple(c.model_copy(update={"detail": "real: 95th percentile"}) for c in evidence.controls)
    return replace(pack, evidence=evidence.model_copy(update={"estimates": estimates, "findings": findings, "controls": controls}))


def _ids(row: Row) -> dict[str, object]:
    return {key: value.id if isinstance(value, Estimate) else value for key, value in vars(row).items() if key != "finding"}


PACK = large_pack(("sex", "race", "zip"), ("real", "tvae", "mixed-tvae-0.5"), ("block0", "block1", "penultimate"))


def test_a_report_shows_the_same_numbers_whatever_the_words_are() -> None:
    first, second = summarize(PACK), summarize(_babel(PACK))
    for one, other in zip(first.attributes, second.attributes, strict=True):
        assert [_ids(row) for row in (*one.rows, *one.references)] == [_ids(row) for row in (*other.rows, *other.references)]
        assert one.answer == other.answer
    for make in (profile, depth, mixing, causal, relearning):
        sections = [make(Report.of(pack)) for pack in (PACK, _babel(PACK))]
        drawn = [[p.svg for b in s.blocks if isinstance(b, Pictures) for p in b.items] for s in sections if s is not None]
        assert drawn[0]
        assert drawn[0] == drawn[1]


def test_comparison_and_gate_decide_the_same_whatever_the_words_are() -> None:
    after = replace(PACK, plan={**PACK.plan, "digest": "e"})
    plain, babel = compare_packs(PACK, after), compare_packs(_babel(PACK), _babel(after))
    assert [replace(n, note="", missing="") for n in plain.numbers] == [replace(n, note="", missing="") for n in babel.numbers]
    assert [(pair.attribute, pair.outcome) for pair in plain.outcomes] == [(pair.attribute, pair.outcome) for pair in babel.outcomes]
    cases = [gate(pack, Policy()).cases for pack in (PACK, _babel(PACK))]
    assert [replace(case, detail="", reason="") for case in cases[0]] == [replace(case, detail="", reason="") for case in cases[1]]


# What is not imported ----------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]
LOAD = """
import importlib, pathlib, pkgutil, sys
for room in ("reporting", "comparison", "gating"):
    package = importlib.import_module(f"proxyaudit.{room}")
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
from proxyaudit.comparison import compare_packs
from proxyaudit.evidence.pack import read_pack
from proxyaudit.gating.policy import Policy
from proxyaudit.gating.decide import gate
from proxyaudit.reporting.comparison import comparison_page
from proxyaudit.reporting.html import page_html, render_html
pack = read_pack(pathlib.Path("reports/example"))
assert "Interchange effect" in render_html(pack) and gate(pack, Policy()).cases
assert "no worse" in page_html(comparison_page(compare_packs(pack, pack)))
heavy = {"torch", "sdv", "transformers", "sklearn", "captum"} & set(sys.modules)
sys.exit(", ".join(sorted(heavy)) or 0)
"""


def test_reports_comparisons_and_gates_load_no_model_library() -> None:
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
