"""Trees: the libraries' own outputs, margins that sum to the logit, the same bytes again, checkpoints that cannot hurt, random trees."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from proxyaudit.activations.capture import capture
from proxyaudit.activations.replay import replayer
from proxyaudit.causal.attribution import attribute_columns
from proxyaudit.errors import InputError, TaskError
from proxyaudit.models.base import NoGradientError, TrainedModel
from proxyaudit.models.blocks import NoBlockError, last_block
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights, save_weights
from proxyaudit.models.erasing import with_map
from proxyaudit.models.kinds import model_kind
from proxyaudit.models.kinds.catboost import CatBoostSpec
from proxyaudit.models.kinds.gradient_boosting import GradientBoostingSpec
from proxyaudit.models.kinds.lightgbm import LightGBMSpec
from proxyaudit.models.kinds.random_forest import RandomForestSpec
from proxyaudit.models.kinds.xgboost import XGBoostSpec
from proxyaudit.models.libraries import library_of, sklearn
from proxyaudit.models.locations import find_locations
from proxyaudit.models.training import train_model, untrained_model
from proxyaudit.models.tree_nodes import Ensemble
from proxyaudit.recipe.recipe import SitesSpec, parse_recipe

BOOSTING = GradientBoostingSpec(kind="gradient_boosting", max_iter=12, max_leaf_nodes=8)
FOREST = RandomForestSpec(kind="random_forest", n_estimators=9, max_leaf_nodes=12)
XGBOOST = XGBoostSpec(kind="xgboost", n_estimators=12, max_leaves=8)
LIGHTGBM = LightGBMSpec(kind="lightgbm", n_estimators=12, num_leaves=8)
CATBOOST = CatBoostSpec(kind="catboost", iterations=12, depth=3)


def named(spec: Any) -> Any:
    """A case of a kind; skipped, in words, where its library is not installed."""
    lacking = pytest.mark.skipif(find_spec(spec.package) is None, reason=f"the extra 'trees' is not installed ({spec.package})")
    return pytest.param(spec, id=spec.kind, marks=lacking)


SPECS = [BOOSTING, FOREST, XGBOOST, LIGHTGBM, CATBOOST]
CASES = [named(spec) for spec in SPECS]
KINDS = [spec.kind for spec in SPECS]
WIDTH = 6


def rows(n_classes: int, n: int = 700, seed: int = 0) -> tuple[Any, Any, Any]:
    """Numbers and marks, labels that follow them, and weights of which some are zero."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, WIDTH)).astype(np.float32)
    x[:, 3:] = x[:, 3:] > 0.4
    score = x[:, 0] + x[:, 1] * x[:, 3] + rng.normal(0, 0.7, n)
    weight = rng.uniform(0.2, 2, n).astype(np.float32)
    weight[:20] = 0
    return x, np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes)).astype(np.int64), weight


def build(spec: Any, n_classes: int = 2, seed: int = 0, **sites: Any) -> TrainedModel:
    verdict = SitesSpec(verdict=("margins",), **sites)
    return build_model(spec, verdict, n_inputs=WIDTH, n_classes=n_classes, base=Path(), seed=seed)


def trained(spec: Any, n_classes: int = 2, seed: int = 0) -> TrainedModel:
    return train_model(build(spec, n_classes), *rows(n_classes), spec, seed)


def state(model: TrainedModel) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.module.state_dict().items()}


