"""p-values: from null distributions, and corrected for looking at many cells at once."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PRESENT_AT = 0.05  # what is found, after the correction for looking at many numbers
ABSENT_AT = 0.01  # what is certified not to be there
FOUND = 0.8  # share of plants that a positive control must find
_SHARE = 0.95


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
    from scipy import stats  # slow to import, and needed where something is measured alone

    skewness = float(np.clip(stats.skew(null), 0.01, 4.0))
    return float(stats.pearson3.sf((statistic - float(null.mean())) / sd, skewness))


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Holm's adjusted p-values (Holm 1979), in the order given.

    >>> [round(float(p), 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    return weighted_holm(p_values, np.ones(len(p_values)))


def weighted_holm(p_values: Sequence[float], weights: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted p-values of Holm's weighted procedure (Holm 1979, section 4), in the order given.

    Hypotheses are taken by ``p / w``; each is adjusted by the weight of all that are still open. The chance of one false rejection among
    all is at most the level, whatever the weights (positive, fixed beforehand; only ratios count) and however the p-values depend on one
    another.

    >>> [round(float(p), 3) for p in weighted_holm([0.01, 0.01], [3, 1])]
    [0.013, 0.013]
    """
    p, w = np.asarray(p_values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(p / w, kind="stable")
    left = np.cumsum(w[order][::-1])[::-1]
    steps = p[order] * (left / w[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def exceeded_by_few(values: Sequence[float] | NDArray[np.float64]) -> float:
    """The smallest of some values that one further value of their kind exceeds with a probability of at most .05.

    Of m values that is the ``ceil(.95 (m + 1))``-th (Vovk et al. 2005), the largest of fewer than 19; an interpolated percentile of 40
    is exceeded by 7 %.
    """
    return float(np.sort(values)[min(math.ceil(_SHARE * (len(values) + 1)), len(values)) - 1])
