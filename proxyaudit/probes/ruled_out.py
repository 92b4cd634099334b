"""Directions that the labels themselves rule out.

Along a direction of heavy tails (a unit that is on for few rows, a product of two such units) a leak moves the score less, or more, than
along an even one, so that such directions would decide nearly every bound. But what labels planted along a known direction are expected to
be is known: labels that do not follow it, or that tell much besides it, were not planted along it. Those directions are ruled out at a
level of their own, and others between them and the one that labels do follow are asked in their place.
"""

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.probes.planting import Match, Target
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.stats.directions import extreme_axis, free_of_linear, standardised
from proxyaudit.stats.score_law import ScoreLaw

LEANINGS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # cosines with the direction that was ruled out
_RUNG = 0.95  # of what is expected: one leaning stands for all up to the next
_GENERIC = ("isotropic", "own", "one stratum")  # they stand for others, which labels may follow
_SOMETHING = 1e-6  # of the squared length
_NEAREST = 4  # members of a family that labels follow most


def ruled_out_at(match: Match, null: ScoreLaw, names: NDArray[np.str_]) -> Floats:
    """Normal quantile at which labels rule each plant out: they follow it too little, or tell too much besides; minus infinity if never."""
    short = (_RUNG * match.expected - match.told) / np.maximum(match.error, 1e-12)
    without = ScoreLaw(null.mean * match.left, null.sd * match.left, null.skew + 0 * match.left)
    more = without.depth(match.beyond)
    return np.where(np.isin(names, _GENERIC), -np.inf, np.fmax(short, more))


def followed(statistic: ScoreStatistic, observed: list[Singles], target: Target) -> tuple[Singles, tuple[str, ...]]:
    """Those members ``(n, m)`` of large families that prepared labels follow most, listed or not, and the family of each."""
    rows, e = statistic.rows, np.concatenate(observed, axis=1) * np.sqrt(target.weights).astype(np.float32)
    n = np.float32(rows.n)
    if len(rows.blocks) > 1:
        return np.zeros((rows.n, 0), dtype=np.float32), ()
    if statistic.channel == "linear":
        units = _most((rows.x_nd.T @ e) ** 2)
        lengths = np.maximum(np.linalg.norm(rows.z_nr, axis=1), np.float32(1e-6))
        towards = rows.z_nr[_most((rows.z_nr @ (rows.z_nr.T @ e) / lengths[:, None]) ** 2)]
        found = standardised(rows, np.concatenate([rows.x_nd[:, units], rows.z_nr @ towards.T], axis=1))
        return found, ("unit",) * len(units) + ("towards a row",) * len(towards)
    x, inner = rows.x_nd, rows.factors.z_nr
    spread = np.sqrt(np.maximum((x**2).T @ x**2 / n - (x.T @ x / n) ** 2, np.float32(1e-12)))
    told = np.stack([(x.T @ (x * column[:, None]) / spread)[np.triu_indices(x.shape[1])] for column in e.T], axis=1)
    one, other = (index[_most(told**2)] for index in np.triu_indices(x.shape[1]))
    axes = [extreme_axis(rows, family) for family in ("low", "high")]
    products = [axis * (inner @ (inner.T @ (axis * e[:, :1]))) for axis in axes]
    found = free_of_linear(rows, np.concatenate([x[:, one] * x[:, other], *products], axis=1))
    return found, ("unit",) * len(one) + ("low", "high")


def _most(told_mk: Floats | Singles) -> Ints:
    return np.argsort(-told_mk.sum(axis=1), kind="stable")[:_NEAREST]


def leaning(statistic: ScoreStatistic, observed: list[Singles], target: Target, scores_nm: Singles) -> Singles:
    """Directions between each of some ``(n, m)`` or ``(n, K, m)`` and the one that prepared labels follow, one after the other."""
    rows = statistic.rows
    images = np.concatenate([_image(statistic, e) for e in observed], axis=1) * target.weights.astype(np.float32)
    parts = []
    for axis in np.moveaxis(scores_nm, -1, 0):
        score, pattern = (axis, np.ones(1, dtype=np.float32)) if axis.ndim == 1 else _single(axis)
        own = images @ pattern if images.shape[1] == len(pattern) else images[:, 0]
        rest = own - score * np.float32(score @ own / (score @ score))
        # Where nothing lies beside it, what is left is rounding, which no reader of these rows can reach.
        rest = _unit(rest) if rest @ rest > _SOMETHING * (own @ own) else np.zeros_like(own)
        between = standardised(rows, np.stack([c * score + np.sqrt(1 - c * c) * rest for c in LEANINGS], axis=1).astype(np.float32))
        parts.append(between if axis.ndim == 1 else between[:, None] * pattern[None, :, None])
    return np.concatenate(parts, axis=-1)


def _image(statistic: ScoreStatistic, e_n1: Singles) -> Singles:
    """The direction that labels follow, each row's own included, and those of its cluster: without these, it would not be one."""
    image = statistic.directions(e_n1) + statistic.of_own(e_n1) / np.float32(len(e_n1))
    return image if statistic.channel == "linear" else statistic.rows.residual(image)


def _single(scores_nk: Singles) -> tuple[Singles, Singles]:
    """The score behind a direction of several classes, and its multiple for each of them."""
    score = _unit(scores_nk[:, int(np.argmax((scores_nk**2).sum(axis=0)))])
    return score, np.asarray(score @ scores_nk / np.float32(len(score)))


def _unit(score_n: Singles) -> Singles:
    return np.asarray(score_n / np.float32(max(float(np.sqrt((score_n**2).mean())), 1e-12)))
