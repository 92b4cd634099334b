"""How finely a number is published: no finer than the decision needs, so that single people do not show in its digits.

Everything is rounded here, before anything is decided, so that whoever holds a pack decides from the very same digits. Shares, gaps and
effects lie on a grid of at most a fiftieth of their margin; areas under a curve and rates are no finer than four of the rows they rest on.
p-values are rounded up to two digits, intervals outwards. No number crosses its margin, and no end of an interval a value at which
something is decided.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxyaudit.types import Estimate

LEAST_MARGIN: Final = 0.02  # of numbers that have none of their own
GAP_MARGIN: Final = 0.05  # and of differences in outputs
PER_MARGIN: Final = 50
LEAST_P: Final = 1e-6  # smaller ones decide nothing else
_PEOPLE: Final = 4  # whose places in a ranking may not show in an area under the curve
_NOISE: Final = 1e-9  # of summation order: nothing may depend on the side on which it lies
_RATIO_STEP, _LOG_STEP = 0.01, 0.002
_AREA_STEPS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
_RATIOS: Final = ("ratio", "standard deviations of the log-odds")
_AREAS: Final = ("AUROC", "area", "rate", "distance", "R squared of")
_DIFFERENCES: Final = ("difference in mean", "difference between groups", "mean absolute change")
_LEVELS: Final = (LEAST_P, 1e-5, 1e-4, 1e-3, 0.01, 0.025, 0.05, 1.0)  # at which something may be decided
_SHARES: Final = ("share", "found_once", "found_twice")
_AS_THEY_ARE: Final = ("margin", "identical_pairs")


def significant(value: float | None, digits: int = 6) -> float | None:
    """Round to significant digits: what is below the noise of summation order has no place in evidence."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def coarsest(limit: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is at most ``limit``.

    >>> [coarsest(x) for x in (0.0004, 0.001, 0.002, 0.0099)]
    [0.0002, 0.001, 0.002, 0.005]
    """
    power = math.floor(math.log10(limit * (1 + 1e-9)))
    return next(step for lead in (5, 2, 1) if (step := float(f"{lead}e{power}")) <= limit * (1 + 1e-9))


def step_of(unit: str, margin: float | None) -> float:
    """The grid of a number, by its unit and its margin."""
    if unit.startswith(_AREAS):
        return _AREA_STEPS[0]
    if unit.startswith(_RATIOS):
        return _RATIO_STEP
    if unit == "log ratio":
        return _LOG_STEP
    return coarsest((margin or (GAP_MARGIN if unit.startswith(_DIFFERENCES) else LEAST_MARGIN)) / PER_MARGIN)


def coarser(step: float, least: float) -> float:
    """A multiple of ``step`` by 1, 2 or 5 times a power of ten that is at least ``least``.

    >>> [coarser(0.0002, x) for x in (0.0, 0.0003, 0.009)]
    [0.0002, 0.0004, 0.01]
    """
    if not math.isfinite(least) or least <= step:
        return step
    power = 10.0 ** math.floor(math.log10(least / step) + 1e-9)
    return next(found for lead in (1, 2, 5, 10) if (found := float(f"{lead * power * step:.9g}")) >= least * (1 - 1e-9))


def area_step(n: int | None) -> float:
    """The grid of a reader's area under the curve: three decimals, fewer where four of ``n`` rows weigh more than that.

    >>> [area_step(n) for n in (None, 240, 800, 5000)]
    [0.001, 0.02, 0.005, 0.001]
    """
    least = _PEOPLE / n if n else 0.0
    return next((step for step in _AREA_STEPS if step >= least), _AREA_STEPS[-1])


@dataclass(frozen=True)
class Grid:
    """Points that a number may take, and ``marks`` at which something is decided, of which it stays on its side."""

    step: float
    marks: Sequence[float] = ()
    beside: float = 0.0  # how far from a mark a number is put that would cross it; by default a step

    def nearest(self, value: float | None) -> float | None:
        """The nearest point; ``None`` where there is no finite number.

        >>> Grid(0.0002, [0.02]).nearest(0.0203), Grid(0.0002, [0.02]).nearest(0.02009), Grid(0.0002).nearest(0.02009)
        (0.0202, 0.0202, 0.02)
        >>> Grid(0.01, [0.02], 0.0002).nearest(0.019)
        0.0198
        """
        return self._point(value, round)

    def below(self, value: float | None) -> float | None:
        """The next point below."""
        return self._point(value, lambda place: math.floor(place + 1e-6))

    def above(self, value: float | None) -> float | None:
        """The next point above."""
        return self._point(value, lambda place: math.ceil(place - 1e-6))

    def _point(self, value: float | None, to_place: Callable[[float], int]) -> float | None:
        if value is None or not math.isfinite(value):
            return None
        found, beside = _times(to_place(value / self.step), self.step), self.beside or self.step
        for mark in self.marks:
            if abs(value - mark) < _NOISE:
                continue
            if value < mark <= found:
                found = _times(math.ceil(mark / beside - 1e-9) - 1, beside)
            elif value > mark >= found:
                found = _times(math.floor(mark / beside + 1e-9) + 1, beside)
        return found


def coarse_step(e: Estimate) -> float | None:
    """The step on which a published number that few people carry lies: the largest that its interval and repetitions fit, else ``None``.

    Ten times what numbers of its kind are published in at least: less may be chance.
    """
    points, fine = [x for x in (e.low, e.high, *e.seed_values) if x], step_of(e.unit, e.margin)
    if len(points) < 2:  # zero fits every step
        return None
    steps = [float(f"{fine * lead * 10**power:.9g}") for power in (1, 2, 3) for lead in (1, 2, 5)]
    fitting = [step for step in steps if step <= max(map(abs, points)) and all(abs(x / step - round(x / step)) < 1e-6 for x in points)]
    return max(fitting, default=None)


def bound(value: float | None, step: float, margin: float | None) -> float | None:
    """The next point of the grid above; of a bound within the margin at most the margin."""
    found = Grid(step).above(value)
    if value is None or found is None or margin is None:
        return found
    return margin if value <= margin < found else found


def p_value(p: float | None, *, roughly: bool = False) -> float | None:
    """Two digits, rounded up, so that nothing is found that was not; ``roughly``: the next level at which something may be decided.

    >>> [p_value(p) for p in (0.0, 0.00411, 0.05, 0.0500001, 0.998)]
    [1e-06, 0.0042, 0.05, 0.051, 1.0]
    """
    if p is None or not math.isfinite(p):
        return None
    if p <= LEAST_P:
        return LEAST_P
    if roughly:
        return next(level for level in _LEVELS if p <= level * (1 + 1e-9))
    unit = 10.0 ** (math.floor(math.log10(p) + 1e-12) - 1)
    return min(1.0, float(f"{math.ceil(p / unit - 1e-9) * unit:.2g}"))


def is_rounded(e: Estimate) -> bool:
    """Whether no number of a published estimate is finer than it may be."""
    step = step_of(e.unit, e.margin)
    ends = (e.low, e.high, *(e.next_model or ()))
    points = [(x, step) for x in (e.value, *ends, e.raw, e.bound, e.detection_limit, e.null_high, *e.seed_values)]
    points.append((e.auroc, area_step(e.n)))
    on_grid = all(x is None or x == e.margin or _lies_on(grid, x) for x, grid in points)
    return on_grid and all(p is None or p == p_value(p) for p in (e.p_present, e.p_absent))


def _lies_on(grid: float, x: float) -> bool:
    steps = x / grid
    return math.isfinite(steps) and abs(steps - round(steps)) < 1e-4


def figures_of(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """The figures of a control: p-values up, shares down, the rest on the grid of its margin."""
    step = step_of("", figures.get("margin"))
    return {name: _figure(name, value, step) for name, value in figures.items()}


def _figure(name: str, value: float | None, step: float) -> float | None:
    if name in _AS_THEY_ARE:
        return value
    if name == "p" or name.endswith("_p"):
        return p_value(value)
    return Grid(0.01).below(value) if name in _SHARES or name == "least_found" else Grid(step).nearest(value)


def _times(place: int, step: float) -> float:
    return float(f"{place * step:.9g}") + 0.0
