"""A target that is predicted as a number: how it is found, scaled and cut into bands, learnt, and read from files of other libraries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tree_models import COLUMNS, TRUSTED, needs, table
from tree_models import outside as classifier

from proxyaudit.activations.capture import capture
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.numbers import Number
from proxyaudit.errors import InputError
from proxyaudit.estimates.task import task_score
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.growing import train_trees
from proxyaudit.models.kinds.trees import TreeSpec
from proxyaudit.models.training import train_model
from proxyaudit.models.tree_files import with_room
from proxyaudit.recipe.recipe import Recipe, SitesSpec, parse_recipe
from proxyaudit.stats.group_gaps import distance_in, gap_in, gaps_within_label

N = 800
LIBRARIES = [
    pytest.param("gradient_boosting", marks=needs("skops")),
    pytest.param("random_forest", marks=needs("skops")),
    *(pytest.param(kind, marks=needs(kind)) for kind in ("xgboost", "lightgbm", "catboost")),
]


def people(target: Any = None) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = pd.DataFrame({"age": rng.normal(40, 9, N).round(2), "hours": rng.integers(10, 60, N), "sex": rng.choice(["f", "m"], N)})
    wage = 300 + 12 * rows.age + 5 * rows.hours + rng.normal(0, 60, N)
    return rows.assign(wage=wage.round(2) if target is None else target)


def asked(folder: Path, rows: pd.DataFrame | None = None, model: Any = None, **more: Any) -> Recipe:
    (people() if rows is None else rows).to_csv(folder / "people.csv", index=False)
    data = {"path": "people.csv", "target": "wage", "protected": ["sex"], "discover": 0, **more}
    return parse_recipe({"name": "t", "data": data, "regimes": ["real"], "model": model or {"kind": "mlp", "hidden": [8]}})


def loaded(folder: Path, rows: pd.DataFrame | None = None, **more: Any) -> Dataset:
    return load_dataset(asked(folder, rows, **more), folder)


@pytest.mark.parametrize("said", [{}, {"task": "regression"}])
def test_a_target_of_fractions_is_a_number_by_itself(said, tmp_path):
    dataset = loaded(tmp_path, **said)
    assert (dataset.read.task, dataset.read.n_classes) == ("number", 1)
    assert dataset.classes == ("lowest fifth", "second fifth", "middle fifth", "fourth fifth", "highest fifth")
    truth, codes = dataset.truth(dataset.train)[:, 0], dataset.target_codes(dataset.train)
    assert abs(truth.mean()) < 0.01
    assert abs(truth.std() - 1) < 0.01
    assert np.bincount(codes).min() >= len(codes) // 5 - 2
    assert all(truth[codes == k].max() < truth[codes == k + 1].min() for k in range(4))
    assert any("impact ratios" in note.what for note in dataset.notes)


def test_whole_numbers_may_be_classes_so_nobody_guesses(tmp_path):
    whole = people().wage.round()
    with pytest.raises(InputError, match="more than 20") as found:
        loaded(tmp_path, people(whole))
    assert "task: regression" in found.value.mend
    assert loaded(tmp_path, people(whole), task="regression").read.task == "number"
    few = people(np.arange(N) % 4)
    assert loaded(tmp_path, few).read.task == "classes"
    assert loaded(tmp_path, few, task="regression").read.task == "number"


@pytest.mark.parametrize(
    ("target", "more", "said"),
    [
        (["a", "b"] * (N // 2), {"task": "regression"}, "is no number"),
        ([0.5, 1.5] * (N // 2), {"task": "regression"}, "fewer than 3 values"),
        (["2020-01-02", "2021-03-04"] * (N // 2), {"task": "regression"}, "is no number"),
        (None, {"task": "regression", "target_threshold": "median"}, "has no classes"),
        (None, {"task": "regression", "target_positive": "1"}, "has no classes"),
        ([0.0] * (N - 10) + list(np.linspace(1, 2, 10)), {"task": "regression"}, "too few rows, or too many of one value"),
    ],
)
def test_what_is_no_number_to_predict_is_refused_in_a_line(target, more, said, tmp_path):
    with pytest.raises(InputError, match=said):
        loaded(tmp_path, people(target), **more)


@pytest.mark.parametrize(("key", "given"), [("selection", {"threshold": 0.5}), ("model", {"kind": "mlp", "class_weight": "balanced"})])
def test_what_only_classes_have_is_refused_before_any_work(key, given, tmp_path):
    recipe = parse_recipe(asked(tmp_path).model_dump(exclude_none=True) | {key: given})
    with pytest.raises(InputError, match="no classes"):
        recipe.of_target("number")
    assert recipe.of_target("classes") is recipe


def test_margins_of_numbers_are_those_of_a_label_that_half_of_all_have(tmp_path):
    recipe = asked(tmp_path)
    wide = recipe.of_target("number").margins
    assert (wide.gap, wide.effect, wide.leak) == (0.10, 0.04, 0.02)
    own = recipe.model_copy(update={"margins": type(recipe.margins)(gap=0.07)}).of_target("number").margins
    assert (own.gap, own.effect) == (0.07, 0.04)


def test_the_scale_tells_of_no_single_person():
    values = pd.Series(np.random.default_rng(0).lognormal(6, 1, 3000), name="wage")
    found = Number.of(values, values, (None, None), where="f")
    far = values.copy()
    far.iloc[0] = values.iloc[0] + 20
    other = Number.of(far, far, (None, None), where="f")
    assert (found.mean, found.sd) == (other.mean, other.sd)
    assert len(f"{found.sd:g}".replace(".", "").rstrip("0")) <= 3


def test_bands_of_people_and_of_ties_are_joined_until_they_hold_enough():
    zeros = pd.Series(np.r_[np.zeros(500), np.linspace(1, 9, 500)], name="y")
    found = Number.of(zeros, zeros, (None, None), where="f")
    assert np.bincount(found.bands(zeros.to_numpy()), minlength=len(found.names)).min() >= 30
    few = pd.Series(np.linspace(0, 1, 100), name="y")
    assert len(Number.of(few, few, (None, None), where="f").names) == 3
    person = pd.Series(np.arange(100) // 6)
    with pytest.raises(InputError, match="too few rows"):
        Number.of(few, few, (person, person), where="f")


def test_a_network_learns_a_number_and_its_outputs_are_in_standard_deviations(tmp_path):
    recipe, dataset = asked(tmp_path), loaded(tmp_path)
    x, y = dataset.encoder.transform(dataset.train), dataset.learnt(dataset.train)
    spec = recipe.model.model_copy(update={"epochs": 60, "learning_rate": 0.01, "patience": 10})
    model = build_model(spec, recipe.sites, n_inputs=x.shape[1], n_classes=1, base=tmp_path, seed=0)
    assert model.task == "number"
    trained = [train_model(model, x, y, np.ones(len(x), np.float32), spec, 0) for _ in range(2)]
    outputs = [capture(one, dataset.encoder.transform(dataset.audit)).outputs for one in trained]
    np.testing.assert_array_equal(*outputs)
    value, _ = task_score(outputs[0], dataset.truth(dataset.audit), "number")
    assert 0.6 < value < 0.95
    assert capture(model, x).outputs.min() < 0  # no probability


FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.body, self.head = nn.Linear(n, 4), nn.Linear(4, 1)
    def forward(self, x):
        return {shape}

def make(n_inputs):
    return Net(n_inputs)
"""


