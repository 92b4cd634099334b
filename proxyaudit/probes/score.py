"""The deciding engine: score statistics for thousands of label columns in one matrix product.

On whitened rows ``Z`` and standardised labels ``e`` the linear statistic is ``||Z'e||**2 / n``, the score test of a linear reader
(Rao 1948), and the quadratic one ``||Z'diag(e)Z||_F**2 / n``, with ``e`` freed of everything linear first. Of both the diagonal
``sum_i e_i**2 ||z_i||**2`` (or ``**4``) is left out, so that classes with unequal covariances do not shift them (a U-statistic).
A statistic of K > 2 classes is the sum over the class indicators.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.stats.directions import Block, Rows

MEMORY_MB = 1024
_ROWS_AT_ONCE = 8192


def indicator_columns(labels_nm: NDArray[np.generic], classes: int) -> Iterator[Singles]:
    """Columns that stand for labels: the values (``classes`` = 0), the second of two classes, or each class in turn."""
    if classes == 0:
        yield np.asarray(labels_nm, dtype=np.float32)
    elif classes == 2:
        yield (np.asarray(labels_nm) == 1).astype(np.float32)
    else:
        for k in range(classes):
            yield (np.asarray(labels_nm) == k).astype(np.float32)


def standardise(rows: Rows, columns_nm: Singles) -> Singles:
    """Centre columns within each block and scale them to unit mean square; constant columns become zero."""
    e = np.array(columns_nm, dtype=np.float32)
    for block in rows.blocks:
        e[block.rows] -= e[block.rows].mean(axis=0, dtype=np.float64).astype(np.float32)
    scale = np.sqrt(np.einsum("nm,nm->m", e, e, dtype=np.float64) / len(e)).astype(np.float32)
    e /= np.where(scale > 1e-6, scale, np.float32(np.inf))
    return e


@dataclass(frozen=True)
class Scored:
    """Statistics of label columns, and ``d score / d weight`` of each row for the first column."""

    scores_m: Floats
    shares_n: Floats


class ScoreStatistic:
    """A linear or quadratic score statistic on fixed rows."""

    def __init__(self, rows: Rows, channel: str, *, memory_mb: int = MEMORY_MB) -> None:
        """Take the rows, ``linear`` or ``nonlinear`` as the channel, and the bound on the working memory of one product."""
        if channel not in ("linear", "nonlinear"):
            raise ValueError(f"no score statistic is called {channel!r}")
        self.rows, self.channel, self.memory = rows, channel, memory_mb * 2**20
        self.factors = rows if channel == "linear" else rows.factors
        self.z = torch.as_tensor(self.factors.z_nr)
        self.length = torch.cat([(part**2).sum(1) for part in torch.split(self.z, _ROWS_AT_ONCE)])
        self.kept: dict[int, torch.Tensor] = {}

    @property
    def is_quick(self) -> bool:
        """Whether a label column costs less than a product of all pairs of rows."""
        return self.channel == "linear" or all(self._few_features(block) for block in self.factors.blocks)

    def prepare(self, columns_nm: Singles) -> Singles:
        """Label columns as the statistic uses them: standardised, and for the quadratic one freed of everything linear."""
        e = standardise(self.rows, columns_nm)
        return e if self.channel == "linear" else standardise(self.rows, self.rows.residual(e))

    def of_labels(self, labels_nm: NDArray[np.generic], classes: int, weights_k: Floats | None = None) -> Floats:
        """Statistic of each column of labels, shape ``(m,)``; classes are weighed as given, else alike."""
        scores = [self.of_prepared(self.prepare(columns)).scores_m for columns in indicator_columns(labels_nm, classes)]
        return np.asarray(sum(scores) if weights_k is None else weights_k @ np.stack(scores))

    def of_prepared(self, e_nm: Singles) -> Scored:
        """Statistic of prepared columns."""
        e = torch.as_tensor(e_nm)
        scores = np.zeros(e.shape[1])
        shares = np.zeros(len(e))
        for block in self.factors.blocks:
            one = self._linear if self.channel == "linear" else self._quadratic
            values, share = one(block, e[block.rows])
            scores += values
            shares[block.rows] = share
        return Scored(scores, shares)

    def _linear(self, block: Block, e: torch.Tensor) -> tuple[Floats, Floats]:
        z, length, n = self.z[block.rows, : block.rank], self.length[block.rows], len(e)
        scores = np.empty(e.shape[1])
        width = max(1, self.memory // (8 * (block.rank + n)))
        for start in range(0, e.shape[1], width):
            part = e[:, start : start + width]
            product = z.T @ part
            diagonal = torch.einsum("n,nm->m", length, part * part)
            scores[start : start + width] = (((product**2).sum(0) - diagonal) / n).double().numpy()
        first = e[:, 0]
        share = 2 * (first * (z @ (z.T @ first)) - first**2 * length) / n
        return scores, share.double().numpy()

    def _quadratic(self, block: Block, e: torch.Tensor) -> tuple[Floats, Floats]:
        fourth, n = self.length[block.rows] ** 2, len(e)
        forms, image = self._by_features(block, e) if self._few_features(block) else self._by_pairs(block, e)
        diagonal = torch.einsum("n,nm->m", fourth, e * e)
        share = 2 * (e[:, 0] * image - e[:, 0] ** 2 * fourth) / n
        return ((forms - diagonal) / n).double().numpy(), share.double().numpy()

    def _few_features(self, block: Block) -> bool:
        """Whether products of columns are fewer than rows, and fit into memory."""
        n, features = block.rows.stop - block.rows.start, block.rank * (block.rank + 1) // 2
        return bool(2 * features < n and 4 * n * features <= self.memory)

    def _by_features(self, block: Block, e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Few dimensions: products of columns are features, and the statistic is linear in them."""
        features = self._features(block)
        product = features @ e
        return (product**2).sum(0), features.T @ product[:, 0]

    def _features(self, block: Block) -> torch.Tensor:
        if block.rows.start not in self.kept:
            z = self.z[block.rows, : block.rank].T.contiguous()
            one, other = torch.triu_indices(len(z), len(z))
            features = z[one]
            features *= z[other]
            features *= torch.where(one == other, 1.0, 2.0**0.5).to(features)[:, None]
            self.kept[block.rows.start] = features
        return self.kept[block.rows.start]

    def _by_pairs(self, block: Block, e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Many dimensions: squared inner products of pairs of rows, a block of rows at a time."""
        forms, image = e.new_zeros(e.shape[1]), e.new_zeros(len(e))
        for part, kernel in self._kernels(block):
            product = kernel @ e
            forms += torch.einsum("nm,nm->m", product, e[part])
            image[part] = product[:, 0]
        return forms, image

    def _kernels(self, block: Block) -> Iterator[tuple[slice, torch.Tensor]]:
        """Rows of the matrix of squared inner products; kept where all of it fits into memory."""
        z = self.z[block.rows, : block.rank]
        if 4 * len(z) ** 2 <= self.memory:
            if block.rows.start not in self.kept:
                self.kept[block.rows.start] = (z @ z.T).square_()
            yield slice(0, len(z)), self.kept[block.rows.start]
            return
        height = max(1, self.memory // (8 * len(z)))
        for start in range(0, len(z), height):
            yield slice(start, start + height), (z[start : start + height] @ z.T).square_()

    def directions(self, e_nf: Singles) -> Singles:
        """Scores ``(n, f)`` of rows along the first-order reader of each prepared column; a row's own label has no part in its score."""
        e = torch.as_tensor(e_nf)
        out = torch.empty_like(e)
        for block in self.factors.blocks:
            z, part, own = self.z[block.rows, : block.rank], e[block.rows], self.length[block.rows, None]
            if self.channel == "linear":
                image = z @ (z.T @ part)
            elif self._few_features(block):
                features = self._features(block)
                image = features.T @ (features @ part)
            else:
                image = torch.cat([kernel @ part for _, kernel in self._kernels(block)])
            out[block.rows] = (image - part * (own if self.channel == "linear" else own**2)) / len(z)
        return out.numpy()


def permuted(rows: Rows, labels_n: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[Any]:
    """Labels in ``count`` random orders within each block, shape ``(n, count)``."""
    out = np.empty((len(labels_n), count), dtype=labels_n.dtype)
    for block in rows.blocks:
        part = labels_n[block.rows]
        for column in range(count):
            out[block.rows, column] = rng.permutation(part)
    return out


def flipped(clusters_n: Ints | None, n: int, count: int, rng: np.random.Generator) -> Singles:
    """Random signs, shape ``(n, count)``, one for all rows of a cluster: the wild (cluster) null (Cameron, Gelbach & Miller 2008)."""
    ids = np.arange(n) if clusters_n is None else np.unique(clusters_n, return_inverse=True)[1]
    signs = (rng.integers(0, 2, size=(int(ids.max()) + 1, count), dtype=np.int8) * 2 - 1).astype(np.float32)
    return np.asarray(signs[ids])
