"""Ensembles of trees as torch modules of plain arrays: an exact predictor whose margins can be read, swapped and mapped like any site.

Every tree is a row of node arrays; a row of the table walks from node 0 until it stays where it is. What the trees say of a row, side by
side, is the site ``margins``: of boosted trees one coordinate for each iteration (and class), whose sum plus the baseline is the logit; of
a forest one for each tree (and class but the first), whose sum is the probability. No library is asked and nothing is unpickled, so a
checkpoint of trees is a safetensors file like any other.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from proxyaudit.arrays import Floats
from proxyaudit.models.base import TabularModule, Tap, columns_of
from proxyaudit.models.kinds.gradient_boosting import GradientBoostingSpec
from proxyaudit.models.kinds.random_forest import RandomForestSpec
from proxyaudit.models.tree_nodes import Nodes, TreeSpec, random_nodes
from proxyaudit.types import PENULTIMATE

MARGINS, FIRST_HALF = "margins", "margins.first_half"
_LEAST = 1e-7  # of a probability of a forest, whose log-odds would else be infinite


class Trees(nn.Module):
    """From a table ``(n, p)`` to what the trees say ``(n, g * v)``: outputs of one tree stand side by side."""

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor

    def __init__(self, nodes: Nodes, n_inputs: int) -> None:
        super().__init__()
        self.n_inputs = n_inputs
        for name in ("feature", "threshold", "left", "right"):
            self.register_buffer(name, torch.tensor(getattr(nodes, f"{name}_gm")))
        self.value = nn.Parameter(torch.tensor(nodes.value_gmv))

    def forward(self, x: Tensor) -> Tensor:
        """Return the margins of rows, in single precision."""
        reached = self.leaves(x) + torch.arange(len(self.left)) * self.left.shape[1]
        return self.value.flatten(0, 1)[reached].flatten(1)

    def leaves(self, x: Tensor) -> Tensor:
        """Return the node ``(n, g)`` at which each row ends in each tree."""
        trees, nodes = self.left.shape
        first = torch.arange(trees) * nodes
        feature, threshold, left, right = (part.flatten() for part in (self.feature, self.threshold, self.left, self.right))
        exact, at = x.detach().to(torch.float64), torch.zeros(len(x), trees, dtype=torch.int64)
        while True:
            place = at + first
            goes_left = exact.gather(1, feature[place]) <= threshold[place]
            after = torch.where(goes_left, left[place], right[place])
            if torch.equal(after, at):
                return at
            at = after

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

    def forward(self, margins: Tensor) -> Tensor:
        """Return logits ``(n, 1)`` or ``(n, K)``, in double precision."""
        total: Tensor = margins.to(torch.float64).reshape(len(margins), -1, self.columns).sum(dim=1) + self.baseline
        if not self.votes:
            return total
        logs = torch.cat([1 - total.sum(dim=1, keepdim=True), total], dim=1).clamp_min(_LEAST).log()
        return logs[:, 1:] - logs[:, :1] if self.columns == 1 else logs


class TreeEnsemble(TabularModule):
    """Trees and the sum of what they say."""

    no_block = "trees are not trained further in this version: new ones would have to be grown on the attribute, beside those there are"

    def __init__(self, trees: int, leaves: int, outputs: int, head: MarginSum, *, n_inputs: int) -> None:
        super().__init__()
        self.trees = Trees(Nodes.empty(trees, 2 * leaves - 1, outputs), n_inputs)
        self.head = head
        width = trees * outputs
        self.first_units = max(width // head.columns // 2, 1) * head.columns

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of trees, of nodes of each, and of outputs."""
        trees, nodes, outputs = self.trees.value.shape
        return trees, nodes, outputs

    def fill(self, nodes: Nodes, baseline: Floats) -> None:
        """Put trees in, in place."""
        with torch.no_grad():
            for name in ("feature", "threshold", "left", "right"):
                getattr(self.trees, name).copy_(torch.tensor(getattr(nodes, f"{name}_gm")))
            self.trees.value.copy_(torch.tensor(nodes.value_gmv))
            self.head.baseline.copy_(torch.tensor(baseline))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits for a table ``(n, p)``."""
        return cast(Tensor, self.head(self.trees(x)))

    def tail(self, site: str, value: Tensor) -> Tensor:
        """Return the logits from the margins."""
        return cast(Tensor, self.head(value))

    def site_taps(self) -> dict[str, Tap]:
        """The margins of the first half of the iterations or trees, and all of them."""
        return {FIRST_HALF: Tap("head", "input", span=(0, self.first_units)), MARGINS: Tap("head", "input", "method")}

    def site_aliases(self) -> dict[str, str]:
        """The margins are what the output is made of."""
        return {PENULTIMATE: MARGINS}

    def is_vector(self, site: str) -> bool:
        """Every site is one vector a row."""
        return True


def make_boosting(spec: GradientBoostingSpec, *, n_inputs: int, n_classes: int, base: Path) -> TreeEnsemble:
    """Boosted trees before training: each class of three or more has a tree in every iteration."""
    columns = columns_of(n_classes)
    return _started(TreeEnsemble(spec.max_iter * columns, spec.max_leaf_nodes, 1, MarginSum(columns, votes=False), n_inputs=n_inputs), spec)


def make_forest(spec: RandomForestSpec, *, n_inputs: int, n_classes: int, base: Path) -> TreeEnsemble:
    """A forest before training: its trees vote on every class but the first, whose share is what is left."""
    head = MarginSum(n_classes - 1, votes=True)
    return _started(TreeEnsemble(spec.n_estimators, spec.max_leaf_nodes, n_classes - 1, head, n_inputs=n_inputs), spec)


def _started(module: TreeEnsemble, spec: TreeSpec) -> TreeEnsemble:
    """Completely random trees for a table of standard normal columns, by torch's global generator."""
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    table = rng.normal(size=(4 * spec.max_leaf_nodes, module.trees.n_inputs)).astype(np.float32)
    nodes = random_nodes(module.shape, table, spec, rng)
    module.fill(nodes, np.zeros(module.head.columns))
    return module
