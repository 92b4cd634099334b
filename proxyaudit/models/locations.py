"""Locations that an effect can be localised to (sites, residual branches, heads of attention), patching and gradients at them.

A head is a slice of what an attention module hands to its output projection, the last ``nn.Linear`` among its children to run.
``nn.MultiheadAttention`` never calls its projection as a module: there the heads' output is worked out from the attention weights.
All gradients come from one forward and one backward pass (attribution patching: Nanda 2023; Syed et al. 2023, arXiv 2310.10348).
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from proxyaudit.arrays import Floats, Ints
from proxyaudit.models.base import TabularModule, TrainedModel, as_tensor, batch_rows, gradients, inference, predictions
from proxyaudit.models.erasing import without_map
from proxyaudit.models.hooks import Handle, Run, recorded, tail_of, tapped
from proxyaudit.models.places import Tap

_READ_ROWS, _PATCHED_ROWS, _GRADIENT_ROWS = 4096, 16384, 1024
_PROBE_ROWS = 11  # as in sites.py: a leading dimension of 11 is the batch
_HEAD_COUNTS = ("num_heads", "n_heads", "_n_heads", "num_attention_heads", "n_head", "nhead", "heads")


@dataclass(frozen=True)
class Location:
    """One location: a site, what a residual branch adds, or the heads of an attention module."""

    name: str
    kind: Literal["site", "branch", "heads"]
    tap: Tap
    width: int = 0  # units ``d`` of its value ``(rows, d)`` or ``(rows, tokens, d)``
    floats: int = 0  # numbers that it holds for one row
    work: float = 0.0  # predicted multiplications from it on, for one row; the whole model's where only a whole pass will do
    whole_work: float = 0.0  # the same of the whole model
    heads: int = 0  # heads that share the units equally; 0 for locations whose parts are single units
    native: bool = False  # whether it is an ``nn.MultiheadAttention``


def find_locations(model: TrainedModel, x: NDArray[Any]) -> tuple[Location, ...]:
    """Find the locations of a model, in the order sites (the profiled ones), branches, heads; a few rows of ``x`` are run."""
    table = as_tensor(x[:_PROBE_ROWS])
    parts = dict(model.module.named_modules())
    with inference(model.module), recorded(model.module) as runs:
        model.module(table)
    wanted = [Location(site, "site", model.taps[site]) for site in model.sites if not model.taps[site].aside]
    if isinstance(model.module, TabularModule):
        wanted += [Location(name, "branch", tap) for name, tap in model.module.branch_taps().items()]
    wanted += _heads(parts, runs, len(table))
    spent = [(run.returned.moment, _multiplications(parts[run.name], run.returned.value, len(table))) for run in runs]
    whole = sum(work for _, work in spent)
    found = []
    for location in wanted:
        own = [run for run in runs if run.name == location.tap.module]
        seen = (own[0].given if location.tap.side == "input" else own[0].returned) if len(own) == 1 else None
        value = None if seen is None else _first(seen.value)
        if location.native and value is not None:
            native = parts[location.tap.module]
            value = None if value.ndim != 3 else value if native.batch_first else value.transpose(0, 1)
        if seen is None or value is None or len(value) != len(table):
            continue  # runs never or twice, or for something other than the rows
        if location.tap.span is not None:
            value = value[..., slice(*location.tap.span)]
        before = sum(work for moment, work in spent if moment <= seen.moment) if location.tap.tail != "none" else 0.0
        width = value.shape[-1]
        work, whole_work = max(whole - before, float(width)), max(whole, float(width))
        found.append(replace(location, width=width, floats=value[0].numel(), work=work, whole_work=whole_work))
    return tuple(found)


def _first(value: Any) -> Tensor | None:
    """A tensor, or the first one of a tuple."""
    value = value[0] if isinstance(value, tuple) else value
    return value if isinstance(value, Tensor) and value.ndim else None


def _multiplications(part: nn.Module, returned: Any, rows: int) -> float:
    """Multiplications for one row by the weight matrices that a module has of its own, and of attention."""
    value = _first(returned)
    if value is None:
        return 0.0
    positions = value.numel() / max(value.shape[-1], 1) / rows
    attention = 2 * positions**2 * value.shape[-1] if _head_count(part) else 0.0
    return sum(p.numel() for p in part.parameters(recurse=False) if p.ndim >= 2) * positions + attention


@contextmanager
def locations_tapped(model: TrainedModel, handle: Handle, locations: list[Location]) -> Iterator[None]:
    """Let ``handle(name, value)`` see, and replace if it returns a tensor, the value at locations in every pass inside."""
    hooked = [location for location in locations if not location.native]
    reader = replace(model, taps={location.name: location.tap for location in hooked})
    with ExitStack() as stack:
        stack.enter_context(tapped(reader, handle, tuple(location.name for location in hooked)))
        for location in locations:
            if location.native:
                stack.enter_context(_native_heads(model.module, location, handle))
        yield


def _head_count(part: nn.Module) -> int:
    """Heads that a module says it has; 0 for modules that are no attention, or have a single head."""
    for name in _HEAD_COUNTS:
        count = getattr(part, name, None)
        if isinstance(count, int) and not isinstance(count, bool) and count > 1:
            return count
    return 0


def _heads(parts: dict[str, nn.Module], runs: list[Run], rows: int) -> list[Location]:
    """Attention modules whose heads can be told apart."""
    found = []
    for name, part in parts.items():
        count = _head_count(part)
        if not count or not name:
            continue
        if isinstance(part, nn.MultiheadAttention):
            if part.bias_k is None and part.bias_v is None and not part.add_zero_attn and part.embed_dim % count == 0:
                found.append(Location(f"{name}, heads", "heads", Tap(name, "output"), heads=count, native=True))
            continue
        linears = [child for child in part.children() if isinstance(child, nn.Linear)]
        ran = sorted((run for run in runs if parts[run.name] in linears), key=lambda run: run.given.moment)
        value = ran[-1].given.value if ran else None
        if not isinstance(value, Tensor) or value.ndim not in (2, 3) or len(value) != rows or value.shape[-1] % count:
            continue
        # Queries, keys and values read what the attention module was given; what the heads made is new.
        own = [other for run in runs if run.name == name for other in run.inputs if isinstance(other, Tensor)]
        once = [run.name for run in ran].count(ran[-1].name) == 1
        if once and not any(other.data_ptr() == value.data_ptr() for other in own):
            found.append(Location(f"{name}, heads", "heads", Tap(ran[-1].name, "input"), heads=count))
    return found


@contextmanager
def _native_heads(module: nn.Module, location: Location, handle: Handle) -> Iterator[None]:
    part = module.get_submodule(location.tap.module)
    assert isinstance(part, nn.MultiheadAttention)
    signature = inspect.signature(part.forward)

    def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        if call.arguments["query"].ndim != 3:
            return None
        changed = handle(location.name, _heads_output(part, call.arguments))
        if changed is None:
            return None
        projected = functional.linear(changed, part.out_proj.weight, part.out_proj.bias)
        return (projected if part.batch_first else projected.transpose(0, 1), *output[1:])

    with part.register_forward_hook(after, with_kwargs=True):
        yield


def _heads_output(part: nn.MultiheadAttention, arguments: dict[str, Any]) -> Tensor:
    """What the heads make, side by side, before the output projection: ``(rows, tokens, d)``."""
    asked = {**arguments, "need_weights": True, "average_attn_weights": False}
    _, weights = part.forward(**asked)  # not a call: no hook runs
    assert weights is not None
    value = arguments["value"] if part.batch_first else arguments["value"].transpose(0, 1)
    projection = part.v_proj_weight if part.in_proj_weight is None else part.in_proj_weight.chunk(3)[2]
    bias = None if part.in_proj_bias is None else part.in_proj_bias.chunk(3)[2]
    made = functional.linear(value, projection, bias)
    rows, tokens, width = made.shape
    split = made.reshape(rows, tokens, part.num_heads, width // part.num_heads).transpose(1, 2)
    return (weights @ split).transpose(1, 2).reshape(rows, weights.shape[2], width)


def part_units(location: Location) -> list[tuple[str, list[int]]]:
    """Name and units of each part that an effect at a location can be localised to, counted from 0; a branch has no parts."""
    if location.kind == "branch":
        return []
    if not location.heads:
        return [(f"unit {unit}", [unit]) for unit in range(location.width)]
    size = location.width // location.heads
    return [(f"head {head}", list(range(head * size, (head + 1) * size))) for head in range(location.heads)]


class Patching:
    """The values of all locations on some rows, kept, and what becomes of the outputs when parts of them are exchanged."""

    def __init__(self, model: TrainedModel, x: NDArray[np.float32], locations: Sequence[Location]) -> None:
        self._model, self._x, self._locations = model, x, {location.name: location for location in locations}
        kept: dict[str, list[Tensor]] = {location.name: [] for location in locations}

        def keep(name: str, value: Tensor) -> None:
            kept[name].append(value.detach().clone())  # whatever the module goes on to write into this memory

        size = batch_rows(model.module, _READ_ROWS)
        with inference(model.module), locations_tapped(model, keep, list(locations)):
            for start in range(0, len(x), size):
                model.module(as_tensor(x[start : start + size]))
        self._values = {name: torch.cat(parts) for name, parts in kept.items()}

    def values(self, location: str) -> NDArray[np.float32]:
        """Values of a location on every row, ``(n, d)`` or ``(n, tokens, d)``."""
        return np.asarray(self._values[location].numpy(), dtype=np.float32)

    def gradients(self, rows: Ints, output: int) -> dict[str, Floats]:
        """Gradients of the followed probability by all locations' values, in their shape. Raises ``NoGradientError``: there is none."""
        locations = list(self._locations.values())
        parts: dict[str, list[Tensor]] = {location.name: [] for location in locations}
        size = batch_rows(self._model.module, _GRADIENT_ROWS)
        for start in range(0, len(rows), size):
            shifts: dict[str, Tensor] = {}

            def moved(name: str, value: Tensor, shifts: dict[str, Tensor] = shifts) -> Tensor:
                shifts[name] = torch.zeros_like(value, requires_grad=True)
                return value + shifts[name]

            table = as_tensor(self._x[rows[start : start + size]])
            with inference(self._model.module), torch.enable_grad(), locations_tapped(self._model, moved, locations):
                logits = self._model.logits(self._model.module(table), len(table))
                p = predictions(logits, self._model.task)[:, output]
                found = gradients(p.sum(), [shifts[location.name] for location in locations], of_site=False)
            for location, gradient in zip(locations, found, strict=True):
                parts[location.name].append(gradient)
        return {name: np.asarray(torch.cat(found).numpy(), dtype=np.float64) for name, found in parts.items()}

    def patch(self, name: str, output: int) -> Callable[[Ints, Ints, Sequence[int] | None], Floats]:
        """A function of recipients ``(m,)``, donors ``(m,)`` and exchanged units (``None``: all): the followed probability."""
        location, values = self._locations[name], self._values[name]
        tail = tail_of(self._model, name, location.tap)
        # A value of tokens costs attention as the whole model does.
        size = _PATCHED_ROWS if tail is not None and values.ndim == 2 else batch_rows(self._model.module, _PATCHED_ROWS)

        def run(recipients: Ints, donors: Ints, units: Sequence[int] | None) -> Floats:
            found = np.empty(len(recipients))
            columns = None if units is None or len(units) == values.shape[-1] else torch.tensor(list(units), dtype=torch.int64)
            with inference(self._model.module):
                for start in range(0, len(recipients), size):
                    part = slice(start, start + size)
                    rows, others = (torch.from_numpy(np.array(index[part], dtype=np.int64)) for index in (recipients, donors))
                    given = values[others]
                    if columns is not None:
                        own = values[rows]
                        own[..., columns] = given[..., columns]
                        given = own
                    found[part] = self._outputs(location, tail, given, rows)[:, output]
            return found

        return run

    def _outputs(self, location: Location, tail: Callable[[Tensor], Any] | None, given: Tensor, rows: Tensor) -> Floats:
        if tail is not None:
            with without_map(self._model.module, location.name):  # the values went through the site's own map when they were read
                raw = tail(given)
        else:
            with locations_tapped(self._model, lambda _, value: given.to(value.dtype), [location]):
                raw = self._model.module(as_tensor(self._x[rows.numpy()]))
        return self._model.outputs(self._model.logits(raw, len(rows)))
