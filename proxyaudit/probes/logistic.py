"""The explaining engine: many regularised logistic regressions on the same rows at once.

In whitened coordinates the bound ``H <= kappa Z'WZ + lambda I`` (Boehning & Lindsay 1988) is close to a
multiple of the identity, so accelerated gradient steps (Nesterov 1983) with adaptive restart (O'Donoghue
& Candes 2015) advance all problems together: two matrix products an iteration. Each problem stops when its
duality gap is below the tolerance; stopped problems leave the batch.

The objective of a problem is ``sum_i w_i loss_i + lambda/2 ||b||**2`` with weights that sum to one and an
unpenalised intercept. With the intercept at its optimum the residuals are dual feasible and the duality gap
is exactly ``||grad||**2 / (2 lambda)``, which is the stopping rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CHECK_EVERY = 8
_POWER_STEPS = 15
_SAFETY = 1.1  # power iteration approaches the largest eigenvalue from below


@dataclass(frozen=True)
class LogisticFit:
    """Fitted problems.

    Attributes:
        coef: ``(d, K, P)`` slopes; K = 1 for binary problems.
        intercept: ``(K, P)``.
        gap: ``(P,)`` bound on the distance to the optimal objective, in nats.
        iterations: Iterations until the last problem stopped.
    """

    coef: Tensor
    intercept: Tensor
    gap: Tensor
    iterations: int

    def logits(self, z: Tensor) -> Tensor:
        """Logits ``(n, K, P)`` on rows ``z`` of shape ``(n, d)``."""
        return _linear(z, self.coef, self.intercept)


def _largest_eigenvalue(z: Tensor, weights: Tensor) -> Tensor:
    """Largest eigenvalue of ``[Z 1]'W[Z 1]`` for each weight column, shape ``(P,)``."""
    p = weights.shape[1]
    generator = torch.Generator(device="cpu").manual_seed(0)
    v = torch.randn(z.shape[1], p, generator=generator).to(z)
    u = torch.ones(p).to(z)
    value = torch.ones(p).to(z)
    for _ in range(_POWER_STEPS):
        norm = torch.sqrt((v**2).sum(0) + u**2)
        v, u = v / norm, u / norm
        product = weights * (z @ v + u)
        v, u = z.T @ product, product.sum(0)
        value = torch.sqrt((v**2).sum(0) + u**2)
    return value * _SAFETY


def _probabilities(logits: Tensor) -> Tensor:
    # Problems lie along the last axis: softmax over a short last axis is not vectorised and is 20 times slower.
    return torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)


def _polish_intercept(base: Tensor, targets: Tensor, weights: Tensor, intercept: Tensor) -> Tensor:
    """Newton steps on the intercepts alone (diagonal bound for K > 1); ``base`` is ``Z b``."""
    k = base.shape[1]
    for _ in range(3 if k == 1 else 6):
        p = _probabilities(base + intercept)
        gradient = (weights * (p - targets)).sum(0)
        curvature = (weights * p * (1 - p)).sum(0).clamp_min(1e-8)
        intercept = intercept - (gradient / curvature if k == 1 else gradient / (2 * curvature)).clamp(-2, 2)
    return intercept


