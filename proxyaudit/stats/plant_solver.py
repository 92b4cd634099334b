"""Slopes and intercepts of planted labels, for many directions and leaks at once.

A direction gives each row one score, and what a plant along it leaks hangs on how these scores are distributed alone. So a plant is
solved first on a few dozen nodes, means of runs of sorted scores that grow from single rows at both ends towards the middle; two or
three steps on all rows then make it exact.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from proxyaudit.arrays import Bools, Floats, Ints, Singles

LEAK_TOLERANCE = 1e-3  # relative
_LARGEST_SLOPE = 64.0
_LARGEST_STEP = 2.0
_UNSATURATED = 4.0  # log-odds
_MOST_STEPS = 120
_MOST_CORRECTIONS = 6
_MOST_STUCK = 15
_NEAR_LEAK = 0.05  # of a leak: rates off by that much move it too little to mislead a step
_RATE_TOLERANCE = 1e-5  # a rate that misses by e moves the leak by e / 2: well below the tolerance of a small leak
_GROWTH, _LONGEST = 0.08, 1 / 64  # of runs: per row from the nearer end, and of all rows at most
_NEARLY = 0.02
_LEAST_LEAK, _HALVINGS = 1e-4, 8  # in the search for the largest leak that a direction carries
_AT_ONCE = 100_000  # probabilities of several classes that are solved together: more of them leave the processor's cache
_FEWEST_ROWS = 1000  # below that all rows cost no more than nodes


@dataclass
class Solved:
    """Plants of P directions: their probabilities, the leak they carry, and the slope and shifts of intercepts that give it."""

    p: Singles  # of two classes ``(n, P)`` of the second, else ``(P, K, n)``
    leaks_p: Floats  # the largest there is where none reaches the wanted one, zero where the rates were never met
    slopes_p: Floats
    shifts: Floats  # ``(B, P)`` of two classes, else ``(P, K, B)``

    carried_p: Bools | None = None  # of a rough solution: elsewhere it is the most there is, which needs no correction

    def put(self, other: "Solved", at: Ints, to: Ints) -> None:
        """Take over the leaks, slopes and shifts of some columns of another solution."""
        self.leaks_p[to], self.slopes_p[to] = other.leaks_p[at], other.slopes_p[at]
        if self.p.ndim == 2:
            self.shifts[:, to] = other.shifts[:, at]
        else:
            self.shifts[to] = other.shifts[at]

    def of(self, part: slice) -> "Solved":
        """Some columns of a rough solution of several classes."""
        carried = None if self.carried_p is None else self.carried_p[part]
        return Solved(self.p, self.leaks_p[part], self.slopes_p[part], self.shifts[part], carried)


def is_carried(found_p: Floats, leaks_p: Floats) -> NDArray[np.bool_]:
    """Whether the leaks that were found are those that were wanted."""
    return np.asarray(np.abs(found_p - leaks_p) < 2 * LEAK_TOLERANCE * leaks_p)


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
    """Plants of a two-class attribute, all columns at once in single precision: slope and shifts are found together.

    Rows count as ``means`` says, a row of weights for each stratum.
    """

    def __init__(self, log_odds: Singles, rates_b: Floats, means: Any, weight_b: Floats, strata_n: Ints | None = None) -> None:
        self.offset, self.wanted, self.means, self.weight_b, self.strata = log_odds, rates_b[:, None], means, weight_b, strata_n
        p = 1 / (1 + np.exp(-log_odds.astype(np.float64)))
        # Weights that give both classes half of the mass.
        self.one, self.zero = (0.5 / p).astype(np.float32), (0.5 / (1 - p)).astype(np.float32)
        shares = np.asarray(means.astype(np.float64) @ (0.5 / self.one).astype(np.float64), dtype=np.float64)
        self.beside = self.wanted - shares

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

    def solve(self, scores_np: Singles, leaks_p: Floats, start: Solved | None = None) -> Solved:
        """Plants along scores, each with its own leak, from where another solution left slopes and shifts, if one is given."""
        count, open_p = len(leaks_p), np.arange(len(leaks_p))
        search = _Search(leaks_p, np.abs(scores_np).max(axis=0) if start is None else None, start)
        shift = np.zeros((len(self.wanted), count)) if start is None else start.shifts.copy()
        p = np.empty((len(scores_np), count), dtype=np.float32)
        p[:] = 0.5 / self.one
        out = Solved(p, np.zeros(count), search.slope.copy(), shift.copy())
        for _ in range(_MOST_STEPS if start is None else _MOST_CORRECTIONS):
            score = scores_np if len(open_p) == count else scores_np[:, open_p]
            part, leak, miss, steep = self._at(score, search.slope[open_p], shift[:, open_p])
            off = (np.abs(miss) / np.minimum(self.wanted, 1 - self.wanted)).max(axis=0)
            done, nearer = _nearer(leak, off, leaks_p[open_p], out.leaks_p[open_p], start, open_p)
            at = open_p[nearer]
            out.p[:, at], out.leaks_p[at] = part[:, nearer], leak[nearer]
            before = search.slope[open_p]
            out.slopes_p[at], out.shifts[:, at] = before[nearer], shift[:, at]
            going = search.step(open_p, leak, off) & ~done
            change = miss / np.maximum(steep[0], 1e-9) - steep[1] / np.maximum(steep[0], 1e-9) * (search.slope[open_p] - before)
            shift[:, open_p] += np.clip(change, -_LARGEST_STEP, _LARGEST_STEP)
            open_p = open_p[going]
            if not len(open_p):
                break
        return out

    def _at(self, score: Singles, slope: Floats, shift: Floats) -> tuple[Singles, Floats, Floats, tuple[Floats, Floats]]:
        """Probabilities, leak, how far rates are off in each stratum, and how they move with its shift and with the slope."""
        spread = shift.astype(np.float32)
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
        width = p * (1 - p)
        steep = np.asarray(self.means @ width, dtype=np.float64), np.asarray(self.means @ (width * score), dtype=np.float64)
        # Of what is left beside the prior: sums of the probabilities of a common class are off by more than a rare one's rate may be.
        return p, leak, self.beside - np.asarray(self.means @ (p - 0.5 / self.one), dtype=np.float64), steep


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

    def on_nodes(self, runs: Runs) -> "SeveralPlants":
        """The same on nodes that stand for runs of rows."""
        return SeveralPlants(np.ascontiguousarray(self.log_kn[:, runs.rows_n[runs.starts_m]]), runs.strata_m, runs.sizes_m)

    def solve(self, scores_pkn: Singles, leaks_p: Floats, start: Solved | None = None) -> Solved:
        """Plants along scores, each with its own leak, from where another solution left slopes and shifts, if one is given."""
        count, open_p = len(leaks_p), np.arange(len(leaks_p))
        search = _Search(leaks_p, np.abs(scores_pkn).max(axis=(1, 2)) if start is None else None, start)
        shift = np.zeros((count, *self.wanted.shape)) if start is None else start.shifts.copy()
        p = np.repeat(self.prior_kn[None], count, axis=0)
        out = Solved(p, np.zeros(count), search.slope.copy(), shift.copy())
        for _ in range(_MOST_STEPS if start is None else _MOST_CORRECTIONS):
            scores = scores_pkn if len(open_p) == count else scores_pkn[open_p]
            part, leak = self._at(scores, search.slope[open_p], shift[open_p])
            means = self._rates(part)
            off = (np.abs(means - self.wanted) / self.wanted).max(axis=(1, 2))
            done, nearer = _nearer(leak, off, leaks_p[open_p], out.leaks_p[open_p], start, open_p)
            at = open_p[nearer]
            out.p[at], out.leaks_p[at] = part[nearer], leak[nearer]
            before = search.slope[open_p]
            out.slopes_p[at], out.shifts[at] = before[nearer], shift[at]
            going = search.step(open_p, leak, off) & ~done
            if not going.any():
                break
            moved = self._drift(part, scores) * (search.slope[open_p] - before)[:, None, None]
            shift[open_p, 1:] += self._step(part, means, moved)
            open_p = open_p[going]
        return out

    def _rates(self, values_pkn: Singles) -> Floats:
        """Means ``(P, K, B)`` within strata."""
        if self.means is None:
            # In double precision: single sums of nearly equal numbers are off by more than the rates may be.
            return np.asarray((np.add.reduce(values_pkn, axis=2, dtype=np.float64) / self.n)[..., None])
        means = self.means @ np.ascontiguousarray(values_pkn.reshape(-1, self.n).T)
        return np.asarray(means.T, dtype=np.float64).reshape(*values_pkn.shape[:2], -1)

    def _at(self, scores: Singles, slope: Floats, shift: Floats) -> tuple[Singles, Floats]:
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
        return p, 1 + told / float(np.log2(self.classes))

    def _drift(self, p: Singles, scores: Singles) -> Floats:
        """How fast rates ``(P, K, B)`` move with the slope."""
        mean = np.einsum("pkn,pkn->pn", p, scores)
        return self._rates(p * (scores - mean[:, None]))

    def _step(self, p: Singles, means: Floats, moved: Floats) -> Floats:
        """Newton's step ``(P, K - 1, B)`` on the rates of each stratum, the first class staying where it is; else proportional."""
        free = p[:, 1:]
        parts = [free] if self.strata is None else [free[:, :, self.strata == b] for b in range(means.shape[2])]
        counted = [part / np.float32(max(part.shape[2], 1)) for part in parts] if self.sizes is None else self._counted(free)
        blocks = [-(one @ part.transpose(0, 2, 1)) for one, part in zip(counted, parts, strict=True)]
        jacobian = (blocks[0][None] if len(blocks) == 1 else np.stack(blocks)).astype(np.float64)
        diagonal = np.arange(self.classes - 1)
        jacobian[..., diagonal, diagonal] += means[:, 1:].transpose(2, 0, 1) + 1e-9
        wanted = (self.wanted - means - moved)[:, 1:]
        step = np.linalg.solve(jacobian, wanted.transpose(2, 0, 1)[..., None])[..., 0].transpose(1, 2, 0)
        near = np.abs(step).max(axis=1, keepdims=True) < _LARGEST_STEP
        if near.all():
            return np.asarray(step)
        ratio = np.log(self.wanted / np.maximum(means, 1e-30))
        return np.where(near, step, np.clip(ratio[:, 1:] - ratio[:, :1], -50, 50))

    def _counted(self, free: Singles) -> list[Singles]:
        """Probabilities of nodes by the share of their stratum that each stands for, stratum by stratum."""
        assert self.sizes is not None
        where = [slice(None)] if self.strata is None else [self.strata == b for b in range(int(self.strata.max()) + 1)]
        return [free[:, :, some] * (self.sizes[some] / self.sizes[some].sum()).astype(np.float32) for some in where]


