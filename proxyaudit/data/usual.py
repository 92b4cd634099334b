"""How large the numbers of a column usually are in real training rows, and whether those of another table are of that kind at all.

Income in thousands, in cents, or set to one value throughout is a number like any other to whoever encodes it, and an audit on such rows
would call removed what was only not shown. A later year, a narrower group or a higher mean is no such thing: sizes and spreads are held
against factors of five and more, never against the mere range.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.data.columns import Column
from proxyaudit.data.public_counts import SMALLEST_CELL

_TAIL: Final = 0.005  # of the training rows on either side, which no usual number is measured by
_FAR: Final = 3.0  # times the largest usual number
_FAR_SHARE: Final = 0.2  # of the rows; fewer are outliers
_SHRUNK: Final = 1 / 30  # of usual size and spread, wherever the numbers lie
_SMALLER: Final = 1 / 5  # of usual size and spread, where nearly all lie beside the usual range
_NEARLY_ALL: Final = 0.95
_ONE_VALUE: Final = 0.99  # of the rows
_MANY: Final = 20  # different values: of fewer, one alone may be a group of people or a year
_FEWEST: Final = 2 * SMALLEST_CELL + 8  # rows of the other table


@dataclass(frozen=True)
class Usual:
    """The numbers of a column in training rows; single people's, so never written down."""

    low: float
    high: float
    middle: tuple[float, float]  # where the middle half of them lies
    size: float  # mean distance from zero, without the tails
    spread: float  # standard deviation, without the tails
    many: bool  # whether there are many values, and none that half of the rows have

    @classmethod
    def of(cls, column: Column) -> "Usual | None":
        """As the rows of a coerced column have it; ``None`` where they are too few, or nearly all the same."""
        values = _known(column)
        if len(values) < _FEWEST:
            return None
        low, first, third, high = (float(edge) for edge in np.quantile(values, (_TAIL, 0.25, 0.75, 1 - _TAIL)))
        within = np.clip(values, low, high)
        with np.errstate(over="ignore", invalid="ignore"):
            size, spread = float(np.abs(within).mean()), float(within.std())
        if not (np.isfinite(spread) and spread > 0):
            return None
        counts = np.unique(values, return_counts=True)[1]
        return cls(low, high, (first, third), size, spread, len(counts) > _MANY and counts.max() <= len(values) / 2)

    def foreign(self, column: Column) -> tuple[float, str]:
        """Share of the known rows that hold no such number, and in words what they hold; zero where they may well be such numbers."""
        values = _known(column)
        if len(values) < _FEWEST:
            return 0.0, ""
        largest = _FAR * max(abs(self.low), abs(self.high))
        far = float((np.abs(values) > largest).mean())
        first, third = (float(edge) for edge in np.quantile(values, (0.25, 0.75)))
        ranges = f"half of them lie {_between(first, third)}, of the real training rows {_between(*self.middle)}"
        if far > _FAR_SHARE:
            return far, f"numbers much larger than the real table's: {ranges}"
        most = float(np.unique(values, return_counts=True)[1].max()) / len(values)
        if self.many and most >= _ONE_VALUE:
            return 1.0, f"one number in nearly all rows: {ranges}"
        within = np.clip(values, -largest, largest)
        factor = max(float(np.abs(within).mean()) / self.size, float(within.std()) / self.spread)
        beside = float(((values < self.low) | (values > self.high)).mean()) >= _NEARLY_ALL
        if (self.many or most < _ONE_VALUE) and factor < (_SMALLER if beside else _SHRUNK):
            return 1.0, f"numbers much smaller than the real table's: {ranges}"
        return 0.0, ""


def _known(column: Column) -> Floats:
    values = column.to_numpy(dtype=np.float64)
    return np.asarray(values[np.isfinite(values)])


def _between(low: float, high: float) -> str:
    """A range so coarse that it is nobody's number."""
    one, other = (f"{float(f'{edge:.1e}'):,.15g}" for edge in (low, high))
    return f"at about {one}" if one == other else f"between about {one} and {other}"
