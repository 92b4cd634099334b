"""Parts of a transformer by the names that architectures give them, and exchanging them between prompts of a causal model.

A part is told and set at two positions of a prompt, the last token of the name and the last of all, as swaps of the stream are.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from proxyaudit.arrays import Floats
from proxyaudit.language.causal_model import CausalModel, Placed, equal_lengths, shares, without_weights

# The projections that end attention and feed-forward part.
_ATTENTION = re.compile(
    r"(?:^|\.)(?:attention\.output\.dense|attn\.c_proj|self_attn\.(?:o_proj|out_proj|dense)|SelfAttention\.o|attention\.out_lin"
    r"|attention\.dense|self_attention\.dense|attn\.attention\.out_proj|attn\.Wo|attention\.attn\.o)$"
)
_MLP = re.compile(
    r"(?:^output\.dense|mlp\.(?:c_proj|down_proj|dense_4h_to_h|Wo|fc2)|(?:^|\.)fc2|ffn\.lin2|(?:DenseReluDense|DenseGatedActDense)\.wo)$"
)
Kind = Literal["residual", "attention", "head", "mlp"]


def projections(layer: nn.Module) -> tuple[str | None, str | None, int]:
    """Names of the projections that end a layer's attention and MLP, ``None`` where none is known, and what the first one takes."""
    inside = [part for part, _ in layer.named_modules() if part]
    attention = next((part for part in inside if _ATTENTION.search(part)), None)
    mlp = next((part for part in inside if _MLP.search(part)), None)
    width = 0
    if attention is not None:
        weight = layer.get_submodule(attention).weight
        assert isinstance(weight, Tensor)
        # GPT-2's Conv1D holds (inputs, outputs), nn.Linear (outputs, inputs).
        width = int(weight.shape[1] if isinstance(layer.get_submodule(attention), nn.Linear) else weight.shape[0])
    return attention, mlp, width


@dataclass(frozen=True)
class CausalPart:
    """A part of one layer; heads are some of the units that the attention's projection takes."""

    layer: int
    kind: Kind
    units: tuple[int, int] | None = None  # from, to

    @property
    def side(self) -> str:
        """What it is read from: its module's ``input`` or ``output``."""
        return "input" if self.kind == "head" else "output"


def find_parts(model: CausalModel) -> tuple[CausalPart, ...]:
    """Every layer's output, attention, heads and MLP, as far as their names are known."""
    told = getattr(model.config, "num_attention_heads", None)
    found: list[CausalPart] = []
    for number, block in enumerate(model.blocks):
        attention, mlp, width = projections(block)
        if attention is not None:
            heads = told if isinstance(told, int) and told > 1 and width % told == 0 else 0
            size = width // heads if heads else 0
            found += [CausalPart(number, "head", (at * size, (at + 1) * size)) for at in range(heads)]
            found.append(CausalPart(number, "attention"))
        if mlp is not None:
            found.append(CausalPart(number, "mlp"))
        found.append(CausalPart(number, "residual"))
    return tuple(found)


def read_parts(model: CausalModel, prompts: Sequence[Placed], parts: Sequence[CausalPart]) -> list[tuple[Floats, Floats]]:
    """Value ``(n, 2, units)`` of each part at the two positions, and the gradient of the followed share in it."""
    values: list[list[Floats]] = [[np.empty(0)] * len(prompts) for _ in parts]
    gradients: list[list[Floats]] = [[np.empty(0)] * len(prompts) for _ in parts]
    for rows in equal_lengths([len(p.ids) for p in prompts]):
        held: dict[int, tuple[Tensor, Tensor]] = {}

        def keep(at: int, value: Tensor, held: dict[int, tuple[Tensor, Tensor]] = held) -> Tensor:
            shift = torch.zeros_like(value, requires_grad=True)
            held[at] = value, shift
            return value + shift

        with without_weights(model.model), _hooked(model, parts, keep), torch.enable_grad():
            share = shares(model, [prompts[row] for row in rows]).sum()
        order = sorted(held)
        found = torch.autograd.grad(share, [held[at][1] for at in order])
        for at, gradient in zip(order, found, strict=True):
            for place, row in enumerate(rows):
                where = list(prompts[row].positions)
                values[at][row] = held[at][0].detach()[place, where].double().numpy()
                gradients[at][row] = gradient[place, where].double().numpy()
    return [(np.stack(one), np.stack(other)) for one, other in zip(values, gradients, strict=True)]


@torch.no_grad()
def exchange(model: CausalModel, prompts: Sequence[Placed], part: CausalPart, values_n2d: Floats) -> Floats:
    """Followed share of each prompt ``(n,)`` when a part is set at its two positions."""
    share = np.empty(len(prompts))
    for rows in equal_lengths([len(p.ids) for p in prompts]):

        def put(_: int, value: Tensor, rows: list[int] = rows) -> Tensor:
            value = value.clone()
            for at, row in enumerate(rows):
                for place, wanted in zip(prompts[row].positions, values_n2d[row], strict=True):
                    value[at, place] = torch.as_tensor(wanted, dtype=value.dtype)
            return value

        with _hooked(model, [part], put):
            share[rows] = shares(model, [prompts[row] for row in rows]).numpy()
    return share


@contextmanager
def _hooked(model: CausalModel, parts: Sequence[CausalPart], handle: Callable[[int, Tensor], Tensor]) -> Iterator[None]:
    """Let ``handle`` replace the value of each part, told by its number, while the block runs."""
    with ExitStack() as stack:
        for at, part in enumerate(parts):
            block = model.blocks[part.layer]
            attention, mlp, _ = projections(block)
            name = {"residual": "", "mlp": mlp}.get(part.kind, attention)
            module = block.get_submodule(name or "")
            if part.side == "input":
                stack.enter_context(module.register_forward_pre_hook(_before(at, part, handle)))
            else:
                stack.enter_context(module.register_forward_hook(_after(at, handle)))
        yield


def _before(at: int, part: CausalPart, handle: Callable[[int, Tensor], Tensor]) -> Callable[..., Any]:
    assert part.units is not None
    start, stop = part.units

    def hook(_: nn.Module, args: tuple[Any, ...]) -> Any:
        value = args[0]
        return (torch.cat([value[..., :start], handle(at, value[..., start:stop]), value[..., stop:]], dim=-1), *args[1:])

    return hook


def _after(at: int, handle: Callable[[int, Tensor], Tensor]) -> Callable[..., Any]:
    def hook(_: nn.Module, __: Any, out: Any) -> Any:
        return (handle(at, out[0]), *out[1:]) if isinstance(out, tuple) else handle(at, out)

    return hook
