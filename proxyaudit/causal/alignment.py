"""Learned alignment: the gradient side of DAS (Geiger et al. 2023, "Finding alignments between interpretable causal variables").

A subspace is learned by gradient ascent on the interchange effect, in exactly whitened coordinates of a site.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from proxyaudit.adam import Adam
from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal.interchange import Donors
from proxyaudit.models.base import gradients, log_odds, predictions
from proxyaudit.types import Task

Logits = Callable[[Tensor, Tensor], Tensor]
"""Logits ``(m, C)`` of rows ``(m,)`` after adding shifts ``(m, d)`` to the site's activations."""

_BATCH = 256  # recipients a step; each meets 16 donors
_JUDGED = 1024  # recipients that starts are compared on
EXPLORE, _REFINE = 12, 30  # steps of every start, and of the best one after that
_RATE = 0.08
_GRADIENT_ROWS = 4096


@dataclass(frozen=True)
class Planted:
    """An additive readout planted into the tail: ``strength`` times the coordinate that ``read_d`` reads, on the log-odds."""

    read_d: Floats  # reads the coordinate from centred activations, shape ``(d,)``
    score_n: Floats  # the coordinate of each row
    strength: float  # log-odds for each unit of the coordinate


@dataclass(frozen=True)
class DifferentiableSite:
    """The followed output of a model as a function of one site's activations, with what is planted into what follows it."""

    logits: Logits
    output: int
    planted: Planted | None = None
    task: Task = "classes"

    def probability(self, shift: Tensor, rows: Tensor) -> Tensor:
        """The followed probability ``(m,)`` of rows after adding shifts ``(m, d)``, differentiable."""
        odds = log_odds(self.logits(shift, rows), self.output, self.task)
        if self.planted is not None:
            read, score = (torch.tensor(a, dtype=shift.dtype) for a in (self.planted.read_d, self.planted.score_n))
            odds = odds + self.planted.strength * (score[rows] + shift @ read)
        return predictions(odds[:, None], self.task)[:, 0]

    def gradients(self, rows: Ints, dimensions: int) -> Floats:
        """Gradient ``(m, d)`` of the followed probability by the activations of rows; ``NoGradientError`` where there is none."""
        parts = []
        for start in range(0, len(rows), _GRADIENT_ROWS):
            chosen = torch.from_numpy(np.asarray(rows[start : start + _GRADIENT_ROWS], dtype=np.int64))
            shift = torch.zeros(len(chosen), dimensions, requires_grad=True)
            parts.append(gradients(self.probability(shift, chosen).sum(), [shift], of_site=True)[0].numpy())
        return np.concatenate(parts).astype(np.float64)


class Search:
    """Gradient ascent on the effect of interchanges, over subspaces with a part in each block.

    ``write_kd`` writes whitened coordinates back into activations. ``blocks`` are orthonormal bases ``(k, m)`` of orthogonal spaces.
    """

    def __init__(
        self, site: DifferentiableSite, coordinates_nk: Floats, write_kd: Floats, blocks: Sequence[Floats], plan: Donors, rng: Generator
    ) -> None:
        """Keep what is searched on."""
        self._site, self._rng = site, rng
        self._z, self._write = (torch.tensor(a, dtype=torch.float32) for a in (coordinates_nk, write_kd))
        self.bases = [torch.tensor(np.ascontiguousarray(block), dtype=torch.float32) for block in blocks]
        self._index, self._sign = torch.from_numpy(plan.index), torch.tensor(plan.sign, dtype=torch.float32)
        self._recipients = torch.from_numpy(plan.recipients)
        self._judged = torch.from_numpy(rng.permutation(len(plan.recipients))[:_JUDGED])

    def learn(self, rank: int, starts: Sequence[Floats], explore: int = EXPLORE) -> Floats:
        """Learn the subspace whose interchange moves the followed output most: an orthonormal basis ``(k, r)`` in whitened coordinates.

        It has ``rank`` dimensions (or the whole block) in each block; ``starts``, ``(k, rank)`` each, are projected on the blocks. The
        objective is the squared mean of the oriented changes plus the mean product of the two donor halves', so that effects that cancel
        over rows count too. ``explore`` are the steps before starts are compared. Raises ``NoGradientError``: the output has no gradient.
        """
        whole = all(base.shape[1] <= rank for base in self.bases)
        best: tuple[float, list[Tensor]] | None = None
        for start in starts:
            begun = self._begin(start, rank)
            if whole:  # every block is taken whole: there is nothing to learn
                return np.asarray(torch.cat(self.bases, dim=1).numpy(), dtype=np.float64)
            found = self._ascend(begun, explore)
            reached = float(self._objective(self._basis(found), self._judged).detach())
            if best is None or reached > best[0]:
                best = reached, found
        if best is None:
            raise ValueError("there is no start")
        learned = self._basis(self._ascend(best[1], _REFINE)).detach().numpy()
        # Single precision leaves a basis that is orthonormal to 1e-6 only.
        return np.asarray(np.linalg.qr(learned.astype(np.float64))[0])

    def _begin(self, start_kr: Floats, rank: int) -> list[Tensor]:
        """Parameters of each block for a start."""
        begun = []
        for base in self.bases:
            seen = base.T @ torch.tensor(start_kr[:, : min(rank, base.shape[1])], dtype=torch.float32)
            # A start may have no part in a block at all; a little noise gives it somewhere to go.
            begun.append(seen + 0.02 * torch.tensor(self._rng.normal(size=tuple(seen.shape)), dtype=torch.float32))
        return begun

    def _basis(self, parameters: list[Tensor]) -> Tensor:
        """Orthonormal basis ``(k, r)`` of the subspace."""
        return torch.cat([base @ torch.linalg.qr(p)[0] for base, p in zip(self.bases, parameters, strict=True)], dim=1)

    def _ascend(self, parameters: list[Tensor], steps: int) -> list[Tensor]:
        """The parameters after some steps."""
        learned = [p.clone().requires_grad_(True) for p in parameters]
        optimiser = Adam([{"params": learned}], lr=_RATE, maximize=True)
        count = len(self._recipients)
        for _ in range(steps):
            chosen = torch.from_numpy(self._rng.integers(0, count, min(_BATCH, count)))
            slopes = gradients(self._objective(self._basis(learned), chosen), learned, of_site=True)
            for p, g in zip(learned, slopes, strict=True):
                p.grad = g
            optimiser.step()
        return [p.detach() for p in learned]

    def _objective(self, q: Tensor, chosen: Tensor) -> Tensor:
        rows, donors = self._recipients[chosen], self._index[chosen]
        change = (self._z[donors] - self._z[rows][:, None, None]) @ q
        shift = (change @ (q.T @ self._write)).reshape(-1, self._write.shape[1])
        slots = donors.shape[2]
        p = self._site.probability(shift, rows.repeat_interleave(2 * slots)).reshape(len(rows), 2, slots)
        tau = (p[..., : slots // 2].mean(2) - p[..., slots // 2 :].mean(2)) * self._sign[chosen][:, None]
        return tau.mean() ** 2 + (tau[:, 0] * tau[:, 1]).mean()
