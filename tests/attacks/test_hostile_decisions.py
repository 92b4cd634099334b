"""Policies, names and run folders that were made to mislead compare and gate."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from released_packs import bytes_only

from proxyaudit.cli.main import main
from proxyaudit.comparison import compare_packs
from proxyaudit.evidence.pack import write_pack
from proxyaudit.gating.decide import gate
from proxyaudit.gating.junit import junit
from proxyaudit.gating.policy import Policy
from proxyaudit.names import doubt
from proxyaudit.reporting.comparison import comparison_page
from proxyaudit.reporting.html import page_html
from proxyaudit.reporting.markdown import page_markdown
from tests.unit.small_packs import estimate, finding, small_pack, with_rows

SOUND = small_pack([estimate("linear", 0.001, "absent"), estimate("expressed", 0.01, "absent")], [finding("removed")])
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join(['*' + before] * 9)}]\n" for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
POLICIES = {
    "python object": "allow: !!python/object/apply:os.system ['touch owned']",
    "python name": "attributes: !!python/name:os.system",
    "billion laughs": LAUGHS + "allow: *i\n",
    "billion laughs as a word": LAUGHS.replace("a: &a", "attributes: &a", 1) + "inconclusive: *i\n",
    "deep nesting": "allow: " + "[" * 400 + "]" * 400,
    "key twice": "allow: [removed]\nallow: [exposed]\n",
    "not a number": "margins: {leak: .nan}",
    "endless number": "margins: {leak: .inf}",
    "yes is no margin": "margins: {leak: yes}",
    "huge": "# " + "x" * 70_000,
    "two documents": "allow: [removed]\n---\nallow: [exposed]\n",
    "latin": b"allow: [\xe9]",
    "nothing": "",
    "half a character": '"\\ud800": [removed]',
    "half a character as a value": 'allow: ["\\ud800"]',
    "wrong case": "allow: [Removed, EXPOSED]",
    "regular expression": "attributes: ['.*']",
    "baseline is a device": "baseline: /dev/zero",
    "baseline is a list": "baseline: [a, b]",
    "key with a newline": '"al\\nlow": [removed]',
}


@pytest.mark.parametrize("name", POLICIES)
def test_hostile_policies_are_refused_in_one_line(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pack(SOUND, tmp_path / "run", reports={"report.html": "", "report.md": ""})
    text = POLICIES[name]
    (tmp_path / "policy.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["gate", "run", "--policy", "policy.yaml"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert len(shown.err) < 800
    assert "Traceback" not in shown.err
    assert "internal error" not in shown.err
    assert not (tmp_path / "owned").exists()


@pytest.fixture(autouse=True)
def _made_up_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packs made up of a few numbers have none of what `verify` recomputes; their bytes are checked all the same."""
    bytes_only(monkeypatch)


def test_a_policy_cannot_hide_in_a_folder(tmp_path):
    write_pack(SOUND, tmp_path / "run", reports={"report.html": "", "report.md": ""})
    assert main(["gate", str(tmp_path / "run"), "--policy", str(tmp_path)]) == 2


# Run folders -------------------------------------------------------------------------------------------------------


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _verdict(folder: Path) -> None:
    path = folder / "evidence.json"
    path.write_text(path.read_text().replace('"exposed"', '"removed"'))