@pytest.mark.parametrize("n_classes", [2, 3, 4])
@pytest.mark.parametrize("spec", CASES)
def test_outputs_are_the_librarys_own_and_margins_sum_to_the_logit(spec: Any, n_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, grown = with_library(spec, n_classes, monkeypatch)
    fresh = rows(n_classes, seed=1)[0]
    captured, expected = capture(model, fresh), grown.predict(fresh)
    assert expected.shape == (len(fresh), n_classes)
    assert np.abs(captured.outputs - (expected[:, 1:] if n_classes == 2 else expected)).max() < 1e-6
    columns = 1 if n_classes == 2 else n_classes - 1 if spec.votes else n_classes
    trees = 9 if spec is FOREST else 12
    assert captured.acts["margins"].shape == (len(fresh), trees * columns)
    total = captured.acts["margins"].reshape(len(fresh), -1, columns).sum(axis=1, dtype=np.float64)
    raw = model.module.head.baseline.detach().numpy() + total
    if spec.votes:
        assert np.abs(total - expected[:, 1:]).max() < 1e-6
    elif n_classes == 2:
        assert np.abs(raw[:, 0] - np.log(expected[:, 1] / expected[:, 0])).max() < 1e-5
    else:
        logs = np.log(expected)
        assert np.abs((raw - raw.mean(axis=1, keepdims=True)) - (logs - logs.mean(axis=1, keepdims=True))).max() < 1e-5
    half = captured.acts["margins.first_half"]
    assert np.array_equal(half, captured.acts["margins"][:, : half.shape[1]])
    assert half.shape[1] == columns * (trees // 2)


def with_library(spec: Any, n_classes: int, monkeypatch: pytest.MonkeyPatch) -> tuple[TrainedModel, Any]:
    """A trained model, and what its library gave."""
    kept, library = [], library_of(spec)
    grow = library.grow
    monkeypatch.setattr(library, "grow", lambda *given: kept.append(grow(*given)) or kept[-1])
    return trained(spec, n_classes), kept[0]


def test_margins_of_iterations_are_those_that_scikit_learn_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, make = [], sklearn._estimator
    monkeypatch.setattr(sklearn, "_estimator", lambda *given, **more: kept.append(make(*given, **more)) or kept[-1])
    model, x = trained(BOOSTING), rows(2, seed=1)[0]
    staged = np.stack([stage.reshape(-1) for stage in kept[0].staged_decision_function(x)], axis=1)
    baseline = float(model.module.head.baseline.detach())
    assert np.allclose(np.cumsum(capture(model, x).acts["margins"], axis=1, dtype=np.float64) + baseline, staged, atol=1e-5)


@pytest.mark.parametrize("spec", CASES)
def test_the_same_seed_gives_the_same_bytes_whatever_the_threads_and_another_seed_others(spec: Any) -> None:
    first, before = state(trained(spec)), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.rand(3), np.random.rand(3)  # noqa: NPY002
        assert state(trained(spec)) == first
    finally:
        torch.set_num_threads(before)
    assert state(trained(spec, seed=1)) != first


@pytest.mark.parametrize("spec", CASES)
def test_weights_count_and_rows_of_no_weight_do_not(spec: Any) -> None:
    x, y, weight = rows(2)
    model = build(spec)
    changed = y.copy()
    changed[:20] = 1 - changed[:20]  # their weight is zero
    assert state(train_model(model, x, changed, weight, spec, 0)) == state(train_model(model, x, y, weight, spec, 0))
    for tilted in (np.where(y == 1, 5, 1), np.where(x[:, 3] > 0, 5, 1)):
        assert state(train_model(model, x, y, tilted.astype(np.float32), spec, 0)) != state(train_model(model, x, y, weight, spec, 0))
    rare = np.where(y == 1, 0.1, 1).astype(np.float32)
    balanced = spec.model_copy(update={"class_weight": "balanced"})
    means = [capture(train_model(model, x, y, rare, one, 0), x).outputs.mean() for one in (spec, balanced)]
    assert means[0] < 0.3 < means[1]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("spec", CASES)
def test_a_swap_at_the_margins_gives_the_outputs_of_the_sum(spec: Any, n_classes: int) -> None:
    model, x = trained(spec, n_classes), rows(n_classes, seed=1)[0]
    captured = capture(model, x)
    acts, other = captured.acts["margins"], np.random.default_rng(0).permutation(len(x))
    for known in (acts, None):
        swapped = replayer(model, x, "margins", known)(acts[other] - acts, np.arange(len(x)))
        assert np.abs(swapped - captured.outputs[other]).max() < 1e-6
    half = captured.acts["margins.first_half"]
    moved = replayer(model, x, "margins.first_half")(half[other] - half, np.arange(len(x)))
    mixed = acts.copy()
    mixed[:, : half.shape[1]] = half[other]
    assert np.abs(moved - replayer(model, x, "margins", acts)(mixed - acts, np.arange(len(x)))).max() < 1e-6


@pytest.mark.parametrize("spec", CASES)
def test_kept_without_pickle_and_read_again(spec: Any, tmp_path: Path) -> None:
    model, x = trained(spec, 3), rows(3, seed=1)[0]
    save_weights(model, tmp_path / "w.safetensors")
    again = load_weights(build(spec, 3, seed=5), tmp_path / "w.safetensors", what="weights")
    assert np.array_equal(capture(again, x).outputs, capture(model, x).outputs)
    with pytest.raises(InputError, match="has shape"):
        load_weights(build(spec, 2), tmp_path / "w.safetensors", what="weights")


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("feature", WIDTH, "a column that the table does not have"),
        ("feature", -1, "a column that the table does not have"),
        ("left", 0, "does not lead on"),
        ("right", 999, "does not lead on"),
    ],
)
def test_a_damaged_checkpoint_is_refused_before_any_row_walks(name: str, value: int, what: str, tmp_path: Path) -> None:
    save_weights(trained(BOOSTING), tmp_path / "w.safetensors")
    tensors = load_file(tmp_path / "w.safetensors")
    tensors[f"trees.{name}"] = tensors[f"trees.{name}"].copy()
    tensors[f"trees.{name}"][0, 1 if name != "feature" else 0] = value
    if name == "left":
        tensors["trees.right"] = tensors["trees.right"].copy()
        tensors["trees.right"][0, 1] = 2
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=what):
        load_weights(build(BOOSTING), tmp_path / "w.safetensors", what="weights")


