"""What a run leaves for everybody to read tells of no machine: absolute paths are names alone, in recipes, failures and pages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from released_packs import edit
from safetensors.numpy import save_file
from small_project import SMALL, project

from proxyaudit.cache import Cache
from proxyaudit.cli.main import main
from proxyaudit.errors import InputError, MachineError, TaskError, safe_line
from proxyaudit.evidence.pack import find_run
from proxyaudit.recipe.recipe import parse_recipe


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run whose recipe names its files by absolute paths: the folder of the files, and that of the run."""
    home = tmp_path_factory.mktemp("home-of-alice")
    recipe = project(home, SMALL)
    document = yaml.safe_load(recipe.read_text())
    document["data"]["path"] = str(home / "real.csv")
    document["regimes"][1]["synthetic"]["path"] = str(home / "release.csv")
    recipe.write_text(yaml.safe_dump(document))
    assert main(["run", str(recipe), "--out", str(home / "out"), "--jobs", "1"]) == 0
    return home, find_run(home / "out" / "small")


@pytest.mark.long
def test_no_file_of_a_run_holds_a_path_of_this_machine(made: tuple[Path, Path]) -> None:
    home, run = made
    for path in run.iterdir():
        data = path.read_bytes()
        for told in (str(home), home.name, str(home.parent)):
            assert told.encode() not in data, (path.name, told)
    assert main(["verify", str(run)]) == 0


@pytest.mark.long
def test_a_run_without_its_paths_is_worked_on_from_the_folder_of_its_files(made: tuple[Path, Path], tmp_path: Path) -> None:
    home, run = made
    given = ["mitigate", str(run), "--attribute", "sex", "--regime", "real", "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main([*given, "--base", str(tmp_path)]) == 2
    assert main([*given, "--base", str(home)]) == 0


@pytest.mark.parametrize("path", ["/home/alice/t.csv", "C:\\Users\\alice\\t.csv", "//server/alice/t.csv"])
def test_every_path_of_a_recipe_is_published_as_a_name(path: str) -> None:
    lm = {"language_model": {"path": path}, "name": "lm"}
    regimes = ["real", {"synthetic": {"name": "v", "path": path}}, {"name": "c", "checkpoints": [path]}, {"synthetic": lm}]
    data = {"path": path, "card": path, "holdout": path, "target": "y", "protected": ["sex"], "text": "words"}
    recipe = parse_recipe({"name": "t", "data": data, "regimes": regimes, "model": {"kind": "huggingface", "path": path}})
    assert "alice" not in json.dumps(recipe.published())
    assert json.dumps(recipe.published()).count("t.csv") == 7
    near = json.loads(json.dumps(recipe.model_dump(mode="json", exclude_none=True)).replace(json.dumps(path)[1:-1], "data/t.csv"))
    assert parse_recipe(near).published() == near


@pytest.mark.parametrize(
    "error",
    [
        InputError("no such file", where="/home/alice/data/t.csv", mend="see /home/alice/x"),
        TaskError("the release of /home/alice/r.csv failed"),
        RuntimeError("cannot open C:\\Users\\alice\\t.csv"),
        OSError("'/home/alice/.cache/m' is gone"),
    ],
)
def test_failures_name_files_without_their_folders(error: Exception) -> None:
    line = safe_line(error)
    assert "alice" not in line
    assert line.startswith(type(error).__name__)


@pytest.mark.parametrize("text", ["24 and/or 3", "a/b/c of mixed/x", "see https://x.org/a/b", "1 / 2 / 3"])
def test_what_is_no_path_stays(text: str) -> None:
    assert text in safe_line(TaskError(text))


@pytest.mark.long
def test_a_copy_of_a_run_says_the_same(made: tuple[Path, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(made[1], tmp_path / made[1].name))
    assert main(["verify", str(copy), "--strict"]) == 0


@pytest.mark.long
@pytest.mark.parametrize("command", ["run", "probe"])
def test_a_run_that_lies_there_already_is_not_believed(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A neighbour who may write to the folder of results leaves a finished run there, verdicts and hashes to their liking."""
    rng = np.random.default_rng(0)
    project(tmp_path, SMALL)
    save_file({"a": rng.normal(size=(200, 3)).astype(np.float32)}, tmp_path / "acts.safetensors")
    pd.DataFrame({"sex": rng.choice(["f", "m"], 200)}).to_csv(tmp_path / "labels.csv", index=False)
    given = {
        "run": ["run", str(tmp_path / "recipe.yaml"), "--jobs", "1"],
        "probe": [
            "probe",
            "--activations",
            f"m={tmp_path / 'acts.safetensors'}",
            "--labels",
            str(tmp_path / "labels.csv"),
            "--attribute",
            "sex",
        ],
    }[command]
    out = tmp_path / "out"
    assert main([*given, "--out", str(out)]) == 0
    run = find_run(out)
    assert main([*given, "--out", str(out)]) == 0
    edit(run, lambda d: d["findings"][0].update(verdict="removed" if d["findings"][0]["verdict"] != "removed" else "exposed"))
    capsys.readouterr()
    assert main([*given, "--out", str(out)]) == 4
    shown = capsys.readouterr()
    assert "verdict is" in shown.err
    assert not shown.out


def test_a_cache_of_somebody_else_takes_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could let everybody look on, and put results of their own in the place of ours."""
    cache = Cache(tmp_path / "cache")
    cache.commit("inputs", "a" * 64, lambda folder: None)
    monkeypatch.setattr("os.geteuid", lambda: (tmp_path / "cache").stat().st_uid + 1)
    # A disk that tells another owner than whoever may change it is nobody else's: NFS that takes all users for one.
    cache.commit("inputs", "c" * 64, lambda folder: None)

    def refused(self: Path, mode: int) -> None:
        raise PermissionError(1, "not the owner")

    monkeypatch.setattr(Path, "chmod", refused)
    for kind in ("inputs", "train", "measure"):
        with pytest.raises(MachineError, match="belongs to somebody else"):
            cache.commit(kind, "b" * 64, lambda folder: None)
