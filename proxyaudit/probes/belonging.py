"""Whether rows belong together though nobody said so: near neighbours agree in an attribute more than what varies smoothly explains.

Of rows drawn independently, labels are independent given the activations: what is left of them after a smooth reader agrees between near
neighbours hardly more than between farther ones. Rows of one person, household or stretch of time agree among the nearest only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.probes.results import LEAST_EXCESS, LEAST_OF_SEVERAL, NEAR_ROWS, Agreement
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import shortened
from proxyaudit.seeding import stream

NEIGHBOURS = 64
_SHARE, _FEWEST = 12, 24  # at most a twelfth of the rows are neighbours; of fewer than these no curve of agreement can be seen
_TELLING_RANK = 8  # in fewer dimensions what bends sharply looks the same
_MANY = 640  # rows; of fewer only very close likeness is told from what a few categories tell
_QUERIES = 4000
_AT_ONCE, _SETS_AT_ONCE = 250, 64  # rows; more sets than that leave the processor's cache
_FIRST = 1000  # rows asked about first; the others where these hint at anything, and where what is asked is within reach
_HINT, _REACH = 1.0, 2.0  # standard errors
_SAME = 1e-4  # squared distance per dimension below which rows are copies; those that count as one are asked about elsewhere
_ROWS_PER_FEATURE = 4
_RIDGE, _PRODUCT_RIDGE = 0.01, 0.3  # of unit variance: a reader that extrapolates wildly explains nothing
_PERMUTATIONS = 19
_FEWEST_DIMENSIONS = 4  # with fewer, rows near one another are no sign, and few directions are there to read anything from
_LARGEST_RESIDUAL = 3.0  # standard deviations of the attribute; near singular fits leave more


@dataclass
class Neighbours:
    """Rows asked about ``(q,)`` and their nearest neighbours, looked for when they are asked for; features ``(n, p)`` of the smooth reader.

    These are scaled so that their inner products are the hat matrix of a ridge regression.
    """

    rows_q: Ints
    count: int  # neighbours of each
    z_nr: torch.Tensor
    groups_n: torch.Tensor | None
    features_np: Floats
    singles_np: torch.Tensor  # the same in single precision
    among_copies: bool = False  # whether rows that repeat one another are neighbours, too; else they are passed over
    copies: bool = False  # whether rows were passed over that repeat one asked about, and count as other people's
    near: list[Ints] = field(default_factory=list)  # of the rows asked about, as far as anybody asked
    without: dict[int, torch.Tensor] = field(default_factory=dict)  # by place, what turns residuals into those of a fit without these rows

    @property
    def rank(self) -> int:
        """Dimensions that distances are of."""
        return int(self.z_nr.shape[1])

    def near_qk(self, stop: int | None = None) -> Ints:
        """The nearest neighbours ``(q, k)`` of the first rows asked about, the nearest first."""
        stop = len(self.rows_q) if stop is None else min(stop, len(self.rows_q))
        # In blocks that do not hang on who asks: products of other shapes round otherwise.
        for start in range(_AT_ONCE * len(self.near), stop, _AT_ONCE):
            self.near.append(self._nearest(torch.as_tensor(self.rows_q[start : start + _AT_ONCE])))
        return np.concatenate(self.near)[:stop]

    def _nearest(self, part: torch.Tensor) -> Ints:
        length = (self.z_nr**2).sum(1)
        distance = length[part, None] + length - 2 * self.z_nr[part] @ self.z_nr.T
        distance[torch.arange(len(part)), part] = torch.inf
        if self.groups_n is not None:
            distance[self.groups_n[part, None] == self.groups_n] = torch.inf
        if not self.among_copies:
            same = distance < _SAME * self.rank
            self.copies = self.copies or bool(same.any())
            distance[same] = torch.inf
        return np.asarray(distance.topk(self.count, dim=1, largest=False).indices.numpy())

    def sets(self, start: int, stop: int) -> tuple[Ints, torch.Tensor]:
        """Rows asked about with their neighbours ``(s, 1 + k)``, and the matrices ``(s, 1 + k, 1 + k)`` that leave them out of the fit."""
        sets = np.concatenate([self.rows_q[start:stop, None], self.near_qk(stop)[start:]], axis=1)
        if start not in self.without:
            part = self.singles_np[torch.as_tensor(sets)]
            self.without[start] = _inverses(torch.eye(sets.shape[1]) - part @ part.transpose(1, 2))
        return sets, self.without[start]


def _inverses(matrices_skk: torch.Tensor) -> torch.Tensor:
    """Inverses of symmetric matrices, by their Cholesky factors where rounding leaves these: a third of the time."""
    factors, failed = torch.linalg.cholesky_ex(matrices_skk)
    found = torch.cholesky_inverse(factors)
    if bool(failed.any()):
        found[failed > 0] = torch.linalg.inv(matrices_skk[failed > 0])
    return found


def find_neighbours(z_nr: Floats, clusters_n: Ints | None) -> Neighbours | None:
    """Neighbours in other clusters, in whitened coordinates of shortened rows; ``None`` where rows or dimensions are too few.

    Rows that repeat one another are passed over.
    """
    n, rank = z_nr.shape
    count = min(NEIGHBOURS, n // _SHARE)
    if rank < _FEWEST_DIMENSIONS or n < 3 * rank or count < _FEWEST:
        return None
    z = torch.as_tensor(shortened(z_nr), dtype=torch.float32)
    rows = np.sort(stream(0, "neighbours", n).permutation(n)[:_QUERIES])
    features = _smooth_features(z_nr)
    penalty = np.where(np.arange(features.shape[1]) > rank, _PRODUCT_RIDGE, _RIDGE)
    gram = features.T @ features + n * np.diag(penalty)
    scaled = np.asarray(np.linalg.solve(np.linalg.cholesky(gram), features.T).T, dtype=np.float64)
    groups = None if clusters_n is None else torch.as_tensor(clusters_n)
    return Neighbours(rows, count, z, groups, scaled, torch.as_tensor(scaled, dtype=torch.float32))


def with_copies(neighbours: Neighbours) -> Neighbours:
    """The same, with rows that repeat one another among the neighbours."""
    return replace(neighbours, among_copies=True, copies=False, near=[], without={})


def _smooth_features(z_nr: Floats) -> Floats:
    """A constant, the coordinates, the length and, where rows suffice, their products."""
    n, rank = z_nr.shape
    length = (z_nr**2).sum(axis=1, keepdims=True)
    columns = [np.ones((n, 1)), z_nr, stats.rankdata(length)[:, None] / n - 0.5]
    if rank * (rank + 3) // 2 <= n // _ROWS_PER_FEATURE:
        one, other = np.triu_indices(rank)
        tame = shortened(z_nr)
        products = tame[:, one] * tame[:, other]
        products -= products.mean(axis=0)
        columns.append(products / np.maximum(products.std(axis=0), 1e-12))
    return np.concatenate(columns, axis=1)


def agreement(neighbours: Neighbours, labels_n: NDArray[np.generic], classes: int) -> Agreement:
    """Agreement of neighbours in what a smooth reader, fitted without all of a row's neighbours, leaves of an attribute."""
    told = labels_n[:, None] == np.arange(classes) if classes else stats.rankdata(labels_n, method="max")[:, None] / len(labels_n)
    y = np.asarray(told, dtype=np.float64)
    y = y - y.mean(axis=0)
    total = float((y**2).mean(axis=0).sum())
    rng = stream(0, "agreement", len(y))
    columns = np.concatenate([y, *(y[rng.permutation(len(y))] for _ in range(_PERMUTATIONS))], axis=1) / np.sqrt(total)
    phi = neighbours.features_np
    left = columns - phi @ (phi.T @ columns)
    found = _excess(neighbours, left, slice(0, _FIRST), y.shape[1])
    if len(neighbours.rows_q) > _FIRST and _undecided(found):
        more = _excess(neighbours, left, slice(_FIRST, None), y.shape[1])
        found = [np.concatenate(pair) for pair in zip(found, more, strict=True)]
    nearest, several, missed = found
    smooth = max(0.0, 1 - float(missed.mean()))
    alone = Agreement(_above_chance(nearest), _error(nearest), smooth, few=len(y) < _MANY)
    if neighbours.rank < _TELLING_RANK:
        return alone
    return replace(alone, several=_above_chance(several), several_error=_error(several))


