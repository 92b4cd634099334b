"""Association of columns with an attribute: what one column, or a pair, tells of it on rows that the reader did not see.

The reader is the out-of-fold mean of the attribute in each cell, drawn towards what is known without the column by a strength chosen
within the training part (target encoding; Micci-Barreca 2001). The association is class-balanced V-information as a fraction of ``log2
K`` (Xu et al. 2020); R squared for a continuous attribute. A pair's gain is what its cells add to the better of its two columns.
Everything is computed from counts of (fold, cell, class), so that a permutation costs one pass over the rows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.probes.folds import FEWEST_ROWS, TooFewRowsError, balanced_mean, share_of
from proxyaudit.stats.p_values import permutation_p, tail_probability

_STRENGTHS = np.array([1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 1e12])
"""Rows that the prior counts for; the last says that the column is of no use."""

_Estimate = Callable[[Floats, Floats | None, Floats], Floats]
"""Predictions ``(S, P, cells, m)`` from sums over training rows, what is known without the column, and strengths ``(S, P or 1, 1, 1)``."""
_Loss = Callable[[Floats, Floats], Floats]
"""Loss ``(S, P)`` of predictions on the sums of held-out rows."""

_MOST_FLOATS = 2**20  # of one array of predictions, for as many permutations as advance together


@dataclass(frozen=True)
class Target:
    """An attribute on the rows of a table."""

    labels_n: NDArray[np.generic]  # class of each row, or its value for a continuous attribute; every row is known
    classes: int  # number of classes; 0 if continuous
    folds_n: Ints  # fold of each row; rows that belong together share one
    clusters_n: Ints  # cluster of each row


@dataclass(frozen=True)
class Association:
    """What a reader of some columns finds; ``p`` is the tail under permutations, of a gain within the better column's cells."""

    value: float  # share of the attribute; of a pair's gain, the share beyond its better column
    influence_n: Floats  # influence of each row on ``value``, shape ``(n,)``
    p: float = 1.0
    null_high: float | None = None  # 95th percentile of the null; ``None`` where none was asked for


def associate(codes_n: Ints, target: Target, rng: np.random.Generator | None = None, permutations: int = 199) -> Association:
    """Associate a column with the attribute; no ``rng``, no null. Raises ``TooFewRowsError``: a class is too small to be cross-fitted."""
    reader = _Reader(codes_n, target)
    value, influence = reader.score(target.labels_n)
    if rng is None:
        return Association(value, influence)
    draw = _permuter(target)
    null = reader.values(lambda: draw(rng), permutations)
    return Association(value, influence, _tail(value, null), float(np.quantile(null, 0.95)))


def pair_gain(
    codes_n: Ints, better_of_cell: Ints, target: Target, rng: np.random.Generator | None = None, permutations: int = 99
) -> tuple[Association, Association]:
    """Associate a pair of columns, and its gain over the better of the two, with the attribute.

    ``better_of_cell`` is the better column's cell for each cell of the pair (see :func:`pair_codes`). The null permutes within these cells
    and serves both; without ``rng`` there is none. Raises ``TooFewRowsError``: a class is too small to be cross-fitted.
    """
    single, pair = _Reader(better_of_cell[codes_n], target), _Reader(codes_n, target, better_of_cell)
    alone, alone_influence = single.score(target.labels_n)
    value, influence = pair.score(target.labels_n)
    gain = value - alone
    if rng is None:
        return Association(value, influence), Association(gain, influence - alone_influence)
    within = better_of_cell[codes_n]
    places = np.argsort(within, kind="stable")

    def permuted() -> NDArray[np.generic]:
        labels = target.labels_n.copy()
        labels[places] = target.labels_n[np.lexsort((rng.random(len(within)), within))]
        return labels

    null = pair.values(permuted, permutations) - alone
    p, high = _tail(gain, null), float(np.quantile(null, 0.95))
    return Association(value, influence, p, high + alone), Association(gain, influence - alone_influence, p, high)


