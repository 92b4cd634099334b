"""Exact whitening in float64: the coordinates in which every linear question is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RELATIVE_TOLERANCE = 1e-12
_CONSTANT = 1e-10  # float32 cannot hold a signal this far below a column's own size


@dataclass(frozen=True)
class Whitened:
    """Whitened rows.

    Attributes:
        z_nr: Whitened rows, shape ``(n, r)``; columns ordered from the lowest to the highest variance.
        x_nd: Standardised non-constant columns, shape ``(n, d)``.
        constant: Number of constant columns left out.
        dropped: Number of eigenvalues below the relative tolerance.
    """

    z_nr: Floats
    x_nd: Floats
    constant: int
    dropped: int


def whiten(acts_nd: NDArray[np.floating]) -> Whitened:
    """Standardise columns, then whiten without shrinkage.

    Shrinkage would hide a leak on an axis of small variance, so there is none; eigenvalues
    below 1e-12 of the largest are dropped and counted.

    Args:
        acts_nd: Activations, shape ``(n, d)``.

    Raises:
        ValueError: the activations hold NaN or infinite values.
    """
    acts = np.asarray(acts_nd, dtype=np.float64)
    if not np.isfinite(acts).all():
        raise ValueError("activations hold NaN or infinite values")
    centred = acts - acts.mean(axis=0)
    scale = np.sqrt((centred**2).mean(axis=0))
    keep = scale > _CONSTANT * np.maximum(np.abs(acts).max(axis=0), np.finfo(np.float64).tiny)
    x = centred[:, keep] / scale[keep]
    if not keep.any():
        return Whitened(np.zeros((len(acts), 0)), x, int((~keep).sum()), 0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    large = values > RELATIVE_TOLERANCE * values[-1]
    # With at most as many rows as columns the centred rows span at most n - 1 directions.
    z = (x @ vectors[:, large]) / np.sqrt(values[large])
    return Whitened(z, x, int((~keep).sum()), int((~large).sum()))
