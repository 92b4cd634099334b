"""Cures end to end on a tiny run: what they do to the gap, the release that ``cure`` writes, and that its audit keeps what was promised."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from proxyaudit.cache import Cache, Task
from proxyaudit.cli.main import main
from proxyaudit.data.cures import Cure
from proxyaudit.evidence.changes import read_change
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.pipeline.cost import task_seconds
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.tasks import task_digests
from proxyaudit.pipeline.try_cures import Runner
from proxyaudit.reporting.summary import summarize
from proxyaudit.reporting.training import best_cure
from proxyaudit.types import Evidence
from proxyaudit.workers import Workers
from tests.golden.worlds import people

pytestmark = pytest.mark.long

RECIPE = """\
name: tiny
data: {path: real.csv, target: pay, protected: [sex], exclude: [sex, origin, wealth], discover: 0}
regimes: [real, {synthetic: {name: vendor, path: release.csv}}]
model: {kind: mlp, hidden: [8, 4], epochs: 6, batch_size: 32, learning_rate: 0.02}
references: {reweighed: false}
seeds: 2
"""


@dataclass(frozen=True)
class Made:
    folder: Path
    evidence: Evidence

    def figures(self, evidence: Evidence, regime: str, cure: str) -> dict[str, Any]:
        found = [e for e in evidence.estimates if (e.channel, e.regime, e.subject) == ("cure", regime, cure)]
        return {e.measure: e for e in found}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("cures")
    people(1200, seed=0).to_csv(folder / "real.csv", index=False)
    people(800, seed=1).drop(columns="sex").to_csv(folder / "release.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "out"), "--jobs", "1"]) == 0
    return Made(folder, read_pack(find_run(folder / "out" / "tiny")).evidence)


def test_every_cure_is_measured_against_the_model_as_it_is(made: Made) -> None:
    findings = {f.regime: f for f in made.evidence.findings}
    gaps = {e.regime: abs(e.value) for e in made.evidence.estimates if (e.channel, e.measure) == ("expressed", "gap")}
    assert gaps["real"] < gaps["vendor"], "so that real rows are the cleaner ones"
    assert [c.name for c in findings["real"].cures] == ["resampled", "dropped-2", "permuted-2", "repaired-2", "erased", "dropped-1"]
    # Parts of what is dropped are tried after all of it. The release does not hold the attribute, which two of the cures need.
    assert [c.name for c in findings["vendor"].cures] == ["dropped-2", "permuted-2", "mixed-real", "erased", "dropped-1"]
    gap = next(e for e in made.evidence.estimates if (e.channel, e.regime, e.measure) == ("expressed", "real", "gap"))
    numbers = {e.id: e for e in made.evidence.estimates}
    for regime, finding in findings.items():
        for cure in finding.cures:
            own = made.figures(made.evidence, regime, cure.name)
            assert set(cure.estimates) == {e.id for e in own.values()}
            assert cure.auroc_cost == own["auroc_cost"].value
            assert numbers[cure.estimates[0]].state is None  # no verdict rests on a trial
    for name in ("dropped-2", "permuted-2"):
        found = made.figures(made.evidence, "real", name)
        assert abs(found["gap"].value) < 0.5 * gap.value
        assert found["gap_change"].high < 0
        assert found["gap_change"].p_present <= 0.001
        assert found["auroc_cost"].value > 0.02


def test_the_best_cures_are_confirmed_with_more_models(made: Made) -> None:
    for finding in made.evidence.findings:
        seeds = {cure.name: made.figures(made.evidence, finding.regime, cure.name)["gap"].seeds for cure in finding.cures}
        gaps = {cure.name: abs(made.figures(made.evidence, finding.regime, cure.name)["gap"].seed_values[0]) for cure in finding.cures}
        assert seeds[min(gaps, key=lambda name: gaps[name])] == 2
        assert 1 <= sum(count == 2 for count in seeds.values()) <= 2


@pytest.mark.parametrize(("regime", "cure"), [("real", "dropped-1"), ("real", "permuted-2"), ("vendor", "mixed-real")])
def test_a_written_release_keeps_what_was_promised(made: Made, regime: str, cure: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(made.folder / "out")
    run = str(find_run(made.folder / "out" / "tiny"))
    arguments = ["cure", run, "--attribute", "sex", "--regime", regime, "--cure", cure, "--base", str(made.folder), "--out", out, "--json"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    said = json.loads(printed.out)
    assert said["holds_real_rows"]
    assert "rows of this release are those of real people" in printed.err
    folder = Path(said["folder"])
    assert main(["verify", str(folder)]) == 0, "the record of the change is what the run that tried it gives"
    record = read_change(folder)
    assert (record.kind, record.mechanism.name, record.verdict_before) == ("cure", cure, "exposed")
    assert any("those of real people" in risk for risk in record.residual_risk)
    rows = pd.read_csv(folder / "release.csv")
    if cure == "mixed-real":
        halves = _shares_of(rows, made.folder)
        assert halves == (len(rows) - len(rows) // 2, len(rows) // 2)
    recipe = yaml.safe_load((folder / "cured.yaml").read_text())
    for column in said["columns"]:
        assert (column in recipe["data"]["exclude"]) == (cure == "dropped-1")
        assert (column in rows) == (cure != "dropped-1")
    assert main(["run", str(folder / "cured.yaml"), "--out", out, "--jobs", "1", "--set", "seeds=3", "--set", "cures=false"]) == 0
    audit = read_pack(find_run(made.folder / "out" / "tiny-cured" / cured_run(made.folder))).evidence
    gap = next(e for e in audit.estimates if (e.channel, e.measure) == ("expressed", "gap") and e.regime == said["cured_regime"])
    promised = said["promised"]["gap"]
    spread = 3 * (np.std(gap.seed_values) + (promised["high"] - promised["low"]) / 4)
    sign = 1 if gap.group == next(e.group for e in made.evidence.estimates if e.channel == "cure") else -1
    assert sign * gap.value == pytest.approx(promised["value"], abs=spread)


def _shares_of(rows: pd.DataFrame, folder: Path) -> tuple[int, int]:
    """How many rows are those of the release, and how many are real ones."""
    columns = list(rows.columns)
    tables = [pd.read_csv(folder / name)[columns] for name in ("release.csv", "real.csv")]
    known = [set(map(tuple, table.round(6).astype(str).to_numpy())) for table in tables]
    mine = [tuple(row) for row in rows.round(6).astype(str).to_numpy()]
    return sum(row in known[0] for row in mine), sum(row in known[1] for row in mine)


def cured_run(folder: Path) -> str:
    """The newest run of the cured recipe."""
    runs = [path.parent for path in (folder / "out" / "tiny-cured").glob("*/evidence.json")]
    return max(runs, key=lambda path: path.stat().st_mtime).name


def test_without_a_name_it_takes_the_cure_that_the_report_calls_best(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    run = find_run(made.folder / "out" / "tiny")
    summary = summarize(read_pack(run))
    (row,) = [row for row in summary.attributes[0].rows if row.regime == "real"]
    best = best_cure(row.tried, row.gap)
    arguments = ["cure", str(run), "--attribute", "sex", "--regime", "real", "--base", str(made.folder), "--out", str(made.folder / "best")]
    if best is None:
        assert main(arguments) == 2
        assert "surely makes the gap smaller" in capsys.readouterr().err
    elif best.name == "erased":
        assert main(arguments) == 2
        assert f"proxyaudit mitigate {run} --attribute sex --regime real" in " ".join(capsys.readouterr().err.split())
    else:
        assert main([*arguments, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["cure"] == best.name


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--attribute", "sex", "--regime", "real", "--cure", "prayer"), "one of resampled, dropped-2"),
        (("--attribute", "sex", "--regime", "vendor"), "surely makes the gap smaller"),
        (("--attribute", "age", "--regime", "real"), "unknown attribute 'age'"),
        (("--attribute", "sex", "--regime", "untrained"), "is a reference"),
        (("--attribute", "sex", "--regime", "vendor", "--cure", "resampled"), "one of dropped-2"),
    ],
)
def test_what_was_not_tried_is_not_written(made: Made, options: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = str(find_run(made.folder / "out" / "tiny")), made.folder / "other"
    assert main(["cure", run, *options, "--base", str(made.folder), "--out", str(out)]) == 2
    assert line in capsys.readouterr().err
    assert not out.exists()


def test_what_an_eraser_did_is_what_mitigate_does(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = find_run(made.folder / "out" / "tiny"), made.folder / "erased"
    asked = ["--attribute", "sex", "--regime", "vendor"]
    assert main(["cure", str(run), *asked, "--cure", "erased", "--base", str(made.folder), "--out", str(out)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"'proxyaudit mitigate {run} --attribute sex --regime vendor' makes it" in said
    assert "--cure writes one of dropped-2, permuted-2, mixed-real, dropped-1" in said
    assert not out.exists()
    arguments = ["mitigate", str(run), *asked, "--base", str(made.folder), "--out", str(out), "--jobs", "1", "--json"]
    assert main(arguments) == 0
    audit = read_pack(Path(json.loads(capsys.readouterr().out)["audit_folder"])).evidence
    tried = made.figures(made.evidence, "vendor", "erased")
    assert "LEACE" in tried["gap"].method
    assert {"gap", "gap_change", "auroc_cost", "leak"} <= set(tried)
    gap = next(e for e in audit.estimates if (e.channel, e.measure, e.regime) == ("expressed", "gap", "vendor-mitigated"))
    sign = 1 if gap.group == tried["gap"].group else -1
    before = next(e for e in made.evidence.estimates if (e.channel, e.measure, e.regime) == ("expressed", "gap", "vendor"))
    values = [sign * value for value in gap.seed_values] or [sign * gap.value]
    assert tried["gap"].value == pytest.approx(float(np.mean(values[: tried["gap"].seeds])), abs=1e-6)
    assert before.group == tried["gap"].group


def test_cures_are_made_again_alike_by_any_number_of_workers(made: Made, tmp_path: Path) -> None:
    kept = sorted(Path(os.environ["PROXYAUDIT_CACHE"]).glob("cure/[!.]*"))
    run = find_run(made.folder / "out" / "tiny")
    lost, whole = kept[::2], {path: (path / "done.json").stat().st_mtime_ns for path in kept[1::2]}
    before = {path: (path / "done.json").read_bytes() for path in lost}
    for path in lost:
        shutil.rmtree(path)
    assert main(["run", str(made.folder / "recipe.yaml"), "--out", str(tmp_path), "--jobs", "2"]) == 0
    assert {path: (path / "done.json").read_bytes() for path in lost} == before
    assert {path: (path / "done.json").stat().st_mtime_ns for path in whole} == whole
    assert (find_run(tmp_path / "tiny") / "evidence.json").read_bytes() == (run / "evidence.json").read_bytes()


def test_a_cure_hangs_on_what_it_is_made_of_and_on_nothing_else(made: Made) -> None:
    prepared = prepare_file(made.folder / "recipe.yaml")
    tasks = task_digests(prepared)
    regime = prepared.regime("vendor")
    cures = [Cure("dropped", "sex", ("job",)), Cure("mixed", "sex", source="real"), Cure("erased", "sex")]

    def made_of(changed: str) -> list[Task]:
        train = [replace(task, digest="f" * 64) if task.regime == changed else task for task in tasks["train"]]
        runner = Runner(prepared, {**tasks, "train": train}, Cache(made.folder), Workers(1), None)
        return [runner._task(regime, cure, 0) for cure in cures]

    as_is = made_of("")
    assert [task.needs for task in as_is] == [(), (), (("train", next(t.digest for t in tasks["train"] if t.regime == "vendor")),)]
    assert [a.digest == b.digest for a, b in zip(as_is, made_of("real"), strict=True)] == [True, False, True]
    assert [a.digest == b.digest for a, b in zip(as_is, made_of("vendor"), strict=True)] == [False, False, False]
    assert [a.digest == b.digest for a, b in zip(as_is, made_of("untrained"), strict=True)] == [True, True, True]
    assert task_seconds(prepared, as_is[2]) < task_seconds(prepared, as_is[1]) == task_seconds(prepared, as_is[0])
