"""Measure one trained model: every site, attribute, reference column and intervention, on the audit rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations import Captured, replayer
from proxyaudit.causal.interchange import interchange
from proxyaudit.data.dataset import Attribute, Dataset
from proxyaudit.erasers.leace import fit_leace
from proxyaudit.models.base import TrainedModel
from proxyaudit.probes.crossfit import (
    ProbeScore,
    TooFewRowsError,
    assign_folds,
    cross_fit_classes,
    cross_fit_many,
    cross_fit_many_values,
    cross_fit_values,
)
from proxyaudit.probes.score import label_columns, permutation_null, score_statistics
from proxyaudit.probes.whitening import Whitened, whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.nulls import tail_probability
from proxyaudit.stats.spike_in import FAMILIES, plant_classes, plant_values

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OUTPUT_SITE = "outputs"
FLOOR_COLUMNS = 5
PLANTS = 20
_INPUT_LEAK_RANGE = (0.001, 0.95)


@dataclass(frozen=True)
class Measurement:
    """Numbers (JSON-able) and row influences of one (regime, seed)."""

    numbers: dict[str, Any]
    arrays: dict[str, NDArray[Any]]


def cell_key(attribute: str, site: str, what: str) -> str:
    """Key of an array within a measurement."""
    return f"{attribute}\x1f{site}\x1f{what}"


def classes_of(attribute: Attribute) -> int:
    """Number of classes; 0 for a continuous attribute."""
    return 0 if attribute.kind == "continuous" else len(attribute.levels)


def known_rows(attribute: Attribute) -> NDArray[np.bool_]:
    """Rows on which the attribute is known."""
    if attribute.kind == "continuous":
        return np.isfinite(np.asarray(attribute.codes, dtype=np.float64))
    return np.asarray(attribute.codes) >= 0


def base_rates(attribute: Attribute) -> Floats:
    """Base rates of the classes among the rows on which the attribute is known."""
    codes = np.asarray(attribute.codes)
    counts = np.bincount(codes[codes >= 0].astype(np.int64), minlength=classes_of(attribute))
    return np.asarray(counts / counts.sum(), dtype=np.float64)


def clusters_if_any(clusters_n: Ints) -> Ints | None:
    """The cluster ids, or ``None`` where every row stands alone."""
    return None if len(np.unique(clusters_n)) == len(clusters_n) else clusters_n


def measure_site(
    acts_nd: NDArray[Any],
    dataset: Dataset,
    placebos: dict[str, NDArray[Any]],
    *,
    site: str,
    root: int,
    permutations: int,
    margin: float,
    out: Measurement,
) -> None:
    """Probe every attribute at one site; results go into ``out``."""
    everything = whiten(acts_nd)
    folds = assign_folds(dataset.clusters, stream(root, "folds"))
    for attribute in dataset.attributes:
        known = known_rows(attribute)
        whitened = everything if known.all() else whiten(acts_nd[known])
        result = _measure_cell(
            whitened,
            attribute,
            known,
            folds[known],
            dataset.clusters[known],
            placebos.get(attribute.name),
            root,
            permutations,
            margin,
            site,
        )
        influence = result.pop("influence")
        null = result.pop("null")
        out.numbers.setdefault("cells", {}).setdefault(attribute.name, {})[site] = result
        full = np.zeros(len(known))
        if influence is not None:
            full[known] = influence
        out.arrays[cell_key(attribute.name, site, "influence")] = full
        out.arrays[cell_key(attribute.name, site, "null")] = null


def _measure_cell(
    whitened: Whitened,
    attribute: Attribute,
    known: NDArray[np.bool_],
    folds: Ints,
    clusters: Ints,
    placebos_nm: NDArray[Any] | None,
    root: int,
    permutations: int,
    margin: float,
    site: str,
) -> dict[str, Any]:
    z, codes, classes = whitened.z_nr, np.asarray(attribute.codes)[known], classes_of(attribute)
    cell: dict[str, Any] = {
        "rank": z.shape[1],
        "constant": whitened.constant,
        "dropped": whitened.dropped,
        "n": len(codes),
        "influence": None,
        "null": np.zeros(0),
        "reason": None,
    }
    if z.shape[1] == 0:
        # A site that is constant carries nothing: that is a measured zero, not a missing value.
        return {
            **cell,
            "leak": 0.0,
            "unweighted": 0.0,
            "auroc": None if classes == 0 else 0.5,
            "statistic": 0.0,
            "influence": np.zeros(len(codes)),
            "null": np.zeros(permutations),
            "floor": [],
            "placebo": [],
            "ridge": None,
            "floor_p": 1.0,
            "plants_found": None,
            "reason": "the site is constant",
        }
    try:
        score = _probe(z, codes, classes, folds)
    except TooFewRowsError as error:
        return {**cell, "leak": None, "reason": str(error)}
    columns, groups = label_columns(codes, attribute.kind, classes), clusters_if_any(clusters)
    rng = stream(root, "permutations", attribute.name)
    statistic, null = permutation_null(z, columns, groups, permutations, rng)
    shuffler = stream(root, "floor", attribute.name)
    shuffled = np.stack([_shuffle(codes, clusters, shuffler) for _ in range(FLOOR_COLUMNS)], axis=1)
    if groups is None:
        floor_statistic, floor_null = float(score_statistics(z, label_columns(shuffled[:, 0], attribute.kind, classes)).sum()), null
    else:
        # A shuffled attribute has another pattern within the clusters (one balanced in each has a far narrower null): a null of its own.
        floor_columns = label_columns(shuffled[:, 0], attribute.kind, classes)
        floor_rng = stream(root, "floor permutations", attribute.name)
        floor_statistic, floor_null = permutation_null(z, floor_columns, groups, permutations, floor_rng)
    cell |= {
        "leak": score.leak,
        "unweighted": score.unweighted,
        "auroc": score.auroc,
        "ridge": score.ridge,
        "influence": score.influence_n,
        "statistic": statistic,
        "null": null,
        "floor": _many(z, shuffled, classes, folds, score.ridge),
        "floor_p": tail_probability(floor_statistic, floor_null),
        "placebo": [] if placebos_nm is None else _many(z, placebos_nm[known], classes, folds, score.ridge),
        "plants_found": _plants_found(whitened, attribute, floor_null, margin, stream(root, "plants", attribute.name, site)),
    }
    return cell


def _probe(z: Floats, codes: NDArray[Any], classes: int, folds: Ints) -> ProbeScore:
    return (
        cross_fit_values(z, codes.astype(np.float64), folds)
        if classes == 0
        else cross_fit_classes(z, codes.astype(np.int64), classes, folds)
    )


def _many(z: Floats, columns: NDArray[Any], classes: int, folds: Ints, ridge: float) -> list[float]:
    if classes == 0:
        leaks = cross_fit_many_values(z, columns.astype(np.float64), folds, ridge)
    else:
        leaks = cross_fit_many(z, columns.astype(np.int64), classes, folds, ridge)
    return [float(leak) for leak in leaks if np.isfinite(leak)]


def _shuffle(codes: NDArray[Any], clusters: Ints, rng: np.random.Generator) -> NDArray[Any]:
    """Permute an attribute; whole clusters where it is constant within them, so that grouping is kept."""
    ids, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    if len(ids) < len(codes) and (codes[first][inverse] == codes).all():
        return np.asarray(rng.permutation(codes[first])[inverse])
    return np.asarray(rng.permutation(codes))


def _plants_found(whitened: Whitened, attribute: Attribute, null: Floats, margin: float, rng: np.random.Generator) -> dict[str, float]:
    """Share of plants at once and twice the margin that the permutation test finds at 5 %."""
    limit = float(np.quantile(null, 0.95))
    classes = classes_of(attribute)
    found = {}
    for times in (1, 2):
        hits = []
        for index in range(PLANTS):
            family = FAMILIES[index % len(FAMILIES)]
            leak = times * margin
            if classes == 0:
                planted: NDArray[Any] | None = plant_values(whitened.z_nr, whitened.x_nd, family, leak, rng)
            else:
                planted = plant_classes(whitened.z_nr, whitened.x_nd, family, base_rates(attribute), leak, rng)
            if planted is not None:
                hits.append(float(score_statistics(whitened.z_nr, label_columns(planted, attribute.kind, classes)).sum()) > limit)
        found[str(times)] = float(np.mean(hits)) if hits else 0.0
    return found


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
    whitened = whiten(x_np)
    planted: dict[str, NDArray[Any]] = {}
    for attribute in dataset.attributes:
        leak = leaks.get(attribute.name)
        if leak is None or whitened.z_nr.shape[1] == 0:
            continue
        leak = float(np.clip(leak, *_INPUT_LEAK_RANGE))
        columns: list[NDArray[Any]] = []
        for index in range(count):
            rng = stream(root, "placebo", attribute.name, index)
            family = FAMILIES[index % len(FAMILIES)]
            if classes_of(attribute) == 0:
                columns.append(plant_values(whitened.z_nr, whitened.x_nd, family, leak, rng))
                continue
            labels = plant_classes(whitened.z_nr, whitened.x_nd, family, base_rates(attribute), leak, rng)
            if labels is None:  # a unit or axis with too few values cannot carry that much
                labels = plant_classes(whitened.z_nr, whitened.x_nd, "isotropic", base_rates(attribute), leak, rng)
            if labels is not None:
                columns.append(labels)
        if columns:
            planted[attribute.name] = np.stack(columns, axis=1)
    return planted


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


def measure_interchange(
    model: TrainedModel,
    captured: Captured,
    x_np: NDArray[np.float32],
    dataset: Dataset,
    labels_n: Ints,
    *,
    root: int,
    followed: dict[str, tuple[Ints, int]],
    out: Measurement,
) -> None:
    """Interchange every attribute at every verdict site; results go into ``out``."""
    for site in model.verdict_sites:
        replay = replayer(model, x_np, site)
        for attribute in dataset.attributes:
            groups, output = followed[attribute.name]
            result = interchange(
                captured.acts[site],
                groups,
                concept_columns(attribute),
                labels_n,
                dataset.parts,
                replay,
                output,
                stream(root, "interchange", attribute.name, site),
            )
            cell: dict[str, Any] = {"reason": "no label has enough rows of both groups"}
            if result is not None:
                cell = {
                    "signed": result.effect.signed,
                    "product": result.effect.product,
                    "parts": [list(part) for part in result.effect.parts],
                    "random": [float(size) for size in result.random_sizes],
                    "null": [float(size) for size in result.null_sizes],
                    "completeness": result.completeness,
                    "selectivity": result.selectivity,
                    "rank": result.rank,
                    "n": result.rows,
                    "reason": None,
                }
                out.arrays[cell_key(attribute.name, site, "signed")] = result.effect.signed_influence_n
                out.arrays[cell_key(attribute.name, site, "product")] = result.effect.product_influence_n
            out.numbers.setdefault("interchange", {}).setdefault(attribute.name, {})[site] = cell


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
    whitened = whiten(acts_nd)
    if whitened.z_nr.shape[1] == 0:
        return None
    labels = plant_classes(whitened.z_nr, whitened.x_nd, "isotropic", np.array([0.5, 0.5]), 5 * margin, stream(root, "eraser", site))
    if labels is None:
        return None
    fit, fresh = dataset.parts < 2, dataset.parts == 2
    eraser = fit_leace(acts_nd[fit], labels[fit].astype(np.float64)[:, None])
    folds = assign_folds(dataset.clusters[fresh], stream(root, "eraser-folds"))
    try:
        before = cross_fit_classes(whiten(acts_nd[fresh]).z_nr, labels[fresh], 2, folds)
        after = cross_fit_classes(whiten(eraser(acts_nd[fresh])).z_nr, labels[fresh], 2, folds)
    except TooFewRowsError:
        return None
    return {"before": before.leak, "after": after.leak}
