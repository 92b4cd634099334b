"""Measure proxies of one model: what they carry in its training table, what they do to its outputs, and which inputs feed these."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.activations.capture import Captured, capture
from proxyaudit.activations.replay import Replay, replayer
from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.causal.attribution import TextRows, attribute_columns, attribute_tokens
from proxyaudit.causal.proxy_use import (
    Attribution,
    Swapped,
    Swaps,
    draw_removals,
    draw_swaps,
    influence,
    path,
    reach,
    swap_columns,
    swapped_rows,
)
from proxyaudit.causal.tree_paths import attribute_paths
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.proxies.discover import measure_association
from proxyaudit.channels.proxies.record import OVERLAPS, USES, Attributions, UnitUse, UseRecord, VerbatimOverlap, label
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.data.encoding import Encoder
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.text_features import TextFeature, count_overlapping, holds_given_name
from proxyaudit.erasers.leace import LeaceEraser, fit_leace, random_subspace
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import NoGradientError, TabularModule
from proxyaudit.models.text import TextClassifier
from proxyaudit.models.trees import TreeEnsemble
from proxyaudit.seeding import stream
from proxyaudit.types import AUDITED

_RANDOMS = 3
_SURELY = 4.0  # standard errors: every encoded input is asked whether it tells the attribute
NO_DIRECTION = "the site is constant over the attribute: there is no sensitive direction"
Subspaces = tuple[list[LeaceEraser], list[list[LeaceEraser]]]
"""The attribute's subspace for the rows of each part, and random ones."""

_MOST_TEXTS = 1000  # that one feature is removed from; those that a removal leaves as they are cost nothing


class ColumnSwaps:
    """Columns of a table given another row's value, all their encoded inputs together; the same rows and donors serve every model."""

    sign = 1.0  # another value is given
    most_attributed = 256  # rows of each group that attributions are made for

    def __init__(self, view: ModelView, units: int) -> None:
        self.view, self.site = view, view.model.verdict_sites[-1]
        sources = view.dataset.encoder.sources
        self.inputs = {name: [i for i, source in enumerate(sources) if source == name] for name in view.proxies.columns}
        slow = isinstance(view.model.module, TabularModule) and view.model.module.batch_limit is not None
        self.swaps = draw_swaps(len(view.x), swapped_rows(units, slow=slow), stream(view.recipe.seed, "proxy swaps"))
        self.replay = replayer(view.model, view.x, self.site)

    def swapped(self, unit: tuple[str, ...]) -> Swapped:
        """What swapping a column or pair changes."""

        def forward(x_mp: Singles) -> tuple[Floats, NDArray[np.floating]]:
            after = capture(self.view.model, x_mp)
            return after.outputs, after.acts[self.site]

        before = self.view.captured
        columns = [place for name in unit for place in self.inputs[name]]
        return swap_columns(self.view.x, columns, self.swaps, forward, (before.outputs, before.acts[self.site]))

    def attributions(self, rows: Ints, direction_d: Floats, followed: Followed) -> tuple[Sequence[str], Attribution, Attribution] | str:
        """What feeds the probe's logit and the output's log-odds, by column: integrated gradients, of trees exact Shapley values."""
        model, x, groups, sources = self.view.model, self.view.x[rows], followed.groups_n[rows], list(self.inputs.values())
        if isinstance(model.module, TreeEnsemble):
            inside, outside = attribute_paths(model, x, groups, sources, ((self.site, direction_d), followed.output))
            return list(self.inputs), inside, outside
        try:
            inside = attribute_columns(model, x, groups, sources, (self.site, direction_d))
            outside = attribute_columns(model, x, groups, sources, followed.output)
        except NoGradientError as error:
            return str(error)
        return list(self.inputs), inside, outside


