"""A classifier of texts: a pretrained transformer, its last hidden states pooled, and a head of this package's own.

It takes the table of token numbers that ``data.text`` makes (one row a text, -1 after the last token). A number's fraction, in sixteenths,
says which named spans the token lies in (one binary digit each). The transformer is any module that takes ``input_ids`` and
``attention_mask`` and returns ``last_hidden_state``; it runs on the graphics processor that torch finds or ``PROXYAUDIT_DEVICE`` names,
whose values differ in the last digits: hence the device stands among the versions that a plan's digest is made of.
"""

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyaudit.errors import InputError
from proxyaudit.models.base import TabularModule
from proxyaudit.models.kinds.huggingface import MOST_SPANS, HuggingFaceSpec
from proxyaudit.models.places import Tap
from proxyaudit.names import in_short
from proxyaudit.types import PENULTIMATE

POOLED = "pooled"
SPAN_STEPS = 2**MOST_SPANS
VARIABLE = "PROXYAUDIT_DEVICE"
CPU = torch.device("cpu")
_BATCH_ROWS, _BATCH_TOKENS = 64, 6144
_PARTS = {"head": "attention heads", "attention": "attention outputs", "mlp": "MLP outputs"}


@dataclass(frozen=True)
class Layer:
    """Where one layer of a transformer is read; names are relative to the transformer."""

    name: str  # the layer, whose output is the residual stream
    attention: str | None = None  # the projection that ends its attention, or None where none is known
    mlp: str | None = None  # the projection that ends its feed-forward part, or None
    heads: int = 0  # attention heads; 0 where they cannot be told apart
    head_width: int = 0  # units of one head at the input of ``attention``
    is_tuple: bool = False  # whether the layer returns a tuple whose first member is the residual stream


