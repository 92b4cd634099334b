"""Planting: labels drawn so that given activations or inputs leak a wanted amount of them.

Labels are ``a' ~ softmax(log prior + c + beta s)`` along scores ``s``, with the intercepts ``c`` solved for the base rates and ``beta`` for
the class-balanced V-information on the rows at hand, as a fraction of ``log2 K``. Continuous attributes are ``beta s + noise`` with
``R**2 = beta**2``. Where something else is known of each row, the prior is conditional on it, and the leak is what activations add.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from proxyaudit.arrays import Floats, Ints, Singles

_LARGEST_SLOPE = 64.0
_LARGEST_STEP = 2.0
_MOST_STEPS = 120
_AT_ONCE = 100_000  # probabilities of several classes that are solved together: more of them leave the processor's cache
_MOST_STUCK = 15
_COMPARED = 32  # rows by which classes of equal scores are found; all rows then confirm it
_NEAR_LEAK = 0.05  # of a leak: rates off by that much move it too little to mislead a step
_LEAK_TOLERANCE = 1e-3  # relative
_RATE_TOLERANCE = 1e-5  # a rate that misses by e moves the leak by e / 2: well below the tolerance of a small leak


@dataclass(frozen=True)
class Prior:
    """What is known of an attribute's classes without the activations."""

    log_nk: Floats  # log probabilities on each row
    rates_k: Floats  # overall base rates
    strata_n: Ints | None = None  # codes from 0 of rows within which the rates hold; None for one stratum

    @staticmethod
    def of_rates(rates_k: Floats, n: int) -> "Prior":
        """The prior that knows the base rates only."""
        rates = np.asarray(rates_k, dtype=np.float64)
        return Prior(np.broadcast_to(np.log(np.clip(rates, 1e-300, None)), (n, len(rates))), rates)

    @staticmethod
    def of_codes(codes_n: Ints, classes: int, strata_n: Ints | None = None) -> "Prior":
        """The prior of given labels: their rates, within strata if there are any."""
        rates = np.bincount(codes_n, minlength=classes) / len(codes_n)
        if strata_n is None:
            return Prior.of_rates(rates, len(codes_n))
        table = np.zeros((int(strata_n.max()) + 1, classes))
        np.add.at(table, (strata_n, codes_n), 1.0)
        # Half a row spread over the classes: a class that a stratum lacks is rare there, not impossible.
        table = table + 0.5 * rates
        table /= table.sum(axis=1, keepdims=True)
        return Prior(np.log(table[strata_n]), rates, strata_n)

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.rates_k)


@dataclass(frozen=True)
class Plant:
    """Class probabilities ``(n, K)`` of a planted attribute and the leak they carry."""

    probabilities_nk: NDArray[np.floating]
    leak: float

    def draw(self, rng: np.random.Generator) -> Ints:
        """Draw one label per row, shape ``(n,)``."""
        return self.draw_many(1, rng)[:, 0].astype(np.int64)

    def draw_many(self, count: int, rng: np.random.Generator) -> NDArray[np.int8]:
        """Draw ``count`` label columns, shape ``(n, count)``."""
        p = self.probabilities_nk
        uniform = rng.random((len(p), count), dtype=np.float32)
        if p.shape[1] == 2:
            return (uniform < p[:, 1:].astype(np.float32)).astype(np.int8)
        codes = np.zeros((len(p), count), dtype=np.int8)
        for edge in np.cumsum(p, axis=1)[:, :-1].T:
            codes += uniform > edge[:, None]
        return codes


