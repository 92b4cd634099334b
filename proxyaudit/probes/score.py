"""The deciding engine: score statistics for thousands of label columns in one matrix product.

On whitened rows ``Z`` and standardised labels ``e`` the linear statistic is ``||Z'e||**2 / n``, the score test of a linear reader
(Rao 1948), and the quadratic one ``||Z'diag(e)Z||_F**2 / n``, with ``e`` freed of everything linear first. Of both the diagonal
``sum_i e_i**2 ||z_i||**2`` (or ``**4``) is left out, so that classes with unequal covariances do not shift them (a U-statistic). Where
rows belong together so are all pairs of one cluster: they tell of one person, whichever way the others' labels go. A statistic of
K > 2 classes is the sum over the class indicators.

Where rows are more than twice the products of two coordinates, these are whitened themselves, as far as the rows can tell how they hang
together: a leak along any product then moves the statistic alike, as it does along any direction of the linear one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.stats.directions import Block, Rows

MEMORY_MB = 1024
_ROWS_AT_ONCE = 8192
_MOST_PAIRS = 5_000_000  # of rows of one cluster; of more only each row's own part is left out
_NUMBERS_AT_ONCE = 10_000_000
_NOTHING = 1e-12  # mean variance of products, of the order of one, below which they are rounding
_RIDGE, _LEAST_RIDGE = 2.0, 1e-3  # of the mean variance of products: times the squared ratio of products to rows, and at least


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

    def __init__(self, rows: Rows, channel: str, clusters_n: Ints | None = None, *, memory_mb: int = MEMORY_MB) -> None:
        """Take the rows, ``linear`` or ``nonlinear`` as the channel, which rows belong together, and the bound on working memory."""
        if channel not in ("linear", "nonlinear"):
            raise ValueError(f"no score statistic is called {channel!r}")
        self.rows, self.channel, self.clusters, self.memory = rows, channel, clusters_n, memory_mb * 2**20
        self.factors = rows if channel == "linear" else rows.factors
        self.z = torch.as_tensor(self.factors.z_nr)
        self.length = torch.cat([(part**2).sum(1) for part in torch.split(self.z, _ROWS_AT_ONCE)])
        self.kept: dict[int, torch.Tensor] = {}
        self.own_kept: dict[int, torch.Tensor] = {}
        self.within_kept: dict[int, Any] = {}

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
        z, n = self.z[block.rows, : block.rank], len(e)
        scores = np.empty(e.shape[1])
        width = max(1, self.memory // (8 * (block.rank + n)))
        for start in range(0, e.shape[1], width):
            part = e[:, start : start + width]
            product = z.T @ part
            left_out = (part * self._of_own(block, part)).sum(0)
            scores[start : start + width] = (((product**2).sum(0) - left_out) / n).double().numpy()
        first = e[:, :1]
        share = 2 * (first * (z @ (z.T @ first) - self._of_own(block, first)))[:, 0] / n
        return scores, share.double().numpy()

    def _quadratic(self, block: Block, e: torch.Tensor) -> tuple[Floats, Floats]:
        n, left_out = len(e), self._of_own(block, e)
        forms, image = self._by_features(block, e) if self._few_features(block) else self._by_pairs(block, e)
        share = 2 * (e[:, 0] * (image - left_out[:, 0])) / n
        return ((forms - (e * left_out).sum(0)) / n).double().numpy(), share.double().numpy()

    def _few_features(self, block: Block) -> bool:
        """Whether products of columns are fewer than rows, and fit into memory."""
        n, features = block.rows.stop - block.rows.start, block.rank * (block.rank + 1) // 2
        return bool(2 * features < n and 4 * n * features <= self.memory)

    def _by_features(self, block: Block, e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Few dimensions: products of columns are features, and the statistic is linear in them."""
        features = self._features(block)
        product = features @ e
        return (product**2).sum(0), features.T @ product[:, 0]

    def _own(self, block: Block) -> torch.Tensor:
        """What each row of a block has of its own label in the statistic, ``(n,)``."""
        if self.channel == "linear":
            return self.length[block.rows]
        if not self._few_features(block):
            return self.length[block.rows] ** 2
        if block.rows.start not in self.own_kept:
            self.own_kept[block.rows.start] = (self._features(block) ** 2).sum(0)
        return self.own_kept[block.rows.start]

    def _of_own(self, block: Block, e_nm: torch.Tensor) -> torch.Tensor:
        """What of the labels of a row's own cluster, its own among them, is left out of each row's part; ``(n, m)``."""
        own = self._own(block)[:, None] * e_nm
        if self.clusters is None:
            return own
        if block.rows.start not in self.within_kept:
            self.within_kept[block.rows.start] = self._pairs_within(block)
        within = self.within_kept[block.rows.start]
        return own if within is None else own + torch.as_tensor(within @ e_nm.numpy())

    def _pairs_within(self, block: Block) -> Any:
        """How much rows of one cluster have of each other's labels: a sparse ``(n, n)``, or ``None`` where there are no such pairs."""
        assert self.clusters is not None
        n = block.rows.stop - block.rows.start
        one, other = _pairs(self.clusters[block.rows])
        if not len(one):
            return None
        values = self._likeness(block, one, other[:, None])[:, 0].astype(np.float32)
        found = sparse.csr_matrix((values, (one, other)), shape=(n, n))
        return found + found.T

    def of_own(self, e_nm: Singles) -> Singles:
        """What each row has of the labels of its own cluster, its own among them, which the statistic leaves out; ``(n, m)``."""
        e = torch.as_tensor(e_nm)
        return np.asarray(torch.cat([self._of_own(block, e[block.rows]) for block in self.factors.blocks]))

    def likeness(self, rows_q: Ints, others_qk: Ints) -> Floats:
        """How much each row ``(q,)`` of a single block has of the labels of others ``(q, k)`` in the statistic."""
        (block,) = self.factors.blocks
        return self._likeness(block, rows_q, others_qk)

    def _likeness(self, block: Block, rows_q: Ints, others_qk: Ints) -> Floats:
        featured = self.channel == "nonlinear" and self._few_features(block)
        # Coordinates, or whitened products, one row each.
        x = self._features(block).T if featured else self.z[block.rows, : block.rank]
        found = np.empty(others_qk.shape)
        step = max(1, _NUMBERS_AT_ONCE // (x.shape[1] * others_qk.shape[1]))
        for part in (slice(start, start + step) for start in range(0, len(rows_q), step)):
            one, other = x[torch.as_tensor(rows_q[part])], x[torch.as_tensor(others_qk[part])]
            found[part] = (other @ one[:, :, None])[:, :, 0]
        return found if featured or self.channel == "linear" else found**2

    def _features(self, block: Block) -> torch.Tensor:
        """Products of coordinates ``(p, n)``, freed of everything linear and whitened."""
        if block.rows.start not in self.kept:
            linear = next(one for one in self.rows.blocks if one.rows.start == block.rows.start)
            z = self.z[block.rows, : block.rank]
            self.kept[block.rows.start] = _whitened_products(z, torch.as_tensor(self.rows.z_nr[block.rows, : linear.rank]))
        return self.kept[block.rows.start]

    def _by_pairs(self, block: Block, e: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Many dimensions: squared inner products of pairs of rows, a block of rows at a time."""
        forms, image = e.new_zeros(e.shape[1]), e.new_zeros(len(e))
        for part, kernel in self._kernels(block):
            product = kernel @ e
            forms += (product * e[part]).sum(0)
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
            z, part = self.z[block.rows, : block.rank], e[block.rows]
            if self.channel == "linear":
                image = z @ (z.T @ part)
            elif self._few_features(block):
                features = self._features(block)
                image = features.T @ (features @ part)
            else:
                image = torch.cat([kernel @ part for _, kernel in self._kernels(block)])
            out[block.rows] = (image - self._of_own(block, part)) / len(z)
        return out.numpy()


def _pairs(clusters_n: Ints) -> tuple[Ints, Ints]:
    """All pairs of rows of one cluster, each once; none where they would be too many."""
    order = np.argsort(clusters_n, kind="stable")
    starts = np.flatnonzero(np.diff(clusters_n[order], prepend=clusters_n[order[0]] - 1))
    sizes = np.diff(starts, append=len(order))
    parts = [np.zeros((2, 0), dtype=np.int64)]
    for size in np.unique(sizes[sizes > 1]) if (sizes * (sizes - 1) // 2).sum() <= _MOST_PAIRS else ():
        members = order[starts[sizes == size][:, None] + np.arange(size)]
        one, other = np.triu_indices(size, 1)
        parts.append(np.stack([members[:, one].ravel(), members[:, other].ravel()]))
    one, other = np.concatenate(parts, axis=1)
    return one, other


def _whitened_products(z_nk: torch.Tensor, linear_nr: torch.Tensor) -> torch.Tensor:
    """Products ``(p, n)`` of coordinates, freed of ``linear_nr`` and whitened by their second moments and a ridge.

    Coordinates of heavy tails have products of far more, and far less, variance than others; unwhitened, a leak along some of them hardly
    moves a statistic and along others moves it most. The ridge grows with what few rows leave unknown of the moments. Products that hang
    together in no way stay as they are, up to noise.
    """
    n, width = z_nk.shape
    one, other = torch.triu_indices(width, width)
    scale = torch.where(one == other, 1.0, 2.0**0.5).to(torch.float64)
    parts = list(zip(torch.split(z_nk.double(), _ROWS_AT_ONCE), torch.split(linear_nr.double(), _ROWS_AT_ONCE), strict=True))

    def products(z: torch.Tensor) -> torch.Tensor:
        return z[:, one] * z[:, other] * scale

    mean = torch.stack([products(z).sum(0) for z, _ in parts]).sum(0) / n
    slope = torch.stack([linear.T @ (products(z) - mean) for z, linear in parts]).sum(0) / n

    def rest(z: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
        return products(z) - mean - linear @ slope

    moments = torch.stack([left.T @ left for left in (rest(*part) for part in parts)]).sum(0) / n
    usual = float(moments.diagonal().mean())
    if usual <= _NOTHING:  # units of two values: their products are linear, and nothing is left to be whitened
        return torch.zeros((len(moments), n), dtype=torch.float32)
    ridge = max(_RIDGE * (len(moments) / n) ** 2, _LEAST_RIDGE) * usual
    factor = torch.linalg.cholesky(moments + ridge * torch.eye(len(moments), dtype=torch.float64)) / (usual + ridge) ** 0.5
    out = torch.empty((len(moments), n), dtype=torch.float32)
    for start, part in zip(range(0, n, _ROWS_AT_ONCE), parts, strict=True):
        out[:, start : start + len(part[0])] = torch.linalg.solve_triangular(factor, rest(*part).T, upper=False).float()
    return out


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
