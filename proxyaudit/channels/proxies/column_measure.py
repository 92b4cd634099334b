"""Measure proxies: what columns carry in a table, and what they do in one trained model.

Everything is asked about protected attributes only, and about the columns and pairs that the plan names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.activations.capture import Captured, capture
from proxyaudit.activations.replay import Replay, replayer
from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal.attribution import attribute_direction, attribute_output
from proxyaudit.causal.proxies import associate
from proxyaudit.causal.proxy_use import Number, Swapped, Swaps, draw_swaps, influence, oriented, path, swap_columns
from proxyaudit.channels.proxies.discover import associate_pair, known_target
from proxyaudit.channels.proxies.text_discover import with_habits
from proxyaudit.channels.proxy_plan import ProxyPlan, label, people
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.dataset import Dataset
from proxyaudit.erasers.leace import LeaceEraser, fit_leace, random_subspace
from proxyaudit.estimates.record import Measurement, cell_key
from proxyaudit.models.base import TabularModule, TrainedModel
from proxyaudit.probes.crossfit import TooFewRowsError
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import row_variance

MOST_TABLE_ROWS = 20_000
MOST_SWAPPED_ROWS, FEWEST_SWAPPED_ROWS = 4000, 200
_FORWARD_ROWS, _ATTENTION_ROWS = 600_000, 30_000  # rows run through the model for all columns of one model
_ATTRIBUTED_ROWS = 256  # of each group
_RANDOMS = 3
NO_DIRECTION = "the site is constant over the attribute: there is no sensitive direction"
_AUDIT_PERMUTATIONS, _TABLE_PERMUTATIONS = 199, 99


def measure_association(frame: pd.DataFrame, dataset: Dataset, plan: ProxyPlan, root: int, out: Measurement, *, rows: bool) -> None:
    """What each column and pair carries of each protected attribute in a table.

    Args:
        frame: The table, with the model's inputs; an attribute that it lacks is said to be lacking.
        dataset: The data set.
        plan: Columns, pairs and cells.
        root: Root seed.
        out: Where ``association`` and, where ``rows``, the row influences go.
        rows: Whether the rows are the audit rows, whose influences are kept; of other tables the variance is.
    """
    if len(frame) > MOST_TABLE_ROWS and not rows:
        kept = np.sort(stream(root, "association rows").permutation(len(frame))[:MOST_TABLE_ROWS])
        frame = frame.iloc[kept]
    frame = with_habits(frame, dataset, plan)
    # A text of a scrubbed regime is still its author's.
    clusters_n = people(dataset, frame) if rows or plan.habits else np.arange(len(frame))
    found: dict[str, Any] = out.numbers.setdefault("association", {})
    for attribute in (a for a in dataset.attributes if a.role == "protected"):
        if attribute.name not in frame:
            found[attribute.name] = {"reason": "the table does not hold the attribute"}
            continue
        target, known = known_target(attribute, frame, clusters_n, root)
        held = frame[known]
        units: dict[str, dict[str, Any]] = {}
        for unit in plan.units(attribute.name):
            if attribute.name in unit:
                continue
            rng = stream(root, "association null", attribute.name, *unit)
            try:
                if len(unit) == 1:
                    codes = plan.cells[unit[0]].codes(held[unit[0]])
                    one = associate(codes, target, rng, _AUDIT_PERMUTATIONS if rows else _TABLE_PERMUTATIONS)
                    results = {"association": one}
                else:
                    pair, gain = associate_pair((unit[0], unit[1]), plan, held, target, rng)
                    results = {"association": pair, "gain": gain}
            except TooFewRowsError as error:
                units[label(unit)] = {"reason": str(error)}
                continue
            numbers: dict[str, Any] = {}
            for what, result in results.items():
                variance = row_variance(result.influence_n, target.clusters_n)[0]
                numbers[what] = {"value": result.value, "variance": variance, "p": result.p, "null_high": result.null_high}
                if rows:
                    full = np.zeros(len(known))
                    full[known] = result.influence_n
                    out.arrays[cell_key(attribute.name, label(unit), what)] = full
            if len(unit) == 2 and "association" in units.get(unit[0], {}):
                # What the better column carries, the pair carries too.
                numbers["association"]["p"] = min(1.0, 2 * min(numbers["gain"]["p"], units[unit[0]]["association"]["p"]))
            units[label(unit)] = numbers
        found[attribute.name] = {"n": int(known.sum()), "units": units}


def measure_proxy_use(
    model: TrainedModel,
    captured: Captured,
    x_np: NDArray[np.float32],
    dataset: Dataset,
    plan: ProxyPlan,
    *,
    root: int,
    followed: dict[str, tuple[Ints, int]],
    attributions: bool,
    out: Measurement,
) -> None:
    """Influence of every column and pair on the followed output, its path through the attribute's subspace, and attributions.

    Args:
        model: The trained model.
        captured: Its activations and outputs on the audit rows.
        x_np: Encoded audit rows.
        dataset: The data set.
        plan: Columns and pairs.
        root: Root seed; the same rows and donors serve every model.
        followed: Groups compared and the output followed, by attribute.
        attributions: Whether to attribute the sensitive direction and the output to the columns.
        out: Where ``proxy use`` goes.
    """
    protected = [a for a in dataset.attributes if a.role == "protected"]
    inputs = {name: [i for i, source in enumerate(dataset.encoder.sources) if source == name] for name in plan.columns}
    units = list(dict.fromkeys(unit for a in protected for unit in plan.units(a.name)))
    site = model.verdict_sites[-1]
    acts = np.asarray(captured.acts[site], dtype=np.float64)
    swaps = draw_swaps(len(x_np), _rows_swapped(model, len(units)), stream(root, "proxy swaps"))
    replay = replayer(model, x_np, site)

    def forward(x_mp: NDArray[np.float32]) -> tuple[Floats, NDArray[np.floating]]:
        after = capture(model, x_mp)
        return after.outputs, after.acts[site]

    subspaces = {a.name: subspaces_of(acts, a, dataset.parts, root) for a in protected}
    found: dict[str, Any] = out.numbers.setdefault("proxy use", {})
    found.update({a.name: {"units": {}, "rows": len(swaps.rows_m), "site": site} for a in protected})
    for unit in units:
        columns = [place for name in unit for place in inputs[name]]
        swapped = swap_columns(x_np, columns, swaps, forward, (captured.outputs, captured.acts[site]))
        for attribute in protected:
            if attribute.name in unit or unit not in plan.units(attribute.name):
                continue
            groups, output = followed[attribute.name]
            key = cell_key(attribute.name, label(unit), "")
            numbers = unit_numbers(swapped, swaps, groups, output, dataset.parts, subspaces[attribute.name], replay, key, out)
            found[attribute.name]["units"][label(unit)] = numbers
    if attributions:
        for attribute in protected:
            found[attribute.name]["attribution"] = _attributions(
                model, x_np, acts, site, attribute, *followed[attribute.name], [inputs[name] for name in plan.columns], root
            )


def _rows_swapped(model: TrainedModel, units: int) -> int:
    slow = isinstance(model.module, TabularModule) and model.module.batch_limit is not None
    affordable = (_ATTENTION_ROWS if slow else _FORWARD_ROWS) // (4 * max(units, 1))
    return max(FEWEST_SWAPPED_ROWS, min(MOST_SWAPPED_ROWS, affordable))


Subspaces = tuple[list[LeaceEraser], list[list[LeaceEraser]]]


def subspaces_of(acts_nd: Floats, attribute: Attribute, parts_n: Ints, root: int) -> Subspaces:
    """The attribute's subspace for the rows of each part, fitted on the other two, and random ones of equal rank."""
    concept = attribute.concept_columns()
    known = np.isfinite(concept).all(axis=1)
    erasers: list[LeaceEraser] = []
    randoms: list[list[LeaceEraser]] = [[] for _ in range(_RANDOMS)]
    rng = stream(root, "proxy subspaces", attribute.name)
    for part in range(3):
        rows = known & (parts_n != part)
        erasers.append(fit_leace(acts_nd[rows], concept[rows]))
        for control in randoms:
            control.append(random_subspace(acts_nd[rows], max(erasers[-1].rank, 1), rng))
    return erasers, randoms


