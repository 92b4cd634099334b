"""A target of several labels: read from columns of yes and no, learnt together, told apart; what cannot take it says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.activations.capture import capture
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.several_labels import NONE, OTHERS, SeveralLabels, join_labels
from proxyaudit.errors import InputError
from proxyaudit.estimates.task import task_score
from proxyaudit.models.base import log_odds, predictions, to_logits
from proxyaudit.models.build import build_model
from proxyaudit.models.places import columns_of
from proxyaudit.models.training import train_model
from proxyaudit.recipe.recipe import Recipe, SitesSpec, parse_recipe

N = 900
NETS = """
from torch import nn

def make(n_inputs, n_classes):
    return nn.Sequential(nn.Linear(n_inputs, 6), nn.ReLU(), nn.Linear(6, n_classes))
"""


def people(n: int = N) -> pd.DataFrame:
    """Whoever is m is called rude for it; late follows from a column that has nothing to do with it."""
    rng = np.random.default_rng(5)
    sex, x = rng.choice(["f", "m"], n), rng.normal(size=(n, 2))
    rude = x[:, 0] + 1.6 * (sex == "m") + rng.normal(0, 0.5, n) > 0.8
    late = x[:, 1] + rng.normal(0, 0.5, n) > 0
    beard = (sex == "m") + rng.normal(0, 0.2, n)
    columns = {"x0": x[:, 0], "x1": x[:, 1], "beard": beard, "rude": rude.astype(int), "late": np.where(late, "yes", "no"), "sex": sex}
    return pd.DataFrame(columns).round(4)


def asked(folder: Path, rows: pd.DataFrame | None = None, **more: Any) -> Recipe:
    (people() if rows is None else rows).to_csv(folder / "people.csv", index=False)
    (folder / "nets.py").write_text(NETS)
    data = {"path": "people.csv", "target": ["rude", "late"], "protected": ["sex"], "discover": 0, **more.pop("data", {})}
    model = {"kind": "module", "factory": "nets.py:make", "epochs": 30, "learning_rate": 0.02}
    return parse_recipe({"name": "t", "data": data, "regimes": ["real"], "model": model, **more})


def loaded(folder: Path, rows: pd.DataFrame | None = None, **more: Any) -> Dataset:
    return load_dataset(asked(folder, rows, **more), folder)


def test_labels_are_read_as_written_and_are_no_inputs(tmp_path):
    dataset = loaded(tmp_path)
    assert (dataset.read.task, dataset.read.n_classes, dataset.target) == ("labels", 2, "rude, late")
    assert set(dataset.classes[:-1]) == {"rude", "late", "rude, late", NONE}
    assert [feature.name for feature in dataset.features] == ["x0", "x1", "beard"]
    rows = pd.concat([dataset.train, dataset.audit])
    truth = dataset.truth(rows)
    by_row = {tuple(row[:3]): (row[3], row[4] == "yes") for row in people()[["x0", "x1", "beard", "rude", "late"]].itertuples(index=False)}
    inputs = rows[["x0", "x1", "beard"]].itertuples(index=False)
    assert all(tuple(answer) == by_row[tuple(row)] for row, answer in zip(inputs, truth, strict=True))
    np.testing.assert_array_equal(dataset.learnt(rows), truth)


def test_rare_combinations_are_one_and_answers_are_kept():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((400, 3)) < (0.5, 0.4, 0.15), columns=["a", "b", "c"])
    joint = join_labels(frame, ("a", "b", "c"), "f")["a, b, c"]
    found = SeveralLabels.of(("a", "b", "c"), (joint, joint), (None, None), where="f")
    assert found.classes[-1] == OTHERS
    assert len(found.classes) < 8
    counts = np.bincount(found.codes(joint), minlength=len(found.classes))
    assert counts[:-1].min() >= 30
    np.testing.assert_array_equal(found.answers(joint), frame.to_numpy())
    with pytest.raises(InputError, match="something else than its labels"):
        found.answers(pd.Series(["a, d"], name="a, b, c"))


def test_a_row_that_lacks_one_label_has_no_target():
    frame = pd.DataFrame({"a": [1, 0, np.nan], "b": ["yes", None, "no"], "x": [1, 2, 3]})
    joint = join_labels(frame, ("a", "b"), "f")
    assert joint["a, b"].isna().tolist() == [False, True, True]
    assert join_labels(joint, ("a", "b"), "f") is joint  # rows that an audit made


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (np.arange(N) % 3, "other values than yes and no"),
        (np.r_[np.ones(10), np.zeros(N - 10)].astype(int), "'late': too few rows have one of its two answers"),
        (None, "column 'late' \\(target\\) is missing"),
    ],
)
def test_what_is_no_label_is_refused_by_name(column, said, tmp_path):
    rows = people().drop(columns="late") if column is None else people().assign(late=column)
    with pytest.raises(InputError, match=said):
        loaded(tmp_path, rows)


@pytest.mark.parametrize("given", [["rude"], ["rude", "rude"], [], [f"l{i}" for i in range(11)], 5, ["rude", 3], {"rude": 1}])
def test_a_target_is_a_column_or_a_few_labels(given, tmp_path):
    with pytest.raises(InputError, match="rude, late") as found:
        asked(tmp_path, data={"target": given})
    assert "data.target]" in str(found.value)


@pytest.mark.parametrize("more", [{"target_positive": "yes"}, {"target_threshold": 0.5}, {"task": "regression"}])
def test_labels_have_no_roles_of_single_targets(more, tmp_path):
    with pytest.raises(InputError, match="yes or no each"):
        loaded(tmp_path, data=more)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"model": {"kind": "mlp"}}, "models of kind 'mlp' predict one target at a time"),
        ({"model": {"kind": "random_forest"}}, "models of kind 'random_forest' predict one target at a time"),
        ({"selection": {"threshold": 0.5}}, "several labels"),
        ({"signatures": True}, "several labels"),
    ],
)
def test_what_takes_one_label_at_a_time_says_how(more, said, tmp_path):
    with pytest.raises(InputError, match=said) as found:
        asked(tmp_path, **more).of_target("labels")
    assert "one label at a time" in found.value.mend


def test_outputs_of_labels_do_not_add_up():
    import torch

    logits = torch.tensor([[2.0, 1.0], [-1.0, 3.0]])
    assert columns_of(2, "labels") == 2
    torch.testing.assert_close(to_logits(logits, 2, 2, task="labels"), logits)
    torch.testing.assert_close(predictions(logits, "labels"), torch.sigmoid(logits))
    torch.testing.assert_close(log_odds(logits, 1, "labels"), logits[:, 1])
    with pytest.raises(InputError, match="2 labels"):
        to_logits(logits[:, :1], 2, 2, task="labels")


def test_a_module_learns_labels_together(tmp_path):
    recipe, dataset = asked(tmp_path), loaded(tmp_path)
    x, y = dataset.encoder.transform(dataset.train), dataset.learnt(dataset.train)
    model = build_model(recipe.model, SitesSpec(), n_inputs=x.shape[1], n_classes=2, base=tmp_path, seed=0, several=True)
    trained = train_model(model, x, y, np.ones(len(x), np.float32), recipe.model, 0)
    outputs = capture(trained, dataset.encoder.transform(dataset.audit)).outputs
    assert outputs.shape == (len(dataset.audit), 2)
    assert abs(outputs.sum(axis=1) - 1).max() > 0.3
    assert task_score(outputs, dataset.truth(dataset.audit), "labels")[0] > 0.85


@pytest.mark.long
def test_each_label_has_its_gap_and_the_largest_leads(tmp_path):
    from proxyaudit.cli.main import main
    from proxyaudit.evidence.pack import find_run, read_pack

    asked(tmp_path)
    (tmp_path / "recipe.yaml").write_text(
        "name: labels\ndata: {path: people.csv, target: [rude, late], protected: [sex], discover: 0}\nregimes: [real]\n"
        'model: {kind: module, factory: "nets.py:make", epochs: 12, learning_rate: 0.02}\n'
        "references: {placebos: 20, reweighed: false}\nseeds: 1\neffort: decide\n"
    )
    out = ["--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--jobs", "1", "--run-code", "any"]
    assert main(["run", str(tmp_path / "recipe.yaml"), *out]) == 0
    run = find_run(tmp_path / "out")
    estimates = [e for e in read_pack(run).evidence.estimates if (e.channel, e.attribute, e.regime) == ("expressed", "sex", "real")]
    by = {e.subject: e for e in estimates if e.measure == "gap_of_label"}
    (gap,) = [e for e in estimates if e.measure == "gap"]
    assert set(by) == {"rude", "late"}
    assert gap.group == "m minus f, predicted 'rude'"
    assert gap.value == by["rude"].value > 0.2 > abs(by["late"].value)
    assert by["late"].low < 0 < by["late"].high
    assert gap.high - gap.low == pytest.approx(by["rude"].high - by["rude"].low, abs=0.02)
    assert main(["verify", str(run)]) == 0
    assert "yes or no to each of 2 labels" in (run / "report.md").read_text()
