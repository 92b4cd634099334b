"""Other people's plugins: a toy one of every group is found by the recipe, used, and seen in the evidence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from toy_plugins import install

from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import find_run
from proxyaudit.recipe.recipe import parse_recipe

pytestmark = pytest.mark.long

RECIPE = """\
name: toys
data: {path: real.csv, target: pay, protected: [sex], exclude: [sex], discover: 0}
regimes: [real, {synthetic: {sdv: resample}}]
model: {kind: toy_net, width: 4, epochs: 2, batch_size: 32, learning_rate: 0.02}
references: {placebos: 20, reweighed: false}
seeds: 1
cures: false
"""
SCRUB = """
from proxyaudit.data.scrubbing import scrub
from proxyaudit.recipe.recipe import RegimeSpec
assert RegimeSpec.model_validate({"scrub": ["shout", "pronouns"]}).scrub == ("shout", "pronouns")
print(*scrub(["he saw it"], ["shout", "pronouns"]))
"""


def python(folder: Path, *arguments: str, module: bool = True) -> str:
    """Standard output of a process that sees the toy package."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")])}
    start = ["-m", "proxyaudit.cli.main"] if module else ["-c"]
    done = subprocess.run([sys.executable, *start, *arguments], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy package, data and a run of the recipe."""
    folder = tmp_path_factory.mktemp("toys")
    install(folder / "site")
    rng = np.random.default_rng(0)
    sex = rng.choice(["f", "m"], 700)
    age = (rng.normal(40, 10, 700) + 6 * (sex == "m")).round(3)
    pay = np.where(age + rng.normal(0, 8, 700) > 43, "high", "low")
    pd.DataFrame({"age": age, "hours": rng.normal(38, 4, 700).round(3), "sex": sex, "pay": pay}).to_csv(folder / "real.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    python(folder, "run", str(folder / "recipe.yaml"), "--out", str(folder / "out"), "--jobs", "1")
    return folder


def evidence(made: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((find_run(made / "out") / "evidence.json").read_bytes())
    return found


def test_model_synthesizer_and_channel_are_in_the_evidence(made: Path) -> None:
    run = find_run(made / "out")
    plan = json.loads((run / "plan.json").read_bytes())
    assert [regime["name"] for regime in plan["regimes"]] == ["real", "resample"]
    assert plan["sites"]["verdict"] == ["penultimate"]
    document = evidence(made)
    assert document["run"]["status"] == "complete"
    assert {finding["regime"] for finding in document["findings"]} == {"real", "resample"}
    means = {estimate["regime"]: estimate["value"] for estimate in document["estimates"] if estimate["channel"] == "toy"}
    assert means.keys() == {"real", "resample", "untrained"}
    assert all(0 < mean < 1 for mean in means.values())
    assert (run / "report.html").stat().st_size > 10_000


def test_report_verify_and_compare_know_them(made: Path) -> None:
    run = find_run(made / "out")
    for page in ("report.html", "report.md"):
        text = (run / page).read_text(encoding="utf-8")
        assert "Toys on a shelf" in text
        assert "resample" in text
    assert json.loads(python(made, "verify", str(run), "--strict", "--json"))["verified"]
    compared = json.loads(python(made, "compare", str(run), str(run), "--json"))
    assert "error" not in compared
    assert "resample" in json.dumps(compared)


def test_an_eraser_mends_models(made: Path) -> None:
    options = ("--attribute", "sex", "--regime", "real", "--method", "flatten", "--base", str(made), "--jobs", "1", "--json")
    out = python(made, "mitigate", str(find_run(made / "out")), *options, "--out", str(made / "mended"))
    document = json.loads(out)
    assert document["method"] == "flatten"
    assert all(site["moved"] == 1.0 for model in document["models"] for site in model)  # all that differed is gone


def test_a_scrubber_is_asked_for_by_name(made: Path) -> None:
    assert python(made, SCRUB, module=False).strip() == "[REMOVED] SAW IT"  # after the words, whatever the order asked for


@pytest.mark.parametrize(
    ("change", "wrong", "near"),
    [
        ({"model": {"kind": "mpl"}}, "'mpl'", "'mlp'"),
        ({"regimes": [{"scrub": ["pronoun"]}]}, "'pronoun'", "'pronouns'"),
    ],
)
def test_an_unknown_plugin_names_the_nearest(change: dict[str, Any], wrong: str, near: str) -> None:
    plain = {"name": "a", "data": {"path": "x", "target": "y", "protected": ["s"]}, "regimes": ["real"], "model": {"kind": "mlp"}}
    with pytest.raises(InputError) as caught:
        parse_recipe({**plain, **change})
    assert wrong in str(caught.value)
    assert near in str(caught.value)


def test_a_recipe_is_validated_without_torch() -> None:
    plain = {"name": "a", "data": {"path": "x", "target": "y", "protected": ["s"]}, "regimes": ["real"], "model": {"kind": "mlp"}}
    code = f"import sys; from proxyaudit.recipe.recipe import parse_recipe; parse_recipe({plain!r}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
