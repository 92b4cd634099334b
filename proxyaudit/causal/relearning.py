"""Relearning (Deeb & Roger 2024, arXiv 2410.08827): a block is trained again on a few labelled rows; does an attribute come back?

Three parts of the audit rows rotate: one to learn from, one that chooses what is no weight (when to stop, scale and centre), one to
measure. Many problems (an attribute, its placebos and plants; several draws of rows) advance together: their parameters are stacked and
the block is mapped over them. The head starts as a ridge regression on the frozen block (Kumar et al. 2022, arXiv 2202.10054), and steps
are relative to each tensor's scale (Shazeer & Stern 2018, arXiv 1804.04235).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor, nn
from torch.func import functional_call

from proxyaudit.adam import Adam
from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.probes.folds import balanced, balanced_mean, share_of

Codes = NDArray[Any]
STEPS = (10, 20, 40)  # looked at after these; a head on the frozen block (no step) is looked at first
SHORT = (10, 20)
SCALES = (0.0, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9, 1.3)  # of the outputs, tried on the rows that choose
RELATIVE_STEP, HEAD_STEP = 0.05, 0.05
CALIBRATION_ROWS, SCORED_ROWS = 1000, 4000
_TINY = 1e-3  # of a tensor's scale: one that is all zero can still move
_MOST_FLOATS, _SHARED_FLOATS = 2**25, 2**22  # of the block's input that are held at once: of learning problems, and times problems


class UntrainableError(ValueError):
    """A user's block fails when its parameters are replaced."""


@dataclass(frozen=True)
class Rotation:
    """Which rows learn, which choose, and which are measured: three disjoint parts of the audit rows."""

    learn: Ints  # row numbers that problems draw their m rows from
    choose: Ints  # row numbers that choose when to stop, the scale and the centre
    score: Ints  # row numbers that are measured


@dataclass(frozen=True)
class Problem:
    """One label column, to be learnt from some rows."""

    labels_n: Codes  # codes 0..K-1, or values of a continuous attribute; -1 or NaN where missing
    rows: Ints  # row numbers to learn from, shape ``(m,)``
    rotation: int  # number of the rotation


@dataclass(frozen=True)
class Relearnt:
    """What one problem came to."""

    leak: float  # class-balanced V-information as a fraction of log2 K, or R squared, on the measured rows
    influence: Floats  # influence of each measured row on ``leak``, shape ``(len(rows),)``
    rows: Ints  # the measured rows


def make_rotations(parts_n: Ints, known_n: Bools, rng: np.random.Generator) -> tuple[Rotation, ...]:
    """Rotate three parts over learning, choosing and measuring; the last two keep to a bounded number of rows."""
    rows = [rng.permutation(np.flatnonzero(known_n & (parts_n == part))) for part in range(3)]
    return tuple(
        Rotation(rows[part], rows[(part + 2) % 3][:CALIBRATION_ROWS], np.sort(rows[(part + 1) % 3][:SCORED_ROWS])) for part in range(3)
    )