@pytest.mark.parametrize(
    ("shape", "fits"), [("self.head(self.body(x))", True), ("self.head(self.body(x))[:, 0]", True), ("self.body(x)", False)]
)
def test_modules_predict_one_number_a_row_in_either_scale(shape, fits, tmp_path):
    (tmp_path / "nets.py").write_text(FACTORY.format(shape=shape))
    spec: Any = {"kind": "module", "factory": "nets.py:make"}
    made = [asked(tmp_path, model=one).model for one in (spec, spec | {"predicts": "units"})]
    given: Any = {"n_inputs": 3, "n_classes": 1, "base": tmp_path, "seed": 0, "scale": (100.0, 20.0)}
    if not fits:
        with pytest.raises(InputError, match="a number"):
            build_model(made[0], SitesSpec(), **given)
        return
    x = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    standard, units = (capture(build_model(one, SitesSpec(), **given), x).outputs for one in made)
    np.testing.assert_allclose(units, (standard - 100) / 20, atol=1e-6)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_trees_grow_numbers_with_their_library(kind, tmp_path):
    recipe = asked(tmp_path, model={"kind": kind})
    dataset = load_dataset(recipe, tmp_path)
    x, spec = dataset.encoder.transform(dataset.train), recipe.model
    assert isinstance(spec, TreeSpec)
    model = build_model(spec, recipe.sites, n_inputs=x.shape[1], n_classes=1, base=tmp_path, seed=0)
    # Training itself holds the outputs against the library's own.
    trained = train_trees(model, x, dataset.learnt(dataset.train), np.ones(len(x), np.float32), spec, 0)
    found = capture(trained, dataset.encoder.transform(dataset.audit))
    assert task_score(found.outputs, dataset.truth(dataset.audit), "number")[0] > 0.5
    baseline = trained.module.head.baseline.detach().numpy()
    np.testing.assert_allclose(found.acts["margins"].astype(np.float64).sum(axis=1, keepdims=True) + baseline, found.outputs, atol=1e-5)


