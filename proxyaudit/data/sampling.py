"""Which rows of a table or of activations are kept where there are more than memory should hold.

Every row has a random key; the rows of the smallest keys are kept, whole groups at a time. Of a level that few rows carry more are kept
than its share, so that a small group can still be asked about.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Ints

FEWEST: Final = 500  # rows of each level of a stratum that are kept, where there are so many
_RESERVED: Final = 0.5  # of the rows that are kept, at most, for levels that few rows carry


def draw_rows(keys_n: NDArray[Any], most: int, strata: Sequence[Ints] = (), units_n: Ints | None = None) -> tuple[Ints, int]:
    """Places of at most ``most`` rows, in rising order, and how many of them were kept because few carry their level.

    ``keys_n`` are random; of ``units_n`` (groups: any numbers) whole ones are kept, by their smallest key. ``strata`` are columns of
    levels, below 0 where unknown: of each level at least ``FEWEST`` rows are kept, or all that there are; where that would be more than
    half of all that is kept, fewer.
    """
    n = len(keys_n)
    if n <= most:
        return np.arange(n), 0
    units = np.arange(n) if units_n is None else np.unique(units_n, return_inverse=True)[1].astype(np.int64)
    order, sizes = _in_order(keys_n, units)
    rare = [(column, level, count) for column in strata for level, count in _rare(column, most, n)]
    fewest = min(FEWEST, int(_RESERVED * most) // max(len(rare), 1))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    # Units that are kept, by their rank: those of rare levels first, then all others in order.
    reserved = np.zeros(len(order), dtype=bool)
    for column, level, count in rare:
        held = np.bincount(rank[units[column == level]], minlength=len(order))
        wanted = np.flatnonzero(held)
        reserved[wanted[np.cumsum(held[wanted]) - held[wanted] < min(fewest, count)]] = True
    size = sizes[order]
    if size[reserved].sum() > most:  # whole groups may be larger than the rows that were wanted of them
        reserved &= np.cumsum(size * reserved) <= most
    room = most - int(size[reserved].sum())
    kept = reserved | (np.cumsum(np.where(reserved, 0, size)) <= room)
    alone = np.cumsum(size) <= most  # what would have been kept without levels
    extra = int(size[kept & ~alone].sum())
    return np.flatnonzero(kept[rank[units]]), extra


def _in_order(keys_n: NDArray[Any], units_n: Ints) -> tuple[Ints, Ints]:
    """Units from the smallest key to the largest, and their sizes."""
    sizes = np.bincount(units_n)
    if len(sizes) == len(keys_n):
        smallest: NDArray[Any] = np.empty_like(keys_n)
        smallest[units_n] = keys_n
    else:
        smallest = np.full(len(sizes), keys_n.max(), dtype=keys_n.dtype)
        np.minimum.at(smallest, units_n, keys_n)
    return np.argsort(smallest, kind="stable"), sizes


def _rare(column_n: Ints, most: int, n: int) -> list[tuple[int, int]]:
    """Levels of which a plain sample is expected to keep too few rows, and how many rows carry each."""
    counts = np.bincount(column_n[column_n >= 0])
    return [(int(level), int(counts[level])) for level in np.flatnonzero((counts > 0) & (counts * most < FEWEST * n))]
