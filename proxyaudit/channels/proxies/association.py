"""What proxies carry of each protected attribute in a table."""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.causal.proxies import Association, Target, associate, pair_codes, pair_gain
from proxyaudit.channels.proxies.record import TABLES, Carried, TableRecord, UnitCarried, label
from proxyaudit.channels.proxy_plan import ProxyPlan, people
from proxyaudit.data.attributes import Attribute, code_as
from proxyaudit.data.dataset import Dataset
from proxyaudit.estimates.record import Measurement
from proxyaudit.probes.crossfit import TooFewRowsError, assign_folds
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import row_variance

MOST_TABLE_ROWS = 20_000
_AUDIT_PERMUTATIONS, _TABLE_PERMUTATIONS = 199, 99


def known_target(attribute: Attribute, frame: pd.DataFrame, clusters_n: Ints, root: int) -> tuple[Target, NDArray[np.bool_]]:
    """The attribute on the rows of any table where it is known, coded as on the audit rows; and those rows."""
    values = code_as(attribute, frame[attribute.name], where="")
    known = np.isfinite(values) if attribute.kind == "continuous" else values >= 0
    clusters = np.unique(clusters_n[known], return_inverse=True)[1].astype(np.int64)
    folds = assign_folds(clusters, stream(root, "association folds")) if known.any() else np.zeros(0, dtype=np.int64)
    return Target(values[known], attribute.classes, folds, clusters), known


def associate_pair(
    pair: tuple[str, str], plan: ProxyPlan, frame: pd.DataFrame, target: Target, rng: np.random.Generator | None
) -> tuple[Association, Association]:
    """Association of a pair, and its gain over the first of the two."""
    better, other = pair
    codes, of_cell = pair_codes(plan.codes(better, frame), plan.codes(other, frame, coarse=True))
    return pair_gain(codes, of_cell, target, rng)


def measure_association(frame: pd.DataFrame, dataset: Dataset, plan: ProxyPlan, root: int, out: Measurement, *, rows: bool) -> None:
    """What each proxy and pair carries of each protected attribute in a table that has the model's inputs.

    Of the audit rows (``rows``) the row influences are kept, of other tables the variance.
    """
    if len(frame) > MOST_TABLE_ROWS and not rows:
        kept = np.sort(stream(root, "association rows").permutation(len(frame))[:MOST_TABLE_ROWS])
        frame = frame.iloc[kept]
    frame = plan.with_values(frame)
    # A text of a scrubbed regime is still its author's.
    clusters_n = people(dataset, frame) if rows or plan.text is not None else np.arange(len(frame))
    for attribute in (a for a in dataset.attributes if a.role == "protected"):
        record = TableRecord(reason="the table does not hold the attribute")
        if attribute.name in frame:
            record = _carried(attribute, frame, clusters_n, plan, root, rows=rows)
        TABLES.write(out, record, attribute.name)


def _carried(attribute: Attribute, frame: pd.DataFrame, clusters_n: Ints, plan: ProxyPlan, root: int, *, rows: bool) -> TableRecord:
    """What carries one attribute."""
    target, known = known_target(attribute, frame, clusters_n, root)
    held = frame[known]
    units: dict[str, UnitCarried] = {}
    for unit in plan.units(attribute.name):
        if attribute.name in unit:
            continue
        rng = stream(root, "association null", attribute.name, *unit)
        gain = None
        try:
            if len(unit) == 1:
                permutations = _AUDIT_PERMUTATIONS if rows else _TABLE_PERMUTATIONS
                carried = associate(plan.codes(unit[0], held), target, rng, permutations)
            else:
                carried, gain = associate_pair((unit[0], unit[1]), plan, held, target, rng)
        except TooFewRowsError as error:
            units[label(unit)] = UnitCarried(reason=str(error))
            continue
        known_of = known if rows else None
        numbers = UnitCarried(_numbers(carried, target, known_of), None if gain is None else _numbers(gain, target, known_of))
        better = units[unit[0]].association if len(unit) == 2 and unit[0] in units else None
        if better is not None and numbers.association is not None and numbers.gain is not None:
            # What the better column carries, the pair carries too.
            p = min(1.0, 2 * min(numbers.gain.p, better.p))
            numbers = replace(numbers, association=replace(numbers.association, p=p))
        units[label(unit)] = numbers
    return TableRecord(units, int(known.sum()))


def _numbers(found: Association, target: Target, known_n: NDArray[np.bool_] | None) -> Carried:
    """Numbers of one association; with its influences on all rows where it is said which are known."""
    assert found.null_high is not None  # a null was asked for
    full = None
    if known_n is not None:
        full = np.zeros(len(known_n))
        full[known_n] = found.influence_n
    return Carried(found.value, row_variance(found.influence_n, target.clusters_n)[0], found.p, found.null_high, full)
