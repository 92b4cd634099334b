"""Parts of planted worlds: activations, and plants whose leak is solved exactly (of a shift by a class, for Gaussian ones only)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_expit

from proxyaudit.arrays import Floats, Ints

Rng = np.random.Generator
Labels = NDArray[np.str_] | NDArray[np.float64]

_LARGEST_SLOPE = 64.0
_CLASSES = np.array(["a", "b", "c", "d"])
_VERDICTS = {"none": "removed", "linear": "exposed", "nonlinear": "hidden", "beyond": "hidden"}
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(128)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class World:
    """Activations with labels whose true leak is known."""

    kind: str
    acts_nd: NDArray[np.float32]
    labels_n: Labels  # class names "a", "b", … or float values of a continuous attribute
    groups_n: Ints | None  # which rows belong together; None where rows stand alone
    condition_n: NDArray[np.str_] | None  # task label of the worlds about conditioning
    channel: str  # where the feature is: none, linear, nonlinear or beyond (only within the task label)
    leak: float  # true class-balanced V-information in that channel as a fraction of log2 K (R squared for continuous attributes)
    expected: str  # verdict of a perfect audit of bare activations: removed, exposed or hidden
    detail: str


@dataclass(frozen=True)
class Case:
    """What a builder is given; ``rate`` is the share of class ``b``, ``None`` for the world's own."""

    kind: str
    n: int
    d: int
    leak: float
    rate: float | None
    rng: Rng

    def rate_or(self, default: float) -> float:
        """Share of class ``b``: the caller's, else the world's own."""
        return default if self.rate is None else self.rate

    def world(
        self,
        acts_nd: NDArray[Any],
        labels_n: Labels,
        channel: str,
        detail: str,
        groups_n: Ints | None = None,
        condition_n: NDArray[np.str_] | None = None,
    ) -> World:
        """Put the world together; leak and expected verdict follow from the channel."""
        acts = np.ascontiguousarray(acts_nd, dtype=np.float32)
        leak = 0.0 if channel == "none" else self.leak
        return World(self.kind, acts, labels_n, groups_n, condition_n, channel, leak, _VERDICTS[channel], detail)


def rotation(d: int, rng: Rng) -> Floats:
    """Random orthogonal matrix, shape ``(d, d)``."""
    return directions(d, d, rng)


def directions(d: int, count: int, rng: Rng) -> Floats:
    """Random orthonormal directions, shape ``(d, count)``."""
    return np.asarray(np.linalg.qr(rng.normal(size=(d, count)))[0], dtype=np.float64)


def gaussian_activations(latent_nd: Floats, rng: Rng) -> Floats:
    """Correlated activations, an invertible affine map of independent unit-variance columns."""
    d = latent_nd.shape[1]
    acts: Floats = (latent_nd * np.exp(-np.linspace(0, 5, d) / 2)) @ rotation(d, rng)
    if rng.random() < 0.5:
        # Offsets stay within a few standard deviations: float32 must not round a small axis away.
        acts = acts * np.exp(rng.normal(0, 0.5, d)) + rng.normal(0, 1, d) * acts.std(axis=0)
    return acts


def _relu_activations(latent_nd: Floats, rng: Rng) -> Floats:
    """Skewed units with many exact zeros, as after a ReLU layer."""
    mixed = gaussian_activations(latent_nd, rng)
    mixed = (mixed - mixed.mean(axis=0)) / mixed.std(axis=0)
    return np.asarray(np.maximum(0, mixed + rng.normal(0, 0.4, mixed.shape[1])) * np.exp(rng.normal(0, 0.5, mixed.shape[1])))


def activations(n: int, d: int, rng: Rng) -> Floats:
    """Activations of either style, each half of the time, for plants that are exact on any."""
    build = gaussian_activations if rng.random() < 0.5 else _relu_activations
    return build(rng.normal(size=(n, d)), rng)


def whitened(case: Case) -> tuple[NDArray[np.float32], Floats]:
    """Activations ``(n, d)`` and their whitened coordinates, from the lowest to the highest variance."""
    # From more rows of the same world: within n <= d rows every label is linear in the activations.
    acts = activations(max(case.n, 8 * case.d), case.d, case.rng).astype(np.float32)
    x = acts.astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    return acts[: case.n], np.asarray(x[: case.n] @ (vectors / np.sqrt(values)))


def person_numbers(n: int, smallest: int, largest: int, rng: Rng) -> Ints:
    """Group numbers of ``n`` rows in persons of ``smallest`` to ``largest`` rows, in random order."""
    sizes = rng.integers(smallest, largest + 1, n)
    groups: Ints = np.repeat(np.arange(n), sizes)[:n]
    return rng.permutation(groups)


