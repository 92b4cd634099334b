"""Radial winsorising: rows of great length must not take all weight in products of coordinates.

A row longer than ``c`` is shortened to ``c``, which no rotation changes; its length stays a coordinate of its own. Where few rows hold most
of the spread of an axis, the others are told apart on a scale of their own (an M-estimate of scatter, Maronna 1976).
"""

import numpy as np
from scipy import stats

from proxyaudit.arrays import Floats

_TAIL = 1e-3  # share of Gaussian rows that are longer than the bound
_LIGHT = 0.02  # share of all variance beyond the bound up to which tails are left as they are
_HELD = 0.5  # share of an axis's variance that shortened rows must keep, or it is rescaled
_STEPS = 40
_LARGEST_SCALE = 1e5  # below a hundred thousandth of an axis's spread lies rounding
_NARROW = 0.02  # share of an axis's variance in the other rows from which down these are given a coordinate of their own
_ALIVE = 0.1
_LONGEST_NORM = 4.0
_DEPENDENT = 1e-6


def bound(rank: int) -> float:
    """Length to which rows of so many whitened coordinates are shortened."""
    return float(np.sqrt(stats.chi2.isf(_TAIL, rank)))


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
