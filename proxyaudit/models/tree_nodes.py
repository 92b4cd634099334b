"""Trees as plain arrays, and completely random ones.

Completely random trees (Geurts et al. 2006, "Extremely randomized trees", with one candidate a split) see rows but no labels: they are to
trees what random initial weights are to networks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.models.kinds.trees import TreeSpec


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


@dataclass(frozen=True)
class Tree:
    """One tree of ``m`` nodes as a library keeps it: in any order but for the root, which is the first."""

    feature_m: Ints
    threshold_m: Floats  # a row whose feature is at most this goes left
    left_m: Ints  # negative where the node is a leaf
    right_m: Ints
    value_mv: Floats


@dataclass(frozen=True)
class Ensemble:
    """Trees that a library grew."""

    trees: tuple[Tree, ...]  # of boosted trees that speak of one class each by iteration and class
    baseline: Floats  # what the sum of all trees starts from, ``(C,)``
    n_inputs: int
    predict: Callable[[Singles], Floats] | None  # the library's own probabilities ``(n, K)``; ``None`` where the library did not read it
    columns: tuple[str, ...] = ()  # names of the inputs; empty where nobody named them
    classes: tuple[str, ...] = ()  # names of the classes; empty where nobody named them

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of trees (of each class, where each has its own) and of leaves of the largest."""
        joint = not self.trees or self.trees[0].value_mv.shape[1] == len(self.baseline)
        leaves = max((int((tree.left_m < 0).sum()) for tree in self.trees), default=2)
        return max(len(self.trees) // (1 if joint else len(self.baseline)), 1), max(leaves, 2)

    def nodes(self, shape: tuple[int, int, int]) -> Nodes:
        """The trees in arrays of a ``shape`` of :class:`Nodes` that has room for them; trees that are not there say nothing.

        Raises ``ValueError``: a tree is none, asks for a column that is not there, or holds what is no number.
        """
        nodes = Nodes.empty(*shape)
        if not np.isfinite(self.baseline).all():
            raise ValueError("what the trees start from is no number")
        for number, tree in enumerate(self.trees):
            order = _from_the_root(tree)
            place = np.zeros(len(tree.left_m), dtype=np.int64)
            place[order] = np.arange(len(order))
            split = np.flatnonzero(tree.left_m[order] >= 0)
            inner = order[split]
            feature, threshold = tree.feature_m[inner], tree.threshold_m[inner]
            if ((feature < 0) | (feature >= self.n_inputs)).any():
                raise ValueError("a split asks for a column that the model does not have")
            if np.isnan(threshold).any() or not (np.abs(tree.value_mv[order]) <= np.finfo(np.float32).max).all():
                raise ValueError("the trees hold values that are no numbers")
            nodes.feature_gm[number, split], nodes.threshold_gm[number, split] = feature, threshold
            nodes.left_gm[number, split], nodes.right_gm[number, split] = place[tree.left_m[inner]], place[tree.right_m[inner]]
            nodes.value_gmv[number, : len(order)] = tree.value_mv[order]
        return nodes


def _from_the_root(tree: Tree) -> Ints:
    """Nodes in the order of their depth. Raises ``ValueError``: a node is reached twice, or leads to none."""
    seen, found, level = np.zeros(len(tree.left_m), dtype=bool), [], np.zeros(1, dtype=np.int64)
    while len(level):
        if seen[level].any() or len(np.unique(level)) < len(level):
            raise ValueError("a node of a tree is reached twice")
        seen[level] = True
        found.append(level)
        inner = level[tree.left_m[level] >= 0]
        level = np.stack([tree.left_m[inner], tree.right_m[inner]], axis=1).reshape(-1)
        if (level < 0).any() or (level >= len(seen)).any():
            raise ValueError("a node of a tree leads nowhere")
    return np.concatenate(found)


def random_nodes(shape: tuple[int, int, int], x: Singles, spec: TreeSpec, rng: np.random.Generator) -> Nodes:
    """Trees of a ``shape`` of :class:`Nodes` that split the fullest leaf at a random column and the value of a random row.

    What leaves say is random: of boosted trees normal with the learning rate as standard deviation, about as large as a first step; of
    forests a vote drawn evenly from the simplex.
    """
    trees, places, outputs = shape
    nodes = Nodes.empty(trees, places, outputs)
    for tree in range(trees):
        _grow(nodes, tree, x, spec, rng)
    if spec.votes:
        value = rng.dirichlet(np.ones(outputs + 1), (trees, places))[..., 1:] / trees
    else:
        value = rng.normal(0, spec.step, (trees, places, outputs))
    return replace(nodes, value_gmv=value.astype(np.float32))


def _grow(nodes: Nodes, tree: int, x: Singles, spec: TreeSpec, rng: np.random.Generator) -> None:
    """Grow one completely random tree, in place."""
    open_leaves, used = [(-len(x), 0, np.arange(len(x)), 0)], 1  # the fullest first, of those the one with the lowest number
    while open_leaves and used < nodes.left_gm.shape[1]:
        _, node, rows, depth = heappop(open_leaves)
        inside = x[rows]
        varying = np.flatnonzero(inside.min(axis=0) < inside.max(axis=0)) if len(rows) > 1 else np.zeros(0, dtype=np.int64)
        if not len(varying) or depth == spec.deepest:
            continue
        feature = int(rng.choice(varying))
        values = inside[:, feature]
        threshold = float(rng.choice(values[values < values.max()]))
        nodes.feature_gm[tree, node], nodes.threshold_gm[tree, node] = feature, threshold
        nodes.left_gm[tree, node], nodes.right_gm[tree, node] = used, used + 1
        goes_left = values <= threshold
        for child, kept in ((used, rows[goes_left]), (used + 1, rows[~goes_left])):
            heappush(open_leaves, (-len(kept), child, kept, depth + 1))
        used += 2
