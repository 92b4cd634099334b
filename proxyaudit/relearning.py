"""Relearning: a block is trained again on a few labelled rows, to see whether an attribute comes back.

A block of the model is trained again with a fresh linear head on m labelled rows (Deeb & Roger 2024, arXiv 2410.08827), and what it
then tells of the attribute is measured on rows that took no part. Rows to learn from lie in one part of the audit rows; a second
part chooses what is no weight (when to stop, the scale and the centre of the outputs); the third is measured; the parts rotate.
Choosing on a part of its own makes the relearner strong without making it lucky, and an attribute and its controls are treated alike.

Many problems (an attribute, its placebos and plants; several draws of rows) advance together: their parameters are stacked and the
block is mapped over them. The head starts as a ridge regression on the frozen block (a probe first, then fine-tuning: Kumar et al.
2022, arXiv 2202.10054), and steps are relative to each tensor's own scale (Shazeer & Stern 2018, arXiv 1804.04235), so that the
scale of weights and activations has no say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = (10, 20, 40)  # looked at after these; a head on the frozen block (no step) is looked at first
SHORT = (10, 20)
RELATIVE_STEP, HEAD_STEP = 0.05, 0.05
CALIBRATION_ROWS, SCORED_ROWS = 1000, 4000
_SCALES = (0.0, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9, 1.3)
_TINY = 1e-3  # of a tensor's scale: one that is all zero can still move
_MOST_FLOATS = 2**25


@dataclass(frozen=True)
class Rotation:
    """Which rows learn, which choose, and which are measured: three disjoint parts of the audit rows.

    Attributes:
        learn: Row numbers that problems draw their m rows from.
        choose: Row numbers that choose when to stop, the scale and the centre.
        score: Row numbers that are measured.
    """

    learn: Ints
    choose: Ints
    score: Ints


@dataclass(frozen=True)
class Problem:
    """One label column, to be learnt from some rows.

    Attributes:
        labels_n: Codes 0..K-1, or values of a continuous attribute; -1 or NaN where missing.
        rows: Row numbers to learn from, shape ``(m,)``.
        rotation: Number of the rotation.
    """

    labels_n: NDArray[np.generic]
    rows: Ints
    rotation: int


@dataclass(frozen=True)
class Relearnt:
    """What one problem came to.

    Attributes:
        leak: Class-balanced V-information as a fraction of log2 K, or R squared, on the measured rows.
        influence: Influence of each measured row on ``leak``, shape ``(len(rows),)``.
        rows: The measured rows.
        steps: When it stopped.
    """

    leak: float
    influence: Floats
    rows: Ints
    steps: int


def make_rotations(parts_n: Ints, known_n: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Rotation, ...]:
    """Rotate three parts over learning, choosing and measuring; the last two keep to a bounded number of rows."""
    rows = [rng.permutation(np.flatnonzero(known_n & (parts_n == part))) for part in range(3)]
    return tuple(
        Rotation(rows[part], rows[(part + 2) % 3][:CALIBRATION_ROWS], np.sort(rows[(part + 1) % 3][:SCORED_ROWS])) for part in range(3)
    )


def draw_rows(labels_n: NDArray[np.generic], rows: Ints, classes: int, rng: np.random.Generator) -> Ints:
    """Order rows so that every beginning holds as many of each class as there are; a continuous attribute's at random."""
    order = rng.permutation(rows)
    if classes == 0:
        return order
    codes = labels_n[order]
    place = np.empty(len(order), dtype=np.int64)
    for k in range(classes):
        inside = codes == k
        place[inside] = np.arange(int(inside.sum()))
    return np.asarray(order[np.argsort(place, kind="stable")])