def _rough(on_nodes: BinaryPlants | SeveralPlants, nodes: Singles, leaks_p: Floats) -> Solved:
    """Plants on nodes: of the wanted leak, or near the largest that there is, which is searched for."""
    found = on_nodes.solve(nodes, leaks_p)
    short = np.flatnonzero(~is_carried(found.leaks_p, leaks_p))
    low, high = np.maximum(found.leaks_p[short], _LEAST_LEAK), leaks_p[short].copy()
    for _ in range(_HALVINGS):
        going = np.flatnonzero(high > (1 + _NEARLY) * low)
        if not len(going):
            break
        middle, columns = np.sqrt(low * high)[going], short[going]
        some = on_nodes.solve(nodes[:, columns] if nodes.ndim == 2 else nodes[columns], middle)
        met = is_carried(some.leaks_p, middle)
        low[going], high[going] = np.where(met, middle, low[going]), np.where(met, high[going], middle)
        found.put(some, np.flatnonzero(met), columns[met])
    found.carried_p = is_carried(found.leaks_p, leaks_p)
    return found


def solve_binary(plants: BinaryPlants, scores_np: Singles, leaks_p: Floats) -> tuple[Singles, Floats]:
    """Probabilities ``(n, P)`` of the second class and the leaks that they carry."""
    if len(scores_np) < _FEWEST_ROWS:
        found = plants.solve(scores_np, leaks_p)
        return found.p, found.leaks_p
    runs = Runs.of(len(scores_np), plants.strata)
    rough = _rough(plants.on_nodes(runs), runs.nodes(scores_np), leaks_p)
    found = plants.solve(scores_np, leaks_p, start=rough)
    assert rough.carried_p is not None
    if len(again := np.flatnonzero(rough.carried_p & ~is_carried(found.leaks_p, leaks_p))):
        whole = plants.solve(np.ascontiguousarray(scores_np[:, again]), leaks_p[again])
        found.p[:, again], found.leaks_p[again] = whole.p, whole.leaks_p
    return found.p, found.leaks_p


