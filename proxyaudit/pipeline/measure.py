"""Measure one trained model beside its sites: placebos, groups to compare, interventions and the eraser control."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.data.dataset import Attribute, Dataset
from proxyaudit.erasers.leace import fit_leace
from proxyaudit.pipeline.probing import classes_of
from proxyaudit.probes.crossfit import TooFewRowsError, assign_folds, cross_fit_classes
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import Rows, isotropic, linear_directions
from proxyaudit.stats.spike_in import Prior, plant_at_leak, plant_values

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OUTPUT_SITE = "outputs"
_INPUT_LEAK_RANGE = (0.001, 0.95)
_PLACEBO_FAMILIES = ("isotropic", "unit", "low", "high")


def base_rates(attribute: Attribute) -> Floats:
    """Base rates of the classes among the rows on which the attribute is known."""
    codes = np.asarray(attribute.codes)
    counts = np.bincount(codes[codes >= 0].astype(np.int64), minlength=classes_of(attribute))
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def plant_placebos(x_np: NDArray[Any], dataset: Dataset, leaks: dict[str, float | None], count: int, root: int) -> dict[str, NDArray[Any]]:
    """Placebo attributes: labels planted on the inputs with each attribute's own input leak and base rates.

    Args:
        x_np: Encoded inputs of the audit rows ``(n, p)``.
        dataset: The data set.
        leaks: Measured input leak of each attribute; ``None`` where it could not be measured.
        count: Placebos per attribute.
        root: Root seed.

    Returns:
        Label columns ``(n, count)`` for each attribute that could be measured.
    """
    rows = whiten(x_np).rows
    planted: dict[str, NDArray[Any]] = {}
    for attribute in dataset.attributes:
        leak = leaks.get(attribute.name)
        if leak is None or rows.rank == 0:
            continue
        leak = float(np.clip(leak, *_INPUT_LEAK_RANGE))
        columns: list[NDArray[Any]] = []
        for index in range(count):
            rng = stream(root, "placebo", attribute.name, index)
            column = plant_label(rows, attribute, _PLACEBO_FAMILIES[index % len(_PLACEBO_FAMILIES)], leak, rng)
            if column is None:  # a unit or axis with too few values cannot carry that much
                column = plant_label(rows, attribute, "isotropic", leak, rng)
            if column is not None:
                columns.append(column)
        if columns:
            planted[attribute.name] = np.stack(columns, axis=1)
    return planted


def plant_label(rows: Rows, attribute: Attribute, family: str, leak: float, rng: np.random.Generator) -> NDArray[Any] | None:
    """One label column ``(n,)`` with an attribute's base rates, planted along a direction; ``None`` where it cannot leak that much."""
    classes = classes_of(attribute)
    score = linear_directions(rows, family, 1, rng)
    if classes == 0:
        return plant_values(score[:, 0], rng.standard_normal(rows.n), leak)
    prior = Prior.of_rates(base_rates(attribute), rows.n)
    if classes == 2:
        plant = plant_at_leak(score[:, 0], prior, leak)
        return None if plant is None else plant.draw(rng)
    if family in ("low", "high"):
        scores = score * np.arange(classes) / (classes - 1)
    else:
        scores = np.concatenate([np.zeros((rows.n, 1)), linear_directions(rows, family, classes - 1, rng)], axis=1)
    plant = plant_at_leak(scores, prior, leak)
    return None if plant is None else plant.draw(rng)


def group_codes(attribute: Attribute) -> tuple[Ints, tuple[str, ...]]:
    """Group of each row (-1 where missing) and the group names; a continuous attribute is split at its median."""
    codes = np.asarray(attribute.codes)
    if attribute.kind != "continuous":
        return codes.astype(np.int64), attribute.levels
    known = np.isfinite(codes.astype(np.float64))
    above = codes > float(np.median(codes[known]))
    return np.where(known, above.astype(np.int64), -1).astype(np.int64), ("at or below the median", "above the median")


def groups_of(attribute: Attribute, outcome_nc: Floats) -> tuple[Ints, tuple[str, str], int]:
    """Two groups to compare in an intervention: ``(n,)`` of 0, 1 or -1, their names, and the output column followed.

    Of several groups the pair that differs most in the mean outcome is taken.
    """
    coded, levels = group_codes(attribute)
    pairs = [(a, b) for a in range(len(levels)) for b in range(a + 1, len(levels))]
    means = np.array(
        [outcome_nc[coded == k].mean(axis=0) if (coded == k).any() else np.full(outcome_nc.shape[1], np.nan) for k in range(len(levels))]
    )
    gaps = np.array([means[b] - means[a] for a, b in pairs])
    pair, output = np.unravel_index(int(np.nanargmax(np.abs(gaps))), gaps.shape)
    low, high = pairs[int(pair)]
    groups = np.where(coded == low, 0, np.where(coded == high, 1, -1)).astype(np.int64)
    return groups, (levels[low], levels[high]), int(output)


def concept_columns(attribute: Attribute) -> Floats:
    """Columns that an eraser removes: class indicators or the value; NaN where the attribute is missing."""
    codes = np.asarray(attribute.codes)
    if attribute.kind == "continuous":
        return np.asarray(codes.astype(np.float64)[:, None])
    columns: Floats = (codes[:, None] == np.arange(len(attribute.levels))[1:]).astype(np.float64)
    columns[codes < 0] = np.nan
    return columns


def eraser_residual(acts_nd: NDArray[Any], dataset: Dataset, margin: float, root: int, site: str) -> dict[str, float] | None:
    """Plant a strong binary signal, erase it with LEACE fitted on two parts, and read it on the third."""
    rows = whiten(acts_nd).rows
    if rows.rank == 0:
        return None
    rng = stream(root, "eraser", site)
    plant = plant_at_leak(isotropic(rows, 1, rng)[:, 0], Prior.of_rates(np.array([0.5, 0.5]), rows.n), 5 * margin)
    if plant is None:
        return None
    labels = plant.draw(rng)
    fit, fresh = dataset.parts < 2, dataset.parts == 2
    eraser = fit_leace(acts_nd[fit], labels[fit].astype(np.float64)[:, None])
    folds = assign_folds(dataset.clusters[fresh], stream(root, "eraser-folds"))
    try:
        before = cross_fit_classes(whiten(acts_nd[fresh]).z_nr, labels[fresh], 2, folds)
        after = cross_fit_classes(whiten(eraser(acts_nd[fresh])).z_nr, labels[fresh], 2, folds)
    except TooFewRowsError:
        return None
    return {"before": before.leak, "after": after.leak}
