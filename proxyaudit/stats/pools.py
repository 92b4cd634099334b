"""What mean squares of numbers measured alike tell of the variance of one of them (Smyth 2004, limma's moderated variance).

Some numbers vary in proportion to their size: a gap of .2 differs more between models than one of .02. Others vary alike whatever their
size. Variances are compared in both units; the one in which they scatter less is taken, and the wider where that cannot be told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from proxyaudit.later import Later
from proxyaudit.stats.components import Part

special = Later("scipy.special")  # slow to load, and needless for commands that read evidence

LEAST_DF, MOST_DF, OF_TWO = 2.0, 8.0, 1.0  # of what others say of a variance: less where they are unlike, or of two models
_FEWEST_ALIKE: Final = 4  # numbers; fewer do not tell how alike they are
_BETTER: Final = 1.5  # times less scatter of the logarithms, in which case one unit surely fits better
SIZE, ALIKE = "size", "alike"  # the units: a number's squared size, or one for all


@dataclass(frozen=True)
class _Fit:
    """Logarithms of mean squares in one unit: their mean and variance, and what they are worth for one more of their kind."""

    mean: float
    variance: float
    df: float
    shift: float

    @classmethod
    def of(cls, logs: Sequence[float], noise: float) -> Self | None:
        """``noise``: what the logarithms scatter by where all variances are equal. ``None`` where they are too unlike."""
        variance = float(np.var(logs, ddof=1))
        unlike = max(variance - noise, 0.0)
        if unlike > 0 and 2 * trigamma_inverse(unlike) < LEAST_DF:
            return None
        # How unlike they are, and the error of the mean over the others.
        df = 2 * trigamma_inverse(unlike + (unlike + noise) / (len(logs) - 1))
        return cls(float(np.mean(logs)), variance, df, float(special.digamma(df / 2) - np.log(df / 2)))


@dataclass(frozen=True)
class Pool:
    """Mean squares of one source over many numbers."""

    count: int
    fits: Mapping[str, _Fit]  # by unit

    @classmethod
    def of(cls, squares: Sequence[tuple[Part, float]]) -> Self | None:
        """From mean squares, each with its unit; ``None`` where they are few, or unlike each other in both units."""
        known = [(square, scale) for square, scale in squares if square[0] > 0]
        if len(known) < _FEWEST_ALIKE:
            return None
        noise = float(np.mean([special.polygamma(1, df / 2) for (_, df), _ in known]))
        logs = {SIZE: [_log(square, scale) for square, scale in known], ALIKE: [_log(square, 1.0) for square, _ in known]}
        fits = {unit: fit for unit, own in logs.items() if (fit := _Fit.of(own, noise)) is not None}
        return cls(len(known), fits) if fits else None

    def told(self, own: Part, scale: float) -> Part:
        """The mean square, and its degrees of freedom, that the other numbers tell of one whose ``own`` is known, in its unit.

        Its own part in what they have in common is taken out: else a square that is small by chance would vouch for itself.
        """
        found = {}
        for unit, fit in self.fits.items():
            size = scale if unit == SIZE else 1.0
            mean = fit.mean if own[0] <= 0 else fit.mean + (fit.mean - _log(own, size)) / (self.count - 1)
            found[unit] = float(np.exp(mean + fit.shift)) * size
        better = min(self.fits, key=lambda unit: self.fits[unit].variance)
        chosen = [unit for unit, fit in self.fits.items() if fit.variance <= _BETTER * self.fits[better].variance]
        # Two repetitions say next to nothing against what others tell of them, so that must be worth less.
        df = min(*(self.fits[unit].df for unit in chosen), MOST_DF if own[1] > 1 else OF_TWO)
        return max(found[unit] for unit in chosen), df


def _log(square: Part, scale: float) -> float:
    """The logarithm of a mean square, without bias for that of the variance."""
    size, half = square[0], square[1] / 2
    return float(np.log(size / scale) - special.digamma(half) + np.log(half))


def trigamma_inverse(y: float) -> float:
    """The x whose trigamma is y > 0, by Newton's method on the reciprocal, which is nearly linear (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(50):
        value = float(special.polygamma(1, x))
        step = value * (1 - value / y) / float(special.polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x
