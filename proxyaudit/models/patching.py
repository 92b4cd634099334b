"""Patching and gradients at locations of a model: what one row's units do to another row's output.

Values are exchanged as they are, token by token, between rows of one table. The gradients of all locations come from one forward and one
backward pass, which is what attribution patching (Nanda 2023; Syed et al. 2023, arXiv 2310.10348) lives on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxyaudit.arrays import Floats, Ints
from proxyaudit.models.base import TrainedModel, as_tensor, batch_rows, inference, n_columns, probabilities, to_logits
from proxyaudit.models.erasing import without_map
from proxyaudit.models.hooks import tail_of
from proxyaudit.models.locations import Location, detached, locations_tapped

_READ_ROWS = 4096
_PATCHED_ROWS = 16384
_GRADIENT_ROWS = 1024


class NoGradientHereError(Exception):
    """The output cannot be differentiated with respect to a location."""


class Patching:
    """The values of all locations on some rows, kept, and what becomes of the outputs when parts of them are exchanged."""

    def __init__(self, model: TrainedModel, x: NDArray[np.float32], locations: Sequence[Location]) -> None:
        """Run the model once over ``x`` and keep the values of every location."""
        self._model, self._x, self._locations = model, x, {location.name: location for location in locations}
        kept: dict[str, list[Tensor]] = {location.name: [] for location in locations}

        def keep(name: str, value: Tensor) -> None:
            kept[name].append(detached(value))

        size = batch_rows(model.module, _READ_ROWS)
        with inference(model.module), locations_tapped(model, keep, list(locations)):
            for start in range(0, len(x), size):
                model.module(as_tensor(x[start : start + size]))
        self._values = {name: torch.cat(parts) for name, parts in kept.items()}

    def values(self, location: str) -> NDArray[np.float32]:
        """Values of a location on every row, ``(n, d)`` or ``(n, tokens, d)``."""
        return np.asarray(self._values[location].numpy(), dtype=np.float32)

    def gradients(self, rows: Ints, output: int) -> dict[str, Floats]:
        """Gradient of the followed probability with respect to every location's value, shaped like the values.

        Raises:
            NoGradientHereError: there is none.
        """
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
                logits = to_logits(self._model.module(table), self._model.n_classes, len(table))
                p = torch.sigmoid(logits[:, 0]) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)[:, output]
                found = _gradient(p.sum(), [shifts[location.name] for location in locations])
            for location, gradient in zip(locations, found, strict=True):
                parts[location.name].append(gradient)
        return {name: np.asarray(torch.cat(found).numpy(), dtype=np.float64) for name, found in parts.items()}

    def patch(self, name: str, output: int) -> Callable[[Ints, Ints, Sequence[int] | None], Floats]:
        """A function that gives the followed probability of recipients ``(m,)`` with units of donors ``(m,)`` at a location.

        ``None`` in place of the units stands for all of them.
        """
        location, values = self._locations[name], self._values[name]
        tail = tail_of(self._model, name, location.tap)
        # A value of tokens costs attention as the whole model does.
        size = _PATCHED_ROWS if tail is not None and values.ndim == 2 else batch_rows(self._model.module, _PATCHED_ROWS)

        def run(recipients: Ints, donors: Ints, units: Sequence[int] | None) -> Floats:
            found = np.empty((len(recipients), n_columns(self._model)))
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
                    found[part] = self._outputs(location, tail, given, rows)
            return np.asarray(found[:, output])

        return run

    def _outputs(self, location: Location, tail: Callable[[Tensor], Any] | None, given: Tensor, rows: Tensor) -> Floats:
        if tail is not None:
            with without_map(self._model.module, location.name):  # the values went through the site's own map when they were read
                raw = tail(given)
        else:
            with locations_tapped(self._model, lambda _, value: given.to(value.dtype), [location]):
                raw = self._model.module(as_tensor(self._x[rows.numpy()]))
        return probabilities(to_logits(raw, self._model.n_classes, len(rows)))


def _gradient(value: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    if not value.requires_grad:
        raise NoGradientHereError("the model's output has no gradient with respect to its inner values")
    try:
        found = torch.autograd.grad(value, inputs, allow_unused=True)
    except RuntimeError as error:
        raise NoGradientHereError(f"the model cannot be differentiated ({' '.join(str(error).split())[:120]})") from error
    # A location that nothing after it reads has no gradient; that is a gradient of zero.
    return tuple(torch.zeros_like(i) if g is None else g.detach() for g, i in zip(found, inputs, strict=True))
