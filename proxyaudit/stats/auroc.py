"""The area under the ROC curve of one score, with the influence of each row on it (DeLong et al. 1988)."""

import numpy as np

from proxyaudit.arrays import Bools, Floats


def auroc_with_influence(scores_n: Floats, positive_n: Bools) -> tuple[float, Floats]:
    """The share of pairs in which the positive row has the higher score, ties counted half, and each row's influence ``(n,)``.

    Raises ``ValueError``: there are no rows of one kind.
    """
    from scipy.stats import rankdata  # slow to import, and needed where something is measured alone

    high, low = scores_n[positive_n], scores_n[~positive_n]
    if not len(high) or not len(low):
        raise ValueError("an area under the ROC curve needs rows of both kinds")
    ranks = rankdata(scores_n)
    above = (ranks[positive_n] - rankdata(high)) / len(low)  # share of the others below each positive row
    below = 1.0 - (ranks[~positive_n] - rankdata(low)) / len(high)  # share of the positive rows above each other row
    area = float(above.mean())
    influence = np.zeros(len(scores_n))
    influence[positive_n] = (above - area) / len(high)
    influence[~positive_n] = (below - area) / len(low)
    return area, influence
