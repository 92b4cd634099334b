"""Columns of a table as cells: what a reader of one column, or of a pair, may tell apart; settled once on the real training rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from proxyaudit.arrays import Floats, Ints

FINE, COARSE = 16, 6
"""Quantiles of a number, once over the rows and once over its distinct values (heavy tails have cells too)."""
MOST_LEVELS = 200
FEWEST_IN_LEVEL = 5
_ALL_VALUES = 40  # a number with no more distinct values has a cell for each


@dataclass(frozen=True)
class ColumnCells:
    """A fixed map from the values of one column to cells."""

    name: str  # the column
    edges: Floats | None  # upper edges of a number's cells, or ``None`` for a category
    coarse: Floats | None  # fewer edges, for the second column of a pair
    levels: tuple[str, ...]  # levels of a category that have a cell of their own

    def codes(self, column: pd.Series, *, coarse: bool = False) -> Ints:
        """Cell of each row, shape ``(n,)``; a missing value, and levels without a cell of their own, share one each."""
        edges = self.coarse if coarse else self.edges
        if edges is not None:
            values = column.to_numpy(dtype=np.float64)
            return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values)).astype(np.int64)
        known = column.notna().to_numpy()
        found = pd.Index(self.levels).get_indexer(pd.Index(column.astype(object)))
        return np.where(~known, len(self.levels) + 1, np.where(found < 0, len(self.levels), found)).astype(np.int64)


def settle_cells(column: pd.Series, kind: str) -> ColumnCells:
    """Settle the cells of a column on training rows."""
    name = str(column.name)
    if kind == "numeric":
        values = column.to_numpy(dtype=np.float64)
        values = np.sort(values[~np.isnan(values)])
        return ColumnCells(name, _edges(values, FINE), _edges(values, COARSE, all_values=COARSE), ())
    counts = column.value_counts()
    ranked = sorted(
        (str(level) for level in counts.index if counts[level] >= FEWEST_IN_LEVEL), key=lambda level: (-int(counts[level]), level)
    )
    return ColumnCells(name, None, None, tuple(sorted(ranked[:MOST_LEVELS])))


def _edges(values: Floats, parts: int, all_values: int = _ALL_VALUES) -> Floats:
    distinct = np.unique(values)
    if len(distinct) <= all_values:
        return distinct[:-1]
    shares = np.arange(1, parts) / parts
    places = np.concatenate([(shares * len(rows)).astype(np.int64) + offset for rows, offset in ((values, 0), (distinct, len(values)))])
    # Order statistics, not interpolated quantiles: an edge is a value that occurs.
    return np.unique(np.concatenate([values, distinct])[places])


def pair_codes(first_n: Ints, second_n: Ints) -> tuple[Ints, Ints]:
    """Cells of a pair, numbered densely, and the first column's cell of each.

    >>> pair_codes(np.array([0, 0, 2]), np.array([5, 1, 5]))
    (array([1, 0, 2]), array([0, 0, 2]))
    """
    width = int(second_n.max()) + 1 if len(second_n) else 1
    numbers = first_n * width + second_n
    cells = np.flatnonzero(np.bincount(numbers))  # counted, since there are few of them: sorting all rows takes longer
    dense = np.zeros(int(cells[-1]) + 1 if len(cells) else 0, dtype=np.int64)
    dense[cells] = np.arange(len(cells))
    return dense[numbers], np.asarray(cells // width, dtype=np.int64)
