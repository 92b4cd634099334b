"""Models that hardly learnt the task are told, before and after; and where overrides and plans say what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.channels.outputs.learnt import _words, learnt_notes
from proxyaudit.cli.console import NOTES, plan_tables
from proxyaudit.cli.main import main
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.errors import InputError
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.not_tested import TURNED, learnt_question
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.task import AUROC, R_SQUARED
from proxyaudit.recipe.overrides import apply_override
from proxyaudit.recipe.recipe import Recipe, load_recipe, parse_recipe
from proxyaudit.regimes import few_steps
from proxyaudit.reporting.text import points
from tests.helpers.views import facts_of

DOCUMENT: dict[str, Any] = {
    "name": "t",
    "data": {"path": "t.csv", "target": "y", "protected": ["sex"]},
    "regimes": ["real"],
    "model": {"kind": "mlp"},
}


def world(folder: Path, slope: float) -> Dataset:
    """A target that a linear model tells by ``slope``."""
    rng, n = np.random.default_rng(0), 1500
    table = pd.DataFrame({"sex": rng.choice(["f", "m"], n), "x1": rng.normal(size=n), "x2": rng.normal(size=n)})
    table["y"] = np.where(slope * table["x1"] + rng.normal(size=n) > 0, "yes", "no")
    table.to_csv(folder / "t.csv", index=False)
    return load_dataset(parse_recipe(DOCUMENT), folder)


@pytest.mark.parametrize(
    ("slope", "own", "words"),
    [
        (3.0, 0.0, "where a linear model of the same inputs"),
        (3.0, 0.3, "where a linear model of the same inputs"),  # far below it
        (3.0, 1.0, None),
        (0.0, 0.0, "these inputs tell little of the target"),
    ],
)
def test_a_model_that_learnt_little_is_told_with_what_a_linear_one_learns(
    tmp_path: Path, slope: float, own: float, words: str | None
) -> None:
    dataset = world(tmp_path, slope)
    labels, x = dataset.target_codes(dataset.audit), dataset.audit["x1"].to_numpy()
    scores = own * x + (0 if own == 1.0 else 1.5) * np.random.default_rng(1).normal(size=len(x))
    runs = (
        Run("real", (Measurement({}, {"outputs": scores[:, None]}),)),
        Run("untrained", (Measurement({}, {"outputs": scores[:, None]}),), is_reference=True),
    )
    notes = learnt_notes(facts_of(dataset.attributes, runs, {}, labels_n=labels), dataset)
    assert [note.what for note in notes] == ([learnt_question("real")] if words else [])
    assert not words or words in notes[0].why


@pytest.mark.parametrize(("value", "turned"), [(0.09, True), (0.39, True), (0.47, False), (0.9, False)])
def test_classes_that_are_swapped_are_told_as_that_and_not_as_little_learning(value: float, turned: bool) -> None:
    assert AUROC.is_turned(value) is turned
    assert not R_SQUARED.is_turned(value)
    told = _words(AUROC, value, 0.9, "high")
    assert told.startswith(TURNED) is turned
    assert ("data: {target_positive: high}" in told) is turned
    assert ("epochs" in told) is not turned
    assert "compare the order of their classes" in _words(AUROC, 0.1, 0.9)


def test_few_steps_are_told_beforehand() -> None:
    def asked(**model: Any) -> Recipe:
        return parse_recipe({**DOCUMENT, "model": {"kind": "mlp", **model}})

    (note,) = few_steps(asked(epochs=1, batch_size=256), 2000)
    assert "8 steps" in note.why
    assert few_steps(asked(epochs=20, batch_size=64), 2000) == []
    assert few_steps(asked(epochs=1), 0) == [], "nothing is trained here"
    assert few_steps(parse_recipe({**DOCUMENT, "model": {"kind": "random_forest"}}), 2000) == []
    given = {**DOCUMENT, "regimes": [{"name": "vendor", "checkpoints": ["a.json"]}], "model": {"kind": "xgboost"}, "seeds": 1}
    given["data"] = {**given["data"], "encode": "none"}
    assert [note.what for note in few_steps(parse_recipe(given), 0)] == ["which rows the given models were trained on"]


def test_near_guessing_is_below_what_anybody_would_call_learnt() -> None:
    assert 0.5 < AUROC.near < 0.6


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (("seeds=3", "margins.leek=1"), "--set margins.leek=1"),
        (("model.kind=mlpp", "seeds=3"), "--set model.kind=mlpp"),
        (("data.protected=sex",), "--set data.protected=sex"),
        (("seeds",), "--set seeds"),
    ],
)
def test_a_mistake_in_an_override_is_told_of_the_override(tmp_path: Path, overrides: tuple[str, ...], where: str) -> None:
    (tmp_path / "base.yaml").write_text(json.dumps(DOCUMENT))
    with pytest.raises(InputError) as caught:
        load_recipe(tmp_path / "base.yaml", overrides)
    assert caught.value.where == where
    assert "base.yaml" not in str(caught.value)


def test_a_mistake_of_the_file_is_the_files_own_unless_an_override_mends_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(json.dumps({**DOCUMENT, "seeds": "many"}))
    with pytest.raises(InputError, match=r"base\.yaml"):
        load_recipe(tmp_path / "base.yaml", ("margins.leak=0.03",))
    assert load_recipe(tmp_path / "base.yaml", ("seeds=2",)).seeds == 2
    document: Any = {}
    apply_override(document, "a.b=1")
    assert document == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"name": "t", "classes": ["ja", "nein"]}, "t: ja, nein; scores and gaps are for 'nein'"),
        ({"name": "t", "classes": ["a", "b", "c"]}, "t: a, b, c "),
        ({"name": "t", "classes": ["lowest", "highest"], "task": "regression"}, "t: the number itself"),
        ({"name": "t", "classes": ["rude", "late"], "labels": ["rude", "late"]}, "t: rude, late "),
    ],
)
@pytest.mark.parametrize(("minutes", "time"), [(0.2, "about a minute on"), (1.0, "about a minute on"), (4.5, "about 4.5 minutes on")])
def test_a_plan_says_what_the_scores_are_for_and_no_time_finer_than_it_is_known(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    target: dict[str, Any],
    words: str,
    minutes: float,
    time: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world(tmp_path, 1.0)
    monkeypatch.setattr("proxyaudit.cli.speed.slowness", lambda: 1.0)
    (tmp_path / "base.yaml").write_text(json.dumps(DOCUMENT))
    assert main(["plan", str(tmp_path / "base.yaml"), "--json"]) == 0
    plan_tables({**json.loads(capsys.readouterr().out), "target": target, "estimated_minutes": minutes})
    told = capsys.readouterr().out
    assert words in told
    assert time in told


def test_a_plan_shows_a_few_notes_and_counts_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world(tmp_path, 1.0)
    (tmp_path / "base.yaml").write_text(json.dumps(DOCUMENT))
    assert main(["plan", str(tmp_path / "base.yaml"), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    plan["notes"] = [{"what": f"note {k}", "why": "so"} for k in range(NOTES + 1)]
    plan_tables(plan)
    told = capsys.readouterr().out
    assert told.count("Note: ") == NOTES
    assert "And 1 more note: --all-notes shows it, and so does --json." in told
    plan_tables(plan, all_notes=True)
    assert capsys.readouterr().out.count("Note: ") == NOTES + 1
    assert main(["plan", str(tmp_path / "base.yaml"), "--all-notes"]) == 0


def test_one_point_is_one_point() -> None:
    assert [points(value) for value in (0.01, -0.01, 0.02, 0.0, None)] == ["1 point", "−1 point", "2 points", "0 points", "–"]  # noqa: RUF001