def fit_logistic(
    z: Tensor,
    targets: Tensor,
    weights: Tensor,
    ridge: Tensor,
    *,
    tolerance: float = 5e-6,
    max_iterations: int = 2000,
) -> LogisticFit:
    """Fit ``P`` weighted ridge-logistic regressions on the same rows.

    Args:
        z: Whitened rows ``(n, d)``.
        targets: ``(n, K, P)``: 0/1 with K = 1 for binary, one-hot for K > 2 classes.
        weights: ``(n, P)``, non-negative, each column summing to one; zero leaves a row out.
        ridge: ``(P,)``, positive.
        tolerance: Duality gap, in nats, at which a problem stops.
        max_iterations: Safeguard; problems that reach it keep their gap for the caller to judge.

    Raises:
        ValueError: a ridge is not positive.
    """
    if bool((ridge <= 0).any()):
        raise ValueError("every ridge must be positive: the stopping rule rests on it")
    d, (k, p) = z.shape[1], targets.shape[1:]
    unique, inverse = torch.unique(weights, dim=1, return_inverse=True)
    rate = 1 / ((0.25 if k == 1 else 0.5) * _largest_eigenvalue(z, unique)[inverse] + ridge)
    coef, intercept = z.new_zeros(d, k, p), z.new_zeros(k, p)
    gap = z.new_full((p,), float("inf"))

    active = torch.arange(p, device=z.device)
    b, c, momentum = coef.clone(), intercept.clone(), z.new_ones(p)
    b_ahead, c_ahead = b, c
    y, w, lam = targets, weights[:, None, :], ridge
    iteration = 0
    while len(active) and iteration < max_iterations:
        iteration += 1
        residual = w * (_probabilities(_linear(z, b_ahead, c_ahead)) - y)
        gradient_b, gradient_c = _pull_back(z, residual) + lam * b_ahead, residual.sum(0)
        b_next, c_next = b_ahead - rate * gradient_b, c_ahead - rate * gradient_c
        uphill = (gradient_b * (b_next - b)).sum((0, 1)) + (gradient_c * (c_next - c)).sum(0) > 0
        momentum = torch.where(uphill, torch.ones_like(momentum), momentum)
        next_momentum = (1 + torch.sqrt(1 + 4 * momentum**2)) / 2
        factor = torch.where(uphill, torch.zeros_like(momentum), (momentum - 1) / next_momentum)
        b_ahead, c_ahead = b_next + factor * (b_next - b), c_next + factor * (c_next - c)
        b, c, momentum = b_next, c_next, next_momentum
        last = iteration >= max_iterations
        if iteration % _CHECK_EVERY and not last:
            continue
        base = _linear(z, b, torch.zeros_like(c))
        gradient_b = _pull_back(z, w * (_probabilities(base + c) - y)) + lam * b
        near = (gradient_b**2).sum((0, 1)) / (2 * lam) <= (float("inf") if last else 2 * tolerance)
        if not bool(near.any()):
            continue
        # The bound needs the intercept at its optimum; only problems that are about to stop pay for that.
        polished = _polish_intercept(base[..., near], y[..., near], w[..., near], c[:, near])
        residual = w[..., near] * (_probabilities(base[..., near] + polished) - y[..., near])
        bound = ((_pull_back(z, residual) + lam[near] * b[..., near]) ** 2).sum((0, 1)) / (2 * lam[near])
        better = bound < gap[active[near]]
        kept = active[near][better]
        coef[..., kept], intercept[:, kept], gap[kept] = b[..., near][..., better], polished[:, better], bound[better]
        stopped = torch.zeros_like(near)
        stopped[near] = bound <= tolerance
        if not bool(stopped.any()):
            continue
        going = ~stopped
        active, b, c, momentum = active[going], b[..., going], c[:, going], momentum[going]
        b_ahead, c_ahead = b_ahead[..., going], c_ahead[:, going]
        y, w, lam, rate = y[..., going], w[..., going], lam[going], rate[going]
    return LogisticFit(coef, intercept, gap, iteration)


def _linear(z: Tensor, b: Tensor, c: Tensor) -> Tensor:
    d, k, p = b.shape
    return (z @ b.reshape(d, k * p)).reshape(len(z), k, p) + c


def _pull_back(z: Tensor, residual: Tensor) -> Tensor:
    n, k, p = residual.shape
    return (z.T @ residual.reshape(n, k * p)).reshape(z.shape[1], k, p)


def objective(z: Tensor, targets: Tensor, weights: Tensor, ridge: Tensor, fit: LogisticFit) -> Tensor:
    """Objective of each problem at a fit, in nats, shape ``(P,)``."""
    logits = fit.logits(z)
    if logits.shape[1] == 1:
        loss = torch.nn.functional.softplus(logits[:, 0]) - targets[:, 0] * logits[:, 0]
    else:
        loss = torch.logsumexp(logits, dim=1) - (targets * logits).sum(1)
    return (weights * loss).sum(0) + ridge / 2 * (fit.coef**2).sum((0, 1))
