"""Which inputs feed the sensitive direction, and which the output: integrated gradients (Sundararajan et al. 2017); of texts by Captum.

They are complete, so the difference of a scalar between two groups is split exactly over columns, or over tokens. The scalars are the
activations along the direction that LEACE reads, and the log-odds of the output. The baseline is the mean row; of texts, the same text
with every token but the special ones replaced by a token that says nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.causal.proxy_use import Attribution
from proxyaudit.models.base import (
    NoGradientError,
    TrainedModel,
    as_tensor,
    batch_rows,
    deterministic,
    inference,
    log_odds,
    pooled,
)
from proxyaudit.models.hooks import tapped
from proxyaudit.models.text import TextClassifier

STEPS, TOKEN_STEPS = 24, 20
_IN_STEPS = "the model moves in steps, so no gradient of an input tells what feeds it (as of trees)"
_PATH_ROWS = 8192  # rows along the paths that are run at once


Along = tuple[str, Floats] | int
"""What is attributed: a site's value (its mean over tokens) along a direction ``(d,)``, or the log-odds of an output against all others."""


def attribute_columns(model: TrainedModel, x_np: Singles, groups_n: Ints, sources: Sequence[Sequence[int]], along: Along) -> Attribution:
    """Split the difference of groups 0 and 1 over columns with inputs ``sources``; rows of neither group only add to the baseline.

    Raises ``NoGradientError``: the output has no gradient with respect to the inputs, as of trees.
    """
    scalar, rows = _scalar(model, along), np.flatnonzero(groups_n >= 0)
    inputs, baseline = as_tensor(x_np[rows]), as_tensor(x_np.mean(axis=0, keepdims=True, dtype=np.float64))
    nodes, weights = (as_tensor(values) / 2 for values in np.polynomial.legendre.leggauss(STEPS))
    parts = torch.empty_like(inputs)
    at_once = max(1, batch_rows(model.module, _PATH_ROWS) // STEPS)
    with inference(model.module):  # the fused attention of torch, which it leaves out, gives no gradient
        with deterministic(), torch.enable_grad():
            for start in range(0, len(inputs), at_once):
                part = slice(start, start + at_once)
                away = inputs[part] - baseline
                path = (baseline + (nodes + 0.5)[:, None, None] * away).reshape(-1, inputs.shape[1]).requires_grad_()
                slope = torch.autograd.grad(scalar(path).sum(), path, allow_unused=True)[0]
                if slope is None:
                    raise NoGradientError(_IN_STEPS)
                parts[part] = torch.einsum("s,srp->rp", weights, slope.reshape(STEPS, len(away), -1)) * away
        reached = (scalar(inputs) - scalar(baseline)).double().numpy()
    return contrast(parts.double().numpy(), reached, groups_n[rows], sources)


@dataclass(frozen=True)
class TextRows:
    """Texts to attribute to."""

    x_mp: Singles  # token tables ``(m, width)``, -1 after the last token
    groups_m: Ints  # 0 or 1
    tokens: Sequence[Sequence[int]]  # token numbers of each name
    special: Sequence[int]  # tokens that stand in the baseline as well


def attribute_tokens(model: TrainedModel, rows: TextRows, along: Along) -> Attribution | None:
    """The same over names of tokens; ``None`` where tokens are not embedded one by one."""
    from captum.attr import LayerIntegratedGradients  # takes matplotlib along: not at the start of every command

    module = model.module
    assert isinstance(module, TextClassifier)
    embedding = module.embedding()
    if embedding is None:
        return None
    scalar = _scalar(model, along)
    blank = module.blank_token()
    # Fractions mark the spans of a text, which are the same in the baseline.
    base_mp = np.where((rows.x_mp >= 0) & ~np.isin(np.floor(rows.x_mp), list(rows.special)), np.float32(blank) + rows.x_mp % 1, rows.x_mp)
    given = np.zeros((len(rows.x_mp), len(rows.tokens) + 1))
    reached = np.zeros(len(rows.x_mp))
    place_of = {token: place for place, tokens in enumerate(rows.tokens) for token in tokens}
    with inference(module), deterministic(), torch.enable_grad():
        method = LayerIntegratedGradients(scalar, embedding)
        for batch in module.batches(rows.x_mp, max(1, batch_rows(module, _PATH_ROWS) // TOKEN_STEPS)):
            x, base = as_tensor(rows.x_mp[batch]), as_tensor(base_mp[batch])
            parts = method.attribute(x, baselines=base, n_steps=TOKEN_STEPS)
            assert isinstance(parts, Tensor)
            added = parts.detach().double().sum(dim=2).numpy()
            with torch.no_grad():
                reached[batch] = (scalar(x) - scalar(base)).double().numpy()
            places = np.array([[place_of.get(int(token), -1) for token in row] for row in rows.x_mp[batch, : added.shape[1]]])
            for row, line in enumerate(batch):
                np.add.at(given[line], places[row], added[row])  # the last place is that of all other tokens
    return contrast(given, reached, rows.groups_m, [[place] for place in range(len(rows.tokens))])


def _scalar(model: TrainedModel, along: Along) -> Callable[[Tensor], Tensor]:
    if isinstance(along, int):
        return lambda x: log_odds(model.logits(model.module(x), len(x)), along, model.task)
    site, direction = along[0], as_tensor(along[1])
    seen: list[Tensor] = []

    def keep(_: str, value: Tensor) -> None:
        seen.append(pooled(model.module, value))

    def scalar(x: Tensor) -> Tensor:
        seen.clear()
        with tapped(model, keep, (site,)):
            model.module(x)
        return seen[0].to(direction.dtype) @ direction

    return scalar


def contrast(given_np: Floats, reached_n: Floats, groups_n: Ints, sources: Sequence[Sequence[int]]) -> Attribution:
    """Difference of the groups' mean attributions, in standard deviations of the scalar."""
    spread = max(float(reached_n.std()), 1e-12)
    high, low = groups_n == 1, groups_n == 0
    contrast = (given_np[high].mean(axis=0) - given_np[low].mean(axis=0)) / spread
    columns = np.array([float(contrast[list(inputs)].sum()) for inputs in sources])
    difference = float(reached_n[high].mean() - reached_n[low].mean()) / spread
    return Attribution(columns, difference, abs(float(contrast.sum()) - difference))
