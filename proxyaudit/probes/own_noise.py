"""How far along the attribute's own direction a leak moves the score, compared with the even directions of the standard curve.

A leak moves the score by more or less along a heavy-tailed or a rare unit than along even directions. The attribute's own direction is
planted too; what that moves the score by, over what an even plant of the same leak does, corrects the reading.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.stats.directions import standardised
from proxyaudit.stats.spike_in import Plant, Prior, plant_at_leak
from proxyaudit.stats.standard_curve import StandardCurve

_MOST = {"linear": 32.0, "nonlinear": 4.0}  # a class of 2 % that alone switches a unit on moves the linear score 16 times as much
_HALVINGS = 7
_LEAST = 1e-3
_WAYS = 4


def own_directions(statistic: ScoreStatistic, prepared: Sequence[Singles], clusters_n: Ints | None, rng: np.random.Generator) -> Singles:
    """Standardised score of each row along the first-order reader of the attribute itself, ``(n, columns)``; zero where nothing varies.

    In the linear statistic a row's own label has part in its score: the direction remains one that a leak could have, and an even one where
    nothing is there. In a quadratic form rows of great length would outweigh all others; there each row is read by forms of halves (whole
    clusters) that it is not in, the mean over several ways to halve.
    """
    if statistic.channel == "linear":
        return standardised(statistic.rows, statistic.directions(np.concatenate(list(prepared), axis=1)).astype(np.float32))
    n = len(prepared[0])
    ids = np.arange(n) if clusters_n is None else np.unique(clusters_n, return_inverse=True)[1]
    halves = np.stack([rng.permutation(np.arange(int(ids.max()) + 1) % 2)[ids] for _ in range(_WAYS)], axis=1)
    columns = []
    for e in prepared:
        images = statistic.directions(np.concatenate([e * (halves == 1), e * (halves == 0)], axis=1))
        columns.append(np.where(halves == 0, images[:, :_WAYS], images[:, _WAYS:]).mean(axis=1))
    return standardised(statistic.rows, statistic.rows.residual(np.stack(columns, axis=1).astype(np.float32)))


def score_ratio(
    statistic: ScoreStatistic, directions_nk: Singles, prior: Prior | None, weights_k: Floats, curve: StandardCurve, score: float
) -> float:
    """Signal of a plant along the attribute's own direction over that of an even plant of the same leak.

    The ratio is taken at the leak with which a plant along its own direction would move the score as much. It is at most 32 (4 for the
    quadratic score) in either direction, 1 where nothing moved. The weaker the trace, the nearer it is to one.
    """
    moved = score - float(curve.means[0])
    if moved <= 0:
        return 1.0
    low, high = float(np.log(_LEAST)), float(np.log(curve.leaks[-1]))
    below: float | None = None
    above: float | None = None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        own = _signal(statistic, directions_nk, prior, weights_k, float(np.exp(middle)))
        # A direction of few values may not carry so much: then it is less.
        if own is None or own > moved:
            high, above = middle, own
        else:
            low, below = middle, own
    found = (low + high) / 2
    if below is not None and above is not None and 0 < below < above:
        found = low + (high - low) * float(np.log(moved / below) / np.log(above / below))
    even = float(np.interp(np.exp(found), curve.leaks, curve.means)) - float(curve.means[0])
    most = _MOST[statistic.channel]
    return float(np.clip(moved / even, 1 / most, most)) if even > 0 else 1.0


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
