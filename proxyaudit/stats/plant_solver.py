"""Slopes and shifts of planted labels, for many directions and leaks at once.

How a leak grows with the slope along a direction is followed on nodes, from a slope that tells nothing upwards, once for all leaks that are
asked along it. Each leak is read off that curve; two or three steps on all rows then make it exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.stats.plant_equations import BinaryPlants, Runs, SeveralPlants

LEAK_TOLERANCE = 1e-3  # relative
_LARGEST_SLOPE = 64.0
_MOST_CORRECTIONS = 40
_MOST_STUCK = 15
_NEAR_LEAK = 0.05  # of a leak: rates off by that much move it too little to mislead a step
_RATE_TOLERANCE = 1e-5  # a rate that misses by e moves the leak by e / 2: well below the tolerance of a small leak
_AT_ONCE = 100_000  # probabilities of several classes that are solved together: more of them leave the processor's cache
_FEWEST_ROWS = 1000  # below that all rows cost no more than nodes
_FIRST_SLOPE, _MOST_POINTS = 0.02, 64  # of a curve: a leak of some 1e-4
_RATIO, _RATIO_ON_ROWS, _LEAST_RATIO = 1.4, 2.0, 1.15  # of slopes that follow each other
_MOST_SETTLING, _SETTLED = 24, 1e-3  # steps at one slope until rates hold, and by how much
_NEARLY = 0.01  # of a leak
_NOTHING = 1e-7  # a leak that is rounding
_LARGEST_FOLLOWED = 8.0  # log-odds that shifts follow the slope by at once


def is_carried(found_p: Floats, leaks_p: Floats) -> NDArray[np.bool_]:
    """Whether the leaks that were found are those that were wanted."""
    return np.asarray(np.abs(found_p - leaks_p) < 2 * LEAK_TOLERANCE * leaks_p)


@dataclass
class _Solved:
    """Slopes and shifts ``(P, ...)`` of plants, the leak they carry, and whether the direction can carry what is wanted."""

    slopes: Floats
    shifts: Floats
    leaks: Floats
    carried: Bools
    powers: Floats  # of the slope, that leaks grow with there
    p: Singles | None = None  # probabilities, of the second of two classes ``(P, n)``, else ``(P, K, n)``

    def of(self, some: Any) -> "_Solved":
        """Some of them."""
        p = None if self.p is None else self.p[some]
        return _Solved(self.slopes[some], self.shifts[some], self.leaks[some], self.carried[some], self.powers[some], p)


class _Curves:
    """How the leaks along D directions grow with the slope, as far as anybody asked."""

    def __init__(self, plants: BinaryPlants | SeveralPlants, scores_of: Callable[[Ints], Singles], count: int, ratio: float, step: int):
        self.plants, self.scores_of, self.step = plants, scores_of, step
        self.points, self.ratio, self.largest = np.zeros(count, dtype=np.int64), np.full(count, ratio), ratio
        self.slopes, self.leaks = np.zeros((count, _MOST_POINTS)), np.full((count, _MOST_POINTS), -np.inf)
        self.shifts, self.drifts = np.zeros((count, _MOST_POINTS, *plants.shape)), np.zeros((count, *plants.shape))
        self.ended = np.zeros(count, dtype=bool)

    def take_over(self, before: "_Curves") -> None:
        """What is known of the first directions."""
        for name in ("points", "ratio", "slopes", "leaks", "shifts", "drifts", "ended"):
            known = getattr(before, name)
            getattr(self, name)[: len(known)] = known

    def at(self, which: Ints, leaks: Floats) -> _Solved:
        """Where leaks lie on the curves of their directions; where one is nowhere, the largest that there is."""
        self._extend(which, leaks)
        rising = np.maximum.accumulate(self.leaks[which], axis=1)
        top, pairs = rising[:, -1], np.arange(len(which))
        carried = leaks <= top * (1 + LEAK_TOLERANCE)
        high = np.where(carried, (rising < np.minimum(leaks, top)[:, None]).sum(axis=1), np.argmax(rising >= top[:, None], axis=1))
        low = np.maximum(high - 1, 0)
        slope_low, slope_high = self.slopes[which, low], self.slopes[which, high]
        leak_low, leak_high = np.maximum(rising[pairs, low], _NOTHING), np.maximum(rising[pairs, high], _NOTHING)
        with np.errstate(divide="ignore", invalid="ignore"):
            powers = np.log(leak_high / leak_low) / np.log(slope_high / slope_low)
        powers = np.where(np.isfinite(powers) & (high > 0), np.clip(powers, 0.2, 3.0), 2.0)
        wanted = np.where(carried, np.minimum(leaks, np.maximum(top, _NOTHING)), leak_high)
        slopes = np.clip(slope_high * (wanted / leak_high) ** (1 / powers), np.where(high > 0, slope_low, 0.0), slope_high)
        share = np.where(high > 0, (slopes - slope_low) / np.where(high > 0, slope_high - slope_low, 1.0), 0.0)
        share = share.reshape(-1, *(1 for _ in self.plants.shape))
        first = (high == 0).reshape(share.shape)
        # Before the first point shifts grow as leaks do.
        shifts_high, early = self.shifts[which, high], (wanted / leak_high).reshape(share.shape)
        shifts = np.where(first, shifts_high * early, self.shifts[which, low] * (1 - share) + shifts_high * share)
        return _Solved(slopes, shifts, np.maximum(top, 0.0), carried, powers)

    def _extend(self, which: Ints, leaks: Floats) -> None:
        wanted = np.zeros(len(self.points))
        np.maximum.at(wanted, which, leaks)
        asked = np.unique(which)
        for start in range(0, len(asked), self.step):
            going = asked[start : start + self.step]
            while len(going := going[~self.ended[going] & (self.leaks[going].max(axis=1) < wanted[going])]):
                self._climb(going)

    def _climb(self, going: Ints) -> None:
        """One more point of some curves; where rates cannot be held, a shorter step is tried next."""
        points = self.points[going]
        before = np.where(points > 0, self.slopes[going, points - 1], 0.0)
        slopes = np.where(points > 0, before * self.ratio[going], _FIRST_SLOPE)
        further = (slopes - before).reshape(-1, *(1 for _ in self.plants.shape))
        known = np.where((points > 0).reshape(further.shape), self.shifts[going, points - 1], 0.0)
        shifts = known + np.clip(self.drifts[going] * further, -_LARGEST_FOLLOWED, _LARGEST_FOLLOWED)
        leaks, drifts, met = np.full(len(going), -np.inf), np.zeros_like(shifts), np.zeros(len(going), dtype=bool)
        open_p, scores = np.arange(len(going)), self.scores_of(going)
        for _ in range(_MOST_SETTLING):
            asked = self.plants.columns(scores, open_p)
            p, leak, off, state = self.plants.at(asked, slopes[open_p], shifts[open_p])
            change, drifts[open_p] = self.plants.moves(asked, p, state, np.ones(len(open_p), dtype=bool))
            shifts[open_p] += change
            leaks[open_p], met[open_p] = leak, off < np.minimum(_SETTLED, np.maximum(_NEAR_LEAK * leak, _RATE_TOLERANCE))
            open_p = open_p[~met[open_p]]
            if not len(open_p):
                break
        good, at = going[met], points[met]
        self.slopes[good, at], self.leaks[good, at] = slopes[met], np.where(leaks[met] > _NOTHING, leaks[met], 0.0)
        self.shifts[good, at], self.drifts[good], self.points[good] = shifts[met], drifts[met], at + 1
        self.ratio[good] = np.minimum(self.ratio[good] ** 2, self.largest)
        self.ended[good] = (slopes[met] >= 8 * _LARGEST_SLOPE) | (at + 1 == _MOST_POINTS)
        self.ratio[going[~met]] **= 0.5
        self.ended[going[~met]] = (points[~met] == 0) | (self.ratio[going[~met]] < _LEAST_RATIO)


class PlantSolver:
    """Plants along D directions, and what was found of each of them so far.

    Two classes have scores ``(n, D)`` of the second; of several, ``(n, K, D)``, the commonest class comes first.
    """

    def __init__(self, log_nk: Floats, strata_n: Ints | None, scores: Singles, before: "PlantSolver | None" = None) -> None:
        self.scores, self.strata, self.before = scores, strata_n, before
        self.n, self.classes, count = len(scores), log_nk.shape[1], scores.shape[-1]
        self.plants: BinaryPlants | SeveralPlants
        if scores.ndim == 2:
            self.plants, self.flat, self.step = BinaryPlants.of_rows(log_nk, strata_n), np.ones(count, dtype=bool), count
        else:
            self.plants = SeveralPlants(np.ascontiguousarray(log_nk.T, dtype=np.float32), strata_n)
            self.single, self.pattern, self.flat = _single_scores(scores)
            self.step = max(8, _AT_ONCE // (self.classes * self.n))
        self.flat = self.flat & (self.n >= _FEWEST_ROWS)
        self.on_rows = _Curves(self.plants, self._rows, count, _RATIO_ON_ROWS, self.step)
        if before is not None:
            self.on_rows.take_over(before.on_rows)

    def _rows(self, which: Ints) -> Singles:
        part = self.scores[..., which]
        return np.ascontiguousarray(part if part.ndim == 2 else part.transpose(2, 1, 0), dtype=np.float32)

    @cached_property
    def on_nodes(self) -> _Curves:
        """Curves of directions that give each row one score."""
        runs = Runs.of(self.n, self.strata)
        nodes = runs.nodes(self.scores if self.scores.ndim == 2 else self.single)
        if self.scores.ndim == 3:
            nodes = np.ascontiguousarray((nodes[:, None] * self.pattern).transpose(2, 1, 0), dtype=np.float32)
        plants = self.plants.on_nodes(runs)
        curves = _Curves(plants, lambda which: plants.columns(nodes, which), self.scores.shape[-1], _RATIO, self.scores.shape[-1])
        if self.before is not None and self.flat.any():
            curves.take_over(self.before.on_nodes)
        return curves

    def solve(self, which: Ints, leaks_p: Floats) -> tuple[Singles, Floats]:
        """Probabilities, of the second of two classes ``(n, P)``, else ``(K, n, P)``, and the leaks that they carry.

        That is the wanted one, or the largest there is, zero where rates were never met.
        """
        shape = (self.n, len(which)) if self.scores.ndim == 2 else (self.classes, self.n, len(which))
        p, leaks = np.empty(shape, dtype=np.float32), np.zeros(len(which))
        again, some = np.flatnonzero(~self.flat[which]), np.flatnonzero(self.flat[which])
        if len(some):
            start = self.on_nodes.at(which[some], leaks_p[some])
            on = np.flatnonzero(start.carried)
            nodes = self.on_nodes.scores_of(which[some[on]])
            found = _corrected(self.on_nodes.plants, nodes, leaks_p[some[on]], start.of(on))
            start.slopes[on], start.shifts[on] = found.slopes, found.shifts
            self._exact(which, leaks_p, some, start, p, leaks)
            # What is off by less lies where a curve is flat: all rows would give no more.
            again = np.concatenate([again, some[start.carried & (leaks[some] < (1 - _NEARLY) * leaks_p[some])]])
        if len(again):
            self._exact(which, leaks_p, again, self.on_rows.at(which[again], leaks_p[again]), p, leaks)
        return p, leaks

    def _exact(self, which: Ints, leaks_p: Floats, some: Ints, start: _Solved, p: Singles, leaks: Floats) -> None:
        """Make plants exact on all rows."""
        for begin in range(0, len(some), self.step):
            part = slice(begin, begin + self.step)
            found = _corrected(self.plants, self._rows(which[some[part]]), leaks_p[some[part]], start.of(part))
            assert found.p is not None
            p[..., some[part]] = found.p.T if found.p.ndim == 2 else found.p.transpose(1, 2, 0)
            leaks[some[part]] = found.leaks


def _single_scores(scores_nkp: Singles) -> tuple[Singles, Singles, Bools]:
    """One score ``(n, P)`` and its multiples ``(K, P)`` by class, and which directions are no more than that."""
    sizes = np.einsum("nkp,nkp->kp", scores_nkp, scores_nkp)
    largest = np.argmax(sizes, axis=0)
    single = np.take_along_axis(scores_nkp, largest[None, None], axis=1)[:, 0]
    most = np.maximum(np.take_along_axis(sizes, largest[None], axis=0)[0], 1e-30)
    pattern = np.einsum("nkp,np->kp", scores_nkp, single) / most
    return single, pattern, np.asarray((sizes - pattern**2 * most).max(axis=0) < 1e-4 * most)


def _corrected(plants: BinaryPlants | SeveralPlants, scores: Singles, leaks_p: Floats, start: _Solved) -> _Solved:
    """Plants that begin where a curve says; what no slope carries is taken as it is there."""
    open_p, search, shifts = np.arange(len(leaks_p)), _Search(leaks_p, start), start.shifts.copy()
    out = _Solved(start.slopes.copy(), shifts.copy(), np.zeros(len(leaks_p)), start.carried, start.powers, plants.start(len(leaks_p)))
    assert out.p is not None
    for _ in range(_MOST_CORRECTIONS if len(leaks_p) else 0):
        asked, before = plants.columns(scores, open_p), search.slope[open_p]
        part, leak, off, state = plants.at(asked, before, shifts[open_p])
        even = off < _RATE_TOLERANCE
        done = (even & (np.abs(leak - leaks_p[open_p]) < LEAK_TOLERANCE * leaks_p[open_p])) | ~start.carried[open_p]
        nearer = done | (even & (leak < leaks_p[open_p]) & (leak > out.leaks[open_p]))
        at = open_p[nearer]
        out.p[at], out.leaks[at], out.slopes[at], out.shifts[at] = part[nearer], leak[nearer], before[nearer], shifts[at]
        going = search.step(open_p, leak, off) & ~done
        if not going.any():
            break
        change, drift = plants.moves(asked, part, state, going)
        further = (search.slope[open_p] - before)[going].reshape(-1, *(1 for _ in plants.shape))
        open_p = open_p[going]
        shifts[open_p] += change + np.clip(drift * further, -_LARGEST_FOLLOWED, _LARGEST_FOLLOWED)
    return out


class _Search:
    """Slopes ``(P,)`` on their way to the wanted leaks: bracketed power laws."""

    def __init__(self, leaks_p: Floats, start: _Solved) -> None:
        self.wanted, self.slope, self.powers = leaks_p, start.slopes.copy(), start.powers
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
        power = np.where(np.isfinite(power), np.minimum(np.maximum(power, 0.2), 3.0), self.powers[at])
        self.last_slope[at], self.last_leak[at] = np.where(near, slope, last_slope), np.where(near, found, last_leak)
        guess = slope * np.exp(np.minimum(np.maximum(np.log(wanted / found) / power, -2.0), 2.0))
        bounded = np.isfinite(high)
        most = np.where(bounded, high, 0.0)
        middle = np.where(bounded, (low + most) / 2, 2 * slope)
        self.slope[at] = np.where(near, np.where((guess > low) & (guess < high), guess, middle), slope)
        stuck = self.stuck[at] = np.where(near, 0, self.stuck[at] + 1)
        return np.asarray((stuck < _MOST_STUCK) & (slope <= 8 * _LARGEST_SLOPE) & (low <= _LARGEST_SLOPE) & ~(high - low < 1e-9 * most))
