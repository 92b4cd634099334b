"""The standard curve of planted means: from a score back to its leak, with interval (test inversion) and detection limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from proxyaudit.arrays import Floats

FOUND_IN = 0.95  # share of plants that a detection limit speaks of
_GRID = 400
_FEWEST_FOR_SKEWNESS = 200


@dataclass(frozen=True)
class StandardCurve:
    """Mean, standard deviation and skewness (none if not given) of a score at true ``leaks``, increasing from zero."""

    leaks: Floats
    means: Floats
    sds: Floats
    skews: Floats | None = None

    def calibrate(self, score: float, level: float = 0.95) -> tuple[float, float, float]:
        """Leak and interval of an observed score; the leak may lie below zero, its interval starts at zero."""
        value = self._invert(score, self.means)
        low, high = (self._invert(score, self._quantile(0.5 + side * level / 2)) for side in (1, -1))
        return value, max(low, 0.0), max(high, 0.0)

    def _quantile(self, share: float) -> Floats:
        """Score below which this share lies, at each leak: a sum of squares is skewed, so both ends are not alike."""
        skews = np.zeros(len(self.leaks)) if self.skews is None else self.skews
        return np.asarray(self.means + stats.pearson3.ppf(share, skews) * self.sds)

    def _invert(self, score: float, at_n: Floats) -> float:
        """Leak at which an increasing function of the leak, given at the curve's leaks, equals the score."""
        curve = np.maximum.accumulate(at_n)
        if score >= curve[-1]:
            # Beyond the strongest plant: along the last slope, never above all there is.
            step = (curve[-1] - curve[-2]) / (self.leaks[-1] - self.leaks[-2])
            return float(min(1.0, self.leaks[-1] + (score - curve[-1]) / step)) if step > 0 else float(self.leaks[-1])
        if score <= curve[0]:
            rising = int(np.argmax(curve > curve[0])) or 1
            step = (curve[rising] - curve[0]) / self.leaks[rising]
            return float((score - curve[0]) / step) if step > 0 else 0.0
        return float(np.interp(score, curve, self.leaks))

    def sd_of_leak(self, leak: float) -> float:
        """Standard error of the calibrated leak at a true leak."""
        leak = float(np.clip(leak, 0.0, self.leaks[-1]))
        index = int(np.clip(np.searchsorted(self.leaks, leak, side="right"), 1, len(self.leaks) - 1))
        slope = (self.means[index] - self.means[index - 1]) / (self.leaks[index] - self.leaks[index - 1])
        return float(np.interp(leak, self.leaks, self.sds)) / float(max(slope, 1e-300))

    def detection_limit(self, null_high: float) -> float | None:
        """Smallest leak whose plants exceed ``null_high`` in 95 % of cases; ``None`` where the strongest do not."""
        grid = np.linspace(0, self.leaks[-1], 20 * _GRID)
        mean, sd = np.interp(grid, self.leaks, self.means), np.interp(grid, self.leaks, self.sds)
        found = mean - float(stats.norm.ppf(FOUND_IN)) * sd > null_high
        return float(grid[int(found.argmax())]) if found.any() else None

    def rows_needed(self, n: int, margin: float, power: float = 0.95) -> int | None:
        """Rows at which a truly absent attribute would be called absent with this power; ``None`` where 10,000 times as many would not do.

        The null variance of the score hardly depends on the rows, its signal is proportional to them.
        """
        noise = max(float(self.sds[0]) ** 2, 1e-12)
        signal = max(float(np.interp(margin, self.leaks, self.means)) - float(self.means[0]), 1e-12)
        # How the variance grows with the signal.
        steep = max(0.0, (float(np.interp(margin, self.leaks, self.sds)) ** 2 - noise) / signal)
        factors = np.geomspace(1, 1e4, _GRID)
        at_margin = signal * factors
        bar = at_margin - float(stats.norm.ppf(0.99)) * np.sqrt(noise + steep * at_margin)
        enough = factors[stats.norm.cdf(bar / np.sqrt(noise)) >= power]
        return int(np.ceil(n * enough[0])) if len(enough) else None


def fit_curve(leaks: Sequence[float], scores: Sequence[Floats]) -> StandardCurve:
    """Fit a standard curve to scores planted at increasing leaks from zero: means made increasing, variance smoothed over strengths."""
    means = np.array([float(np.mean(s)) for s in scores])
    variances = np.array([float(np.var(s, ddof=1)) for s in scores])
    counts = np.array([len(s) for s in scores], dtype=np.float64)
    means = np.maximum.accumulate(means)
    rise = means - means[0]
    # Relative errors of variances are alike, so weigh by 1 / variance**2.
    weight = np.sqrt(counts) / np.maximum(variances, 1e-300)
    unit = rise / max(float(rise[-1]), 1e-300)
    # It rises steeply and falls again where labels become nearly certain: a cubic, held near what was counted.
    powers = np.stack([unit**power for power in range(4)], axis=1)[:, : max(1, len(leaks) - 2)]
    solution, *_ = np.linalg.lstsq(powers * weight[:, None], variances * weight, rcond=None)
    smooth = powers @ solution
    # Two standard errors of a variance on either side.
    slack = 1 + 2 * np.sqrt(2 / counts)
    # The means are averages over few plants: their error belongs to the reading.
    smooth = np.clip(smooth, variances / slack, variances * slack) * (1 + 1 / counts)
    sds = np.sqrt(np.maximum(smooth, 1e-300))
    return StandardCurve(np.asarray(leaks, dtype=np.float64), means, sds, _skews(scores[0], sds))


def _skews(null: Floats, sds: Floats) -> Floats:
    """Skewness along the curve of a scaled, shifted non-central chi-squared variable: third cumulant ``8 c**3 (k + 3 lambda)``."""
    spread = float(null.std())
    if len(null) < _FEWEST_FOR_SKEWNESS or spread <= 0:
        return np.zeros(len(sds))
    skew = float(np.clip(stats.skew(null), 0.0, 2.0))
    third = skew * spread**3 + 1.5 * skew * spread * (sds**2 - spread**2)
    return np.clip(third / sds**3, 0.0, skew)


def tail_counts(observed: float, planted: Floats) -> tuple[float, float]:
    """One-sided p-values of an observed score among planted ones: for "as large" and for "as small".

    Counts ``(1 + #) / (R + 1)``; scores equal up to rounding count on both sides. Where no planted score is as large, the tail of a Pearson
    III distribution with the plants' moments takes over, its skewness one standard error too large; it never goes above the count.
    """
    tie = 1e-6 * max(abs(observed), float(np.abs(planted).max(initial=0.0)), 1e-12)
    above = (1 + int((planted >= observed - tie).sum())) / (len(planted) + 1)
    below = (1 + int((planted <= observed + tie).sum())) / (len(planted) + 1)
    if above * (len(planted) + 1) < 2 and len(planted) > 20:
        sd = float(planted.std(ddof=1))
        if sd > 0:
            skew = max(float(stats.skew(planted)), 0.0) + float(np.sqrt(6 / len(planted)))
            tail = float(stats.pearson3.sf((observed - float(planted.mean())) / sd, skew))
            above = min(above, max(tail, 1e-12))
    return above, below
