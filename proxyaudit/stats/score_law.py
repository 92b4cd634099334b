"""Laws of a score statistic under planted leaks, and the leaks that an observed score leaves open: a test, inverted.

The statistic is a quadratic form in independent errors, so its law is close to a scaled, shifted, non-central chi-squared one; three
cumulants fix it, in the form of a Pearson III distribution.
"""

from dataclasses import dataclass

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.later import Later
from proxyaudit.stats.laws import normal_quantile, normal_tail

special = Later("scipy.special")  # slow to load, and needless for commands that read evidence

_LEAST_SKEW, _MOST_SKEW = -1.0, 3.0
_LEAST_SKEWED = 1e-3  # below it a normal variable serves
_SMALLEST_LEAK, _LARGEST_LEAK, _STEPS = 1e-4, 0.99, 400
BARS = (3.3, 4.4, 6.0, np.inf)  # normal quantiles at which labels rule a direction out
_SURE = 37.0  # normal quantiles beyond it are probabilities of zero


@dataclass(frozen=True)
class ScoreLaw:
    """Mean, standard deviation and skewness of a score, one array each of any shape."""

    mean: Floats
    sd: Floats
    skew: Floats

    @staticmethod
    def of_cumulants(mean: Floats, variance: Floats, third: Floats) -> "ScoreLaw":
        """The law with these cumulants."""
        sd = np.sqrt(np.maximum(variance, 1e-24))
        return ScoreLaw(np.asarray(mean), sd, np.clip(third / sd**3, _LEAST_SKEW, _MOST_SKEW))

    @staticmethod
    def of_sample(scores: Floats) -> "ScoreLaw":
        """The law with a sample's moments."""
        mean, sd = float(scores.mean()), float(scores.std(ddof=1))
        return ScoreLaw.of_cumulants(np.array(mean), np.array(sd**2), ((scores - mean) ** 3).mean())

    def depth(self, score: float | Floats) -> Floats:
        """Normal quantile of the probability of a score as small as this one; comparable far into the tails."""
        z = (score - self.mean) / self.sd
        # A Pearson III variable is a shifted gamma variable, or minus one.
        turn = np.where(self.skew < 0, -1.0, 1.0)
        half = np.maximum(np.abs(self.skew), _LEAST_SKEWED) / 2
        place = np.maximum(1 / half**2 + turn * z / half, 0.0)
        below, above = special.gammainc(1 / half**2, place), special.gammaincc(1 / half**2, place)
        below, above = np.where(turn > 0, below, above), np.where(turn > 0, above, below)
        lower = below < above
        deep = special.ndtri(np.clip(np.where(lower, below, above), 1e-300, 0.5))
        return np.asarray(np.where(np.isnan(z), np.nan, np.where(lower, deep, -deep)))