class _Binary:
    """Plants of a two-class attribute, all columns at once in single precision: slope and shifts are found together."""

    def __init__(self, prior: Prior) -> None:
        self.n, self.strata = len(prior.log_nk), prior.strata_n
        self.offset: Singles = (prior.log_nk[:, 1] - prior.log_nk[:, 0]).astype(np.float32)[:, None]
        self.means, self.weight_b = _means_of_strata(self.n, self.strata)
        p = np.exp(prior.log_nk)
        self.wanted = np.asarray(self.means @ p[:, 1:].astype(np.float32), dtype=np.float64)
        # Weights that give both classes half of the mass.
        self.one, self.zero = ((0.5 / p[:, k : k + 1]).astype(np.float32) for k in (1, 0))

    def solve(self, scores_np: Singles, leaks_p: Floats) -> tuple[Singles, Floats]:
        """Probabilities ``(n, P)`` of the second class and the leak they carry, the largest there is where none reaches the wanted one."""
        p = np.repeat(np.exp(self.offset) / (1 + np.exp(self.offset)), scores_np.shape[1], axis=1)
        found = np.zeros(len(leaks_p))
        open_p = np.arange(len(leaks_p))
        search = _Search(leaks_p)
        shift = np.zeros((len(self.wanted), len(leaks_p)))
        for _ in range(_MOST_STEPS):
            part, leak, miss, steep = self._at(scores_np[:, open_p], search.slope[open_p], shift[:, open_p])
            off = (np.abs(miss) / np.minimum(self.wanted, 1 - self.wanted)).max(axis=0)
            done = (off < _RATE_TOLERANCE) & (np.abs(leak - leaks_p[open_p]) < _LEAK_TOLERANCE * leaks_p[open_p])
            nearer = done | ((off < _RATE_TOLERANCE) & (leak < leaks_p[open_p]) & (leak > found[open_p]))
            p[:, open_p[nearer]], found[open_p[nearer]] = part[:, nearer], leak[nearer]
            before = search.slope[open_p]
            going = search.step(open_p, leak, off) & ~done
            change = miss / np.maximum(steep[0], 1e-9) - steep[1] / np.maximum(steep[0], 1e-9) * (search.slope[open_p] - before)
            shift[:, open_p] += np.clip(change, -_LARGEST_STEP, _LARGEST_STEP)
            open_p = open_p[going]
            if not len(open_p):
                break
        return p, found

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
        return p, leak, self.wanted - np.asarray(self.means @ p, dtype=np.float64), steep


class _Search:
    """Slopes ``(P,)`` on their way to the wanted leaks: bracketed power laws."""

    def __init__(self, leaks_p: Floats) -> None:
        self.wanted = leaks_p
        self.slope = np.sqrt(8 * np.log(2.0) * leaks_p)
        self.low, self.high = np.zeros(len(leaks_p)), np.full(len(leaks_p), np.inf)
        self.last_slope, self.last_leak = np.full((2, len(leaks_p)), np.nan)
        self.stuck = np.zeros(len(leaks_p), dtype=np.int64)  # steps since the rates were last near

    def step(self, at: Ints, leak: Floats, off: Floats) -> NDArray[np.bool_]:
        """Move the slopes ``at`` some columns by the leaks found there, with rates ``off`` by that; whether there is any way left."""
        slope, wanted, found = self.slope[at], self.wanted[at], np.maximum(leak, 1e-12)
        # Leaks at rates that are off are no bounds, and tell nothing while the rates are far off.
        even, near = off < _RATE_TOLERANCE, off < np.maximum(_RATE_TOLERANCE, _NEAR_LEAK * wanted)
        self.low[at] = np.where(even & (leak < wanted), slope, self.low[at])
        self.high[at] = np.where(even & (leak >= wanted), slope, self.high[at])
        low, high = self.low[at], self.high[at]
        with np.errstate(divide="ignore", invalid="ignore"):
            power = np.log(found / self.last_leak[at]) / np.log(slope / self.last_slope[at])
        # A small leak grows with the square of the slope, a large one more slowly: the power is read off the last two points.
        power = np.where(np.isfinite(power), np.clip(power, 0.2, 3.0), 2.0)
        self.last_slope[at], self.last_leak[at] = np.where(near, slope, self.last_slope[at]), np.where(near, found, self.last_leak[at])
        guess = slope * np.exp(np.clip(np.log(wanted / found) / power, -2.0, 2.0))
        middle = np.where(np.isfinite(high), (low + np.where(np.isfinite(high), high, 0.0)) / 2, 2 * slope)
        self.slope[at] = np.where(near, np.where((guess > low) & (guess < high), guess, middle), slope)
        self.stuck[at] = np.where(near, 0, self.stuck[at] + 1)
        return np.asarray(
            (self.stuck[at] < _MOST_STUCK)
            & (slope <= 8 * _LARGEST_SLOPE)
            & (low <= _LARGEST_SLOPE)
            & ~(high - low < 1e-9 * np.where(np.isfinite(high), high, 0.0))
        )


