"""Relearning of trees: more trees are boosted on an attribute, and all that they may ask is which leaf a row reaches in those there are.

What is there stays as it is, as the weights before a block do where networks relearn. A new tree has two levels. A split asks whether the
margin of one frozen tree is at most a number, or whether a row lies in one of its leaves, so that leaves that say the same are told apart.
Steps are Newton's (Friedman 2001; Chen & Guestrin 2016). Rows, problems, and what chooses when to stop and the scale are those of
:mod:`proxyaudit.causal.relearning`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import expit, softmax

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.causal.relearning import Codes, Problem, Relearnt, Rotation, calibrate, score_outputs, stack_labels, stack_targets

LOOKS = (4, 8, 16, 24)  # numbers of new trees (of each class) after which it is looked
_STEP, _RIDGE = 0.3, 1.0
_FEWEST = 5.0  # rows of a leaf, in rows of mean weight
_MOST_FLOATS = 2**24  # of the rows times frozen trees that are held at once
_GAIN = 1e-9


@dataclass(frozen=True)
class _Trees:
    """One new tree of each of ``P`` problems: its root, then the left and the right child."""

    tree_p3: Ints  # frozen tree that is asked
    cut_p3: Ints  # leaf, counted through all frozen trees by rising margin
    alone_p3: Bools  # whether that leaf alone goes left, or all up to it
    value_p4: Floats

    def of(self, some: Ints) -> "_Trees":
        """Those of some problems."""
        return _Trees(self.tree_p3[some], self.cut_p3[some], self.alone_p3[some], self.value_p4[some])

    def say(self, leaves: Ints) -> Floats:
        """What they say ``(P, m)`` of rows that reach leaves ``(P, m, T)``, or ``(m, T)`` for all problems."""
        first, low, high = (_goes_left(leaves, self.tree_p3[:, i], self.cut_p3[:, i], self.alone_p3[:, i]) for i in range(3))
        place = np.where(first, np.where(low, 0, 1), np.where(high, 2, 3))
        return np.take_along_axis(self.value_p4, place, axis=1)


def _goes_left(leaves: Ints, tree_p: Ints, cut_p: Ints, alone_p: Bools) -> Bools:
    """Whether rows ``(m, T)``, or rows of each problem ``(P, m, T)``, go left at one split of each problem: shape ``(P, m)``."""
    own = leaves[:, tree_p].T if leaves.ndim == 2 else np.take_along_axis(leaves, tree_p[:, None, None], axis=2)[..., 0]
    return np.where(alone_p[:, None], own == cut_p[:, None], own <= cut_p[:, None])


class Grower:
    """Frozen trees that more trees are grown on, for many problems."""

    def __init__(self, ranks_nt: Ints, leaves_t: Ints) -> None:
        """Keep which leaf each row reaches: ``ranks_nt`` counts those of each tree, of which there are ``leaves_t``, by their margin."""
        self.size, self.starts = int(leaves_t.sum()), np.cumsum(leaves_t) - leaves_t
        self.leaves_nt = ranks_nt + self.starts
        self.tree_of = np.repeat(np.arange(len(leaves_t)), leaves_t)

    def cost(self, m: int) -> float:
        """Predicted operations of one problem on m rows."""
        return 40.0 * LOOKS[-1] * (4 * m * len(self.starts) + 20 * self.size)

    def solve(self, problems: Sequence[Problem], rotations: Sequence[Rotation], classes: int) -> list[Relearnt]:
        """Grow trees for every problem, all of equally many rows, and measure them; ``classes`` is 0 for a continuous attribute."""
        size = max(1, _MOST_FLOATS // (len(problems[0].rows) * len(self.starts) + 4 * self.size))
        found: list[Relearnt] = []
        for start in range(0, len(problems), size):
            found += self._solve(problems[start : start + size], rotations, classes)
        return found

    def _solve(self, problems: Sequence[Problem], rotations: Sequence[Rotation], classes: int) -> list[Relearnt]:
        rows = np.stack([problem.rows for problem in problems])
        target, weights = (part.numpy().astype(np.float64) for part in stack_targets([p.labels_n for p in problems], list(rows), classes))
        columns = 1 if classes in (0, 2) else classes
        target = target[..., 1:] if classes == 2 else target
        leaves, weights = self.leaves_nt[rows], weights * rows.shape[1]
        said, seen = (
            np.zeros((len(problems), rows.shape[1], columns)),
            [_Seen(self, problems, index, r, classes, columns) for index, r in enumerate(rotations)],
        )
        for step in range(1, LOOKS[-1] + 1):
            slope, bend = _derivatives(said, target, weights, classes)
            for column in range(columns):
                trees = self._grow(leaves, slope[..., column], bend[..., column])
                said[..., column] += trees.say(leaves)
                for one in seen:
                    one.add(trees, column)
            if step in LOOKS:
                for one in seen:
                    one.look()
        found = dict(pair for one in seen for pair in one.measure())
        return [found[index] for index in range(len(problems))]

    def _grow(self, leaves: Ints, slope_pm: Floats, bend_pm: Floats) -> _Trees:
        count, least = len(leaves), _FEWEST * float(bend_pm.mean())
        tree, cut, alone, _ = self._split(leaves, np.zeros(slope_pm.shape, dtype=np.int64), 1, slope_pm, bend_pm, least)
        first = _goes_left(leaves, tree, cut, alone)
        trees, cuts, alones, values = self._split(leaves, np.where(first, 0, 1), 2, slope_pm, bend_pm, least)
        return _Trees(
            np.column_stack([tree, trees.reshape(count, 2)]),
            np.column_stack([cut, cuts.reshape(count, 2)]),
            np.column_stack([alone, alones.reshape(count, 2)]),
            values.reshape(count, 4),
        )

    def _split(
        self, leaves: Ints, node_pm: Ints, nodes: int, slope_pm: Floats, bend_pm: Floats, least: float
    ) -> tuple[Ints, Ints, Bools, Floats]:
        """The best split of each node of each problem: frozen tree, leaf, whether that leaf alone, and what both sides would say."""
        count = len(leaves) * nodes
        place = ((np.arange(len(leaves))[:, None] * nodes + node_pm)[..., None] * self.size + leaves).ravel()
        sums = [
            np.bincount(place, np.broadcast_to(part[..., None], leaves.shape).ravel(), count * self.size).reshape(count, self.size)
            for part in (slope_pm, bend_pm)
        ]
        upto = []
        for part in sums:
            total = np.cumsum(part, axis=1)
            upto.append(total - (total[:, self.starts] - part[:, self.starts])[:, self.tree_of])
        slope, bend = (np.concatenate(pair, axis=1) for pair in zip(upto, sums, strict=True))
        last = int(np.flatnonzero(self.tree_of == 0)[-1])
        whole, bends = upto[0][:, last, None], upto[1][:, last, None]
        gain = slope**2 / (bend + _RIDGE) + (whole - slope) ** 2 / (bends - bend + _RIDGE)
        gain[(bend < least) | (bends - bend < least)] = -np.inf
        best = gain.argmax(axis=1)
        at = np.arange(count), best
        splits = gain[at] > (whole**2 / (bends + _RIDGE))[:, 0] + _GAIN
        left, left_bend = (np.where(splits, part[at], all_of[:, 0]) for part, all_of in ((slope, whole), (bend, bends)))
        right, right_bend = (np.where(splits, all_of[:, 0] - part[at], all_of[:, 0]) for part, all_of in ((slope, whole), (bend, bends)))
        values = _STEP * np.stack([left / (left_bend + _RIDGE), right / (right_bend + _RIDGE)], axis=1)
        # Of a node that is not split all rows go left, and both sides would say the same.
        return self.tree_of[best % self.size], np.where(splits, best % self.size, self.size), splits & (best >= self.size), values


def _derivatives(said: Floats, target: Floats, weights: Floats, classes: int) -> tuple[Floats, Floats]:
    """Slope and curvature of the log-likelihood of each row, or of the halved squared error."""
    if classes == 0:
        return weights[..., None] * (target - said), np.broadcast_to(weights[..., None], said.shape)
    shares = expit(said) if classes == 2 else softmax(said, axis=2)
    return weights[..., None] * (target - shares), weights[..., None] * np.maximum(shares * (1 - shares), 1e-3)


class _Seen:
    """What the problems of one rotation say of the rows that choose and of those that are measured, and what was best so far."""

    def __init__(self, grower: Grower, problems: Sequence[Problem], index: int, rotation: Rotation, classes: int, columns: int) -> None:
        self.of = np.array([place for place, problem in enumerate(problems) if problem.rotation == index], dtype=np.int64)
        self.labels: list[Codes] = [problems[place].labels_n for place in self.of]
        self.rotation, self.classes = rotation, classes
        self.rows = np.concatenate([rotation.choose, rotation.score])
        self.leaves, self.said = grower.leaves_nt[self.rows], np.zeros((len(self.of), len(self.rows), columns))
        self.chosen = stack_labels([column[rotation.choose] for column in self.labels], classes)
        self.best: tuple[torch.Tensor, Floats] | None = None

    def add(self, trees: _Trees, column: int) -> None:
        """Add new trees of all problems."""
        if len(self.of):
            self.said[..., column] += trees.of(self.of).say(self.leaves)

    def look(self) -> None:
        """Keep, for each problem, what does best on the rows that choose, scaled and centred as they say."""
        if not len(self.of):
            return
        said = np.concatenate([np.zeros_like(self.said), self.said], axis=2) if self.classes == 2 else self.said
        losses, scales, centres = calibrate(
            torch.as_tensor(said[:, : len(self.rotation.choose)], dtype=torch.float32), *self.chosen, self.classes
        )
        scaled = scales.double().numpy()[:, None, None] * (said[:, len(self.rotation.choose) :] - centres.double().numpy()[:, None])
        if self.best is None:
            self.best = losses, scaled
            return
        better = losses < self.best[0] - 1e-6
        self.best[0][better] = losses[better]
        self.best[1][better.numpy()] = scaled[better.numpy()]

    def measure(self) -> list[tuple[int, Relearnt]]:
        """Each problem's number, and what it came to."""
        found = []
        for place, labels in enumerate(self.labels):
            assert self.best is not None
            leak, influence = score_outputs(self.best[1][place], labels[self.rotation.score], self.classes)
            found.append((int(self.of[place]), Relearnt(leak, influence, self.rotation.score)))
        return found
