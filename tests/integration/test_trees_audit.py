"""Audits of trees from a recipe: every regime, any number of workers, taken up again, and what does not apply."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_project import SMALL, cache_of, evidence_bytes, evidence_of, project, run, table

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run

NETWORK = "model: {kind: mlp, hidden: [8, 4], epochs: 2, batch_size: 32, learning_rate: 0.02}"
BOOSTING = SMALL.replace(NETWORK, "model: {kind: gradient_boosting, max_iter: 6, max_leaf_nodes: 5}").replace(
    "reweighed: false", "reweighed: true"
)
BOOSTING = BOOSTING.replace("model:", "  - mixed: {of: vendor, ratios: [0.5]}\nmodel:")
FOREST = SMALL.replace(NETWORK, "model: {kind: random_forest, n_estimators: 5, max_leaf_nodes: 6}").replace("target: pay", "target: job")
FOREST = FOREST.replace("cures: false", "effort: decide\ncures: false").replace("selection: {threshold: 0.5}\n", "")  # of two classes only


@pytest.fixture(scope="module")
def boosted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("boosted")
    recipe = project(folder / "p", BOOSTING)
    assert run(recipe, folder / "out") == 0
    return recipe, folder / "out"


@pytest.mark.long
def test_boosted_trees_are_audited_on_every_regime(boosted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    evidence = evidence_of(boosted[1])
    assert evidence.run.status == "complete"
    assert [finding.regime for finding in evidence.findings] == ["real", "vendor", "mixed-vendor-0.5"]
    assert {"untrained", "reweighed"} <= {estimate.regime for estimate in evidence.estimates}
    for channel in ("linear", "nonlinear", "expressed", "used", "elsewhere", "beyond", "prominence"):
        assert {e.regime for e in evidence.estimates if e.channel == channel} >= {"real", "vendor", "mixed-vendor-0.5"}, channel
    assert {e.site for e in evidence.estimates if e.channel == "linear"} >= {"margins"}
    assert {e.site for e in evidence.estimates if e.channel == "elsewhere"} == {"leaves", "margins.first_half"}
    back = [e for e in evidence.estimates if e.channel == "relearned" and e.regime == "real" and e.state is not None]
    assert [e.state for e in back] == ["unknown"]
    assert "a linear reader surely finds it here already" in str(back[0].reason)
    assert evidence.run.input_encoding == "native"
    fed = {e.subject: e for e in evidence.estimates if e.channel == "attribution_output" and e.regime == "real"}
    assert {"age", "job"} <= {*fed}
    assert all("TreeSHAP" in e.method and e.unit == "standard deviations of the log-odds" for e in fed.values())
    assert abs(fed["job"].value or 0) + abs(fed["age"].value or 0) > 3 * abs(fed["hours"].value or 0)
    assert main(["verify", str(boosted[1])]) == 0
    assert main(["plan", str(boosted[0])]) == 0
    assert "margins" in capsys.readouterr().out
    report = (find_run(boosted[1]) / "report.html").read_text()
    assert "What feeds the difference of the outputs between the groups most" in report
    assert "categories and missing values as such" in report
    kept = [path for path in cache_of(boosted[1]).glob("train/*/*") if path.name != "done.json"]
    assert {path.name for path in kept} == {"weights.safetensors", "activations.safetensors", "details.json"}


@pytest.mark.long
def test_the_same_bytes_with_two_workers_and_after_a_task_was_lost(boosted: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, out = boosted
    before = evidence_bytes(out)
    assert run(recipe, tmp_path / "two", jobs=2) == 0
    assert evidence_bytes(tmp_path / "two") == before
    shutil.rmtree(find_run(out))
    for place in sorted(cache_of(out).glob("train/[!.]*"))[:2]:
        shutil.rmtree(place)
    assert run(recipe, out) == 0
    assert evidence_bytes(out) == before


@pytest.mark.long
def test_a_forest_of_three_classes_is_audited(tmp_path: Path) -> None:
    assert run(project(tmp_path / "p", FOREST), tmp_path / "out") == 0
    evidence = evidence_of(tmp_path / "out")
    assert evidence.run.status == "complete"
    assert [finding.regime for finding in evidence.findings] == ["real", "vendor"]
    plan = json.loads((find_run(tmp_path / "out") / "plan.json").read_text())
    assert plan["sites"] == {"verdict": ["margins"], "profile": ["leaves", "margins.first_half", "margins"]}
    assert len(plan["target"]["classes"]) == 3


def loaded_project(kind: str, folder: Path) -> Path:
    """Two models that somebody trained and saved with the library itself, and a recipe that names the files."""
    rows = table(900, seed=0)
    folder.mkdir()
    rows.to_csv(folder / "real.csv", index=False)
    for number in range(2):
        half = rows[["age", "hours"]].to_numpy(np.float32)[number::2], rows.pay[number::2]
        if kind == "lightgbm":  # words as well, which its files name
            half = rows[["age", "hours", "job"]].astype({"job": "category"})[number::2], half[1]
        save_outside(kind, folder / f"m{number}", *half)
    left_out = "sex" if kind == "lightgbm" else "sex, job"
    recipe = f"""\
