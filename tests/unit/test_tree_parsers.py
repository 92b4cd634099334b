"""Files of XGBoost and LightGBM read without these libraries: numbers in them ask for no room, and no row goes elsewhere unnoticed."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import pytest

from proxyaudit.models.libraries import lightgbm as lightgbm_files
from proxyaudit.models.libraries import xgboost as xgboost_files
from proxyaudit.recipe.recipe import parse_recipe


def test_files_of_lightgbm_are_parsed_without_the_library() -> None:
    text = b"""tree
version=v4
num_class=1
num_tree_per_iteration=1
max_feature_idx=1
objective=binary sigmoid:2
feature_names=a b

Tree=0
num_leaves=2
num_cat=0
split_feature=1
threshold=0.5
decision_type=2
left_child=-1
right_child=-2
leaf_value=-0.25 0.5
is_linear=0

Tree=1
num_leaves=1
num_cat=0
leaf_value=0.125

end of trees
"""
    spec: Any = parse_recipe(
        {"name": "t", "data": {"path": "t.csv", "target": "y", "protected": ["s"]}, "regimes": ["real"], "model": {"kind": "lightgbm"}}
    ).model
    found = lightgbm_files.read(spec, text)
    assert [tree.value_mv[:, 0].tolist() for tree in found.trees] == [[0.0, -0.5, 1.0], [0.25]]
    nodes = found.nodes((2, 3, 1))
    assert (nodes.feature_gm[0, 0], nodes.threshold_gm[0, 0], nodes.left_gm[0, 0], nodes.right_gm[0, 0]) == (1, 0.5, 1, 2)
    assert replace(found, columns=()).size == (2, 2)


def _xgboost(**more: str) -> bytes:
    """A file of two trees of one leaf each, without the library."""
    tree = {"tree_param": {}, "split_type": [0], "left_children": [-1], "right_children": [-1]}
    tree |= {"split_indices": [0], "split_conditions": [0.5]}
    told = {"base_score": "0.5", "num_class": "0", "num_feature": "2"} | {k: v for k, v in more.items() if k.startswith("num_class")}
    parallel = {"num_parallel_tree": more.get("num_parallel_tree", "1")}
    model = {"tree_info": [0, int(more.get("group", "0"))], "trees": [tree, tree], "gbtree_model_param": parallel}
    name = "multi:softprob" if "num_class" in more else "binary:logistic"
    learner = {"objective": {"name": name}, "gradient_booster": {"name": "gbtree", "model": model}, "learner_model_param": told}
    return json.dumps({"learner": {**learner, "feature_names": [], "attributes": {"best_iteration": "0"}}}).encode()


@pytest.mark.parametrize(
    "more",
    [
        {"num_class": "1000000000000"},
        {"num_class": "3"},
        {"num_class": "-1"},
        {"num_class": "2", "group": "-1"},
        {"num_parallel_tree": "1000000000000"},
        {"num_parallel_tree": "-1"},
    ],
)
def test_a_number_in_a_small_file_asks_for_no_room(more: dict[str, str]) -> None:
    spec: Any = parse_recipe(
        {"name": "t", "data": {"path": "t.csv", "target": "y", "protected": ["s"]}, "regimes": ["real"], "model": {"kind": "xgboost"}}
    ).model
    assert len(xgboost_files.read(spec, _xgboost()).trees) == 1
    assert len(xgboost_files.read(spec, _xgboost(num_class="2", group="1")).trees) == 2
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"a class has no trees|fewer trees than it says"):
            xgboost_files.read(spec, _xgboost(**more))
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_a_split_by_categories_is_refused_whatever_its_tree_says() -> None:
    """LightGBM goes by the bit of the split; read as a number it would send rows elsewhere, unnoticed."""
    text = b"tree\nnum_class=1\nnum_tree_per_iteration=1\nmax_feature_idx=1\nobjective=binary sigmoid:1\nfeature_names=a b\n"
    tree = b"num_leaves=2\nnum_cat=0\nsplit_feature=1\nthreshold=0\nleft_child=-1\nright_child=-2\nleaf_value=-0.25 0.5\n"
    for decision, fits in ((b"2", True), (b"1", False), (b"3", False), (b"9", False)):
        data = text + b"\nTree=0\n" + tree + b"decision_type=" + decision + b"\n\nend of trees\n"
        with nullcontext() if fits else pytest.raises(ValueError, match="categories"):
            lightgbm_files.read(cast("Any", None), data)
