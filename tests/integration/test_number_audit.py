"""An audit of models that predict a number, from the table to the gate: planted gaps, their scale and their words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.types import Estimate, Evidence

RECIPE = """\
name: wages
data: {path: people.csv, target: pay, protected: [sex, coin], discover: 0}
regimes: [real]
model: {kind: mlp, hidden: [6], epochs: 12, batch_size: 32, learning_rate: 0.01}
references: {placebos: 20, reweighed: false}
seeds: 1
"""
BONUS, SHARE = 60.0, 0.8  # of a job that eight of ten men have and two of ten women


def people(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sex, coin = rng.choice(["f", "m"], n), rng.choice(["heads", "tails"], n)
    smith = rng.random(n) < np.where(sex == "m", SHARE, 1 - SHARE)
    skill = rng.normal(size=n)
    pay = 1000 + 40 * skill + BONUS * smith + rng.normal(0, 30, n)
    return pd.DataFrame({"skill": skill, "smith": np.where(smith, "yes", "no"), "sex": sex, "coin": coin, "pay": pay.round(2)})


@dataclass(frozen=True)
class Made:
    folder: Path
    run: Path
    evidence: Evidence
    plan: dict[str, Any]

    def numbers(self, **wanted: Any) -> list[Estimate]:
        return [e for e in self.evidence.estimates if all(getattr(e, key) == value for key, value in wanted.items())]

    def one(self, **wanted: Any) -> Estimate:
        (found,) = self.numbers(regime="real", **wanted)
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("wages")
    people(900).to_csv(folder / "people.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE)
    assert main(["run", str(folder / "recipe.yaml"), "--out", str(folder / "out"), "--cache", str(folder / "cache"), "--jobs", "1"]) == 0
    run = find_run(folder / "out")
    pack = read_pack(run)
    return Made(folder, run, pack.evidence, dict(pack.plan))


def test_the_gap_is_told_in_standard_deviations_and_is_the_planted_one(made: Made) -> None:
    gap, sd = made.one(channel="expressed", measure="gap", attribute="sex"), made.plan["target"]["sd"]
    assert gap.unit == "difference in mean prediction, standard deviations of the target"
    assert (gap.group, gap.margin, gap.state) == ("m minus f, predicted 'pay'", 0.10, "present")
    true = BONUS * (2 * SHARE - 1)
    assert gap.low * sd - 4 < true < gap.high * sd + 4
    assert abs(gap.value * sd - true) < 12
    apart = made.one(channel="expressed", measure="distance", attribute="sex")
    assert apart.value > apart.null_high > 0
    assert made.one(channel="expressed", measure="distance", attribute="coin").value < apart.value / 2


def test_a_verdict_follows_and_coins_have_none_of_it(made: Made) -> None:
    by = {finding.attribute: finding for finding in made.evidence.findings}
    assert by["sex"].verdict == "exposed"
    assert by["coin"].verdict != "exposed"
    assert abs(made.one(channel="expressed", measure="gap", attribute="coin").value) < 0.2
    effects = made.numbers(channel="used", regime="real", attribute="sex", measure="effect")
    assert max(e.value for e in effects) > 0.2
    assert "standard deviations of 'pay'" in by["sex"].sentence


def test_the_task_and_what_cures_cost_are_told_in_r_squared(made: Made) -> None:
    task = made.one(channel="task")
    assert task.measure == "r2"
    assert 0.5 < task.value < 0.9
    assert task.low < task.value < task.high
    assert made.numbers(channel="cure", measure="r2_cost")
    assert not [e for e in made.evidence.estimates if "auroc" in e.measure]
    assert made.numbers(channel="amnesic", measure="r2_change")
    assert all(cure.auroc_cost is None for finding in made.evidence.findings for cure in finding.cures)


def test_nothing_speaks_of_probabilities(made: Made) -> None:
    for e in made.evidence.estimates:
        assert "probabilit" not in e.unit + e.method
    report = (made.run / "report.md").read_text()
    for word in ("AUROC", " points", "(AUROC", "probability at least"):
        assert word not in report
    for word in ("% of an SD", "in units of pay", "R²: 0 is guessing", "impact ratios", "a number; mean 1,0"):
        assert word in report
    page = (made.run / "report.html").read_text()
    assert "Gap, % of an SD" in page
    assert "gap, points" not in page.lower()


def test_the_pack_is_verified_and_a_policy_on_rates_hears_why_there_are_none(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(made.run)]) == 0
    policy = made.folder / "policy.yaml"
    policy.write_text("allow: [removed, hidden, exposed]\nselection: {impact_ratio: 0.8}\n")
    capsys.readouterr()
    assert main(["gate", str(made.run), "--policy", str(policy), "--json"]) == 3
    told = json.loads(capsys.readouterr().out)
    assert "rates do not apply: the target is a number" in json.dumps(told)


def test_a_cure_is_written_with_what_it_promised(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    out = made.folder / "cured"
    asked = ["cure", str(made.run), "--attribute", "sex", "--regime", "real", "--cure", "dropped-1", "--base", str(made.folder)]
    assert main([*asked, "--out", str(out), "--cache", str(made.folder / "cache")]) == 0
    assert "Cost in R²" in capsys.readouterr().out
    (record,) = out.rglob("change.json")
    cost = next(one for one in json.loads(record.read_text())["side_effects"] if one["channel"] == "cure")
    assert (cost["measure"], cost["unit"]) == ("r2_cost", "R squared")