class _Several:
    """Plants of several classes, some columns at once; rows come last, since a short last axis is not vectorised."""

    def __init__(self, prior: Prior) -> None:
        self.n, self.strata, self.classes = len(prior.log_nk), prior.strata_n, prior.classes
        self.means, self.weight_b = _means_of_strata(self.n, self.strata)
        self.log_kn = np.ascontiguousarray(prior.log_nk.T, dtype=np.float32)
        self.prior_kn = np.exp(self.log_kn)
        self.inverse_kn = 1 / self.prior_kn
        self.wanted = self._rates(self.prior_kn[None])[0]

    def solve(self, scores_pkn: Singles, leaks_p: Floats) -> tuple[Singles, Floats]:
        """Probabilities ``(P, K, n)`` and the leak they carry, the largest there is where none reaches the wanted one."""
        p = np.repeat(self.prior_kn[None], len(leaks_p), axis=0)
        found = np.zeros(len(leaks_p))
        open_p = np.arange(len(leaks_p))
        search = _Search(leaks_p)
        shift = np.zeros((len(leaks_p), *self.wanted.shape))
        for _ in range(_MOST_STEPS):
            scores = scores_pkn[open_p]
            part, leak = self._at(scores, search.slope[open_p], shift[open_p])
            means = self._rates(part)
            off = (np.abs(means - self.wanted) / self.wanted).max(axis=(1, 2))
            done = (off < _RATE_TOLERANCE) & (np.abs(leak - leaks_p[open_p]) < _LEAK_TOLERANCE * leaks_p[open_p])
            nearer = done | ((off < _RATE_TOLERANCE) & (leak < leaks_p[open_p]) & (leak > found[open_p]))
            p[open_p[nearer]], found[open_p[nearer]] = part[nearer], leak[nearer]
            before = search.slope[open_p]
            going = search.step(open_p, leak, off) & ~done
            moved = self._drift(part, scores) * (search.slope[open_p] - before)[:, None, None]
            shift[open_p, 1:] += self._step(part, means, moved)
            open_p = open_p[going]
            if not len(open_p):
                break
        return p, found

    def _rates(self, values_pkn: Singles) -> Floats:
        """Means ``(P, K, B)`` within strata."""
        if self.strata is None:
            # In double precision: single sums of nearly equal numbers are off by more than the rates may be.
            return np.asarray(values_pkn.mean(axis=2, dtype=np.float64)[..., None])
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
        jacobian = np.stack([-(part @ part.transpose(0, 2, 1)) / max(part.shape[2], 1) for part in parts]).astype(np.float64)
        diagonal = np.arange(self.classes - 1)
        jacobian[..., diagonal, diagonal] += np.moveaxis(means[:, 1:], 2, 0) + 1e-9
        wanted = (self.wanted - means - moved)[:, 1:]
        step = np.moveaxis(np.linalg.solve(jacobian, np.moveaxis(wanted, 2, 0)[..., None])[..., 0], 0, 2)
        ratio = np.log(self.wanted / np.maximum(means, 1e-30))
        near = np.abs(step).max(axis=1, keepdims=True) < _LARGEST_STEP
        return np.where(near, step, np.clip(ratio[:, 1:] - ratio[:, :1], -50, 50))


def _means_of_strata(n: int, strata_n: Ints | None) -> tuple[Any, Floats]:
    """What rows ``(n, P)`` are multiplied by to give means of strata ``(B, P)``, and the share of each stratum."""
    where = np.zeros(n, dtype=np.int64) if strata_n is None else strata_n
    counts = np.bincount(where)
    if strata_n is None:
        return np.full((1, n), 1 / n, dtype=np.float32), counts / n
    # Sparse products sum one by one: single precision would not do.
    return sparse.csr_matrix(((1 / counts)[where], (where, np.arange(n))), shape=(len(counts), n)), counts / n


