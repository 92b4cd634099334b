"""Rank statistics."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from proxyaudit.arrays import Floats, Ints


def auroc(scores_n: Floats, positive_n: NDArray[np.bool_]) -> float:
    """Area under the ROC curve with ties counted half (Mann-Whitney)."""
    positives = int(positive_n.sum())
    negatives = len(positive_n) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores_n)
    return float((ranks[positive_n].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auroc_of_classes(log2_p_nk: Floats, codes_n: Ints, classes: int) -> float:
    """Area of the second of two classes, or the mean over classes of each against the rest, from log probabilities in bits."""
    odds = log2_p_nk - np.log2(-np.expm1(log2_p_nk * np.log(2)) + 1e-300)
    areas = [auroc(odds[:, k], codes_n == k) for k in range(classes)]
    return areas[1] if classes == 2 else float(np.mean(areas))
