"""Planting: labels drawn so that given activations or inputs leak a wanted amount of them.

Activations stay untouched; labels are drawn from them, ``a' ~ softmax(c + beta U'z)``, with the intercepts
solved for the base rates and ``beta`` for the class-balanced V-information on the rows at hand, as a
fraction of ``log2 K``. Continuous attributes are ``beta u'z + noise`` with ``R**2 = beta**2``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FAMILIES = ("isotropic", "unit", "low", "high")
_LARGEST_SLOPE = 64.0


@dataclass(frozen=True)
class Plant:
    """Class probabilities ``(n, K)`` of a planted attribute and the leak they carry."""

    probabilities_nk: Floats
    leak: float

    def draw(self, rng: np.random.Generator) -> Ints:
        """Draw one label per row, shape ``(n,)``."""
        cumulative = np.cumsum(self.probabilities_nk, axis=1)
        codes = (rng.random(len(cumulative))[:, None] > cumulative).sum(axis=1)
        return np.asarray(np.minimum(codes, self.probabilities_nk.shape[1] - 1), dtype=np.int64)


def balanced_leak(probabilities_nk: Floats, rates_k: Floats) -> float:
    """Class-balanced V-information of labels with known probabilities, as a fraction of ``log2 K``.

    The labels are reweighed so that each class has mass ``1 / K``; the best predictor of the reweighed
    labels is the prior-shifted probability.
    """
    k = probabilities_nk.shape[1]
    shifted = probabilities_nk / rates_k
    shifted /= shifted.sum(axis=1, keepdims=True)
    mass = probabilities_nk / (k * len(probabilities_nk) * rates_k)
    loss = -(mass * np.log2(np.clip(shifted, 1e-300, None))).sum()
    return float(1 - loss / np.log2(k))


def _probabilities(scores_nk: Floats, rates_k: Floats, intercepts: Floats) -> tuple[Floats, Floats]:
    """Softmax of the scores plus the intercepts that give the wanted base rates, and those intercepts."""
    exponentials = np.exp(scores_nk - scores_nk.max(axis=1, keepdims=True))
    for _ in range(100):
        p = exponentials * np.exp(intercepts - intercepts.max())
        p /= p.sum(axis=1, keepdims=True)
        means = p.mean(axis=0)
        if np.abs(means - rates_k).max() < 1e-7:
            break
        # Newton on the means (the first intercept stays); proportional fitting where it would leap.
        jacobian = (np.diag(means) - p.T @ p / len(p))[1:, 1:] + 1e-12 * np.eye(len(means) - 1)
        step = np.concatenate([[0.0], np.linalg.solve(jacobian, (rates_k - means)[1:])])
        if np.abs(step).max() > 1.0:
            step = np.log(rates_k / np.clip(means, 1e-300, None))
        intercepts = intercepts + step
    return p, intercepts


def plant_at_leak(scores_nk: Floats, rates_k: Floats, leak: float, *, tolerance: float = 1e-4) -> Plant | None:
    """Solve the slope at which labels drawn along ``scores_nk`` leak exactly ``leak``.

    Args:
        scores_nk: Unit-variance scores of each class on each row, shape ``(n, K)``; for a binary attribute
            the first column is zero.
        rates_k: Base rates, shape ``(K,)``, summing to one.
        leak: Wanted class-balanced leak, a fraction of ``log2 K``.
        tolerance: Allowed miss, relative to the leak (or to 0.01 where that is larger).

    Returns:
        The plant, or ``None`` where no slope reaches the wanted leak (a direction that takes too few values).
    """
    low, high, slope = 0.0, np.inf, 1.0
    intercepts = np.log(rates_k)
    for _ in range(60):
        p, intercepts = _probabilities(scores_nk * slope, rates_k, intercepts)
        reached = balanced_leak(p, rates_k)
        if abs(reached - leak) < tolerance * max(leak, 0.01):
            return Plant(p, reached)
        low, high = (slope, high) if reached < leak else (low, slope)
        if low > _LARGEST_SLOPE:
            return None
        # A small leak grows with the square of the slope; the bracket keeps larger ones in hand.
        guess = slope * float(np.sqrt(leak / max(reached, 1e-12)))
        slope = guess if low < guess < high else (low + high) / 2 if np.isfinite(high) else 2 * slope
    return Plant(p, reached)


def directions(z_nd: Floats, x_nd: Floats, family: str, count: int, rng: np.random.Generator) -> Floats:
    """Unit-variance scores ``(n, count)`` along directions of one family.

    Args:
        z_nd: Whitened rows, columns ordered from the lowest to the highest original variance.
        x_nd: Standardised original units.
        family: ``isotropic``, ``unit``, ``low`` or ``high``.
        count: Number of directions.
        rng: Source of randomness.

    Raises:
        ValueError: unknown family.
    """
    if family == "isotropic":
        u = rng.normal(size=(z_nd.shape[1], count))
        return np.asarray(z_nd @ (u / np.linalg.norm(u, axis=0)))
    if family == "unit":
        return x_nd[:, rng.integers(0, x_nd.shape[1], count)]
    if family in ("low", "high"):
        return np.repeat(z_nd[:, :1] if family == "low" else z_nd[:, -1:], count, axis=1)
    raise ValueError(f"unknown family {family!r}")


def plant_classes(z_nd: Floats, x_nd: Floats, family: str, rates_k: Floats, leak: float, rng: np.random.Generator) -> Ints | None:
    """Draw one planted categorical attribute; ``None`` where the family cannot carry the leak."""
    k = len(rates_k)
    scores = directions(z_nd, x_nd, family, k - 1, rng)
    if family in ("low", "high"):
        scores = scores * np.arange(1, k) / (k - 1)
    plant = plant_at_leak(np.column_stack([np.zeros(len(z_nd)), scores]), rates_k, leak)
    return None if plant is None else plant.draw(rng)


def plant_values(z_nd: Floats, x_nd: Floats, family: str, r_squared: float, rng: np.random.Generator) -> Floats:
    """Draw one planted continuous attribute with the wanted R squared."""
    r_squared = float(np.clip(r_squared, 0.0, 1.0))
    score = directions(z_nd, x_nd, family, 1, rng)[:, 0]
    return np.asarray(np.sqrt(r_squared) * score + np.sqrt(1 - r_squared) * rng.normal(size=len(z_nd)))
