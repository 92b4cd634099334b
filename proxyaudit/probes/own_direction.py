"""How far along the attribute's own direction a leak moves the score, compared with the even directions of the standard curve.

A leak of one size moves the quadratic score by more along the square of a heavy-tailed unit than along a product of even
directions, so a score read off the even curve is too high there. The attribute's own direction is estimated on one half of the rows
and planted on the other; what the plant moves the score by, over what an even plant of the same leak does, corrects the reading.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.stats.directions import standardised
from proxyaudit.stats.spike_in import Plant, Prior, plant_at_leak
from proxyaudit.stats.standard_curve import StandardCurve

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

_MOST = 4.0
_ROUNDS = 3
_WAYS = 4


def cross_fitted_directions(
    statistic: ScoreStatistic, prepared: Sequence[Singles], clusters_n: Ints | None, rng: np.random.Generator
) -> Singles:
    """Score of each row along first-order readers of halves that the row is not in, the mean over several ways to halve.

    Args:
        statistic: The statistic on the rows.
        prepared: One prepared column ``(n, 1)`` for each class, or of the numbers.
        clusters_n: Rows that belong together.
        rng: Draws the halves, whole clusters in one.

    Returns:
        Standardised scores, shape ``(n, columns)``; zero where nothing varies.
    """
    n = len(prepared[0])
    ids = np.arange(n) if clusters_n is None else np.unique(clusters_n, return_inverse=True)[1]
    halves = np.stack([rng.permutation(np.arange(int(ids.max()) + 1) % 2)[ids] for _ in range(_WAYS)], axis=1)
    columns = []
    for e in prepared:
        images = statistic.directions(np.concatenate([e * (halves == 1), e * (halves == 0)], axis=1))
        columns.append(np.where(halves == 0, images[:, :_WAYS], images[:, _WAYS:]).mean(axis=1))
    scores = np.stack(columns, axis=1).astype(np.float32)
    if statistic.channel == "nonlinear":
        scores = statistic.rows.residual(scores)
    return standardised(statistic.rows, scores)


def score_ratio(
    statistic: ScoreStatistic,
    directions_nk: Singles,
    prior: Prior | None,
    weights_k: Floats,
    curve: StandardCurve,
    score: float,
) -> float:
    """Signal of a plant along the attribute's own direction over that of an even plant of the same leak.

    Args:
        statistic: The statistic on the rows.
        directions_nk: From :func:`cross_fitted_directions`.
        prior: Rates of the classes; ``None`` for numbers.
        weights_k: Weight of each column in the score.
        curve: The standard curve of even plants.
        score: Observed score, whose leak the ratio is taken at.

    Returns:
        The ratio, between 1/4 and 4; 1 where no direction can be planted. An estimated direction is partly noise, which is even: the
        weaker the trace, the less the ratio differs from that of noise.
    """
    ratio = 1.0
    for _ in range(_ROUNDS):
        leak = float(np.clip(curve.calibrate(curve.means[0] + (score - curve.means[0]) / ratio)[0], curve.leaks[1], curve.leaks[-1]))
        even = float(np.interp(leak, curve.leaks, curve.means)) - float(curve.means[0])
        own = _signal(statistic, directions_nk, prior, weights_k, leak)
        if own is None or even <= 0:
            return ratio
        ratio = float(np.clip(own / even, 1 / _MOST, _MOST))
    return ratio


def _signal(statistic: ScoreStatistic, directions_nk: Singles, prior: Prior | None, weights_k: Floats, leak: float) -> float | None:
    if prior is None:
        return float(weights_k[0] * statistic.of_prepared(directions_nk[:, :1] * np.float32(np.sqrt(leak))).scores_m[0])
    plant = plant_at_leak(directions_nk[:, 0] if prior.classes == 2 else directions_nk, prior, leak)
    if plant is None:
        return None
    classes = [1] if prior.classes == 2 else list(range(prior.classes))
    return float(sum(weight * _moved(statistic, plant, prior, k) for weight, k in zip(weights_k, classes, strict=True)))


def _moved(statistic: ScoreStatistic, plant: Plant, prior: Prior, k: int) -> float:
    known = np.exp(prior.log_nk[:, k])
    excess = ((plant.probabilities_nk[:, k] - known) / np.sqrt(float((known * (1 - known)).mean()))).astype(np.float32)[:, None]
    if statistic.channel == "nonlinear":
        excess = statistic.rows.residual(excess)
    return float(statistic.of_prepared(excess).scores_m[0])