def outside(kind: str, folder: Path, **more: Any) -> tuple[Path, Any]:
    """A model of a number as a user trains and saves it, and what it predicts of the rows, in units."""
    rows = table(2)
    x, y = rows[list(COLUMNS)].to_numpy(np.float32), 50 + 30 * rows.y + 2 * rows[COLUMNS[1]]
    model: Any
    if kind == "xgboost":
        from xgboost import XGBRegressor

        model = XGBRegressor(**{"n_estimators": 7, "max_depth": 3, "n_jobs": 1} | more).fit(x, y)
        model.save_model(path := folder / "model.ubj")
    elif kind == "lightgbm":
        from lightgbm import LGBMRegressor

        model = LGBMRegressor(**{"n_estimators": 7, "num_leaves": 6, "n_jobs": 1, "verbose": -1} | more).fit(x, y)
        model.booster_.save_model(path := folder / "model.txt")
    elif kind == "catboost":
        from catboost import CatBoostRegressor

        fixed = {"thread_count": 1, "allow_writing_files": False, "logging_level": "Silent"}
        model = CatBoostRegressor(**{"iterations": 7, "depth": 3} | fixed | more).fit(x, y)
        model.save_model(str(path := folder / "model.cbm"))
    else:
        import sklearn.ensemble
        import skops.io

        name = {"gradient_boosting": "HistGradientBoostingRegressor", "random_forest": "ExtraTreesRegressor"}[kind]
        size = {"max_iter": 7} if name.startswith("Hist") else {"n_estimators": 7, "max_leaf_nodes": 30}
        model = getattr(sklearn.ensemble, name)(**size | {"random_state": 0} | more).fit(x, y)
        skops.io.dump(model, path := folder / "model.skops")
    rows.assign(y=y).to_csv(folder / "rows.csv", index=False)
    return path, model.predict(x)


def given(kind: str, folder: Path, name: str, **more: Any) -> Recipe:
    data = {"path": "rows.csv", "target": "y", "protected": ["sex"], "encode": "none", "task": "regression", **more}
    model: Any = {"kind": kind} | ({"trusted": TRUSTED} if kind in ("gradient_boosting", "random_forest") else {})
    return parse_recipe({"name": "t", "data": data, "regimes": [{"name": "vendor", "checkpoints": [name]}], "model": model})


def read(recipe: Recipe, folder: Path, path: Path) -> tuple[TrainedModel, Dataset]:
    dataset = load_dataset(recipe, folder)
    sized = with_room(recipe, folder, dataset)[0]
    about: Any = {"n_inputs": 4, "n_classes": dataset.read.n_classes, "base": folder, "seed": 0, "scale": dataset.read.scale}
    return load_weights(build_model(sized.model, SitesSpec(verdict=("margins",)), **about), path, what="the file"), dataset


