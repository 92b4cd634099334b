"""Proxies as estimates: association, influence, their product, the path through the sensitive direction, attributions.

No verdict rests on these. The product is reported with the rule of Datta et al. 2017 (arXiv 1707.08120): a column is a proxy in use
where it both carries the attribute and moves the output, each above its margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.data.attributes import Attribute
from proxyaudit.data.unseen import NOT_SEEN
from proxyaudit.pipeline.cells import ABSENT_AT, PRESENT_AT, Cell, in_every_seed, over_seeds
from proxyaudit.pipeline.ledger import UNIT_CLASSES, UNIT_VALUES, Run
from proxyaudit.pipeline.plan import LEVEL
from proxyaudit.pipeline.probing import cell_key, classes_of
from proxyaudit.pipeline.proxy_discovery import label, people
from proxyaudit.stats.intervals import Measured, crossed_interval, distinct_seeds, fieller_ratio, p_above, p_below
from proxyaudit.stats.multiplicity import holm
from proxyaudit.types import State

if TYPE_CHECKING:  # the assembler calls this module
    from proxyaudit.pipeline.assemble import Assembler

Floats = NDArray[np.float64]

SHOWN_COLUMNS = 8  # of each attribute: influence, product, path and attributions
SHOWN_TOKENS = 12
_INCOMPLETE = 0.15  # standard deviations by which attributions may miss the groups' difference
_HARDLY = 0.1  # standard deviations between the groups below which a direction tells nothing to attribute

_READER = "out-of-fold mean of the attribute in each cell of the column, drawn towards the rest; null by permuting the attribute"
_SWAP = "the column's value replaced by that of random other rows, all its encoded inputs together"
_REMOVE = "the text written without the word or habit and read again"
UNIT_CHANGE = "mean absolute change of predicted probability"
UNIT_SIGNED = "change of predicted probability, donors of one group minus donors of the other"
UNIT_REMOVED = "what it adds to the predicted probability, one group minus the other"


@dataclass(frozen=True)
class _Carried:
    """What a column or pair carries on the audit rows."""

    measured: Measured
    p: float
    state: State


def add_proxies(assembler: Assembler) -> None:
    """Publish everything about proxies of every protected attribute."""
    for attribute in (a for a in assembler.dataset.attributes if a.role == "protected"):
        carried = _add_associations(assembler, attribute)
        leading = _leading(assembler, attribute, carried)
        for regime in assembler.prepared.regimes:
            run = assembler.runs[regime.name]
            if not regime.is_reference:
                _add_table(assembler, attribute, run)
            if run.measured and (not regime.is_reference or regime.kind == "untrained"):
                _add_use(assembler, attribute, run, carried, leading, reference=regime.is_reference)
            if run.measured and not regime.is_reference:
                _add_attributions(assembler, attribute, run, leading)


# Association ------------------------------------------------------------------------------------------------------


def _base(assembler: Assembler, attribute: Attribute, regime: str, what: str, unit: str) -> Cell:
    return Cell(
        "pair_gain" if what == "gain" else "association",
        attribute.name,
        regime,
        context=unit,
        margin=assembler.margins.leak,
        unit=UNIT_VALUES if classes_of(attribute) == 0 else UNIT_CLASSES,
        method=_READER
        if what == "association"
        else "what the pair's cells add to the better of its two columns; null within the better's cells",
    )


def _judge(cells: Sequence[tuple[Cell, Measured, float, float | None]], n: int | None) -> list[Cell]:
    """States of the columns of one table: Holm over them; present needs the null rejected and the margin passed.

    Never absent: where rows are few the reader draws everything to the prior and scores zero whatever the column carries.
    """
    above = [max(p, p_above(measured, cell.margin)) for cell, measured, p, _ in cells]
    judged = []
    for (cell, measured, _, null_high), adjusted, p_present in zip(cells, holm(above) if above else [], above, strict=True):
        state: State = "present" if adjusted <= PRESENT_AT else "unknown"
        reason = "not surely above the margin; absence is not tested, more rows would show more" if state == "unknown" else None
        judged.append(
            replace(
                cell,
                measured=measured,
                interval=crossed_interval(measured, LEVEL),
                present_p=p_present,
                null_high=null_high,
                n=n,
                state=state,
                reason=reason,
            )
        )
    return judged


def _add_associations(assembler: Assembler, attribute: Attribute) -> dict[str, _Carried]:
    """On the audit rows, where every attribute is known."""
    found = assembler.inputs.numbers["association"][attribute.name]
    arrays, carried = assembler.inputs.arrays, {}
    n = found["n"]
    clusters = people(assembler.dataset, assembler.dataset.audit)
    for what in ("association", "gain"):
        cells = []
        for unit, numbers in found["units"].items():
            one = numbers.get(what)
            if one is not None:
                measured = Measured(np.array([one["value"]]), arrays[cell_key(attribute.name, unit, what)], clusters)
                cells.append((_base(assembler, attribute, "inputs", what, unit), measured, one["p"], one["null_high"]))
            elif what == "association":
                assembler.ledger.add(replace(_base(assembler, attribute, "inputs", what, unit), state="unknown", reason=numbers["reason"]))
        for cell in _judge(cells, n):
            assembler.ledger.add(cell)
            if what == "association" and cell.measured is not None and cell.state is not None:
                carried[str(cell.context)] = _Carried(cell.measured, float(cell.present_p or 0.0), cell.state)
    return carried


def _add_table(assembler: Assembler, attribute: Attribute, run: Run) -> None:
    """In the table that a regime was trained on, one for each repetition unless it is a release."""
    tables = [m.numbers["association"][attribute.name] for m in run.measured if "association" in m.numbers]
    if not tables:
        return  # real rows and mixtures have no table of their own; failures are told elsewhere
    lacking = next((table["reason"] for table in tables if "units" not in table), None)
    if lacking is not None:
        reason = f"{lacking}, so what its columns carry cannot be measured there; on the audit rows it is"
        assembler.ledger.add(
            replace(_base(assembler, attribute, run.regime, "association", ""), context=None, state="unknown", reason=reason)
        )
        return
    n = min(table["n"] for table in tables) // 10 * 10
    for what in ("association", "gain"):
        cells = []
        for unit in tables[0]["units"]:
            ones = [table["units"][unit].get(what) for table in tables]
            if any(one is None for one in ones):
                why = next((str(t["units"][unit]["reason"]) for t in tables if "reason" in t["units"][unit]), None)
                if what == "association":
                    assembler.ledger.add(replace(_base(assembler, attribute, run.regime, what, unit), state="unknown", reason=why))
                continue
            values = np.array([one["value"] for one in ones])
            # Every repetition has rows of its own: their variance is averaged, not crossed.
            variance = float(np.mean([one["variance"] for one in ones])) / len(distinct_seeds(values))
            measured = Measured(values, np.zeros(len(assembler.clusters)), assembler.clusters, variance, max(n - 1.0, 1.0))
            cell = _base(assembler, attribute, run.regime, what, unit)
            cells.append((cell, measured, max(one["p"] for one in ones), float(np.mean([one["null_high"] for one in ones]))))
        for cell in _judge(cells, n):
            assembler.ledger.add(cell)


# Influence, product and path --------------------------------------------------------------------------------------


def _units_of(run: Run, attribute: Attribute) -> Mapping[str, Any]:
    units: Mapping[str, Any] = run.measured[0].numbers["proxy use"][attribute.name]["units"]
    return units


def _over_seeds(assembler: Assembler, attribute: Attribute, run: Run, unit: str, what: str) -> list[Measured] | None:
    """One number of a column in every model of a regime."""
    values = [m.numbers["proxy use"][attribute.name]["units"][unit].get(what) for m in run.measured]
    if any(value is None for value in values):
        return None
    key = cell_key(attribute.name, unit, what)
    return [Measured(np.array([value]), m.arrays[key], assembler.clusters) for value, m in zip(values, run.measured, strict=True)]


def _leading(assembler: Assembler, attribute: Attribute, carried: Mapping[str, _Carried]) -> list[str]:
    """Columns and pairs by association times influence, averaged over the regimes; those that move nothing between the groups come last."""
    runs = [r for r in (assembler.runs[g.name] for g in assembler.prepared.regimes if not g.is_reference) if r.measured]
    products: dict[str, float] = {}
    for unit in [u for u in carried if all(u in _units_of(run, attribute) for run in runs)]:
        sizes = [m.numbers["proxy use"][attribute.name]["units"][unit]["influence"] for run in runs for m in run.measured]
        products[unit] = max(carried[unit].measured.value, 0.0) * float(np.mean(sizes)) if sizes else 0.0
    pairs = {label(pair) for pair in assembler.prepared.proxies.pairs.get(attribute.name, ())}
    idle = {u for u in products if all(_moves_between(_over_seeds(assembler, attribute, run, u, "total")) > PRESENT_AT for run in runs)}
    ranked = sorted(products, key=lambda unit: (unit in idle, -round(products[unit], 9), unit))
    return [*[u for u in ranked if u not in pairs][:SHOWN_COLUMNS], *[u for u in ranked if u in pairs]]


def _add_use(
    assembler: Assembler, attribute: Attribute, run: Run, carried: Mapping[str, _Carried], leading: Sequence[str], *, reference: bool
) -> None:
    site = run.measured[0].numbers["proxy use"][attribute.name]["site"]
    n = run.measured[0].numbers["proxy use"][attribute.name]["rows"]
    _, (low, high), _ = assembler.followed[attribute.name]
    signed = UNIT_REMOVED if assembler.prepared.proxies.habits else UNIT_SIGNED
    products: list[tuple[Cell, float, float]] = []
    for unit in leading:
        base = Cell("", attribute.name, run.regime, None, unit, decides=False, n=n)
        moved = _over_seeds(assembler, attribute, run, unit, "influence")
        if moved is None:
            continue
        size = over_seeds(moved)
        _publish(assembler, replace(base, channel="influence", unit=UNIT_CHANGE, method=_how(assembler)), size)
        if reference:
            continue  # beside trained models: what random weights do with the same swap
        total = _over_seeds(assembler, attribute, run, unit, "total")
        product = replace(base, method="association on the audit rows times influence")
        products.append(_product(assembler, product, carried[unit], moved, total))
        _add_path(assembler, replace(base, group=f"{low} to {high}", unit=signed), attribute, run, unit, site)
    for (cell, _, below), adjusted in zip(products, holm([p for _, p, _ in products]) if products else [], strict=True):
        state: State = "present" if adjusted <= PRESENT_AT else "absent" if below <= ABSENT_AT else "unknown"
        reason = (
            "whether it carries the attribute and moves the output between the groups, each above its margin, is not settled"
            if state == "unknown"
            else None
        )
        if state == "absent" and run.regime in assembler.prepared.plan.get("no_absence", ()):
            state, reason = "unknown", NOT_SEEN
        assembler.ledger.add(replace(cell, state=state, reason=reason))


def _how(assembler: Assembler) -> str:
    return _REMOVE if assembler.prepared.proxies.habits else _SWAP


def _publish(assembler: Assembler, cell: Cell, measured: Measured) -> None:
    assembler.ledger.add(replace(cell, measured=measured, interval=crossed_interval(measured, LEVEL)))


def _product(
    assembler: Assembler, base: Cell, carried: _Carried, moved: Sequence[Measured], total: Sequence[Measured] | None
) -> tuple[Cell, float, float]:
    """The product with the delta method; how surely both of its factors are above their margins, and the influence below its own.

    A column may carry the attribute in one part of its values and move the outputs by another (a code that packs two things). Giving
    rows the column of one group or of the other must therefore move the outputs as well.
    """
    size, share = over_seeds(moved), carried.measured
    product = Measured(
        size.seed_values * share.value, size.influence_n * share.value + share.influence_n * size.value, size.clusters_n, row_df=size.row_df
    )
    effect = assembler.margins.effect
    present = max(carried.p, in_every_seed(moved, effect), _moves_between(total))
    absent = max(p_below(one, effect) for one in moved)
    cell = replace(
        base,
        channel="proxy_use",
        unit="association times influence",
        measured=product,
        interval=crossed_interval(product, LEVEL),
        decides=True,
        present_p=present,
        absent_p=absent,
        can_be_absent=True,
        margin=assembler.margins.leak * effect,
    )
    return cell, present, absent


def _moves_between(total: Sequence[Measured] | None) -> float:
    """p-value of "the column of the other group moves the outputs", in the same direction in every model."""
    if total is None:
        return 1.0
    up = over_seeds(total).value >= 0
    return in_every_seed([one if up else -one for one in total], 0.0)


def _add_path(assembler: Assembler, base: Cell, attribute: Attribute, run: Run, unit: str, site: str) -> None:
    total = _over_seeds(assembler, attribute, run, unit, "total")
    through = _over_seeds(assembler, attribute, run, unit, "through")
    if total is not None:
        _publish(assembler, replace(base, channel="path_total", method=f"{_how(assembler)}; by group"), over_seeds(total))
    cell = replace(
        base, channel="path", site=site, method="the part of path_total that is gone when the attribute's LEACE subspace is held fixed"
    )
    if total is None or through is None:
        found = [m.numbers["proxy use"][attribute.name]["units"][unit].get("reason") for m in run.measured]
        assembler.ledger.add(replace(cell, reason=next((text for text in found if text), None)))
        return
    random = float(np.mean([max(m.numbers["proxy use"][attribute.name]["units"][unit]["random"]) for m in run.measured]))
    _publish(assembler, replace(cell, null_high=random), over_seeds(through))
    share = replace(cell, channel="path_share", unit="share of path_total", method="path over path_total, Fieller's interval")
    ratio = fieller_ratio(over_seeds(through), over_seeds(total), LEVEL)
    if ratio is None:
        assembler.ledger.add(replace(share, reason="the column's own effect between the groups is not clearly different from zero"))
    else:
        assembler.ledger.add(replace(share, interval=ratio), value=ratio.value)


# Attributions -----------------------------------------------------------------------------------------------------


def _add_attributions(assembler: Assembler, attribute: Attribute, run: Run, leading: Sequence[str]) -> None:
    # Of frozen transformers the first repetition stands for all.
    found = [one["attribution"] for one in (m.numbers["proxy use"][attribute.name] for m in run.measured) if "attribution" in one]
    site = run.measured[0].numbers["proxy use"][attribute.name]["site"]
    _, (low, high), _ = assembler.followed[attribute.name]
    missing = next((one["reason"] for one in found if "reason" in one), None if found else "the repetition that stands for all failed")
    tokens = bool(assembler.prepared.proxies.habits)
    for what in ("direction", "output"):
        base = Cell(
            f"attribution_{what}",
            attribute.name,
            run.regime,
            site if what == "direction" else None,
            group=f"{low} to {high}",
            decides=False,
            unit="share of the groups' difference along the sensitive direction"
            if what == "direction"
            else "standard deviations of the log-odds",
            method="layer integrated gradients of the token embedding, summed over the places of a token; difference of the groups"
            if tokens
            else "integrated gradients from the mean row, summed over the column's encoded inputs; difference of the groups",
        )
        if missing is not None:
            assembler.ledger.add(replace(base, reason=missing))
            continue
        if what == "direction" and min(one[what]["difference"] for one in found) < _HARDLY:
            assembler.ledger.add(replace(base, reason="the groups hardly differ along the direction, so there is nothing to share out"))
            continue
        if tokens and max(one[what]["incomplete"] for one in found) > _INCOMPLETE:
            assembler.ledger.add(replace(base, reason="the gradients do not add up to the groups' difference (a rounded model has none)"))
            continue
        n = found[0]["rows"]
        values_of = {
            name: np.array([one[what]["columns"][place] / (one[what]["difference"] if what == "direction" else 1.0) for one in found])
            for place, name in enumerate(found[0]["names"] if tokens else assembler.prepared.proxies.columns)
        }
        if tokens:
            ranked = sorted(values_of, key=lambda name: (-abs(round(float(values_of[name].mean()), 9)), name))
            shown = {f"token \u201c{name}\u201d": values_of[name] for name in ranked[:SHOWN_TOKENS]}
        else:
            shown = {name: values for name, values in values_of.items() if name in leading}
        for name, values in shown.items():
            measured = Measured(values, np.zeros(len(assembler.clusters)), assembler.clusters)
            # Over repetitions only: the rows are a few hundred, the same for all, and shares of a difference share their error.
            interval = crossed_interval(measured, LEVEL) if len(distinct_seeds(values)) > 1 else None
            assembler.ledger.add(replace(base, context=name, measured=measured, interval=interval, n=n))