class TextRemovals:
    """Features left out of texts; the same texts serve every model."""

    sign = -1.0  # what goes with a feature that is left out is what it did
    most_attributed = 32  # one costs as much as sixty texts run forward

    def __init__(self, view: ModelView) -> None:
        encoder, module = view.dataset.encoder, view.model.module
        assert isinstance(encoder, TextEncoder)
        assert isinstance(module, TextClassifier)
        self.view, self.encoder, self.site = view, encoder, view.model.verdict_sites[-1]
        self.swaps = _removals(len(view.x), view.recipe.seed)
        # Only after the pooling can the rest of the model be run from the site; else a path would cost the whole transformer each time.
        self.replay: Replay | None = None
        if module.is_vector(self.site):
            self.replay = replayer(view.model, view.x, self.site, view.captured.acts[self.site])
        texts = encoder.scrubbed(view.dataset.audit, view.regime.scrub)
        self.lines = list(texts[encoder.column].iloc[self.swaps.rows_m])

    def swapped(self, unit: tuple[str, ...]) -> Swapped | None:
        """What leaving a feature out changes; nothing where the tokens stay the same."""
        feature, site, before = self.view.proxies.by_name[unit[0]].feature, self.site, self.view.captured
        if feature is None or not feature.removable:
            return None
        rows = self.swaps.rows_m
        places, x = _written_without(feature, self.lines, self.view.x[rows], self.encoder)
        change = np.zeros((len(rows), 1, before.outputs.shape[1]))
        moved = np.zeros((len(rows), 1, before.acts[site].shape[1]), dtype=np.float32)
        if len(places):
            after = self._forward(x)
            change[places, 0] = after.outputs - before.outputs[rows[places]]
            moved[places, 0] = after.acts[site] - before.acts[site][rows[places]]
        return Swapped(change, moved)

    def _forward(self, x: Singles) -> Captured:
        return capture(replace(self.view.model, sites=(self.site,)), x) if self.view.forward is None else self.view.forward(x)

    def attributions(self, rows: Ints, direction_d: Floats, followed: Followed) -> tuple[Sequence[str], Attribution, Attribution] | str:
        """Layer integrated gradients of the probe's logit and of the output's log-odds, summed by token over the texts of each group."""
        if self.encoder.token_names is None:
            return "the tokenizer does not tell what its tokens are"
        model, x = self.view.model, self.view.x[rows]
        tokens, names = tokens_to_name(x, self.view.dataset.clusters[rows], self.encoder)
        if not names:
            return f"no token stands in the texts of {SMALLEST_CELL} people among those that were attributed"
        given = TextRows(x, followed.groups_n[rows], tokens, self.encoder.special)
        inside = attribute_tokens(model, given, (self.site, direction_d))
        outside = attribute_tokens(model, given, followed.output)
        if inside is None or outside is None:
            return "the transformer has no embedding of tokens that could be attributed to"
        return names, inside, outside


def _removals(n: int, root: int) -> Swaps:
    return draw_removals(n, _MOST_TEXTS, stream(root, "removals"))


def _written_without(feature: TextFeature, lines: Sequence[Any], x_mp: Singles, encoder: TextEncoder) -> tuple[Ints, Singles]:
    """Places of the texts whose tokens change when they are written without a feature, and their new tokens."""
    written = [feature.without(line) if isinstance(line, str) else line for line in lines]
    places = np.array([place for place, line in enumerate(lines) if isinstance(line, str) and written[place] != line], dtype=np.int64)
    if not len(places):
        return places, x_mp[:0]
    x = encoder.transform(pd.DataFrame({encoder.column: [written[place] for place in places]}))
    differs = (x != x_mp[places]).any(axis=1)
    return places[differs], x[differs]


def rewritten_texts(x_np: Singles, texts: pd.DataFrame, encoder: TextEncoder, plan: ProxyPlan, root: int) -> Singles:
    """Tokens of every text that a removal changes: what a frozen transformer has to run over once for all repetitions."""
    rows = _removals(len(x_np), root).rows_m
    lines = list(texts[encoder.column].iloc[rows])
    features = [proxy.feature for proxy in plan.proxies if proxy.feature is not None and proxy.feature.removable]
    return np.concatenate([x_np[:0], *(_written_without(feature, lines, x_np[rows], encoder)[1] for feature in features)])


def tokens_to_name(x_mp: Singles, people_m: Ints, encoder: TextEncoder) -> tuple[list[list[int]], list[str]]:
    """Names of tokens that at least eleven people's texts among these hold, after the token numbers of each name."""
    assert encoder.token_names is not None
    x_mp = np.floor(x_mp)  # fractions mark spans
    used = np.unique(x_mp[x_mp >= 0]).astype(np.int64)
    by_name: dict[str, list[int]] = {}
    for token, name in zip(used, encoder.token_names([int(token) for token in used]), strict=True):
        if name and name.isprintable() and not any(letter.isdigit() for letter in name):
            by_name.setdefault(name, []).append(int(token))
    kept = {
        name: tokens
        for name, tokens in sorted(by_name.items())
        if len(np.unique(people_m[np.isin(x_mp, tokens).any(axis=1)])) >= SMALLEST_CELL and not holds_given_name(name)
    }
    return list(kept.values()), list(kept)


