"""The deciding engine: score statistics for thousands of label columns in one matrix product.

``T = ||Z'(a - mean a)||**2 / (n var a)`` on exactly whitened rows ``Z`` is the score test of a
linear reader (Rao 1948); permutations and plants are only more columns. For several classes the sum over
class indicators; under grouped rows the sums within groups are flipped in sign as a whole (wild cluster null).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 256  # label columns at a time: bounds memory, and results do not depend on it


def label_columns(codes_n: NDArray[np.generic], kind: str, classes: int) -> Floats:
    """Columns that stand for one attribute, scaled so that the statistic is a sum of squares.

    Returns:
        Shape ``(n, 1)`` for binary and continuous attributes, ``(n, K)`` class indicators else; each
        column centred and divided by its standard deviation.
    """
    if kind == "continuous":
        columns = np.asarray(codes_n, dtype=np.float64)[:, None]
    elif classes == 2:
        columns = (np.asarray(codes_n) == 1).astype(np.float64)[:, None]
    else:
        columns = (np.asarray(codes_n)[:, None] == np.arange(classes)).astype(np.float64)
    columns = columns - columns.mean(axis=0)
    scale = np.sqrt((columns**2).mean(axis=0))
    return np.asarray(columns / np.where(scale > 0, scale, 1.0))


def score_statistics(z_nr: Floats, labels_nm: Floats) -> Floats:
    """Linear score statistic of each standardised label column, shape ``(m,)``."""
    n, m = labels_nm.shape
    result = np.empty(m)
    for start in range(0, m, _BLOCK):
        product = z_nr.T @ labels_nm[:, start : start + _BLOCK]
        result[start : start + _BLOCK] = (product**2).sum(axis=0) / n
    return result


def permutation_null(
    z_nr: Floats, columns_nk: Floats, clusters_n: Ints | None, count: int, rng: np.random.Generator
) -> tuple[float, Floats]:
    """Observed score statistic and its null distribution.

    Rows that stand alone are permuted (an exact test). Under clusters, each cluster's contribution
    ``sum z_i a_i`` keeps or turns its sign as a whole, which holds for any pattern of the attribute within
    and between clusters (wild cluster bootstrap, Cameron, Gelbach & Miller 2008).

    Args:
        z_nr: Whitened rows ``(n, r)``.
        columns_nk: Output of :func:`label_columns`.
        clusters_n: Cluster ids, or ``None`` where every row stands alone.
        count: Number of permutations.
        rng: Source of randomness. The draws depend on n, the clusters and ``count`` only, so several models
            read on the same rows meet the same permutations.

    Returns:
        The observed statistic and the null statistics, shape ``(count,)``.
    """
    n, k = columns_nk.shape
    observed = float(score_statistics(z_nr, columns_nk).sum())
    null = np.zeros(count)
    if clusters_n is None:
        for start in range(0, count, _BLOCK):
            orders = np.stack([rng.permutation(n) for _ in range(min(_BLOCK, count - start))], axis=1)
            for column in range(k):
                null[start : start + _BLOCK] += score_statistics(z_nr, columns_nk[:, column][orders])
        return observed, null
    ids = np.unique(clusters_n, return_inverse=True)[1]
    size = int(ids.max()) + 1
    signs = rng.integers(0, 2, size=(size, count)).astype(np.float64) * 2 - 1
    for column in range(k):
        contribution = z_nr * columns_nk[:, column : column + 1]
        sums = np.zeros((size, z_nr.shape[1]))
        np.add.at(sums, ids, contribution)
        for start in range(0, count, _BLOCK):
            product = sums.T @ signs[:, start : start + _BLOCK]
            null[start : start + _BLOCK] += (product**2).sum(axis=0) / n
    return observed, null