class TextClassifier(TabularModule):
    """Transformer, pooling, optional hidden layers, linear head."""

    batch_limit = _BATCH_ROWS

    def __init__(self, backbone: nn.Module, layers: tuple[Layer, ...], spec: HuggingFaceSpec, *, width: int, n_outputs: int) -> None:
        super().__init__()
        self.backbone, self.layers, self.frozen = backbone, layers, spec.frozen
        self.pooling, self.site_pooling = spec.pooling, spec.site_pooling
        self.spans = tuple(spec.spans)  # in the order of their digits
        self.pooled = nn.Identity()
        widths = (width, *spec.head_hidden)
        self.dense = nn.ModuleList(nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1], n_outputs)
        self.late: tuple[str, ...] = ()  # parameters of the backbone that play a part after its last layer
        self.same_as_last = False  # whether the last layer's pooled site is what the head reads
        self._mask: Tensor | None = None
        self._marks: Tensor | None = None
        if self.frozen:
            for parameter in backbone.parameters():
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """A frozen transformer stays in eval mode: its dropout would only add noise to features that do not learn."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(n, n_outputs)`` of a token table ``(n, width)``, on the table's device wherever the weights are."""
        return self.after_pooling(self.encode(x.to(self.head.weight.device))).to(x.device)

    def encode(self, x: Tensor) -> Tensor:
        """Return the pooled last hidden states ``(n, d)``."""
        ids = self.tokens(x)
        assert self._mask is not None
        return self._pooled(self.backbone(input_ids=ids, attention_mask=self._mask.long()).last_hidden_state, self.pooling)

    def tokens(self, x: Tensor) -> Tensor:
        """Token numbers ``(n, tokens)`` of a table, 0 after a text's last; its mask and the marks of its spans are kept for the pooling."""
        mask = x >= 0
        longest = max(int(mask.sum(dim=-1).max()), 1)
        numbers, self._mask = x[:, :longest].clamp_min(0), mask[:, :longest]
        ids = numbers.long()
        self._marks = torch.round((numbers - ids) * SPAN_STEPS).long() if self.spans else None
        return ids

    def embedding(self) -> nn.Module | None:
        """The layer that embeds the tokens; ``None`` where the transformer does not tell."""
        get = getattr(self.backbone, "get_input_embeddings", None)
        found = get() if callable(get) else None
        return found if isinstance(found, nn.Module) else None

    def blank_token(self) -> int:
        """A token that says nothing: the padding, else the one that ends a text, else number 0."""
        config = getattr(self.backbone, "config", None)
        known = (getattr(config, name, None) for name in ("pad_token_id", "eos_token_id", "bos_token_id"))
        return next((token for token in known if isinstance(token, int) and token >= 0), 0)

    def after_pooling(self, pooled: Tensor) -> Tensor:
        """Return logits from pooled hidden states."""
        return self._from_dense(0, self.pooled(pooled))

    def pool(self, value: Tensor) -> Tensor:
        """Pool a token site of the pass that is running."""
        return self._pooled(value, self.site_pooling)

    def _pooled(self, value: Tensor, how: str) -> Tensor:
        assert self._mask is not None
        if how not in self.spans:
            return pool(value, self._mask, how)
        assert self._marks is not None
        inside = (self._marks >> self.spans.index(how)) % 2 == 1
        # A text without the span has nothing else to stand for it than the whole of it.
        return pool(value, torch.where(inside.any(dim=1, keepdim=True), inside, self._mask), "mean")

    def is_vector(self, site: str) -> bool:
        """Whether a site is one vector a text: everything from the pooling on."""
        return site in self._head_sites()

    def tail(self, site: str, value: Tensor) -> Tensor:
        """Run what follows a vector site."""
        return self._from_dense(list(self._head_sites()).index(site), value)

    def _from_dense(self, done: int, value: Tensor) -> Tensor:
        for block in list(self.dense)[done:]:
            value = block(value)
        logits: Tensor = self.head(value)
        return logits

    def _head_sites(self) -> dict[str, Tap]:
        if not len(self.dense):
            return {PENULTIMATE: Tap("head", "input", "method")}
        sites = {POOLED: Tap("pooled", "output", "method")}
        sites |= {f"dense{place}": Tap(f"dense.{place}", "output", "method") for place in range(len(self.dense) - 1)}
        return {**sites, PENULTIMATE: Tap("head", "input", "method")}

    def site_taps(self) -> dict[str, Tap]:
        """The residual stream before the first layer and after each, then what the head makes of it."""
        return {name: tap for name, tap in self.fine_taps().items() if "." not in name}

    def fine_taps(self) -> dict[str, Tap]:
        """Every site, with each layer's heads, attention output and MLP output before the layer itself, in forward order."""
        sites = {"embeddings": Tap(f"backbone.{self.layers[0].name}", "input")} if self.layers else {}
        for number, layer in enumerate(self.layers):
            if layer.attention is not None:
                for head in range(layer.heads):
                    span = (head * layer.head_width, (head + 1) * layer.head_width)
                    sites[f"layer{number}.head{head}"] = Tap(f"backbone.{layer.attention}", "input", span=span)
                sites[f"layer{number}.attention"] = Tap(f"backbone.{layer.attention}", "output")
            if layer.mlp is not None:
                sites[f"layer{number}.mlp"] = Tap(f"backbone.{layer.mlp}", "output")
            if number < len(self.layers) - 1 or not self.same_as_last:
                sites[f"layer{number}"] = Tap(f"backbone.{layer.name}", "output", in_tuple=layer.is_tuple)
        return sites | self._head_sites()

    def unread(self, sites: Collection[str]) -> str:
        """What inside the layers is not among ``sites``, by kind, and of how many layers."""
        left = [name.split(".") for name in self.fine_taps() if "." in name and name not in sites]
        kinds = [word for part, word in _PARTS.items() if any(place.startswith(part) for _, place in left)]
        layers = len({layer for layer, _ in left})
        return f"{in_short(kinds)} of {layers} layer{'s' if layers > 1 else ''}" if left else ""

    def site_aliases(self) -> dict[str, str]:
        """The last layer, where its pooled output is the very thing that the head reads."""
        return {f"layer{len(self.layers) - 1}": next(iter(self._head_sites()))} if self.same_as_last else {}

    def block_input(self) -> str:
        """Site that the last block reads."""
        if len(self.dense):
            return list(self._head_sites())[-2]
        return f"layer{len(self.layers) - 2}" if len(self.layers) > 1 else "embeddings"

    @property
    def fixed(self) -> frozenset[str]:
        """State that no training changes and that needs no file of its own: it comes with the pretrained model."""
        return frozenset(name for name in self.state_dict() if name.startswith("backbone.")) if self.frozen else frozenset()

    def batches(self, x: NDArray[np.float32], size: int) -> Iterator[NDArray[np.int64]]:
        """Row numbers of each batch: texts of like length together, in an order that only the texts decide, memory bounded."""
        lengths = (np.asarray(x) >= 0).sum(axis=1)
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            rows = max(1, min(size, _BATCH_ROWS, _BATCH_TOKENS // max(int(lengths[order[start]]), 1)))
            yield order[start : start + rows]
            start += rows


def pool(value: Tensor, mask: Tensor, how: str) -> Tensor:
    """Pool ``(n, tokens, d)`` over a mask ``(n, tokens)`` (for ``cls`` and ``last`` its tokens come first), in float32 (float64 stays)."""
    wide = value if value.dtype == torch.float64 else value.float()
    if how == "cls":
        return wide[:, 0]
    if how == "last":
        last = (mask.sum(dim=1) - 1).clamp_min(0)
        return wide[torch.arange(len(wide)), last]
    weight = mask.to(wide.dtype)
    return (wide * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True).clamp_min(1.0)


def accelerator() -> torch.device:
    """The device that transformers run on. Raises ``InputError``: the variable names no device, or one that torch does not find."""
    asked = os.environ.get(VARIABLE, "auto").strip().lower() or "auto"
    if not re.fullmatch(r"auto|cpu|cuda(?::\d+)?", asked):
        raise InputError(f"'{asked[:40]}' is no device", where=VARIABLE, mend="write auto, cpu, cuda or cuda:1")
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return CPU
    device = torch.device("cuda" if asked == "auto" else asked)
    if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"torch finds no device '{asked}'", where=VARIABLE, mend="install torch for CUDA, name another, or write auto")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it no product on CUDA is deterministic
    return device


def device_name() -> str | None:
    """What the device is called, where it is not the CPU."""
    device = accelerator()
    return None if device == CPU else f"{device.type} {torch.cuda.get_device_name(device)}"


@contextmanager
def placed(module: nn.Module) -> Iterator[None]:
    """Keep a classifier of texts, which takes and gives tensors of the inputs' device, on the device for a while; other modules stay."""
    device = accelerator() if isinstance(module, TextClassifier) else CPU
    if device == CPU:
        yield
        return
    module.to(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        if device.type == "cuda":
            torch.cuda.default_generators[device.index or 0].manual_seed(torch.initial_seed())  # dropout draws there
        try:
            yield
        finally:
            module.to(CPU)
