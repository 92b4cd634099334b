"""Hooks at the sites of a model, and a record of what runs in a pass; inside context managers that leave none behind."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from proxyaudit.errors import InputError
from proxyaudit.models.base import TabularModule, TrainedModel
from proxyaudit.models.places import Tap

Handle = Callable[[str, Tensor], Tensor | None]


@contextmanager
def tapped(model: TrainedModel, handle: Handle, sites: tuple[str, ...]) -> Iterator[None]:
    """Let ``handle(site, value)`` see, and replace if it returns a tensor, the value at each site of every pass inside."""
    with ExitStack() as stack:
        for site in sites:
            stack.enter_context(SiteHook(site, model.taps[site], handle).attach(model.module))
        yield


def tail_of(model: TrainedModel, site: str, tap: Tap) -> Callable[[Tensor], Any] | None:
    """What makes the raw output from a site's value alone; ``None`` where only a whole forward pass will do."""
    module = model.module
    if tap.tail == "method" and isinstance(module, TabularModule):
        return lambda value: module.tail(site, value)
    return module.get_submodule(tap.module) if tap.tail == "head" else None


@dataclass
class SiteHook:
    """The hook of one site; with its methods as hooks, a copy of the module has a copy of it."""

    site: str
    tap: Tap
    handle: Handle

    def attach(self, module: nn.Module) -> RemovableHandle:
        """Set the hook in a model."""
        part = module.get_submodule(self.tap.module)
        if self.tap.side == "output":
            return part.register_forward_hook(self._after)
        return part.register_forward_pre_hook(self._before, with_kwargs=True)

    def _after(self, _: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        whole = output[0] if self.tap.in_tuple and isinstance(output, tuple) else output
        changed = self._handled(whole)
        return (changed, *output[1:]) if changed is not None and whole is not output else changed

    def _before(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = "input" if "input" in kwargs else "hidden_states"
        changed = self._handled(args[0] if args else kwargs.get(key))
        if changed is None:
            return None
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, key: changed})

    def _handled(self, value: Any) -> Tensor | None:
        """What the handler makes of a site that may be some of a tensor's units: the whole tensor, changed, or ``None``."""
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim not in (2, 3):
            shown = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            mend = "a site is a float tensor (rows, d) or (rows, tokens, d) in every pass"
            raise InputError(f"site '{self.site}' gave {shown}", mend=mend)
        if self.tap.span is None:
            return self.handle(self.site, value)
        start, stop = self.tap.span
        changed = self.handle(self.site, value[..., start:stop])
        return None if changed is None else torch.cat([value[..., :start], changed, value[..., stop:]], dim=-1)


@dataclass(frozen=True)
class Seen:
    """A value as a hook saw it, when (by one clock of the whole pass) and in which version; kept alive, so its memory stays its own."""

    value: Any
    moment: int
    version: int

    def is_same_tensor(self, other: Self) -> bool:
        """Whether both are one piece of memory, in one shape, not written to in between."""
        mine, theirs = self.value, other.value
        if not (isinstance(mine, Tensor) and isinstance(theirs, Tensor)) or mine.shape != theirs.shape:
            return False
        return self.holds(theirs) and mine.stride() == theirs.stride() and self.version == other.version

    def holds(self, tensor: Tensor) -> bool:
        """Whether the value is the same piece of memory as a tensor."""
        mine = self.value
        return bool(mine.data_ptr() == tensor.data_ptr() and mine.numel() == tensor.numel() and mine.dtype == tensor.dtype)


@dataclass(frozen=True)
class Run:
    """One run of a submodule: what it was given and what it returned."""

    name: str
    given: Seen  # the first of the inputs
    inputs: tuple[Any, ...]
    returned: Seen


@contextmanager
def recorded(module: nn.Module, *, copies: bool = False) -> Iterator[list[Run]]:
    """Every run of every submodule inside, in the order in which they end; with ``copies`` of the tensors, safe from later changes."""
    runs: list[Run] = []
    begun: dict[str, list[tuple[Seen, tuple[Any, ...]]]] = {}
    clock = count()

    def seen(value: Any) -> Seen:
        version = value._version if isinstance(value, Tensor) else 0
        return Seen(value.clone() if copies and isinstance(value, Tensor) else value, next(clock), version)

    with ExitStack() as stack:
        for name, part in module.named_modules():

            def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str = name) -> None:
                given = seen(args[0] if args else kwargs.get("input", kwargs.get("hidden_states")))
                begun.setdefault(name, []).append((given, (*args, *kwargs.values())))

            def after(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
                runs.append(Run(name, *begun[name].pop(), seen(output)))

            stack.enter_context(part.register_forward_pre_hook(before, with_kwargs=True))
            stack.enter_context(part.register_forward_hook(after))
        yield runs
