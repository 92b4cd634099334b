"""The simplest cross-fitted reader: one step from the prior along the score statistic's own direction, the limit of a large ridge."""

import numpy as np
from scipy.special import log_softmax

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.probes.planting import Target
from proxyaudit.probes.score import ScoreStatistic, indicator_columns

_STEPS = np.concatenate([[0.0], np.geomspace(0.02, 5.0, 23)])


def first_order_gain(statistic: ScoreStatistic, target: Target, folds_n: Ints) -> float:
    """Class-balanced V-information that a first-order reader adds to the prior, on rows that it has not seen.

    A fraction of ``log2 K`` (partial R squared for a continuous attribute); negative where the reader only adds noise.
    """
    folds = int(folds_n.max()) + 1
    outside = np.stack([folds_n != fold for fold in range(folds)], axis=1)
    scores = []
    for column in indicator_columns(target.labels_n[:, None], target.classes):
        excess = _excess(statistic, column[:, 0].astype(np.float64), target, outside)
        images = statistic.directions(excess.astype(np.float32))
        scores.append(images[np.arange(len(folds_n)), folds_n])
    # In double precision: single precision knows no number as small as what is divided by where there is no score at all.
    s_nk = np.stack(scores, axis=1).astype(np.float64)
    s_nk /= max(float(np.sqrt((s_nk**2).mean())), 1e-300)
    if target.classes == 0:
        values = statistic.prepare(np.asarray(target.labels_n, dtype=np.float32)[:, None])[:, 0].astype(np.float64)
        losses = (values[:, None] - np.sqrt(0.2) * _STEPS * s_nk) ** 2 / len(values)
        total = float(losses[:, 0].sum())
        # A number that the site holds linearly to the last digit leaves nothing for a quadratic reader.
        return float(total - _stacked(losses, folds_n)) / total if total > 0 else 0.0
    if target.prior is None:
        raise ValueError("a categorical target has a prior")
    codes = np.asarray(target.labels_n, dtype=np.int64)
    scores_nk = np.concatenate([-s_nk / 2, s_nk / 2], axis=1) if target.classes == 2 else s_nk
    each = np.arange(len(codes))
    # Every class has the same mass within each stratum, so the prior itself predicts nothing.
    weights = np.exp(-target.prior.log_nk[each, codes]) / (target.classes * len(codes))
    losses = np.stack([-log_softmax(step * scores_nk, axis=1)[each, codes] * weights for step in _STEPS], axis=1)
    return float(losses[:, 0].sum() - _stacked(losses, folds_n)) / float(np.log(target.classes))


def _excess(statistic: ScoreStatistic, column_n: Floats, target: Target, outside_nf: Bools) -> Floats:
    """Labels minus their mean within each block and training part; zero on the fold itself."""
    out = np.zeros(outside_nf.shape)
    for block in statistic.rows.blocks:
        part, inside = column_n[block.rows], outside_nf[block.rows]
        count = np.maximum(inside.sum(axis=0), 1)
        out[block.rows] = inside * (part[:, None] - (part @ inside) / count)
    return out


def _stacked(losses_ns: Floats, folds_n: Ints) -> float:
    """Loss with the step of each fold chosen on the other folds."""
    by_fold = np.stack([losses_ns[folds_n == fold].sum(axis=0) for fold in range(int(folds_n.max()) + 1)])
    others = by_fold.sum(axis=0) - by_fold
    return float(by_fold[np.arange(len(by_fold)), others.argmin(axis=1)].sum())
