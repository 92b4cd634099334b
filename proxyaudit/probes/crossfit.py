"""Cross-fitted probes: class-balanced V-information, AUROC and R squared on rows the probe never saw.

The leak of K classes is their class-balanced V-information (Xu et al. 2020) as a fraction of ``log2 K``: every class has mass 1/K, so
it does not move with the base rate alone. Regularisation is chosen within each training part.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.probes.folds import FEWEST_ROWS, TooFewRowsError, balanced, balanced_mean, share_of
from proxyaudit.probes.logistic import fit_logistic, log2_probabilities, one_hot
from proxyaudit.stats.group_gaps import auroc_of_classes

RIDGES = (1e-3, 1e-2, 1e-1, 3e-1, 1.0)  # of the mean loss, in whitened coordinates
_CHOOSING, _SCORING = 2e-4, 2e-5  # duality gaps in nats: choosing a ridge needs less than scoring with it


@dataclass(frozen=True)
class ProbeScore:
    """What a cross-fitted probe found."""

    leak: float  # class-balanced V-information as a fraction of log2 K; R squared for a continuous attribute
    unweighted: float  # the same without reweighing, as a fraction of the entropy of the attribute
    auroc: float | None  # mean of one against the rest for several classes; None if continuous
    influence_n: Floats  # influence of each row on the leak; zero for rows without the attribute
    offset_nk: Floats  # out-of-fold log probabilities under equal base rates, in nats; predictions (n, 1) if continuous


def _balanced_weights(codes_n: Ints, classes: int, mask_n: Bools) -> Floats:
    if np.bincount(codes_n[mask_n], minlength=classes).min() < FEWEST_ROWS:
        raise TooFewRowsError(f"a class has fewer than {FEWEST_ROWS} rows in a training part")
    weights = np.zeros(len(codes_n))
    weights[mask_n] = balanced(codes_n[mask_n], classes)
    return weights


def _losses(logits: torch.Tensor, codes_n: Ints) -> Floats:
    """Surprisal of the true class in bits, shape ``(n, P)``."""
    index = torch.as_tensor(np.maximum(codes_n, 0))[:, None, None].expand(-1, 1, logits.shape[2])
    return np.asarray(-log2_probabilities(logits).gather(1, index)[:, 0].numpy())


def _fit_logits(z: torch.Tensor, codes_n: Ints, classes: int, weights: Floats, ridges: Floats, tolerance: float) -> torch.Tensor:
    """Logits on all rows of the problems given by weight columns and ridges."""
    target = one_hot(codes_n, classes)[:, :, None].expand(-1, -1, weights.shape[1])
    fit = fit_logistic(z, target, torch.as_tensor(weights, dtype=z.dtype), torch.as_tensor(ridges, dtype=z.dtype), tolerance=tolerance)
    return fit.logits(z)


def cross_fit_classes(z_nr: Floats, codes_n: Ints, classes: int, folds_n: Ints) -> ProbeScore:
    """Cross-fit a linear probe of classes (-1 where missing) on whitened rows, regularisation nested; ``TooFewRowsError`` for rare ones."""
    z = torch.as_tensor(z_nr, dtype=torch.float32)
    known = codes_n >= 0
    folds = int(folds_n.max()) + 1
    if np.bincount(codes_n[known], minlength=classes).min() < 1:
        raise TooFewRowsError("a class has no rows")
    row_weight = np.zeros(len(codes_n))
    row_weight[known] = balanced(codes_n[known], classes)

    # Each outer fold chooses its ridge on its two neighbours; a model that leaves out two folds serves both.
    pairs = [(fold, (fold + 1) % folds) for fold in range(folds)]
    ridges = np.array(RIDGES)
    weights = np.stack([_balanced_weights(codes_n, classes, known & (folds_n != o) & (folds_n != j)) for o, j in pairs], axis=1)
    logits = _fit_logits(z, codes_n, classes, np.repeat(weights, len(ridges), axis=1), np.tile(ridges, len(pairs)), _CHOOSING)
    losses = (_losses(logits, codes_n) * row_weight[:, None]).reshape(len(codes_n), len(pairs), len(ridges))
    inner = np.zeros((folds, len(ridges)))
    for index, (o, j) in enumerate(pairs):
        inner[o] += losses[folds_n == j, index].sum(axis=0)
        inner[j] += losses[folds_n == o, index].sum(axis=0)
    chosen = ridges[inner.argmin(axis=1)]

    final = np.stack([_balanced_weights(codes_n, classes, known & (folds_n != o)) for o in range(folds)], axis=1)
    logits = _fit_logits(z, codes_n, classes, final, chosen, _SCORING)
    own = torch.as_tensor(folds_n)[:, None, None].expand(-1, logits.shape[1], 1)
    return _score(logits.gather(2, own), codes_n, classes)


def _score(logits: torch.Tensor, codes_n: Ints, classes: int) -> ProbeScore:
    """Score out-of-fold logits ``(n, K, 1)``."""
    known = codes_n >= 0
    rates = np.bincount(codes_n[known], minlength=classes) / known.sum()
    log_p = log2_probabilities(logits)[..., 0].numpy()
    loss = -log_p[np.arange(len(codes_n)), np.maximum(codes_n, 0)]
    mean, of_rows = balanced_mean(loss[known] / np.log2(classes), codes_n[known], classes)
    influence = np.zeros(len(codes_n))
    influence[known] = -of_rows
    shifted = log_p + np.log2(rates)
    shifted -= np.log2(np.exp2(shifted).sum(axis=1, keepdims=True))
    surprisal = -shifted[known, codes_n[known]].mean()
    entropy = -(rates * np.log2(rates)).sum()
    area = auroc_of_classes(log_p[known], codes_n[known], classes)
    return ProbeScore(1 - mean, float(1 - surprisal / entropy), area, influence, log_p * np.log(2))


def cross_fit_values(z_nr: Floats, values_n: Floats, folds_n: Ints) -> ProbeScore:
    """Cross-fit a ridge reader of a continuous attribute (NaN where missing); the leak is R squared."""
    known = np.isfinite(values_n)
    if known.sum() < 4 * FEWEST_ROWS:
        raise TooFewRowsError("too few rows hold the attribute")
    folds = int(folds_n.max()) + 1
    target = np.where(known, values_n, 0.0)
    ridges = np.array(RIDGES)
    inner = np.zeros((folds, len(ridges)))
    for o, j in combinations(range(folds), 2):
        predicted = _ridge_predictions(z_nr, target, known & (folds_n != o) & (folds_n != j), ridges)
        errors = (predicted - target[:, None]) ** 2 * known[:, None]
        inner[o] += errors[folds_n == j].sum(axis=0)
        inner[j] += errors[folds_n == o].sum(axis=0)
    chosen = ridges[inner.argmin(axis=1)]
    predicted = np.zeros(len(target))
    for o in range(folds):
        held = folds_n == o
        predicted[held] = _ridge_predictions(z_nr, target, known & ~held, chosen[o : o + 1])[held, 0]
    return _score_values(predicted, target, known)


def _ridge_predictions(z_nr: Floats, target_n: Floats, mask_n: Bools, ridges: Floats) -> Floats:
    """Predictions on all rows for each ridge, shape ``(n, len(ridges))``."""
    centre, mean = z_nr[mask_n].mean(axis=0), target_n[mask_n].mean()
    train = z_nr[mask_n] - centre
    values, vectors = np.linalg.eigh(train.T @ train / len(train))
    projected = vectors.T @ (train.T @ (target_n[mask_n] - mean) / len(train))
    slopes = vectors @ (projected[:, None] / (np.maximum(values, 0)[:, None] + ridges))
    return np.asarray((z_nr - centre) @ slopes + mean)


def _score_values(predicted_n: Floats, target_n: Floats, known_n: Bools) -> ProbeScore:
    error = (target_n - predicted_n) ** 2 * known_n
    spread = (target_n - target_n[known_n].mean()) ** 2 * known_n
    if spread.sum() <= 0:
        raise TooFewRowsError("the attribute takes one value only")
    ratio, influence = share_of(error, spread)
    return ProbeScore(1 - ratio, 1 - ratio, None, -influence, predicted_n[:, None])
