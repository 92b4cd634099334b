"""A delivered pack, its project beside it: nothing of it runs unless the caller has named it, and only as it was when it was audited."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from released_packs import edit
from small_project import NETS, project, table

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack

RECIPE = """\
name: delivered
data: {path: real.csv, target: pay, protected: [sex], encode: none, exclude: [sex, job], discover: 0}
regimes: [real, {name: vendor, checkpoints: [a0.safetensors]}]
model: {kind: module, factory: "nets.py:make", epochs: 2}
references: {placebos: 20, reweighed: false}
seeds: 1
signatures: true
"""
MARK = '\n(Path(__file__).parent / "ran").touch()\n'


@dataclass(frozen=True)
class Delivered:
    base: Path
    run: Path

    @property
    def ran(self) -> Path:
        """What the factory leaves where it is executed."""
        return self.base / "ran"

    def given(self, command: str, out: Path) -> list[str]:
        """A command on the pack, all it needs but consent."""
        if command == "scan":
            files = ["--model", str(self.base / "a0.safetensors"), "--inputs", str(self.base / "fresh.csv")]
            return ["scan", "--signatures", str(self.run), *files, "--base", str(self.base)]
        asked = ["--attribute", "sex", "--regime", "real", "--base", str(self.base), "--out", str(out)]
        return [command, str(self.run), *asked, *(["--cure", "dropped-1"] if command == "cure" else [])]

    def consent(self, text: str) -> list[str]:
        """Options of consent; ``HASH`` is that of the factory as it lies there."""
        found = hashlib.sha256((self.base / "nets.py").read_bytes()).hexdigest()
        return ["--run-code", text.replace("HASH", found)] if text else []


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("delivered")
    recipe = project(folder, RECIPE)
    (folder / "nets.py").write_text(NETS + MARK)
    table(400, seed=5).to_csv(folder / "fresh.csv", index=False)
    assert main(["run", str(recipe), "--out", str(folder / "out"), "--jobs", "1"]) == 0
    (folder / "ran").unlink()
    assert [e.subject for e in read_pack(find_run(folder / "out" / "delivered")).evidence.estimates if e.channel == "cure"]
    return folder


@pytest.fixture
def pack(made: Path, tmp_path: Path) -> Delivered:
    base = Path(shutil.copytree(made, tmp_path / "theirs"))
    return Delivered(base, find_run(base / "out" / "delivered"))


COMMANDS = ("mitigate", "cure", "scan")


@pytest.mark.long
@pytest.mark.parametrize("text", ["", "any", f"nets.py@sha256:{'0' * 64}", "other.py@sha256:HASH"])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_runs_without_the_very_hash(
    command: str, text: str, pack: Delivered, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXYAUDIT_RUN_CODE", "any")
    given = pack.given(command, tmp_path / "mine")
    assert main([*given, *pack.consent(text)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert line.rstrip().endswith(" ".join(pack.consent("nets.py@sha256:HASH")))
    assert not pack.ran.exists()
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_recipe_within_a_run_is_not_ones_own(
    command: str, pack: Delivered, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROXYAUDIT_RUN_CODE", "any")
    for file in ("nets.py", "real.csv", "a0.safetensors"):
        shutil.copy(pack.base / file, pack.run / file)
    given = [command, str(pack.run / "recipe.yaml"), *(["--out", str(tmp_path / "mine")] if command == "run" else [])]
    assert main(given) == 2
    assert capsys.readouterr().err.rstrip().endswith(" ".join(pack.consent("nets.py@sha256:HASH")))
    assert not (pack.run / "ran").exists()


def _verdict(pack: Delivered) -> None:
    edit(pack.run, lambda d: d["findings"][0].update(verdict="removed" if d["findings"][0]["verdict"] != "removed" else "exposed"))


def _page(pack: Delivered) -> None:
    (pack.run / "report.html").write_text("<title>Removed</title>")


def _renamed(pack: Delivered) -> None:
    edit(pack.run, lambda d: d.update(run_id="0" * 12), "plan.json")


ALTERED: dict[str, Callable[[Delivered], None]] = {"verdict": _verdict, "page": _page, "run id": _renamed}


@pytest.mark.parametrize("change", ALTERED)
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_of_an_altered_pack_runs(
    command: str, change: str, pack: Delivered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ALTERED[change](pack)
    assert main([*pack.given(command, tmp_path / "mine"), *pack.consent("nets.py@sha256:HASH")]) == 4
    assert capsys.readouterr().err.count("\n") == 1
    assert not pack.ran.exists()


@pytest.mark.parametrize("file", ["real.csv", "a0.safetensors", "nets.py"])
@pytest.mark.parametrize("command", ["mitigate", "cure"])
def test_nothing_runs_beside_files_that_were_not_audited(
    command: str, file: str, pack: Delivered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (pack.base / file).open("ab") as stream:
        stream.write(b"\n")
    assert main([*pack.given(command, tmp_path / "mine"), *pack.consent("nets.py@sha256:HASH")]) == 2
    assert "is not what it was when the run was made" in capsys.readouterr().err
    assert not pack.ran.exists()


def test_what_was_audited_runs_where_the_caller_names_it(pack: Delivered, tmp_path: Path) -> None:
    for command in ("cure", "scan"):
        assert main([*pack.given(command, tmp_path / "mine"), *pack.consent("nets.py@sha256:HASH")]) in (0, 1, 3)
        assert pack.ran.exists()
        pack.ran.unlink()


@pytest.mark.parametrize("command", ["gate", "compare", "report", "verify", "ls", "controls", "history", "purge"])
def test_what_only_reads_a_pack_runs_nothing(command: str, pack: Delivered) -> None:
    given = [str(pack.base)] if command == "history" else [str(pack.run)] * (2 if command == "compare" else 1)
    assert main([command, *given]) in (0, 1, 3)
    assert not pack.ran.exists()
