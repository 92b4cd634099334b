"""Training of trees: a library grows them, and they are taken over as plain arrays and held against its own outputs."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from proxyaudit.arrays import Singles
from proxyaudit.errors import TaskError
from proxyaudit.models.base import TrainedModel, copy_module
from proxyaudit.models.kinds.trees import TreeSpec
from proxyaudit.models.libraries import library_of
from proxyaudit.models.tree_nodes import Ensemble, random_nodes
from proxyaudit.models.trees import TreeEnsemble
from proxyaudit.seeding import integer_seed, stream

_CHECKED_ROWS = 2000
_RANGE_ROWS = 2000  # that completely random trees are grown on


def train_trees(model: TrainedModel, x: Singles, y: NDArray[Any], weight: NDArray[np.float32], spec: TreeSpec, seed: int) -> TrainedModel:
    """Grow the trees of a copy of ``model`` with their library, on one thread; the same bytes for one seed.

    ``x`` is the encoded table ``(n, p)``, ``y`` class codes ``(n,)``, or numbers, and ``weight`` non-negative ``(n,)``. All rows train.
    Raises ``TaskError``: a class has no training row, or this version of the library keeps its trees in another way than is read here.
    """
    present = np.unique(y[weight > 0])
    if model.task == "classes" and len(present) < model.n_classes:
        lacking = model.n_classes - len(present)
        raise TaskError(f"{lacking} of {model.n_classes} target classes have no training row, and trees need them all")
    kept = weight > 0
    x, y, weight = x[kept], y[kept], weight[kept] / weight[kept].mean()
    module = copy_module(model.module)
    assert isinstance(module, TreeEnsemble)
    with threadpool_limits(limits=1):
        grown: Ensemble = library_of(spec).grow(spec, x, y, weight, integer_seed(seed, "trees") % 2**32)
        module.take_over(grown)
        module.eval()
        if module.strays(grown, x[:_CHECKED_ROWS]):
            raise TaskError(f"the trees taken over do not give the own outputs of {spec.package}: this version of it is not supported")
    trees = int((module.trees.left[:, 0] != module.trees.right[:, 0]).sum())
    details = {"origin": "trained", "training_rows": len(x), "validation_rows": 0, "trees_with_splits": trees}
    return replace(model, module=module, details={**model.details, **details})


def random_ensemble(model: TrainedModel, x: Singles, spec: TreeSpec, seed: int) -> TrainedModel:
    """What stands for "untrained": completely random trees of the same number and most leaves on real rows ``(n, p)``, labels unseen."""
    module = copy_module(model.module)
    assert isinstance(module, TreeEnsemble)
    rng = stream(seed, "random trees")
    rows = np.sort(rng.permutation(len(x))[:_RANGE_ROWS])
    module.fill(random_nodes(module.shape, x[rows], spec, rng, votes=module.head.votes), np.zeros(module.head.columns))
    return replace(model, module=module.eval())
