"""Trees as plain arrays, and completely random ones.

Completely random trees (Geurts et al. 2006, "Extremely randomized trees", with one candidate a split) see rows but no labels: they are to
trees what random initial weights are to networks.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.models.kinds.gradient_boosting import GradientBoostingSpec
from proxyaudit.models.kinds.random_forest import RandomForestSpec

TreeSpec = GradientBoostingSpec | RandomForestSpec


@dataclass(frozen=True)
class Nodes:
    """Arrays of ``g`` trees of at most ``m`` nodes; a leaf is its own left and right child, and so is every unused place."""

    feature_gm: Ints
    threshold_gm: Floats  # a row whose feature is at most this goes left
    left_gm: Ints
    right_gm: Ints
    # What a leaf says, one number for each of ``v`` outputs. Single precision: the sum is then exact, and outputs that are equal but for
    # the order of rounding stay equal, which a reader of their last digits would else take for a leak.
    value_gmv: NDArray[np.float32]

    @classmethod
    def empty(cls, trees: int, nodes: int, outputs: int) -> "Nodes":
        """Trees of one leaf that say nothing."""
        own = np.tile(np.arange(nodes, dtype=np.int64), (trees, 1))
        feature, value = np.zeros((trees, nodes), dtype=np.int64), np.zeros((trees, nodes, outputs), dtype=np.float32)
        return cls(feature, np.zeros((trees, nodes)), own, own.copy(), value)


def random_nodes(shape: tuple[int, int, int], x: Singles, spec: TreeSpec, rng: np.random.Generator) -> Nodes:
    """Trees of a ``shape`` of :class:`Nodes` that split the fullest leaf at a random column and the value of a random row.

    What leaves say is random: of boosted trees normal with the learning rate as standard deviation, about as large as a first step; of
    forests a vote drawn evenly from the simplex.
    """
    trees, places, outputs = shape
    nodes = Nodes.empty(trees, places, outputs)
    for tree in range(trees):
        _grow(nodes, tree, x, spec, rng)
    if isinstance(spec, GradientBoostingSpec):
        value = rng.normal(0, spec.learning_rate, (trees, places, outputs))
    else:
        value = rng.dirichlet(np.ones(outputs + 1), (trees, places))[..., 1:] / trees
    return replace(nodes, value_gmv=value.astype(np.float32))


def _grow(nodes: Nodes, tree: int, x: Singles, spec: TreeSpec, rng: np.random.Generator) -> None:
    """Grow one completely random tree, in place."""
    open_leaves, used = {0: (np.arange(len(x)), 0)}, 1
    while open_leaves and used < nodes.left_gm.shape[1]:
        node = max(open_leaves, key=lambda place: (len(open_leaves[place][0]), -place))
        rows, depth = open_leaves.pop(node)
        inside = x[rows]
        varying = np.flatnonzero(inside.min(axis=0) < inside.max(axis=0)) if len(rows) > 1 else np.zeros(0, dtype=np.int64)
        if not len(varying) or depth == spec.max_depth:
            continue
        feature = int(rng.choice(varying))
        values = inside[:, feature]
        threshold = float(rng.choice(values[values < values.max()]))
        nodes.feature_gm[tree, node], nodes.threshold_gm[tree, node] = feature, threshold
        nodes.left_gm[tree, node], nodes.right_gm[tree, node] = used, used + 1
        goes_left = values <= threshold
        open_leaves[used], open_leaves[used + 1] = (rows[goes_left], depth + 1), (rows[~goes_left], depth + 1)
        used += 2