Intervention = ColumnSwaps | TextRemovals
"""How proxies are taken from the rows of one model: a column is given another row's value, a text is written without a feature."""


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
    audited = [a for a in view.dataset.attributes if a.role in AUDITED]
    dataset, parts, site = view.dataset, view.dataset.parts, view.model.verdict_sites[-1]
    units = list(dict.fromkeys(unit for a in audited for unit in view.proxies.units(a.name)))
    how: Intervention = ColumnSwaps(view, len(units)) if view.dataset.text is None else TextRemovals(view)
    acts = np.asarray(view.captured.acts[site], dtype=np.float64)
    subspaces = {a.name: _subspaces(acts, a, parts, view.recipe.seed) for a in audited}
    found: dict[str, dict[str, UnitUse]] = {a.name: {} for a in audited}
    for unit in units:
        swapped = how.swapped(unit)
        if swapped is None:
            continue
        for attribute in audited:
            if set(attribute.columns).isdisjoint(unit) and unit in view.proxies.units(attribute.name):
                use = _use(swapped, how, view.followed[attribute.name], parts, subspaces[attribute.name])
                accepted = set(unit) & set(dataset.legitimate)
                found[attribute.name][label(unit)] = replace(use, reach=None, around=None) if accepted else use
    # Gradients are dear, and a frozen transformer gives much the same in every repetition.
    attributed = view.asks("attributions") and (view.repetition == 0 or not view.frozen)
    for attribute in audited:
        attributions = _attributions(view, how, acts, attribute) if attributed else None
        together = _together(view, how, attribute, subspaces[attribute.name])
        USES.write(out, UseRecord(site, len(how.swaps.rows_m), found[attribute.name], attributions, together), attribute.name)


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


def _together(view: ModelView, how: Intervention, attribute: Attribute, subspaces: Subspaces) -> UnitUse | None:
    """All columns that carry an attribute exchanged at once, but those named legitimate; copies of it could each be idle alone."""
    if not view.decides or not isinstance(how, ColumnSwaps):
        return None
    concept = attribute.concept_columns()
    known = np.isfinite(concept).all(axis=1)
    encoder = view.dataset.encoder
    assert isinstance(encoder, Encoder)
    numbers = encoder.features(view.dataset.audit) if encoder.native else view.x  # codes and gaps are no numbers
    x, told = (_standard(np.asarray(values, dtype=np.float64)[known]) for values in (numbers, concept))
    tells = np.abs(x.T @ told).max(axis=1) > _SURELY * np.sqrt(known.sum())
    sources = encoder.feature_sources if encoder.native else encoder.sources
    telling = {name for name, one in zip(sources, tells, strict=True) if one}
    excluded = {*attribute.columns, *view.dataset.legitimate}
    unit = tuple(name for name in how.inputs if name in telling and name not in excluded)
    swapped = how.swapped(unit) if unit else None
    return None if swapped is None else _use(swapped, how, view.followed[attribute.name], view.dataset.parts, subspaces)


def _standard(values_nm: Floats) -> Floats:
    spread = values_nm.std(axis=0)
    return np.asarray((values_nm - values_nm.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def _use(swapped: Swapped, how: Intervention, followed: Followed, parts_n: Ints, subspaces: Subspaces) -> UnitUse:
    change = swapped.change_msc[:, :, followed.output]
    moved = influence(change, how.swaps, len(followed.groups_n))
    split = None
    if how.replay is not None:
        split = path(swapped, how.swaps, followed.groups_n, followed.output, parts_n, *subspaces, how.replay)
    total = reach(change, how.swaps, followed.groups_n) if split is None else split.total
    if total is None:
        return UnitUse(moved, reason="a group has too few rows to give their values")
    signed = total.signed.times(how.sign)
    if split is None:
        return UnitUse(moved, signed, reach=total, reason="the outputs do not follow from this site alone")
    return UnitUse(moved, signed, split.through.times(how.sign), split.random, total, split.around)


def _attributions(view: ModelView, how: Intervention, acts_nd: Floats, attribute: Attribute) -> Attributions:
    """What feeds the sensitive direction and the output, as contrasts of the groups; the same rows in every model."""
    followed, concept = view.followed[attribute.name], attribute.concept_columns()
    known = np.isfinite(concept).all(axis=1)
    eraser = fit_leace(acts_nd[known], concept[known])
    if eraser.rank == 0:
        return Attributions(reason=NO_DIRECTION)
    # The direction along which the groups compared differ, as LEACE reads it.
    coordinates = eraser.coordinates(acts_nd)
    low, high = (coordinates[followed.groups_n == group].mean(axis=0) for group in (0, 1))
    direction = np.asarray(eraser.read_dr @ (high - low))
    rng = stream(view.recipe.seed, "attributed rows", attribute.name)
    chosen = [rng.permutation(np.flatnonzero(followed.groups_n == g))[: how.most_attributed] for g in (0, 1)]
    rows = np.sort(np.concatenate(chosen))
    found = how.attributions(rows, direction, followed)
    if isinstance(found, str):
        return Attributions(reason=found)
    module = view.model.module
    return Attributions(len(rows), tuple(found[0]), found[1], found[2], of=module.head.adds_up if isinstance(module, TreeEnsemble) else "")
