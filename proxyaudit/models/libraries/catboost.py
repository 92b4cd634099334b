"""CatBoost: its binary files (cbm), read by the library and written out as JSON, whose trees ask the same of all rows at a depth."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, softmax

from proxyaudit.arrays import Floats, Singles
from proxyaudit.files import temporary_folder
from proxyaudit.models.kinds.catboost import CatBoostSpec
from proxyaudit.models.libraries import Unfit, imported
from proxyaudit.models.tree_nodes import MOST_CODES, Ensemble, Tree, packed

FORMAT = "model.save_model('model.cbm')"
_OF_TWO, _OF_MORE, _NUMBERS = ("Logloss", "CrossEntropy"), ("MultiClass",), ("RMSE", "MAE", "Quantile", "Huber", "MAPE")
_DEEPEST = 16  # that CatBoost grows
_MISSING = 255  # the code of a category that is missing
_OTHER = (
    "splits by averages of the target, texts or embeddings, which trees of this audit do not",
    "train it with one_hot_max_size of at least the number of levels, which splits by the categories themselves",
)


def grow(spec: CatBoostSpec, x: Singles, y: NDArray[Any], weight: NDArray[np.float32], seed: int) -> Ensemble:
    """Train on the rows ``x`` ``(n, p)``, on one thread. Splits ask for one category at a time, and for no average of the target."""
    is_number, library = y.dtype.kind == "f", imported("catboost")
    loss = "RMSE" if is_number else "Logloss" if y.max() < 2 else "MultiClass"
    own = {**spec.settings(), "loss_function": loss, "random_seed": seed % 2**31}
    own |= {"one_hot_max_size": 255, "max_ctr_complexity": 1} if spec.codes else {}
    kind = library.CatBoostRegressor if is_number else library.CatBoostClassifier
    model = kind(**own, thread_count=1, allow_writing_files=False, logging_level="Silent")
    pool = _pool(x, spec.codes, label=y, weight=weight)
    found, predict = _document(model.fit(pool), pool), _predictor(model, spec.codes, is_number=is_number)
    return replace(_taken(found, tuple(f"c{column}" for column in range(x.shape[1]))), predict=predict, levels=())


def read(spec: CatBoostSpec, data: bytes) -> Ensemble:
    """The model of a cbm file."""
    # The library reads beyond the end of a file that is cut off, and may end the process.
    if data[:4] != b"CBM1" or len(data) < 8 or len(data) - 8 < int.from_bytes(data[4:8], "little"):
        raise Unfit("is no cbm file of CatBoost", f"save it with {FORMAT}")
    model = imported("catboost").CatBoost()
    model.load_model(blob=data, format="cbm")
    found = _taken(_document(model, None), tuple(str(name) for name in model.feature_names_))
    # What a category is called is not in the file, only its hash: there is nothing to ask the library about.
    return found if found.hashed else replace(found, predict=_predictor(model, (), is_number=found.is_number))


def hashes_of(levels: Sequence[str]) -> dict[int, str]:
    """The names of categories by the library's hash of them."""
    own = {"iterations": 1, "depth": 1, "thread_count": 1, "allow_writing_files": False, "logging_level": "Silent"}
    names = np.array([*levels, *levels], dtype=object)[:, None]
    pool = imported("catboost").Pool(names, label=np.arange(len(names)) % 2, cat_features=[0])
    found = _document(imported("catboost").CatBoostClassifier(**own).fit(pool), pool)["features_info"].get("cat_features_hash") or []
    return {int(one["hash"]) % 2**32: str(one["value"]) for one in found}


def _pool(x: Singles, codes: Sequence[int], **more: Any) -> Any:
    """Rows as CatBoost takes them: codes as whole numbers, missing ones as one more."""
    if not codes:
        return imported("catboost").Pool(x, **more)
    columns = {f"c{column}": x[:, column] for column in range(x.shape[1])}
    columns |= {f"c{column}": np.nan_to_num(x[:, column], nan=_MISSING).astype(np.int64) for column in codes}
    return imported("catboost").Pool(pd.DataFrame(columns), cat_features=list(codes), **more)


def _predictor(model: Any, codes: Sequence[int], *, is_number: bool) -> Callable[[Singles], Floats]:
    def predict(x: Singles) -> Floats:
        raw = np.asarray(model.predict(_pool(x, codes), prediction_type="RawFormulaVal", thread_count=1), dtype=np.float64)
        if is_number:
            return raw[:, None]
        return np.asarray(softmax(raw, axis=1) if raw.ndim > 1 else np.stack([1 - expit(raw), expit(raw)], axis=1))

    return predict


def _document(model: Any, pool: Any) -> dict[str, Any]:
    with temporary_folder() as folder:
        model.save_model(str(folder / "model.json"), format="json", pool=pool)
        found: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    return found


