"""Trees whose library splits at infinity, where one side has the missing values alone: no weight is infinite, and rows go as they went."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from proxyaudit.arrays import Floats
from proxyaudit.estimates.facts import Run
from proxyaudit.models.libraries.sklearn import _boosted
from proxyaudit.models.tree_nodes import Ensemble, Nodes
from proxyaudit.seeding import stream


def table(kind: str) -> tuple[Floats, Floats, list[bool]]:
    """Rows, targets that missing values tell, and which columns hold codes."""
    rng = stream(0, "infinite", kind)
    x = rng.normal(size=(600, 2))
    if kind == "codes":
        x[:, 0] = rng.integers(0, 4, 600)
    gone = rng.random(600) < 0.3
    x[gone, 0] = np.nan
    if kind == "two columns":
        x[rng.random(600) < 0.3, 1] = np.nan
    told = np.isnan(x).sum(axis=1) + rng.normal(size=600) * 0.3
    return x, told, [kind == "codes", False]


def walked(nodes: Nodes, x: Floats) -> Floats:
    """Sums of what trees say of rows; codes of categories are bits of a word."""
    out = np.zeros(len(x))
    for tree in range(len(nodes.feature_gm)):
        for row, values in enumerate(x):
            node = 0
            while nodes.left_gm[tree, node] != node:
                value = values[nodes.feature_gm[tree, node]]
                if nodes.by_category_gm[tree, node]:
                    left = not np.isnan(value) and bool(int(nodes.sets_gmw[tree, node, 0]) >> int(value) & 1)
                    left = bool(nodes.missing_left_gm[tree, node]) if np.isnan(value) else left
                else:
                    left = bool(nodes.missing_left_gm[tree, node]) if np.isnan(value) else bool(value <= nodes.threshold_gm[tree, node])
                node = int((nodes.left_gm if left else nodes.right_gm)[tree, node])
            out[row] += nodes.value_gmv[tree, node, 0]
    return out


@pytest.mark.parametrize("kind", ["numbers", "codes", "two columns"])
@pytest.mark.parametrize("task", ["classes", "number"])
def test_no_weight_is_infinite_and_rows_go_as_they_went(kind: str, task: str) -> None:
    x, told, codes = table(kind)
    settings: dict[str, Any] = {
        "max_iter": 3,
        "max_leaf_nodes": 6,
        "categorical_features": codes,
        "early_stopping": False,
        "random_state": 0,
    }
    fitted = (
        HistGradientBoostingClassifier(**settings).fit(x, told > 0.5)
        if task == "classes"
        else HistGradientBoostingRegressor(**settings).fit(x, told)
    )
    levels = [tuple(float(code) for code in range(4)) if is_code else None for is_code in codes]
    trees, baseline = _boosted(fitted, levels)
    if kind == "codes":  # some of these have a threshold, which counts for nothing, and may be infinite
        assert all(tree.by_category_m is not None for tree in trees)
        trees = tuple(replace(tree, threshold_m=np.where(tree.by_category_m, np.inf, tree.threshold_m)) for tree in trees)
    assert any(np.isinf(tree.threshold_m[tree.left_m >= 0]).any() for tree in trees)  # else nothing is tried
    most = max(len(tree.left_m) for tree in trees)
    nodes = Ensemble(trees, baseline, 2, None).nodes((len(trees), most, 1), words=4)
    assert np.isfinite(nodes.threshold_gm).all()
    shown = x[:200]
    wanted = fitted.decision_function(shown) if task == "classes" else fitted.predict(shown)
    np.testing.assert_allclose(walked(nodes, shown) + baseline[0], wanted, atol=1e-6)


@pytest.mark.parametrize(("seeds", "whole"), [((), 3), ((0, 1, 2), 3), ((0, 2, 3), 1), ((0, 1, 3), 2), ((1, 2, 3), 0)])
def test_models_are_compared_up_to_the_repetition_that_failed(seeds: tuple[int, ...], whole: int) -> None:
    made: Any = (None, None, None)
    assert Run("real", made, seeds=seeds).whole == whole