@pytest.mark.parametrize("spec", CASES)
def test_untrained_trees_are_random_of_the_seed_and_as_large_as_trained_ones(spec: Any) -> None:
    x = rows(2)[0]
    model = build(spec, 2)
    made = [untrained_model(model, lambda: x, spec, seed) for seed in (0, 0, 1)]
    assert state(made[0]) == state(made[1]) != state(made[2])
    module: Any = made[0].module
    assert (module.trees.left[:, 0] == 1).all()
    leaves = [len(np.unique(reached)) for reached in module.trees.leaves(torch.tensor(x)).T.numpy()]
    assert np.mean(leaves) > 0.8 * spec.size[1]  # every leaf that was grown holds rows
    used = module.trees.feature[module.trees.left != torch.arange(module.trees.left.shape[1])]
    assert set(used.tolist()) == set(range(WIDTH))
    outputs = capture(made[0], x).outputs
    assert outputs.std() > 0.001
    assert {*made[0].details} == {*model.details}


def test_the_depth_is_kept_and_a_table_without_splits_gives_single_leaves() -> None:
    for spec in (BOOSTING, FOREST):
        shallow = spec.model_copy(update={"max_depth": 1})
        for model in (trained(shallow), untrained_model(build(shallow), lambda: rows(2)[0], shallow, 0)):
            assert len(np.unique(model.module.trees.leaves(torch.tensor(rows(2)[0]))[:, 0])) == 2
        x = np.zeros((60, WIDTH), dtype=np.float32)
        y = np.arange(60) % 2
        flat = train_model(build(spec), x, y, np.ones(60, dtype=np.float32), spec, 0)
        assert np.allclose(capture(flat, x).outputs, 0.5, atol=0.1)
        assert np.ptp(capture(untrained_model(flat, lambda x=x: x, spec, 0), x).outputs) == 0


def test_sites_have_names_and_the_usual_one_is_understood() -> None:
    for spec in SPECS:
        model = build_model(spec, SitesSpec(), n_inputs=3, n_classes=2, base=Path(), seed=0)
        assert (model.sites, model.verdict_sites) == (("leaves", "margins.first_half", "margins"), ("margins",))
        assert model.aliases == {"penultimate": "margins"}
        with pytest.raises(InputError, match=r"site 'hidden1' matches nothing.*nearest sites: .*margins"):
            build_model(spec, SitesSpec(verdict=("hidden1",)), n_inputs=3, n_classes=2, base=Path(), seed=0)


@pytest.mark.parametrize("spec", CASES)
def test_what_trees_do_not_have_is_said_and_a_map_at_the_margins_is_kept(spec: Any) -> None:
    model, (x, y, _) = trained(spec), rows(2)
    block = last_block(model, x)
    assert block.leaves is not None
    assert np.array_equal(block.vectors(), capture(model, x).acts["margins"])
    with pytest.raises(NoBlockError, match="none of its trees splits") as refused:
        last_block(build(spec), x)
    assert not refused.value.applies
    with pytest.raises(NoGradientError, match="moves in steps"):
        attribute_columns(model, x, y, [[0], [1]], 0)
    acts = capture(model, x).acts["margins"]
    keep = np.eye(acts.shape[1])
    keep[0, 0] = 0
    mapped = capture(with_map(model, "margins", keep, np.zeros(len(keep)), n_inputs=WIDTH), x)
    assert (mapped.acts["margins"][:, 0] == 0).all()
    assert np.array_equal(mapped.acts["margins"][:, 1:], acts[:, 1:])


