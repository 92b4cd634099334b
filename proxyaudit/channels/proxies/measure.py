"""Measure proxies of one model: what they carry in its training table, what they do to its outputs, and which inputs feed these."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations.capture import capture
from proxyaudit.activations.replay import replayer
from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.causal.attribution import attribute_columns
from proxyaudit.causal.proxy_use import Attribution, Swapped, draw_swaps, influence, oriented, path, swap_columns
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.proxies.association import measure_association
from proxyaudit.channels.proxies.record import OVERLAPS, USES, Attributions, UnitUse, UseRecord, VerbatimOverlap, label
from proxyaudit.channels.proxies.text_measure import TextRemovals
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.data.text_features import count_overlapping
from proxyaudit.erasers.leace import LeaceEraser, fit_leace, random_subspace
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import TabularModule, TrainedModel
from proxyaudit.seeding import stream

_RANDOMS = 3
NO_DIRECTION = "the site is constant over the attribute: there is no sensitive direction"
Subspaces = tuple[list[LeaceEraser], list[list[LeaceEraser]]]
"""The attribute's subspace for the rows of each part, and random ones."""

MOST_SWAPPED_ROWS, FEWEST_SWAPPED_ROWS = 4000, 200
_FORWARD_ROWS, _ATTENTION_ROWS = 600_000, 30_000  # rows run through the model for all columns of one model


class ColumnSwaps:
    """Columns of a table given another row's value, all their encoded inputs together; the same rows and donors serve every model."""

    sign = 1.0  # another value is given
    most_attributed = 256  # rows of each group that attributions are made for

    def __init__(self, view: ModelView, units: int) -> None:
        self.view, self.site = view, view.model.verdict_sites[-1]
        sources = view.dataset.encoder.sources
        self.inputs = {name: [i for i, source in enumerate(sources) if source == name] for name in view.proxies.columns}
        self.swaps = draw_swaps(len(view.x), _rows_swapped(view.model, units), stream(view.recipe.seed, "proxy swaps"))
        self.replay = replayer(view.model, view.x, self.site)

    def swapped(self, unit: tuple[str, ...]) -> Swapped:
        """What swapping a column or pair changes."""

        def forward(x_mp: Singles) -> tuple[Floats, NDArray[np.floating]]:
            after = capture(self.view.model, x_mp)
            return after.outputs, after.acts[self.site]

        before = self.view.captured
        columns = [place for name in unit for place in self.inputs[name]]
        return swap_columns(self.view.x, columns, self.swaps, forward, (before.outputs, before.acts[self.site]))

    def attributions(self, rows: Ints, direction_d: Floats, followed: Followed) -> tuple[Sequence[str], Attribution, Attribution]:
        """Integrated gradients of the probe's logit and of the output's log-odds, by column."""
        model, x, groups, sources = self.view.model, self.view.x[rows], followed.groups_n[rows], list(self.inputs.values())
        inside = attribute_columns(model, x, groups, sources, (self.site, direction_d))
        outside = attribute_columns(model, x, groups, sources, followed.output)
        return list(self.inputs), inside, outside


Intervention = ColumnSwaps | TextRemovals
"""How proxies are taken from the rows of one model: a column is given another row's value, a text is written without a feature."""


def _rows_swapped(model: TrainedModel, units: int) -> int:
    slow = isinstance(model.module, TabularModule) and model.module.batch_limit is not None
    affordable = (_ATTENTION_ROWS if slow else _FORWARD_ROWS) // (4 * max(units, 1))
    return max(FEWEST_SWAPPED_ROWS, min(MOST_SWAPPED_ROWS, affordable))


def measure(view: ModelView, out: Measurement) -> None:
    """What proxies carry in the model's own table, and what they do to its outputs; results go into ``out``."""
    dataset = view.dataset
    if view.table is not None:
        measure_association(view.table, dataset, view.proxies, view.recipe.seed, out, rows=False)
        if dataset.text is not None and view.regime.kind != "scrubbed":
            real = dataset.train[dataset.text]
            copied, by_chance = (count_overlapping(rows[dataset.text], real) for rows in (view.table, dataset.audit))
            OVERLAPS.write(out, VerbatimOverlap(copied, len(view.table), by_chance, len(dataset.audit)))
    measure_use(view, out)


