"""Association of columns with an attribute: what one column, or a pair, tells of it on rows that the reader did not see.

The reader of a column is the out-of-fold mean of the attribute in each of the column's cells, drawn towards what is known without
the column by a strength that is chosen within the training part (target encoding; Micci-Barreca 2001). It is non-linear in
numbers, copes with many levels, and gives exactly nothing where a column tells nothing. The association of a column is
its class-balanced V-information as a fraction of ``log2 K`` (Xu et al. 2020), as ``linear`` measures leaks; R squared for a continuous
attribute. A pair's gain is what its cells add to the better of its two columns.

Everything is computed from counts of (fold, cell, class), so that a permutation costs one pass over the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.probes.crossfit import FEWEST_ROWS, TooFewRowsError
from proxyaudit.stats.nulls import permutation_p, tail_probability

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STRENGTHS = np.array([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 1e12])
"""Rows that the prior counts for; the last says that the column is of no use."""

_Estimate = Callable[[Floats, Floats | None, Floats], Floats]
"""Predictions ``(S, cells, m)`` from sums over training rows, what is known without the column, and strengths ``(S, 1, 1)``."""
_Loss = Callable[[Floats, Floats], Floats]
"""Loss ``(S,)`` of predictions on the sums of held-out rows."""


@dataclass(frozen=True)
class Target:
    """An attribute on the rows of a table.

    Attributes:
        labels_n: Class of each row, or its value for a continuous attribute; every row is known.
        classes: Number of classes; 0 if continuous.
        folds_n: Fold of each row; rows that belong together share one.
        clusters_n: Cluster of each row.
    """

    labels_n: NDArray[np.generic]
    classes: int
    folds_n: Ints
    clusters_n: Ints


@dataclass(frozen=True)
class Association:
    """What a reader of some columns finds.

    Attributes:
        value: Share of the attribute; of a pair's gain, the share beyond its better column.
        influence_n: Influence of each row on ``value``, shape ``(n,)``.
        p: Tail probability under permutations of the attribute (of a gain: within the better column's cells); 1 where none were asked for.
        null_high: 95th percentile of the null; ``None`` where none was asked for.
    """

    value: float
    influence_n: Floats
    p: float = 1.0
    null_high: float | None = None


def associate(codes_n: Ints, target: Target, rng: np.random.Generator | None = None, permutations: int = 199) -> Association:
    """Associate one column with the attribute.

    Args:
        codes_n: Cell of each row.
        target: The attribute.
        rng: Source of the permutations; none without it.
        permutations: Size of the null.

    Raises:
        TooFewRowsError: a class is too small to be cross-fitted.
    """
    reader = _Reader(codes_n, target)
    value, influence = reader.score(target.labels_n)
    if rng is None:
        return Association(value, influence)
    null = np.array([reader.score(_permuted(target, rng), rows=False)[0] for _ in range(permutations)])
    return Association(value, influence, _tail(value, null), float(np.quantile(null, 0.95)))


def pair_gain(
    codes_n: Ints, better_of_cell: Ints, target: Target, rng: np.random.Generator | None = None, permutations: int = 99
) -> tuple[Association, Association]:
    """Associate a pair of columns, and its gain over the better of the two, with the attribute.

    Args:
        codes_n: Cell of the pair for each row (see :func:`~proxyaudit.causal.columns.pair_codes`).
        better_of_cell: The better column's cell, for each cell of the pair.
        target: The attribute.
        rng: Source of the permutations within the better column's cells; none without it.
        permutations: Size of the null of the gain.

    Returns:
        The pair's association, and the gain; both are held against the same null.

    Raises:
        TooFewRowsError: a class is too small to be cross-fitted.
    """
    single, pair = _Reader(better_of_cell[codes_n], target), _Reader(codes_n, target, better_of_cell)
    alone, alone_influence = single.score(target.labels_n)
    value, influence = pair.score(target.labels_n)
    gain = value - alone
    if rng is None:
        return Association(value, influence), Association(gain, influence - alone_influence)
    null = np.empty(permutations)
    within = better_of_cell[codes_n]
    for index in range(permutations):
        order = np.lexsort((rng.random(len(within)), within))
        labels = target.labels_n.copy()
        labels[np.argsort(within, kind="stable")] = target.labels_n[order]
        null[index] = pair.score(labels, rows=False)[0] - alone
    p, high = _tail(gain, null), float(np.quantile(null, 0.95))
    return Association(value, influence, p, high + alone), Association(gain, influence - alone_influence, p, high)


def pair_trace(codes_n: Ints, better_of_cell: Ints, labels_n: NDArray[np.generic], classes: int, fewest: int = 5) -> float:
    """A cheap score of how far a pair's cells differ within the better column's cells; for screening only.

    Pearson's X squared against what the better column expects, less its degrees of freedom, in standard deviations.
    """
    counts = np.bincount(codes_n).astype(np.float64)
    columns = (labels_n[:, None] == np.arange(classes)).astype(np.float64) if classes else _standardised(labels_n)[:, None]
    sums = np.stack([np.bincount(codes_n, weights=column) for column in columns.T], axis=1)
    size = int(better_of_cell.max()) + 1
    total = np.bincount(better_of_cell, weights=counts, minlength=size)
    means = np.stack([np.bincount(better_of_cell, weights=s, minlength=size) for s in sums.T], axis=1) / np.maximum(total, 1)[:, None]
    expected = means[better_of_cell]
    spread = np.maximum(expected if classes else np.ones_like(expected), 1e-9)
    used = counts >= fewest
    squared = ((sums - counts[:, None] * expected) ** 2 / (counts[:, None] * spread))[used].sum()
    free = max(float(used.sum() - len(np.unique(better_of_cell[used]))) * max(classes - 1, 1), 1.0)
    return float((squared - free) / np.sqrt(2 * free))


def _standardised(values_n: NDArray[np.generic]) -> Floats:
    values = values_n.astype(np.float64)
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-300))


def _tail(value: float, null: Floats) -> float:
    """Counted; where nothing under the null scores as high, by the null's moments, which counting cannot follow."""
    counted = permutation_p(value, null)
    return min(counted, tail_probability(value, null)) if value > null.max() and null.std() > 0 else counted


def _permuted(target: Target, rng: np.random.Generator) -> NDArray[np.generic]:
    """Labels permuted over rows; over whole clusters where rows belong together (a cluster takes on another one's pattern)."""
    ids = np.unique(target.clusters_n, return_inverse=True)[1]
    clusters = int(ids.max()) + 1
    if clusters == len(ids):
        return rng.permutation(target.labels_n)
    order = np.argsort(ids, kind="stable")
    sizes = np.bincount(ids)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    within = np.arange(len(ids)) - np.repeat(starts, sizes)
    donor = np.repeat(rng.permutation(clusters), sizes)
    labels = np.empty_like(target.labels_n)
    labels[order] = target.labels_n[order][starts[donor] + within % sizes[donor]]
    return labels


class _Reader:
    """Cross-fitted means of the attribute in each cell."""

    def __init__(self, codes_n: Ints, target: Target, better_of_cell: Ints | None = None) -> None:
        if len(codes_n) < 4 * FEWEST_ROWS:
            raise TooFewRowsError("too few rows hold the attribute")
        self.target, self.better = target, better_of_cell
        self.folds = int(target.folds_n.max()) + 1
        self.cells = int(codes_n.max()) + 1
        self.place = target.folds_n * self.cells + codes_n
        self.codes = codes_n
        if target.classes:
            counts = self._counts(target.labels_n).sum(axis=1)  # folds x classes
            if (counts.sum(axis=0) - counts).min() < FEWEST_ROWS:
                raise TooFewRowsError(f"a class has fewer than {FEWEST_ROWS} rows in a training part")
        elif np.ptp(target.labels_n.astype(np.float64)) == 0:
            raise TooFewRowsError("the attribute takes one value only")

    def score(self, labels_n: NDArray[np.generic], *, rows: bool = True) -> tuple[float, Floats]:
        """Value and row influences (empty unless asked for) of the reader of these labels."""
        return self._score_classes(labels_n, rows) if self.target.classes else self._score_values(labels_n, rows)

    def _counts(self, labels_n: NDArray[np.generic]) -> Floats:
        """Rows of each fold, cell and class."""
        k = self.target.classes
        index = self.place * k + labels_n.astype(np.int64)
        return np.bincount(index, minlength=self.folds * self.cells * k).reshape(self.folds, self.cells, k).astype(np.float64)

    def _score_classes(self, labels_n: NDArray[np.generic], rows: bool) -> tuple[float, Floats]:
        k, counts = self.target.classes, self._counts(labels_n)
        # A permutation over clusters of unequal size may empty a class; the others still count.
        weight = 1 / (k * np.maximum(counts.sum(axis=(0, 1)), 1))

        def estimate(train_ck: Floats, before_ck: Floats | None, strengths_s: Floats) -> Floats:
            """Class probabilities of each cell when all classes weigh the same."""
            mass = train_ck * (train_ck.sum() / (k * np.maximum(train_ck.sum(axis=0), 1)))
            prior: Floats | float = 1 / k if before_ck is None else before_ck
            # The floor keeps a class that a cell lacks from certainty.
            drawn = (mass + strengths_s * prior) / (mass.sum(axis=1, keepdims=True) + strengths_s)
            return np.asarray(np.maximum(drawn, 1e-12))

        def loss(held_ck: Floats, found_sck: Floats) -> Floats:
            return np.asarray(-(held_ck * weight * np.log2(found_sck)).sum(axis=(1, 2)))

        log_p = np.log2(np.stack([self._fit(counts, outer, estimate, loss) for outer in range(self.folds)]))
        value = 1 + float((counts * log_p * weight).sum()) / np.log2(k)
        if not rows:
            return value, np.zeros(0)
        labels = labels_n.astype(np.int64)
        surprisal = -log_p[self.target.folds_n, self.codes, labels]
        means = np.bincount(labels, weights=surprisal, minlength=k) / np.maximum(np.bincount(labels, minlength=k), 1)
        return value, np.asarray(-(surprisal - means[labels]) * weight[labels] / np.log2(k))

    def _score_values(self, labels_n: NDArray[np.generic], rows: bool) -> tuple[float, Floats]:
        values = labels_n.astype(np.float64)
        size = self.folds * self.cells
        columns = [np.bincount(self.place, weights=w, minlength=size).reshape(self.folds, self.cells) for w in (None, values)]
        sums = np.stack(columns, axis=2).astype(np.float64)

        def estimate(train_c2: Floats, before_c1: Floats | None, strengths_s: Floats) -> Floats:
            """Mean of each cell."""
            prior = train_c2[:, 1].sum() / max(train_c2[:, 0].sum(), 1) if before_c1 is None else before_c1
            return np.asarray((train_c2[:, 1:] + strengths_s * prior) / (train_c2[:, :1] + strengths_s))

        def loss(held_c2: Floats, found_sc1: Floats) -> Floats:
            """Squared error but for a constant."""
            return np.asarray((found_sc1[..., 0] ** 2 * held_c2[:, 0] - 2 * found_sc1[..., 0] * held_c2[:, 1]).sum(axis=1))

        predicted = np.stack([self._fit(sums, outer, estimate, loss)[:, 0] for outer in range(self.folds)])
        error = (values - predicted[self.target.folds_n, self.codes]) ** 2
        spread = (values - values.mean()) ** 2
        ratio = float(error.sum() / spread.sum())
        return 1 - ratio, np.asarray(-(error - ratio * spread) / spread.sum()) if rows else np.zeros(0)

    def _fit(self, tables_fcm: Floats, outer: int, estimate: _Estimate, loss: _Loss) -> Floats:
        """Predictions ``(cells, m)`` for the outer fold; the strength of each level is chosen on its two neighbours."""
        levels = [tables_fcm]
        if self.better is not None:
            merged = np.zeros((self.folds, int(self.better.max()) + 1, tables_fcm.shape[2]))
            np.add.at(merged.swapaxes(0, 1), self.better, tables_fcm.swapaxes(0, 1))
            levels.insert(0, merged)
        totals = [table.sum(axis=0) for table in levels]
        chosen: list[Floats] = []

        def fitted(without: tuple[int, ...], depth: int, strengths_s: Floats) -> Floats:
            train = totals[depth] - levels[depth][list(without)].sum(axis=0)
            before = None if depth == 0 or self.better is None else fitted(without, 0, chosen[0])[0][self.better]
            return estimate(train, before, strengths_s[:, None, None])

        for depth, table in enumerate(levels):
            inner = [((outer + step) % self.folds) for step in (1, -1)]
            losses = [loss(table[fold], fitted((outer, fold), depth, _STRENGTHS)) for fold in inner]
            best = int((losses[0] + losses[1]).argmin())
            chosen.append(_STRENGTHS[best : best + 1])
        return np.asarray(fitted((outer,), len(levels) - 1, chosen[-1])[0])