def test_a_class_without_rows_and_a_library_that_keeps_trees_otherwise_end_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, weight = rows(3)
    with pytest.raises(TaskError, match="1 of 3 target classes have no training row"):
        train_model(build(BOOSTING, 3), x, np.minimum(y, 1), weight, BOOSTING, 0)
    for spec in (BOOSTING, FOREST):
        honest = sklearn.grow

        def halved(*given: Any, honest: Any = honest) -> Ensemble:
            grown = honest(*given)
            return replace(grown, trees=tuple(replace(tree, value_mv=tree.value_mv / 2) for tree in grown.trees))

        with monkeypatch.context() as patched:
            patched.setattr(sklearn, "grow", halved)
            with pytest.raises(TaskError, match="own outputs of sklearn"):
                train_model(build(spec, 2), *rows(2), spec, 0)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"kind": "gradient_boosting", "epochs": 3}, "unknown key 'epochs'"),
        ({"kind": "gradient_boosting", "max_iters": 3}, "max_iter"),
        ({"kind": "random_forest", "learning_rate": 0.1}, "unknown key 'learning_rate'"),
        ({"kind": "random_forest", "n_estimators": 0}, "greater than 0"),
        ({"kind": "gradient_boosting", "max_features": 1.5}, "less than or equal to 1"),
        ({"kind": "gradient_bosting"}, "'gradient_boosting'"),
        ({"kind": "random_forest", "max_leaf_nodes": 1}, "greater than or equal to 2"),
        ({"kind": "xgboost", "max_leafs": 4}, "max_leaves"),
        ({"kind": "lightgbm", "max_leaves": 4}, "num_leaves"),
        ({"kind": "catboost", "depht": 4}, "'depth'"),
        ({"kind": "catbost"}, "'catboost'"),
        ({"kind": "random_forest", "trusted": ["os.system"]}, "sklearn.tree._tree.Tree"),
    ],
)
def test_mistakes_in_a_recipe_give_one_clear_line(model: dict[str, Any], said: str) -> None:
    document = {"name": "t", "data": {"path": "t.csv", "target": "y", "protected": ["sex"]}, "regimes": ["real"], "model": model}
    with pytest.raises(InputError) as caught:
        parse_recipe(document)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_quantising_trees_is_refused_and_costs_follow_the_number_of_trees(kind: str) -> None:
    base = {"name": "t", "data": {"path": "t.csv", "target": "y", "protected": ["sex"]}, "model": {"kind": kind}}
    with pytest.raises(InputError, match="trees have none"):
        parse_recipe({**base, "regimes": ["real", {"name": "small", "of": "real", "quantise": "int8"}]})
    spec = parse_recipe({**base, "regimes": ["real"]}).model
    assert spec.rounds == 100
    assert 0 < model_kind(spec).seconds < 0.01


def test_leaves_are_a_sketch_whose_inner_products_count_shared_leaves_and_which_is_kept(tmp_path: Path) -> None:
    spec = FOREST.model_copy(update={"n_estimators": 60})
    model, x = trained(spec), rows(2, seed=1)[0]
    captured = capture(model, x)
    sketch = captured.acts["leaves"].astype(np.float64)
    assert sketch.shape == (len(x), 128)
    reached = model.module.trees.leaves(torch.tensor(x)).numpy()
    shared = (reached[:, None] == reached[None]).sum(axis=2)
    error = sketch @ sketch.T - shared
    assert abs(error[np.triu_indices(len(x), 1)].mean()) < 1
    assert error.std() < 1.5 * 60 / np.sqrt(128)
    save_weights(model, tmp_path / "w.safetensors")
    again = load_weights(build(spec, seed=5), tmp_path / "w.safetensors", what="weights")
    assert np.array_equal(capture(again, x).acts["leaves"], captured.acts["leaves"])
    # With few leaves nothing is lost.
    few = trained(FOREST.model_copy(update={"n_estimators": 2, "max_leaf_nodes": 4}))
    sketch, reached = capture(few, x).acts["leaves"].astype(np.float64), few.module.trees.leaves(torch.tensor(x)).numpy()
    hot = (reached[:, :, None] == np.arange(7)).reshape(len(x), -1).astype(float)
    back = sketch @ np.linalg.lstsq(sketch, hot, rcond=None)[0]
    assert np.abs(back - hot).max() < 1e-3


def test_leaves_can_be_profiled_and_neither_decide_nor_be_erased() -> None:
    with pytest.raises(InputError, match=r"can be profiled only \[sites.verdict\]; take one of margins.first_half, margins"):
        build_model(BOOSTING, SitesSpec(verdict=("leaves",)), n_inputs=WIDTH, n_classes=2, base=Path(), seed=0)
    with pytest.raises(InputError, match="erasing there would do nothing"):
        build_model(BOOSTING, SitesSpec(), n_inputs=WIDTH, n_classes=2, base=Path(), seed=0, erase=("leaves",))
    model = build(BOOSTING, profile=("margins",))
    assert model.sites == ("margins",)
    assert [location.name for location in find_locations(trained(BOOSTING), rows(2)[0])] == ["margins.first_half", "margins"]
