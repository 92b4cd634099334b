"""Rank statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from proxyaudit.arrays import Floats


def auroc(scores_n: Floats, positive_n: NDArray[np.bool_]) -> float:
    """Area under the ROC curve with ties counted half (Mann-Whitney)."""
    positives = int(positive_n.sum())
    negatives = len(positive_n) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores_n)
    return float((ranks[positive_n].sum() - positives * (positives + 1) / 2) / (positives * negatives))
