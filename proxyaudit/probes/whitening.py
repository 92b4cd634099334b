"""Exact whitening in float64: the coordinates in which every linear question is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.stats.directions import Block, Rows

RELATIVE_TOLERANCE = 1e-12
_EXACT = 1e-11  # of the largest spread; single precision's own rounding lies above
_CONSTANT = 1e-10  # float32 cannot hold a signal this far below a column's own size


@dataclass(frozen=True)
class Whitened:
    """Whitened rows."""

    z_nr: Floats  # columns ordered from the lowest to the highest variance
    x_nd: Floats  # standardised non-constant columns
    constant: int  # number of constant columns left out
    dropped: int  # number of eigenvalues below the relative tolerance
    dropped_nm: Floats  # coordinates on those that are more than double precision's own errors, in units of their spread

    @property
    def rows(self) -> Rows:
        """The same rows in single precision, as one block, for planting and scoring."""
        return Rows(self.z_nr.astype(np.float32), self.x_nd.astype(np.float32), (Block(slice(0, len(self.z_nr)), self.z_nr.shape[1]),))


def whiten(acts_nd: NDArray[np.generic]) -> Whitened:
    """Standardise, then whiten without shrinkage, which would hide leaks on axes of small variance; ``ValueError`` if not finite."""
    acts = np.asarray(acts_nd, dtype=np.float64)
    if not np.isfinite(acts).all():
        raise ValueError("activations hold NaN or infinite values")
    centred = acts - acts.mean(axis=0)
    scale = np.sqrt((centred**2).mean(axis=0))
    keep = scale > _CONSTANT * np.maximum(np.abs(acts).max(axis=0), np.finfo(np.float64).tiny)
    x = centred[:, keep] / scale[keep]
    if not keep.any():
        return Whitened(np.zeros((len(acts), 0)), x, int((~keep).sum()), 0, np.zeros((len(acts), 0)))
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    large = values > RELATIVE_TOLERANCE * values[-1]
    # With at most as many rows as columns the centred rows span at most n - 1 directions.
    z = (x @ vectors[:, large]) / np.sqrt(values[large])
    rest = x @ vectors[:, ~large]
    spread = np.sqrt((rest**2).mean(axis=0))
    # Of exact copies only errors of the decomposition are left, which tell whatever the large axes tell.
    told = spread > _EXACT * np.sqrt(values[-1])
    return Whitened(z, x, int((~keep).sum()), int((~large).sum()), rest[:, told] / spread[told])


def whiten_within(acts_nd: NDArray[np.generic], strata_n: Ints) -> tuple[Rows, Ints]:
    """Whiten within strata; row ``i`` of the result is row ``order[i]`` of the activations."""
    order = np.argsort(strata_n, kind="stable")
    acts = np.asarray(acts_nd, dtype=np.float64)[order]
    edges = np.flatnonzero(np.diff(strata_n[order])) + 1
    parts = [slice(int(a), int(b)) for a, b in zip([0, *edges], [*edges, len(acts)], strict=True)]
    n, d = acts.shape
    z, x, blocks = np.zeros((n, d), dtype=np.float32), np.zeros((n, d), dtype=np.float32), []
    for part in parts:
        centred = acts[part] - acts[part].mean(axis=0)
        moving = np.sqrt((centred**2).mean(axis=0)) > _CONSTANT * np.maximum(np.abs(acts[part]).max(axis=0), np.finfo(np.float64).tiny)
        found = whiten(acts[part])
        rank = found.z_nr.shape[1]
        z[part, :rank] = found.z_nr
        x[part][:, moving] = found.x_nd  # a view of x: units keep their place from stratum to stratum
        blocks.append(Block(part, rank))
    widest = max(block.rank for block in blocks)
    return Rows(z[:, :widest], x[:, x.any(axis=0)], tuple(blocks)), order.astype(np.int64)