class Relearner:
    """A block that is trained again, from the same weights, for many problems."""

    def __init__(self, module: nn.Module, values: Tensor, free: Sequence[str], steps: Sequence[int] = STEPS) -> None:
        """Keep the block and the scale of what it gives.

        Args:
            module: Maps rows of ``values`` to the penultimate value ``(m, d)``; in eval mode.
            values: Input of the block on all audit rows.
            free: Parameters that are trained; none for a head on the frozen block alone.
            steps: Numbers of steps after which to look.
        """
        self.module, self.values, self.steps = module, values, tuple(steps)
        parameters = {name: p.detach() for name, p in module.named_parameters()}
        self.fixed = {name: p for name, p in parameters.items() if name not in free}
        self.start = {name: parameters[name] for name in free}
        with torch.no_grad():
            made = torch.cat([module(values[i : i + 4096]) for i in range(0, len(values), 4096)])
        self.mean, spread = made.mean(0), made.std(0)
        self.scale = torch.where(spread > 1e-6 * spread.max().clamp_min(1e-12), spread, torch.ones_like(spread))
        self.width = made.shape[1]

    def cost(self, m: int) -> float:
        """Predicted operations of training one problem on m rows."""
        weights = sum(p.numel() for p in (*self.start.values(), *self.fixed.values()))
        tokens = self.values.shape[1] if self.values.ndim == 3 else 1
        return 6.0 * weights * tokens * m * (self.steps[-1] if self.start else 0)

    def solve(
        self, problems: Sequence[Problem], rotations: Sequence[Rotation], classes: int, *, probe: NDArray[np.generic] | None = None
    ) -> list[Relearnt]:
        """Train every problem and measure it.

        Args:
            problems: Problems with equally many rows.
            rotations: The rotations that the problems name.
            classes: Number of classes K; 0 for a continuous attribute.
            probe: Where given, the problems' own labels only train the block; a fresh head for these labels is then fitted on the
                same rows, and is what is measured. ``(n,)`` codes (two classes or more) or values.

        Returns:
            One result for each problem.
        """
        m = len(problems[0].rows)
        tokens = self.values[0].numel()
        size = max(1, _MOST_FLOATS // (4 * m * max(tokens, self.width)))
        found: list[Relearnt] = []
        for start in range(0, len(problems), size):
            found += _Batch(self, problems[start : start + size], rotations, classes, probe).run()
        return found

    def apply(self, stacked: dict[str, Tensor], x: Tensor, shared: bool) -> Tensor:
        """Standardised penultimate values ``(P, m, d)`` under each problem's parameters; ``x`` is ``(m, ...)`` if shared."""

        def one(parameters: dict[str, Tensor], value: Tensor) -> Tensor:
            out: Tensor = functional_call(self.module, {**self.fixed, **parameters}, (value,))
            return (out - self.mean) / self.scale

        if not stacked:
            made: Tensor = self.module(x if shared else x.reshape(-1, *x.shape[2:]))
            made = (made - self.mean) / self.scale
            return made[None] if shared else made.reshape(*x.shape[:2], -1)
        mapped: Callable[..., Tensor] = torch.vmap(one, in_dims=(0, None if shared else 0))
        return mapped(stacked, x)


class _Batch:
    """Problems that advance together."""

    def __init__(
        self,
        relearner: Relearner,
        problems: Sequence[Problem],
        rotations: Sequence[Rotation],
        classes: int,
        probe: NDArray[np.generic] | None,
    ) -> None:
        self.relearner, self.problems, self.rotations, self.classes, self.probe = relearner, problems, rotations, classes, probe
        rows = torch.as_tensor(np.stack([p.rows for p in problems]))
        self.x = relearner.values[rows]
        self.of = [torch.tensor([i for i, p in enumerate(problems) if p.rotation == r], dtype=torch.int64) for r in range(len(rotations))]
        labels = [p.labels_n for p in problems]
        self.measured = labels if probe is None else [probe] * len(problems)
        # The head that trains the block may be of another attribute than the one measured.
        self.trained = _targets(labels, problems, classes if probe is None else int(max(np.max(v) for v in labels)) + 1)
        self.read = self.trained if probe is None else _targets(self.measured, problems, classes)
        self.chosen = [
            _labels([self.measured[i][r.choose] for i in of.tolist()], classes) for r, of in zip(rotations, self.of, strict=True)
        ]

    def run(self) -> list[Relearnt]:
        with torch.no_grad():
            first = self.relearner.apply({}, self.x, False)
            head = _ridge_head(first, *self.trained)
            best = self._look({}, head if self.probe is None else _ridge_head(first, *self.read), 0, None)
        if self.relearner.start:
            best = self._train(head, best)
        return self._measure(best)

    def _train(self, head: tuple[Tensor, Tensor], best: _Best) -> _Best:
        count = len(self.problems)
        stacked = {name: p.expand(count, *p.shape).clone().requires_grad_() for name, p in self.relearner.start.items()}
        slopes, intercepts = (part.clone().requires_grad_() for part in head)
        groups = [{"params": [p], "lr": RELATIVE_STEP * _size(self.relearner.start[name])} for name, p in stacked.items()]
        groups.append({"params": [slopes, intercepts], "lr": HEAD_STEP})
        optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)
        rates = [group["lr"] for group in optimizer.param_groups]
        target, weights = self.trained
        last = self.relearner.steps[-1]
        for step in range(1, last + 1):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - 0.9 * (step - 1) / last)
            with torch.enable_grad():
                outputs = torch.baddbmm(intercepts[:, None], self.relearner.apply(stacked, self.x, False), slopes)
                loss = _training_loss(outputs, target, weights)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step in self.relearner.steps:
                with torch.no_grad():
                    now = {name: p.detach() for name, p in stacked.items()}
                    own = (slopes.detach(), intercepts.detach())
                    if self.probe is not None:
                        own = _ridge_head(self.relearner.apply(now, self.x, False), *self.read)
                    best = self._look(now, own, step, best)
        return best

    def _look(self, stacked: dict[str, Tensor], head: tuple[Tensor, Tensor], step: int, best: _Best | None) -> _Best:
        """Keep, for each problem, what does best on the rows that choose."""
        count = len(self.problems)
        losses, scales, centres = torch.zeros(count), torch.zeros(count), torch.zeros(count, head[0].shape[2])
        for rotation, of, (labels, weights) in zip(self.rotations, self.of, self.chosen, strict=True):
            if len(of):
                outputs = self._outputs(stacked, head, of, rotation.choose)
                losses[of], scales[of], centres[of] = _calibrate(outputs, labels, weights, self.classes)
        full = stacked or {name: p.expand(count, *p.shape) for name, p in self.relearner.start.items()}
        if best is None:
            kept = {name: p.clone() for name, p in full.items()}
            return _Best(kept, head[0].clone(), head[1].clone(), losses, scales, centres, torch.full((count,), step))
        better = losses < best.losses - 1e-6
        for name, p in full.items():
            best.stacked[name][better] = p[better]
        now = (head[0], head[1], losses, scales, centres)
        for mine, new in zip((best.slopes, best.intercepts, best.losses, best.scales, best.centres), now, strict=True):
            mine[better] = new[better]
        best.steps[better] = step
        return best

    def _outputs(self, stacked: dict[str, Tensor], head: tuple[Tensor, Tensor], of: Tensor, rows: Ints) -> Tensor:
        """Outputs ``(len(of), len(rows), K)`` of some problems on shared rows."""
        chosen = {name: p[of] for name, p in stacked.items()}
        made = self.relearner.apply(chosen, self.relearner.values[torch.as_tensor(rows)], True)
        return made @ head[0][of] + head[1][of][:, None]

    def _measure(self, best: _Best) -> list[Relearnt]:
        found: dict[int, Relearnt] = {}
        with torch.no_grad():
            for rotation, of in zip(self.rotations, self.of, strict=True):
                if not len(of):
                    continue
                outputs = self._outputs(best.stacked, (best.slopes, best.intercepts), of, rotation.score)
                scaled = (best.scales[of][:, None, None] * (outputs - best.centres[of][:, None])).double().numpy()
                for place, index in enumerate(of.tolist()):
                    leak, influence = _score(scaled[place], self.measured[index][rotation.score], self.classes)
                    found[index] = Relearnt(leak, influence, rotation.score, int(best.steps[index]))
        return [found[index] for index in range(len(self.problems))]


