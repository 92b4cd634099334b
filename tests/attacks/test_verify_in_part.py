"""What could not be checked is never called verified, and decides only where nothing but words is open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from released_packs import edit

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
    "another answer in the text": ("report.md", lambda data: data.replace(b"**Yes", b"**No")),
    "another page altogether": ("report.html", lambda data: b"<!doctype html><title>Removed</title>All is well."),
    "nothing but the digest": ("report.md", lambda data: data),
}


@pytest.mark.parametrize("name", list(FORGED))
@pytest.mark.parametrize("kind", ["run", "probe"])
def test_a_page_that_cannot_be_checked_is_never_called_verified(
    name: str, kind: str, folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    own, (file, change) = folder(kind), FORGED[name]
    assert main(["report", str(own)]) == 0
    assert "reports" not in verify_folder(own).skipped
    replace_files(own, {file: change((own / file).read_bytes())})
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


def test_decisions_on_a_run_that_was_verified_in_part_say_so(
    folder: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = folder("run")
    (tmp_path / "policy.yaml").write_text("allow: [removed, hidden, exposed]\ninconclusive: allow\nregimes: all\n")
    assert main(["gate", str(own), "--policy", str(tmp_path / "policy.yaml"), "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("was verified in part: another version wrote its sentences and reports" in note for note in notes)
    assert main(["compare", str(own), str(own)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("was verified in part") == 1
    assert str(own) not in shown


def test_a_run_of_which_more_than_words_was_skipped_decides_nothing(
    folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = folder("run")
    checks = (Check("files", ""), Check("verdicts", "no way to", skipped=True))
    monkeypatch.setattr("proxyaudit.verification.run.verify_folder", lambda path: Verification(path, "run", checks))
    for command in (["gate", str(own)], ["compare", str(own), str(own)]):
        assert main(command) == 4
        assert "could not be checked here: verdicts" in capsys.readouterr().err
