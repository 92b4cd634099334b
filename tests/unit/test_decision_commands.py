"""compare and gate on the command line: what is printed, written and returned, and what the pages look like."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from released_packs import bytes_only

from proxyaudit.cli.main import main
from proxyaudit.comparison import compare_packs
from proxyaudit.evidence.pack import EvidencePack, write_pack
from proxyaudit.reporting.comparison import comparison_page
from proxyaudit.reporting.html import page_html
from proxyaudit.reporting.markdown import page_markdown
from tests.unit.small_packs import estimate, finding, small_pack

BEFORE = small_pack([estimate("linear", 0.001, "absent"), estimate("expressed", 0.01, "absent")], [finding("removed")])
AFTER = small_pack([estimate("linear", 0.2, "present"), estimate("expressed", 0.01, "absent")], [finding("hidden")], digest="e" * 64)
UNSURE = [estimate("linear", 0.1, "unknown", se=0.1), estimate("expressed", None, "unknown")]
FOGGY = small_pack(UNSURE, [finding("inconclusive")], digest="f" * 64)


@pytest.fixture(autouse=True)
def _made_up_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs made up of a few numbers have none of what `verify` recomputes; `tests/attacks/test_verify.py` holds both commands to it."""
    bytes_only(monkeypatch)


def written(folder: Path, **packs: EvidencePack) -> dict[str, str]:
    for name, pack in packs.items():
        write_pack(pack, folder / name, reports={"report.html": "", "report.md": ""})
    return {name: str(folder / name) for name in packs}


@pytest.mark.parametrize(
    ("a", "b", "code", "words"),
    [
        (BEFORE, BEFORE, 0, "No change for the worse was found between run A and run B."),
        (BEFORE, AFTER, 1, "Run B is worse than run A for 'sex'."),
        (AFTER, BEFORE, 0, "Run B is better than run A for 'sex'"),
        (BEFORE, FOGGY, 3, "It cannot be told whether run B is worse than run A for 'sex'."),
    ],
)
def test_compare_prints_its_answer_and_returns_it(a, b, code, words, tmp_path, capsys):
    runs = written(tmp_path, a=a, b=b)
    assert main(["compare", runs["a"], runs["b"]]) == code
    assert words in capsys.readouterr().out
    assert main(["compare", runs["a"], runs["b"], "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == code
    assert said["outcomes"][0]["attribute"] == "sex"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--regime", "x=y"], "run A has no regime 'x'"),
        (["--attribute", "age"], "neither run has the attribute 'age'"),
        (["--out", "{a}"], "a run folder takes no further files"),
    ],
)
def test_compare_refuses_in_one_line(arguments, words, tmp_path, capsys):
    runs = written(tmp_path, a=BEFORE, b=AFTER)
    assert main(["compare", runs["a"], runs["b"], *(text.format(**runs) for text in arguments)]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1
    assert main(["compare", runs["a"], str(tmp_path / "nowhere")]) == 2
    assert main(["compare", runs["a"]]) == 2


@pytest.mark.parametrize(("pack", "code"), [(BEFORE, 0), (AFTER, 1), (FOGGY, 3)])
def test_gate_prints_its_answer_and_returns_it(pack, code, tmp_path, capsys, monkeypatch):
    run = written(tmp_path, run=pack)["run"]
    assert main(["gate", run]) == code
    assert {0: "The policy is met.", 1: "The policy is not met.", 3: "cannot be told"}[code] in capsys.readouterr().out
    monkeypatch.setenv("PROXYAUDIT_JUNIT", str(tmp_path / "out" / "gate.xml"))
    (tmp_path / "policy.yaml").write_text("allow: [removed, hidden, exposed]\ninconclusive: allow\n")
    monkeypatch.setenv("PROXYAUDIT_POLICY", str(tmp_path / "policy.yaml"))
    assert main(["gate", run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["policy"]["inconclusive"] == "allow"
    assert ElementTree.parse(tmp_path / "out" / "gate.xml").getroot().get("failures") == "0"


def test_gate_puts_integrity_before_a_failed_task_before_the_policy(tmp_path, capsys):
    partial = small_pack([estimate("linear", 0.2, "present")], [finding("exposed")], status="partial")
    run = written(tmp_path, run=partial)["run"]
    assert main(["gate", run]) == 5
    assert "partial" in capsys.readouterr().out
    (Path(run) / "report.md").write_text("all is well")
    junit = tmp_path / "gate.xml"
    assert main(["gate", run, "--junit", str(junit)]) == 4
    assert "report.md does not match its hash" in capsys.readouterr().err
    assert "report.md does not match its hash" in junit.read_text(encoding="utf-8")


def test_junit_is_not_written_into_the_run_and_a_bad_place_is_one_line(tmp_path, capsys):
    run = written(tmp_path, run=BEFORE)["run"]
    assert main(["gate", run, "--junit", f"{run}/gate.xml"]) == 2
    (tmp_path / "file").write_text("")
    assert main(["gate", run, "--junit", str(tmp_path / "file" / "gate.xml")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert main(["gate", run]) == 0  # nothing was added


def test_pages_of_a_comparison_are_whole_and_the_same_twice():
    comparison = compare_packs(BEFORE, AFTER)
    page, text = page_html(comparison_page(comparison)), page_markdown(comparison_page(comparison))
    assert page_html(comparison_page(comparison)) == page
    assert page_markdown(comparison_page(comparison)) == text
    assert "<script" not in page
    assert not re.search(r'src=|href="[^#]|url\(|@import', page)
    assert "Run B is worse than run A for" in page
    assert "linear leak at &#39;penultimate&#39;: 0.001 before, 0.200 after, more by 0.199" in page
    assert text.startswith("# Run B is worse than run A for 'sex'.")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in rows[:3]}) == 1
    for number in comparison.numbers:
        assert f"{number.value_b:.3f}" in page
        assert f"{number.value_b:.3f}" in text
