"""Null distributions: counting and tails."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def permutation_p(observed: float, null: NDArray[np.float64]) -> float:
    """``(1 + #{null >= observed}) / (1 + R)``."""
    return float((1 + (null >= observed).sum()) / (1 + len(null)))


def tail_probability(statistic: float, null: NDArray[np.float64]) -> float:
    """Upper tail of a statistic under a gamma distribution with the moments of its permutation null.

    Counting permutations cannot go below ``1 / (R + 1)``, which Holm over hundreds of negatives never passes.
    """
    mean, variance = float(null.mean()), float(null.var())
    if variance <= 0 or mean <= 0:
        return 1.0
    return float(stats.gamma.sf(statistic, a=mean**2 / variance, scale=variance / mean))
