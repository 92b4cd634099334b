"""What readers add to the linear logits of an attribute, and how much of it to take: chosen on rows that no reader learns from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.probes.folds import balanced

SCALES = np.array([0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1, 1.3, 1.7, 2.2])


@dataclass(frozen=True)
class Problem:
    """One attribute at one site, ready for the readers."""

    z_nr: Floats
    target_n: NDArray[np.generic]  # classes 0..K-1 as integers, or standardised values as floats
    classes: int  # K, or 0 for a continuous attribute
    folds_n: Ints
    base_fnk: Floats  # calibrated linear logits (predictions) of each outer fold, K = 1 if continuous
    weights_fn: Floats  # of the rows that learn, class-balanced, with mean one over them; zero elsewhere
    units_nd: Floats  # the units themselves, which whitening turns: a tree splits along axes only; may have no columns

    @property
    def folds(self) -> int:
        """Number of outer folds F."""
        return len(self.base_fnk)

    @cached_property
    def grams(self) -> tuple[Floats, ...]:
        """Inner products ``(r, r)`` of the columns on the rows of each fold."""
        return tuple(z.T @ z for z in (self.z_nr[self.folds_n == fold] for fold in range(self.folds)))

    def inner(self, fold: int) -> int:
        """The fold on which an outer fold makes its choices."""
        return (fold + 1) % self.folds


def losses(logits_nk: Floats, target_n: NDArray[np.generic], classes: int) -> Floats:
    """Surprisal in bits or squared error along the last axis but one, shape ``(..., n)``."""
    if not classes:
        return np.asarray((logits_nk[..., 0] - target_n.astype(np.float64)) ** 2)
    log_p = log_softmax(logits_nk)
    return np.ascontiguousarray(-log_p[..., np.arange(len(target_n)), target_n.astype(np.int64)] / np.log(2))


def log_softmax(logits_nk: Floats) -> Floats:
    """The same as scipy's along the last axis: for two classes sums and maxima of columns are several times as fast as those of rows."""
    two = logits_nk.shape[-1] == 2
    first, second = logits_nk[..., :1], logits_nk[..., 1:]
    largest = np.maximum(first, second) if two else logits_nk.max(axis=-1, keepdims=True)
    centred = logits_nk - np.where(np.isfinite(largest), largest, 0.0)
    masses = np.exp(centred)
    return np.asarray(centred - np.log(masses[..., :1] + masses[..., 1:] if two else masses.sum(axis=-1, keepdims=True)))


def blend(problem: Problem, directions_cfnk: Floats) -> Floats:
    """Add to each row's offset the candidate and scale that are best on the inner fold of its outer fold, shape ``(n, K)``."""
    blended = np.empty(problem.base_fnk.shape[1:])
    for fold in range(problem.folds):
        held = problem.folds_n == fold
        losses_csq, weights = _on_inner_fold(problem, directions_cfnk, fold)
        mean_cs = losses_csq @ weights
        best, scale = np.unravel_index(int(np.argmin(mean_cs)), mean_cs.shape)
        blended[held] = problem.base_fnk[fold, held] + SCALES[scale] * directions_cfnk[best, fold, held]
    return blended


def hint_of(problem: Problem, directions_cfnk: Floats) -> float:
    """What the best of candidates and scales save on the inner folds, in standard errors: where nothing is there, some 1.4.

    The best of many flatters, so this is no evidence. It tells whether more work on the same directions may come to something.
    """
    saved, variance = 0.0, 0.0
    for fold in range(problem.folds):
        losses_csq, weights = _on_inner_fold(problem, directions_cfnk, fold)
        mean_cs = (losses_csq @ weights)[:, 1:]
        best, scale = np.unravel_index(int(np.argmin(mean_cs)), mean_cs.shape)
        saved_q = losses_csq[0, 0] - losses_csq[best, 1 + scale]
        mean = float(saved_q @ weights)
        saved += max(mean, 0.0)
        variance += float(weights**2 @ (saved_q - mean) ** 2)
    return saved / max(float(np.sqrt(variance)), 1e-300)


def _on_inner_fold(problem: Problem, directions_cfnk: Floats, fold: int) -> tuple[Floats, Floats]:
    """Losses ``(C, S, q)`` of candidates at all scales on the inner fold of an outer fold, and weights of its rows."""
    inner = problem.folds_n == problem.inner(fold)
    base, target = problem.base_fnk[fold, inner], problem.target_n[inner]
    found = [losses(base + SCALES[:, None, None] * one, target, problem.classes) for one in directions_cfnk[:, fold, inner]]
    return np.stack(found), balanced(target, problem.classes)
