"""LEACE: least-squares concept erasure (Belrose et al. 2023), with a relative tolerance.

After erasure no linear reader beats the constant one on the rows the eraser was fitted on; on fresh rows that holds only as far as
the moments were estimated well. Everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats
from proxyaudit.erasers import Fit

RELATIVE_TOLERANCE = 1e-9
_FEWEST_MOVED = 30


@dataclass(frozen=True)
class LeaceEraser:
    """A frozen eraser."""

    mean_d: Floats  # of the rows it was fitted on
    read_dr: Floats  # reads the attribute's coordinates from centred rows; in whitened space orthonormal
    write_rd: Floats  # writes a change of those coordinates back into a row

    @property
    def rank(self) -> int:
        """Dimensions of the erased subspace."""
        return int(self.read_dr.shape[1])

    def coordinates(self, acts_nd: NDArray[np.floating]) -> Floats:
        """Coordinates of rows within the subspace, shape ``(n, r)``."""
        return np.asarray((np.asarray(acts_nd, dtype=np.float64) - self.mean_d) @ self.read_dr)

    def shift(self, change_nr: Floats) -> Floats:
        """The change of activations, shape ``(n, d)``, that changes the coordinates by ``change_nr``."""
        return np.asarray(change_nr @ self.write_rd)

    def __call__(self, acts_nd: NDArray[np.floating]) -> Floats:
        """Erase: rows with the subspace's coordinates set to their mean."""
        acts = np.asarray(acts_nd, dtype=np.float64)
        return np.asarray(acts - self.shift(self.coordinates(acts)))

    def affine(self) -> tuple[Floats, Floats]:
        """The eraser as ``value @ weight.T + bias``: weight ``(d, d)`` and bias ``(d,)``."""
        weight = np.eye(len(self.mean_d)) - (self.read_dr @ self.write_rd).T
        return weight, np.asarray(self.shift(self.mean_d @ self.read_dr))


def leace(acts_nd: NDArray[np.floating], concept_nk: Floats, task_nm: Floats, *, fewest_moved: int | None = None) -> Fit:
    """The plugin: the least change after which no linear reader beats the constant one; the task has no say."""
    return Fit(fit_leace(acts_nd, concept_nk, fewest_moved=fewest_moved))


def _moving(acts_nd: Floats, fewest: int | None = None) -> NDArray[np.bool_]:
    """Columns that move on enough rows to be erased from.

    Whatever small share of the erased coordinate were written into a unit that is silent on nearly every row would stand there alone, and a
    reader that standardises columns would find the whole attribute in it (seen on ReLU networks: leak .097 before erasing, .097 after).
    """
    n = len(acts_nd)
    moved = (acts_nd != np.median(acts_nd, axis=0)).sum(axis=0)
    return np.asarray(moved >= (min(_FEWEST_MOVED, max(2, n // 20)) if fewest is None else fewest))


def whitening_pair(acts_nd: Floats, fewest: int | None = None) -> tuple[Floats, Floats, Floats]:
    """Mean ``(d,)``, and maps to and from whitened coordinates, each ``(d, r)``; silent columns have no part."""
    mean = acts_nd.mean(axis=0)
    moving = _moving(acts_nd, fewest)
    centred = (acts_nd - mean)[:, moving]
    to_white, from_white = np.zeros((acts_nd.shape[1], 0)), np.zeros((acts_nd.shape[1], 0))
    if moving.any():
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        keep = values > RELATIVE_TOLERANCE * max(float(values[-1]), np.finfo(np.float64).tiny)
        root = np.sqrt(values[keep])
        to_white, from_white = np.zeros((2, acts_nd.shape[1], int(keep.sum())))
        to_white[moving], from_white[moving] = vectors[:, keep] / root, vectors[:, keep] * root
    return mean, to_white, from_white


def whitened_directions(
    acts_nd: NDArray[np.floating], labels_nk: Floats, fewest_moved: int | None = None
) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean ``(d,)``, maps to and from whitened space, orthonormal basis ``(w, r)`` of the cross-covariance; ``ValueError`` if unfit."""
    acts = np.array(acts_nd, dtype=np.float64)
    labels = np.array(labels_nk, dtype=np.float64)
    if acts.ndim != 2 or labels.ndim != 2 or len(acts) != len(labels):
        raise ValueError(f"activations {acts.shape} and labels {labels.shape} must be matrices over the same rows")
    if not (np.isfinite(acts).all() and np.isfinite(labels).all()):
        raise ValueError("activations or labels hold NaN or infinite values")
    mean, to_white, from_white = whitening_pair(acts, fewest_moved)
    cross = ((acts - mean) @ to_white).T @ (labels - labels.mean(axis=0)) / len(acts)
    left, singular, _ = np.linalg.svd(cross, full_matrices=False)
    # Relative to the largest: an absolute tolerance leaves rare groups in. K indicators have rank K - 1.
    rank = int((singular > 1e-6 * singular[0]).sum()) if len(singular) and singular[0] > 0 else 0
    return mean.copy(), to_white, from_white, left[:, :rank]


def fit_leace(acts_nd: NDArray[np.floating], labels_nk: Floats, *, fewest_moved: int | None = None) -> LeaceEraser:
    """Fit an eraser of the columns (class indicators or values) of ``labels_nk``; ``ValueError`` if shapes differ or values are not finite.

    A unit takes part that differs from its median on at least ``fewest_moved`` rows; by default 30, fewer of few rows.
    """
    mean, to_white, from_white, basis = whitened_directions(acts_nd, labels_nk, fewest_moved)
    return LeaceEraser(mean, to_white @ basis, (from_white @ basis).T.copy())


def random_subspace(acts_nd: NDArray[np.floating], rank: int, rng: np.random.Generator) -> LeaceEraser:
    """A subspace of equal rank in a random direction of the same whitened rows: the control beside every effect."""
    mean, to_white, from_white = whitening_pair(np.array(acts_nd, dtype=np.float64))
    rank = min(rank, to_white.shape[1])
    basis, _ = np.linalg.qr(rng.normal(size=(to_white.shape[1], rank)))
    return LeaceEraser(mean.copy(), to_white @ basis, (from_white @ basis).T.copy())