def _taken(document: dict[str, Any], names: tuple[str, ...]) -> Ensemble:
    info, features = document["model_info"], document["features_info"]
    loss = info["params"]["loss_function"]["type"]
    if loss not in _OF_TWO + _OF_MORE + _NUMBERS:
        mend = f"take one of {', '.join(_OF_TWO + _OF_MORE + _NUMBERS)}"
        raise Unfit(f"was trained for '{str(loss)[:40]}', which is not read: neither single labels nor plain numbers", mend)
    if set(features) - {"float_features", "categorical_features", "cat_features_hash"}:
        raise Unfit(*_OTHER)
    if "oblivious_trees" not in document:
        raise Unfit("has trees that are not symmetric, which this version does not read", "train it with grow_policy: SymmetricTree")
    # Of what was trained here the library says what its hashes stand for, which are our own codes.
    code_of = {int(one["hash"]) % 2**32: int(one["value"]) for one in features.get("cat_features_hash") or ()}
    scale, bias = document["scale_and_bias"]
    columns = _Columns(features, code_of)
    trees = tuple(_tree(found, len(bias), float(scale), columns) for found in document["oblivious_trees"])
    classes = () if loss in _NUMBERS else tuple(str(name) for name in info["class_params"]["class_names"])
    levels = tuple(columns.hashes.get(place) for place in range(len(names))) if columns.hashes else ()
    start = np.array(bias, dtype=np.float64)
    return Ensemble(trees, start, len(names), None, names, classes, is_number=loss in _NUMBERS, levels=levels, hashed=bool(levels))


class _Columns:
    """Where the library's own numbers of columns and hashes of categories stand in the table."""

    def __init__(self, features: dict[str, Any], code_of: dict[int, int]) -> None:
        floats, words = features.get("float_features") or (), features.get("categorical_features") or ()
        self.numbers = {int(one["feature_index"]): int(one["flat_feature_index"]) for one in floats}
        self.missing_left = {int(one["feature_index"]): one.get("nan_value_treatment") != "AsTrue" for one in floats}
        self.words = {int(one["feature_index"]): int(one["flat_feature_index"]) for one in words}
        hashes = {int(one["flat_feature_index"]): tuple(sorted(int(h) % 2**32 for h in one.get("values") or ())) for one in words}
        self.codes = {place: {h: code_of.get(h, code) for code, h in enumerate(found)} for place, found in hashes.items()}
        self.hashes = {} if code_of else hashes

    def split(self, found: dict[str, Any]) -> tuple[int, float, bool, int | None]:
        """Column, threshold, whether missing values go left, and the code that goes right."""
        if found["split_type"] == "FloatFeature":
            number = int(found["float_feature_index"])
            return self.numbers[number], float(found["border"]), self.missing_left[number], None
        if found["split_type"] != "OneHotFeature":
            raise Unfit(*_OTHER)
        column = self.words[int(found["cat_feature_index"])]
        code = self.codes[column][int(found["value"]) % 2**32]
        if not 0 <= code < MOST_CODES:
            raise Unfit(f"has a column of more than {MOST_CODES} categories", "join rare categories before training")
        return column, 0.0, code != _MISSING, code


def _tree(found: dict[str, Any], outputs: int, scale: float, columns: _Columns) -> Tree:
    """A full binary tree: the splits of a leaf's number are its bits, the first split the lowest one."""
    splits = found["splits"] or []
    if len(splits) > _DEEPEST:
        raise ValueError("a tree is too deep")
    depth = len(splits)
    nodes, inner = 2 ** (depth + 1) - 1, 2**depth - 1
    feature, threshold = np.full(nodes, -1, dtype=np.int64), np.zeros(nodes)
    missing_left, by_category, goes_left = (
        np.zeros(nodes, dtype=bool),
        np.zeros(nodes, dtype=bool),
        np.zeros((nodes, MOST_CODES), dtype=bool),
    )
    value, cover = np.zeros((nodes, outputs)), np.zeros(nodes)
    value[inner:] = np.array(found["leaf_values"], dtype=np.float64).reshape(2**depth, outputs) * scale
    cover[inner:] = np.array(found.get("leaf_weights", np.zeros(2**depth)), dtype=np.float64)
    # The last split stands at the root, so that leaves stand in the order of their numbers.
    for level, split in enumerate(reversed(splits)):
        at = slice(2**level - 1, 2 ** (level + 1) - 1)
        feature[at], threshold[at], missing_left[at], code = columns.split(split)
        if code is not None:
            by_category[at], goes_left[at] = True, np.arange(MOST_CODES) != code
    own = np.arange(nodes, dtype=np.int64)
    left = np.where(own < inner, 2 * own + 1, -1)
    for node in reversed(range(inner)):
        cover[node] = cover[2 * node + 1] + cover[2 * node + 2]
    right, sets = np.where(left < 0, -1, left + 1), packed(goes_left) if by_category.any() else None
    return Tree(feature, threshold, left, right, value, cover, missing_left, by_category, sets)
