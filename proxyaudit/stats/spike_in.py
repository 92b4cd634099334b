"""Planting: labels drawn so that given activations or inputs leak a wanted amount of them.

Labels are ``a' ~ softmax(log prior + c + beta s)`` along scores ``s``, with the intercepts ``c`` solved for the base rates and ``beta`` for
the class-balanced V-information on the rows at hand, as a fraction of ``log2 K``. Continuous attributes are ``beta s + noise`` with
``R**2 = beta**2``. Where something else is known of each row, the prior is conditional on it, and the leak is what activations add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles

_LARGEST_SLOPE = 64.0
_LARGEST_STEP = 2.0
_LEAK_TOLERANCE = 1e-3  # relative
_RATE_TOLERANCE = 1e-5  # a rate that misses by e moves the leak by e / 2: well below the tolerance of a small leak


@dataclass(frozen=True)
class Prior:
    """What is known of an attribute's classes without the activations."""

    log_nk: Floats  # log probabilities on each row
    rates_k: Floats  # overall base rates
    strata_n: Ints | None = None  # codes from 0 of rows within which the rates hold; None for one stratum

    @staticmethod
    def of_rates(rates_k: Floats, n: int) -> Prior:
        """The prior that knows the base rates only."""
        rates = np.asarray(rates_k, dtype=np.float64)
        return Prior(np.broadcast_to(np.log(np.clip(rates, 1e-300, None)), (n, len(rates))), rates)

    @staticmethod
    def of_codes(codes_n: Ints, classes: int, strata_n: Ints | None = None) -> Prior:
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
    """Evaluates plants of a two-class attribute in single precision: most of planting's time is spent here."""

    def __init__(self, prior: Prior) -> None:
        self.n, self.strata = len(prior.log_nk), prior.strata_n
        self.offset: Singles = (prior.log_nk[:, 1] - prior.log_nk[:, 0]).astype(np.float32)
        self.counts = np.array([self.n]) if self.strata is None else np.bincount(self.strata)
        self.start = np.zeros(len(self.counts))
        p = np.exp(prior.log_nk)
        self.wanted = self._means(p[:, 1])
        self.allowed = _RATE_TOLERANCE * np.minimum(self.wanted, 1 - self.wanted)
        # Weights that give both classes half of the mass.
        self.one, self.zero = ((0.5 / (p[:, k] if self.strata is not None else p[0, k])).astype(np.float32) for k in (1, 0))

    def _means(self, values: NDArray[np.floating]) -> Floats:
        if self.strata is None:
            return np.array([values.mean(dtype=np.float64)])
        return np.asarray(np.bincount(self.strata, weights=values) / self.counts)

    def probabilities(self, score: Singles, slope: float, shift: Floats) -> tuple[Singles, Singles, Floats]:
        """Logits, probabilities of the second class and the shifts that give the wanted rates."""
        base = self.offset + np.float32(slope) * score
        for _ in range(25):
            spread = shift.astype(np.float32)
            logits = base + (spread[0] if self.strata is None else spread[self.strata])
            np.clip(logits, -60, 60, out=logits)
            p: Singles = (1 / (1 + np.exp(-logits))).astype(np.float32)
            miss = self.wanted - self._means(p)
            if (np.abs(miss) < self.allowed).all():
                break
            shift = shift + np.clip(miss / np.maximum(self._means(p * (1 - p)), 1e-9), -1.0, 1.0)
        return logits, p, shift

    def leak(self, logits: Singles, p: Singles) -> float:
        y = logits - self.offset
        soft = np.log1p(np.exp(-np.abs(y))) + np.maximum(y, 0)
        one, zero = p * self.one, (1 - p) * self.zero
        loss = float(((one + zero) * soft - one * y).sum(dtype=np.float64)) / self.n
        return float(1 - loss / np.log(2.0))

    def evaluate(self, score: Singles, slope: float, shift: Floats) -> tuple[Plant, Floats]:
        logits, p, shift = self.probabilities(score, slope, shift)
        return Plant(np.stack([1 - p, p], axis=1), self.leak(logits, p)), shift