CHANGES = {
    "verdict": _verdict,
    "plan": lambda folder: _flip(folder / "plan.json"),
    "arrays": lambda folder: _flip(folder / "arrays.safetensors"),
    "report": lambda folder: (folder / "report.html").write_text("<h1>removed</h1>"),
    "environment": lambda folder: (folder / "environment.json").unlink(),
    "manifest": lambda folder: (folder / "manifest.json").unlink(),
    "manifest emptied": lambda folder: (folder / "manifest.json").write_text("{}"),
    "file added": lambda folder: (folder / "note.txt").write_text("approved"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_run_decides_nothing(change, tmp_path, capsys):
    pack = small_pack([estimate("linear", 0.2, "present")], [finding("exposed")])
    write_pack(pack, tmp_path / "run", reports={"report.html": "", "report.md": ""})
    write_pack(SOUND, tmp_path / "sound", reports={"report.html": "", "report.md": ""})
    CHANGES[change](tmp_path / "run")
    assert main(["gate", str(tmp_path / "run")]) == 4
    assert main(["compare", str(tmp_path / "sound"), str(tmp_path / "run")]) == 4
    assert main(["compare", str(tmp_path / "run"), str(tmp_path / "sound")]) == 4
    # Integrity comes before a policy that is wrong itself.
    (tmp_path / "policy.yaml").write_text("alow: [exposed]")
    assert main(["gate", str(tmp_path / "run"), "--policy", str(tmp_path / "policy.yaml")]) == 4
    assert capsys.readouterr().out == ""


def test_a_run_that_never_ended_is_no_integrity_failure(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text("{}")
    assert main(["gate", str(tmp_path / "run")]) == 2


# Names -------------------------------------------------------------------------------------------------------------

NAMES = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]><failure/>",
    "a|b\n| c",
    "[x](http://evil)",
    "\u202egnorw",
    "nul\x00bell\x07",
    "\ud800",
    "sex" * 100,
    "عربى",
)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_stay_text_everywhere(name, tmp_path):
    number = estimate("linear", 0.2, "present", attribute=name, regime=name, site=name)
    before, after = (
        small_pack(
            [number.model_copy(update={"value": v, "low": v - 0.01, "high": v + 0.01, "seed_values": (v,)})],
            [finding("exposed", attribute=name, regime=name, sentence=name)],
            sites=((name,), (name,)),
            digest=str(v),
        )
        for v in (0.1, 0.3)
    )
    comparison = compare_packs(before, after)
    assert comparison.exit_code == 1
    page = page_html(comparison_page(comparison))
    for bad in ("<script", "<img", "\u202e", "\x00", "\ud800"):
        assert bad not in page
    text = page_markdown(comparison_page(comparison))
    assert not re.search(r"(?<!\\)\]\(http:", text)
    assert "<script" not in text
    # One table of six columns, two of nine: no name opened a cell or a line of its own.
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {7, 10}
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 9
    root = ElementTree.fromstring(junit(gate(after, Policy())))
    cases = root.findall("testsuite/testcase")
    # What cannot be seen in the name of attribute and regime is told before the verdict.
    doubted = ["error", "error"] if doubt(name) else []
    assert [child.tag for case in cases for child in case] == [*doubted, "failure"]
    assert not any("\u202e" in (case.get("name") or "") for case in cases)


# Row sums ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"row_parts.ids": np.arange(7)},
        {"row_parts.ids": np.array([99, 98])},
        {"row_parts.sums": np.full((2, 10), np.nan)},
        {"row_parts.sums": np.zeros(10)},
        {"row_parts.sums": np.zeros((2, 3))},
        {"row_parts.spread": np.zeros((2, 3))},
        {"row_parts.spread": np.array([[-1.0, 1, 0, 1]] * 2)},
        {"row_parts.spread": np.array([[np.inf, 1, 0, 1]] * 2)},
        {"row_parts.spread": np.array([["a", "b", "c", "d"]] * 2)},
    ],
)
def test_row_sums_of_another_shape_are_not_believed(change):
    good = with_rows(SOUND, np.full(10, 0.003))
    bad = replace(good, arrays={**good.arrays, **change})
    comparison = compare_packs(good, bad)
    assert not any(n.paired for n in comparison.numbers)
    assert all(n.low is None or n.low < n.difference < n.high for n in comparison.numbers)


def test_a_number_that_claims_no_error_makes_no_infinite_claim():
    sure = replace(SOUND, arrays={})
    flat = small_pack([estimate("linear", 0.001, "absent", se=0.0), estimate("expressed", 0.01, "absent", se=0.0)], [finding("removed")])
    assert compare_packs(sure, flat).exit_code == 0
    json.dumps(compare_packs(flat, flat).as_dict(), allow_nan=False)
