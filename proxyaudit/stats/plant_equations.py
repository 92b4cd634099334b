"""Equations of planted labels, for many directions and leaks at once: what a slope and shifts of intercepts give, and how to move them.

A direction gives each row one score, and what a plant along it leaks hangs on how these scores are distributed alone. So plants are
solved on a few dozen nodes first, means of runs of sorted scores that grow from single rows at both ends towards the middle.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from proxyaudit.arrays import Bools, Floats, Ints, Singles

_LARGEST_STEP = 2.0
_GROWTH, _LONGEST = 0.08, 1 / 64  # of runs: per row from the nearer end, and of all rows at most


@dataclass(frozen=True)
class Runs:
    """Runs that the sorted rows of each stratum are cut into, short at both ends and longer towards the middle."""

    rows_n: Ints  # one stratum after another
    edges: tuple[int, ...]  # where a stratum begins there, and the end
    starts_m: Ints
    sizes_m: Ints
    strata_m: Ints | None

    @staticmethod
    def of(n: int, strata_n: Ints | None) -> "Runs":
        """The runs of ``n`` rows."""
        rows = np.arange(n) if strata_n is None else np.argsort(strata_n, kind="stable")
        counts = np.array([n]) if strata_n is None else np.bincount(strata_n)
        edges = (0, *(int(edge) for edge in np.cumsum(counts)))
        each = [_starts(int(count)) for count in counts]
        starts = np.concatenate([first + edge for first, edge in zip(each, edges, strict=False)])
        strata = None if strata_n is None else np.repeat(np.arange(len(counts)), [len(first) for first in each])
        return Runs(rows, edges, starts, np.diff(starts, append=n), strata)

    def nodes(self, scores_np: Singles) -> Singles:
        """Mean scores ``(m, P)`` of the runs of each column."""
        # A copy, which is sorted in place.
        ordered = np.array((scores_np if self.strata_m is None else scores_np[self.rows_n]).T, order="C")
        for start, stop in pairwise(self.edges):
            ordered[:, start:stop].sort(axis=1)
        means = np.add.reduceat(ordered, self.starts_m, axis=1, dtype=np.float64) / self.sizes_m
        return np.ascontiguousarray(means.T, dtype=np.float32)


@lru_cache
def _starts(n: int) -> Ints:
    starts, at, longest = [], 0, max(1, int(n * _LONGEST))
    while at < n:
        starts.append(at)
        at += int(min(max(_GROWTH * min(at, n - at), 1), longest))
    return np.array(starts, dtype=np.int64)


class BinaryPlants:
    """Plants of a two-class attribute, all columns at once in single precision; scores ``(n, P)`` are the second class's.

    Rows count as ``means`` says, a row of weights for each stratum.
    """

    def __init__(self, log_odds: Singles, rates_b: Floats, means: Any, weight_b: Floats, strata_n: Ints | None = None) -> None:
        self.offset, self.wanted, self.means, self.weight_b, self.strata = log_odds, rates_b[:, None], means, weight_b, strata_n
        p = 1 / (1 + np.exp(-log_odds.astype(np.float64)))
        # Weights that give both classes half of the mass.
        self.one, self.zero = (0.5 / p).astype(np.float32), (0.5 / (1 - p)).astype(np.float32)
        shares = np.asarray(means.astype(np.float64) @ (0.5 / self.one).astype(np.float64), dtype=np.float64)
        self.beside = self.wanted - shares
        self.shape = (len(rates_b),)  # of the shifts of one plant

    @staticmethod
    def of_rows(log_nk: Floats, strata_n: Ints | None) -> "BinaryPlants":
        """Every row alike, within strata if there are any."""
        means, weight_b = _means_of_strata(np.ones(len(log_nk)), strata_n)
        log_odds = (log_nk[:, 1] - log_nk[:, 0]).astype(np.float32)[:, None]
        rates = np.asarray(means.astype(np.float64) @ np.exp(log_nk[:, 1:]))[:, 0]
        return BinaryPlants(log_odds, rates, means, weight_b, strata_n)

    def on_nodes(self, runs: Runs) -> "BinaryPlants":
        """The same on nodes that stand for runs of rows."""
        means, weight_b = _means_of_strata(runs.sizes_m, runs.strata_m)
        return BinaryPlants(self.offset[runs.rows_n[runs.starts_m]], self.wanted[:, 0], means, weight_b, runs.strata_m)

    def columns(self, scores_np: Singles, which: Ints) -> Singles:
        """Scores of some plants."""
        return scores_np if len(which) == scores_np.shape[1] else scores_np[:, which]

    def start(self, count: int) -> Singles:
        """Probabilities without a plant, by plant."""
        return np.repeat((0.5 / self.one)[:, 0][None], count, axis=0)

    def at(self, score: Singles, slope: Floats, shift_pb: Floats) -> tuple[Singles, Floats, Floats, Any]:
        """Probabilities ``(P, n)``, leaks, how far rates are off, and what :meth:`moves` needs."""
        spread = shift_pb.T.astype(np.float32)
        logits = score * slope.astype(np.float32)
        logits += self.offset
        logits += spread[:1] if self.strata is None else spread[self.strata]
        np.clip(logits, -60, 60, out=logits)
        odds = np.exp(-logits)
        p = np.asarray(1 / (1 + odds), dtype=np.float32)
        logits -= self.offset
        np.multiply(odds, np.exp(self.offset), out=odds)
        one, zero = p * self.one, (1 - p) * self.zero
        loss = zero * logits + (one + zero) * np.log1p(odds)
        leak = np.asarray(1 - self.weight_b @ np.asarray(self.means @ loss, dtype=np.float64) / np.log(2.0))
        # Of what is left beside the prior: sums of the probabilities of a common class are off by more than a rare one's rate may be.
        miss = self.beside - np.asarray(self.means @ (p - 0.5 / self.one), dtype=np.float64)
        off = (np.abs(miss) / np.minimum(self.wanted, 1 - self.wanted)).max(axis=0)
        return p.T, leak, off, miss

    def moves(self, score: Singles, p_pn: Singles, miss: Any, going: Bools) -> tuple[Floats, Floats]:
        """How shifts ``(P, B)`` of those that go on must change for the rates, and how they follow the slope at equal rates."""
        p, score = (p_pn.T, score) if going.all() else (p_pn.T[:, going], score[:, going])
        width = p * (1 - p)
        steep = np.maximum(np.asarray(self.means @ width, dtype=np.float64), 1e-9)
        drift = -np.asarray(self.means @ (width * score), dtype=np.float64) / steep
        return np.clip(miss[:, going] / steep, -_LARGEST_STEP, _LARGEST_STEP).T, drift.T


class SeveralPlants:
    """Plants of several classes, some columns at once; rows come last, since a short last axis is not vectorised.

    The class that Newton's steps leave out, the first, takes the rounding of all the others: it must be the commonest.
    """

    def __init__(self, log_kn: Singles, strata_n: Ints | None = None, sizes_n: Ints | None = None) -> None:
        self.classes, self.n = log_kn.shape
        self.strata, self.log_kn, self.sizes = strata_n, log_kn, sizes_n
        weighed = strata_n is not None or sizes_n is not None
        self.means = _means_of_strata(np.ones(self.n) if sizes_n is None else sizes_n, strata_n)[0] if weighed else None
        self.prior_kn = np.exp(log_kn)
        self.inverse_kn = 1 / self.prior_kn
        if sizes_n is not None:
            self.inverse_kn = self.inverse_kn * (sizes_n / sizes_n.mean()).astype(np.float32)
        self.wanted = self._rates(self.prior_kn[None])[0]
        self.shape = self.wanted.shape  # of the shifts of one plant

    def on_nodes(self, runs: Runs) -> "SeveralPlants":
        """The same on nodes that stand for runs of rows."""
        return SeveralPlants(np.ascontiguousarray(self.log_kn[:, runs.rows_n[runs.starts_m]]), runs.strata_m, runs.sizes_m)

    def columns(self, scores_pkn: Singles, which: Ints) -> Singles:
        """Scores of some plants."""
        return scores_pkn if len(which) == len(scores_pkn) else scores_pkn[which]

    def start(self, count: int) -> Singles:
        """Probabilities without a plant, by plant."""
        return np.repeat(self.prior_kn[None], count, axis=0)

    def _rates(self, values_pkn: Singles) -> Floats:
        """Means ``(P, K, B)`` within strata."""
        if self.means is None:
            # In double precision: single sums of nearly equal numbers are off by more than the rates may be.
            return np.asarray((np.add.reduce(values_pkn, axis=2, dtype=np.float64) / self.n)[..., None])
        means = self.means @ np.ascontiguousarray(values_pkn.reshape(-1, self.n).T)
        return np.asarray(means.T, dtype=np.float64).reshape(*values_pkn.shape[:2], -1)

    def at(self, scores: Singles, slope: Floats, shift: Floats) -> tuple[Singles, Floats, Floats, Any]:
        """Probabilities ``(P, K, n)``, leaks, how far rates are off, and what :meth:`moves` needs."""
        spread = shift.astype(np.float32)
        p = scores * slope.astype(np.float32)[:, None, None]
        p += self.log_kn
        p += spread if self.strata is None else spread[:, :, self.strata]
        p -= p.max(axis=1, keepdims=True)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        mass = p * self.inverse_kn
        shifted = mass / mass.sum(axis=1, keepdims=True)
        np.log2(np.maximum(shifted, np.float32(1e-30), out=shifted), out=shifted)
        told = np.array([m.ravel() @ s.ravel() for m, s in zip(mass, shifted, strict=True)], dtype=np.float64) / (self.classes * self.n)
        means = self._rates(p)
        return p, 1 + told / float(np.log2(self.classes)), (np.abs(means - self.wanted) / self.wanted).max(axis=(1, 2)), means

    def moves(self, scores: Singles, p: Singles, means: Any, going: Bools) -> tuple[Floats, Floats]:
        """How shifts ``(P, K, B)`` of those that go on must change for the rates, and how they follow the slope at equal rates.

        Newton's steps, the first class staying where it is; where these are long, proportional ones.
        """
        if not going.all():
            scores, p, means = scores[going], p[going], means[going]
        free = p[:, 1:]
        parts = [free] if self.strata is None else [free[:, :, self.strata == b] for b in range(means.shape[2])]
        counted = [part / np.float32(max(part.shape[2], 1)) for part in parts] if self.sizes is None else self._counted(free)
        blocks = [-(one @ part.transpose(0, 2, 1)) for one, part in zip(counted, parts, strict=True)]
        jacobian = (blocks[0][None] if len(blocks) == 1 else np.stack(blocks)).astype(np.float64)
        diagonal = np.arange(self.classes - 1)
        jacobian[..., diagonal, diagonal] += means[:, 1:].transpose(2, 0, 1) + 1e-9
        wanted = np.stack([self.wanted - means, -self._drift(p, scores)], axis=-1)[:, 1:]
        both = np.zeros((*means.shape, 2))
        both[:, 1:] = np.linalg.solve(jacobian, wanted.transpose(2, 0, 1, 3)).transpose(1, 2, 0, 3)
        change, drift = both[..., 0], both[..., 1]
        near = np.abs(change).max(axis=1, keepdims=True) < _LARGEST_STEP
        if not near.all():
            ratio = np.log(self.wanted / np.maximum(means, 1e-30))
            change = np.where(near, change, np.clip(ratio - ratio[:, :1], -50, 50))
        return change, drift

    def _drift(self, p: Singles, scores: Singles) -> Floats:
        """How fast rates ``(P, K, B)`` move with the slope."""
        mean = np.einsum("pkn,pkn->pn", p, scores)
        return self._rates(p * (scores - mean[:, None]))

    def _counted(self, free: Singles) -> list[Singles]:
        """Probabilities of nodes by the share of their stratum that each stands for, stratum by stratum."""
        assert self.sizes is not None
        where = [slice(None)] if self.strata is None else [self.strata == b for b in range(int(self.strata.max()) + 1)]
        return [free[:, :, some] * (self.sizes[some] / self.sizes[some].sum()).astype(np.float32) for some in where]


def _means_of_strata(sizes_n: NDArray[Any], strata_n: Ints | None) -> tuple[Any, Floats]:
    """What rows ``(n, P)``, each standing for so many, are multiplied by to give means of strata ``(B, P)``; the share of each stratum."""
    where = np.zeros(len(sizes_n), dtype=np.int64) if strata_n is None else strata_n
    counts = np.bincount(where, weights=sizes_n)
    share = sizes_n / counts[where]
    if strata_n is None:
        return share.astype(np.float32)[None], counts / counts.sum()
    # Sparse products sum one by one: single precision would not do.
    return sparse.csr_matrix((share, (where, np.arange(len(sizes_n)))), shape=(len(counts), len(sizes_n))), counts / counts.sum()