def unit_numbers(
    swapped: Swapped,
    swaps: Swaps,
    groups_n: Ints,
    output: int,
    parts_n: Ints,
    subspaces: Subspaces,
    replay: Replay | None,
    key: str,
    out: Measurement,
) -> dict[str, Any]:
    """Influence, oriented effect and path of one unit; their row influences go to ``out`` under ``key``."""
    change = swapped.change_msc[:, :, output]
    numbers: dict[str, Any] = {}

    def keep(what: str, number: Number | None) -> None:
        if number is not None:
            numbers[what] = number.value
            out.arrays[key + what] = number.influence_n

    keep("influence", influence(change, swaps, len(groups_n)))
    split = None if replay is None else path(swapped, swaps, groups_n, output, parts_n, *subspaces, replay)
    if split is None:
        keep("total", oriented(change, swaps, groups_n))
        few = "total" not in numbers
        numbers["reason"] = "a group has too few rows to give their values" if few else "the outputs do not follow from this site alone"
        return numbers
    keep("total", split.total)
    keep("through", split.through)
    return {**numbers, "random": list(split.random)}


def _attributions(
    model: TrainedModel,
    x_np: NDArray[np.float32],
    acts_nd: Floats,
    site: str,
    attribute: Attribute,
    groups_n: Ints,
    output: int,
    sources: list[list[int]],
    root: int,
) -> dict[str, Any]:
    """Integrated gradients of the probe's logit and of the output's log-odds, as contrasts of the groups."""
    direction = sensitive_direction(acts_nd, attribute, groups_n)
    if direction is None:
        return {"reason": NO_DIRECTION}
    rows = attributed_rows(attribute, groups_n, _ATTRIBUTED_ROWS, root)
    inside, outside = (
        attribute_direction(model, x_np[rows], site, direction, groups_n[rows], sources),
        attribute_output(model, x_np[rows], output, groups_n[rows], sources),
    )
    return {
        "rows": len(rows),
        "direction": {"columns": inside.columns.tolist(), "difference": inside.difference, "incomplete": inside.incomplete},
        "output": {"columns": outside.columns.tolist(), "difference": outside.difference, "incomplete": outside.incomplete},
    }


def sensitive_direction(acts_nd: Floats, attribute: Attribute, groups_n: Ints) -> Floats | None:
    """Direction of a site along which the groups compared differ, as LEACE reads it; ``None`` where the attribute is not in the site."""
    concept = attribute.concept_columns()
    known = np.isfinite(concept).all(axis=1)
    eraser = fit_leace(acts_nd[known], concept[known])
    if eraser.rank == 0:
        return None
    coordinates = eraser.coordinates(acts_nd)
    return np.asarray(eraser.read_dr @ (coordinates[groups_n == 1].mean(axis=0) - coordinates[groups_n == 0].mean(axis=0)))


def attributed_rows(attribute: Attribute, groups_n: Ints, most: int, root: int) -> Ints:
    """Rows of both groups that are attributed, at most ``most`` of each; the same in every model."""
    rng = stream(root, "attributed rows", attribute.name)
    return np.sort(np.concatenate([rng.permutation(np.flatnonzero(groups_n == g))[:most] for g in (0, 1)]))
