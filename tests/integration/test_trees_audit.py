"""Audits of trees from a recipe: every regime, any number of workers, taken up again, and what does not apply."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from small_project import SMALL, evidence_bytes, evidence_of, project, run

from proxyaudit.cache import CACHE_FOLDER
from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run

NETWORK = "model: {kind: mlp, hidden: [8, 4], epochs: 2, batch_size: 32, learning_rate: 0.02}"
BOOSTING = SMALL.replace(NETWORK, "model: {kind: gradient_boosting, max_iter: 6, max_leaf_nodes: 5}").replace(
    "reweighed: false", "reweighed: true"
)
BOOSTING = BOOSTING.replace("model:", "  - mixed: {of: vendor, ratios: [0.5]}\nmodel:")
FOREST = SMALL.replace(NETWORK, "model: {kind: random_forest, n_estimators: 5, max_leaf_nodes: 6}").replace("target: pay", "target: job")
FOREST = FOREST.replace("cures: false", "effort: decide\ncures: false")


@pytest.fixture(scope="module")
def boosted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("boosted")
    recipe = project(folder / "p", BOOSTING)
    assert run(recipe, folder / "out") == 0
    return recipe, folder / "out"


def test_boosted_trees_are_audited_on_every_regime(boosted: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    evidence = evidence_of(boosted[1])
    assert evidence.run.status == "complete"
    assert [finding.regime for finding in evidence.findings] == ["real", "vendor", "mixed-vendor-0.5"]
    assert {"untrained", "reweighed"} <= {estimate.regime for estimate in evidence.estimates}
    for channel in ("linear", "nonlinear", "expressed", "used", "elsewhere", "beyond", "prominence"):
        assert {e.regime for e in evidence.estimates if e.channel == channel} >= {"real", "vendor", "mixed-vendor-0.5"}, channel
    assert {e.site for e in evidence.estimates if e.channel == "linear"} >= {"margins"}
    assert {e.site for e in evidence.estimates if e.channel == "elsewhere"} == {"margins.first_half"}
    back = [e for e in evidence.estimates if e.channel == "relearned" and e.regime == "real" and e.state is not None]
    assert [e.state for e in back] == ["not_applicable"]
    assert "trees are not trained further in this version" in str(back[0].reason)
    assert main(["verify", str(boosted[1])]) == 0
    assert main(["plan", str(boosted[0])]) == 0
    assert "margins" in capsys.readouterr().out
    kept = [path for path in (boosted[1] / CACHE_FOLDER).glob("train/*/*") if path.name != "done.json"]
    assert {path.name for path in kept} == {"weights.safetensors", "activations.safetensors", "details.json"}


def test_the_same_bytes_with_two_workers_and_after_a_task_was_lost(boosted: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, out = boosted
    before = evidence_bytes(out)
    assert run(recipe, tmp_path / "two", jobs=2) == 0
    assert evidence_bytes(tmp_path / "two") == before
    shutil.rmtree(find_run(out))
    for place in sorted((out / CACHE_FOLDER).glob("train/[!.]*"))[:2]:
        shutil.rmtree(place)
    assert run(recipe, out) == 0
    assert evidence_bytes(out) == before


def test_a_forest_of_three_classes_is_audited(tmp_path: Path) -> None:
    assert run(project(tmp_path / "p", FOREST), tmp_path / "out") == 0
    evidence = evidence_of(tmp_path / "out")
    assert evidence.run.status == "complete"
    assert [finding.regime for finding in evidence.findings] == ["real", "vendor"]
    plan = json.loads((find_run(tmp_path / "out") / "plan.json").read_text())
    assert plan["sites"] == {"verdict": ["margins"], "profile": ["margins.first_half", "margins"]}
    assert len(plan["target"]["classes"]) == 3
