"""Exact whitening in float64: the coordinates in which every linear question is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.later import Later
from proxyaudit.stats.directions import Block, Rows

special = Later("scipy.special")  # slow to load, and needless for commands that read evidence

_TAIL = 1e-3  # share of Gaussian rows that are longer than the bound
_LIGHT = 0.02  # share of all variance beyond the bound up to which tails are left as they are
_HELD = 0.5  # share of an axis's variance that shortened rows must keep, or it is rescaled
_STEPS = 40
_LARGEST_SCALE = 1e5  # below a hundred thousandth of an axis's spread lies rounding
_NARROW = 0.02  # share of an axis's variance in the other rows from which down these are given a coordinate of their own
_ALIVE = 0.1
_LONGEST_NORM = 4.0
_DEPENDENT = 1e-6
EXACT_LEVELS = 256  # a unit of at most so many values (codes, counts, levels) was not rounded: what it holds is exact
MANTISSA = {8: 52, 4: 23, 2: 10}  # stored bits of float64, float32 and float16
_SHORTER = (10, 7)  # float16 and bfloat16, often handed over in wider formats
RELATIVE_TOLERANCE = 1e-12  # of the largest eigenvalue: below it axes are found apart, in what the others leave
RARE = 0.05  # share of rows on which a unit that is constant otherwise moves
_COMPUTED = 1e-12  # of the largest spread; what single precision holds, rounding included, lies above
_COMPUTED_DOUBLE = 1e-13  # the same where double precision is stored: only what lies well above its own rounding is a coordinate
_ROUNDED = 6.0  # spread of an axis, over what correct rounding leaves, from which on it is a coordinate
_ROUNDED_PER_DIMENSION = 1.2  # sums of many products are rounded often: times the cube root of the dimensions


@dataclass(frozen=True)
class Whitened:
    """Whitened rows."""

    z_nr: Floats  # columns ordered from the lowest to the highest variance
    x_nd: Floats  # standardised non-constant columns
    constant: int  # number of constant columns left out
    dropped: int  # number of axes left out: constant, or of no more spread than rounding leaves
    dropped_nm: Floats  # coordinates on those that are more than errors of this computation, in units of their spread
    moving_d: Bools  # units that are not constant
    rare_d: Bools  # of these, units that are constant on nearly all rows

    @cached_property
    def rows(self) -> Rows:
        """The same rows in single precision, as one block, for planting and scoring."""
        q = product_coordinates(self.z_nr, self.x_nd[:, self.rare_d])
        block = Block(slice(0, len(self.z_nr)), self.z_nr.shape[1], None if q is None else q.shape[1])
        return Rows(self.z_nr.astype(np.float32), self.x_nd.astype(np.float32), (block,), None if q is None else q.astype(np.float32))


def whiten(acts_nd: NDArray[np.generic]) -> Whitened:
    """Standardise, then whiten without shrinkage, which would hide leaks on axes of small variance; ``ValueError`` if not finite.

    Axes below the relative tolerance are whitened by themselves. Those that stand out from the rounding noise of the format that the
    values are stored in are coordinates like all others; the rest is handed on for :mod:`proxyaudit.probes.dropped_axes`.
    """
    acts = np.asarray(acts_nd, dtype=np.float64)
    if not np.isfinite(acts).all():
        raise ValueError("activations hold NaN or infinite values")
    x, scale, moving = _standardised(acts)
    constant, rare = int((~moving).sum()), rare_units(x)
    if not moving.any():
        return Whitened(np.zeros((len(acts), 0)), x, constant, 0, np.zeros((len(acts), 0)), moving, rare)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    large = values > RELATIVE_TOLERANCE * values[-1]
    # With at most as many rows as columns the centred rows span at most n - 1 directions.
    z = (x @ vectors[:, large]) / np.sqrt(values[large])
    z = np.concatenate([_whitened_beside(z, narrow_axes(z, x[:, rare])), z], axis=1)
    small = vectors[:, ~large]
    if not small.shape[1] or z.shape[1] >= len(acts) - 1:
        return Whitened(z, x, constant, small.shape[1], np.zeros((len(acts), 0)), moving, rare)
    axes, faint = _below(np.asarray(acts_nd)[:, moving], x, scale, z, small, float(values[-1]))
    return Whitened(np.concatenate([axes, z], axis=1), x, constant, small.shape[1] - axes.shape[1], faint, moving, rare)


def rare_units(x_nd: Floats) -> Bools:
    """Units that take one value on nearly all rows: rectified ones that are nearly dead, levels that hardly occur."""
    if not x_nd.shape[1]:
        return np.zeros(0, dtype=bool)
    return np.asarray((x_nd == np.median(x_nd, axis=0)).mean(axis=0) >= 1 - RARE)


def _whitened_beside(z_nr: Floats, more_nk: Floats) -> Floats:
    """More columns, free of the whitened ones and whitened themselves."""
    for _ in range(2):  # what rounding leaves of large parts is taken out again
        more_nk = more_nk - z_nr @ (z_nr.T @ more_nk / len(z_nr))
    values, vectors = np.linalg.eigh(more_nk.T @ more_nk / len(more_nk))
    kept = values > RELATIVE_TOLERANCE
    return np.asarray((more_nk @ vectors[:, kept]) / np.sqrt(values[kept]))


def _standardised(acts_nd: Floats) -> tuple[Floats, Floats, Bools]:
    """Columns that vary at all, centred and scaled, their scales, and which they are."""
    # Differences to one row are exact where values are near: a code in the last digit of a large constant survives.
    centred = acts_nd - acts_nd[0]
    largest = np.abs(centred).max(axis=0)
    moving = largest > 0
    centred = centred[:, moving] / largest[moving]  # squares of huge or tiny numbers are no numbers
    centred -= centred.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    return centred / spread, spread * largest[moving], moving


def _below(
    acts_nd: NDArray[np.generic], x_nd: Floats, scale_d: Floats, z_nr: Floats, small_dm: Floats, largest: float
) -> tuple[Floats, Floats]:
    """Axes of the small eigenvectors that are coordinates, whitened, and those that may be rounding noise, in units of their spread."""
    bits = mantissa_bits(acts_nd)
    computed = (_COMPUTED if bits <= 23 else _COMPUTED_DOUBLE) * np.sqrt(largest)
    rest = x_nd @ small_dm
    # An eigenvector is exact to double precision of the largest axis: what that leaves of large axes is taken out again.
    rest -= z_nr @ (z_nr.T @ rest / len(z_nr))
    values, vectors = np.linalg.eigh(rest.T @ rest / len(rest))
    spread = np.sqrt(np.maximum(values, 0.0))
    found = spread > (computed if bits <= 23 else 0.0)
    if not found.any():
        return np.zeros((len(rest), 0)), np.zeros((len(rest), 0))
    axes = small_dm @ vectors[:, found]
    noise = np.sqrt((axes**2 * (rounding_variance(acts_nd, bits) / scale_d**2)[:, None]).sum(axis=0))
    told = spread[found] > np.maximum(computed, max(_ROUNDED, _ROUNDED_PER_DIMENSION * np.cbrt(len(axes))) * noise)
    coordinates = (rest @ vectors[:, found]) / spread[found]
    return coordinates[:, told], coordinates[:, ~told]


def whiten_within(acts_nd: NDArray[np.generic], strata_n: Ints) -> tuple[Rows, Ints]:
    """Whiten within strata; row ``i`` of the result is row ``order[i]`` of the activations."""
    order = np.argsort(strata_n, kind="stable")
    acts = np.asarray(acts_nd)[order]
    edges = np.flatnonzero(np.diff(strata_n[order])) + 1
    parts = [slice(int(a), int(b)) for a, b in zip([0, *edges], [*edges, len(acts)], strict=True)]
    n, d = acts.shape
    x, blocks, whitened, factors = np.zeros((n, d), dtype=np.float32), [], [], []
    for part in parts:
        found = whiten(acts[part])
        own = found.rows
        x[part][:, found.moving_d] = own.x_nd  # a view of x: units keep their place from stratum to stratum
        whitened.append(own.z_nr)
        factors.append(own.factors.z_nr)
        blocks.append(Block(part, own.z_nr.shape[1], factors[-1].shape[1]))
    same = all(one is other for one, other in zip(whitened, factors, strict=True))
    q = None if same else _side_by_side(factors)
    return Rows(_side_by_side(whitened), x[:, x.any(axis=0)], tuple(blocks), q), order.astype(np.int64)


def _side_by_side(parts: Sequence[Singles]) -> Singles:
    """Rows of all strata, with zeros beyond a stratum's own columns."""
    widest = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, widest - part.shape[1]))) for part in parts])


