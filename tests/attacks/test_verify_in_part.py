"""What could not be checked is never called verified, and decides only where nothing but words is open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from released_packs import edit, sign_again

from proxyaudit.cli.main import main
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import replace_files
from proxyaudit.verification.checks import Check, Verification
from proxyaudit.verification.run import verify_folder


def _zeros(folder: Path) -> None:
    """Say that another version rendered the pages: the one digest that no file bears out."""
    document = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(canonical_json({**document, "rendered_by": "0" * 64}))


FORGED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "another verdict on the page": ("report.html", lambda data: data.replace(b"Exposed", b"Removed")),
    "another answer in the text": ("report.md", lambda data: data.replace(b"# ", b"# Removed: ", 1)),
    "another page altogether": ("report.html", lambda data: b"<!doctype html><title>Removed</title>All is well."),
}


@pytest.mark.parametrize("name", list(FORGED))
@pytest.mark.parametrize("kind", ["run", "probe"])
def test_a_page_that_cannot_be_checked_is_never_called_verified(
    name: str, kind: str, folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    own, (file, change) = folder(kind), FORGED[name]
    assert main(["report", str(own)]) == 0
    assert "reports" not in verify_folder(own).skipped
    data = (own / file).read_bytes()
    assert change(data) != data
    replace_files(own, {file: change(data)})
    _zeros(own)
    capsys.readouterr()
    for more, code in (((), 3), (("--strict",), 4)):
        assert main(["verify", str(own), *more]) == code
        shown = capsys.readouterr()
        assert "not checked: reports (another version of proxyaudit" in shown.err
        assert "proxyaudit report" in shown.err
        assert shown.out.splitlines()[-1].startswith(f"{own}: verified in part")
    assert main(["verify", str(own), "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["verified"], document["outcome"], document["exit_code"]) == (False, "verified in part", 3)
    assert "reports" in document["skipped"]


def test_what_is_altered_stays_altered_whatever_was_skipped(folder: Callable[[str], Path]) -> None:
    own = folder("run")
    _zeros(own)
    edit(own, lambda d: d["findings"][0].update(verdict="removed"))
    assert verify_folder(own).skipped
    assert main(["verify", str(own)]) == 4


def _reworded(folder: Path) -> str:
    """A sentence and a code digest of another version, all else made to fit; returns the sentence."""
    forged = "Nothing can be read from this model, and everybody is treated alike."
    edit(folder, lambda d: d["findings"][0].update(sentence=forged))
    edit(folder, lambda d: d.update(code="0" * 64), "plan.json")
    sign_again(folder)
    assert main(["report", str(folder)]) == 0
    return forged


def test_words_of_another_version_are_shown_by_nobody_who_decides(today: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forged = _reworded(today)
    capsys.readouterr()
    assert main(["verify", str(today)]) == 3
    assert "not checked: sentences (another version" in capsys.readouterr().err
    (tmp_path / "policy.yaml").write_text("allow: [removed, hidden, exposed]\ninconclusive: allow\nregimes: all\n")
    assert main(["gate", str(today), "--policy", str(tmp_path / "policy.yaml"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert any("is verified in part: sentences" in note and "written again" in note for note in document["notes"])
    assert all(case["detail"] and forged not in case["detail"] for case in document["cases"])
    assert main(["compare", str(today), str(today)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("is verified in part") == 1
    assert str(today) not in shown
    # What a reader asks for is made anew, beside the run.
    before = {path.name: path.read_bytes() for path in today.iterdir()}
    assert main(["report", str(today), "--out", str(tmp_path / "fresh")]) == 0
    assert forged.encode() in before["report.html"]
    assert forged not in (tmp_path / "fresh" / "report.html").read_text() + (tmp_path / "fresh" / "report.md").read_text()
    assert {path.name: path.read_bytes() for path in today.iterdir()} == before


@pytest.mark.parametrize("command", [["gate"], ["compare", "."], ["report"]])
def test_what_decides_takes_no_page_of_another_version(
    command: list[str], today: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_files(today, {"report.html": b"<!doctype html><title>Removed</title>"})
    _zeros(today)
    given = [command[0], str(today), *[str(today) for _ in command[1:]]]
    if command[0] != "report":
        assert main(given) == 4
        assert "reports (another version" in capsys.readouterr().err
        assert main(["report", str(today)]) == 0
    assert main(given) in (0, 1, 3)
    assert verify_folder(today).outcome == "verified"


def test_a_page_that_says_what_the_evidence_gives_is_checked_whoever_rendered_it(today: Path) -> None:
    _zeros(today)
    assert verify_folder(today).outcome == "verified"


@pytest.mark.parametrize("name", ["0" * 12, "0123456789ab", "f" * 12])
def test_a_run_in_the_folder_of_another_is_no_run(name: str, today: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify_folder(today).outcome == "verified"
    moved = today.rename(today.parent / name)
    assert main(["verify", str(moved)]) == 4
    assert f"the folder is named as run {name}" in capsys.readouterr().err
    assert main(["gate", str(moved)]) == 4
    own = json.loads((moved / "plan.json").read_bytes())["run_id"]
    assert verify_folder(moved.rename(today.parent / own)).outcome == "verified"
    assert verify_folder((today.parent / own).rename(today.parent / "last-release")).outcome == "verified"


def test_a_run_of_which_more_than_words_was_skipped_decides_nothing(
    folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = folder("run")
    for command in (["gate", str(own)], ["compare", str(own), str(own)]):
        assert main(command) == 4
        assert "older schema" in capsys.readouterr().err
    checks = (Check("files", ""), Check("verdicts", "no way to", skipped=True))
    monkeypatch.setattr("proxyaudit.verification.run.verify_folder", lambda path, **_: Verification(path, "run", checks))
    for command in (["gate", str(own)], ["compare", str(own), str(own)]):
        assert main(command) == 4
        assert "verdicts (no way to)" in capsys.readouterr().err
