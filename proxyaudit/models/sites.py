"""Which places of a user's module can be sites.

The places of a user's module are found by probing forward passes: a site is a submodule that runs exactly once and
returns one float tensor (n, d) or (n, t, d), or ``penultimate``, the input of the last ``nn.Linear`` that runs.
"""

from typing import Any

import torch
from torch import Tensor, nn

from proxyaudit.errors import InputError
from proxyaudit.fence import network_words
from proxyaudit.models.base import inference, seeded, to_logits
from proxyaudit.models.hooks import Run, recorded
from proxyaudit.models.places import Candidates, Tap
from proxyaudit.types import PENULTIMATE, Task

# A prime, so that a leading dimension that equals it is the batch and hardly ever a width or a token count.
_PROBE_ROWS = 11
_OUTPUT = "is the model's output, not a hidden place"


def probe_sites(module: nn.Module, *, n_inputs: int, n_classes: int, what: str, task: Task = "classes") -> Candidates:
    """Find the candidates of a user's module, which is put in eval mode, by running it on a small random table.

    Raises ``InputError``: forward raises, returns something other than logits, or a row's output is not a function of the row alone (drawn
    at random, or dependent on the other rows of its batch): effects of swapping one row's activations would then mean nothing.
    """
    table = torch.randn(_PROBE_ROWS, n_inputs, generator=torch.Generator().manual_seed(0))
    with inference(module):
        with seeded(0):
            _forward(module, table[:2].clone(), what)  # lets lazy modules take their shapes before hooks are set
            with recorded(module) as runs:
                raw = _forward(module, table.clone(), what)
        logits = to_logits(raw, n_classes, _PROBE_ROWS, what=what, task=task)
        half = _PROBE_ROWS // 2
        with seeded(1):
            again = to_logits(_forward(module, table[:half].clone(), what), n_classes, half, what=what, task=task)
    if torch.isfinite(logits).all() and not torch.allclose(logits[:half], again, rtol=1e-3, atol=1e-4):
        mend = "in eval mode forward must draw nothing at random and must not mix rows"
        raise InputError(f"{what} gives a row another output from call to call or with other rows in its batch", mend=mend)
    return _candidates(module, raw, {name: [run for run in runs if run.name == name] for name in {run.name for run in runs}})


def _forward(module: nn.Module, table: Tensor, what: str) -> Any:
    try:
        return module(table)
    except Exception as error:
        shape = tuple(table.shape)
        mend = network_words(error) or "forward takes the encoded table, float32 of shape (rows, columns), alone"
        raise InputError(f"{what} fails on a table of shape {shape}: {type(error).__name__}: {str(error)[:200]}", mend=mend) from error


def _candidates(module: nn.Module, raw: Tensor, runs: dict[str, list[Run]]) -> Candidates:
    parts = dict(module.named_modules())
    # The root counts here, under its empty name: a bare nn.Linear is a model whose penultimate site is the table itself.
    single = [found[0] for found in runs.values() if len(found) == 1]
    linears = [run for run in single if isinstance(parts[run.name], nn.Linear) and _fits(run.given.value)]
    last = max(linears, key=lambda run: run.given.moment, default=None)
    boundary = last.given.moment if last is not None else None
    moments: dict[str, int] = {}
    taps: dict[str, Tap] = {}
    aliases: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name in parts:
        if not name:
            continue
        found = runs.get(name, [])
        reason = _refusal(found, raw, boundary)
        if reason is not None:
            refused[name] = reason
        elif last is not None and found[0].returned.is_same_tensor(last.given):
            aliases[name] = PENULTIMATE
        elif name == PENULTIMATE:
            refused[name] = "is a word of its own for the input of the last nn.Linear"
        else:
            taps[name], moments[name] = Tap(name, "output"), found[0].returned.moment
    if last is not None:
        taps[PENULTIMATE] = Tap(last.name, "input", "head" if _is_output(last, raw) else "none")
        moments[PENULTIMATE] = last.given.moment
    elif taps:
        final = max(taps, key=moments.__getitem__)
        aliases[final] = PENULTIMATE
        taps[PENULTIMATE], moments[PENULTIMATE] = taps.pop(final), moments[final]
    refused.update(_shared_names(module, refused))
    hidden = {name: found[0].returned.moment for name, found in runs.items() if name and refused.get(name) != _OUTPUT}
    return Candidates({name: taps[name] for name in sorted(taps, key=moments.__getitem__)}, aliases, refused, _blocks(module, hidden))


def _blocks(module: nn.Module, moments: dict[str, int]) -> tuple[tuple[str, ...], ...]:
    """Blocks before the output; a lone container is looked into, and so is one that does not run itself (a list of layers)."""
    parts = dict(module.named_modules())

    def inside(name: str) -> list[str]:
        found: list[str] = []
        for child in (f"{name}.{own}" if name else own for own, _ in parts[name].named_children()):
            if child in parts:
                found += [child] if child in moments else inside(child)
        return sorted(found, key=moments.__getitem__)

    level = inside("")
    while len(level) == 1 and (within := inside(level[0])):
        level = within
    blocks: list[list[str]] = []
    for name in level:
        if next(parts[name].parameters(), None) is not None:
            blocks.append([name])
        elif blocks:
            blocks[-1].append(name)
    return tuple(tuple(block) for block in blocks)


def _shared_names(module: nn.Module, refused: dict[str, str]) -> dict[str, str]:
    """Second names of a module that is registered twice: torch lists it under the first only."""
    first: dict[int, str] = {}
    second: dict[str, str] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        if id(part) in first and name not in refused:
            second[name] = f"is the same module as '{first[id(part)]}'"
        first.setdefault(id(part), name)
    return second


def _is_output(run: Run, raw: Tensor) -> bool:
    return run.returned.holds(raw) and run.returned.version == raw._version


def _refusal(found: list[Run], raw: Tensor, boundary: int | None) -> str | None:
    """Why a submodule cannot be a hidden site, or None; after the last linear layer, as many values as the output are a form of it."""
    if not found:
        return "does not run in a forward pass"
    if len(found) > 1:
        return f"runs {len(found)} times in a forward pass"
    value = found[0].returned.value
    if not _fits(value):
        shown = f"a {type(value).__name__}"
        if isinstance(value, Tensor):
            shown = f"shape {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
        return f"returns {shown}, not a float tensor (rows, d) or (rows, tokens, d)"
    after_head = boundary is not None and found[0].returned.moment > boundary and value.numel() == raw.numel()
    return _OUTPUT if after_head or _is_output(found[0], raw) else None


def _fits(value: Any) -> bool:
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim not in (2, 3):
        return False
    return value.shape[0] == _PROBE_ROWS and value.numel() > 0
