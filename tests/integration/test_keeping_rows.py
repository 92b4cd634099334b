"""From a recipe that names a recipient to a purged run: what is restricted is never open, and every step verifies."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_project import SMALL, cache_of, project, run

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run
from proxyaudit.evidence.tiers import BESIDE, RUN_ENCRYPTED, tier_of

pyrage = pytest.importorskip("pyrage", reason="needs the extra 'access'")


@dataclass(frozen=True)
class Made:
    """A project with its run and the identity of its one recipient."""

    base: Path
    out: Path
    identity: Path

    def open(self, folder: Path, out: Path) -> int:
        return main(["access", str(folder), "--identity", str(self.identity), "--purpose", "a test", "--out", str(out)])

    def on_run(self, command: str, *more: str) -> int:
        place = ["--base", str(self.base), "--out", str(self.out), "--cache", str(cache_of(self.out))]
        return main([command, str(find_run(self.out / "small")), "--attribute", "sex", "--regime", "real", *place, *more])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, identity = tmp_path_factory.mktemp("keeping"), pyrage.x25519.Identity.generate()
    (folder / "me.key").write_text(f"{identity}\n")
    (folder / "me.key").chmod(0o600)
    more = f"cures: true\naccess: {{recipients: [{identity.to_public()}]}}\nretain_until: 2020-01-01\n"
    text = SMALL.replace("cures: false\n", "").replace("  - synthetic: {name: vendor, path: release.csv}\n", "")
    recipe = project(folder / "project", text + more)
    assert run(recipe, folder / "out") == 0
    return Made(folder / "project", folder / "out", folder / "me.key")


@pytest.mark.long
def test_a_run_keeps_what_only_its_recipients_can_read(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = find_run(made.out / "small")
    names = {path.name for path in made.out.rglob("*") if path.is_file()}
    assert {name for name in names if tier_of(name) != "public"} == set(RUN_ENCRYPTED)
    weights = next(cache_of(made.out).glob("train/*/weights.safetensors"))
    scan = ["scan", "--signatures", str(folder), "--model", str(weights), "--inputs", str(made.base / "real.csv"), "--base", str(made.base)]
    assert main(scan) == 2
    assert "they are encrypted" in capsys.readouterr().err
    assert made.open(folder, tmp_path / "opened") == 0
    assert main([*scan, "--opened", str(tmp_path / "opened")]) == 1  # it is a model of the run, and the run is exposed
    assert main(["verify", str(folder)]) == 0
    assert main(["controls", str(folder), "--framework", "eu-ai-act", "--json"]) == 0


def test_a_cured_release_is_encrypted_and_goes_with_a_purge_of_the_folder(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.on_run("cure", "--cure", "resampled") == 0
    assert "Release:  encrypted; proxyaudit access" in capsys.readouterr().out
    (folder,) = (made.out / "small-cured").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "change.json",
        "change.md",
        "cure.json",
        "cured.yaml",
        "manifest.json",
        "release.csv.age",
    }
    assert json.loads((folder / "cure.json").read_text())["release"]["sha256"].startswith("keyed:")
    assert made.open(folder, tmp_path / "opened") == 0
    assert (tmp_path / "opened" / "release.csv").read_text().startswith("age,hours,job")
    assert main(["ls", str(made.out), "--due"]) == 0
    assert "Due since 2020-01-01" in capsys.readouterr().out
    assert main(["purge", str(made.out), "--cache", str(cache_of(made.out))]) == 0
    left = [path for path in made.out.rglob("*") if path.is_file()]
    assert all(tier_of(path.name) == "public" or path.name in BESIDE for path in left)
    assert not list(cache_of(made.out).glob("*/*/done.json"))
    assert main(["verify", str(find_run(made.out / "small"))]) == 0
    assert main(["ls", str(made.out), "--due"]) == 0
    assert "are due" in capsys.readouterr().out


@pytest.mark.study
def test_erased_models_are_encrypted_opened_and_purged(made: Made, tmp_path: Path) -> None:
    assert made.on_run("mitigate", "--jobs", "1") == 0
    (folder,) = (made.out / "small-mitigated").glob("mitigation-*")
    assert {path.name for path in folder.glob("*.safetensors*")} == {"before-0.safetensors.age", "mitigated-0.safetensors.age"}
    assert main(["verify", str(folder)]) == 0
    assert made.open(folder, tmp_path / "opened") == 0
    assert main(["verify", str(folder)]) == 0
    assert main(["purge", str(folder)]) == 0
    assert not list(folder.glob("*.age"))
    assert main(["verify", str(folder)]) == 0
