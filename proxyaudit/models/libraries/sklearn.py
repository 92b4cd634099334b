"""Histogram boosting and random forests of scikit-learn; their files are those of skops, whose types must be named to be loaded."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Singles
from proxyaudit.models.kinds.gradient_boosting import GradientBoostingSpec, TrustedType
from proxyaudit.models.kinds.random_forest import RandomForestSpec
from proxyaudit.models.libraries import Unfit
from proxyaudit.models.libraries.skops_files import open_skops
from proxyaudit.models.tree_nodes import MOST_CODES, Ensemble, Tree, packed

FORMAT = "skops.io.dump(model, 'model.skops')"
_TRUSTABLE = get_args(TrustedType)
_READ = {
    "gradient_boosting": ("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
    "random_forest": ("RandomForestClassifier", "ExtraTreesClassifier", "RandomForestRegressor", "ExtraTreesRegressor"),
}
_LINKS = ("squared_error", "absolute_error", "quantile")  # losses of numbers whose trees add up to the number itself

Spec = GradientBoostingSpec | RandomForestSpec


def grow(spec: Spec, x: Singles, y: NDArray[Any], weight: NDArray[np.float32], seed: int) -> Ensemble:
    """Train on the rows ``x`` ``(n, p)``, on as many threads as the caller allows."""
    fitted = _estimator(spec, seed, is_number=y.dtype.kind == "f").fit(x, y, sample_weight=weight)
    grown = _taken(spec, fitted)
    return replace(grown, predict=(lambda x: fitted.predict(x)[:, None]) if grown.is_number else fitted.predict_proba)


def read(spec: Spec, data: bytes) -> Ensemble:
    """The model of a skops file; types that skops does not trust are loaded only where the recipe names them.

    Only arrays are taken from what was loaded, and none of its methods is called.
    """
    model = open_skops(data, trustable=_TRUSTABLE, trusted=spec.trusted, save=f"save the bare classifier: {FORMAT}")
    if type(model).__name__ not in _READ[spec.kind] or not type(model).__module__.startswith("sklearn.ensemble."):
        kind = next((kind for kind, names in _READ.items() if type(model).__name__ in names), None)
        mend = f"write 'kind: {kind}'" if kind else f"save the bare classifier ({' or '.join(_READ[spec.kind])})"
        raise Unfit(f"holds a {type(model).__name__}, which model kind '{spec.kind}' does not read", mend)
    return _taken(spec, model)


def _estimator(spec: Spec, seed: int, *, is_number: bool) -> Any:
    from sklearn import ensemble

    if isinstance(spec, GradientBoostingSpec):
        boosted = ensemble.HistGradientBoostingRegressor if is_number else ensemble.HistGradientBoostingClassifier
        columns = list(spec.codes) or None
        return boosted(**spec.settings(), categorical_features=columns, early_stopping=False, random_state=seed)
    forest = ensemble.RandomForestRegressor if is_number else ensemble.RandomForestClassifier
    return forest(**spec.settings(), n_jobs=1, random_state=seed)


def _taken(spec: Spec, fitted: Any) -> Ensemble:
    levels = _levels(fitted) if isinstance(spec, GradientBoostingSpec) else ()
    trees, baseline = _boosted(fitted, levels) if isinstance(spec, GradientBoostingSpec) else _forest(fitted)
    # Codes that are small whole numbers are the values themselves.
    named = tuple(None if found is None or _plain(found) else found for found in levels)
    names = tuple(str(name) for name in getattr(fitted, "feature_names_in_", ()))
    is_number = not hasattr(fitted, "classes_")
    classes = () if is_number else tuple(str(name) for name in fitted.classes_)
    ensemble = Ensemble(trees, baseline, int(fitted.n_features_in_), None, names, classes, is_number=is_number, levels=named)
    return replace(ensemble, in_double=isinstance(spec, GradientBoostingSpec))  # forests round to single precision themselves


def _levels(fitted: Any) -> tuple[tuple[Any, ...] | None, ...]:
    """What the codes of each column stand for, without missing values; ``None`` of columns of numbers."""
    if getattr(fitted, "_preprocessor", None) is None:
        return ()
    known = iter(fitted._preprocessor.named_transformers_["encoder"].categories_)
    return tuple(
        tuple(value for value in next(known) if value == value and value is not None) if is_category else None
        for is_category in fitted.is_categorical_
    )


def _plain(levels: Sequence[Any]) -> bool:
    return all(not isinstance(value, str) and 0 <= value < MOST_CODES and value == int(value) for value in levels)


def _boosted(fitted: Any, levels: Sequence[Sequence[Any] | None]) -> tuple[tuple[Tree, ...], Floats]:
    """The trees of a histogram boosting in order of iteration and class, and the logits (or the number) that they start from.

    scikit-learn has no public way to them; that they are read rightly is checked on every model by its outputs. Inside it, columns of
    categories stand before the others.
    """
    if not hasattr(fitted, "classes_") and fitted.loss not in _LINKS:
        raise Unfit(f"was trained with the loss '{str(fitted.loss)[:40]}', whose trees add up to a logarithm", f"take {', '.join(_LINKS)}")
    order = sorted(range(len(levels)), key=lambda column: levels[column] is None) or list(range(fitted.n_features_in_))
    trees = []
    for one in (one for iteration in fitted._predictors for one in iteration):
        found = one.nodes
        leaf = found["is_leaf"].astype(bool)
        left, right = (np.where(leaf, -1, found[side].astype(np.int64)) for side in ("left", "right"))
        feature = np.array(order, dtype=np.int64)[found["feature_idx"].astype(np.int64)]
        missing_left, by_category = found["missing_go_to_left"].astype(bool), found["is_categorical"].astype(bool) & ~leaf
        goes_left = np.repeat(missing_left[:, None], MOST_CODES, axis=1)  # as what is missing goes what training did not show
        for node in np.flatnonzero(by_category):
            known = levels[feature[node]] or ()
            bits = np.unpackbits(one.raw_left_cat_bitsets[found["bitset_idx"][node]].astype("<u4").view(np.uint8), bitorder="little")
            codes = np.array(known if _plain(known) else range(len(known)), dtype=np.int64)
            goes_left[node, codes] = bits[: len(known)].astype(bool)
        threshold, value = found["num_threshold"].astype(np.float64), found["value"].astype(np.float64)[:, None]
        cover = found["count"].astype(np.float64)
        sets = packed(goes_left) if by_category.any() else None
        trees.append(Tree(feature, threshold, left, right, value, cover, missing_left, by_category, sets))
    return tuple(trees), np.asarray(fitted._baseline_prediction, dtype=np.float64).reshape(-1)


def _forest(fitted: Any) -> tuple[tuple[Tree, ...], Floats]:
    """The trees of a random forest; what a leaf says is its share of the probability of each class but the first, or of the number."""
    numbers = not hasattr(fitted, "classes_")
    trees = []
    for found in (estimator.tree_ for estimator in fitted.estimators_):
        if found.value.shape[1] != 1:
            raise Unfit("predicts several targets at once", "train one model for each target")
        left, right = found.children_left.astype(np.int64), found.children_right.astype(np.int64)
        counts = found.value[:, 0]
        value = (counts if numbers else (counts / counts.sum(axis=1, keepdims=True))[:, 1:]) / len(fitted.estimators_)
        cover = found.weighted_n_node_samples.astype(np.float64)
        trees.append(Tree(found.feature.astype(np.int64), found.threshold.astype(np.float64), left, right, value, cover))
    return tuple(trees), np.zeros(1 if numbers else len(fitted.classes_) - 1)
