"""Quantised variants of a model: dynamic int8 as CPUs run it, and bfloat16 (up to the head, whose input and weights stay float32).

``int8``: every linear layer holds its weights as 8-bit integers (one scale for each output) and turns its input into 8-bit integers. One
scale a token and not one a batch, so that a text's output is a function of the text alone. Written here since torch's own dynamic
quantisation keeps packed weights that no gradient passes and no safetensors file holds; here gradients pass straight through.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from proxyaudit.models.base import TrainedModel, copy_module
from proxyaudit.models.text import TextClassifier

LEVELS = 127.0


class Int8Linear(nn.Module):
    """A linear layer with 8-bit weights and inputs."""

    codes: Tensor
    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight_oi: Tensor, bias: Tensor | None) -> None:
        """Quantise weights ``(outputs, inputs)``."""
        super().__init__()
        scale = weight_oi.abs().amax(dim=1).clamp_min(1e-12) / LEVELS
        self.register_buffer("scale", scale)
        self.register_buffer("codes", torch.round(weight_oi / scale[:, None]).to(torch.int8))
        # The layer's own weights, as the integers stand for them: some models read them outside of forward.
        self.register_buffer("weight", self.codes.to(weight_oi.dtype) * scale[:, None])
        self.register_buffer("bias", None if bias is None else bias.detach().clone())

    def forward(self, input: Tensor) -> Tensor:
        """Return ``input @ weight.T + bias`` with both factors rounded to integers."""
        step = (input.detach().abs().amax(dim=-1, keepdim=True) / LEVELS).clamp_min(1e-12)
        rounded = torch.round(input.detach() / step).clamp(-LEVELS, LEVELS) * step
        value = input + (rounded - input).detach()  # straight through
        out = nn.functional.linear(value, self.weight)
        return out if self.bias is None else out + self.bias


def quantise(model: TrainedModel, how: Literal["int8", "bf16"] | str) -> TrainedModel:
    """A copy of a model with its transformer (or all layers but the head) in few bits. Raises ``ValueError``: an unknown way."""
    module = copy_module(model.module)
    body: nn.Module = module.backbone if isinstance(module, TextClassifier) else module
    if how == "int8":
        last = [part for part in module.modules() if isinstance(part, nn.Linear)][-1]
        _to_int8(body, kept=None if isinstance(module, TextClassifier) else last)
    elif how == "bf16" and isinstance(module, TextClassifier):
        body.to(torch.bfloat16)
    else:
        raise ValueError(f"cannot quantise this model to {how!r}")
    return replace(model, module=module.eval(), details={**model.details, "quantised": how})


def _to_int8(body: nn.Module, kept: nn.Module | None) -> None:
    for parent in list(body.modules()):
        for name, part in list(parent.named_children()):
            weight: Any = getattr(part, "weight", None)
            if part is kept or not isinstance(weight, Tensor) or weight.ndim != 2:
                continue
            if isinstance(part, nn.Linear):
                setattr(parent, name, Int8Linear(weight.detach(), part.bias))
            elif type(part).__name__ == "Conv1D":  # GPT-2's linear layer, whose weights are (inputs, outputs)
                bias: Any = part.bias
                setattr(parent, name, Int8Linear(weight.detach().T.contiguous(), bias))
