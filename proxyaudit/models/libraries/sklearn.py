"""Histogram boosting and random forests of scikit-learn; their files are those of skops, whose types must be named to be loaded."""

import io
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Singles
from proxyaudit.models.kinds.gradient_boosting import GradientBoostingSpec
from proxyaudit.models.kinds.random_forest import RandomForestSpec
from proxyaudit.models.libraries import Unfit, imported
from proxyaudit.models.tree_nodes import Ensemble, Tree

FORMAT = "skops.io.dump(model, 'model.skops')"
_TRUSTABLE = ("sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor")
_CATEGORIES = ("splits by categories, which trees of this audit do not", "train it on columns of numbers (no categorical_features)")
_MOST_BYTES = 4 * 2**30  # of an unpacked file
_READ = {"gradient_boosting": ("HistGradientBoostingClassifier",), "random_forest": ("RandomForestClassifier", "ExtraTreesClassifier")}

Spec = GradientBoostingSpec | RandomForestSpec


def grow(spec: Spec, x: Singles, y: NDArray[np.int64], weight: NDArray[np.float32], seed: int) -> Ensemble:
    """Train on the rows ``x`` ``(n, p)``, on as many threads as the caller allows."""
    fitted = _estimator(spec, seed).fit(x, y, sample_weight=weight)
    return replace(_taken(spec, fitted), predict=fitted.predict_proba)


def read(spec: Spec, data: bytes) -> Ensemble:
    """The model of a skops file; types that skops does not trust are loaded only where the recipe names them.

    Only arrays are taken from what was loaded, and none of its methods is called.
    """
    skops = imported("skops.io")
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        if sum(entry.file_size for entry in packed.infolist()) > _MOST_BYTES:
            raise Unfit("unpacks to more than 4 GiB", "save a smaller model")
    found = sorted(str(name) for name in skops.get_untrusted_types(data=data))
    strange = [name for name in found if name not in _TRUSTABLE]
    if strange:
        what = f"holds types that are not loaded, since they could run code: {', '.join(strange[:8])}"
        raise Unfit(what, f"save the bare classifier: {FORMAT}")
    unnamed = [name for name in found if name not in spec.trusted]
    if unnamed:
        mend = f"if you trust the file, name them under model: trusted: [{', '.join(found)}]"
        raise Unfit(f"holds types that skops does not trust: {', '.join(unnamed)}", mend)
    model = skops.loads(data, trusted=found)
    if type(model).__name__ not in _READ[spec.kind] or not type(model).__module__.startswith("sklearn.ensemble."):
        kind = next((kind for kind, names in _READ.items() if type(model).__name__ in names), None)
        mend = f"write 'kind: {kind}'" if kind else f"save the bare classifier ({' or '.join(_READ[spec.kind])})"
        raise Unfit(f"holds a {type(model).__name__}, which model kind '{spec.kind}' does not read", mend)
    return _taken(spec, model)


def _estimator(spec: Spec, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    if isinstance(spec, GradientBoostingSpec):
        return HistGradientBoostingClassifier(**spec.settings(), early_stopping=False, random_state=seed)
    return RandomForestClassifier(**spec.settings(), n_jobs=1, random_state=seed)


def _taken(spec: Spec, fitted: Any) -> Ensemble:
    trees, baseline = _boosted(fitted) if isinstance(spec, GradientBoostingSpec) else _forest(fitted)
    names = tuple(str(name) for name in getattr(fitted, "feature_names_in_", ()))
    classes = tuple(str(name) for name in fitted.classes_)
    return Ensemble(trees, baseline, int(fitted.n_features_in_), None, names, classes)


def _boosted(fitted: Any) -> tuple[tuple[Tree, ...], Floats]:
    """The trees of ``HistGradientBoostingClassifier`` in order of iteration and class, and the logits that they start from.

    scikit-learn has no public way to them; that they are read rightly is checked on every model by its outputs.
    """
    if getattr(fitted, "_preprocessor", None) is not None:
        raise Unfit(*_CATEGORIES)
    trees = []
    for found in (one.nodes for iteration in fitted._predictors for one in iteration):
        leaf = found["is_leaf"].astype(bool)
        if found["is_categorical"].any():
            raise Unfit(*_CATEGORIES)
        left, right = (np.where(leaf, -1, found[side].astype(np.int64)) for side in ("left", "right"))
        feature = found["feature_idx"].astype(np.int64)
        trees.append(Tree(feature, found["num_threshold"].astype(np.float64), left, right, found["value"].astype(np.float64)[:, None]))
    return tuple(trees), np.asarray(fitted._baseline_prediction, dtype=np.float64).reshape(-1)


def _forest(fitted: Any) -> tuple[tuple[Tree, ...], Floats]:
    """The trees of ``RandomForestClassifier``; what a leaf says is its share of the probability of each class but the first."""
    trees = []
    for found in (estimator.tree_ for estimator in fitted.estimators_):
        if found.value.shape[1] != 1:
            raise Unfit("predicts several targets at once", "train one model for each target")
        left, right = found.children_left.astype(np.int64), found.children_right.astype(np.int64)
        counts = found.value[:, 0]
        value = (counts / counts.sum(axis=1, keepdims=True))[:, 1:] / len(fitted.estimators_)
        trees.append(Tree(found.feature.astype(np.int64), found.threshold.astype(np.float64), left, right, value))
    return tuple(trees), np.zeros(len(fitted.classes_) - 1)
