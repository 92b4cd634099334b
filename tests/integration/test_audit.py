"""Whole audits of a tiny table through the command line: what comes out, twice the same, killed, spoilt, failed, resumed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from small_project import RECIPE, REGIMES, SMALL, cache_of, command, evidence_bytes, evidence_of, finished, project, run, table

import proxyaudit.models
import proxyaudit.models.training
import proxyaudit.pipeline.train
from proxyaudit.cache import Cache
from proxyaudit.cli.main import main
from proxyaudit.errors import TaskError
from proxyaudit.evidence.manifest import is_complete
from proxyaudit.evidence.pack import find_run
from proxyaudit.evidence.schema import committed_schema
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.tasks import task_digests


@dataclass(frozen=True)
class Done:
    """An undisturbed run."""

    recipe: Path
    out: Path
    evidence: bytes


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("undisturbed")
    recipe = project(folder / "project")
    assert run(recipe, folder / "out") == 0
    return Done(recipe, folder / "out", evidence_bytes(folder / "out"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """An undisturbed run of fewer tasks, for what needs a second run of its own."""
    folder = tmp_path_factory.mktemp("small")
    recipe = project(folder / "project", SMALL)
    assert run(recipe, folder / "out") == 0
    return Done(recipe, folder / "out", evidence_bytes(folder / "out"))


@pytest.fixture
def copy(small: Done, tmp_path: Path) -> Done:
    """A copy of an undisturbed run with its cache, to be spoilt."""
    shutil.copytree(small.out, tmp_path / "out")
    shutil.copytree(cache_of(small.out), cache_of(tmp_path / "out"))
    return Done(small.recipe, tmp_path / "out", small.evidence)


def test_evidence_follows_the_schema_and_answers_every_question(done: Done) -> None:
    jsonschema.validate(json.loads(done.evidence), committed_schema())
    evidence = evidence_of(done.out)
    assert evidence.run.status == "complete"
    assert [(f.attribute, f.regime) for f in evidence.findings] == [("sex", regime) for regime in REGIMES]
    known = {estimate.id for estimate in evidence.estimates}
    for finding in evidence.findings:
        assert set(finding.decided_by) <= known
        assert finding.sentence
    assert {"untrained", "placebo", "reweighed", "inputs", "floor"} <= {e.regime for e in evidence.estimates}
    # Every feature stands for sex here, so the inputs carry it; nothing may be called removed by this version.
    assert next(e.value for e in evidence.estimates if (e.channel, e.regime) == ("linear", "inputs")) > 0.1
    assert {f.verdict for f in evidence.findings} <= {"exposed", "hidden", "inconclusive"}
    assert evidence.findings[0].verdict == "exposed", "pay was made from sex, and age from sex as well"


@pytest.mark.long
def test_who_would_be_selected_is_counted_where_a_threshold_is_declared(small: Done, done: Done) -> None:
    counted = [e for e in evidence_of(small.out).estimates if e.channel == "selection"]
    assert {(e.regime, e.measure) for e in counted} >= {(regime, "selection_rate") for regime in ("real", "vendor")}
    assert all(e.state is None and e.attribute == "sex" for e in counted)
    report = (find_run(small.out) / "report.md").read_text()
    assert "## Who would be selected" in report
    assert "at least 0.5 for" in report
    assert not [e for e in evidence_of(done.out).estimates if e.channel == "selection"]


def test_proxies_are_named_in_every_table_and_model(done: Done) -> None:
    estimates = evidence_of(done.out).estimates
    carried = {(e.regime, e.context): e for e in estimates if e.channel == "association"}
    assert {regime for regime, _ in carried} == {"inputs", "gaussian_copula", "vendor"}
    assert carried["inputs", "job"].state == "present"
    assert max(carried, key=lambda key: carried[key].value or 0.0)[1] == "job"
    used = [e for e in estimates if e.channel == "proxy_use"]
    assert {e.regime for e in used} == set(REGIMES)
    assert all(e.margin is not None and e.state in ("present", "absent", "unknown") for e in used)
    assert {e.regime for e in estimates if e.channel == "influence"} == {*REGIMES, "untrained"}
    assert all(e.value is not None or e.reason for e in estimates if e.channel.startswith(("path", "attribution")))
    assert "## Proxies" in (find_run(done.out) / "report.md").read_text()


def test_the_effect_is_localised_in_the_first_model_without_a_say_in_the_verdict(done: Done) -> None:
    evidence = evidence_of(done.out)
    found = [e for e in evidence.estimates if e.channel.startswith("localisation")]
    assert {e.regime for e in found} == set(REGIMES)
    assert all(e.state is None and e.p_present is None for e in found)
    whole = [e for e in found if (e.channel, e.regime, e.context) == ("localisation", "real", "whole site")]
    assert [e.site for e in whole] == ["hidden1", "penultimate"]
    # All runs through either layer, and the same rows get the same donors.
    assert whole[0].value == pytest.approx(whole[1].value, abs=1e-5)
    assert whole[0].n is not None
    assert whole[0].n % 10 == 0
    assert any(e.value is not None and str(e.context).startswith("unit ") for e in found)
    decided = {ref for finding in evidence.findings for ref in finding.decided_by}
    assert not decided & {e.id for e in found}


def test_the_run_folder_is_whole(done: Done) -> None:
    folder = find_run(done.out)
    plan = json.loads((folder / "plan.json").read_text())
    assert folder == done.out / "tiny" / plan["run_id"]
    names = {"arrays.safetensors", "environment.json", "evidence.json", "manifest.json", "plan.json", "recipe.yaml"}
    assert {path.name for path in folder.iterdir()} == names | {"report.html", "report.md"}
    assert main(["verify", str(folder)]) == 0
    for path in folder.iterdir():
        assert str(done.recipe.parent).encode() not in path.read_bytes(), f"{path.name} tells where it was made"


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="dask is not installed")
def test_dask_makes_no_difference(small: Done, tmp_path: Path) -> None:
    arguments = command(small.recipe, tmp_path / "out", "--jobs", "1", "--backend", "dask")
    subprocess.run(arguments, check=True, capture_output=True, timeout=200)
    assert evidence_bytes(tmp_path / "out") == small.evidence


@dataclass(frozen=True)
class Resumed:
    """A run of two workers that was killed, and taken up again with two workers."""

    out: Path
    before: dict[Path, int]
    complete_before: bool


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Resumed:
    folder = tmp_path_factory.mktemp("killed")
    recipe, out = project(folder / "elsewhere"), folder / "out"
    process = subprocess.Popen(
        command(recipe, out, "--jobs", "2"), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        # 24 tasks are left to do when the first two models are trained.
        deadline = time.monotonic() + 120
        while len(finished(out, "train")) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
    wait_for_the_group(process.pid)
    before, complete_before = finished(out), any(is_complete(folder) for folder in (out / "tiny").glob("*"))
    assert run(recipe, out, jobs=2) == 0
    return Resumed(out, before, complete_before)


@pytest.mark.long
def test_the_number_of_jobs_and_the_folder_make_no_difference(done: Done, resumed: Resumed) -> None:
    assert evidence_bytes(resumed.out) == done.evidence


@pytest.mark.long
def test_a_killed_run_goes_on_where_it_was(done: Done, resumed: Resumed) -> None:
    before, after = resumed.before, finished(resumed.out)
    assert 2 <= len(before) < len(finished(done.out))
    assert not resumed.complete_before
    assert {folder.name for folder in after} == {folder.name for folder in finished(done.out)}
    assert all(after[folder] == moment for folder, moment in before.items()), "a finished task was done again"


def wait_for_the_group(group: int) -> None:
    """Workers of a killed run are reaped by whoever adopts them."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        stat = list(Path("/proc").glob("[0-9]*/stat"))
        if stat and not any(_alive_in(path, group) for path in stat):
            return
        time.sleep(0.02)
    raise AssertionError("workers outlived the kill")


