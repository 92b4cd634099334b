"""Null distributions: counting and tails."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats


def permutation_p(observed: float, null: NDArray[np.float64]) -> float:
    """``(1 + #{null >= observed}) / (1 + R)``."""
    return float((1 + (null >= observed).sum()) / (1 + len(null)))


def tail_probability(statistic: float, null: NDArray[np.float64]) -> float:
    """Upper tail of a statistic under a Pearson III distribution with the moments of its permutation null.

    Counting permutations cannot go below ``1 / (R + 1)``, which Holm over hundreds of negatives never passes.
    """
    sd = float(null.std())
    if sd <= 0:
        return 1.0
    skewness = float(np.clip(stats.skew(null), 0.01, 4.0))
    return float(stats.pearson3.sf((statistic - float(null.mean())) / sd, skewness))
