"""Whole audits with each effort: the same verdicts, less measured, and what is missing is listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.types import Evidence

pytestmark = pytest.mark.long

RECIPE = """\
name: effort
data: {path: real.csv, target: pay, protected: [sex, coin], discover: 0}
regimes: [real]
model: {kind: mlp, hidden: [8, 4], epochs: 4, batch_size: 32, learning_rate: 0.02, patience: null}
references: {placebos: 20, reweighed: false}
seeds: 2
cures: false
"""


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evidence]:
    folder, rng, n = tmp_path_factory.mktemp("effort"), np.random.default_rng(0), 1200
    sex = rng.choice(["f", "m"], n)
    age = (rng.normal(40, 10, n) + 12 * (sex == "m")).round(3)
    pay = np.where(age + rng.normal(0, 6, n) > 46, "high", "low")
    table = {"age": age, "hours": rng.normal(38, 4, n).round(3), "sex": sex, "coin": rng.choice(["a", "b"], n), "pay": pay}
    pd.DataFrame(table).to_csv(folder / "real.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE)
    found = {}
    for effort in ("standard", "everything"):
        out = folder / effort
        assert main(["run", str(folder / "recipe.yaml"), "--out", str(out), "--jobs", "1", "--effort", effort, "--json"]) == 0
        found[effort] = read_pack(find_run(out)).evidence
        assert main(["verify", str(find_run(out)), "--json"]) in (0, 3)
    return found


def test_verdicts_are_the_same(audits: dict[str, Evidence]) -> None:
    verdicts = {effort: [(f.attribute, f.verdict, f.encoding) for f in evidence.findings] for effort, evidence in audits.items()}
    assert verdicts["standard"] == verdicts["everything"]
    assert verdicts["standard"][0][1] == "exposed"


def test_extras_are_of_the_repetitions_that_were_asked(audits: dict[str, Evidence]) -> None:
    seeds = {
        effort: {e.channel: e.seeds for e in evidence.estimates if e.channel in ("localisation", "effort") and e.value is not None}
        for effort, evidence in audits.items()
    }
    assert set(seeds["standard"].values()) == {1}
    assert set(seeds["everything"].values()) == {2}


def test_what_was_left_out_is_listed(audits: dict[str, Evidence]) -> None:
    told = {effort: sum("effort: everything" in note.why for note in evidence.not_tested) for effort, evidence in audits.items()}
    assert told["everything"] == 0 < told["standard"]


def test_stronger_readers_are_not_asked_where_a_linear_one_surely_finds_it(audits: dict[str, Evidence]) -> None:
    asked = {("linear", "leak"), ("nonlinear", "leak_nonlinear"), ("used", "effect")}
    values = {
        effort: {
            e.channel: e.value for e in evidence.estimates if (e.attribute, e.regime) == ("sex", "real") and (e.channel, e.measure) in asked
        }
        for effort, evidence in audits.items()
    }
    assert values["standard"]["nonlinear"] is None
    assert values["everything"]["nonlinear"] is not None
    for channel in ("linear", "used"):
        assert values["standard"][channel] == values["everything"][channel] is not None


def test_an_unknown_effort_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE + "effort: some\n")
    assert main(["plan", str(tmp_path / "recipe.yaml"), "--json"]) == 2
    assert "effort" in capsys.readouterr().err
