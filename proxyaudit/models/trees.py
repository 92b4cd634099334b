"""Ensembles of trees as torch modules of plain arrays: an exact predictor whose margins can be read, swapped and mapped like any site.

Every tree is a row of node arrays; a row of the table walks from node 0 until it stays where it is. What the trees say of a row, side by
side, is the site ``margins``: of boosted trees one coordinate for each iteration (and class), whose sum plus the baseline is the logit; of
a forest one for each tree (and class but the first), whose sum is the probability; of a number the sum is the number itself. Where each
tree speaks of every class (CatBoost) it has a coordinate for each. No library is asked and nothing is unpickled, so a checkpoint of trees
is a safetensors file like any other.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from proxyaudit.arrays import Floats, Singles
from proxyaudit.errors import InputError
from proxyaudit.models.base import TabularModule, inference, probabilities
from proxyaudit.models.kinds.trees import SKETCH, TreeSpec, places, shape_of, summed
from proxyaudit.models.places import Tap
from proxyaudit.models.tree_files import check_task, read_trees
from proxyaudit.models.tree_nodes import PARTS, Ensemble, Nodes
from proxyaudit.models.tree_walk import Walk

_AT_ONCE = 16  # trees whose part of the matrix is made at once
_EQUAL = 1e-6  # largest difference of a probability from the library's own
_OF_NUMBER = 10.0  # as much more of a number, as a share of it
_CHECKED_ROWS = 500
_RANKED_ROWS = 4096
_LEAST = 1e-7  # of a probability of a forest, whose log-odds would else be infinite


class LeafSketch(nn.Module):
    """Which leaf of each tree a row reaches, ``(n, d)``: the one-hot of all leaves of all trees, times a fixed random matrix.

    The matrix keeps inner products (Johnson and Lindenstrauss 1984): of two rows in expectation the number of trees in which they share a
    leaf. The row of a leaf is a vector of signs of its tree times a Gaussian vector of its place, so that it need not be kept whole. Its
    key is drawn from torch's global generator, and kept with the weights.
    """

    key: Tensor

    def __init__(self, trees: int, nodes: int) -> None:
        super().__init__()
        self.size = trees, nodes, min(SKETCH, trees * nodes)
        self.register_buffer("key", torch.randint(2**31, ()))

    def forward(self, reached: Tensor) -> Tensor:
        """Return the sketch of rows that end at nodes ``(n, g)``, in single precision."""
        trees, nodes, width = self.size
        rng = np.random.Generator(np.random.Philox(int(self.key)))
        signs = torch.tensor(rng.integers(0, 2, (trees, width)) * 2 - 1, dtype=torch.float32)
        places = torch.tensor(rng.normal(size=(nodes, width)) / np.sqrt(width), dtype=torch.float32)
        found = torch.zeros(len(reached), width)
        for start in range(0, trees, _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            rows = (signs[some, None] * places).flatten(0, 1)
            found += functional.embedding_bag(reached[:, some] + nodes * torch.arange(len(signs[some])), rows, mode="sum")
        return found


class Trees(nn.Module):
    """From a table ``(n, p)`` to what the trees say ``(n, g * v)``: outputs of one tree stand side by side."""

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    missing_left: Tensor
    by_category: Tensor
    sets: Tensor
    cover: Tensor

    def __init__(self, nodes: Nodes, n_inputs: int) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        for name in (*PARTS, "cover"):
            self.register_buffer(name, torch.tensor(getattr(nodes, f"{name}_gm")))
        self.register_buffer("sets", torch.tensor(nodes.sets_gmw))
        self.value = nn.Parameter(torch.tensor(nodes.value_gmv))
        self.sketch = LeafSketch(*nodes.left_gm.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Return the margins of rows, in single precision."""
        reached = self.leaves(x)
        if self.sketch._forward_hooks:  # what nobody looks at is not made
            self.sketch(reached)
        return self.value.flatten(0, 1)[reached + torch.arange(len(self.left)) * self.left.shape[1]].flatten(1)

    def leaves(self, x: Tensor) -> Tensor:
        """Return the node ``(n, g)`` at which each row ends in each tree."""
        return torch.from_numpy(self.walk(x.detach().cpu().numpy()).leaves()).to(x.device)

    def walk(self, x_np: NDArray[np.floating]) -> Walk:
        """Return rows of a table on their way through the trees."""
        return Walk({name: getattr(self, name).cpu().numpy() for name in (*PARTS, "sets")}, x_np.astype(np.float64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *more: Any) -> None:
        """Refuse arrays in which a row could get lost or walk for ever: a checkpoint may come from anywhere."""
        fault = self._fault(*(state_dict.get(f"{prefix}{name}", getattr(self, name)) for name in ("feature", "left", "right")))
        if fault:
            cast(list[str], more[-1]).append(f"the trees are damaged: {fault}")
            return
        super()._load_from_state_dict(state_dict, prefix, *more)

    def _fault(self, feature: Tensor, left: Tensor, right: Tensor) -> str:
        own = torch.arange(left.shape[1]).expand_as(left)
        if bool((feature < 0).any() or (feature >= self.n_inputs).any()):
            return "a split asks for a column that the table does not have"
        leaf, inside = (left == own) & (right == own), (left < left.shape[1]) & (right < left.shape[1])
        return "" if bool((leaf | (inside & (left > own) & (right > own))).all()) else "a node does not lead on to later ones"


class MarginSum(nn.Module):
    """From margins to logits: the sum over trees, of votes as log-odds."""

    def __init__(self, columns: int, *, votes: bool) -> None:
        super().__init__()
        self.columns, self.votes = columns, votes
        self.baseline = nn.Parameter(torch.zeros(columns, dtype=torch.float64))

    @property
    def adds_up(self) -> str:
        """What the margins add up to for one output, in words."""
        return "share of votes" if self.votes else "log-odds" if self.columns == 1 else "score of the class"

    def _sums(self, margins: Tensor) -> Tensor:
        total: Tensor = margins.to(torch.float64).reshape(len(margins), -1, self.columns).sum(dim=1) + self.baseline
        return total

    def total(self, margins: Tensor, output: int) -> Tensor:
        """Return what the margins add up to for one output ``(n,)``: its logit, of several classes its score; of votes their share."""
        sums = self._sums(margins)
        if not self.votes or self.columns == 1:
            return sums[:, output]
        return sums[:, output - 1] if output else 1 - sums.sum(dim=1)

    def forward(self, margins: Tensor) -> Tensor:
        """Return logits ``(n, 1)`` or ``(n, K)``, in double precision."""
        total = self._sums(margins)
        if not self.votes:
            return total
        logs = torch.cat([1 - total.sum(dim=1, keepdim=True), total], dim=1).clamp_min(_LEAST).log()
        return logs[:, 1:] - logs[:, :1] if self.columns == 1 else logs


class TreeEnsemble(TabularModule):
    """Trees and the sum of what they say."""

    def __init__(self, spec: TreeSpec, *, n_inputs: int, n_classes: int) -> None:
        super().__init__()
        self.spec = spec
        self.is_number, self.places = n_classes == 1, places(spec, n_classes)
        columns, votes = summed(spec, n_classes)
        self.trees = Trees(Nodes.empty(*shape_of(spec, n_classes), spec.words), n_inputs)
        self.head = MarginSum(columns, votes=votes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of trees, of nodes of each, and of outputs."""
        trees, nodes, outputs = self.trees.value.shape
        return trees, nodes, outputs

    @property
    def no_block(self) -> str:
        """Why no trees can be grown on those there are; empty where they can."""
        splits = bool((self.trees.left[:, 0] != self.trees.right[:, 0]).any())
        return "" if splits else "none of its trees splits, so every row reaches the same leaves and no tree can be grown on them"

    def ranks(self, x: Singles) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which leaf rows reach in each tree that splits ``(n, T)``, counted by what the leaves say, and the number of leaves ``(T,)``."""
        own = torch.arange(self.trees.left.shape[1])
        splits = (self.trees.left[:, 0] != self.trees.right[:, 0]).numpy()
        reached = np.concatenate([self.trees.leaves(torch.tensor(x[i : i + _RANKED_ROWS])).numpy() for i in range(0, len(x), _RANKED_ROWS)])
        said, leaf = self.trees.value.detach().numpy()[splits, :, 0], (self.trees.left == own).numpy()[splits]
        used = np.stack([np.isin(own.numpy(), reached[:, tree]) for tree in np.flatnonzero(splits)]) & leaf
        rank = np.argsort(np.argsort(np.where(used, said, np.inf), axis=1, kind="stable"), axis=1, kind="stable")
        return np.take_along_axis(rank.T, reached[:, splits], axis=0).astype(np.int64), used.sum(axis=1).astype(np.int64)

    def fill(self, nodes: Nodes, baseline: Floats) -> None:
        """Put trees in, in place."""
        with torch.no_grad():
            for name in (*PARTS, "cover"):
                getattr(self.trees, name).copy_(torch.tensor(getattr(nodes, f"{name}_gm")))
            self.trees.sets.copy_(torch.tensor(nodes.sets_gmw))
            self.trees.value.copy_(torch.tensor(nodes.value_gmv))
            self.head.baseline.copy_(torch.tensor(baseline))

    def take_over(self, grown: Ensemble) -> None:
        """Put in trees that a library grew; raises as :meth:`Ensemble.nodes`."""
        self.fill(grown.nodes(self.shape, self.spec.words), grown.baseline)

    def read_own(self, path: Path, *, what: str, scale: tuple[float, float] | None = None) -> bool:
        """Take over a model file in its library's own format; others are left to the caller. Raises as :func:`read_trees`."""
        grown = read_trees(self.spec, path, what=what, shape=self.shape, columns=self.head.columns, n_inputs=self.trees.n_inputs)
        if grown is None:
            return False
        check_task(grown, self.is_number, what, str(path))
        grown = grown.scaled(*scale) if scale is not None and grown.is_number else grown
        self.take_over(grown)
        if self.strays(grown, self._rows_about_splits()):
            what += f" gives other outputs here than in {self.spec.package}: this version of its format is not supported"
            raise InputError(what, where=str(path), mend="save it with another version of the library")
        return True

    def strays(self, grown: Ensemble, x: Singles) -> bool:
        """Whether the outputs for rows ``(n, p)`` are others than the library's own."""
        if grown.predict is None:
            return False
        expected = grown.predict(x)
        with inference(self):
            found = probabilities(self(torch.tensor(x)), "number" if self.is_number else "classes")
        expected = expected[:, 1:] if expected.shape[1] == 2 else expected
        # Numbers have no bound: what single precision leaves of them grows with them.
        size = np.maximum(1.0, np.abs(expected)) * (_OF_NUMBER if self.is_number else 1.0)
        return bool((np.abs(found - expected) / size).max() > _EQUAL)

    def _rows_about_splits(self) -> Singles:
        """Rows whose values lie on either side of splits of their columns."""
        rng, own = np.random.default_rng(0), torch.arange(self.trees.left.shape[1])
        feature, threshold = (part[self.trees.left != own].numpy() for part in (self.trees.feature, self.trees.threshold))
        rows = rng.normal(size=(_CHECKED_ROWS, self.trees.n_inputs))
        for column in np.unique(feature):
            if column in self.spec.codes:
                rows[:, column] = rng.integers(0, 64 * self.spec.words, _CHECKED_ROWS)
                continue
            split = threshold[feature == column]
            at = rng.choice(split[np.isfinite(split)], _CHECKED_ROWS) if np.isfinite(split).any() else 0
            rows[:, column] = at + rows[:, column] * max(float(np.std(at)), 1e-3) * rng.integers(0, 2, _CHECKED_ROWS)
        return rows.astype(np.float32)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits for a table ``(n, p)``."""
        return cast(Tensor, self.head(self.trees(x)))

    def tail(self, site: str, value: Tensor) -> Tensor:
        """Return the logits from the margins."""
        return cast(Tensor, self.head(value))

    def site_taps(self) -> dict[str, Tap]:
        """Sites in forward order."""
        return dict(self.places.taps)

    def site_aliases(self) -> dict[str, str]:
        """Other names of sites."""
        return dict(self.places.aliases)

    def is_vector(self, site: str) -> bool:
        """Every site is one vector a row."""
        return True

    @property
    def optional(self) -> frozenset[str]:
        """What weights that were kept before trees knew of categories and missing values lack."""
        return frozenset({"trees.missing_left", "trees.by_category", "trees.sets", "trees.cover"})


def make_trees(spec: TreeSpec, *, n_inputs: int, n_classes: int, base: Path) -> TreeEnsemble:
    """An ensemble before training, whose trees say nothing. Of three classes or more each has a tree in every iteration, or a share.

    Trees of a forest vote on every class but the first, whose share is what is left.
    """
    return TreeEnsemble(spec, n_inputs=n_inputs, n_classes=n_classes)
