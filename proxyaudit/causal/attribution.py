"""Which inputs feed the sensitive direction, and which the output: integrated gradients over a column's encoded inputs.

Integrated gradients (Sundararajan et al. 2017) are complete: the attributions of a row sum to the scalar's value less that of the
baseline, the mean row. So the difference of a scalar between two groups is split exactly over the columns. The scalars are the logit of
the linear probe (the site's activations along the direction that LEACE reads, scaled to the difference between the groups) and the
log-odds of the output. Captum's implementation is used; this is the one room that imports it, and torch with it, since a gradient
is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxyaudit.models.base import TrainedModel, as_tensor, batch_rows, deterministic, to_logits
from proxyaudit.models.hooks import tapped

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = 24
_PATH_ROWS = 8192  # rows along the paths that are run at once


@dataclass(frozen=True)
class Attribution:
    """How a scalar's difference between two groups is split over columns.

    Attributes:
        columns: Part of each column, in the order given; shape ``(columns,)``.
        difference: The difference itself, in standard deviations of the scalar.
        incomplete: Error of completeness of that difference, in standard deviations.
    """

    columns: Floats
    difference: float
    incomplete: float


def attribute_direction(
    model: TrainedModel, x_np: NDArray[np.float32], site: str, direction_d: Floats, groups_n: Ints, sources: Sequence[Sequence[int]]
) -> Attribution:
    """Split the groups' difference along a direction of a site over the columns.

    Args:
        model: The model.
        x_np: Encoded rows ``(n, p)``.
        site: The site; a site of tokens is read at its mean over tokens.
        direction_d: The direction.
        groups_n: 0 or 1; other rows only add to the baseline.
        sources: Encoded inputs of each column.
    """
    along = as_tensor(direction_d)
    seen: list[Tensor] = []

    def keep(_: str, value: Tensor) -> None:
        seen.append(value.mean(dim=1) if value.ndim == 3 else value)

    def scalar(x: Tensor) -> Tensor:
        seen.clear()
        with tapped(model, keep, (site,)):
            model.module(x)
        return seen[0].to(along.dtype) @ along

    return _attribute(model, scalar, x_np, groups_n, sources)


def attribute_output(
    model: TrainedModel, x_np: NDArray[np.float32], output: int, groups_n: Ints, sources: Sequence[Sequence[int]]
) -> Attribution:
    """Split the groups' difference in the log-odds of one output (against all others) over the columns."""

    def scalar(x: Tensor) -> Tensor:
        logits = to_logits(model.module(x), model.n_classes, len(x))
        if logits.shape[1] == 1:
            return logits[:, 0]
        others = [column for column in range(logits.shape[1]) if column != output]
        return logits[:, output] - torch.logsumexp(logits[:, others], dim=1)

    return _attribute(model, scalar, x_np, groups_n, sources)


def _attribute(
    model: TrainedModel, scalar: Callable[[Tensor], Tensor], x_np: NDArray[np.float32], groups_n: Ints, sources: Sequence[Sequence[int]]
) -> Attribution:
    from captum.attr import IntegratedGradients  # takes matplotlib along: not at the start of every command

    rows = np.flatnonzero(groups_n >= 0)
    inputs, baseline = as_tensor(x_np[rows]), as_tensor(x_np.mean(axis=0, keepdims=True, dtype=np.float64))
    fused = torch.backends.mha.get_fastpath_enabled()
    model.module.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with deterministic(), torch.enable_grad():
            parts = IntegratedGradients(scalar, multiply_by_inputs=True).attribute(
                inputs, baselines=baseline, n_steps=STEPS, internal_batch_size=max(1, batch_rows(model.module, _PATH_ROWS))
            )
        with torch.no_grad():
            reached = (scalar(inputs) - scalar(baseline)).double().numpy()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    given = parts.detach().double().numpy()
    spread = max(float(reached.std()), 1e-12)
    high, low = groups_n[rows] == 1, groups_n[rows] == 0
    contrast = (given[high].mean(axis=0) - given[low].mean(axis=0)) / spread
    columns = np.array([float(contrast[list(inputs)].sum()) for inputs in sources])
    difference = float(reached[high].mean() - reached[low].mean()) / spread
    return Attribution(columns, difference, abs(float(contrast.sum()) - difference))