def draw_rows(labels_n: Codes, rows: Ints, classes: int, rng: np.random.Generator) -> Ints:
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

        ``module``, in eval mode, maps rows of ``values`` (its input on all audit rows) to the penultimate value ``(m, d)``. The
        parameters ``free`` are trained, none for a head on the frozen block alone; ``steps`` says after how many steps to look.
        """
        self.module, self.values, self.steps, self.mapped = module, values, tuple(steps), True
        parameters = {name: p.detach() for name, p in module.named_parameters()}
        self.fixed = {name: p for name, p in parameters.items() if name not in free}
        self.start = {name: parameters[name] for name in free}
        with torch.no_grad():
            made = torch.cat([module(values[i : i + 4096]) for i in range(0, len(values), 4096)]).float()
        self.mean, spread = made.mean(0), made.std(0)
        self.scale = torch.where(spread > 1e-6 * spread.max().clamp_min(1e-12), spread, torch.ones_like(spread))
        self.width = made.shape[1]

    def cost(self, m: int) -> float:
        """Predicted operations of training one problem on m rows."""
        weights = sum(p.numel() for p in (*self.start.values(), *self.fixed.values()))
        tokens = self.values.shape[1] if self.values.ndim == 3 else 1
        work = float(getattr(self.module, "row_work", weights * tokens))
        return 6.0 * work * m * (self.steps[-1] if self.start else 0)

    def solve(
        self, problems: Sequence[Problem], rotations: Sequence[Rotation], classes: int, *, probe: Codes | None = None
    ) -> list[Relearnt]:
        """Train every problem and measure it.

        All problems have equally many rows; ``classes`` is 0 for a continuous attribute. Where ``probe`` is given, ``(n,)`` codes (two
        classes or more) or values, the problems' own labels only train the block: a fresh head for these labels is then fitted on the
        same rows, and is what is measured.
        """
        size = max(1, _MOST_FLOATS // (4 * len(problems[0].rows) * max(self.values[0].numel(), self.width)))
        found: list[Relearnt] = []
        for start in range(0, len(problems), size):
            found += _Batch(self, problems[start : start + size], rotations, classes, probe).run()
        return found

    def apply(self, stacked: dict[str, Tensor], x: Tensor, shared: bool) -> Tensor:
        """Standardised penultimate values ``(P, m, d)`` under each problem's parameters; ``x`` is ``(m, ...)`` if shared."""

        def one(parameters: dict[str, Tensor], value: Tensor) -> Tensor:
            out: Tensor = functional_call(self.module, {**self.fixed, **parameters}, (value,))
            return (out.float() - self.mean) / self.scale

        if not stacked:
            made = one({}, x if shared else x.reshape(-1, *x.shape[2:]))
            return made[None] if shared else made.reshape(*x.shape[:2], -1)
        if self.mapped:
            try:
                mapped: Callable[..., Tensor] = torch.vmap(one, in_dims=(0, None if shared else 0))
                return mapped(stacked, x)
            except Exception:
                # A user's forward may branch on values, which cannot be mapped: one problem after the other, then.
                self.mapped = False
        count = len(next(iter(stacked.values())))
        try:
            return torch.stack([one({name: p[i] for name, p in stacked.items()}, x if shared else x[i]) for i in range(count)])
        except Exception as error:
            raise UntrainableError(f"the last block cannot be trained apart from its model ({type(error).__name__})") from error


_Best = tuple[dict[str, Tensor], tuple[Tensor, ...]]
"""Parameters; slopes and intercepts of the head, and the losses, scales and centres on the rows that choose."""


