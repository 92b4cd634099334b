"""Audits of an own module: checkpoints are loaded and never trained, and a module that cannot be trained stops nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_project import MODULE, cache_of, evidence_of, project, run

import proxyaudit.models.training
import proxyaudit.pipeline.train
from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run

pytestmark = pytest.mark.long


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("something was trained")

    for place in (proxyaudit.models.training, proxyaudit.pipeline.train):
        monkeypatch.setattr(place, "train_model", refuse)


@pytest.mark.usefixtures("no_training")
def test_a_module_with_checkpoints_is_audited_without_training(tmp_path: Path) -> None:
    assert run(project(tmp_path / "p", MODULE), tmp_path / "out") == 0
    evidence = evidence_of(tmp_path / "out")
    assert [(f.attribute, f.regime) for f in evidence.findings] == [("sex", "vendor-a"), ("sex", "vendor-b")]
    assert evidence.run.status == "complete"
    assert all(f.sentence.startswith(("In both models", "For regime")) for f in evidence.findings)
    assert {e.seeds for e in evidence.estimates if e.channel == "linear" and e.regime == "vendor-a" and e.state is not None} == {2}
    assert not [e for e in evidence.estimates if e.regime in ("real", "reweighed")]
    details = [json.loads(path.read_text()) for path in cache_of(tmp_path / "out").glob("train/*/details.json")]
    assert details == [{}] * 6  # two regimes and the untrained reference, two repetitions each
    plan = json.loads((find_run(tmp_path / "out") / "plan.json").read_text())
    assert plan["columns"] == ["age", "hours"]
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_a_module_that_cannot_be_trained_leaves_its_checkpoints_their_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = MODULE.replace("a0.safetensors, ", "").replace("b0.safetensors, ", "").replace("seeds: 2", "seeds: 1")
    recipe = project(tmp_path / "p", one.replace("regimes:\n", "regimes:\n  - real\n"))
    (recipe.parent / "broken").touch()
    assert run(recipe, tmp_path / "out") == 5
    assert "cannot be trained today" in capsys.readouterr().err
    verdicts = {f.regime: f.verdict for f in evidence_of(tmp_path / "out").findings}
    assert verdicts.keys() == {"real", "vendor-a", "vendor-b"}
    assert verdicts["real"] == "inconclusive"
    assert main(["verify", str(tmp_path / "out")]) == 0
    (recipe.parent / "broken").unlink()
    assert run(recipe, tmp_path / "out") == 0
    evidence = evidence_of(tmp_path / "out")
    assert evidence.run.status == "complete"
    assert all("could not be audited" not in f.sentence for f in evidence.findings)