def mantissa_bits(acts_nd: NDArray[np.generic]) -> int:
    """Stored mantissa bits of the format that the values fit into: 52, 23, 10 (float16) or 7 (bfloat16), whatever they are stored in."""
    values = np.asarray(acts_nd)
    if values.dtype.kind != "f":
        return MANTISSA[8]
    bits = MANTISSA[values.dtype.itemsize]
    if bits == MANTISSA[8]:
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if not np.array_equal(narrow.astype(np.float64), values):
            return bits
        values, bits = narrow, MANTISSA[4]
    if bits == MANTISSA[4]:
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


# Radial winsorising: a row longer than a bound is shortened to it, lest it take all weight in products; its length stays a coordinate.
# Where few rows hold most of an axis's spread, the others get a scale of their own (an M-estimate of scatter, Maronna 1976).
def bound(rank: int) -> float:
    """Length to which rows of so many whitened coordinates are shortened."""
    return float(np.sqrt(special.chdtri(rank, _TAIL)))


def _beyond(squared_n: Floats, rank: int) -> float:
    """What rows hold beyond the bound, mean over all; the variance of all axes together is ``rank``."""
    return float(np.maximum(squared_n - bound(rank) ** 2, 0.0).mean())


def shortened(z_nr: Floats) -> Floats:
    """Rows shortened to the bound, radially."""
    length = np.sqrt((z_nr**2).sum(axis=1))
    most = bound(z_nr.shape[1])
    return np.asarray(z_nr * np.minimum(1.0, most / np.maximum(length, 1e-300))[:, None])


