"""The last block of a model: what makes the penultimate value, as a module of its own that can be trained again.

Of a user's module it is the last submodule with a weight matrix of its own that has run when the head (the last ``nn.Linear`` that runs)
begins, with the submodules that run after it. Where these, one after the other, do not give the penultimate value (a sum with an earlier
value, a function that is no module), it is the whole forward pass with only these submodules' parameters free.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyaudit.models.base import TabularModule, TrainedModel, as_tensor, batch_rows, copy_module, inference
from proxyaudit.models.hooks import Run, SiteHook, recorded, tapped
from proxyaudit.models.places import Tap
from proxyaudit.models.text import TextClassifier
from proxyaudit.models.trees import TreeEnsemble
from proxyaudit.types import PENULTIMATE

_CHECKED_ROWS = 64
_MOST_FLOATS = 2**27  # of the block's input over all rows: 512 MiB
_VALUE = "value"
# What comes back counts as far as it exceeds the untrained model, and that is the same here up to the head.
_UNTRAINED = "no weight before the head was trained, so no more can come back than from the untrained model"
_ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.Identity, nn.ReLU, nn.GELU, nn.Tanh, nn.SiLU)


@dataclass(frozen=True)
class LastBlock:
    """What makes the penultimate value from ``values``."""

    module: nn.Module  # maps rows of ``values`` to the penultimate value ``(m, d)``; in eval mode, a copy of the model's own parts
    values: Tensor  # input of the block on the audit rows, ``(n, p)`` or ``(n, tokens, p)``
    free: tuple[str, ...]  # names of the parameters of ``module`` that belong to the block
    text: str  # what the block is, in words
    read: NDArray[np.float32] | None = None  # ``(n, d)`` what of ``values`` a plain reader reads, where that is not their mean over tokens
    row_work: float | None = None  # weights times tokens that one row runs through, where they are not the block's own
    # Of trees, on which more are grown: which leaf each row reaches in each, and how many leaves each has.
    leaves: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None

    def vectors(self) -> NDArray[np.float32]:
        """The block's input as one vector a row."""
        if self.read is not None:
            return self.read
        return (self.values.mean(dim=1) if self.values.ndim == 3 else self.values).numpy()


class NoBlockError(ValueError):
    """There is no block to train. ``applies`` is false where the model has no weights before its head at all."""

    def __init__(self, reason: str, *, applies: bool = True) -> None:
        super().__init__(reason)
        self.applies = applies


class UpToHead(nn.Module):
    """A whole model, run for what it hands to its head; ``row_work`` are the operations of one row, where they are known."""

    def __init__(self, module: nn.Module, head: str, row_work: float | None = None) -> None:
        super().__init__()
        self.model, self.head_name = module, head
        if row_work is not None:
            self.row_work = row_work

    def forward(self, x: Tensor) -> Tensor:
        """Return the penultimate value ``(m, d)`` of a table ``(m, p)``, pooled over tokens."""
        kept: list[Tensor] = []
        with SiteHook(PENULTIMATE, Tap(self.head_name, "input"), lambda _, value: kept.append(value)).attach(self.model):
            self.model(x)
        return kept[0].mean(dim=1) if kept[0].ndim == 3 else kept[0]


def last_block(model: TrainedModel, x: NDArray[np.float32], acts: Mapping[str, NDArray[np.float32]] | None = None) -> LastBlock:
    """The last block on a table ``(n, p)``; of texts ``acts`` are captured activations by site. Raises ``NoBlockError``: none is told."""
    if isinstance(model.module, TextClassifier):
        return _text_block(model.module, x, acts or {})
    if not isinstance(model.module, TabularModule):
        return _found(model, x)
    if model.module.no_block:
        raise NoBlockError(model.module.no_block, applies=False)
    if isinstance(model.module, TreeEnsemble):
        return _grown_on(model.module, x)
    tap, module = model.module.last_block()
    return _all_free(copy_module(module).eval(), as_tensor(x) if tap is None else _values(model, x, tap), "the architecture's last block")


def _grown_on(module: TreeEnsemble, x: NDArray[np.float32]) -> LastBlock:
    """Frozen trees: what they say of each row, and which leaves it reaches."""
    with inference(module):
        margins = module.trees(as_tensor(x))
    return LastBlock(nn.Identity(), margins, (), "more trees grown on the leaves of those there are", leaves=module.ranks(x))


def _all_free(module: nn.Module, values: Tensor, text: str) -> LastBlock:
    return LastBlock(module, values, tuple(name for name, _ in module.named_parameters()), text)


def _text_block(module: TextClassifier, x: NDArray[np.float32], acts: Mapping[str, NDArray[np.float32]]) -> LastBlock:
    """The head's last hidden layer; without one, the transformer's last layer inside the whole forward pass, where that was trained."""
    if module.frozen and not len(module.dense):
        raise NoBlockError(_UNTRAINED, applies=False)
    before = module.block_input()
    if before not in acts:
        raise NoBlockError(f"what the last block reads is not among the audited sites ('{before}')")
    if len(module.dense):
        return _all_free(copy_module(module.dense[-1]).eval(), as_tensor(acts[before]), "the head's last hidden layer")
    tokens = int((np.asarray(x) >= 0).sum(axis=1).max())
    weights = sum(p.numel() for layer in module.layers for p in module.backbone.get_submodule(layer.name).parameters())
    part = f"model.backbone.{module.layers[-1].name}."
    whole = UpToHead(copy_module(module).eval(), "head", float(weights * tokens))
    late = {f"model.backbone.{name}" for name in module.late}
    free = tuple(name for name, _ in whole.named_parameters() if name.startswith(part) or name in late)
    text = "the transformer's last layer" + (" and what lies between it and the head" if late else "")
    return LastBlock(whole, as_tensor(x), free, text, np.asarray(acts[before]), float(weights * tokens))


