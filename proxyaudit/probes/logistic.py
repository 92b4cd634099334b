"""The explaining engine: many regularised logistic regressions on the same rows at once.

Limited-memory BFGS (Nocedal 1980) with a memory of its own for every problem: two matrix products an iteration, whatever their number.
In whitened coordinates steps of length one nearly always satisfy the curvature condition (Wolfe 1969); one that does not is halved.
The objective is ``sum_i w_i loss_i + lambda/2 ||b||**2`` with an unpenalised intercept. With that at its optimum the residuals are dual
feasible and the duality gap is exactly ``||grad||**2 / (2 lambda)``, which is the stopping rule.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MEMORY = 5
_CURVATURE = 0.8  # the slope along a step may grow to this share of what it fell by at the start


@dataclass(frozen=True)
class LogisticFit:
    """Slopes ``(d, K, P)`` (K = 1 if binary), intercepts ``(K, P)``, duality gaps ``(P,)`` in nats, and iterations of the slowest."""

    coef: Tensor
    intercept: Tensor
    gap: Tensor
    iterations: int

    def logits(self, z: Tensor) -> Tensor:
        """Logits ``(n, K, P)`` on rows ``z`` of shape ``(n, d)``."""
        slopes: Tensor = torch.tensordot(z, self.coef, 1)
        return slopes + self.intercept


def one_hot(codes_n: NDArray[np.generic], classes: int) -> Tensor:
    """Targets in single precision: the second of two classes ``(n, 1)``, or each class ``(n, K)``."""
    hot = (codes_n == 1)[:, None] if classes == 2 else codes_n[:, None] == np.arange(classes)
    return torch.as_tensor(hot.astype(np.float32))


def log2_probabilities(logits: Tensor) -> Tensor:
    """Log probabilities in bits and double precision, shape ``(n, K, P)`` with K >= 2."""
    wide = logits.double()
    if wide.shape[1] == 1:
        wide = torch.cat([-wide / 2, wide / 2], dim=1)
    return torch.log_softmax(wide, dim=1) / math.log(2)


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
    z: Tensor, targets: Tensor, weights: Tensor, ridge: Tensor, *, tolerance: float = 5e-6, max_iterations: int = 2000
) -> LogisticFit:
    """Fit ``P`` weighted ridge-logistic regressions on the same whitened rows ``(n, d)``, each up to a duality gap (``tolerance``) in nats.

    Targets ``(n, K, P)`` are 0/1 with K = 1 for binary, one-hot for K > 2 classes; weights ``(n, P)`` are non-negative and sum to one in
    each column; ridges ``(P,)`` are positive (else ``ValueError``). Problems that reach ``max_iterations`` keep their gap to be judged.
    """
    if bool((ridge <= 0).any()):
        raise ValueError("every ridge must be positive: the stopping rule rests on it")
    batch, iterations = _Batch(z, targets, weights, ridge), 0
    while len(batch.active) and iterations < max_iterations:
        iterations += 1
        batch.advance()
        batch.settle(tolerance, last=iterations >= max_iterations)
        batch.turn()
    return LogisticFit(batch.coef, batch.intercept, batch.gap, iterations)


class _Batch:
    """Problems on the same rows: what is known of each, and where those that have not stopped stand."""

    def __init__(self, z: Tensor, targets: Tensor, weights: Tensor, ridge: Tensor) -> None:
        d, (k, p) = z.shape[1], targets.shape[1:]
        self.z, self.y, self.w, self.lam = z, targets, weights[:, None, :], ridge
        self.coef, self.intercept, self.gap = z.new_zeros(d, k, p), z.new_zeros(k, p), z.new_full((p,), float("inf"))
        self.active = torch.arange(p, device=z.device)
        # Slopes and, in the last row, the intercept; the logits but for it.
        self.x, self.base = z.new_zeros(d + 1, k, p), z.new_zeros(len(z), k, p)
        self.g = self._gradient(self.x, self.base)
        self.memory = _Memory(1 / ((0.25 if k == 1 else 0.5) + ridge))
        self.direction = self.memory.direction(self.g)
        self.slope, self.step = _dot(self.g, self.direction), z.new_ones(p)
        self.fits = torch.ones(p, dtype=torch.bool, device=z.device)

    def _gradient(self, x: Tensor, base: Tensor) -> Tensor:
        residual = self.w * (_probabilities(base + x[-1]) - self.y)
        return torch.cat([torch.tensordot(self.z.T, residual, 1) + self.lam * x[:-1], residual.sum(0)[None]])

    def advance(self) -> None:
        """Try the step of each problem; one that does not satisfy the curvature condition stays where it is."""
        trial = self.x + self.step * self.direction
        trial_base = torch.tensordot(self.z, trial[:-1], 1)
        trial_g = self._gradient(trial, trial_base)
        fits = _dot(trial_g, self.direction) <= _CURVATURE * self.slope.abs()
        self.memory.remember(torch.where(fits, trial - self.x, 0.0), torch.where(fits, trial_g - self.g, 0.0))
        self.x, self.g = torch.where(fits, trial, self.x), torch.where(fits, trial_g, self.g)
        self.base, self.fits = torch.where(fits, trial_base, self.base), fits

    def settle(self, tolerance: float, *, last: bool) -> None:
        """Keep the best of each problem that is nearly solved, and drop those that are; on the last turn keep all."""
        near = (self.g[:-1] ** 2).sum((0, 1)) / (2 * self.lam) <= (float("inf") if last else 2 * tolerance)
        if not bool(near.any()):
            return
        # The bound needs the intercept at its optimum; only problems that are about to stop pay for that.
        y, w, lam, x = self.y[..., near], self.w[..., near], self.lam[near], self.x[..., near]
        base = self.base[..., near]
        polished = _polish_intercept(base, y, w, x[-1])
        residual = w * (_probabilities(base + polished) - y)
        bound = ((torch.tensordot(self.z.T, residual, 1) + lam * x[:-1]) ** 2).sum((0, 1)) / (2 * lam)
        better = bound < self.gap[self.active[near]]
        kept = self.active[near][better]
        self.coef[..., kept], self.intercept[:, kept], self.gap[kept] = x[:-1][..., better], polished[:, better], bound[better]
        going = torch.ones_like(near)
        going[near] = bound > tolerance
        if not bool(going.all()):
            for name in ("active", "x", "g", "base", "y", "w", "lam", "fits", "direction", "slope", "step"):
                setattr(self, name, getattr(self, name)[..., going])
            self.memory.keep(going)

    def turn(self) -> None:
        """A fresh direction where the step was taken, half the step where it was not."""
        fresh = self.memory.direction(self.g)
        self.direction = torch.where(self.fits, fresh, self.direction)
        self.slope = torch.where(self.fits, _dot(self.g, fresh), self.slope)
        self.step = torch.where(self.fits, torch.ones_like(self.step), self.step / 2)


class _Memory:
    """The last steps of each problem and what they did to its gradient."""

    def __init__(self, scale: Tensor) -> None:
        self.start = self.scale = scale
        self.pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def remember(self, step: Tensor, change: Tensor) -> None:
        """Add a step; one along which the gradient did not grow is of no use and is left out."""
        product, square = _dot(step, change), _dot(change, change)
        useful = product > 1e-12 * square.clamp_min(1e-30)
        inverse = torch.where(useful, 1 / product.clamp_min(1e-38), 0.0)
        self.scale = torch.where(useful, product / square.clamp_min(1e-38), self.scale)
        self.pairs = [*self.pairs, (step, change, inverse)][-_MEMORY:]

    def direction(self, gradient: Tensor) -> Tensor:
        """Quasi-Newton direction of each problem (two-loop recursion); steepest descent where that would not descend."""
        q, shares = gradient, []
        for step, change, inverse in reversed(self.pairs):
            shares.append(inverse * _dot(step, q))
            q = q - shares[-1] * change
        q = q * self.scale
        for (step, change, inverse), share in zip(self.pairs, reversed(shares), strict=True):
            q = q + (share - inverse * _dot(change, q)) * step
        return torch.where(_dot(q, gradient) > 0, -q, -gradient * self.start)

    def keep(self, going: Tensor) -> None:
        """Forget the problems that have stopped."""
        self.start, self.scale = self.start[going], self.scale[going]
        self.pairs = [(step[..., going], change[..., going], inverse[going]) for step, change, inverse in self.pairs]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((0, 1))
