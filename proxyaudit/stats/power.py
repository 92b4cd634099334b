"""How probable it is that absence could be proved, before anything is measured."""

import numpy as np
from scipy import stats

from proxyaudit.arrays import Floats


def power_of_absence(n: int, dimensions: int, margin: float, rates_k: Floats | None, *, level: float = 0.0025) -> float:
    """Probability that a truly absent attribute is called absent by the linear score test, in the normal approximation.

    The statistic ``sum_k w_k ||Z'e_k||**2 / n`` is close to a scaled chi-squared variable (Satterthwaite 1946), which a leak at the margin
    makes non-central. Of several classes the one is taken whose leak moves the statistic least; without rates the attribute is continuous.
    ``n`` counts clusters where rows belong together; ``level`` is below .01, since each of several families of plants must show absence.
    """
    if dimensions < 1 or n <= dimensions + 1:
        return 0.0
    if rates_k is None:
        signal, trace, square = n * margin, 1.0, 1.0
    else:
        p = np.asarray(rates_k, dtype=np.float64)
        k = len(p)
        odds = p / (1 - p)
        # One class is off the others by this much where classes are weighed alike; the mean of all follows the rates.
        off = 2 * margin * np.log(k) * k**2 / (k - 1)
        if k == 2:
            signal, trace, square = n * p[0] * p[1] * off, 1.0, 1.0
        else:
            # Weighed by one over the odds, a class counts by how far it is off, squared.
            moved = (1 - p) ** 2 + (k - 1) * p**2
            weights = 1 / odds
            correlation = -np.sqrt(np.outer(odds, odds))
            np.fill_diagonal(correlation, 1.0)
            square = float(weights @ correlation**2 @ weights)
            signal, trace = n * float(moved.min()) * off, float(weights.sum())
    scale, degrees = square / trace, dimensions * trace**2 / square
    bar = stats.ncx2.ppf(level, degrees, signal / scale)
    return float(stats.chi2.cdf(bar, degrees))