def whole_model(model: TrainedModel, x: NDArray[np.float32]) -> LastBlock:
    """Everything before the head as one block. Raises ``NoBlockError``: there are no weights before the head, or no head can be told."""
    head = _head(model)
    wrapped = UpToHead(copy_module(model.module).eval(), head)
    ran = _runs(model.module, x)
    begins = next(run.given.moment for run in ran if run.name == head)
    before = {f"model.{run.name}".rstrip(".") for run in ran if run.given.moment < begins and run.name != head}
    free = tuple(name for name, _ in wrapped.named_parameters() if name.rpartition(".")[0] in before)
    if not free:
        raise NoBlockError("the model has no weights before its head", applies=False)
    return LastBlock(wrapped, as_tensor(x), free, "everything before the head")


def _head(model: TrainedModel) -> str:
    tap = model.taps.get(PENULTIMATE)
    if tap is not None and tap.side == "input":
        return tap.module
    own = model.module.site_taps().get(PENULTIMATE) if isinstance(model.module, TabularModule) else None
    if own is None:
        raise NoBlockError("what the model hands to its head is not among the audited sites, so its last block cannot be told")
    return own.module


def _runs(module: nn.Module, x: NDArray[np.float32]) -> list[Run]:
    with inference(module), recorded(module, copies=True) as runs:
        module(as_tensor(x[:_CHECKED_ROWS]))
    return runs


def _found(model: TrainedModel, x: NDArray[np.float32]) -> LastBlock:
    """The last block of a user's module, by the rule in the module docstring."""
    head = _head(model)
    ran = _runs(model.module, x)
    heads = [run for run in ran if run.name == head]
    if len(heads) != 1 or not isinstance(heads[0].given.value, Tensor):
        raise NoBlockError("the head does not run exactly once, so the last block cannot be told")
    parts = dict(model.module.named_modules())
    begins = heads[0].given
    before = [run for run in ran if run.returned.moment < begins.moment]
    weighty = [s for s in before if any(p.ndim >= 2 for p in parts[s.name].parameters(recurse=False))]
    if not weighty:
        return whole_model(model, x)
    start = weighty[-1]
    following = [s for s in before if s.given.moment > start.given.moment and not any(True for _ in parts[s.name].children())]
    names = {start.name, *(s.name for s in following)}
    if sum(s.name in names for s in ran) == len(names) and not any(True for _ in parts[start.name].children()):
        block = _chain(model, x, start, [parts[s.name] for s in (start, *following)], begins.value)
        if block is not None:
            return block
    # Parameters of a module that encloses the head may play a part after the last submodule: they are free too.
    around = {s.name for s in ran if s.given.moment < begins.moment < s.returned.moment and s.name != head}
    wrapped = UpToHead(copy_module(model.module).eval(), head)
    owner = {name: name.removeprefix("model.").rpartition(".")[0] for name, _ in wrapped.named_parameters()}
    free = tuple(name for name, of in owner.items() if of in around or any(of == part or of.startswith(f"{part}.") for part in names))
    return LastBlock(wrapped, as_tensor(x), free, f"'{start.name}' and what runs after it, inside the whole forward pass")


def _chain(model: TrainedModel, x: NDArray[np.float32], start: Run, parts: list[nn.Module], wanted: Tensor) -> LastBlock | None:
    """The submodules as a chain from the first one's input, then a plain activation, if they give the penultimate value."""
    given = start.given.value
    if not isinstance(given, Tensor) or given.ndim != 2 or wanted.ndim != 2:
        return None
    for activation in _ACTIVATIONS:
        chain = nn.Sequential(*map(copy_module, parts), activation()).eval()
        try:
            with inference(chain):
                made = chain(given)
        except Exception:
            return None
        if made.shape == wanted.shape and torch.allclose(made, wanted, rtol=1e-4, atol=1e-5):
            return _all_free(chain, _values(model, x, Tap(start.name, "input")), f"'{start.name}' and what runs after it")
    return None


def _values(model: TrainedModel, x: NDArray[np.float32], tap: Tap) -> Tensor:
    """The value at a tap on every row, tokens kept."""
    reader = replace(model, sites=(_VALUE,), taps={_VALUE: tap})
    kept: list[Tensor] = []
    size = batch_rows(model.module, 4096)
    with inference(model.module), tapped(reader, lambda _, value: kept.append(value.clone()), (_VALUE,)):
        for start in range(0, len(x), size):
            model.module(as_tensor(x[start : start + size]))
            if kept[0][0].numel() * len(x) > _MOST_FLOATS:
                raise NoBlockError("the input of the last block is too large to be kept for all audit rows")
    return torch.cat(kept)
