"""Last digits of units: of the stored number, of its place on a grid of equal steps, and of that place as people write it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.probes.whitening import EXACT_LEVELS, MANTISSA

_GRID_TOLERANCE: Final = 0.02
_FINE_TOLERANCE: Final = 0.2  # of a grid of very many levels, on which no other numbers lie by chance
_LARGEST_CODE: Final = 2**24
_LARGEST_FINE: Final = 2**40  # more places than this no double tells apart by its steps
_MOST_PARTS: Final = 12  # of the smallest difference between two values, that the step may be
_REMAINDERS: Final = (3, 7)  # beside those by two and ten; seven are the days of a week
_COMES_ROUND: Final = 4  # times that a remainder must in a unit's span, or it is no fine digit
_ALONE: Final = 99  # place of what is not asked in products with other digits
_MOST_PLACES: Final = 7  # decimals finer than the smallest difference of two values
_ROOM: Final = 20  # digits of a unit that are held, from which on there is room for remainders


@dataclass(frozen=True)
class _Grid:
    place_n: Ints  # from the lowest value on
    first: int  # place of the lowest value from zero, where zero lies on the grid; else 0

    @property
    def fine(self) -> int:
        """Binary digits of the places that are fine against their spread."""
        return max(0, int(self.place_n.max()).bit_length() - 2)


def last_digits(acts_nd: NDArray[np.generic], most: int) -> Iterator[tuple[int, NDArray[np.int8]]]:
    """Digits fine against a unit's spread, at most so many binary ones of each: the place from the last one, and -1, 0 or 1 of each row.

    Of units on a grid (whole numbers, levels) they are the binary digits of the place on the grid, of others those of the mantissa, without
    the leading ones that any reader of smooth functions sees. Exact zeros of a unit that is often zero have none. Where very many levels
    lie on a grid (decimals, standardised whole numbers) both are given. Of every grid there are decimal digits and remainders
    besides, each of them as 0 or 1.
    """
    values = np.asarray(acts_nd)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    for unit in range(values.shape[1]):
        column = values[:, unit]
        grid = _on_grid(column)
        codes, fine = (grid.place_n, grid.fine) if grid is not None else _of_mantissa(column)
        yield from _binary(codes, min(fine, most))
        if grid is None and (grid := _on_fine_grid(column)) is not None:
            yield from _binary(grid.place_n, min(grid.fine, most))
        if grid is not None:
            yield from _written(grid, most)


def _binary(codes_n: Ints, places: int) -> Iterator[tuple[int, NDArray[np.int8]]]:
    for place in range(places):
        signs = (((codes_n >> place) & 1) * 2 - 1).astype(np.int8)
        signs[codes_n < 0] = 0
        yield place, signs


def _written(grid: _Grid, most: int) -> Iterator[tuple[int, NDArray[np.int8]]]:
    """Decimal digits from the last one, and remainders: for each that occurs, which rows have it."""
    numbers, span = np.abs(grid.place_n + grid.first), int(grid.place_n.max())
    asked: list[tuple[int, int]] = []
    power = 1
    while span >= _COMES_ROUND * 10 * power and len(asked) < max(1, most // _ROOM):
        asked.append((power, 10))
        power *= 10
    asked += [(1, by) for by in _REMAINDERS if most >= _ROOM and span >= _COMES_ROUND * by]
    for power, by in asked:
        digits = numbers // power % by
        yield from ((_ALONE, (digits == digit).astype(np.int8)) for digit in np.unique(digits))


def _of_mantissa(column_n: NDArray[np.floating[Any]]) -> tuple[Ints, int]:
    """Whole numbers whose last binary digits are those of the mantissa (-1: none), and how many of them are fine."""
    whole = {8: np.int64, 4: np.int32, 2: np.int16}[column_n.dtype.itemsize]
    raw = np.ascontiguousarray(column_n).view(whole).astype(np.int64)
    bits = MANTISSA[column_n.dtype.itemsize]
    mantissa = raw & (2**bits - 1)
    used = int(np.bitwise_or.reduce(mantissa))
    if not used:
        return np.full(len(column_n), -1), 0
    empty = (used & -used).bit_length() - 1
    codes = mantissa >> empty
    codes[column_n == 0] = -1
    return codes, max(0, bits - empty - 4)


def _on_grid(column_n: NDArray[np.floating[Any]]) -> _Grid | None:
    """Places of the values of a unit on a grid of equal steps, from 0; ``None`` where there is no such grid or it is fine."""
    levels, inverse = np.unique(column_n, return_inverse=True)
    if len(levels) < 2:
        return _Grid(np.zeros(len(column_n), dtype=np.int64), 0)
    levels = levels.astype(np.float64)
    whole = bool((levels == np.rint(levels)).all())
    if not whole and len(levels) > max(EXACT_LEVELS, len(column_n) // 4):
        return None
    found = _places(levels, 1.0 if whole else float(np.diff(levels).min()), _LARGEST_CODE, _GRID_TOLERANCE)
    return None if found is None else _Grid(found.place_n[inverse.reshape(-1)], found.first)


def _on_fine_grid(column_n: NDArray[np.floating[Any]]) -> _Grid | None:
    """The same of a unit of very many levels: decimals, or steps that are the smallest difference of two values or a small part of it."""
    levels, inverse = np.unique(column_n.astype(np.float64), return_inverse=True)
    if len(levels) <= EXACT_LEVELS:
        return None
    gaps = np.diff(levels)
    most, at = float(gaps.min()), int(gaps.argmin())
    rounded = float(np.spacing(np.abs(column_n).max()))
    finest = rounded / _FINE_TOLERANCE  # finer steps are those of the format, which its own digits tell
    if most < finest:
        return None
    last = int(np.floor(np.log10(most) + 1e-6))
    # Decimals are off by nothing but their rounding, else a coarser one would pass for them.
    steps = [(step, min(4 * rounded / step, _FINE_TOLERANCE)) for step in (10.0 ** (last - place) for place in range(_MOST_PLACES))]
    steps += [(most / parts, _FINE_TOLERANCE) for parts in range(1, _MOST_PARTS + 1)]
    some = np.unique(levels[:: len(levels) // EXACT_LEVELS])  # of nearly all units a few levels tell that they lie on no grid
    for number, (step, tolerance) in enumerate(steps):
        if step < finest:
            continue
        step = step if number < _MOST_PLACES else _refined(levels, at, step)
        if _places(some, step, _LARGEST_FINE, tolerance) is None:
            continue
        if (found := _places(levels, step, _LARGEST_FINE, tolerance)) is not None:
            return _Grid(found.place_n[inverse.reshape(-1)], found.first)
    return None


def _refined(levels_k: NDArray[np.float64], at: int, step: float) -> float:
    """A step that two neighbours show but for their rounding, from levels ever farther apart."""
    width = 1
    while width < len(levels_k):
        width *= 2
        apart = float(levels_k[min(len(levels_k) - 1, at + width)] - levels_k[max(0, at - width)])
        step = apart / max(1.0, float(np.rint(apart / step)))
    return step


def _places(levels_k: NDArray[np.float64], step: float, most: int, tolerance: float) -> _Grid | None:
    """Places of rising levels on a grid of about that step; ``None`` where they lie on none, or have too many places."""
    span = float(levels_k[-1] - levels_k[0])
    steps = np.rint(span / step)
    if not 0 < steps < most:
        return None
    exact = span / steps
    places = (levels_k - levels_k[0]) / exact
    if np.abs(places - np.rint(places)).max() > tolerance:
        return None
    first = float(levels_k[0]) / exact
    on_zero = abs(first) < most and abs(first - np.rint(first)) <= tolerance
    return _Grid(np.asarray(np.rint(places), dtype=np.int64), int(np.rint(first)) if on_zero else 0)
