"""Linear heads of many label columns at once: targets, a ridge start, the training loss, calibration and the leak that is reached."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxyaudit.arrays import Floats, Ints

SCALES = (0.0, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9, 1.3)


def stack_targets(labels: Sequence[NDArray[np.generic]], rows: Sequence[Ints], classes: int) -> tuple[Tensor, Tensor]:
    """Centred targets ``(P, m, K)`` (one-hot, or the standardised value) and class-balanced weights ``(P, m)`` that sum to one."""
    targets, weights = [], []
    for column, own_rows in zip(labels, rows, strict=True):
        own = np.asarray(column)[own_rows]
        if classes == 0:
            values = own.astype(np.float64)
            targets.append(((values - values.mean()) / max(float(values.std()), 1e-12))[:, None])
            weights.append(np.full(len(own), 1 / len(own)))
        else:
            hot = own.astype(np.int64)[:, None] == np.arange(classes)
            targets.append(hot.astype(np.float64))
            counts = hot.sum(axis=0)
            weights.append(hot @ (1 / np.maximum(counts, 1)) / (counts > 0).sum())
    return torch.as_tensor(np.stack(targets), dtype=torch.float32), torch.as_tensor(np.stack(weights), dtype=torch.float32)


def ridge_head(made: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression of the targets on the block's outputs: slopes ``(P, d, K)`` and intercepts ``(P, K)`` of logits."""
    d, m, k = made.shape[2], made.shape[1], target.shape[2]
    centre = torch.einsum("pm,pmd->pd", weights, made)
    mean = torch.einsum("pm,pmk->pk", weights, target)
    x = (made - centre[:, None]) * weights.sqrt()[..., None]
    gram = x.transpose(1, 2) @ x + max(0.05, d / m) * torch.eye(d)
    slopes = torch.linalg.solve(gram, x.transpose(1, 2) @ ((target - mean[:, None]) * weights.sqrt()[..., None]))
    if k > 1:
        slopes = k * slopes  # a small change of a probability is 1/K of that of its logit
    return slopes, -torch.einsum("pd,pdk->pk", centre, slopes)


def training_loss(outputs: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Sum over problems of the weighted loss: the problems do not touch each other."""
    if target.shape[2] == 1:
        return 0.5 * (weights * (outputs - target)[..., 0].square()).sum()
    return -(weights * (target * torch.log_softmax(outputs, dim=2)).sum(2)).sum()


def _balanced(codes: Ints, classes: int) -> Floats:
    counts = np.bincount(codes, minlength=classes)
    return np.asarray(1 / (np.maximum(counts, 1)[codes] * max(int((counts > 0).sum()), 1)))


def _surprisal(outputs_nk: Floats, codes: Ints) -> Floats:
    """Bits of the true class over log2 K."""
    true = outputs_nk[np.arange(len(codes)), codes]
    columns = outputs_nk.T
    most = np.maximum.reduce(columns)
    return np.asarray((most + np.log(sum(np.exp(column - most) for column in columns)) - true) / np.log(len(columns)))


def stack_labels(columns: Sequence[NDArray[np.generic]], classes: int) -> tuple[Tensor, Tensor]:
    """Labels ``(P, rows)`` and class-balanced weights that sum to one in each row."""
    if not len(columns):
        return torch.empty(0), torch.empty(0)
    if classes == 0:
        values = torch.as_tensor(np.stack(columns).astype(np.float64))
        return values, torch.full_like(values, 1 / values.shape[1])
    codes = [column.astype(np.int64) for column in columns]
    return torch.as_tensor(np.stack(codes)), torch.as_tensor(np.stack([_balanced(c, classes) for c in codes]), dtype=torch.float32)


def calibrate(outputs: Tensor, labels: Tensor, weights: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Smallest loss of each problem ``(P,)``, and the scale ``(P,)`` and centre ``(P, K)`` of outputs ``(P, rows, K)`` that give it."""
    if classes == 0:
        made, mean = outputs[..., 0].double(), labels.mean(1, keepdim=True)
        about = made - made.mean(1, keepdim=True)
        slope = ((about * (labels - mean)).sum(1) / about.square().sum(1).clamp_min(1e-12)).clamp_min(0.0)
        loss = (labels - mean - slope[:, None] * about).square().sum(1) / (labels - mean).square().sum(1).clamp_min(1e-12)
        # Kept as value = scale * (output - centre): the mean of the values goes into the centre.
        centre = torch.where(slope > 0, made.mean(1) - mean[:, 0] / slope.clamp_min(1e-12), torch.zeros_like(slope))
        return loss.float(), slope.float(), centre[:, None].float()
    centre = torch.einsum("pm,pmk->pk", weights, outputs)
    about = outputs - centre[:, None]
    # Each class against the true one, the classes in front: a short last axis is slow.
    against = (about - about.gather(2, labels[..., None])).permute(2, 0, 1).contiguous()
    losses = torch.stack([(weights * torch.logsumexp(scale * against, dim=0)).sum(1) for scale in SCALES]) / float(np.log(classes))
    best = losses.min(dim=0)
    return best.values, torch.tensor(SCALES)[best.indices], centre


def score_outputs(outputs_nk: Floats, labels_n: NDArray[np.generic], classes: int) -> tuple[float, Floats]:
    """Leak on the measured rows, and the influence of each."""
    if classes == 0:
        values = labels_n.astype(np.float64)
        spread = (values - values.mean()) ** 2
        made = outputs_nk[:, 0] if np.ptp(outputs_nk[:, 0]) > 0 else np.full(len(values), values.mean())
        error = (values - made) ** 2
        ratio = float(error.sum() / spread.sum())
        return 1 - ratio, np.asarray(-(error - ratio * spread) / spread.sum())
    codes = labels_n.astype(np.int64)
    weights, loss = _balanced(codes, classes), _surprisal(outputs_nk, codes)
    means = np.bincount(codes, weights=loss, minlength=classes) / np.maximum(np.bincount(codes, minlength=classes), 1)
    return 1 - float(weights @ loss), np.asarray(-(loss - means[codes]) * weights)