def pair_trace(codes_n: Ints, better_of_cell: Ints, labels_n: NDArray[np.generic], classes: int, fewest: int = 5) -> float:
    """A cheap score of a pair: Pearson's X squared within the better column's cells, less its degrees of freedom, in its own spread."""
    counts, values = np.bincount(codes_n).astype(np.float64), labels_n.astype(np.float64)
    standard = (values - values.mean()) / max(float(values.std()), 1e-300)
    columns = (labels_n[:, None] == np.arange(classes)).astype(np.float64) if classes else standard[:, None]
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


def _tail(value: float, null: Floats) -> float:
    """Counted; where nothing under the null scores as high, by the null's moments, which counting cannot follow."""
    counted = permutation_p(value, null)
    return min(counted, tail_probability(value, null)) if value > null.max() and null.std() > 0 else counted


def _permuter(target: Target) -> Callable[[np.random.Generator], NDArray[np.generic]]:
    """Permutes labels over rows; over whole clusters where rows belong together (a cluster takes on another one's pattern)."""
    ids = np.unique(target.clusters_n, return_inverse=True)[1]
    clusters = int(ids.max()) + 1
    if clusters == len(ids):
        return lambda rng: rng.permutation(target.labels_n)
    order = np.argsort(ids, kind="stable")
    sizes = np.bincount(ids)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    within = np.arange(len(ids)) - np.repeat(starts, sizes)

    def permute(rng: np.random.Generator) -> NDArray[np.generic]:
        donor = np.repeat(rng.permutation(clusters), sizes)
        labels = np.empty_like(target.labels_n)
        labels[order] = target.labels_n[order][starts[donor] + within % sizes[donor]]
        return labels

    return permute


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

    def score(self, labels_n: NDArray[np.generic]) -> tuple[float, Floats]:
        """Value and row influences of the reader of these labels."""
        return self._score_classes(labels_n) if self.target.classes else self._score_values(labels_n)

    def values(self, permuted: Callable[[], NDArray[np.generic]], count: int) -> Floats:
        """Values of the reader of ``count`` drawn columns of labels, shape ``(count,)``; many are read at once."""
        size = max(1, _MOST_FLOATS // (len(_STRENGTHS) * self.cells * max(self.target.classes, 1)))
        found = []
        for start in range(0, count, size):
            columns = [permuted() for _ in range(min(size, count - start))]
            if self.target.classes:
                found.append(self._read_classes(np.stack([self._counts(column) for column in columns]))[0])
            else:
                found.append(self._read_values(np.stack(columns).astype(np.float64))[0])
        return np.concatenate([np.zeros(0), *found])

    def _counts(self, labels_n: NDArray[np.generic]) -> Floats:
        """Rows of each fold, cell and class."""
        k = self.target.classes
        index = self.place * k + labels_n.astype(np.int64)
        return np.bincount(index, minlength=self.folds * self.cells * k).reshape(self.folds, self.cells, k).astype(np.float64)

    def _sums(self, values_n: Floats) -> Floats:
        """Number of rows, and sum of the values, of each fold and cell."""
        size = self.folds * self.cells
        columns = [np.bincount(self.place, weights=w, minlength=size) for w in (None, values_n)]
        return np.stack(columns, axis=1).reshape(self.folds, self.cells, 2).astype(np.float64)

    def _score_classes(self, labels_n: NDArray[np.generic]) -> tuple[float, Floats]:
        k = self.target.classes
        value, log_p = (found[0] for found in self._read_classes(self._counts(labels_n)[None]))
        labels = labels_n.astype(np.int64)
        saved = log_p[self.target.folds_n, self.codes, labels] / np.log2(k)
        return float(value), balanced_mean(saved, labels, k)[1]

    def _read_classes(self, counts_pfck: Floats) -> tuple[Floats, Floats]:
        """Values ``(P,)`` and log-probabilities ``(P, folds, cells, k)``."""
        k = self.target.classes
        # A permutation over clusters of unequal size may empty a class; the others still count.
        weight = 1 / (k * np.maximum(counts_pfck.sum(axis=(1, 2)), 1))

        def estimate(train_pck: Floats, before: Floats | None, strengths: Floats) -> Floats:
            """Class probabilities of each cell when all classes weigh the same."""
            total = train_pck.sum(axis=(1, 2), keepdims=True)
            mass = train_pck * (total / (k * np.maximum(train_pck.sum(axis=1, keepdims=True), 1)))
            prior: Floats | float = 1 / k if before is None else before
            # The floor keeps a class that a cell lacks from certainty.
            return np.asarray(np.maximum((mass + strengths * prior) / (mass.sum(axis=2, keepdims=True) + strengths), 1e-12))

        def loss(held_pck: Floats, found_spck: Floats) -> Floats:
            return np.asarray(-np.einsum("pck,spck->sp", held_pck * weight[:, None], np.log2(found_spck)))

        fits = [self._fit(counts_pfck, outer, estimate, loss) for outer in range(self.folds)]
        log_p = np.log2(np.stack(fits, axis=1))
        return 1 + np.einsum("pfck,pfck,pk->p", counts_pfck, log_p, weight) / np.log2(k), log_p

    def _score_values(self, labels_n: NDArray[np.generic]) -> tuple[float, Floats]:
        values = labels_n.astype(np.float64)
        value, predicted = (found[0] for found in self._read_values(values[None]))
        error = (values - predicted[self.target.folds_n, self.codes]) ** 2
        return float(value), -share_of(error, (values - values.mean()) ** 2)[1]

    def _read_values(self, values_pn: Floats) -> tuple[Floats, Floats]:
        """R squared ``(P,)`` and predictions ``(P, folds, cells)`` of columns of values."""
        sums_pfc2 = np.stack([self._sums(values) for values in values_pn])

        def estimate(train_pc2: Floats, before: Floats | None, strengths: Floats) -> Floats:
            """Mean of each cell."""
            rows, sums = train_pc2[..., :1], train_pc2[..., 1:]
            prior = sums.sum(axis=1, keepdims=True) / np.maximum(rows.sum(axis=1, keepdims=True), 1) if before is None else before
            return np.asarray((sums + strengths * prior) / (rows + strengths))

        def loss(held_pc2: Floats, found_spc1: Floats) -> Floats:
            """Squared error but for a constant."""
            found = found_spc1[..., 0]
            return np.asarray((found**2 * held_pc2[..., 0] - 2 * found * held_pc2[..., 1]).sum(axis=2))

        predicted = np.stack([self._fit(sums_pfc2, outer, estimate, loss)[..., 0] for outer in range(self.folds)], axis=1)
        # About the mean of the values: squares of wide numbers would cancel.
        mean, spread = values_pn.mean(axis=1)[:, None, None], values_pn.var(axis=1) * values_pn.shape[1]
        about, rows, sums = predicted - mean, sums_pfc2[..., 0], sums_pfc2[..., 1] - mean * sums_pfc2[..., 0]
        return (2 * about * sums - about**2 * rows).sum(axis=(1, 2)) / spread, predicted

    def _fit(self, tables_pfcm: Floats, outer: int, estimate: _Estimate, loss: _Loss) -> Floats:
        """Predictions ``(P, cells, m)`` for the outer fold; the strength of each level is chosen on its two neighbours."""
        levels = [tables_pfcm]
        if self.better is not None:
            merged = np.zeros((len(tables_pfcm), self.folds, int(self.better.max()) + 1, tables_pfcm.shape[3]))
            np.add.at(merged.transpose(2, 0, 1, 3), self.better, tables_pfcm.transpose(2, 0, 1, 3))
            levels.insert(0, merged)
        totals = [table.sum(axis=1) for table in levels]
        chosen: list[Floats] = []

        def fitted(without: tuple[int, ...], depth: int, strengths: Floats) -> Floats:
            train = totals[depth] - levels[depth][:, list(without)].sum(axis=1)
            before = None if depth == 0 or self.better is None else fitted(without, 0, chosen[0])[0][:, self.better]
            return estimate(train, before, strengths)

        for depth, table in enumerate(levels):
            inner = [((outer + step) % self.folds) for step in (1, -1)]
            losses = [loss(table[:, fold], fitted((outer, fold), depth, _STRENGTHS[:, None, None, None])) for fold in inner]
            chosen.append(_STRENGTHS[(losses[0] + losses[1]).argmin(axis=0)][None, :, None, None])
        return np.asarray(fitted((outer,), len(levels) - 1, chosen[-1])[0])
