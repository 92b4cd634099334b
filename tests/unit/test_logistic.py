"""The batched solver against scikit-learn and against its own bound."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from proxyaudit.probes.logistic import LogisticFit, fit_logistic
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream


def objective(z, targets, weights, ridge, fit):
    """Objective of each problem at a fit, in nats, shape ``(P,)``."""
    logits = fit.logits(z)
    if logits.shape[1] == 1:
        loss = torch.nn.functional.softplus(logits[:, 0]) - targets[:, 0] * logits[:, 0]
    else:
        loss = torch.logsumexp(logits, dim=1) - (targets * logits).sum(1)
    return (weights * loss).sum(0) + ridge / 2 * (fit.coef**2).sum((0, 1))


def problem(classes, n=800, d=15, signal=1.0, dtype=torch.float64):
    rng = stream(0, "solver", classes)
    z = whiten(rng.normal(size=(n, d))).z_nr
    logits = z @ rng.normal(size=(d, classes)) * signal / np.sqrt(d)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    a = np.array([rng.choice(classes, p=row) for row in p])
    target = (a == 1)[:, None].astype(float) if classes == 2 else np.eye(classes)[a]
    return torch.as_tensor(z, dtype=dtype), a, torch.as_tensor(target, dtype=dtype)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_objective_is_no_worse_than_scikit_learn(classes, dtype):
    z, a, target = problem(classes, signal=3.0, dtype=dtype)
    n, ridges = len(z), torch.tensor([1e-3, 1e-2, 0.1, 1.0], dtype=dtype)
    targets = target[:, :, None].expand(-1, -1, 4)
    weights = torch.full((n, 4), 1 / n, dtype=dtype)
    fit = fit_logistic(z, targets, weights, ridges)
    ours = objective(z, targets, weights, ridges, fit)
    for index, ridge in enumerate(ridges.tolist()):
        other = LogisticRegression(C=1 / (n * ridge), tol=1e-8, max_iter=5000).fit(z.numpy(), a)
        theirs = LogisticFit(
            torch.as_tensor(other.coef_.T[:, :, None], dtype=dtype),
            torch.as_tensor(other.intercept_[:, None], dtype=dtype),
            torch.zeros(1),
            0,
        )
        best = objective(z, target[:, :, None], weights[:, :1], ridges[index : index + 1], theirs)
        assert float(ours[index]) <= float(best) * (1 + 1e-5)
        assert float(ours[index] - best) <= float(fit.gap[index]) + 1e-6


def test_the_gap_bounds_the_objective_even_when_stopped_early():
    z, _, target = problem(2, signal=4.0)
    targets, weights, ridge = target[:, :, None], torch.full((len(z), 1), 1 / len(z), dtype=z.dtype), torch.tensor([1e-2], dtype=z.dtype)
    early = fit_logistic(z, targets, weights, ridge, max_iterations=3)
    late = fit_logistic(z, targets, weights, ridge, tolerance=1e-12)
    distance = float(objective(z, targets, weights, ridge, early) - objective(z, targets, weights, ridge, late))
    assert 0 < distance <= float(early.gap[0])


def test_weights_act_as_copies_and_zero_leaves_a_row_out():
    z, _, target = problem(2)
    keep = np.arange(len(z)) % 3 != 0
    counts = np.where(keep, 1 + np.arange(len(z)) % 2, 0)
    weights = torch.as_tensor(counts / counts.sum())[:, None]
    fit = fit_logistic(z, target[:, :, None], weights, torch.tensor([0.05], dtype=z.dtype), tolerance=1e-12)
    rows = np.repeat(np.arange(len(z)), counts)
    again = fit_logistic(
        z[rows],
        target[rows][:, :, None],
        torch.full((len(rows), 1), 1 / len(rows), dtype=z.dtype),
        torch.tensor([0.05], dtype=z.dtype),
        tolerance=1e-12,
    )
    assert torch.allclose(fit.coef, again.coef, atol=1e-5)


def test_a_batch_equals_its_parts():
    z, _, target = problem(2)
    ridges = torch.tensor([1e-2, 0.5], dtype=z.dtype)
    weights = torch.full((len(z), 2), 1 / len(z), dtype=z.dtype)
    both = fit_logistic(z, target[:, :, None].expand(-1, -1, 2), weights, ridges, tolerance=1e-12)
    for index in (0, 1):
        alone = fit_logistic(z, target[:, :, None], weights[:, :1], ridges[index : index + 1], tolerance=1e-12)
        assert torch.allclose(both.coef[..., index], alone.coef[..., 0], atol=1e-6)


def test_ridge_must_be_positive():
    z, _, target = problem(2)
    with pytest.raises(ValueError, match="positive"):
        fit_logistic(z, target[:, :, None], torch.full((len(z), 1), 1 / len(z), dtype=z.dtype), torch.tensor([0.0], dtype=z.dtype))
