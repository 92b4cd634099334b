"""Locations in a model that an effect can be localised to: sites, residual branches, and the heads of attention modules.

A head is a slice of what an attention module hands to its output projection. Of modules that say how many heads they have that is the
input of the last ``nn.Linear`` among their children to run. ``nn.MultiheadAttention`` never calls its projection as a module: there the
heads' output is worked out from the attention weights, and a changed one is projected again.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from proxyaudit.models.base import TabularModule, Tap, TrainedModel, as_tensor, inference
from proxyaudit.models.hooks import Handle, before_hook, tapped

_PROBE_ROWS = 11  # as in sites.py: a leading dimension of 11 is the batch
_HEAD_COUNTS = ("num_heads", "n_heads", "_n_heads", "num_attention_heads", "n_head", "nhead", "heads")


@dataclass(frozen=True)
class Location:
    """One location: a site, what a residual branch adds, or the heads of an attention module.

    Attributes:
        width: Units ``d`` of its value ``(rows, d)`` or ``(rows, tokens, d)``.
        floats: Numbers that it holds for one row.
        work: Predicted multiplications of what runs from it on, for one row; of the whole model where only a whole forward pass will do.
        whole_work: The same of the whole model.
        heads: Heads that share the units equally; 0 for locations whose parts are single units.
        native: Whether it is an ``nn.MultiheadAttention``.
    """

    name: str
    kind: Literal["site", "branch", "heads"]
    tap: Tap
    width: int = 0
    floats: int = 0
    work: float = 0.0
    whole_work: float = 0.0
    heads: int = 0
    native: bool = False


def find_locations(model: TrainedModel, x: NDArray[Any]) -> tuple[Location, ...]:
    """Find the locations of a model, in the order sites (the profiled ones), branches, heads; a few rows of ``x`` are run."""
    table = as_tensor(x[:_PROBE_ROWS])
    rows = len(table)
    wanted = [Location(site, "site", model.taps[site]) for site in model.sites]
    if isinstance(model.module, TabularModule):
        wanted += [Location(name, "branch", tap) for name, tap in model.module.branch_taps().items()]
    wanted += _heads(model.module, table)
    seen: dict[str, list[tuple[float, Tensor]]] = {}
    spent = [0.0]

    def look(name: str, value: Tensor) -> None:
        seen.setdefault(name, []).append((spent[0], value))

    with ExitStack() as stack:
        for name, part in model.module.named_modules():
            stack.enter_context(_counted(part, name, rows, spent))
        stack.enter_context(locations_tapped(model, look, wanted))
        stack.enter_context(inference(model.module))
        model.module(table)
    found = []
    for location in wanted:
        runs = seen.get(location.name, [])
        if len(runs) != 1 or len(runs[0][1]) != rows:
            continue  # runs never or twice, or for something other than the rows
        before, value = runs[0]
        work = spent[0] - (before if location.tap.tail != "none" else 0.0)
        width = int(value.shape[-1])
        work, whole_work = max(work, float(width)), max(spent[0], float(width))
        found.append(replace(location, width=width, floats=value[0].numel(), work=work, whole_work=whole_work))
    return tuple(found)


@contextmanager
def _counted(part: nn.Module, name: str, rows: int, spent: list[float]) -> Iterator[None]:
    """Add up the multiplications of every module that has a weight matrix of its own."""
    matrices = sum(p.numel() for p in part.parameters(recurse=False) if p.ndim >= 2)
    attends = _head_count(part) > 0

    def after(_: nn.Module, __: Any, output: Any) -> None:
        value = output[0] if isinstance(output, tuple) else output
        if not isinstance(value, Tensor) or not value.ndim:
            return
        positions = value.numel() / max(value.shape[-1], 1) / rows
        spent[0] += matrices * positions
        if attends:
            spent[0] += 2 * positions**2 * value.shape[-1]

    with part.register_forward_hook(after):
        yield


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


def _heads(module: nn.Module, table: Tensor) -> list[Location]:
    """Attention modules whose heads can be told apart."""
    found = []
    for name, part in module.named_modules():
        count = _head_count(part)
        if not count or not name:
            continue
        if isinstance(part, nn.MultiheadAttention):
            plain = part.bias_k is None and part.bias_v is None and not part.add_zero_attn and part.embed_dim % count == 0
            if plain:
                found.append(Location(f"{name}, heads", "heads", Tap(name, "output"), heads=count, native=True))
            continue
        projection = _projection(module, part, count, table)
        if projection is not None:
            found.append(Location(f"{name}, heads", "heads", Tap(f"{name}.{projection}", "input"), heads=count))
    return found


def _projection(module: nn.Module, part: nn.Module, count: int, table: Tensor) -> str | None:
    """Name of the child that the heads' outputs are handed to."""
    own: list[Any] = []
    ran: list[tuple[str, Any]] = []
    with ExitStack() as stack:
        stack.enter_context(before_hook(part, lambda _, args, kwargs: own.extend([*args, *kwargs.values()])))
        for name, child in part.named_children():
            if isinstance(child, nn.Linear):

                def before(_: nn.Module, args: tuple[Any, ...], __: Any, name: str = name) -> None:
                    ran.append((name, args[0] if args else None))

                stack.enter_context(before_hook(child, before))
        stack.enter_context(inference(module))
        module(table)
    if not ran:
        return None
    name, value = ran[-1]
    # Queries, keys and values read what the attention module was given; what the heads made is new.
    given = any(isinstance(other, Tensor) and isinstance(value, Tensor) and other.data_ptr() == value.data_ptr() for other in own)
    fits = isinstance(value, Tensor) and value.ndim in (2, 3) and len(value) == len(table) and value.shape[-1] % count == 0
    return name if fits and not given and [n for n, _ in ran].count(name) == 1 else None


@contextmanager
def _native_heads(module: nn.Module, location: Location, handle: Handle) -> Iterator[None]:
    part = module.get_submodule(location.tap.module)
    assert isinstance(part, nn.MultiheadAttention)
    signature = inspect.signature(part.forward)

    def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        if call.arguments["query"].ndim != 3:
            return None
        value = _heads_output(part, call.arguments)
        changed = handle(location.name, value)
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


def detached(value: Tensor) -> Tensor:
    """A copy outside any graph, whatever the module goes on to write into this memory."""
    return value.detach().clone()
