"""Bins of single units: the one thing that readers of smooth or few-split functions overlook.

A label that oscillates along a unit has no linear and no quadratic trace. The statistic is the largest variance of bin means over units;
its null keeps rows' bins and permutes labels, or turns the signs of whole clusters.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.probes.results import BinnedTrace
from proxyaudit.probes.score import ScoreStatistic, flipped, indicator_columns, permuted, standardise
from proxyaudit.stats.p_values import tail_probability

BINS = 40
_FEWEST_IN_BIN = 8  # values that are each this frequent are told apart one by one
_PERMUTATIONS = 99
_UNITS_AT_ONCE = 64


def binned_trace(
    statistic: ScoreStatistic, labels_n: NDArray[np.generic], classes: int, clusters_n: Ints | None, rng: np.random.Generator
) -> BinnedTrace:
    """Look for an attribute (codes from 0, or numbers if ``classes`` is 0) in bins of single units, beyond all that is linear."""
    rows = statistic.rows
    if all(block.rank >= block.rows.stop - block.rows.start - 1 for block in rows.blocks):
        return BinnedTrace(1.0, 0.0)  # with so many dimensions nothing but rounding noise is left beyond the linear part
    observed = [statistic.prepare(column) for column in indicator_columns(labels_n[:, None], classes)]
    if clusters_n is None:
        orders = permuted(rows, np.arange(rows.n), _PERMUTATIONS, rng)
        null = [statistic.prepare(column[:, 0][orders]) for column in indicator_columns(labels_n[:, None], classes)]
    else:
        signs = flipped(clusters_n, rows.n, _PERMUTATIONS, rng)
        null = [statistic.prepare(signs * standardise(rows, column)) for column in indicator_columns(labels_n[:, None], classes)]
    largest = np.full(1 + _PERMUTATIONS, -np.inf)
    for start in range(0, rows.x_nd.shape[1], _UNITS_AT_ONCE):
        units = rows.x_nd[:, start : start + _UNITS_AT_ONCE]
        spread = sum(_between(units, np.concatenate(pair, axis=1)) for pair in zip(observed, null, strict=True))
        largest = np.maximum(largest, np.asarray(spread).max(axis=0, initial=-np.inf))
    found, chance = float(largest[0]), largest[1:]
    if not np.isfinite(found):
        return BinnedTrace(1.0, 0.0)
    return BinnedTrace(tail_probability(found, chance), (found - float(chance.mean())) / len(observed))


def _between(units_nu: Singles, columns_nm: Singles) -> Floats:
    """Share of each column's variance between the bins of each unit, less what chance gives it; ``(u, m)``."""
    codes = [_codes(unit) for unit in units_nu.T]
    counts = [int(code.max()) + 1 for code in codes]
    n, edges = len(units_nu), np.concatenate([[0], np.cumsum(counts)])
    where = np.stack([code + edge for code, edge in zip(codes, edges[:-1], strict=True)], axis=1).ravel()
    table = sparse.csr_matrix(
        (np.ones(len(where), dtype=np.float32), where, np.arange(0, len(where) + 1, len(codes))), shape=(n, edges[-1])
    )
    sums = np.asarray(table.T @ columns_nm, dtype=np.float64)
    sizes = np.bincount(where, minlength=int(edges[-1])).astype(np.float64)
    shares = sums**2 / np.maximum(sizes, 1.0)[:, None] / n
    return np.asarray(np.add.reduceat(shares, edges[:-1], axis=0) - (np.array(counts)[:, None] - 1) / n)


def _codes(unit_n: Singles) -> Ints:
    """Bin of each row: its value where values repeat, else one of forty bins of equal size."""
    values, codes = np.unique(unit_n, return_inverse=True)
    if len(values) <= max(BINS, len(unit_n) // _FEWEST_IN_BIN):
        return np.asarray(codes, dtype=np.int64)
    ranks = np.empty(len(unit_n), dtype=np.int64)
    ranks[np.argsort(unit_n, kind="stable")] = np.arange(len(unit_n))
    return np.asarray(ranks * BINS // len(unit_n), dtype=np.int64)
