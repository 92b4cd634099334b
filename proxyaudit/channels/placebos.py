"""Placebo attributes: labels planted on the inputs, or along directions of activations."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.data.dataset import Attribute, Dataset
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import Rows, linear_directions
from proxyaudit.stats.spike_in import Prior, plant_at_leak, plant_values

_INPUT_LEAK_RANGE = (0.001, 0.95)
_PLACEBO_FAMILIES = ("isotropic", "unit", "low", "high")


def plant_placebos(x_np: NDArray[Any], dataset: Dataset, leaks: dict[str, float | None], count: int, root: int) -> dict[str, NDArray[Any]]:
    """Placebos ``(n, count)`` of each attribute whose input leak is known: labels planted on inputs with its leak and base rates."""
    rows = whiten(x_np).rows
    planted: dict[str, NDArray[Any]] = {}
    for attribute in dataset.attributes:
        leak = leaks.get(attribute.name)
        if leak is None or rows.rank == 0:
            continue
        leak = float(np.clip(leak, *_INPUT_LEAK_RANGE))
        columns = []
        for index in range(count):
            families = (_PLACEBO_FAMILIES[index % len(_PLACEBO_FAMILIES)], "isotropic")
            columns.append(plant_label(rows, attribute, families, leak, stream(root, "placebo", attribute.name, index)))
        kept = [column for column in columns if column is not None]
        if kept:
            planted[attribute.name] = np.stack(kept, axis=1)
    return planted


def plant_label(rows: Rows, attribute: Attribute, families: Sequence[str], leak: float, rng: np.random.Generator) -> NDArray[Any] | None:
    """One label column ``(n,)`` with an attribute's base rates, planted along a direction of the first family that can leak that much."""
    # A unit or axis with too few values cannot.
    planted = (_planted(rows, attribute, family, leak, rng) for family in families)
    return next((column for column in planted if column is not None), None)


def _planted(rows: Rows, attribute: Attribute, family: str, leak: float, rng: np.random.Generator) -> NDArray[Any] | None:
    classes = attribute.classes
    score = linear_directions(rows, family, 1, rng)
    if classes == 0:
        return plant_values(score[:, 0], rng.standard_normal(rows.n), leak)
    prior = Prior.of_rates(attribute.rates, rows.n)
    if classes == 2:
        scores: NDArray[Any] = score[:, 0]
    elif family in ("low", "high"):
        scores = score * np.arange(classes) / (classes - 1)
    else:
        scores = np.concatenate([np.zeros((rows.n, 1)), linear_directions(rows, family, classes - 1, rng)], axis=1)
    plant = plant_at_leak(scores, prior, leak)
    return None if plant is None else plant.draw(rng)