def without_rare(z_nr: Floats, rare_nk: Floats) -> Floats:
    """Whitened coordinates of what rare units do not tell linearly."""
    if not rare_nk.shape[1]:
        return z_nr
    basis, triangle = np.linalg.qr(z_nr.T @ rare_nk / len(z_nr), mode="complete")
    return np.asarray(z_nr @ basis[:, int((np.abs(np.diag(triangle)) > _DEPENDENT).sum()) :])


def product_coordinates(z_nr: Floats, rare_nk: Floats) -> Floats | None:
    """Coordinates ``(n, k)`` whose products a quadratic statistic forms; ``None`` for the rows themselves, where long rows hold little.

    They are the shortened rows without what rare units ``rare_nk`` (standardised) tell, whether a row moves each of these, the logarithm
    of the whole row's length, and a constant, so that what stands alone is asked as well.
    """
    n, rank = z_nr.shape
    if rank == 0 or rank >= n - 1:
        return None
    length = (z_nr**2).sum(axis=1)
    if not rare_nk.shape[1] and _beyond(length, rank) <= _LIGHT * rank:
        return None
    norm = np.log(length / rank + 0.1)
    norm -= norm.mean()
    norm = np.clip(norm / max(float(norm.std()), 1e-12), -_LONGEST_NORM, _LONGEST_NORM)
    usual = without_rare(z_nr, rare_nk)
    scale = robust_scale(usual)
    q = shortened(usual if scale is None else usual @ scale)
    moves = (rare_nk != np.median(rare_nk, axis=0)).astype(np.float64)
    moves -= moves.mean(axis=0)
    # Standardised, a unit that one row in a thousand moves would be a row's only coordinate.
    moves *= np.minimum(1 / np.maximum(moves.std(axis=0), 1e-12), _LONGEST_NORM)
    return np.column_stack([q - q.mean(axis=0), moves, norm, np.ones(n)])


def narrow_axes(z_nr: Floats, rare_nk: Floats) -> Floats:
    """Coordinates ``(n, k)`` of the rows on axes whose spread a few long rows hold, on the scale of all others; none as a rule."""
    usual = without_rare(z_nr, rare_nk)
    scale = robust_scale(usual)
    if scale is None:
        return np.zeros((len(z_nr), 0))
    left, widening, _ = np.linalg.svd(scale)
    axes = shortened(usual @ scale) @ np.linalg.solve(scale, left[:, widening > 1 / np.sqrt(_NARROW)])
    spread = axes.std(axis=0)
    if not axes.shape[1]:
        return axes
    # Of what hardly ever moves nothing is left but the few rows that move it: the units themselves tell them.
    alive = np.subtract(*np.quantile(axes, (0.75, 0.25), axis=0)) > _ALIVE * spread
    return np.asarray((axes[:, alive] - axes[:, alive].mean(axis=0)) / spread[alive])


def robust_scale(z_nr: Floats) -> Floats | None:
    """Linear map ``(r, r)`` after which no axis of the shortened rows is narrow; ``None`` where long rows hold too little to matter."""
    n, rank = z_nr.shape
    if rank == 0 or rank >= n - 1:
        return None
    length = (z_nr**2).sum(axis=1)
    if _beyond(length, rank) < 1 - _HELD:
        return None
    scale = np.eye(rank)
    for _ in range(_STEPS):
        q = shortened(z_nr @ scale)
        q -= q.mean(axis=0)
        values, vectors = np.linalg.eigh(q.T @ q / n)
        if values[0] > _HELD:
            break
        widened = scale @ (vectors / np.sqrt(np.clip(values, 1e-2, 1.0)))
        if np.linalg.norm(widened, 2) > _LARGEST_SCALE:
            break
        scale = widened
    return scale
