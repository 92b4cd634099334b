"""The plain way to shift activations: a whole pass over the table with a shift added at the named sites, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from proxyaudit.activations.capture import BATCH_ROWS, check_table, run_probabilities
from proxyaudit.activations.replay import check_sites, shifted
from proxyaudit.models.base import TrainedModel, as_tensor, batch_rows, inference
from proxyaudit.models.hooks import tapped


def shifted_outputs(
    model: TrainedModel, x: NDArray[np.float32], shifts: Mapping[str, NDArray[Any]], *, batch_size: int = BATCH_ROWS
) -> NDArray[np.float64]:
    """Return the outputs after adding a shift to the activations at the named sites, all at once.

    A shift is ``(n, d)``.

    Raises:
        InputError: unknown site, or what ``capture`` raises.
    """
    check_table(x)
    check_sites(model, shifts)
    current: dict[str, Tensor] = {}
    results = []

    def add(site: str, value: Tensor) -> Tensor:
        return shifted(value, current[site], site)

    size = batch_rows(model.module, batch_size)
    with inference(model.module), tapped(model, add, tuple(shifts)):
        for start in range(0, len(x), size):
            for site, shift in shifts.items():
                if np.ndim(shift) != 2 or len(shift) != len(x):
                    raise ValueError(f"shift at '{site}' has shape {np.shape(shift)} for {len(x)} rows")
                current[site] = as_tensor(shift[start : start + size])
            results.append(run_probabilities(model, model.module, as_tensor(x[start : start + size])))
    return np.concatenate(results)
