"""Hooks at the sites of a model, inside a context manager that leaves none behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from proxyaudit.errors import InputError
from proxyaudit.models.base import TabularModule, Tap, TrainedModel


@contextmanager
def tapped(model: TrainedModel, handle: Callable[[str, Tensor], Tensor | None], sites: tuple[str, ...]) -> Iterator[None]:
    """Let ``handle(site, value)`` see, and replace if it returns a tensor, the value at each site of every pass inside.

    All hooks are gone at the end, also when the forward pass raises.
    """
    handles: list[Any] = []
    try:
        for site in sites:
            handles.append(_hook(model.module, site, model.taps[site], handle))
        yield
    finally:
        for item in handles:
            item.remove()


def tail_of(model: TrainedModel, site: str, tap: Tap) -> Callable[[Tensor], Any] | None:
    """What makes the raw output from a site's value alone; ``None`` where only a whole forward pass will do."""
    module = model.module
    if tap.tail == "method" and isinstance(module, TabularModule):
        return lambda value: module.tail(site, value)
    return module.get_submodule(tap.module) if tap.tail == "head" else None


def _hook(module: nn.Module, site: str, tap: Tap, handle: Callable[[str, Tensor], Tensor | None]) -> Any:
    part = module.get_submodule(tap.module)

    def after(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
        whole = output[0] if tap.in_tuple and isinstance(output, tuple) else output
        changed = _handled(handle, site, tap, as_site_tensor(whole, site))
        return (changed, *output[1:]) if changed is not None and whole is not output else changed

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        key = "input" if "input" in kwargs else "hidden_states"
        changed = _handled(handle, site, tap, as_site_tensor(args[0] if args else kwargs.get(key), site))
        if changed is None:
            return None
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, key: changed})

    return part.register_forward_hook(after) if tap.side == "output" else part.register_forward_pre_hook(before, with_kwargs=True)


def _handled(handle: Callable[[str, Tensor], Tensor | None], site: str, tap: Tap, value: Tensor) -> Tensor | None:
    """What a handler makes of a site that may be some of a tensor's units: the whole tensor, changed, or ``None``."""
    if tap.span is None:
        return handle(site, value)
    start, stop = tap.span
    changed = handle(site, value[..., start:stop])
    return None if changed is None else torch.cat([value[..., :start], changed, value[..., stop:]], dim=-1)


def as_site_tensor(value: Any, site: str) -> Tensor:
    """Return what a site gave, if it is a tensor that an audit can read.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (2, 3):
        return value
    shown = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise InputError(f"site '{site}' gave {shown}", mend="a site is a float tensor (rows, d) or (rows, tokens, d) in every pass")