def _balanced_leak(probabilities_nk: Floats) -> float:
    """Class-balanced V-information of labels with known probabilities, as a fraction of ``log2 K``."""
    n, k = probabilities_nk.shape
    rates = probabilities_nk.mean(axis=0)
    shifted = probabilities_nk / rates
    shifted /= shifted.sum(axis=1, keepdims=True)
    mass = probabilities_nk / (k * n * rates)
    return float(1 + (mass * np.log2(np.clip(shifted, 1e-300, None))).sum() / np.log2(k))


def _with_rates(logits_nk: Floats, rates_k: Floats) -> Floats:
    """Softmax of the logits plus the intercepts that give the base rates."""
    exponentials = np.exp(logits_nk - logits_nk.max(axis=1, keepdims=True))
    intercepts = np.log(rates_k)
    for _ in range(200):
        p = exponentials * np.exp(intercepts - intercepts.max())
        p /= p.sum(axis=1, keepdims=True)
        means = p.mean(axis=0)
        if np.abs(means - rates_k).max() < 1e-9:
            break
        # Newton on the means (the first intercept stays); proportional fitting where it would leap.
        jacobian = (np.diag(means) - p.T @ p / len(p))[1:, 1:] + 1e-12 * np.eye(len(means) - 1)
        step = np.concatenate([[0.0], np.linalg.solve(jacobian, (rates_k - means)[1:])])
        intercepts = intercepts + (step if np.abs(step).max() <= 1 else np.log(rates_k / np.clip(means, 1e-300, None)))
    return np.asarray(p)


def plant_labels(case: Case, scores: Floats, rates_k: Floats) -> NDArray[np.str_]:
    """Draw labels along the scores ``(n,)`` or ``(n, K - 1)`` at exactly the wanted leak; ``ValueError`` where no slope reaches it."""
    scores = scores.reshape(case.n, -1)
    scores = np.column_stack([np.zeros(case.n), (scores - scores.mean(axis=0)) / scores.std(axis=0)])

    def excess(log_slope: float) -> float:
        return _balanced_leak(_with_rates(scores * np.exp(log_slope), rates_k)) - case.leak

    low, high = np.log(1e-4), np.log(_LARGEST_SLOPE)
    if not excess(low) < 0 < excess(high):
        raise ValueError(f"world {case.kind!r} cannot carry a leak of {case.leak:g} with n={case.n}, d={case.d}")
    cumulative = np.cumsum(_with_rates(scores * np.exp(brentq(excess, low, high, xtol=1e-9)), rates_k), axis=1)
    return class_names((case.rng.random(case.n)[:, None] > cumulative[:, :-1]).sum(axis=1), len(rates_k))


def class_names(codes_n: NDArray[Any], k: int) -> NDArray[np.str_]:
    """Class names of the codes ``(n,)``; ``ValueError`` if one of the ``k`` classes has fewer than 2 rows."""
    if np.bincount(codes_n, minlength=k).min() < 2:
        raise ValueError(f"a class has fewer than 2 of {len(codes_n)} rows; the base rate needs more rows")
    return np.asarray(_CLASSES[codes_n])


def two_rates(rate: float) -> Floats:
    """Base rates of classes ``a`` and ``b``."""
    return np.array([1 - rate, rate])


def shift_leak(shift: float) -> float:
    """Leak between two equally likely unit Gaussians whose means are ``shift`` apart."""
    log_odds = shift**2 / 2 + shift * _NODES
    return float(1 + _WEIGHTS @ log_expit(log_odds) / np.log(2))


def linear_leak_through(shift: float, agreement: float) -> float:
    """Linear leak of an attribute that agrees with a label with this probability, where the label shifts by ``shift``."""
    s = np.concatenate([shift / 2 + _NODES, -shift / 2 + _NODES])
    weights = np.concatenate([agreement * _WEIGHTS, (1 - agreement) * _WEIGHTS])
    # The attribute's logit is a saturating curve of the shifted direction: a linear reader gets less than all of it.
    best = minimize_scalar(lambda slope: -float(weights @ log_expit(slope * s)), bounds=(0, 30), method="bounded", options={"xatol": 1e-9})
    return float(1 - best.fun / np.log(2))


def solve_strength(case: Case, leak_at: Callable[[float], float], low: float, high: float) -> float:
    """Strength in the range at which an increasing ``leak_at`` is the wanted leak; ``ValueError`` where none reaches it."""
    if not leak_at(low) < case.leak < leak_at(high):
        raise ValueError(f"world {case.kind!r} cannot carry a leak of {case.leak:g}; it reaches {leak_at(high):.3g}")
    return float(brentq(lambda x: leak_at(x) - case.leak, low, high, xtol=1e-10))