@dataclass(frozen=True)
class Readings:
    """Laws of a score along a few directions over increasing leaks from zero, as far as each direction carries them.

    ``laws`` hold arrays ``(directions, leaks)``, NaN where a direction cannot carry the leak; ``shift`` moves normal quantiles of the
    probability of a score as small: what simulation found the laws to be off by. ``sure``, of the same shape as the laws without the
    leak of zero, is the normal quantile at which labels rule a direction out.
    """

    leaks: Floats
    laws: ScoreLaw
    shift: Floats
    sure: Floats

    def until(self, bar: float) -> Floats:
        """Leak of each direction from which on labels rule it out."""
        out = self.sure > bar
        return np.where(out.any(axis=1), self.leaks[1:][out.argmax(axis=1)], np.inf)

    def depths(self, score: float, at: Floats) -> Floats:
        """Normal quantiles ``(directions, len(at))`` of the probability of a score as small, -inf or +inf are never returned."""
        parts = []
        for mean, sd, skew, shift in zip(self.laws.mean, self.laws.sd, self.laws.skew, self.shift, strict=True):
            carried = np.isfinite(mean)
            leaks, means = self.leaks[carried], mean[carried]
            # Where a direction ends is known up to the next leak that was asked: until there its mean goes on as it went.
            beyond = self.leaks[self.leaks > leaks[-1]]
            further = np.maximum(at - leaks[-1], 0.0) * ((means[-1] - means[-2]) / (leaks[-1] - leaks[-2]) if len(leaks) > 1 else 0.0)
            law = ScoreLaw(np.interp(at, leaks, means) + further, np.interp(at, leaks, sd[carried]), np.interp(at, leaks, skew[carried]))
            depth = law.depth(score) + np.where(at > 0, shift, 0.0)
            parts.append(np.where(at <= (beyond[0] if len(beyond) else leaks[-1]), depth, np.nan))
        return np.stack(parts)

    def p_small(self, score: float, at: Floats) -> Floats:
        """Probability of a score as small, at each leak, along the direction that makes it largest."""
        return self._largest(self.depths(score, at), at)

    def p_large(self, score: float, at: Floats) -> Floats:
        """Probability of a score as large, at each leak, along the direction that makes it largest."""
        return self._largest(-self.depths(score, at), at)

    def _largest(self, quantiles: Floats, at: Floats) -> Floats:
        found = np.ones(len(at))
        for bar in BARS:
            spent = 4 * normal_tail(bar)  # twice the chance that labels rule out, in either way, the direction that they follow
            left = np.isfinite(quantiles) & (at < self.until(bar)[:, None])
            p = special.ndtr(np.where(left, quantiles, -_SURE).max(axis=0, initial=-_SURE))
            # The level of a test fixes its bar: no more than half of it is spent on what is ruled out.
            found = np.minimum(found, np.maximum(p, spent) + spent)
        return found


def leaks_between(*others: float) -> Floats:
    """Leaks from zero to nearly all there is, with these among them."""
    return np.unique(np.concatenate([[0.0], np.geomspace(_SMALLEST_LEAK, _LARGEST_LEAK, _STEPS), np.array(others, dtype=np.float64)]))


def smallest_excluded(at: Floats, p: Floats, level: float) -> float:
    """Smallest leak from which on every leak is rejected; 1 where not even the largest is."""
    kept = np.flatnonzero(p > level)
    if not len(kept):
        return float(at[0])
    last = int(kept[-1])
    return 1.0 if last == len(at) - 1 else _crossing(at, p, last, level)


def largest_excluded(at: Floats, p: Floats, level: float) -> float:
    """Largest leak up to which every leak is rejected; 0 where not even none is."""
    kept = np.flatnonzero(p > level)
    if not len(kept):
        return float(at[-1])
    first = int(kept[0])
    return 0.0 if first == 0 else _crossing(at, p, first - 1, level)


def _crossing(at: Floats, p: Floats, left: int, level: float) -> float:
    """Leak between two neighbours at which the p-value passes the level."""
    one, other = special.ndtri(np.clip(p[left : left + 2], 1e-300, 1 - 1e-15))
    share = float(np.clip((special.ndtri(level) - one) / (other - one), 0.0, 1.0)) if other != one else 1.0
    return float(at[left] + share * (at[left + 1] - at[left]))


