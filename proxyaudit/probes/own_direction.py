"""The direction along which an attribute itself goes, as far as it can be told from noise; its leak is read along that one."""

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Ints, Singles
from proxyaudit.probes.planting import Target
from proxyaudit.probes.score import ScoreStatistic, flipped
from proxyaudit.stats.directions import standardised

_TURNS = 3  # of the signs of labels, for how large the axes of a form are by chance


def own_direction(statistic: ScoreStatistic, prepared: list[Singles], target: Target, rng: np.random.Generator) -> Singles | None:
    """Scores of rows, ``(n,)`` or ``(n, K)`` for several classes, from prepared label columns; ``None`` where nothing is told from noise.

    The linear direction is the score's own, which even noise blurs evenly; a row's own label has no part in it. That of the quadratic
    score is made of the axes of its form that are longer than chance makes them, shortened by what chance adds (a spiked matrix:
    Benaych-Georges & Nadakuditi 2011): blurred, it would be of much lighter tails than what it stands for. Several classes are
    weighed by how far each is off.
    """
    if statistic.channel == "nonlinear" and len(statistic.rows.blocks) == 1:
        columns = [_leading(statistic, e, target.clusters_n, rng) for e in prepared]
    else:
        columns = [statistic.directions(e)[:, 0] for e in prepared]
    raw = np.stack(columns, axis=1)
    if statistic.channel == "nonlinear":
        raw = statistic.rows.residual(raw)
    own = standardised(statistic.rows, raw)
    if not own.any():
        return None
    if target.prior is None or target.classes == 2:
        return np.asarray(own[:, 0])
    noise = np.sqrt(2 * statistic.rows.rank)
    scores = np.array([float(statistic.of_prepared(e).scores_m[0]) for e in prepared])
    # In log-odds a class is off by its standardised score over the root of its odds.
    size = np.sqrt(np.maximum(scores - noise, 0.0) * (1 / target.prior.rates_k - 1)) * own.any(axis=0)
    return np.asarray(own * (size / np.sqrt((size**2).mean())).astype(np.float32)) if size.any() else None


def _leading(statistic: ScoreStatistic, e_n1: Singles, clusters_n: Ints | None, rng: np.random.Generator) -> Singles:
    """Quadratic form ``(n,)`` of the axes along which labels stretch rows by more than chance."""
    z = statistic.factors.z_nr

    def form(columns: NDArray[np.float32]) -> Singles:
        return np.asarray(z.T @ (z * columns[:, None]) / np.float32(len(z)))

    turned = flipped(clusters_n, len(z), _TURNS, rng) * e_n1
    chance = max(float(np.abs(np.linalg.eigvalsh(form(turn))).max()) for turn in turned.T)
    lengths, axes = np.linalg.eigh(form(e_n1[:, 0]))
    longer = np.sign(lengths) * np.sqrt(np.maximum(lengths**2 - np.float32(chance) ** 2, 0.0))
    used = longer != 0
    return np.asarray(((z @ axes[:, used]) ** 2) @ longer[used], dtype=np.float32)
