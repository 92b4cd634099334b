"""Training of trees: scikit-learn grows them, and they are taken over as plain arrays and held against its own outputs."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from proxyaudit.arrays import Floats, Singles
from proxyaudit.errors import TaskError
from proxyaudit.models.base import TrainedModel, copy_module, inference, probabilities
from proxyaudit.models.kinds.gradient_boosting import GradientBoostingSpec
from proxyaudit.models.tree_nodes import Nodes, TreeSpec, random_nodes
from proxyaudit.models.trees import TreeEnsemble
from proxyaudit.seeding import integer_seed, stream

_EQUAL = 1e-6  # largest difference of a probability from the library's own
_CHECKED_ROWS = 2000
_RANGE_ROWS = 2000  # that completely random trees are grown on


def train_trees(
    model: TrainedModel, x: Singles, y: NDArray[np.int64], weight: NDArray[np.float32], spec: TreeSpec, seed: int
) -> TrainedModel:
    """Grow the trees of a copy of ``model`` with scikit-learn, on one thread; the same bytes for one seed.

    ``x`` is the encoded table ``(n, p)``, ``y`` class codes ``(n,)`` and ``weight`` non-negative ``(n,)``. All rows train. Raises
    ``TaskError``: a class has no training row, or this version of scikit-learn keeps its trees in another way than is read here.
    """
    present = np.unique(y[weight > 0])
    if len(present) < model.n_classes:
        lacking = model.n_classes - len(present)
        raise TaskError(f"{lacking} of {model.n_classes} target classes have no training row, and trees need them all")
    kept = weight > 0
    x, y, weight = x[kept], y[kept], weight[kept] / weight[kept].mean()
    module = copy_module(model.module)
    assert isinstance(module, TreeEnsemble)
    with threadpool_limits(limits=1):
        fitted = _estimator(spec, integer_seed(seed, "trees") % 2**32).fit(x, y, sample_weight=weight)
        expected = np.asarray(fitted.predict_proba(x[:_CHECKED_ROWS]))
    boosted = isinstance(spec, GradientBoostingSpec)
    nodes, baseline = _boosted(fitted, module) if boosted else _forest(fitted, module)
    module.fill(nodes, baseline)
    module.eval()
    with inference(module):
        found = probabilities(module(torch.tensor(x[:_CHECKED_ROWS])))
    if np.abs(found - (expected[:, 1:] if model.n_classes == 2 else expected)).max() > _EQUAL:
        raise TaskError("the trees taken over do not give scikit-learn's own outputs: this version of it is not supported")
    trees = int((nodes.left_gm[:, 0] != nodes.right_gm[:, 0]).sum())
    details = {"origin": "trained", "training_rows": len(x), "validation_rows": 0, "trees_with_splits": trees}
    return replace(model, module=module, details={**model.details, **details})


def random_ensemble(model: TrainedModel, x: Singles, spec: TreeSpec, seed: int) -> TrainedModel:
    """What stands for "untrained": completely random trees of the same number and most leaves on real rows ``(n, p)``, labels unseen."""
    module = copy_module(model.module)
    assert isinstance(module, TreeEnsemble)
    rng = stream(seed, "random trees")
    rows = np.sort(rng.permutation(len(x))[:_RANGE_ROWS])
    module.fill(random_nodes(module.shape, x[rows], spec, rng), np.zeros(module.head.columns))
    return replace(model, module=module.eval())


def _estimator(spec: TreeSpec, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    own = spec.model_dump(exclude={"kind", "class_weight"})
    if isinstance(spec, GradientBoostingSpec):
        return HistGradientBoostingClassifier(**own, early_stopping=False, random_state=seed)
    return RandomForestClassifier(**own, n_jobs=1, random_state=seed)


def _boosted(fitted: Any, module: TreeEnsemble) -> tuple[Nodes, Floats]:
    """The trees of ``HistGradientBoostingClassifier`` in order of iteration and class, and the logits that they start from.

    scikit-learn has no public way to them; that they are read rightly is checked on every model by its outputs.
    """
    nodes = Nodes.empty(*module.shape)
    for tree, predictor in enumerate(one for iteration in fitted._predictors for one in iteration):
        found = predictor.nodes
        leaf = found["is_leaf"].astype(bool)
        left, right = (found[side].astype(np.int64) for side in ("left", "right"))
        _put(nodes, tree, leaf, found["feature_idx"], found["num_threshold"], left, right)
        nodes.value_gmv[tree, : len(found), 0] = found["value"]
    return nodes, np.asarray(fitted._baseline_prediction, dtype=np.float64).reshape(-1)


def _forest(fitted: Any, module: TreeEnsemble) -> tuple[Nodes, Floats]:
    """The trees of ``RandomForestClassifier``; what a leaf says is its share of the probability of each class but the first."""
    nodes = Nodes.empty(*module.shape)
    for tree, estimator in enumerate(fitted.estimators_):
        found = estimator.tree_
        left, right = found.children_left.astype(np.int64), found.children_right.astype(np.int64)
        _put(nodes, tree, left < 0, found.feature, found.threshold, left, right)
        counts = found.value[:, 0]
        nodes.value_gmv[tree, : len(counts)] = (counts / counts.sum(axis=1, keepdims=True))[:, 1:] / len(fitted.estimators_)
    return nodes, np.zeros(module.head.columns)


def _put(nodes: Nodes, tree: int, leaf: Any, feature: Any, threshold: Any, left: Any, right: Any) -> None:
    """Write one tree, in place; leaves keep what :meth:`Nodes.empty` gives."""
    split = np.flatnonzero(~leaf)
    nodes.feature_gm[tree, split], nodes.threshold_gm[tree, split] = feature[split], threshold[split]
    nodes.left_gm[tree, split], nodes.right_gm[tree, split] = left[split], right[split]
