"""Trees as plain arrays, and completely random ones.

Completely random trees (Geurts et al. 2006, "Extremely randomized trees", with one candidate a split) see rows but no labels: they are to
trees what random initial weights are to networks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.models.kinds.trees import TreeSpec

_LARGEST = np.finfo(np.float64).max


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
    missing_left_gm: Bools  # whether a row goes left where its value is missing, or of no known category
    by_category_gm: Bools  # whether the split asks for a category, so that the threshold counts for nothing
    sets_gmw: Ints  # codes of categories that go left, a bit each; no words where trees do not split by categories
    cover_gm: Floats  # training rows, or their weight, that came to a node; zeros where nobody counted

    @classmethod
    def empty(cls, trees: int, nodes: int, outputs: int, words: int = 0) -> "Nodes":
        """Trees of one leaf that say nothing."""
        shape = trees, nodes
        own = np.tile(np.arange(nodes, dtype=np.int64), (trees, 1))
        feature, value = np.zeros(shape, dtype=np.int64), np.zeros((*shape, outputs), dtype=np.float32)
        flags, sets = np.zeros(shape, dtype=bool), np.zeros((*shape, words), dtype=np.int64)
        return cls(feature, np.zeros(shape), own, own.copy(), value, flags, flags.copy(), sets, np.zeros(shape))


MOST_CODES = 256  # of the categories of a column
PARTS = ("feature", "threshold", "left", "right", "missing_left", "by_category")
"""What says where a row goes, in the order of :class:`Nodes`."""


def packed(left_mc: Bools) -> Ints:
    """Codes that go left ``(m, 256)`` as bits of four words ``(m, 4)``."""
    return np.ascontiguousarray(np.packbits(left_mc, axis=1, bitorder="little")).view("<i8").astype(np.int64)


@dataclass(frozen=True)
class Tree:
    """One tree of ``m`` nodes as a library keeps it: in any order but for the root, which is the first."""

    feature_m: Ints
    threshold_m: Floats  # a row whose feature is at most this goes left
    left_m: Ints  # negative where the node is a leaf
    right_m: Ints
    value_mv: Floats
    cover_m: Floats  # training rows, or their weight, that came to a node
    missing_left_m: Bools | None = None  # whether missing values go left; ``None``: to the right, as they are not at most anything
    by_category_m: Bools | None = None  # splits by categories
    sets_mw: Ints | None = None  # codes that go left there, see :func:`packed`


@dataclass(frozen=True)
class Ensemble:
    """Trees that a library grew."""

    trees: tuple[Tree, ...]  # of boosted trees that speak of one class each by iteration and class
    baseline: Floats  # what the sum of all trees starts from, ``(C,)``
    n_inputs: int
    predict: Callable[[Singles], Floats] | None  # the library's own probabilities ``(n, K)``; ``None`` where the library did not read it
    columns: tuple[str, ...] = ()  # names of the inputs; empty where nobody named them
    classes: tuple[str, ...] = ()  # names of the classes; empty where nobody named them
    is_number: bool = False  # whether the trees add up to a number, and ``predict`` gives it ``(n, 1)``
    levels: tuple[tuple[Any, ...] | None, ...] = ()  # by column: what its codes stand for; ``None`` where it is read as it is
    hashed: bool = False  # levels are the library's own hashes of them
    in_double: bool = False  # the library compares what it reads in double precision, and not in single

    @property
    def codes(self) -> frozenset[int]:
        """Numbers of the columns that splits ask for categories."""
        asked = [tree.feature_m[tree.by_category_m] for tree in self.trees if tree.by_category_m is not None]
        return frozenset(int(column) for part in asked for column in part)

    @property
    def splits(self) -> tuple[tuple[float, ...], ...]:
        """Where columns are split, by column and sorted; nothing where the library itself rounds what it reads, as the audit does."""
        columns, places = [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
        for tree in self.trees if self.in_double else ():
            asks = tree.left_m >= 0 if tree.by_category_m is None else (tree.left_m >= 0) & ~tree.by_category_m
            columns.append(tree.feature_m[asks])
            places.append(tree.threshold_m[asks])
        column, place = np.concatenate(columns), np.concatenate(places)
        return tuple(tuple(np.unique(place[column == number]).tolist()) for number in range(self.n_inputs))

    def scaled(self, mean: float, sd: float) -> "Ensemble":
        """The same in standard deviations from a mean."""
        trees = tuple(replace(tree, value_mv=tree.value_mv / sd) for tree in self.trees)
        own = self.predict
        predict = None if own is None else lambda x: (own(x) - mean) / sd
        return replace(self, trees=trees, baseline=(self.baseline - mean) / sd, predict=predict)

    @property
    def size(self) -> tuple[int, int]:
        """Numbers of trees (of each class, where each has its own) and of leaves of the largest."""
        joint = not self.trees or self.trees[0].value_mv.shape[1] == len(self.baseline)
        leaves = max((int((tree.left_m < 0).sum()) for tree in self.trees), default=2)
        return max(len(self.trees) // (1 if joint else len(self.baseline)), 1), max(leaves, 2)

    def nodes(self, shape: tuple[int, int, int], words: int = 0) -> Nodes:
        """The trees in arrays of a ``shape`` of :class:`Nodes` that has room for them; trees that are not there say nothing.

        Raises ``ValueError``: a tree is none, asks for a column that is not there, or holds what is no number.
        """
        nodes = Nodes.empty(*shape, words)
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
            # Where one side has the missing values alone libraries split at infinity, which no file of weights may hold.
            nodes.feature_gm[number, split], nodes.threshold_gm[number, split] = feature, np.clip(threshold, -_LARGEST, _LARGEST)
            nodes.left_gm[number, split], nodes.right_gm[number, split] = place[tree.left_m[inner]], place[tree.right_m[inner]]
            nodes.value_gmv[number, : len(order)], nodes.cover_gm[number, : len(order)] = tree.value_mv[order], tree.cover_m[order]
            if tree.missing_left_m is not None:
                nodes.missing_left_gm[number, split] = tree.missing_left_m[inner]
            if tree.by_category_m is not None and tree.sets_mw is not None and tree.by_category_m[inner].any():
                if not words:
                    raise ValueError("it splits by categories, and the audit hands over columns of numbers")
                nodes.by_category_gm[number, split] = tree.by_category_m[inner]
                nodes.sets_gmw[number, split] = tree.sets_mw[inner]
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


def random_nodes(shape: tuple[int, int, int], x: Singles, spec: TreeSpec, rng: np.random.Generator, *, votes: bool) -> Nodes:
    """Trees of a ``shape`` of :class:`Nodes` that split the fullest leaf at a random column and the value of a random row.

    What leaves say is random: of boosted trees normal with the learning rate as standard deviation, about as large as a first step; of
    forests that vote a vote drawn evenly from the simplex, of others a share of a normal number.
    """
    trees, places, outputs = shape
    nodes = Nodes.empty(trees, places, outputs, spec.words)
    for tree in range(trees):
        _grow(nodes, tree, x, spec, rng)
    if votes:
        value = rng.dirichlet(np.ones(outputs + 1), (trees, places))[..., 1:] / trees
    else:
        value = rng.normal(0, spec.step / (trees if spec.votes else 1), (trees, places, outputs))
    return replace(nodes, value_gmv=value.astype(np.float32))


def _grow(nodes: Nodes, tree: int, x: Singles, spec: TreeSpec, rng: np.random.Generator) -> None:
    """Grow one completely random tree, in place."""
    open_leaves, used = [(-len(x), 0, np.arange(len(x)), 0)], 1  # the fullest first, of those the one with the lowest number
    nodes.cover_gm[tree, 0] = len(x)
    while open_leaves and used < nodes.left_gm.shape[1]:
        _, node, rows, depth = heappop(open_leaves)
        inside = x[rows]
        whole = np.where(np.isnan(inside), np.inf, inside)  # a missing value is one more
        varying = np.flatnonzero(whole.min(axis=0) < whole.max(axis=0)) if len(rows) > 1 else np.zeros(0, dtype=np.int64)
        if not len(varying) or depth == spec.deepest:
            continue
        feature = int(rng.choice(varying))
        goes_left = _split(nodes, tree, node, whole[:, feature], spec.words > 0 and feature in spec.codes, rng)
        nodes.feature_gm[tree, node] = feature
        nodes.left_gm[tree, node], nodes.right_gm[tree, node] = used, used + 1
        for child, kept in ((used, rows[goes_left]), (used + 1, rows[~goes_left])):
            nodes.cover_gm[tree, child] = len(kept)
            heappush(open_leaves, (-len(kept), child, kept, depth + 1))
        used += 2


def _split(nodes: Nodes, tree: int, node: int, values: Singles, by_category: bool, rng: np.random.Generator) -> Bools:
    """Split rows at random by one column, whose missing values are infinite; of categories a random part goes left."""
    known = np.unique(values)
    if not by_category:
        threshold = float(rng.choice(values[values < values.max()]))
        nodes.threshold_gm[tree, node] = threshold
        goes_left = values <= threshold
        if np.isinf(known[-1]) and len(known) > 2 and rng.random() < 0.5:  # else one side could be empty
            nodes.missing_left_gm[tree, node] = True
            goes_left = goes_left | np.isinf(values)
            if goes_left.all():
                nodes.missing_left_gm[tree, node], goes_left = False, values <= threshold
        return np.asarray(goes_left)
    order = rng.permutation(known)
    left = order[: int(rng.integers(1, len(known)))]
    codes = np.zeros((1, 64 * nodes.sets_gmw.shape[2]), dtype=bool)
    codes[0, left[np.isfinite(left)].astype(np.int64)] = True
    nodes.by_category_gm[tree, node], nodes.sets_gmw[tree, node] = True, packed(codes)[0]
    nodes.missing_left_gm[tree, node] = bool(np.isinf(left).any())
    return np.isin(values, left)