def _alive_in(stat: Path, group: int) -> bool:
    try:
        state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return int(of) == group and state != "Z"


def test_a_complete_run_is_not_done_again(done: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("proxyaudit.pipeline.stages.run_task", None)
    before = finished(done.out)
    assert run(done.recipe, done.out, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reused"] is True
    assert document["status"] == "complete"
    assert (finished(done.out), evidence_bytes(done.out)) == (before, done.evidence)


@pytest.mark.long
def test_fresh_measures_again_and_finds_the_same(copy: Done) -> None:
    before = finished(copy.out)
    assert run(copy.recipe, copy.out, "--fresh") == 0
    after = finished(copy.out)
    assert before.keys() == after.keys()
    assert all(after[folder] > moment for folder, moment in before.items())
    assert evidence_bytes(copy.out) == copy.evidence


def forget(recipe: Path, out: Path, regime: str) -> None:
    """Leave a run as it was before anything of a regime was done."""
    shutil.rmtree(find_run(out))
    for tasks in task_digests(prepare_file(recipe)).values():
        for task in tasks:
            if task.regime == regime:
                Cache(cache_of(out)).forget(task.kind, task.digest)


@pytest.mark.long
@pytest.mark.parametrize("spoil", ["bytes", "cut", "gone", "marker", "file"])
def test_a_spoilt_cache_entry_is_computed_again(copy: Done, spoil: str, capsys: pytest.CaptureFixture[str]) -> None:
    entries = sorted(finished(copy.out, "measure"))
    path = entries[0] / "arrays.safetensors"
    sound = path.read_bytes()
    if spoil == "bytes":
        path.write_bytes(sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:])
    elif spoil == "cut":
        path.write_bytes(sound[: len(sound) // 2])
    elif spoil == "gone":
        path.unlink()
    elif spoil == "file":
        shutil.rmtree(entries[0])
        entries[0].write_text("a file")
    else:
        (entries[0] / "done.json").write_text("{")
    before = finished(copy.out)
    shutil.rmtree(find_run(copy.out))
    assert run(copy.recipe, copy.out) == 0
    assert evidence_bytes(copy.out) == copy.evidence
    assert path.read_bytes() == sound
    assert "kept results that were damaged and were made anew: 1" in capsys.readouterr().err
    assert {folder for folder, moment in finished(copy.out).items() if before.get(folder) != moment} == {entries[0]}


def test_a_spoilt_cache_entry_that_others_were_made_from(copy: Done) -> None:
    """A damaged model is trained again although what was measured on it is still there."""
    entry = sorted(finished(copy.out, "train"))[0]
    (entry / "activations.safetensors").write_bytes(b"rubbish")
    shutil.rmtree(find_run(copy.out))
    assert run(copy.recipe, copy.out) == 0
    assert evidence_bytes(copy.out) == copy.evidence


@pytest.mark.parametrize(
    "override",
    ["seed=1", "seeds=3", "margins.leak=0.03", "model.epochs=3", "data.proxies=[job]", "references.reweighed=false", "name=other"],
)
def test_another_recipe_is_another_run(done: Done, override: str, capsys: pytest.CaptureFixture[str]) -> None:
    ids = []
    for more in ([], ["--set", override]):
        assert main(["plan", str(done.recipe), "--json", *more]) == 0
        ids.append(json.loads(capsys.readouterr().out)["run_id"])
    assert ids[0] == find_run(done.out).name
    assert ids[1] != ids[0]


def test_changed_data_are_another_run_and_a_comment_is_not(tmp_path: Path, done: Done, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = project(tmp_path)
    ids = []

    def plan() -> None:
        assert main(["plan", str(recipe), "--json"]) == 0
        ids.append(json.loads(capsys.readouterr().out)["run_id"])

    recipe.write_text("# a comment\n" + RECIPE)
    plan()
    for name in ("release.csv", "real.csv"):
        table(450 if name == "release.csv" else 900, seed=7).to_csv(tmp_path / name, index=False)
        plan()
    assert ids[0] == find_run(done.out).name
    assert len(set(ids)) == 3


@pytest.mark.long
def test_a_failed_regime_leaves_the_others_their_findings(
    small: Done, copy: Done, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = copy.out
    forget(small.recipe, out, "vendor")
    sound = proxyaudit.pipeline.train.make_training_data

    def fail(regime: Any, *rest: Any) -> Any:
        if regime.name == "vendor":
            raise TaskError("out of luck")
        return sound(regime, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(proxyaudit.pipeline.train, "make_training_data", fail)
        assert run(small.recipe, out) == 5
    error = capsys.readouterr().err
    assert "out of luck" in error
    assert "Traceback" not in error
    evidence = evidence_of(out)
    jsonschema.validate(json.loads(evidence_bytes(out)), committed_schema())
    assert evidence.run.status == "partial"
    assert main(["verify", str(find_run(out))]) == 0
    undisturbed = {f.regime: f for f in evidence_of(small.out).findings}
    for finding in evidence.findings:
        if finding.regime == "vendor":
            assert finding.verdict == "inconclusive"
            assert "out of luck" in (finding.would_settle or "")
        else:
            assert finding.verdict == undisturbed[finding.regime].verdict
    assert run(small.recipe, out) == 0
    assert evidence_bytes(out) == small.evidence


@pytest.mark.long
def test_weights_that_turn_to_nan_are_a_failure_not_a_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = project(tmp_path / "p", RECIPE.replace("learning_rate: 0.02", "learning_rate: 1.0e+38, patience: null"))
    assert run(recipe, tmp_path / "out", "--set", "regimes=[real]", "--set", "references.reweighed=false") == 5
    capsys.readouterr()
    evidence = evidence_of(tmp_path / "out")
    assert evidence.run.status == "partial"
    assert [f.verdict for f in evidence.findings] == ["inconclusive"]
    assert main(["verify", str(tmp_path / "out")]) == 0
