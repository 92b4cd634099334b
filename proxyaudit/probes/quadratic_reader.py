"""Quadratic ridge reader: products of whitened columns, on top of the linear logits; of many columns its limit of a large penalty."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import softmax

from proxyaudit.arrays import Floats
from proxyaudit.probes.flexible_readers import Problem

_FLOPS = 5e10
_MOST_FEATURES = 1000
_RIDGES = (0.03, 0.3, 3.0)
_ROWS_AT_ONCE = 1024
_CLIP = 6.0  # standard deviations of a row's length: one row must not outweigh all others


def cost_quadratic(n: int, r: int, outputs: int, folds: int) -> float:
    """Predicted seconds of :func:`read_quadratic`."""
    features = r * (r + 1) // 2
    if features <= _MOST_FEATURES:
        return folds * (2 * n * features**2 + features**3) / _FLOPS
    return 2 * n * n * (r + folds * outputs) / _FLOPS


def read_quadratic(problem: Problem, seed: int) -> Floats:
    """Quadratic directions ``(C, F, n, K)`` of each outer fold: three ridges, or the one limit; the seed is not used."""
    del seed
    z = _tamed(problem.z_nr)
    missed = np.stack([_missed(problem, fold) for fold in range(problem.folds)])
    if z.shape[1] * (z.shape[1] + 1) // 2 <= _MOST_FEATURES:
        return _ridges(z, problem, missed)
    return _limit(z, problem, missed)


def _tamed(z_nr: Floats) -> Floats:
    length = np.sqrt((z_nr**2).sum(axis=1))
    return np.asarray(z_nr * np.minimum(1.0, _CLIP * np.median(length) / np.maximum(length, 1e-12))[:, None])


def _missed(problem: Problem, fold: int) -> Floats:
    """Weighted residual of the linear reader on the rows that learn, shape ``(n, K)``; zero elsewhere."""
    base, weights = problem.base_fnk[fold], problem.weights_fn[fold]
    if not problem.classes:
        return np.asarray(weights[:, None] * (problem.target_n.astype(np.float64)[:, None] - base))
    known = problem.target_n.astype(np.int64)[:, None] == np.arange(problem.classes)
    return np.asarray(weights[:, None] * (known - softmax(base, axis=1)))


def _stiffness(problem: Problem) -> float:
    """Curvature of the loss: of a log-odds of evenly likely classes, or of a square."""
    k = problem.classes
    return 1.0 if not k else (1 / k) * (1 - 1 / k)


def _ridges(z: Floats, problem: Problem, missed_fnk: Floats) -> Floats:
    one, other = np.triu_indices(z.shape[1])
    features = z[:, one] * z[:, other]
    features -= features.mean(axis=0)
    features /= np.maximum(features.std(axis=0), 1e-12)
    out = np.zeros((len(_RIDGES), *missed_fnk.shape))
    for fold in range(problem.folds):
        weights = problem.weights_fn[fold]
        total = weights.sum()
        gram = (features * weights[:, None]).T @ features / total
        values, vectors = np.linalg.eigh(gram)
        pull = vectors.T @ (features.T @ missed_fnk[fold] / total)
        for index, ridge in enumerate(_RIDGES):
            slopes = vectors @ (pull / (np.maximum(values, 0) + ridge)[:, None])
            out[index, fold] = features @ slopes / _stiffness(problem)
    return out


def _limit(z: Floats, problem: Problem, missed_fnk: Floats) -> Floats:
    """Mean of squared inner products with the rows that learn, each weighed by what the linear reader missed there."""
    folds, n, outputs = missed_fnk.shape
    rows = torch.as_tensor(z, dtype=torch.float32)
    pull = torch.as_tensor(missed_fnk.transpose(1, 0, 2).reshape(n, -1), dtype=torch.float32)
    images = [(rows[start : start + _ROWS_AT_ONCE] @ rows.T).square_() @ pull for start in range(0, n, _ROWS_AT_ONCE)]
    image = torch.cat(images).double().numpy().reshape(n, folds, outputs).transpose(1, 0, 2)
    own = (z**2).sum(axis=1) ** 2
    out = np.zeros((1, folds, n, outputs))
    for fold in range(folds):
        # On rows that learn, a row's own part says nothing about fresh rows.
        fair = image[fold] - own[:, None] * missed_fnk[fold]
        weights = problem.weights_fn[fold][:, None]
        slope = float((missed_fnk[fold] * fair).sum()) / max(_stiffness(problem) * float((weights * fair**2).sum()), 1e-300)
        out[0, fold] = max(slope, 0.0) * image[fold]
    return out
