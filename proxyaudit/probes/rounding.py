"""What stored numbers cannot hold: spacing and rounding noise of a format, and the digits that readers of smooth functions overlook."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints

EXACT_LEVELS = 256  # a unit of at most so many values (codes, counts, levels) was not rounded: what it holds is exact
_MANTISSA = {8: 52, 4: 23, 2: 10}  # stored bits of float64, float32 and float16
_SHORTER = (10, 7)  # float16 and bfloat16, often handed over in wider formats
_GRID_TOLERANCE = 0.02
_LARGEST_CODE = 2**24


def mantissa_bits(acts_nd: NDArray[np.generic]) -> int:
    """Stored mantissa bits of the format that the values fit into: 52, 23, 10 (float16) or 7 (bfloat16), whatever they are stored in."""
    values = np.asarray(acts_nd)
    if values.dtype.kind != "f":
        return _MANTISSA[8]
    bits = _MANTISSA[values.dtype.itemsize]
    if bits == _MANTISSA[8]:
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if not np.array_equal(narrow.astype(np.float64), values):
            return bits
        values, bits = narrow, _MANTISSA[4]
    if bits == _MANTISSA[4]:
        used = int(np.bitwise_or.reduce(np.ascontiguousarray(values, dtype=np.float32).view(np.int32), axis=None)) & (2**23 - 1)
        for shorter in _SHORTER:
            if not used & (2 ** (23 - shorter) - 1):
                bits = shorter
    return bits


def rounding_variance(acts_nd: NDArray[np.generic], bits: int) -> Floats:
    """Variance ``(d,)`` that rounding to the nearest stored number leaves in each unit: a twelfth of its spacing squared.

    A unit of few values is exact: codes and counts are not results of arithmetic.
    """
    out = np.zeros(acts_nd.shape[1])
    for unit in range(acts_nd.shape[1]):
        values = np.asarray(acts_nd[:, unit], dtype=np.float64)
        if len(np.unique(values)) <= EXACT_LEVELS:
            continue
        exponents = np.frexp(values)[1]
        spacing = np.where(values == 0, 0.0, np.ldexp(1.0, exponents - 1 - bits))
        out[unit] = float((spacing**2).mean()) / 12
    return out


def last_digits(acts_nd: NDArray[np.generic], most: int) -> Iterator[tuple[int, NDArray[np.int8]]]:
    """Binary digits fine against a unit's spread, at most so many of each: the place from the last one, and -1, 0 or 1 of each row.

    Of units on a grid (whole numbers, levels) they are the digits of the place on the grid, of others those of the mantissa, without
    the leading ones that any reader of smooth functions sees. Exact zeros of a unit that is often zero have none.
    """
    values = np.asarray(acts_nd)
    if values.dtype.kind != "f":
        values = values.astype(np.float64)
    for unit in range(values.shape[1]):
        codes, places = _codes(values[:, unit])
        for place in range(min(places, most)):
            signs = (((codes >> place) & 1) * 2 - 1).astype(np.int8)
            signs[codes < 0] = 0
            yield place, signs


def _codes(column_n: NDArray[np.floating]) -> tuple[Ints, int]:
    """Whole numbers whose last binary digits are those of the values (-1: none), and how many of them are fine."""
    grid = _on_grid(column_n)
    if grid is not None:
        return grid, max(0, int(grid.max()).bit_length() - 2)
    whole = {8: np.int64, 4: np.int32, 2: np.int16}[column_n.dtype.itemsize]
    raw = np.ascontiguousarray(column_n).view(whole).astype(np.int64)
    bits = _MANTISSA[column_n.dtype.itemsize]
    mantissa = raw & (2**bits - 1)
    used = int(np.bitwise_or.reduce(mantissa))
    if not used:
        return np.full(len(column_n), -1), 0
    empty = (used & -used).bit_length() - 1
    codes = mantissa >> empty
    codes[column_n == 0] = -1
    return codes, max(0, bits - empty - 4)


def _on_grid(column_n: NDArray[np.floating]) -> Ints | None:
    """Places of the values of a unit on a grid of equal steps, from 0; ``None`` where there is no such grid or it is fine."""
    levels, inverse = np.unique(column_n, return_inverse=True)
    if len(levels) < 2:
        return np.zeros(len(column_n), dtype=np.int64)
    levels = levels.astype(np.float64)
    whole = bool((levels == np.rint(levels)).all())
    if not whole and len(levels) > max(EXACT_LEVELS, len(column_n) // 4):
        return None
    span = float(levels[-1] - levels[0])
    step = 1.0 if whole else float(np.diff(levels).min())
    steps = np.rint(span / step)
    if not 0 < steps < _LARGEST_CODE:
        return None
    places = (levels - levels[0]) / (span / steps)
    if np.abs(places - np.rint(places)).max() > _GRID_TOLERANCE:
        return None
    return np.asarray(np.rint(places).astype(np.int64)[inverse.reshape(-1)])