@dataclass
class _Best:
    stacked: dict[str, Tensor]
    slopes: Tensor
    intercepts: Tensor
    losses: Tensor
    scales: Tensor
    centres: Tensor
    steps: Tensor


def _size(p: Tensor) -> float:
    return max(float(p.double().square().mean().sqrt()), _TINY)


def _targets(labels: Sequence[NDArray[np.generic]], problems: Sequence[Problem], classes: int) -> tuple[Tensor, Tensor]:
    """Centred targets ``(P, m, K)`` (one-hot, or the standardised value) and class-balanced weights ``(P, m)`` that sum to one."""
    targets, weights = [], []
    for column, problem in zip(labels, problems, strict=True):
        own = np.asarray(column)[problem.rows]
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


def _ridge_head(made: Tensor, target: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
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


def _training_loss(outputs: Tensor, target: Tensor, weights: Tensor) -> Tensor:
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


def _labels(columns: Sequence[NDArray[np.generic]], classes: int) -> tuple[Tensor, Tensor]:
    """Labels ``(P, rows)`` and class-balanced weights that sum to one in each row."""
    if not len(columns):
        return torch.empty(0), torch.empty(0)
    if classes == 0:
        values = torch.as_tensor(np.stack(columns).astype(np.float64))
        return values, torch.full_like(values, 1 / values.shape[1])
    codes = [column.astype(np.int64) for column in columns]
    return torch.as_tensor(np.stack(codes)), torch.as_tensor(np.stack([_balanced(c, classes) for c in codes]), dtype=torch.float32)


def _calibrate(outputs: Tensor, labels: Tensor, weights: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Smallest loss of each problem ``(P,)``, and the scale ``(P,)`` and centre ``(P, K)`` that give it.

    Args:
        outputs: ``(P, rows, K)``.
        labels: Codes or values ``(P, rows)``.
        weights: ``(P, rows)``.
        classes: Number of classes, 0 for a continuous attribute.
    """
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
    losses = torch.stack([(weights * torch.logsumexp(scale * against, dim=0)).sum(1) for scale in _SCALES]) / float(np.log(classes))
    best = losses.min(dim=0)
    return best.values, torch.tensor(_SCALES)[best.indices], centre


def _score(outputs_nk: Floats, labels_n: NDArray[np.generic], classes: int) -> tuple[float, Floats]:
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
