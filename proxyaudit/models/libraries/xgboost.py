"""XGBoost: its JSON and UBJSON files, parsed here, since the library itself can crash on a damaged one.

The format is public ("Introduction to Model IO" in its documentation).
"""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from proxyaudit.arrays import Singles
from proxyaudit.models.kinds.xgboost import XGBoostSpec
from proxyaudit.models.libraries import Unfit, imported
from proxyaudit.models.libraries.ubjson import parse_ubjson
from proxyaudit.models.tree_nodes import MOST_CODES, Ensemble, Tree, packed

FORMAT = "model.save_model('model.ubj')"
_OF_TWO = ("binary:logistic", "reg:logistic", "binary:logitraw")
_OF_MORE = ("multi:softprob", "multi:softmax")
_NUMBERS = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror")  # whose trees add up to the number itself


def grow(spec: XGBoostSpec, x: Singles, y: NDArray[Any], weight: NDArray[np.float32], seed: int) -> Ensemble:
    """Train on the rows ``x`` ``(n, p)``, on one thread."""
    own: dict[str, Any] = spec.settings() | {"max_depth": spec.max_depth or 0, "grow_policy": "lossguide", "tree_method": "hist"}
    library, is_number = imported("xgboost"), y.dtype.kind == "f"
    kind = library.XGBRegressor if is_number else library.XGBClassifier
    if spec.codes:
        own |= {"enable_categorical": True, "feature_types": ["c" if column in spec.codes else "q" for column in range(x.shape[1])]}
    model = kind(**own, n_jobs=1, random_state=seed % 2**31, verbosity=0)
    model.fit(x, y, sample_weight=weight)
    predict = (lambda x: np.asarray(model.predict(x), dtype=np.float64)[:, None]) if is_number else model.predict_proba
    return replace(read(spec, bytes(model.get_booster().save_raw("json"))), predict=predict)


def read(spec: XGBoostSpec, data: bytes) -> Ensemble:
    """The model of a JSON or UBJSON file."""
    if data[:1] != b"{":
        raise Unfit("is no JSON or UBJSON file of XGBoost", f"save it with {FORMAT}")
    # JSON goes on with a name in quotes; UBJSON with the type of the name's length.
    learner = (json.loads(data) if data[1:].lstrip()[:1] == b'"' else parse_ubjson(data))["learner"]
    objective, kind = learner["objective"]["name"], learner["gradient_booster"]["name"]
    if objective not in _OF_TWO + _OF_MORE + _NUMBERS:
        mend = f"take one of {', '.join(_OF_TWO + _OF_MORE + _NUMBERS)}"
        raise Unfit(f"was trained for '{str(objective)[:40]}', which is not read: neither single labels nor plain numbers", mend)
    if kind not in ("gbtree", "dart"):
        raise Unfit(f"is a '{str(kind)[:40]}', which has no trees", "take a booster of trees (gbtree or dart)")
    model = learner["gradient_booster"]["model" if kind == "gbtree" else "gbtree"]
    model = model if kind == "gbtree" else model["model"]
    sizes = learner["learner_model_param"]
    columns = int(sizes.get("num_target", 1)) if objective in _NUMBERS else 1 if objective in _OF_TWO else int(sizes["num_class"])
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
    if objective in _NUMBERS and columns > 1:
        raise Unfit("predicts several numbers at once", "train one model for each target")
    levels, n_inputs = tuple(map(_levels, model.get("cats", {}).get("enc", ()))), int(learner["learner_model_param"]["num_feature"])
    return Ensemble(ordered, np.array(start), n_inputs, None, names, is_number=objective in _NUMBERS, levels=levels)


def _levels(found: dict[str, Any]) -> tuple[Any, ...] | None:
    """What the codes of a column stand for: words as bytes one after the other, or numbers."""
    values = list(found["values"])
    if "offsets" not in found or not values:
        return tuple(map(float, values)) or None
    text, ends = bytes(int(value) % 256 for value in values), [int(end) for end in found["offsets"]]
    return tuple(text[start:end].decode() for start, end in pairwise(ends))


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
    left, right, feature = (np.array(found[key], dtype=np.int64) for key in ("left_children", "right_children", "split_indices"))
    said = np.array(found["split_conditions"], dtype=np.float32)
    # XGBoost goes left where a value is below the threshold: the same as at most the number before it, in single precision.
    below = np.nextafter(said, np.float32(-np.inf)).astype(np.float64)
    missing_left = np.array(found.get("default_left", np.zeros(len(left))), dtype=bool)
    by_category = np.array(found["split_type"], dtype=bool) & (left >= 0)
    sets = None
    if by_category.any():
        goes_left = np.ones((len(left), MOST_CODES), dtype=bool)  # the categories of a split are those that go right
        if max(found["categories"]) >= MOST_CODES:
            raise Unfit(f"has a column of more than {MOST_CODES} categories", "join rare categories before training")
        parts = (found[f"categories_{key}"] for key in ("nodes", "segments", "sizes"))
        for node, start, size in zip(*parts, strict=True):
            goes_left[node, np.array(found["categories"][start : start + size], dtype=np.int64)] = False
        sets = packed(goes_left)
        sets[~by_category] = 0
    cover = np.array(found.get("sum_hessian", np.zeros(len(left))), dtype=np.float64)
    return Tree(feature, below, left, right, said.astype(np.float64)[:, None] * scale, cover, missing_left, by_category, sets)
