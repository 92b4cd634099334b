"""CatBoost: its binary files (cbm), read by the library and written out as JSON, whose trees ask the same of all rows at a depth."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from proxyaudit.arrays import Floats, Singles
from proxyaudit.files import temporary_folder
from proxyaudit.models.kinds.catboost import CatBoostSpec
from proxyaudit.models.libraries import Unfit, imported
from proxyaudit.models.tree_nodes import Ensemble, Tree

FORMAT = "model.save_model('model.cbm')"
_OF_TWO, _OF_MORE = ("Logloss", "CrossEntropy"), ("MultiClass",)
_DEEPEST = 16  # that CatBoost grows


def grow(spec: CatBoostSpec, x: Singles, y: NDArray[np.int64], weight: NDArray[np.float32], seed: int) -> Ensemble:
    """Train on the rows ``x`` ``(n, p)``, on one thread."""
    own = {**spec.settings(), "loss_function": "Logloss" if y.max() < 2 else "MultiClass", "random_seed": seed % 2**31}
    model = imported("catboost").CatBoostClassifier(**own, thread_count=1, allow_writing_files=False, logging_level="Silent")
    return _taken(model.fit(x, y, sample_weight=weight))


def read(spec: CatBoostSpec, data: bytes) -> Ensemble:
    """The model of a cbm file."""
    if data[:4] != b"CBM1":
        raise Unfit("is no cbm file of CatBoost", f"save it with {FORMAT}")
    model = imported("catboost").CatBoost()
    model.load_model(blob=data, format="cbm")
    return _taken(model)


def _taken(model: Any) -> Ensemble:
    with temporary_folder() as folder:
        model.save_model(str(folder / "model.json"), format="json")
        document = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    info = document["model_info"]
    loss = info["params"]["loss_function"]["type"]
    if loss not in _OF_TWO + _OF_MORE:
        raise Unfit(
            f"was trained for '{str(loss)[:40]}' and is no classifier of single labels", f"take one of {', '.join(_OF_TWO + _OF_MORE)}"
        )
    if set(document["features_info"]) - {"float_features"}:
        raise Unfit("reads columns of categories, texts or embeddings, which trees of this audit do not", "train it on columns of numbers")
    if "oblivious_trees" not in document:
        raise Unfit("has trees that are not symmetric, which this version does not read", "train it with grow_policy: SymmetricTree")
    scale, bias = document["scale_and_bias"]
    trees = tuple(_tree(found, len(bias), float(scale)) for found in document["oblivious_trees"])
    names = tuple(str(name) for name in model.feature_names_)
    classes = tuple(str(name) for name in info["class_params"]["class_names"])

    def predict(x: Singles) -> Floats:
        raw = np.asarray(model.predict(x, prediction_type="RawFormulaVal", thread_count=1), dtype=np.float64)
        return np.asarray(softmax(raw, axis=1) if len(bias) > 1 else np.stack([1 - expit(raw), expit(raw)], axis=1))

    return Ensemble(trees, np.array(bias, dtype=np.float64), len(names), predict, names, classes)


def _tree(found: dict[str, Any], outputs: int, scale: float) -> Tree:
    """A full binary tree: the splits of a leaf's number are its bits, the first split the lowest one."""
    splits = found["splits"] or []
    if len(splits) > _DEEPEST:
        raise ValueError("a tree is too deep")
    if any(split["split_type"] != "FloatFeature" for split in splits):
        raise Unfit("splits by something else than numbers, which trees of this audit do not", "train it on columns of numbers")
    depth = len(splits)
    nodes, inner = 2 ** (depth + 1) - 1, 2**depth - 1
    feature, threshold = np.full(nodes, -1, dtype=np.int64), np.zeros(nodes)
    value = np.zeros((nodes, outputs))
    value[inner:] = np.array(found["leaf_values"], dtype=np.float64).reshape(2**depth, outputs) * scale
    # The last split stands at the root, so that leaves stand in the order of their numbers.
    for level, split in enumerate(reversed(splits)):
        at = slice(2**level - 1, 2 ** (level + 1) - 1)
        feature[at], threshold[at] = int(split["float_feature_index"]), float(split["border"])
    own = np.arange(nodes, dtype=np.int64)
    left = np.where(own < inner, 2 * own + 1, -1)
    return Tree(feature, threshold, left, np.where(left < 0, -1, left + 1), value)