def planted_probabilities(scores: NDArray[np.floating], prior: Prior, leaks_p: Floats) -> tuple[Singles, Floats]:
    """Probabilities ``(K, n, P)`` of labels along many directions, each solved for its own leak, and the leak that they carry.

    That is the wanted one, or the largest there is where the direction cannot carry so much (:func:`is_carried`).
    Scores have unit variance: ``(n, P)`` for the second of two classes, ``(n, K, P)`` for several.
    """
    leaks = np.asarray(leaks_p, dtype=np.float64)
    if prior.classes == 2:
        p, found = _Binary(prior).solve(np.ascontiguousarray(scores, dtype=np.float32), leaks)
        return np.stack([1 - p, p]), found
    # The class that Newton's steps leave out takes the rounding of all the others: it must be the commonest, not a rare one.
    order = np.argsort(-prior.rates_k, kind="stable")
    several = _Several(Prior(prior.log_nk[:, order], prior.rates_k[order], prior.strata_n))
    rows_last = scores.transpose(2, 1, 0)[:, order]
    p = np.broadcast_to(several.prior_kn, (len(leaks), prior.classes, len(scores))).copy()
    found = np.zeros(len(leaks))
    reachable = np.flatnonzero(leaks < (1 + _LEAK_TOLERANCE) * _most_told(scores, prior))
    at_once = max(8, _AT_ONCE // (prior.classes * len(scores)))
    for start in range(0, len(reachable), at_once):
        some = reachable[start : start + at_once]
        p[some], found[some] = several.solve(np.ascontiguousarray(rows_last[some], dtype=np.float32), leaks[some])
    return np.ascontiguousarray(p[:, np.argsort(order)].transpose(1, 2, 0)), found


def _most_told(scores_nkp: NDArray[np.floating], prior: Prior) -> Floats:
    """A leak ``(P,)`` that no slope passes: classes whose scores are equal on every row are never told from one another."""
    classes = prior.classes
    few = scores_nkp[: min(len(scores_nkp), _COMPARED)]
    alike = (few[:, :, None] == few[:, None]).all(axis=0)
    maybe = np.flatnonzero(alike.sum(axis=(0, 1)) > classes)
    alike[..., maybe] = [[(scores_nkp[:, k, maybe] == scores_nkp[:, j, maybe]).all(axis=0) for j in range(classes)] for k in range(classes)]
    return np.asarray(1 - np.log(alike.sum(axis=0)).mean(axis=0) / np.log(classes))


def is_carried(found_p: Floats, leaks_p: Floats) -> NDArray[np.bool_]:
    """Whether the leaks that were found are those that were wanted."""
    return np.asarray(np.abs(found_p - leaks_p) < 2 * _LEAK_TOLERANCE * leaks_p)


def plants_at_leak(scores: NDArray[np.floating], prior: Prior, leak: float) -> list[Plant | None]:
    """:func:`plant_at_leak` for each of many directions: scores are ``(n, P)`` for two classes, ``(n, K, P)`` for several."""
    wanted = np.full(scores.shape[-1], leak)
    p_knp, found = planted_probabilities(scores, prior, wanted)
    return [Plant(p_knp[..., i].T, float(found[i])) if carried else None for i, carried in enumerate(is_carried(found, wanted))]


def plant_at_leak(scores: NDArray[np.floating], prior: Prior, leak: float) -> Plant | None:
    """Solve the slope at which labels drawn along unit-variance ``scores`` leak exactly ``leak``, a fraction of ``log2 K``.

    Scores are ``(n,)`` for the second of two classes, ``(n, K)`` for several. ``None`` where no slope reaches the leak (too few values).
    """
    return plants_at_leak(scores[..., None], prior, leak)[0]


def plant_values(score_n: NDArray[np.floating], noise_n: NDArray[np.floating], r_squared: float) -> Floats:
    """One planted continuous attribute with the wanted R squared, from unit-variance scores and noise independent of the rows."""
    r_squared = float(np.clip(r_squared, 0.0, 1.0))
    return np.asarray(np.sqrt(r_squared) * score_n + np.sqrt(1 - r_squared) * noise_n, dtype=np.float64)