def solve_several(log_nk: Floats, strata_n: Ints | None, scores_nkp: Singles, leaks_p: Floats) -> tuple[Singles, Floats]:
    """Probabilities ``(K, n, P)`` of the classes and the leaks that they carry; the commonest class comes first."""
    n, classes, count = scores_nkp.shape
    plants = SeveralPlants(np.ascontiguousarray(log_nk.T, dtype=np.float32), strata_n)
    p, leaks = np.empty((classes, n, count), dtype=np.float32), np.zeros(count)
    single_np, pattern_kp, flat = _single_scores(scores_nkp)
    flat &= n >= _FEWEST_ROWS

    def on_rows(which: Ints, start: Solved | None = None) -> None:
        step = max(8, _AT_ONCE // (classes * n))
        for part in (slice(at, at + step) for at in range(0, len(which), step)):
            begun = None if start is None else start.of(part)
            rows_last = np.ascontiguousarray(scores_nkp[..., which[part]].transpose(2, 1, 0), dtype=np.float32)
            found = plants.solve(rows_last, leaks_p[which[part]], start=begun)
            p[..., which[part]], leaks[which[part]] = found.p.transpose(1, 2, 0), found.leaks_p

    again, some = np.flatnonzero(~flat), np.flatnonzero(flat)
    if len(some):
        runs = Runs.of(n, strata_n)
        nodes = runs.nodes(single_np[:, some])
        on_nodes = np.ascontiguousarray((nodes[:, None] * pattern_kp[:, some]).transpose(2, 1, 0), dtype=np.float32)
        rough = _rough(plants.on_nodes(runs), on_nodes, leaks_p[some])
        on_rows(some, rough)
        assert rough.carried_p is not None
        again = np.concatenate([again, some[rough.carried_p & ~is_carried(leaks[some], leaks_p[some])]])
    on_rows(again)
    return p, leaks


def _single_scores(scores_nkp: Singles) -> tuple[Singles, Singles, NDArray[np.bool_]]:
    """One score ``(n, P)`` and its multiples ``(K, P)`` by class, and which directions are no more than that."""
    sizes = np.einsum("nkp,nkp->kp", scores_nkp, scores_nkp)
    largest = np.argmax(sizes, axis=0)
    single = np.take_along_axis(scores_nkp, largest[None, None], axis=1)[:, 0]
    most = np.maximum(np.take_along_axis(sizes, largest[None], axis=0)[0], 1e-30)
    pattern = np.einsum("nkp,np->kp", scores_nkp, single) / most
    return single, pattern, np.asarray((sizes - pattern**2 * most).max(axis=0) < 1e-4 * most)


def _nearer(leak: Floats, off: Floats, wanted: Floats, before: Floats, start: Solved | None, open_p: Ints) -> tuple[Bools, Bools]:
    """Which plants are exact, and which are so or carry more of what is wanted than before, at rates that hold."""
    even = off < _RATE_TOLERANCE
    done = even & (np.abs(leak - wanted) < LEAK_TOLERANCE * wanted)
    if start is not None and start.carried_p is not None:
        done = done | ~start.carried_p[open_p]
    return done, done | (even & (leak < wanted) & (leak > before))


class _Search:
    """Slopes ``(P,)`` on their way to the wanted leaks: bracketed power laws."""

    def __init__(self, leaks_p: Floats, longest_p: Floats | None, start: Solved | None) -> None:
        """Begin where another solution ended, or where the largest score of each column does not yet saturate it."""
        self.wanted = leaks_p
        if longest_p is None:
            assert start is not None
            self.slope = start.slopes_p.copy()
        else:
            self.slope = np.minimum(np.sqrt(8 * np.log(2.0) * leaks_p), _UNSATURATED / np.maximum(longest_p, 1e-12))
        self.low, self.high = np.zeros(len(leaks_p)), np.full(len(leaks_p), np.inf)
        self.last_slope, self.last_leak = np.full((2, len(leaks_p)), np.nan)
        self.stuck = np.zeros(len(leaks_p), dtype=np.int64)  # steps since the rates were last near

    def step(self, at: Ints, leak: Floats, off: Floats) -> NDArray[np.bool_]:
        """Move the slopes ``at`` some columns by the leaks found there, with rates ``off`` by that; whether there is any way left."""
        slope, wanted, found = self.slope[at], self.wanted[at], np.maximum(leak, 1e-12)
        last_slope, last_leak = self.last_slope[at], self.last_leak[at]
        # Leaks at rates that are off are no bounds, and tell nothing while the rates are far off.
        even, near = off < _RATE_TOLERANCE, off < np.maximum(_RATE_TOLERANCE, _NEAR_LEAK * wanted)
        low = self.low[at] = np.where(even & (leak < wanted), slope, self.low[at])
        high = self.high[at] = np.where(even & (leak >= wanted), slope, self.high[at])
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.log(found / last_leak) / np.log(slope / last_slope)
        # A small leak grows with the square of the slope, a large one more slowly: the power is read off the last two points.
        power = np.where(np.isfinite(power), np.minimum(np.maximum(power, 0.2), 3.0), 2.0)
        self.last_slope[at], self.last_leak[at] = np.where(near, slope, last_slope), np.where(near, found, last_leak)
        guess = slope * np.exp(np.minimum(np.maximum(np.log(wanted / found) / power, -2.0), 2.0))
        bounded = np.isfinite(high)
        most = np.where(bounded, high, 0.0)
        middle = np.where(bounded, (low + most) / 2, 2 * slope)
        self.slope[at] = np.where(near, np.where((guess > low) & (guess < high), guess, middle), slope)
        stuck = self.stuck[at] = np.where(near, 0, self.stuck[at] + 1)
        return np.asarray((stuck < _MOST_STUCK) & (slope <= 8 * _LARGEST_SLOPE) & (low <= _LARGEST_SLOPE) & ~(high - low < 1e-9 * most))


def _means_of_strata(sizes_n: NDArray[Any], strata_n: Ints | None) -> tuple[Any, Floats]:
    """What rows ``(n, P)``, each standing for so many, are multiplied by to give means of strata ``(B, P)``; the share of each stratum."""
    where = np.zeros(len(sizes_n), dtype=np.int64) if strata_n is None else strata_n
    counts = np.bincount(where, weights=sizes_n)
    share = sizes_n / counts[where]
    if strata_n is None:
        return share.astype(np.float32)[None], counts / counts.sum()
    # Sparse products sum one by one: single precision would not do.
    return sparse.csr_matrix((share, (where, np.arange(len(sizes_n)))), shape=(len(counts), len(sizes_n))), counts / counts.sum()
