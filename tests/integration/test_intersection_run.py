"""A run with an intersection: audited through every channel, counted at a threshold, gated; its parts stay what they are without it."""

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

pytestmark = pytest.mark.long

Told = pytest.CaptureFixture[str]
CANARY = "tertium-quid"
RECIPE = """\
name: crossed
data: {path: people.csv, target: pay, target_positive: high, protected: [sex, origin], discover: 0INTERSECTIONS}
regimes: [real]
model: {kind: mlp, hidden: [4], epochs: 6, batch_size: 32, learning_rate: 0.02}
references: {placebos: 20, reweighed: false}
seeds: 1
effort: decide
selection: {threshold: 0.5}
"""


def people(n: int) -> pd.DataFrame:
    """Those who are both f and x are paid less for it; so few are of a third origin that they are nobody's group."""
    rng = np.random.default_rng(0)
    sex, origin = rng.choice(["f", "m"], n), rng.choice(["x", "y"], n)
    both = (sex == "f") & (origin == "x")
    table = pd.DataFrame({"skill": rng.normal(size=n) - 0.9 * both, "hours": rng.normal(size=n) + 0.4 * (sex == "m")})
    table["pay"] = np.where(table["skill"] + 0.3 * table["hours"] + rng.normal(0, 0.7, n) > 0, "high", "low")
    table["sex"], table["origin"] = sex, origin
    table.loc[:8, "origin"] = CANARY
    return table


@dataclass(frozen=True)
class Made:
    folder: Path
    run: Path
    evidence: Evidence

    def numbers(self, **wanted: Any) -> list[Estimate]:
        return [e for e in self.evidence.estimates if all(getattr(e, key) == value for key, value in wanted.items())]


def run(folder: Path, name: str, more: str) -> Path:
    (folder / f"{name}.yaml").write_text(RECIPE.replace("INTERSECTIONS", more))
    assert main(["run", str(folder / f"{name}.yaml"), "--out", str(folder / name), "--jobs", "1"]) == 0
    return find_run(folder / name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("crossed")
    people(1000).to_csv(folder / "people.csv", index=False)
    done = run(folder, "crossed", ", intersections: [[sex, origin]]")
    return Made(folder, done, read_pack(done).evidence)


def test_every_deciding_question_is_asked_of_it(made: Made, capsys: Told) -> None:
    assert main(["verify", str(made.run)]) == 0, capsys.readouterr()
    (finding,) = [f for f in made.evidence.findings if f.role == "intersection"]
    assert (finding.attribute, finding.verdict) == ("sex and origin", "exposed")
    asked = {e.channel for e in made.numbers(attribute="sex and origin") if e.state is not None}
    assert asked >= {"linear", "nonlinear", "beyond", "expressed", "used", "relearned"}
    told = {e.channel for e in made.numbers(attribute="sex and origin")}
    assert told >= {"prominence", "selection"}
    (gap,) = made.numbers(attribute="sex and origin", channel="expressed", measure="gap", regime="real")
    assert "f and x" in str(gap.group)
    page = (made.run / "report.md").read_text()
    assert "### sex and origin" in page
    assert "questions that only single attributes are asked" in page


@pytest.mark.study
def test_its_parts_are_what_they_are_without_it(made: Made) -> None:
    """A second run; ``tests/integration/test_probe_intersections.py`` does the same of bare activations in every test run."""
    without = read_pack(run(made.folder, "plain", "")).evidence

    def own(evidence: Evidence, name: str) -> list[dict[str, Any]]:
        return [e.model_dump(exclude={"id"}) for e in evidence.estimates if e.attribute == name and e.channel != "selection"]

    for name in ("sex", "origin"):
        assert own(made.evidence, name) == own(without, name)
    told, plain = ({f.attribute: (f.verdict, f.sentence) for f in e.findings} for e in (made.evidence, without))
    assert plain.items() <= told.items()


def test_rates_of_the_combinations_are_told_and_gated(made: Made, tmp_path: Path, capsys: Told) -> None:
    rates = {e.group: e.value for e in made.numbers(attribute="sex and origin", measure="selection_rate")}
    assert list(rates) == ["f and x", "f and y", "m and x", "m and y"]
    assert rates["f and x"] is not None
    assert rates["m and y"] is not None
    assert rates["f and x"] < 0.8 * max(rate for rate in rates.values() if rate is not None)
    (tmp_path / "policy.yaml").write_text(
        "regimes: all\nallow: [removed, hidden, exposed]\ninconclusive: allow\nselection: {impact_ratio: 0.8}\n"
    )
    capsys.readouterr()
    assert main(["gate", str(made.run), "--policy", str(tmp_path / "policy.yaml"), "--json"]) == 1
    cases = json.loads(capsys.readouterr().out)["cases"]
    found = {case["attribute"]: case["outcome"] for case in cases if case["kind"] == "selection"}
    assert found["sex and origin"] == "fail"
    assert found.keys() == {"sex", "origin", "sex and origin"}


def test_nobody_of_a_small_combination_stands_anywhere(made: Made) -> None:
    for path in made.run.iterdir():
        assert CANARY.encode() not in path.read_bytes(), path.name
