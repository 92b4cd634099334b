"""LightGBM: its text files, parsed here, since the library itself can crash on a damaged one."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.models.kinds.lightgbm import LightGBMSpec
from proxyaudit.models.libraries import Unfit, imported
from proxyaudit.models.tree_nodes import Ensemble, Tree

FORMAT = "model.booster_.save_model('model.txt')"
_ZERO_MISSING = 1  # of bits 2 and 3 of a split's ``decision_type``


def grow(spec: LightGBMSpec, x: Singles, y: NDArray[np.int64], weight: NDArray[np.float32], seed: int) -> Ensemble:
    """Train on the rows ``x`` ``(n, p)``, on one thread."""
    own: dict[str, Any] = spec.settings() | {"max_depth": spec.max_depth or -1, "deterministic": True, "force_row_wise": True}
    model = imported("lightgbm").LGBMClassifier(**own, n_jobs=1, random_state=seed % 2**31, verbosity=-1)
    booster = model.fit(x, y, sample_weight=weight).booster_
    ensemble = read(spec, booster.model_to_string().encode())

    def predict(x: Singles) -> Floats:
        found = np.asarray(booster.predict(x, num_threads=1), dtype=np.float64)
        return np.stack([1 - found, found], axis=1) if found.ndim == 1 else found

    return replace(ensemble, predict=predict)


def read(spec: LightGBMSpec, data: bytes) -> Ensemble:
    """The model of a text file."""
    if not data.startswith(b"tree\n") and not data.startswith(b"tree\r\n"):
        raise Unfit("is no text file of LightGBM", f"save it with {FORMAT}")
    blocks = data.decode().replace("\r\n", "\n").partition("\nend of trees")
    if not blocks[1]:
        raise ValueError("it is cut off")
    head, *trees = blocks[0].split("\nTree=")
    told = _keys(head)
    name, *more = told["objective"].split() if told.get("objective") else [""]
    options = dict(option.partition(":")[::2] for option in more)
    if name not in ("binary", "cross_entropy", "multiclass"):
        mend = "take one of binary, cross_entropy and multiclass"
        raise Unfit(f"was trained for '{name[:40] or 'an objective of its own'}' and is no classifier of single labels", mend)
    if "average_output" in head.splitlines():
        raise Unfit("is a forest (boosting: rf), which this version does not read", "train it with boosting: gbdt or dart")
    columns, n_inputs = int(told["num_tree_per_iteration"]), int(told["max_feature_idx"]) + 1
    if columns != (int(options["num_class"]) if name == "multiclass" else 1) or len(trees) % columns:
        raise ValueError("its number of trees is none of whole iterations")
    scale = float(options.get("sigmoid", 1))
    names = tuple(told["feature_names"].split(" "))
    return Ensemble(tuple(_tree(_keys(text), scale) for text in trees), np.zeros(columns), n_inputs, None, names)


def _keys(text: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)


def _tree(told: dict[str, str], scale: float) -> Tree:
    leaves = int(told["num_leaves"])
    if int(told["num_cat"]):
        raise Unfit("splits by categories, which trees of this audit do not", "train it on columns of numbers (no categorical_feature)")
    if int(told.get("is_linear", 0)):
        raise Unfit("has linear models in its leaves (linear_tree), which this version does not read", "train it with linear_tree: false")
    value = _numbers(told["leaf_value"], leaves) * scale
    if leaves == 1:
        none = np.full(1, -1, dtype=np.int64)
        return Tree(none, np.zeros(1), none, none, value[:, None])
    inner = leaves - 1
    decision = _whole(told["decision_type"], inner)
    if (decision & 1).any():
        raise ValueError("a split by categories is in a tree that says it has none")
    if (decision >> 2 & 3 == _ZERO_MISSING).any():
        raise Unfit("takes zeros for missing values (zero_as_missing), which trees of this audit do not", "train it without")
    # Splits are numbered from the root, and leaf i is written as -(i + 1).
    left, right = (_whole(told[key], inner) for key in ("left_child", "right_child"))
    left, right = (np.where(side < 0, inner - side - 1, side) for side in (left, right))
    no, nothing = np.full(leaves, -1, dtype=np.int64), np.zeros(inner)
    return Tree(
        np.concatenate([_whole(told["split_feature"], inner), no]),
        np.concatenate([_numbers(told["threshold"], inner), np.zeros(leaves)]),
        np.concatenate([left, no]),
        np.concatenate([right, no]),
        np.concatenate([nothing, value])[:, None],
    )


def _numbers(text: str, count: int) -> Floats:
    found = np.array(text.split(), dtype=np.float64)
    if len(found) != count:
        raise ValueError("a tree has another number of nodes than it says")
    return found


def _whole(text: str, count: int) -> Ints:
    found = np.array(text.split(), dtype=np.int64)
    if len(found) != count:
        raise ValueError("a tree has another number of nodes than it says")
    return found
