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
from proxyaudit.language.causal_model import CausalModel, equal_lengths
from proxyaudit.language.prompt_sets import Prompt


@dataclass(frozen=True)
class Placed:
    """A prompt's tokens, the last token of the name and the last of all, and the first tokens of what is followed and compared with."""

    ids: tuple[int, ...]
    positions: tuple[int, int]
    yes: tuple[int, ...]
    no: tuple[int, ...]


def place(model: CausalModel, prompt: Prompt, yes: tuple[int, ...], no: tuple[int, ...]) -> Placed | None:
    """Tokens of a prompt and where its name ends; None where the tokenizer does not tell."""
    ids = model.prompt(prompt.text)
    if not getattr(model.tokenizer, "is_fast", False):
        return None
    spans = model.tokenizer(prompt.text, return_offsets_mapping=True)["offset_mapping"][: len(ids)]
    ends = [at for at, (start, end) in enumerate(spans) if start < prompt.end and end >= prompt.end and end > start]
    return Placed(tuple(ids), (ends[0], len(ids) - 1), yes, no) if ends else None


def read(model: CausalModel, prompts: Sequence[Placed], layers: Sequence[int]) -> tuple[dict[int, Floats], dict[int, Floats]]:
    """Residual stream ``(n, 2, d)`` at the two positions of every prompt, by layer, and the gradient of the followed share in it."""
    acts: dict[int, list[Floats]] = {layer: [np.empty(0)] * len(prompts) for layer in layers}
    gradients: dict[int, list[Floats]] = {layer: [np.empty(0)] * len(prompts) for layer in layers}
    for rows in equal_lengths([len(p.ids) for p in prompts]):
        held: dict[int, Tensor] = {}

        def keep(value: Tensor, layer: int, held: dict[int, Tensor] = held) -> Tensor:
            held[layer] = value if value.requires_grad else value.detach().requires_grad_(True)
            return held[layer]

        changes = {layer: lambda value, at=layer: keep(value, at) for layer in layers}
        with _without_weights(model.model), _changed(model, changes), torch.enable_grad():  # type: ignore[arg-type]
            share = _shares(model, [prompts[row] for row in rows]).sum()
        for (layer, value), gradient in zip(held.items(), torch.autograd.grad(share, list(held.values())), strict=True):
            for at, row in enumerate(rows):
                where = list(prompts[row].positions)
                acts[layer][row] = value.detach()[at, where].double().numpy()
                gradients[layer][row] = gradient[at, where].double().numpy()
    return {layer: np.stack(found) for layer, found in acts.items()}, {layer: np.stack(found) for layer, found in gradients.items()}


@torch.no_grad()
def swap(model: CausalModel, prompts: Sequence[Placed], layer: int, shifts_n2d: Floats) -> Floats:
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
            share[rows] = _shares(model, [prompts[row] for row in rows]).numpy()
    return share


def _shares(model: CausalModel, prompts: Sequence[Placed]) -> Tensor:
    """Followed share of the next token after prompts of one length."""
    logits, _ = model.forward(torch.tensor([prompt.ids for prompt in prompts]), keep=1)
    parts = []
    for row, prompt in zip(logits[:, -1].double(), prompts, strict=True):
        yes, no = (torch.logsumexp(row[torch.tensor(tokens)], dim=0) for tokens in (prompt.yes, prompt.no))
        parts.append(torch.sigmoid(yes - no))
    return torch.stack(parts)


@contextmanager
def _without_weights(module: nn.Module) -> Iterator[None]:
    """No gradients of weights meanwhile: they are not asked for, and products that can give them round otherwise."""
    asking = [p for p in module.parameters() if p.requires_grad]
    module.requires_grad_(False)
    try:
        yield
    finally:
        for p in asking:
            p.requires_grad_(True)


@contextmanager
def _changed(model: CausalModel, changes: dict[int, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Replace the outputs of layers while the block runs."""
    with ExitStack() as stack:
        for layer, change in changes.items():

            def replaced(_: nn.Module, __: Any, out: Any, change: Callable[[Tensor], Tensor] = change) -> Any:
                return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

            stack.enter_context(model.blocks[layer].register_forward_hook(replaced))
        yield