name: given
data: {{path: real.csv, target: pay, target_positive: low, protected: [sex], encode: none, exclude: [{left_out}], discover: 0}}
regimes:
  - {{name: vendor-a, checkpoints: [m0.{SUFFIXES[kind]}]}}
  - {{name: vendor-b, checkpoints: [m1.{SUFFIXES[kind]}]}}
model: {{kind: {kind}}}
references: {{placebos: 20}}
seeds: 1
effort: decide
signatures: true
"""
    (folder / "recipe.yaml").write_text(recipe)
    return folder / "recipe.yaml"


SUFFIXES = {"xgboost": "json", "lightgbm": "txt", "catboost": "cbm"}


def save_outside(kind: str, path: Path, x: Any, pay: Any) -> None:
    """Train a small model as a user would, on labels that say who is paid little."""
    if kind == "xgboost":
        from xgboost import XGBClassifier

        XGBClassifier(n_estimators=6, max_depth=2, n_jobs=1).fit(x, (pay == "low").astype(int)).save_model(f"{path}.json")
    elif kind == "lightgbm":
        from lightgbm import LGBMClassifier

        model = LGBMClassifier(n_estimators=6, num_leaves=5, n_jobs=1, verbose=-1)
        model.fit(x, pay == "low").booster_.save_model(f"{path}.txt")
    else:
        from catboost import CatBoostClassifier

        model = CatBoostClassifier(iterations=6, depth=2, thread_count=1, allow_writing_files=False, logging_level="Silent")
        model.fit(x, pay).save_model(f"{path}.cbm")


@pytest.mark.long
@pytest.mark.parametrize("kind", SUFFIXES)
def test_models_that_a_library_saved_are_audited_without_training(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(kind, reason="the extra 'trees' is not installed")
    recipe = loaded_project(kind, tmp_path / "p")
    assert run(recipe, tmp_path / "out") == 0
    found = find_run(tmp_path / "out")
    evidence, plan = evidence_of(tmp_path / "out"), json.loads((found / "plan.json").read_text())
    assert [finding.regime for finding in evidence.findings] == ["vendor-a", "vendor-b"]
    assert {one["kind"] for one in plan["regimes"]} == {"checkpoints"}
    assert all(one["training_rows"] is None for one in plan["regimes"])
    assert {"checkpoint vendor-a 0", "checkpoint vendor-b 0"} <= {*plan["hashes"]}
    assert any(name.startswith(kind) for name in plan["versions"])
    task = {e.regime: e.value for e in evidence.estimates if e.channel == "task"}
    assert min(task["vendor-a"] or 0, task["vendor-b"] or 0) > 0.8 > (task["untrained"] or 1)
    assert main(["verify", str(found)]) == 0
    if kind != "lightgbm":
        return
    # The run's own recipe is enough to do it again.
    again = recipe.with_name("again.yaml")
    again.write_text((found / "recipe.yaml").read_text())
    assert "room:" in again.read_text()
    assert yaml.safe_load(again.read_text())["model"]["codes"] == [2]
    assert plan["input_encoding"] == evidence.run.input_encoding == "native"
    assert run(again, tmp_path / "out") == 0
    assert find_run(tmp_path / "out") == found
    # What reads a run's models reads these.
    scanned = [
        "scan",
        "--signatures",
        str(found),
        "--model",
        str(recipe.with_name("m1.txt")),
        "--inputs",
        str(recipe.with_name("real.csv")),
    ]
    assert main(scanned) in (0, 1, 3)
    given = ["--attribute", "sex", "--regime", "vendor-a", "--base", str(recipe.parent), "--out", str(tmp_path / "mended"), "--jobs", "1"]
    assert main(["mitigate", str(found), *given]) == 0
    (mended,) = (tmp_path / "mended" / "given-mitigated").glob("mitigation-*")
    assert yaml.safe_load((mended / "mitigated.yaml").read_text())["model"]["room"] == [6, 5]
    # Another file is another run.
    recipe.with_name("m0.txt").write_bytes(recipe.with_name("m1.txt").read_bytes())
    capsys.readouterr()
    assert main(["plan", str(recipe), "--json"]) == 0
    assert plan["digest"] not in capsys.readouterr().out


def test_a_library_trains_every_regime(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm", reason="the extra 'trees' is not installed")
    recipe = SMALL.replace(NETWORK, "model: {kind: lightgbm, n_estimators: 6, num_leaves: 5}")
    assert run(project(tmp_path / "p", recipe.replace("cures: false", "effort: decide\ncures: false")), tmp_path / "out") == 0
    evidence = evidence_of(tmp_path / "out")
    assert [finding.regime for finding in evidence.findings] == ["real", "vendor"]
    assert evidence.run.versions["lightgbm"]
