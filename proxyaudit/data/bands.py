"""Bands of numbers: an age as "under 30", "30 to 39" and so on, so that groups of people are audited and not a slope."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Bands:
    """Where a column of numbers is cut.

    Attributes:
        edges: Rising numbers; each begins a new band.
        levels: Names of the ``len(edges) + 1`` bands, from low to high.
    """

    edges: tuple[float, ...]
    levels: tuple[str, ...]

    @classmethod
    def of(cls, edges: tuple[float, ...], *, whole: bool) -> Self:
        """Name the bands; of ``whole`` numbers their last one is named too.

        >>> Bands.of((30, 40), whole=True).levels
        ('under 30', '30 to 39', '40 and over')
        >>> Bands.of((0.5, 1), whole=False).levels
        ('under 0.5', '0.5 to under 1', '1 and over')
        """
        whole = whole and all(float(edge).is_integer() for edge in edges)
        names = [f"under {_number(edges[0])}"]
        for low, high in pairwise(edges):
            last = _number(high - 1) if whole else f"under {_number(high)}"
            names.append(_number(low) if last == _number(low) else f"{_number(low)} to {last}")
        return cls(edges, (*names, f"{_number(edges[-1])} and over"))

    def cut(self, numbers: pd.Series[Any]) -> pd.Series[Any]:
        """Return the band of each number, as text; missing values stay missing."""
        values = numbers.to_numpy(dtype=np.float64)
        place = np.where(np.isnan(values), -1, np.searchsorted(self.edges, values, side="right"))
        known = np.array([*self.levels, np.nan], dtype=object)
        return pd.Series(known[place], index=numbers.index, name=numbers.name, dtype=object)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