@dataclass(frozen=True)
class Reading:
    """Mean and standard deviation of a score along one direction at increasing leaks from zero."""

    leaks: Floats
    means: Floats
    sds: Floats

    @staticmethod
    def of(readings: Readings, direction: int = 0) -> "Reading":
        """The reading along one of some directions, as far as it carries leaks."""
        carried = np.isfinite(readings.laws.mean[direction])
        means = np.maximum.accumulate(readings.laws.mean[direction][carried])
        return Reading(readings.leaks[carried], means, readings.laws.sd[direction][carried])

    def leak_of(self, score: float) -> float:
        """Leak at which the score is expected; below zero, and beyond the strongest, along the nearest slope, never above all there is."""
        if len(self.leaks) < 2:
            return 0.0
        if score <= self.means[0]:
            return float((score - self.means[0]) / max(self._slope(0), 1e-300))
        if score >= self.means[-1]:
            return float(min(1.0, self.leaks[-1] + (score - self.means[-1]) / max(self._slope(len(self.leaks) - 2), 1e-300)))
        return float(np.interp(score, self.means, self.leaks))

    def sd_of_leak(self, leak: float) -> float:
        """Standard error of the calibrated leak at a true leak."""
        if len(self.leaks) < 2:
            return 0.0
        leak = float(np.clip(leak, 0.0, self.leaks[-1]))
        left = int(np.clip(np.searchsorted(self.leaks, leak, side="right") - 1, 0, len(self.leaks) - 2))
        return float(np.interp(leak, self.leaks, self.sds)) / max(self._slope(left), 1e-300)

    def _slope(self, left: int) -> float:
        return float((self.means[left + 1] - self.means[left]) / (self.leaks[left + 1] - self.leaks[left]))


def rows_needed(readings: Readings, n: int, margin: float, power: float = 0.95, level: float = 0.01) -> int | None:
    """Rows at which a truly absent attribute would be called absent with this power; ``None`` where 10,000 times as many would not do.

    The null variance of the score hardly depends on the rows, its signal is proportional to them.
    """
    factors = np.geomspace(1, 1e4, 400)
    enough = np.ones(len(factors), dtype=bool)
    for direction in range(len(readings.shift)):
        reading = Reading.of(readings, direction)
        if margin > reading.leaks[-1]:
            continue
        noise = max(float(reading.sds[0]) ** 2, 1e-12)
        signal = max(float(np.interp(margin, reading.leaks, reading.means - reading.means[0])), 1e-12)
        # How the variance grows with the signal.
        steep = max(0.0, (float(np.interp(margin, reading.leaks, reading.sds)) ** 2 - noise) / signal)
        bar = signal * factors + normal_quantile(level) * np.sqrt(noise + steep * signal * factors)
        enough &= special.ndtr(bar / np.sqrt(noise)) >= power
    return int(np.ceil(n * factors[enough][0])) if enough.any() else None


def power_of_absence(
    n: int, dimensions: int, margin: float, rates_k: Floats | None, *, level: float = 0.0025, rank: int | None = None
) -> float:
    """Probability that a truly absent attribute is called absent by a score test of so many dimensions, in the normal approximation.

    The statistic ``sum_k w_k ||Z'e_k||**2 / n`` is close to a scaled chi-squared variable (Satterthwaite 1946), which a leak at the margin
    makes non-central. Of several classes the one is taken whose leak moves the statistic least; without rates the attribute is continuous.
    ``n`` counts clusters where rows belong together; ``level`` is below .01, since each of several families of plants must show absence.
    ``rank`` is that of the rows where dimensions are products of their columns.
    """
    if dimensions < 1 or n <= (dimensions if rank is None else rank) + 1:
        return 0.0
    signal, scale, degrees = _law_of(n, dimensions, margin, rates_k)
    return float(special.chdtr(degrees, special.chndtrix(level, degrees, signal / scale)))


def power_of_presence(n: int, dimensions: int, margin: float, leak: float, rates_k: Floats | None, *, level: float) -> float:
    """Probability that a leak above the margin is called present by the linear score test; arguments as of :func:`power_of_absence`."""
    if dimensions < 1 or n <= dimensions + 1:
        return 0.0
    signal, scale, degrees = _law_of(n, dimensions, margin, rates_k)
    bar = special.chndtrix(1 - level, degrees, signal / scale)
    return 1 - float(special.chndtr(bar, degrees, signal / scale * leak / margin))


def _law_of(n: int, dimensions: int, margin: float, rates_k: Floats | None) -> tuple[float, float, float]:
    """Signal of a leak at the margin, and scale and degrees of freedom of the score without one."""
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
    return signal, square / trace, dimensions * trace**2 / square