def _undecided(found: Sequence[Floats]) -> bool:
    """Whether more rows could show that rows belong together: those at hand hint at it, and it is not out of reach."""
    smooth = max(0.0, 1 - float(found[2].mean()))
    for one, least in zip(found[:2], (LEAST_EXCESS, LEAST_OF_SEVERAL), strict=True):
        excess, error = _above_chance(one), _error(one)
        if excess > _HINT * error and excess + _REACH * error > max(least, smooth):
            return True
    return False


def _above_chance(excess_qm: Floats) -> float:
    """Mean excess over that of permuted labels: predictions for rows near one another err alike."""
    means = excess_qm.mean(axis=0)
    return float(means[0] - means[1:].mean())


def _error(excess_qm: Floats) -> float:
    """Standard error of the mean, two rows that are each other's nearest counted once; not less than permuted labels scatter."""
    return max(float(excess_qm[:, 0].std() / np.sqrt(len(excess_qm) / 2)), float(excess_qm[:, 1:].mean(axis=0).std(ddof=1)))


def _excess(neighbours: Neighbours, left_nk: Floats, queries: slice, classes: int) -> list[Floats]:
    """Of each row and label column: product of its residual with the nearest one's, less that with farther ones; and its own squared.

    Between these the same product with the mean of several near ones. Residuals of a fit without these rows follow from those of the
    fit with all (Cook & Weisberg 1982).
    """
    excess, several, missed = [], [], []
    far = slice(1 + neighbours.count // 2, None)
    left = torch.as_tensor(left_nk, dtype=torch.float32)
    first, last, _ = queries.indices(len(neighbours.rows_q))
    for start in range(first, last, _SETS_AT_ONCE):
        sets, without = neighbours.sets(start, min(start + _SETS_AT_ONCE, last))
        own = (without @ left[sets]).clamp(-_LARGEST_RESIDUAL, _LARGEST_RESIDUAL).double().numpy().reshape(*sets.shape, -1, classes)
        farther = own[:, far].mean(axis=1)
        excess.append((own[:, 0] * (own[:, 1] - farther)).sum(axis=2))
        several.append((own[:, 0] * (own[:, 1 : 1 + NEAR_ROWS].mean(axis=1) - farther)).sum(axis=2))
        missed.append((own[:, 0, 0] ** 2).sum(axis=1))
    return [np.concatenate(excess), np.concatenate(several), np.concatenate(missed)]


def near_share(statistic: ScoreStatistic, columns: Sequence[Singles], weights_k: Floats, neighbours: Neighbours, score: float) -> float:
    """Share of a score that pairs of near neighbours hold; a leak that all rows have part in hardly needs them.

    Columns are the prepared ones of each class, each ``(n, 1)``.
    """
    if score <= 0:
        return 1.0
    rows, near_qk = neighbours.rows_q, neighbours.near_qk()
    total = 0.0
    for start in range(0, len(rows), _AT_ONCE):
        own, near = rows[start : start + _AT_ONCE], near_qk[start : start + _AT_ONCE]
        kernel = statistic.likeness(own, near)
        for weight, column in zip(weights_k, columns, strict=True):
            total += float(weight) * float((kernel * column[near, 0] * column[own]).sum())
    return float(np.clip(total / len(rows) / score, 0.0, 1.0))