class _OneOfSeveral(_Binary):
    """Evaluates plants that only one of several classes follows: that class against the rest, which stay as the prior divides them."""

    def __init__(self, prior: Prior, chosen: int) -> None:
        p = np.exp(prior.log_nk)
        own = p[:, chosen]
        two = Prior(np.log(np.clip(np.stack([1 - own, own], axis=1), 1e-300, None)), np.array([0.5, 0.5]), prior.strata_n)
        super().__init__(two)
        self.chosen, self.classes = chosen, prior.classes
        # Probability of each class among the rest.
        self.rest_nk = p / np.maximum(1 - own, 1e-300)[:, None]
        self.rest_nk[:, chosen] = 0
        self.log_own, self.log_rest = np.log(np.maximum(own, 1e-30)), np.log(np.maximum(1 - own, 1e-30))

    def evaluate(self, score: Singles, slope: float, shift: Floats) -> tuple[Plant, Floats]:
        _, p, shift = self.probabilities(score, slope, shift)
        # Lifts over the prior; all other classes share one.
        own, rest = p / np.exp(self.log_own), (1 - p) / np.exp(self.log_rest)
        total = own + (self.classes - 1) * rest
        found = own * np.log2(np.maximum(own / total, 1e-30)) + (self.classes - 1) * rest * np.log2(np.maximum(rest / total, 1e-30))
        leak = 1 + float(found.sum(dtype=np.float64)) / (self.classes * self.n * float(np.log2(self.classes)))
        p_nk = (self.rest_nk * (1 - p)[:, None]).astype(np.float32)
        p_nk[:, self.chosen] = p
        return Plant(p_nk, leak), shift


class _Several:
    """Evaluates plants of several classes; scores are ``(n, K)``. Inside, classes come first: a short last axis is not vectorised."""

    def __init__(self, prior: Prior) -> None:
        self.n, self.strata, self.classes = len(prior.log_nk), prior.strata_n, prior.classes
        self.counts = np.array([self.n]) if self.strata is None else np.bincount(self.strata)
        self.start = np.zeros((len(self.counts), self.classes))
        p = np.exp(prior.log_nk)
        self.log_kn = np.ascontiguousarray(prior.log_nk.T, dtype=np.float32)
        self.wanted = self._means(np.ascontiguousarray(p.T))
        self.prior_kn = np.ascontiguousarray((p if self.strata is not None else p[:1]).T, dtype=np.float32)

    def _means(self, p_kn: NDArray[np.floating]) -> Floats:
        if self.strata is None:
            return np.asarray(p_kn.mean(axis=1, dtype=np.float64)[None])
        sums = np.stack([np.bincount(self.strata, weights=row) for row in p_kn], axis=1)
        return np.asarray(sums / self.counts[:, None])

    def _step(self, p_kn: Singles, means: Floats, shift: Floats) -> Floats:
        """Damped Newton on the rates of each stratum; the first class stays where it is."""
        new = shift.copy()
        for stratum, mean in enumerate(means):
            inside = p_kn if self.strata is None else p_kn[:, self.strata == stratum]
            jacobian = np.diag(mean + 1e-9) - (inside @ inside.T) / np.float32(self.counts[stratum])
            step = np.linalg.solve(jacobian[1:, 1:], (self.wanted[stratum] - mean)[1:])
            largest = float(np.abs(step).max())
            if not largest < _LARGEST_STEP:  # far away, or a class that no row has left: proportional fitting is slow but sure
                proportional = np.log(self.wanted[stratum] / np.clip(mean, 1e-300, None))
                step = (proportional - proportional[0])[1:]
            new[stratum, 1:] += step
        return new

    def evaluate(self, scores: NDArray[np.floating], slope: float, shift: Floats) -> tuple[Plant, Floats]:
        base = np.ascontiguousarray(scores.T, dtype=np.float32) * np.float32(slope)
        base += self.log_kn
        base -= base.max(axis=0)
        np.exp(base, out=base)
        for _ in range(100):
            factor = np.exp(np.maximum(shift - shift.max(axis=1, keepdims=True), -50.0)).astype(np.float32)
            p: Singles = base * (factor[0][:, None] if self.strata is None else factor.T[:, self.strata])
            p /= np.maximum(p.sum(axis=0), np.float32(1e-30))
            means = self._means(p)
            if (np.abs(means - self.wanted) / self.wanted).max() < _RATE_TOLERANCE:
                break
            shift = self._step(p, means, shift)
        mass = p / self.prior_kn
        shifted = mass / mass.sum(axis=0)
        np.log2(np.clip(shifted, 1e-30, None), out=shifted)
        found = float((mass * shifted).sum(dtype=np.float64)) / (self.classes * self.n)
        return Plant(p.T, 1 + found / float(np.log2(self.classes))), shift