def measure_use(view: ModelView, out: Measurement) -> None:
    """Influence of every proxy and pair on the followed output, its path through the attribute's subspace, and attributions."""
    protected = [a for a in view.dataset.attributes if a.role == "protected"]
    parts, site = view.dataset.parts, view.model.verdict_sites[-1]
    units = list(dict.fromkeys(unit for a in protected for unit in view.proxies.units(a.name)))
    how: Intervention = ColumnSwaps(view, len(units)) if view.dataset.text is None else TextRemovals(view)
    acts = np.asarray(view.captured.acts[site], dtype=np.float64)
    subspaces = {a.name: _subspaces(acts, a, parts, view.recipe.seed) for a in protected}
    found: dict[str, dict[str, UnitUse]] = {a.name: {} for a in protected}
    for unit in units:
        swapped = how.swapped(unit)
        if swapped is None:
            continue
        for attribute in protected:
            if attribute.name not in unit and unit in view.proxies.units(attribute.name):
                followed = view.followed[attribute.name]
                found[attribute.name][label(unit)] = _use(swapped, how, followed, parts, subspaces[attribute.name])
    # Gradients are dear, and a frozen transformer gives much the same in every repetition.
    attributed = view.decides and (view.repetition == 0 or not view.frozen)
    for attribute in protected:
        attributions = _attributions(view, how, acts, attribute) if attributed else None
        USES.write(out, UseRecord(site, len(how.swaps.rows_m), found[attribute.name], attributions), attribute.name)


def _subspaces(acts_nd: Floats, attribute: Attribute, parts_n: Ints, root: int) -> Subspaces:
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


def _use(swapped: Swapped, how: Intervention, followed: Followed, parts_n: Ints, subspaces: Subspaces) -> UnitUse:
    """Influence, effect between the groups and path of one proxy or pair."""
    change = swapped.change_msc[:, :, followed.output]
    moved = influence(change, how.swaps, len(followed.groups_n))
    split = None
    if how.replay is not None:
        split = path(swapped, how.swaps, followed.groups_n, followed.output, parts_n, *subspaces, how.replay)
    total = oriented(change, how.swaps, followed.groups_n) if split is None else split.total
    if total is None:
        return UnitUse(moved, reason="a group has too few rows to give their values")
    if split is None:
        return UnitUse(moved, total.times(how.sign), reason="the outputs do not follow from this site alone")
    return UnitUse(moved, total.times(how.sign), split.through.times(how.sign), split.random)


def _attributions(view: ModelView, how: Intervention, acts_nd: Floats, attribute: Attribute) -> Attributions:
    """What feeds the sensitive direction and the output, as contrasts of the groups; the same rows in every model."""
    followed = view.followed[attribute.name]
    direction = sensitive_direction(acts_nd, attribute, followed.groups_n)
    if direction is None:
        return Attributions(reason=NO_DIRECTION)
    rng = stream(view.recipe.seed, "attributed rows", attribute.name)
    chosen = [rng.permutation(np.flatnonzero(followed.groups_n == g))[: how.most_attributed] for g in (0, 1)]
    rows = np.sort(np.concatenate(chosen))
    found = how.attributions(rows, direction, followed)
    if isinstance(found, str):
        return Attributions(reason=found)
    return Attributions(len(rows), tuple(found[0]), found[1], found[2])


def sensitive_direction(acts_nd: Floats, attribute: Attribute, groups_n: Ints) -> Floats | None:
    """Direction of a site along which the groups compared differ, as LEACE reads it; ``None`` where the attribute is not in the site."""
    concept = attribute.concept_columns()
    known = np.isfinite(concept).all(axis=1)
    eraser = fit_leace(acts_nd[known], concept[known])
    if eraser.rank == 0:
        return None
    coordinates = eraser.coordinates(acts_nd)
    return np.asarray(eraser.read_dr @ (coordinates[groups_n == 1].mean(axis=0) - coordinates[groups_n == 0].mean(axis=0)))
