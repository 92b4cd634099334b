"""XGBoost: its JSON and UBJSON files, parsed here, since the library itself can crash on a damaged one.

The format is public ("Introduction to Model IO" in its documentation).
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from proxyaudit.arrays import Singles
from proxyaudit.models.kinds.xgboost import XGBoostSpec
from proxyaudit.models.libraries import Unfit, imported
from proxyaudit.models.libraries.ubjson import parse_ubjson
from proxyaudit.models.tree_nodes import Ensemble, Tree

FORMAT = "model.save_model('model.ubj')"
_OF_TWO = ("binary:logistic", "reg:logistic", "binary:logitraw")
_OF_MORE = ("multi:softprob", "multi:softmax")


def grow(spec: XGBoostSpec, x: Singles, y: NDArray[np.int64], weight: NDArray[np.float32], seed: int) -> Ensemble:
    """Train on the rows ``x`` ``(n, p)``, on one thread."""
    own: dict[str, Any] = spec.settings() | {"max_depth": spec.max_depth or 0, "grow_policy": "lossguide", "tree_method": "hist"}
    model = imported("xgboost").XGBClassifier(**own, n_jobs=1, random_state=seed % 2**31, verbosity=0)
    model.fit(x, y, sample_weight=weight)
    return replace(read(spec, bytes(model.get_booster().save_raw("json"))), predict=model.predict_proba)


def read(spec: XGBoostSpec, data: bytes) -> Ensemble:
    """The model of a JSON or UBJSON file."""
    if data[:1] != b"{":
        raise Unfit("is no JSON or UBJSON file of XGBoost", f"save it with {FORMAT}")
    # JSON goes on with a name in quotes; UBJSON with the type of the name's length.
    learner = (json.loads(data) if data[1:].lstrip()[:1] == b'"' else parse_ubjson(data))["learner"]
    objective, kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if objective not in _OF_TWO + _OF_MORE:
        raise Unfit(
            f"was trained for '{str(objective)[:40]}' and is no classifier of single labels", f"take one of {', '.join(_OF_TWO + _OF_MORE)}"
        )
    if kind not in ("gbtree", "dart"):
        raise Unfit(f"is a '{str(kind)[:40]}', which has no trees", "take a booster of trees (gbtree or dart)")
    model = learner["gradient_booster"]["model" if kind == "gbtree" else "gbtree"]
    model = model if kind == "gbtree" else model["model"]
    columns = 1 if objective in _OF_TWO else int(learner["learner_model_param"]["num_class"])
    base = np.array([float(text) for text in learner["learner_model_param"]["base_score"].strip("[]").split(",")], dtype=np.float32)
    groups = [int(group) for group in model["tree_info"]]
    if not 0 < columns <= len(groups) or min(groups) < 0:  # a number in a small file must not ask for any amount of room
        raise ValueError("a class has no trees")
    start = np.broadcast_to(base.astype(np.float64), (columns,))
    start = logit(start) if objective in _OF_TWO[:2] else start
    iterations = _stopped(learner, len(groups))
    used = len(groups) if iterations == 0 else iterations * columns * int(model["gbtree_model_param"]["num_parallel_tree"])
    if not 0 < used <= len(groups):
        raise ValueError("it has fewer trees than it says")
    scale = [1.0] * used if kind == "gbtree" else [float(weight) for weight in learner["gradient_booster"]["weight_drop"]]
    trees = [_tree(found, by) for found, by in zip(model["trees"][:used], scale[:used], strict=True)]
    by_class = [list[Tree]() for _ in range(columns)]
    for tree, group in zip(trees, groups[:used], strict=True):
        by_class[group].append(tree)
    ordered = tuple(tree for step in zip(*by_class, strict=True) for tree in step)
    names = tuple(str(name) for name in learner["feature_names"])
    return Ensemble(ordered, np.array(start), int(learner["learner_model_param"]["num_feature"]), None, names)


def _stopped(learner: dict[str, Any], trees: int) -> int:
    """Iterations that count where training was stopped early, as its own ``predict_proba`` has it; 0 where all do."""
    best = learner["attributes"].get("best_iteration")
    if best is None:
        return 0
    if not 0 <= int(best) < trees:
        raise ValueError("the best iteration is none of those there are")
    return int(best) + 1


def _tree(found: dict[str, Any], scale: float) -> Tree:
    if int(found["tree_param"].get("size_leaf_vector", 1)) > 1:
        raise Unfit("has trees that speak of several targets (multi_output_tree)", "train it with multi_strategy='one_output_per_tree'")
    if any(found["split_type"]):
        raise Unfit("splits by categories, which trees of this audit do not", "train it on columns of numbers (enable_categorical=False)")
    left, right, feature = (np.array(found[key], dtype=np.int64) for key in ("left_children", "right_children", "split_indices"))
    said = np.array(found["split_conditions"], dtype=np.float32)
    # XGBoost goes left where a value is below the threshold: the same as at most the number before it, in single precision.
    below = np.nextafter(said, np.float32(-np.inf)).astype(np.float64)
    return Tree(feature, below, left, right, said.astype(np.float64)[:, None] * scale)