class _Batch:
    """Problems that advance together."""

    def __init__(
        self, relearner: Relearner, problems: Sequence[Problem], rotations: Sequence[Rotation], classes: int, probe: Codes | None
    ) -> None:
        self.relearner, self.problems, self.rotations, self.classes, self.probe = relearner, problems, rotations, classes, probe
        rows = torch.as_tensor(np.stack([p.rows for p in problems]))
        self.x = relearner.values[rows]
        self.of = [torch.tensor([i for i, p in enumerate(problems) if p.rotation == r], dtype=torch.int64) for r in range(len(rotations))]
        labels, drawn = [p.labels_n for p in problems], [p.rows for p in problems]
        self.measured = labels if probe is None else [probe] * len(problems)
        # The head that trains the block may be of another attribute than the one measured.
        self.trained = stack_targets(labels, drawn, classes if probe is None else int(max(np.max(v) for v in labels)) + 1)
        self.read = self.trained if probe is None else stack_targets(self.measured, drawn, classes)
        self.chosen = [
            stack_labels([self.measured[i][r.choose] for i in of.tolist()], classes) for r, of in zip(rotations, self.of, strict=True)
        ]

    def run(self) -> list[Relearnt]:
        with torch.no_grad():
            first = self.relearner.apply({}, self.x, False)
            head = ridge_head(first, *self.trained)
            best = self._look({}, head if self.probe is None else ridge_head(first, *self.read), None)
        if self.relearner.start:
            best = self._train(head, best)
        return self._measure(best)

    def _train(self, head: tuple[Tensor, Tensor], best: _Best) -> _Best:
        count = len(self.problems)
        stacked = {name: p.expand(count, *p.shape).clone().requires_grad_() for name, p in self.relearner.start.items()}
        slopes, intercepts = (part.clone().requires_grad_() for part in head)
        sizes = {name: max(float(p.double().square().mean().sqrt()), _TINY) for name, p in self.relearner.start.items()}
        groups = [{"params": [p], "lr": RELATIVE_STEP * sizes[name]} for name, p in stacked.items()]
        groups.append({"params": [slopes, intercepts], "lr": HEAD_STEP})
        optimizer = Adam(groups, betas=(0.9, 0.99))
        rates = [group["lr"] for group in optimizer.param_groups]
        target, weights = self.trained
        last = self.relearner.steps[-1]
        for step in range(1, last + 1):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - 0.9 * (step - 1) / last)
            with torch.enable_grad():
                outputs = torch.baddbmm(intercepts[:, None], self.relearner.apply(stacked, self.x, False), slopes)
                loss = training_loss(outputs, target, weights)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step in self.relearner.steps:
                with torch.no_grad():
                    now = {name: p.detach() for name, p in stacked.items()}
                    own = (slopes.detach(), intercepts.detach())
                    if self.probe is not None:
                        own = ridge_head(self.relearner.apply(now, self.x, False), *self.read)
                    best = self._look(now, own, best)
        return best

    def _look(self, stacked: dict[str, Tensor], head: tuple[Tensor, Tensor], best: _Best | None) -> _Best:
        """Keep, for each problem, what does best on the rows that choose."""
        count = len(self.problems)
        losses, scales, centres = torch.zeros(count), torch.zeros(count), torch.zeros(count, head[0].shape[2])
        for rotation, of, (labels, weights) in zip(self.rotations, self.of, self.chosen, strict=True):
            if len(of):
                outputs = self._outputs(stacked, head, of, rotation.choose)
                losses[of], scales[of], centres[of] = calibrate(outputs, labels, weights, self.classes)
        full = stacked or {name: p.expand(count, *p.shape) for name, p in self.relearner.start.items()}
        parts = (*head, losses, scales, centres)
        if best is None:
            return {name: p.clone() for name, p in full.items()}, tuple(part.clone() for part in parts)
        better = losses < best[1][2] - 1e-6
        for mine, new in (*((best[0][name], p) for name, p in full.items()), *zip(best[1], parts, strict=True)):
            mine[better] = new[better]
        return best

    def _outputs(self, stacked: dict[str, Tensor], head: tuple[Tensor, Tensor], of: Tensor, rows: Ints) -> Tensor:
        """Outputs ``(len(of), len(rows), K)`` of some problems on shared rows."""
        chosen = {name: p[of] for name, p in stacked.items()}
        values, parts = self.relearner.values, []
        size = max(64, _SHARED_FLOATS // (max(values[0].numel(), self.relearner.width) * len(of)))
        for start in range(0, len(rows), size):
            made = self.relearner.apply(chosen, values[torch.as_tensor(rows[start : start + size])], True)
            parts.append(made @ head[0][of] + head[1][of][:, None])
        return torch.cat(parts, dim=1)

    def _measure(self, best: _Best) -> list[Relearnt]:
        found: dict[int, Relearnt] = {}
        stacked, (slopes, intercepts, _, scales, centres) = best
        with torch.no_grad():
            for rotation, of in zip(self.rotations, self.of, strict=True):
                if not len(of):
                    continue
                outputs = self._outputs(stacked, (slopes, intercepts), of, rotation.score)
                scaled = (scales[of][:, None, None] * (outputs - centres[of][:, None])).double().numpy()
                for place, index in enumerate(of.tolist()):
                    leak, influence = score_outputs(scaled[place], self.measured[index][rotation.score], self.classes)
                    found[index] = Relearnt(leak, influence, rotation.score)
        return [found[index] for index in range(len(self.problems))]


def stack_targets(labels: Sequence[NDArray[np.generic]], rows: Sequence[Ints], classes: int) -> tuple[Tensor, Tensor]:
    """Centred targets ``(P, m, K)`` (one-hot, or the standardised value) and class-balanced weights ``(P, m)`` that sum to one."""
    targets, weights = [], []
    for column, own_rows in zip(labels, rows, strict=True):
        own = np.asarray(column)[own_rows]
        weights.append(balanced(own, classes))
        if classes == 0:
            values = own.astype(np.float64)
            targets.append(((values - values.mean()) / max(float(values.std()), 1e-12))[:, None])
        else:
            targets.append((own.astype(np.int64)[:, None] == np.arange(classes)).astype(np.float64))
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


def stack_labels(columns: Sequence[NDArray[np.generic]], classes: int) -> tuple[Tensor, Tensor]:
    """Labels ``(P, rows)`` and class-balanced weights that sum to one in each row."""
    if not len(columns):
        return torch.empty(0), torch.empty(0)
    if classes == 0:
        values = torch.as_tensor(np.stack(columns).astype(np.float64))
        return values, torch.full_like(values, 1 / values.shape[1])
    codes = [column.astype(np.int64) for column in columns]
    return torch.as_tensor(np.stack(codes)), torch.as_tensor(np.stack([balanced(c, classes) for c in codes]), dtype=torch.float32)


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
        missed, influence = share_of((values - made) ** 2, spread)
    else:
        codes = labels_n.astype(np.int64)
        surprisal = -log_softmax(outputs_nk, axis=1)[np.arange(len(codes)), codes] / np.log(classes)
        missed, influence = balanced_mean(surprisal, codes, classes)
    return 1 - missed, -influence
