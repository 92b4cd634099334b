"""LightGBM: its text files, parsed here, since the library itself can crash on a damaged one."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.models.kinds.lightgbm import LightGBMSpec
from proxyaudit.models.libraries import Unfit, imported
from proxyaudit.models.tree_nodes import MOST_CODES, Ensemble, Tree

FORMAT = "model.booster_.save_model('model.txt')"
_CLASSES = ("binary", "cross_entropy", "multiclass")
_NUMBERS = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")  # whose trees add up to the number itself
_PLAIN = re.compile(r"[-+.0-9A-Za-z ]*")  # Python reads more as numbers: 1_0, digits of other scripts, other blanks
_ZERO_MISSING, _MISSING = 1, 2  # of bits 2 and 3 of a split's ``decision_type``


def grow(spec: LightGBMSpec, x: Singles, y: NDArray[Any], weight: NDArray[np.float32], seed: int) -> Ensemble:
    """Train on the rows ``x`` ``(n, p)``, on one thread."""
    own: dict[str, Any] = spec.settings() | {"max_depth": spec.max_depth or -1, "deterministic": True, "force_row_wise": True}
    library, is_number = imported("lightgbm"), y.dtype.kind == "f"
    kind = library.LGBMRegressor if is_number else library.LGBMClassifier
    model = kind(**own, n_jobs=1, random_state=seed % 2**31, verbosity=-1)
    booster = model.fit(x, y, sample_weight=weight, categorical_feature=list(spec.codes) or "auto").booster_
    ensemble = read(spec, booster.model_to_string().encode())

    def predict(x: Singles) -> Floats:
        found = np.asarray(booster.predict(x, num_threads=1), dtype=np.float64)
        return found[:, None] if is_number else np.stack([1 - found, found], axis=1) if found.ndim == 1 else found

    return replace(ensemble, predict=predict)


def read(spec: LightGBMSpec, data: bytes) -> Ensemble:
    """The model of a text file."""
    if not data.startswith(b"tree\n") and not data.startswith(b"tree\r\n"):
        raise Unfit("is no text file of LightGBM", f"save it with {FORMAT}")
    blocks = data.decode().replace("\r\n", "\n").partition("\nend of trees")
    if not blocks[1]:
        raise ValueError("it is cut off")
    if "\r" in blocks[0]:
        raise ValueError("a line ends in the middle")  # for the library, and for nobody who looks at it
    head, *trees = blocks[0].split("\nTree=")
    told = _keys(head)
    name, *more = told["objective"].split() if told.get("objective") else [""]
    options = dict(option.partition(":")[::2] for option in more)
    if name not in (*_CLASSES, *_NUMBERS) or "sqrt" in options:
        mend = f"take one of {', '.join((*_CLASSES, *_NUMBERS))}, without reg_sqrt"
        raise Unfit(
            f"was trained for '{name[:40] or 'an objective of its own'}', which is not read: neither single labels nor plain numbers", mend
        )
    if "average_output" in head.split("\n"):
        raise Unfit("is a forest (boosting: rf), which this version does not read", "train it with boosting: gbdt or dart")
    columns, n_inputs = int(told["num_tree_per_iteration"]), int(told["max_feature_idx"]) + 1
    if columns != (int(options["num_class"]) if name == "multiclass" else 1) or len(trees) % columns:
        raise ValueError("its number of trees is none of whole iterations")
    _check_sizes(told.get("tree_sizes"), trees)
    scale = float(_numbers(options.get("sigmoid", "1"), 1)[0])
    if not scale > 0:
        raise ValueError("its sigmoid is no positive number")
    names = tuple(told["feature_names"].split(" "))
    found = tuple(_tree(_keys(text), scale) for text in trees)
    ensemble = Ensemble(found, np.zeros(columns), n_inputs, None, names, is_number=name in _NUMBERS, in_double=True)
    return replace(ensemble, levels=_levels(blocks[2], told.get("feature_infos", "").split(), ensemble.codes))


def _levels(rest: str, told: list[str], codes: frozenset[int]) -> tuple[tuple[Any, ...] | None, ...]:
    """What the codes of columns stand for, which the library writes of frames of pandas alone, in their order."""
    line = next((line for line in rest.split("\n") if line.startswith("pandas_categorical:")), "")
    named = json.loads(line.partition(":")[2] or "null")
    if not named:
        return ()
    # A column of categories is told by its values ("-1:5:3"), one of numbers by its range, one that nothing asks for by neither.
    asked = [column in codes or text[0] not in "[n" for column, text in enumerate(told)]
    if sum(asked) != len(named):
        what = f"names the categories of {len(named)} columns, and has {sum(asked)} columns of categories"
        raise Unfit(what, "train it on a frame whose columns of categories are all of pandas' type 'category'")
    own = iter(named)
    return tuple(tuple(next(own)) if is_code else None for is_code in asked)


def _keys(text: str) -> dict[str, str]:
    # The library ends lines where these end, and nowhere else: what it does not read must not be read here.
    return dict(line.partition("=")[::2] for line in text.split("\n") if "=" in line)


def _check_sizes(said: str | None, trees: list[str]) -> None:
    """Where the file says how long its trees are the library goes by that alone, and would read others than those that stand there."""
    sizes = [str(len(f"Tree={text}\n".encode())) for text in trees]
    if said is not None and said.split(" ") != sizes:
        raise ValueError("its trees are not as long, or not as many, as it says")


def _tree(told: dict[str, str], scale: float) -> Tree:
    leaves = int(told["num_leaves"])
    if int(told.get("is_linear", 0)):
        raise Unfit("has linear models in its leaves (linear_tree), which this version does not read", "train it with linear_tree: false")
    value = _numbers(told["leaf_value"], leaves) * scale
    if leaves == 1:
        none = np.full(1, -1, dtype=np.int64)
        return Tree(none, np.zeros(1), none, none, value[:, None], np.ones(1))
    inner = leaves - 1
    decision = _whole(told["decision_type"], inner)
    if (decision >> 2 & 3 == _ZERO_MISSING).any():
        raise Unfit("takes zeros for missing values (zero_as_missing), which trees of this audit do not", "train it without")
    # Splits are numbered from the root, and leaf i is written as -(i + 1).
    left, right = (_whole(told[key], inner) for key in ("left_child", "right_child"))
    left, right = (np.where(side < 0, inner - side - 1, side) for side in (left, right))
    no, nothing = np.full(leaves, -1, dtype=np.int64), np.zeros(inner)
    threshold, by_category = _numbers(told["threshold"], inner), (decision & 1).astype(bool)
    sets = np.zeros((inner + leaves, MOST_CODES // 64), dtype=np.int64)
    if by_category.any():
        if not int(told["num_cat"]):
            raise ValueError("a split by categories is in a tree that says it has none")
        sets[:inner][by_category] = _sets(told, threshold[by_category].astype(np.int64))
    # Where nothing was missing in training, a missing value counts as zero; of categories it goes to the right.
    missing_left = np.where(decision >> 2 & 3 == _MISSING, decision & 2, threshold >= 0) * ~by_category
    off = np.zeros(leaves, dtype=bool)
    return Tree(
        np.concatenate([_whole(told["split_feature"], inner), no]),
        np.concatenate([np.where(by_category, 0.0, threshold), np.zeros(leaves)]),
        np.concatenate([left, no]),
        np.concatenate([right, no]),
        np.concatenate([nothing, value])[:, None],
        np.concatenate([_numbers(told[f"{part}_count"], size) for part, size in (("internal", inner), ("leaf", leaves))])
        if "leaf_count" in told
        else np.zeros(inner + leaves),
        np.concatenate([missing_left.astype(bool), off]),
        np.concatenate([by_category, off]),
        sets,
    )


def _sets(told: dict[str, str], numbers: Ints) -> Ints:
    """Categories that go left at splits, by the numbers of their sets."""
    ends, words = (np.array(told[key].split(), dtype=np.int64) for key in ("cat_boundaries", "cat_threshold"))
    most = MOST_CODES // 32
    found = np.zeros((len(numbers), most), dtype="<u4")
    for row, number in enumerate(numbers):
        own = words[ends[number] : ends[number + 1]]
        if len(own) > most:
            raise Unfit(f"has a column of more than {MOST_CODES} categories", "join rare categories before training")
        found[row, : len(own)] = own
    return found.view("<i8").astype(np.int64)


def _numbers(text: str, count: int) -> Floats:
    return np.array(_words(text, count), dtype=np.float64)


def _whole(text: str, count: int) -> Ints:
    return np.array(_words(text, count), dtype=np.int64)


def _words(text: str, count: int) -> list[str]:
    found = text.split()
    if len(found) != count:
        raise ValueError("a tree has another number of nodes than it says")
    if not _PLAIN.fullmatch(text):
        raise ValueError("a number is written as the library does not read it")
    return found
