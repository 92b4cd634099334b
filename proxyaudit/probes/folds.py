"""Folds of whole clusters, and means over rows whose classes weigh the same; what readers of counts and of activations share."""

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints

FOLDS = 5
FEWEST_ROWS = 3  # of each class in every training part; below it no probe can be fitted


class TooFewRowsError(ValueError):
    """A class has too few rows for cross-fitting; the channel is unknown, never absent."""


def assign_folds(clusters_n: Ints, rng: np.random.Generator, folds: int = FOLDS) -> Ints:
    """Assign whole clusters to folds of nearly equal size; shape ``(n,)`` of 0..folds-1."""
    ids, inverse = np.unique(clusters_n, return_inverse=True)
    sizes = np.bincount(inverse)
    order = rng.permutation(len(ids))
    order = order[np.argsort(-sizes[order], kind="stable")]
    load = np.zeros(folds, dtype=np.int64)
    fold_of = np.empty(len(ids), dtype=np.int64)
    if sizes.max() == 1:
        fold_of[order] = np.arange(len(ids)) % folds
    else:
        for cluster in order:
            fold = int(load.argmin())
            fold_of[cluster] = fold
            load[fold] += sizes[cluster]
    return np.asarray(fold_of[inverse], dtype=np.int64)


def balanced(target_n: NDArray[np.generic], classes: int) -> Floats:
    """Row weights that sum to one and give every class that occurs equal mass (equal weights if continuous), shape ``(n,)``."""
    if not classes:
        return np.full(len(target_n), 1 / len(target_n))
    codes = target_n.astype(np.int64)
    counts = np.bincount(codes, minlength=classes)
    return np.asarray(1 / ((counts > 0).sum() * counts[codes]), dtype=np.float64)


def balanced_mean(values_n: Floats, codes_n: Ints, classes: int) -> tuple[float, Floats]:
    """Mean of a number of each row when classes weigh the same, and each row's influence on it."""
    weights = balanced(codes_n, classes)
    means = np.bincount(codes_n, weights=values_n, minlength=classes) / np.maximum(np.bincount(codes_n, minlength=classes), 1)
    return float(weights @ values_n), np.asarray((values_n - means[codes_n]) * weights)


def share_of(part_n: Floats, whole_n: Floats) -> tuple[float, Floats]:
    """A sum over rows as a share of another, and each row's influence on it."""
    total = float(whole_n.sum())
    share = float(part_n.sum()) / total
    return share, np.asarray((part_n - share * whole_n) / total)
