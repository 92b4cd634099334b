"""Which rows of a table or of activations are kept where there are more than memory should hold.

Every row has a random key; the rows of the smallest keys are kept, and rows of one key together: a whole group has one. Of a level that few
rows carry more are kept than its share, so that a small group can still be asked about. Keys may lie on disk: they are looked at in parts.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Ints

FEWEST: Final = 500  # rows of each level of a stratum that are kept, where there are so many
_RESERVED: Final = 0.5  # of the rows that are kept, at most, for levels that few rows carry
_PART: Final = 2**22
Keys = NDArray[np.uint64]


def draw_rows(keys_n: Keys, most: int, strata: Sequence[NDArray[Any]] = ()) -> tuple[Ints, int]:
    """Places of at most ``most`` rows, in rising order, and how many of them were kept because few carry their level.

    ``strata`` are columns ``(n,)`` of levels, below 0 where unknown: of each level at least ``FEWEST`` rows are kept, or all that there
    are; fewer where that would be more than half of all that is kept, and none beyond its share where groups are too large for it.
    """
    n = len(keys_n)
    if n <= most:
        return np.arange(n), 0
    rare = [(column, level) for column in strata for level in _rare(column, most, n)]
    fewest = min(FEWEST, int(_RESERVED * most) // max(len(rare), 1))
    reserved: Keys = np.zeros(0, dtype=np.uint64)
    for column, level in rare:
        own = np.concatenate([part[column[place] == level] for place, part in _parts(keys_n)])
        reserved = np.union1d(reserved, np.sort(own)[:fewest])
    limit = _limit(keys_n, most)
    held = _places(keys_n, lambda part: among(part, reserved)) if len(reserved) else np.zeros(0, dtype=np.int64)
    if len(held) > most:
        reserved, held = reserved[:0], held[:0]
    others = np.concatenate([part[_up_to(part, limit) & ~among(part, reserved)] for _, part in _parts(keys_n)])
    last = min(limit, _limit(others, most - len(held)))
    chosen = _places(keys_n, lambda part: among(part, reserved) | _up_to(part, last))
    return chosen, int((~_up_to(keys_n[held], limit)).sum())


def among(keys_n: Keys, sorted_m: Keys) -> Bools:
    """Which keys are some of those that are given in rising order."""
    if not len(sorted_m):
        return np.zeros(len(keys_n), dtype=bool)
    place = np.searchsorted(sorted_m, keys_n)
    return np.asarray(sorted_m[np.minimum(place, len(sorted_m) - 1)] == keys_n)


def _up_to(keys_n: Keys, limit: int) -> Bools:
    return np.asarray(keys_n <= limit if limit >= 0 else np.zeros(len(keys_n), dtype=bool))


def _parts(keys_n: Keys) -> Iterator[tuple[slice, Keys]]:
    for start in range(0, len(keys_n), _PART):
        place = slice(start, start + _PART)
        yield place, np.asarray(keys_n[place])


def _places(keys_n: Keys, wanted: Any) -> Ints:
    return np.concatenate([np.flatnonzero(wanted(part)) + int(place.start) for place, part in _parts(keys_n)])


def _limit(keys_n: Keys, most: int) -> int:
    """The largest key up to which at most so many rows lie, all rows of one key together; -1 where there is none."""
    if len(keys_n) <= most:
        return 2**64 - 1
    counts = np.zeros(2**16, dtype=np.int64)
    for _, part in _parts(keys_n):
        counts += np.bincount((part >> np.uint64(48)).astype(np.int64), minlength=2**16)
    before = np.cumsum(counts) - counts
    at = int(np.flatnonzero(before + counts > most)[0])
    inside = np.sort(np.concatenate([part[(part >> np.uint64(48)) == at] for _, part in _parts(keys_n)]))
    room = most - int(before[at])
    below = inside[:room][inside[:room] < inside[room]]
    return int(below[-1]) if len(below) else (at << 48) - 1


def _rare(column_n: NDArray[Any], most: int, n: int) -> list[int]:
    """Levels of which a plain sample is expected to keep too few rows."""
    counts = np.zeros(1, dtype=np.int64)
    for start in range(0, n, _PART):
        part = np.asarray(column_n[start : start + _PART])
        more = np.bincount(part[part >= 0].astype(np.int64), minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    return [int(level) for level in np.flatnonzero((counts > 0) & (counts * most < FEWEST * n))]


def mixed(values: NDArray[Any], salt: int = 0) -> Keys:
    """Numbers of 64 bits that look random, from others; the same from the same (the finaliser of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = np.asarray(values).astype(np.uint64) + np.uint64(salt)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)
