"""Whole audits with tables crossed with models: what is done once, the same results however it is done, and looks that are planned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from small_project import SMALL, cache_of, evidence_bytes, evidence_of, finished, project, run

import proxyaudit.pipeline.run
from proxyaudit.audits.plan import plan_audit
from proxyaudit.cli.main import main
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.types import Evidence

pytestmark = pytest.mark.long

COPULA = "  - synthetic: {name: vendor, path: release.csv}\n"
CROSSED = SMALL.replace(COPULA, "  - synthetic: {sdv: gaussian_copula}\n").replace("seeds: 1", "seeds: {tables: 2, models: 2}")
ADAPTIVE = CROSSED.replace("models: 2}", "models: 2, up_to: 8}")


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("crossed")
    assert run(project(folder, CROSSED), folder / "out") == 0
    return folder


def values(evidence: Evidence, regime: str, channel: str, measure: str) -> tuple[float, ...]:
    return next(e.seed_values for e in evidence.estimates if (e.regime, e.channel, e.measure) == (regime, channel, measure))


def counted(out: Path) -> dict[str, int]:
    kinds = [path.parent.name for path in finished(out)]
    return {kind: kinds.count(kind) for kind in ("synthesize", "train", "measure")}


def test_every_model_is_trained_on_every_table(crossed: Path) -> None:
    # Two tables; two models of real rows, two untrained ones, and two on each of the two tables.
    assert counted(crossed / "out") == {"synthesize": 2, "train": 8, "measure": 8}
    evidence = evidence_of(crossed / "out")
    assert len(values(evidence, "gaussian_copula", "expressed", "gap")) == 4
    assert len(values(evidence, "real", "expressed", "gap")) == 2
    assert main(["verify", str(find_run(crossed / "out")), "--json"]) == 0


def test_the_plan_and_the_report_tell_the_design(crossed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = read_pack(find_run(crossed / "out")).plan
    assert plan["seeds"] == {"tables": 2, "models": 2}
    designs = plan["repetitions"]["regimes"]
    assert designs == {
        "real": {"tables": 1, "models": 2, "looks": [2]},
        "gaussian_copula": {"tables": 2, "models": 2, "looks": [4]},
    }
    assert plan["tasks"] == sum(counted(crossed / "out").values()) + 1
    report = (find_run(crossed / "out") / "report.html").read_text(encoding="utf-8")
    assert "2 synthetic tables with 2 models each; 2 models where the rows are not made here" in report
    assert "where the number of one more model trained this way would lie in 95 of 100 cases" in report
    assert main(["plan", str(project(crossed, ADAPTIVE))]) == 0
    shown = capsys.readouterr().out
    project(crossed, CROSSED)
    assert "real: 2, 4 or 8 models; gaussian_copula: 4 or 8 models" in " ".join(shown.split())


def test_results_depend_neither_on_workers_nor_on_interruptions(crossed: Path, tmp_path: Path) -> None:
    wanted, recipe = evidence_bytes(crossed / "out"), crossed / "recipe.yaml"
    assert run(recipe, tmp_path / "two", jobs=2) == 0
    assert evidence_bytes(tmp_path / "two") == wanted
    # A run of which half is lost goes on from what is there.
    out = tmp_path / "resumed"
    shutil.copytree(crossed / "out", out)
    shutil.rmtree(out / "small")
    there = sorted(finished(out))
    for folder in there[::2]:
        shutil.rmtree(folder)
    assert run(recipe, out) == 0
    assert evidence_bytes(out) == wanted


def test_models_that_a_number_asks_for_are_trained_once(crossed: Path, tmp_path: Path) -> None:
    """Real rows have models only, the same ones as where ``seeds`` is a number."""
    out = tmp_path / "out"
    shutil.copytree(cache_of(crossed / "out"), cache_of(out))
    before = counted(out)
    assert run(project(tmp_path, CROSSED.replace("{tables: 2, models: 2}", "2")), out) == 0
    number = evidence_of(out)
    assert values(number, "real", "expressed", "gap") == values(evidence_of(crossed / "out"), "real", "expressed", "gap")
    # The first tables are the same ones, and the copula's models are not: each has rows in an order of its own.
    after = counted(out)
    assert after["synthesize"] == before["synthesize"]
    assert after["train"] == before["train"] + 2


def test_a_table_that_fails_takes_its_models_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import proxyaudit.pipeline.synthesize as synthesizing

    made = synthesizing.synthesize

    def broken(spec: object, dataset: object, size: int, seed: int, base: object = None) -> object:
        broken.calls += 1  # type: ignore[attr-defined]
        if broken.calls == 2:  # type: ignore[attr-defined]
            raise RuntimeError("no table today")
        return made(spec, dataset, size, seed, base)  # type: ignore[arg-type]

    broken.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(synthesizing, "synthesize", broken)
    out = tmp_path / "out"
    assert run(project(tmp_path, CROSSED), out) == 5
    environment = json.loads((find_run(out) / "environment.json").read_text(encoding="utf-8"))
    failures = environment["failures_by_regime"]["gaussian_copula"]
    assert len(failures) == 2
    assert all("no table today" in line for line in failures)
    assert len(values(evidence_of(out), "gaussian_copula", "expressed", "gap")) == 2
    monkeypatch.undo()
    assert run(project(tmp_path, CROSSED), out) == 0
    assert len(values(evidence_of(out), "gaussian_copula", "expressed", "gap")) == 4


class Wanted:
    """Says that more models of some regimes could settle something, as often as it is told to."""

    def __init__(self, *looks: Iterable[str]) -> None:
        self.looks, self.asked = [list(names) for names in looks], 0

    def __call__(self, numbers: Numbers) -> list[str]:
        self.asked += 1
        return self.looks[self.asked - 1] if self.asked <= len(self.looks) else []


def test_more_are_trained_at_planned_looks_and_absence_pays_for_them(
    crossed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = project(tmp_path, ADAPTIVE), tmp_path / "out"
    shutil.copytree(cache_of(crossed / "out"), cache_of(out))
    monkeypatch.setattr(proxyaudit.pipeline.run, "settled_by_models", Wanted(["gaussian_copula"]))
    assert run(recipe, out) == 0
    evidence = evidence_of(out)
    first, grown = (values(one, "gaussian_copula", "expressed", "gap") for one in (evidence_of(crossed / "out"), evidence))
    assert (len(first), len(grown)) == (4, 8)
    assert grown[:4] == first
    assert counted(out)["synthesize"] == 4
    # What was not asked for stays as it was; absence of it pays for the looks that were planned.
    fixed, planned = (
        next(e for e in one.estimates if (e.regime, e.channel, e.measure) == ("real", "expressed", "gap"))
        for one in (evidence_of(crossed / "out"), evidence)
    )
    assert planned.seed_values == fixed.seed_values
    assert fixed.p_absent is not None
    assert planned.p_absent == pytest.approx(min(1.0, 3 * fixed.p_absent), rel=1e-5)
    assert "3 looks are planned" in planned.method
    assert main(["verify", str(find_run(out)), "--json"]) == 0
    # However it comes about, the same looks give the same bytes.
    wanted = evidence_bytes(out)
    for jobs, drop in ((2, "measure"), (1, "train")):
        again = tmp_path / f"again{jobs}"
        shutil.copytree(cache_of(out), cache_of(again))
        for folder in sorted(finished(again, drop))[1::3]:
            shutil.rmtree(folder)
        monkeypatch.setattr(proxyaudit.pipeline.run, "settled_by_models", Wanted(["gaussian_copula"]))
        assert run(recipe, again, jobs=jobs) == 0
        assert evidence_bytes(again) == wanted


def test_looking_ends_where_nothing_could_be_settled_and_at_the_last_look(
    crossed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = project(tmp_path, ADAPTIVE.replace("up_to: 8", "up_to: 4")), tmp_path / "out"
    shutil.copytree(cache_of(crossed / "out"), cache_of(out))
    always = Wanted(*[["gaussian_copula"]] * 9)
    monkeypatch.setattr(proxyaudit.pipeline.run, "settled_by_models", always)
    assert run(recipe, out) == 0
    assert always.asked == 1
    assert counted(out) == counted(crossed / "out")
    # Tables are added whole: one more with one model would be no crossed repetition.
    plan = plan_audit(project(tmp_path, ADAPTIVE.replace("up_to: 8", "up_to: 7")))
    assert plan["repetitions"]["regimes"]["gaussian_copula"]["looks"] == [4, 6]
    assert plan["repetitions"]["minutes_at_most"] >= plan["estimated_minutes"]
