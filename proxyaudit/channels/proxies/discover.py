"""Which columns carry a protected attribute: asked of the real training rows while planning, so that the plan is fixed before measuring.

Discovery goes by association alone. Influence on the outputs is not known before a model is trained, and would differ between
regimes; every regime is asked about the same proxies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.causal.columns import pair_codes, settle_cells
from proxyaudit.causal.proxies import Association, Target, associate, pair_gain, pair_trace
from proxyaudit.channels.proxy_plan import Discovered, ProxyPlan, label, people
from proxyaudit.data.attributes import Attribute, code_attribute
from proxyaudit.data.columns import OTHER, labels
from proxyaudit.data.dataset import Dataset
from proxyaudit.probes.crossfit import TooFewRowsError, assign_folds
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import Measured, crossed_interval
from proxyaudit.types import NotTested

MOST_COLUMNS = 30  # columns, those that carry most, that are followed through a run
MOST_PAIRS = 3  # of each attribute
_SCREENED_PAIRS = 435
_READ_PAIRS = 8
_ROWS, _PAIR_ROWS = 20_000, 8_000


def known_target(attribute: Attribute, frame: pd.DataFrame, clusters_n: Ints, root: int) -> tuple[Target, NDArray[np.bool_]]:
    """The attribute on the rows of any table where it is known, coded as on the audit rows; and those rows."""
    column = frame[attribute.name]
    if attribute.kind == "continuous":
        values: NDArray[Any] = column.to_numpy(dtype=np.float64)
        known = np.isfinite(values)
    else:
        text = labels(column)
        values = pd.Index(attribute.levels).get_indexer(pd.Index(text)).astype(np.int64)
        if OTHER in attribute.levels:
            values[(values < 0) & text.notna().to_numpy()] = attribute.levels.index(OTHER)
        known = values >= 0
    clusters = np.unique(clusters_n[known], return_inverse=True)[1].astype(np.int64)
    folds = assign_folds(clusters, stream(root, "association folds")) if known.any() else np.zeros(0, dtype=np.int64)
    return Target(values[known], attribute.classes, folds, clusters), known


def associate_pair(
    pair: tuple[str, str], plan: ProxyPlan, frame: pd.DataFrame, target: Target, rng: np.random.Generator | None
) -> tuple[Association, Association]:
    """Association of a pair, and its gain over the first of the two."""
    better, other = pair
    codes, of_cell = pair_codes(plan.cells[better].codes(frame[better]), plan.cells[other].codes(frame[other], coarse=True))
    return pair_gain(codes, of_cell, target, rng)


def discover(recipe: Recipe, dataset: Dataset) -> tuple[Dataset, ProxyPlan]:
    """Find the columns and pairs that carry each protected attribute in the real training rows.

    Returns:
        The data set with the discovered proxies among its attributes, and the plan.
    """
    root, protected = recipe.seed, [a for a in dataset.attributes if a.role == "protected"]
    frame, clusters = _training_rows(dataset, root)
    cells = {feature.name: settle_cells(frame[feature.name], feature.kind) for feature in dataset.features}
    found: dict[str, dict[str, tuple[float, float]]] = {}
    level = 1 - 0.05 / max(len(cells) * len(protected), 1)
    for attribute in protected:
        target, known = known_target(attribute, frame, clusters, root)
        found[attribute.name] = {}
        for name in cells:
            if name == attribute.name:
                continue
            try:
                one = associate(cells[name].codes(frame[name][known]), target)
            except TooFewRowsError:
                break
            low = crossed_interval(Measured(np.array([one.value]), one.influence_n, target.clusters_n), level).low
            found[attribute.name][name] = (one.value, low)
    strongest = {name: max((table[name][0] for table in found.values() if name in table), default=0.0) for name in cells}
    columns = tuple(sorted(cells, key=lambda name: (-round(strongest[name], 9), name))[:MOST_COLUMNS])
    plan = ProxyPlan(columns, {}, cells, ())
    pairs = {a.name: _pairs(plan, a, found[a.name], frame, clusters, root) for a in protected}
    notes = list(dataset.notes)
    if len(cells) > len(columns):
        why = f"the {len(columns)} that carry most in the training rows were followed"
        notes.append(NotTested(what=f"proxy use of {len(cells) - len(columns)} more input columns", why=why))
    attributes, discovered = _as_attributes(recipe, dataset, found, notes)
    plan = ProxyPlan(columns, pairs, cells, discovered)
    return replace(dataset, attributes=(*dataset.attributes, *attributes), notes=tuple(notes)), plan


def _training_rows(dataset: Dataset, root: int) -> tuple[pd.DataFrame, Ints]:
    frame = dataset.train
    if len(frame) > _ROWS:
        frame = frame.iloc[np.sort(stream(root, "discovery rows").permutation(len(frame))[:_ROWS])]
    frame = frame.reset_index(drop=True)
    return frame, people(dataset, frame)


def _as_attributes(
    recipe: Recipe, dataset: Dataset, found: dict[str, dict[str, tuple[float, float]]], notes: list[NotTested]
) -> tuple[list[Attribute], tuple[Discovered, ...]]:
    """The strongest undeclared carriers as probe targets: each protected attribute's first, then each one's second, ..."""
    taken = {a.name for a in dataset.attributes} | set(dataset.legitimate) | {dataset.group}
    kinds = {kind.name: kind for kind in dataset.kinds}
    places: list[tuple[int, float, str, str]] = []
    for of, table in found.items():
        carrying = sorted((-round(value, 9), name) for name, (value, low) in table.items() if low > recipe.margins.leak)
        places += [(place, less, of, name) for place, (less, name) in enumerate(carrying)]
    attributes: list[Attribute] = []
    discovered: list[Discovered] = []
    for _, _, of, name in sorted(places):
        if name in taken or len(attributes) >= recipe.data.discover:
            continue
        taken.add(name)
        distinct = pd.concat([dataset.train[name], dataset.audit[name]]).nunique()
        groups = None if dataset.group is None else dataset.audit[dataset.group]
        attribute, remarks = code_attribute(dataset.audit[name], kinds[name], "proxy", distinct=distinct, where="audit rows", groups=groups)
        notes.extend(remarks)
        if attribute is not None:
            attributes.append(attribute)
            discovered.append(Discovered(name, of, found[of][name][0]))
    return attributes, tuple(discovered)


def _pairs(
    plan: ProxyPlan, attribute: Attribute, singles: dict[str, tuple[float, float]], frame: pd.DataFrame, clusters: Ints, root: int
) -> tuple[tuple[str, str], ...]:
    """Pairs that tell surely more than the better column: screened by a cheap trace, the best read on rows not seen."""
    if not singles:
        return ()
    names = [name for name in plan.columns if name in singles]
    rows = np.sort(stream(root, "pair rows").permutation(len(frame))[:_PAIR_ROWS])
    frame, clusters = frame.iloc[rows].reset_index(drop=True), clusters[rows]
    target, known = known_target(attribute, frame, clusters, root)
    frame = frame[known]
    traces: dict[tuple[str, str], float] = {}
    fine = {name: plan.cells[name].codes(frame[name]) for name in names}
    coarse = {name: plan.cells[name].codes(frame[name], coarse=True) for name in names}
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            if len(traces) >= _SCREENED_PAIRS:
                break
            better, other = sorted((one, two), key=lambda name: (-round(singles[name][0], 9), name))
            traces[better, other] = pair_trace(*pair_codes(fine[better], coarse[other]), target.labels_n, target.classes)
    best = sorted(traces, key=lambda pair: (-round(traces[pair], 6), pair))[:_READ_PAIRS]
    kept: list[tuple[float, tuple[str, str]]] = []
    for pair in best:
        try:
            _, gain = associate_pair(pair, plan, frame, target, None)
        except TooFewRowsError:
            continue
        interval = crossed_interval(Measured(np.array([gain.value]), gain.influence_n, target.clusters_n), 1 - 0.05 / len(best))
        if interval.low > 0:
            kept.append((gain.value, pair))
    # Two things of one name could not be told apart in a report: a column may itself be called "a + b".
    named = {label(pair): pair for _, pair in sorted(kept, key=lambda item: (round(item[0], 9), item[1])) if label(pair) not in plan.cells}
    return tuple(reversed(named.values()))[:MOST_PAIRS]
