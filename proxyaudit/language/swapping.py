"""Inside a causal model: the residual stream at the name and at the last token, its gradient, and swaps in it.

What is followed is a share of the next token: the probability of the followed tokens among the compared ones. A site is the output
of one layer; a swap adds a shift at two positions of every prompt, the last token of the name and the last token of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyaudit.arrays import Floats
from proxyaudit.language.causal_model import CausalModel
from proxyaudit.language.prompt_sets import Prompt
from proxyaudit.language.sampling import equal_lengths

__all__ = ["Followed", "Placed", "Reading", "place", "read", "swap"]


@dataclass(frozen=True)
class Placed:
    """A prompt's tokens and the two positions: the last token of the name, and the last of all."""

    ids: tuple[int, ...]
    positions: tuple[int, int]


@dataclass(frozen=True)
class Followed:
    """First tokens of the continuations that are followed, and of those they are compared with."""

    yes: tuple[int, ...]
    no: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """What one pass over the prompts gives.

    Attributes:
        share_n: The followed share of each prompt.
        acts: Layer -> residual stream ``(n, 2, d)`` at the two positions.
        gradients: Layer -> gradient of the share in it.
    """

    share_n: Floats
    acts: dict[int, Floats]
    gradients: dict[int, Floats]


def place(model: CausalModel, prompt: Prompt) -> Placed | None:
    """Tokens of a prompt and where its name ends; None where the tokenizer does not tell."""
    ids = model.prompt(prompt.text)
    spans = None
    if getattr(model.tokenizer, "is_fast", False):
        spans = model.tokenizer(prompt.text, return_offsets_mapping=True)["offset_mapping"][: len(ids)]
    if not spans:
        return None
    ends = [at for at, (start, end) in enumerate(spans) if start < prompt.end and end >= prompt.end and end > start]
    return Placed(tuple(ids), (ends[0], len(ids) - 1)) if ends else None


def read(model: CausalModel, prompts: Sequence[Placed], followed: Sequence[Followed], layers: Sequence[int]) -> Reading:
    """Shares, residual streams and gradients of every prompt, in one pass forward and one back."""
    share = np.empty(len(prompts))
    acts: dict[int, list[Floats]] = {layer: [np.empty(0)] * len(prompts) for layer in layers}
    gradients: dict[int, list[Floats]] = {layer: [np.empty(0)] * len(prompts) for layer in layers}
    for rows in equal_lengths([len(p.ids) for p in prompts]):
        held: dict[int, Tensor] = {}

        def keep(value: Tensor, layer: int, held: dict[int, Tensor] = held) -> Tensor:
            held[layer] = value if value.requires_grad else value.detach().requires_grad_(True)
            held[layer].retain_grad()
            return held[layer]

        # Beyond the first of the layers everything asks for gradients; the weights' own are not needed.
        changes = {layer: lambda value, at=layer: keep(value, at) for layer in layers}
        with _without_weights(model.model), _changed(model, changes), torch.enable_grad():  # type: ignore[arg-type]
            logits, _ = model.forward(torch.tensor([prompts[row].ids for row in rows]), keep=1)
            shares = _shares(logits[:, -1], [followed[row] for row in rows])
            shares.sum().backward()  # type: ignore[no-untyped-call]
        share[rows] = shares.detach().numpy()
        for layer, value in held.items():
            for at, row in enumerate(rows):
                where = list(prompts[row].positions)
                acts[layer][row] = value.detach()[at, where].double().numpy()
                gradient = value.grad
                assert gradient is not None
                gradients[layer][row] = gradient[at, where].double().numpy()
    stacked = ({layer: np.stack(values) for layer, values in found.items()} for found in (acts, gradients))
    return Reading(share, *stacked)


@torch.no_grad()
def swap(model: CausalModel, prompts: Sequence[Placed], followed: Sequence[Followed], layer: int, shifts_n2d: Floats) -> Floats:
    """Followed share of each prompt after adding shifts at its two positions of a layer, shape ``(n,)``."""
    share = np.empty(len(prompts))
    for rows in equal_lengths([len(p.ids) for p in prompts]):

        def shifted(value: Tensor, rows: list[int] = rows) -> Tensor:
            value = value.clone()
            for at, row in enumerate(rows):
                for place, shift in zip(prompts[row].positions, shifts_n2d[row], strict=True):
                    value[at, place] += torch.as_tensor(shift, dtype=value.dtype)
            return value

        with _changed(model, {layer: shifted}):
            logits, _ = model.forward(torch.tensor([prompts[row].ids for row in rows]), keep=1)
        share[rows] = _shares(logits[:, -1], [followed[row] for row in rows]).numpy()
    return share


def _shares(logits_nv: Tensor, followed: Sequence[Followed]) -> Tensor:
    wide = logits_nv.double()
    parts = []
    for row, pair in zip(wide, followed, strict=True):
        yes, no = (torch.logsumexp(row[torch.tensor(tokens)], dim=0) for tokens in (pair.yes, pair.no))
        parts.append(torch.sigmoid(yes - no))
    return torch.stack(parts)


@contextmanager
def _without_weights(module: nn.Module) -> Iterator[None]:
    """No gradients of weights meanwhile: only those of activations are asked for."""
    before = [(p, p.requires_grad) for p in module.parameters()]
    for p, _ in before:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p, wanted in before:
            p.requires_grad_(wanted)


@contextmanager
def _changed(model: CausalModel, changes: dict[int, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Replace the outputs of layers while the block runs."""

    def hook(change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def replaced(_: nn.Module, __: Any, out: Any) -> Any:
            return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

        return replaced

    with ExitStack() as stack:
        for layer, change in changes.items():
            stack.enter_context(model.blocks[layer].register_forward_hook(hook(change)))
        yield
