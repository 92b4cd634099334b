"""A target that is a number: its scale, in which differences of predictions are told, and its bands, which stand for true labels."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.columns import Column
from proxyaudit.data.intersections import people_of
from proxyaudit.data.public_counts import SMALLEST_CELL, TIMES, count_people, heaviest
from proxyaudit.errors import InputError

FEWEST_VALUES: Final = 3  # of fewer a number is two classes
_BANDS: Final = {5: "fifth", 4: "quarter", 3: "third", 2: "half"}
_PLACES: Final = {5: ("lowest", "second", "middle", "fourth", "highest"), 4: ("lowest", "second", "third", "highest")}
_MIN_BAND_ROWS: Final = 30


@dataclass(frozen=True)
class Number:
    """How a numeric target is read: in its standard deviations from its mean, both of real training rows, and by bands of about as many.

    Mean and standard deviation are published, so they have three digits of the latter, fewer where ten people carry it. The edges of the
    bands stay here: they are single people's numbers.
    """

    mean: float
    sd: float
    edges: tuple[float, ...]

    @classmethod
    def of(cls, train: Column, audit: Column, groups: tuple[Column | None, ...], *, where: str) -> "Number":
        """The scale and as many bands, five at most, as both tables have rows for (those of ``groups`` people). ``InputError``: none."""
        values = _finite(train if len(train) else audit, where=where)
        with np.errstate(over="ignore", invalid="ignore"):
            sd = float(f"{values.std():.3g}")
            carried = _carried(values, groups[0] if len(train) else groups[1])
        if not np.isfinite(sd):
            raise InputError(f"target '{train.name}' holds numbers too large to be told apart", where=where, mend="rescale it")
        if not sd:
            raise InputError(f"target '{train.name}' has one value only", where=where, mend="choose another target")
        step = 10.0 ** np.floor(np.log10(sd / 100))
        if carried is not None:
            sd, step = _coarse(sd, carried[1]), max(step, 10.0 ** np.ceil(np.log10(carried[0])))
        mean = float(f"{np.round(values.mean() / step) * step:.12g}")
        for count in _BANDS:
            edges = tuple(float(edge) for edge in np.unique(np.quantile(values, np.arange(1, count) / count)))
            found = cls(mean, sd, tuple(edge for edge in edges if edge < values.max()))
            tables = [(found.bands(_finite(one, where=where)), who) for one, who in zip((train, audit), groups, strict=True) if len(one)]
            if found.edges and all(_populated(codes, len(found.edges) + 1, who) for codes, who in tables):
                return found
        what = f"target '{train.name}' has too few rows, or too many of one value, to be audited as a number"
        raise InputError(what, where=where, mend="use more rows, or set data.target_threshold: median")

    @property
    def names(self) -> tuple[str, ...]:
        """What the bands are called, from low to high; no number of theirs is told."""
        count = len(self.edges) + 1
        places = _PLACES.get(count, ("lowest", "middle", "highest") if count == 3 else ("lower", "upper"))
        return tuple(f"{place} {_BANDS[count]}" for place in places)

    def bands(self, values_n: Floats) -> Ints:
        """The band of each value."""
        return np.searchsorted(np.asarray(self.edges), values_n, side="left").astype(np.int64)

    def scaled(self, values_n: Floats) -> Floats:
        """Values in standard deviations from the mean."""
        return np.asarray((values_n - self.mean) / self.sd, dtype=np.float64)


def numeric_values(column: Column, *, where: str = "") -> Floats:
    """The numbers of a target ``(n,)``; ``InputError`` where one is missing."""
    return _finite(column, where=where)


def _finite(column: Column, *, where: str) -> Floats:
    values = column.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"target '{column.name}' has missing values", where=where, mend="drop those rows")
    return np.asarray(values)


def _carried(values_n: Floats, groups: Column | None) -> tuple[float, float] | None:
    """Below which digits of mean and standard deviation tell of single people; ``None`` where eleven or more carry the latter."""
    apart = values_n - values_n.mean()
    whose = people_of(groups, len(apart))
    sums, squares = (np.bincount(whose, weights=one).astype(np.float64) for one in (apart, apart**2))
    few = heaviest(squares)
    if not len(few):
        return None
    n, sd = len(apart), float(values_n.std())
    return TIMES * float(np.abs(sums[few]).max()) / n, TIMES * float(squares[few].max()) / (2 * n * sd)


def _coarse(sd: float, least: float) -> float:
    """A standard deviation without digits below ``least``: never a larger one, in which gaps would look smaller than they are."""
    step = 10.0 ** np.ceil(np.log10(least))
    if step > sd:  # only its size is told: 1, 2 or 5 times a power of ten
        step = 10.0 ** np.floor(np.log10(sd))
        return float(f"{step * max(lead for lead in (1, 2, 5) if lead * step <= sd * (1 + 1e-9)):.3g}")
    return float(f"{np.floor(sd / step * (1 + 1e-9)) * step:.3g}")


def _populated(codes_n: Ints, count: int, groups: Column | None) -> bool:
    if np.bincount(codes_n, minlength=count).min() < _MIN_BAND_ROWS:
        return False
    return groups is None or bool(count_people(pd.Series(codes_n, index=groups.index), groups).min() >= SMALLEST_CELL)
