"""Attributions of trees: the libraries' own numbers, Shapley's by their definition, and the column that moves the outputs."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.activations.capture import capture
from proxyaudit.causal.attribution import attribute_columns
from proxyaudit.causal.tree_paths import attribute_paths, contributions
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.erasing import with_map
from proxyaudit.models.trees import TreeEnsemble
from proxyaudit.recipe.recipe import SitesSpec
from tests.unit.test_models_trees import BOOSTING, CASES, FOREST, WIDTH, rows, trained
from tests.unit.test_native_trees import COLUMNS, frame, outside, ready, recipe

SOURCES = [[0, 1], [2], [3], [4], [5]]


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm", "catboost"])
def test_contributions_are_those_that_the_library_gives(kind: str, tmp_path: Path) -> None:
    if find_spec(kind) is None:
        pytest.skip(f"the extra 'trees' is not installed ({kind})")
    table = frame()
    if kind == "catboost":
        table["job"] = table.job.fillna("none")
    path, model = outside(kind, tmp_path, table)
    asked, dataset = ready(recipe(kind, tmp_path, table, path.name), tmp_path)
    empty = build_model(asked.model, SitesSpec(verdict=("margins",)), n_inputs=3, n_classes=2, base=tmp_path, seed=0)
    module: Any = load_weights(empty, path, what="checkpoint").module
    given = dataset.audit[COLUMNS]
    words = given.assign(job=pd.Categorical(given.job, categories=sorted(set(table.job.dropna())))).astype(
        {"age": "float32", "town": "float32"}
    )
    if kind == "xgboost":
        from xgboost import DMatrix

        own = model.get_booster().predict(DMatrix(words, enable_categorical=True), pred_contribs=True)
    elif kind == "lightgbm":
        own = model.predict(words, pred_contrib=True)
    else:
        from catboost import Pool

        own = model.get_feature_importance(Pool(given.astype({"age": "float32"}), cat_features=["job"]), type="ShapValues", thread_count=1)
    found = contributions(module, dataset.encoder.transform(dataset.audit), np.ones((1, len(module.trees.left))))[0]
    assert np.abs(own[:, :-1]).max() > 0.3
    assert np.abs(found - own[:, :-1]).max() < 1e-5


def expected(module: TreeEnsemble, tree: int, x: Any, known: frozenset[int], node: int = 0) -> float:
    """What a tree says of a row of which only some columns are known."""
    parts = module.trees
    left, right = int(parts.left[tree, node]), int(parts.right[tree, node])
    if left == node:
        return float(parts.value[tree, node].detach()[0])
    if int(parts.feature[tree, node]) in known:
        goes = bool(parts.walk(x[None]).goes_left(np.array([0]), np.array([tree * parts.left.shape[1] + node]))[0])
        return expected(module, tree, x, known, left if goes else right)
    shares = parts.cover[tree, [left, right]] / parts.cover[tree, [left, right]].sum()
    return float(shares[0]) * expected(module, tree, x, known, left) + float(shares[1]) * expected(module, tree, x, known, right)


@pytest.mark.parametrize("spec", CASES)
def test_contributions_are_shapley_values_by_their_definition(spec: Any) -> None:
    module: Any = trained(spec).module
    x, weights = rows(2, seed=1)[0][:2], np.zeros((1, len(module.trees.left)))
    weights[0, :2] = 1, -2
    found = contributions(module, x, weights)[0]
    for row, given in zip(x, found, strict=True):
        for column in (0, 3):
            others, total = [c for c in range(WIDTH) if c != column], 0.0
            for size in range(WIDTH):
                weight = factorial(size) * factorial(WIDTH - size - 1) / factorial(WIDTH)
                for some in map(frozenset, combinations(others, size)):
                    for tree, by in ((0, 1.0), (1, -2.0)):
                        total += weight * by * (expected(module, tree, row, some | {column}) - expected(module, tree, row, some))
            assert given[column] == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("spec", CASES)
def test_differences_of_groups_are_split_whole_and_the_column_that_moves_them_is_named(spec: Any, n_classes: int) -> None:
    model, x = trained(spec, n_classes), rows(n_classes, seed=1)[0]
    groups = (x[:, 0] > 0).astype(np.int64)  # of all columns only the first tells it
    direction = np.random.default_rng(0).normal(size=capture(model, x).acts["margins"].shape[1])
    inside, outside_ = attribute_paths(model, x, groups, SOURCES, (("margins", direction), 2 * (n_classes - 2)))
    for one in (inside, outside_):
        assert one.incomplete < 1e-6
        assert one.columns.sum() == pytest.approx(one.difference, abs=1e-6)
    assert abs(outside_.columns[0]) > 0.9 * abs(outside_.difference) > 0.3


def test_attributions_go_through_what_was_erased_and_trees_that_nobody_counted_are_counted_on_the_rows() -> None:
    model, x = trained(BOOSTING), rows(2, seed=1)[0]
    groups, size = (x[:, 0] > 0).astype(np.int64), 12
    nothing = with_map(model, "margins", np.zeros((size, size)), np.ones(size), n_inputs=WIDTH)
    inside, outside_ = attribute_paths(nothing, x, groups, SOURCES, (("margins", np.ones(size)), 0))
    assert not inside.columns.any()
    assert not outside_.columns.any()
    twice = with_map(model, "margins", 2 * np.eye(size), np.zeros(size), n_inputs=WIDTH)
    (plain,), (doubled,) = (attribute_paths(one, x, groups, SOURCES, [("margins", np.ones(size))]) for one in (model, twice))
    assert doubled.columns == pytest.approx(plain.columns, abs=1e-6)  # in spreads of a scalar that is twice as wide
    uncounted = trained(FOREST)
    assert isinstance(uncounted.module, TreeEnsemble)
    uncounted.module.trees.cover.zero_()
    (found,) = attribute_paths(uncounted, x, groups, SOURCES, [0])
    assert found.incomplete < 1e-6


def test_gradients_still_say_that_trees_have_none() -> None:
    with pytest.raises(Exception, match="moves in steps"):
        attribute_columns(trained(BOOSTING), rows(2)[0], rows(2)[1], SOURCES, 0)