@pytest.mark.parametrize("kind", LIBRARIES)
def test_model_files_of_numbers_are_brought_from_units_to_standard_deviations(kind, tmp_path):
    path, predicted = outside(kind, tmp_path)
    model, dataset = read(given(kind, tmp_path, path.name), tmp_path, path)
    mean, sd = dataset.read.scale or (0.0, 1.0)
    found = capture(model, table(2)[list(COLUMNS)].to_numpy(np.float32)).outputs[:, 0]
    np.testing.assert_allclose(found, (predicted - mean) / sd, atol=2e-5)


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_model_of_a_number_is_no_classifier_and_the_other_way_round(kind, tmp_path):
    path, _ = outside(kind, tmp_path)
    with pytest.raises(InputError, match="predicts a number, and the target has classes"):
        read(given(kind, tmp_path, path.name, task=None, target_threshold="median"), tmp_path, path)
    if kind == "random_forest":
        rows = (tmp_path / "rows.csv").read_bytes()
        other, _ = classifier(kind, tmp_path)
        (tmp_path / "rows.csv").write_bytes(rows)
        with pytest.raises(InputError, match="tells classes apart, and the target is a number"):
            read(given(kind, tmp_path, other.name), tmp_path, other)


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        pytest.param("lightgbm", {"objective": "poisson"}, "neither single labels nor plain numbers", marks=needs("lightgbm")),
        pytest.param("lightgbm", {"reg_sqrt": True}, "neither single labels nor plain numbers", marks=needs("lightgbm")),
        pytest.param("xgboost", {"objective": "reg:gamma"}, "neither single labels nor plain numbers", marks=needs("xgboost")),
        pytest.param("catboost", {"loss_function": "Poisson"}, "neither single labels nor plain numbers", marks=needs("catboost")),
        pytest.param("gradient_boosting", {"loss": "gamma"}, "add up to a logarithm", marks=needs("skops")),
    ],
)
def test_trees_that_add_up_to_something_else_are_refused(kind, more, said, tmp_path):
    path, _ = outside(kind, tmp_path, **more)
    with pytest.raises(InputError, match=said):
        read(given(kind, tmp_path, path.name), tmp_path, path)


def test_the_score_of_a_number_and_what_each_row_adds_to_it():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(400, 1))
    said = 0.6 * truth + rng.normal(0, 0.3, (400, 1))
    value, influence = task_score(said, truth, "number")
    assert value == pytest.approx(1 - ((truth - said) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    assert abs(influence.sum()) < 1e-9
    for row in (0, 17, 399):
        left = np.delete(np.arange(400), row)
        without, _ = task_score(said[left], truth[left], "number")
        assert value - without == pytest.approx(influence[row], abs=3e-5)


def test_a_gap_within_bands_is_what_the_number_itself_does_not_explain():
    rng = np.random.default_rng(2)
    n = 6000
    groups, clusters = rng.integers(0, 2, n), np.arange(n)
    target = rng.normal(0.5 * groups, 1)
    bands = np.digitize(target, np.quantile(target, [0.2, 0.4, 0.6, 0.8]))
    for bonus in (0.0, 0.3):
        outputs = (0.7 * target + bonus * groups + rng.normal(0, 0.1, n))[:, None]
        gaps = gaps_within_label([outputs], groups, bands, 0, 1, 0, clusters, 30, (), target)
        assert gaps is not None
        for _, gap in gaps:
            error = float(np.sqrt((gap.influence_n**2).sum()))
            assert abs(gap.value - bonus) < 4 * error < 0.1
    plain = gap_in(outputs, groups, 0, 1, 0, clusters).value
    assert plain == pytest.approx(0.3 + 0.7 * 0.5, abs=0.1)


def test_distributions_lie_apart_whatever_their_means():
    rng = np.random.default_rng(4)
    groups = np.repeat([0, 1], 4000)
    same, wide = rng.normal(size=8000), np.where(groups == 1, rng.normal(0, 3, 8000), rng.normal(size=8000))
    (flat, null), (apart, _) = (distance_in(outputs, groups, 0, 1, np.arange(8000)) for outputs in (same, wide))
    assert flat.value < null < 0.05
    assert apart.value == pytest.approx(0.23, abs=0.03)
    twice, wider = distance_in(wide, groups, 0, 1, np.arange(8000) // 2)
    assert wider > null
    assert twice.value == apart.value
    assert replace(apart).influence_n.shape == (8000,)
