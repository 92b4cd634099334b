"""Whether rows belong together though nobody said so: near neighbours agree in an attribute more than what varies smoothly explains.

Of rows drawn independently, labels are independent given the activations: what is left of them after a smooth reader agrees between near
neighbours hardly more than between farther ones. Rows of one person, household or stretch of time agree among the nearest only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.probes.results import Agreement
from proxyaudit.probes.winsorising import shortened
from proxyaudit.seeding import stream

NEIGHBOURS = 64
_FAR = slice(17, NEIGHBOURS + 1)  # ranks of neighbours with which the nearest is compared
_QUERIES = 4000
_AT_ONCE = 300
_FIRST = 600  # rows asked about first; the others where these hint at anything
_HINT = 1.5
_SAME = 1e-4  # squared distance per dimension below which rows are copies, which are asked about elsewhere
_ROWS_PER_FEATURE = 10
_RIDGE = 1e-3
_FEWEST_DIMENSIONS = 4  # with fewer, rows near one another are no sign, and few directions are there to read anything from
_LARGEST_RESIDUAL = 3.0  # standard deviations of the attribute; near singular fits leave more


@dataclass(frozen=True)
class Neighbours:
    """Rows asked about ``(q,)`` and their nearest neighbours ``(q, 64)``, the nearest first; features ``(n, p)`` of the smooth reader."""

    rows_q: Ints
    near_qk: Ints
    features_np: Floats
    inverse_pp: Floats


def find_neighbours(z_nr: Floats, clusters_n: Ints | None) -> Neighbours | None:
    """Neighbours in other clusters, in whitened coordinates of shortened rows; ``None`` where rows or dimensions are too few."""
    n, rank = z_nr.shape
    if rank < _FEWEST_DIMENSIONS or n < max(4 * NEIGHBOURS, 3 * rank):
        return None
    z = torch.as_tensor(shortened(z_nr), dtype=torch.float32)
    rows = np.sort(stream(0, "neighbours", n).permutation(n)[:_QUERIES])
    length, groups = (z**2).sum(1), None if clusters_n is None else torch.as_tensor(clusters_n)
    near = []
    for start in range(0, len(rows), _AT_ONCE):
        part = torch.as_tensor(rows[start : start + _AT_ONCE])
        distance = length[part, None] + length - 2 * z[part] @ z.T
        distance[distance < _SAME * rank] = torch.inf
        if groups is not None:
            distance[groups[part, None] == groups] = torch.inf
        near.append(distance.topk(NEIGHBOURS, dim=1, largest=False).indices.numpy())
    features = _smooth_features(z_nr)
    gram = features.T @ features + _RIDGE * n * np.eye(features.shape[1])
    return Neighbours(rows, np.concatenate(near), features, np.linalg.inv(gram))


def _smooth_features(z_nr: Floats) -> Floats:
    """A constant, the coordinates and, where rows suffice, their products."""
    n, rank = z_nr.shape
    columns = [np.ones((n, 1)), z_nr]
    if rank * (rank + 3) // 2 <= n // _ROWS_PER_FEATURE:
        one, other = np.triu_indices(rank)
        tame = shortened(z_nr)
        products = tame[:, one] * tame[:, other]
        products -= products.mean(axis=0)
        columns.append(products / np.maximum(products.std(axis=0), 1e-12))
    return np.concatenate(columns, axis=1)


def agreement(neighbours: Neighbours, labels_n: NDArray[np.generic], classes: int) -> Agreement:
    """Agreement of neighbours in what a smooth reader, fitted without all of a row's neighbours, leaves of an attribute."""
    y = np.asarray(labels_n[:, None] == np.arange(classes) if classes else _ranks(labels_n)[:, None], dtype=np.float64)
    y = y - y.mean(axis=0)
    total = float((y**2).mean(axis=0).sum())
    phi = neighbours.features_np
    slopes = neighbours.inverse_pp @ (phi.T @ y)
    left = y - phi @ slopes
    left = left / np.sqrt(total)
    found = _excess(neighbours, left, slice(0, _FIRST))
    if len(neighbours.rows_q) > _FIRST and found[0].mean() > _HINT * _error(found[0]):
        more = _excess(neighbours, left, slice(_FIRST, None))
        found = np.concatenate([found[0], more[0]]), np.concatenate([found[1], more[1]])
    return Agreement(float(found[0].mean()), _error(found[0]), max(0.0, 1 - float(found[1].mean())))


def _error(excess_q: Floats) -> float:
    """Standard error of the mean; two rows that are each other's nearest count once."""
    return float(excess_q.std() / np.sqrt(len(excess_q) / 2))


def _excess(neighbours: Neighbours, left_nk: Floats, queries: slice) -> tuple[Floats, Floats]:
    """Of each row asked about: product of its residual with the nearest one's, less that with farther ones; and its own squared.

    Residuals of a fit without these rows follow from those of the fit with all (Cook & Weisberg 1982).
    """
    excess, missed = [], []
    phi, inverse = (torch.as_tensor(a, dtype=torch.float32) for a in (neighbours.features_np, neighbours.inverse_pp))
    rows, near = neighbours.rows_q[queries], neighbours.near_qk[queries]
    for start in range(0, len(rows), _AT_ONCE):
        sets = np.concatenate([rows[start : start + _AT_ONCE, None], near[start : start + _AT_ONCE]], axis=1)
        part = phi[sets]
        hat = (part @ inverse) @ part.transpose(1, 2)
        own = torch.linalg.solve(torch.eye(sets.shape[1]) - hat, torch.as_tensor(left_nk[sets], dtype=torch.float32)).double().numpy()
        own = np.clip(own, -_LARGEST_RESIDUAL, _LARGEST_RESIDUAL)
        excess.append((own[:, 0] * (own[:, 1] - own[:, _FAR].mean(axis=1))).sum(axis=1))
        missed.append((own[:, 0] ** 2).sum(axis=1))
    return np.concatenate(excess), np.concatenate(missed)


def _ranks(values_n: NDArray[np.generic]) -> Floats:
    order = np.unique(values_n, return_inverse=True)[1].reshape(-1)
    mass = np.cumsum(np.bincount(order)) / len(order)
    return np.asarray(mass[order])