def plant_at_leak(scores: NDArray[np.floating], prior: Prior, leak: float) -> Plant | None:
    """Solve the slope at which labels drawn along unit-variance ``scores`` leak exactly ``leak``, a fraction of ``log2 K``.

    Scores are ``(n,)`` for the second of two classes, ``(n, K)`` for several. ``None`` where no slope reaches the leak (too few values).
    """
    return plants_at_leak(scores[..., None], prior, leak)[0]


def _solve(solver: _Binary | _Several, scores: NDArray[np.floating], leak: float, start: float | None) -> tuple[Plant | None, float]:
    low, high, slope, power = 0.0, np.inf, start or 1.0, 2.0
    shift, before = solver.start, None
    for _ in range(60):
        plant, shift = solver.evaluate(scores, slope, shift)
        found = max(plant.leak, 1e-12)
        if abs(plant.leak - leak) < _LEAK_TOLERANCE * leak:
            return plant, slope
        low, high = (slope, high) if plant.leak < leak else (low, slope)
        if low > _LARGEST_SLOPE or (np.isfinite(high) and high - low < 1e-9 * high):
            return None, slope
        # A small leak grows with the square of the slope, a large one more slowly: the power is read off the last two points.
        if before is not None and found != before[1]:
            power = float(np.clip(np.log(found / before[1]) / np.log(slope / before[0]), 0.2, 3.0))
        before = slope, found
        guess = slope * float((leak / found) ** (1 / power))
        slope = guess if low < guess < high and guess < 8 * slope else (low + high) / 2 if np.isfinite(high) else 2 * slope
    return None, slope


def plants_at_leak(scores: NDArray[np.floating], prior: Prior, leak: float, *, chosen: int | None = None) -> list[Plant | None]:
    """:func:`plant_at_leak` for each of many directions, each started from the slope of the last.

    Scores are ``(n, P)`` for two classes or a ``chosen`` one of several that alone follows them, ``(n, K, P)`` for all of several.
    """
    solver = _Binary(prior) if prior.classes == 2 else _Several(prior) if chosen is None else _OneOfSeveral(prior, chosen)
    plants: list[Plant | None] = []
    start: float | None = None
    columns = np.ascontiguousarray(np.moveaxis(scores, -1, 0), dtype=np.float32)
    for column in columns:
        plant, slope = _solve(solver, column, leak, start)
        start = slope if plant is not None else None
        plants.append(plant)
    return plants


def plant_values(score_n: NDArray[np.floating], noise_n: NDArray[np.floating], r_squared: float) -> Floats:
    """One planted continuous attribute with the wanted R squared, from unit-variance scores and noise independent of the rows."""
    r_squared = float(np.clip(r_squared, 0.0, 1.0))
    return np.asarray(np.sqrt(r_squared) * score_n + np.sqrt(1 - r_squared) * noise_n, dtype=np.float64)
