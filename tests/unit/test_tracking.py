"""MLflow: what lands in a tracking folder, once, under names that any version takes; nothing of rows, and nothing sent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import EvidencePack, read_pack
from proxyaudit.tracking import metrics_of, tags_of, track, tracking_client

EXAMPLE = Path(__file__).parents[2] / "reports" / "example"
needs_mlflow = pytest.mark.skipif(
    subprocess.run([sys.executable, "-c", "import importlib.util as u; raise SystemExit(u.find_spec('mlflow') is None)"]).returncode != 0,
    reason="the extra 'mlflow' is not installed",
)


def test_verdicts_are_tags_and_what_they_rest_on_is_metrics(pack: EvidencePack) -> None:
    tags, metrics = dict(tags_of(pack)), dict(metrics_of(pack))
    for finding in pack.evidence.findings:
        told = tags[f"verdict/{finding.attribute}/{finding.regime}"]
        assert told == finding.verdict + (f", at least {finding.at_least}" if finding.at_least else "")
    known = {estimate.id: estimate for estimate in pack.evidence.estimates}
    decided = {ref for finding in pack.evidence.findings for ref in finding.decided_by}
    numbers = {n for ref in decided for n in (known[ref].value, known[ref].low, known[ref].high) if n is not None}
    assert numbers <= set(metrics.values())
    assert metrics["linear.leak/sex/real penultimate"] == 0.157
    assert metrics["linear.leak/sex/real penultimate.high"] == 0.171
    assert "linear.leak/sex/real hidden1" not in metrics, "a profile decides nothing"
    assert tags["proxyaudit.run_id"] == pack.evidence.run.id


HOSTILE = ("../../etc", "a/b", "naïve: 50 %", "..", "", "x" * 400, "\u202eabc\n")


def test_names_of_any_kind_stay_names_and_apart(make_pack: Callable[..., EvidencePack]) -> None:
    for name in HOSTILE:
        pack = make_pack(("sex", "other"))
        renamed = [e.model_copy(update={"attribute": name if e.attribute == "other" else e.attribute}) for e in pack.evidence.estimates]
        pack = replace(pack, evidence=pack.evidence.model_copy(update={"estimates": tuple(renamed)}))
        names = [metric for metric, _ in metrics_of(pack)]
        assert len(set(names)) == len(names)
        for metric in names:
            parts = metric.split("/")
            assert len(metric) <= 210
            assert len(parts) == 3
            assert all(part.strip(". ") for part in parts)
            assert ".." not in metric
        for metric in names:  # a file store keeps each as a file
            assert not any(other.startswith(f"{metric}/") for other in names)


@needs_mlflow
def test_a_run_lies_in_the_folder_once(tmp_path: Path) -> None:
    pack, client = read_pack(EXAMPLE), tracking_client(tmp_path / "runs")
    first, again = (track(pack, EXAMPLE, client) for _ in range(2))
    assert (first.new, again.new, again.run) == (True, False, first.run)
    found = client.get_run(first.run)
    assert found.data.metrics == pytest.approx(dict(metrics_of(pack)))
    assert dict(tags_of(pack)).items() <= found.data.tags.items()
    assert {"model": "mlp", "target": "income"}.items() <= found.data.params.items()
    assert found.info.status == "FINISHED"
    assert found.info.run_name == pack.evidence.run.id
    assert (found.info.end_time - found.info.start_time) / 1000 == pytest.approx(pack.environment["seconds"], abs=1)
    artefacts = {artefact.path for artefact in client.list_artifacts(first.run)}
    assert {"evidence.json", "manifest.json", "report.html"} <= artefacts
    # Another run of the audit, that is partial: a second one of the experiment.
    (tmp_path / "other").mkdir()
    for name in ("evidence.json", "row-sums.safetensors", "signatures.safetensors", "signatures.safetensors.age"):
        (tmp_path / "other" / name).write_text("{}")
    partial = replace(pack, evidence=pack.evidence.model_copy(update={"run": pack.evidence.run.model_copy(update={"status": "partial"})}))
    second = track(partial, tmp_path / "other", client)
    assert second.new
    assert second.experiment == first.experiment
    assert client.get_run(second.run).info.status == "FAILED"
    assert [artefact.path for artefact in client.list_artifacts(second.run)] == ["evidence.json"], "no restricted file"


@needs_mlflow
def test_report_puts_it_there_and_nothing_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", str(EXAMPLE), "--out", str(tmp_path / "fresh"), "--mlflow", str(tmp_path / "runs"), "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    run = json.loads(out)["mlflow"]
    assert err.count("proxyaudit: MLflow: experiment quickstart, run " + run) == 1
    assert main(words) == 0
    assert "It was in MLflow already" in capsys.readouterr().err
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()


@pytest.mark.parametrize(
    ("folder", "words"),
    [("http://127.0.0.1:5000", "only a folder is written to"), ("sqlite:///x.db", "only a folder"), ("a file", "a file, not a folder")],
)
def test_what_is_no_folder_is_one_line(folder: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    assert main(["run", "nowhere.yaml", "--mlflow", folder]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert "--mlflow" in line


def test_without_mlflow_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mlflow", "mlflow.tracking"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"MLflow is not installed \[--mlflow\]; pip install '\.\[mlflow\]'"):
        tracking_client(tmp_path / "runs")


@needs_mlflow
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    client = tracking_client(tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "runs").write_text("a file by now")
    with pytest.raises(InputError, match=r"the tracking folder cannot be written \(\w+\) \[--mlflow\]; check its permissions"):
        track(read_pack(EXAMPLE), EXAMPLE, client)
