"""Proxies as estimates: association, influence, their product, the path through the sensitive direction, attributions.

No verdict rests on these. The product is reported with the rule of Datta et al. 2017 (arXiv 1707.08120): a column is a proxy in use
where it both carries the attribute and moves the output, each above its margin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proxyaudit.channels.proxy_plan import label
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.unseen import NOT_SEEN
from proxyaudit.estimates.draft import ABSENT_AT, PRESENT_AT, Draft
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import UNIT_CLASSES, UNIT_VALUES, Drafts
from proxyaudit.estimates.record import cell_key
from proxyaudit.stats.intervals import (
    LEVEL,
    Measured,
    crossed_interval,
    distinct_seeds,
    fieller_ratio,
    in_every_seed,
    over_seeds,
    p_above,
    p_below,
)
from proxyaudit.stats.multiplicity import holm
from proxyaudit.types import State

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


def estimate(facts: Facts) -> Drafts:
    """Publish everything about proxies of every protected attribute."""
    out = Drafts()
    for attribute in facts.protected:
        carried = _add_associations(out, facts, attribute)
        leading = _leading(facts, attribute, carried)
        for run in facts.runs:
            if not run.is_reference:
                _add_table(out, facts, attribute, run)
            if run.measured and (not run.is_reference or run.kind == "untrained"):
                _add_use(out, facts, attribute, run, carried, leading, reference=run.is_reference)
            if run.measured and not run.is_reference:
                _add_attributions(out, facts, attribute, run, leading)
    return out


# Association ------------------------------------------------------------------------------------------------------


def _base(facts: Facts, attribute: Attribute, regime: str, what: str, unit: str) -> Draft:
    return Draft(
        "pair_gain" if what == "gain" else "association",
        attribute.name,
        regime,
        context=unit,
        margin=facts.margins.leak,
        unit=UNIT_VALUES if attribute.classes == 0 else UNIT_CLASSES,
        method=_READER
        if what == "association"
        else "what the pair's cells add to the better of its two columns; null within the better's cells",
    )


def _judge(cells: Sequence[tuple[Draft, Measured, float, float | None]], n: int | None) -> list[Draft]:
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


def _add_associations(out: Drafts, facts: Facts, attribute: Attribute) -> dict[str, _Carried]:
    """On the audit rows, where every attribute is known."""
    found = facts.inputs.numbers["association"][attribute.name]
    arrays, carried = facts.inputs.arrays, {}
    n = found["n"]
    clusters = facts.people_n
    for what in ("association", "gain"):
        cells = []
        for unit, numbers in found["units"].items():
            one = numbers.get(what)
            if one is not None:
                measured = Measured(np.array([one["value"]]), arrays[cell_key(attribute.name, unit, what)], clusters)
                cells.append((_base(facts, attribute, "inputs", what, unit), measured, one["p"], one["null_high"]))
            elif what == "association":
                out.add(replace(_base(facts, attribute, "inputs", what, unit), state="unknown", reason=numbers["reason"]))
        for cell in _judge(cells, n):
            out.add(cell)
            if what == "association" and cell.measured is not None and cell.state is not None:
                carried[str(cell.context)] = _Carried(cell.measured, float(cell.present_p or 0.0), cell.state)
    return carried


def _add_table(out: Drafts, facts: Facts, attribute: Attribute, run: Run) -> None:
    """In the table that a regime was trained on, one for each repetition unless it is a release."""
    tables = [m.numbers["association"][attribute.name] for m in run.measured if "association" in m.numbers]
    if not tables:
        return  # real rows and mixtures have no table of their own; failures are told elsewhere
    lacking = next((table["reason"] for table in tables if "units" not in table), None)
    if lacking is not None:
        reason = f"{lacking}, so what its columns carry cannot be measured there; on the audit rows it is"
        out.add(replace(_base(facts, attribute, run.regime, "association", ""), context=None, state="unknown", reason=reason))
        return
    n = min(table["n"] for table in tables) // 10 * 10
    for what in ("association", "gain"):
        cells = []
        for unit in tables[0]["units"]:
            ones = [table["units"][unit].get(what) for table in tables]
            if any(one is None for one in ones):
                why = next((str(t["units"][unit]["reason"]) for t in tables if "reason" in t["units"][unit]), None)
                if what == "association":
                    out.add(replace(_base(facts, attribute, run.regime, what, unit), state="unknown", reason=why))
                continue
            values = np.array([one["value"] for one in ones])
            # Every repetition has rows of its own: their variance is averaged, not crossed.
            variance = float(np.mean([one["variance"] for one in ones])) / len(distinct_seeds(values))
            measured = Measured(values, np.zeros(len(facts.clusters_n)), facts.clusters_n, variance, max(n - 1.0, 1.0))
            cell = _base(facts, attribute, run.regime, what, unit)
            cells.append((cell, measured, max(one["p"] for one in ones), float(np.mean([one["null_high"] for one in ones]))))
        for cell in _judge(cells, n):
            out.add(cell)


# Influence, product and path --------------------------------------------------------------------------------------


def _units_of(run: Run, attribute: Attribute) -> Mapping[str, Any]:
    units: Mapping[str, Any] = run.measured[0].numbers["proxy use"][attribute.name]["units"]
    return units


def _over_seeds(facts: Facts, attribute: Attribute, run: Run, unit: str, what: str) -> list[Measured] | None:
    """One number of a column in every model of a regime."""
    values = [m.numbers["proxy use"][attribute.name]["units"][unit].get(what) for m in run.measured]
    if any(value is None for value in values):
        return None
    key = cell_key(attribute.name, unit, what)
    return [Measured(np.array([value]), m.arrays[key], facts.clusters_n) for value, m in zip(values, run.measured, strict=True)]


def _leading(facts: Facts, attribute: Attribute, carried: Mapping[str, _Carried]) -> list[str]:
    """Columns and pairs by association times influence, averaged over the regimes; those that move nothing between the groups come last."""
    runs = [run for run in facts.audited if run.measured]
    products: dict[str, float] = {}
    for unit in [u for u in carried if all(u in _units_of(run, attribute) for run in runs)]:
        sizes = [m.numbers["proxy use"][attribute.name]["units"][unit]["influence"] for run in runs for m in run.measured]
        products[unit] = max(carried[unit].measured.value, 0.0) * float(np.mean(sizes)) if sizes else 0.0
    pairs = {label(pair) for pair in facts.pairs.get(attribute.name, ())}
    idle = {u for u in products if all(_moves_between(_over_seeds(facts, attribute, run, u, "total")) > PRESENT_AT for run in runs)}
    ranked = sorted(products, key=lambda unit: (unit in idle, -round(products[unit], 9), unit))
    return [*[u for u in ranked if u not in pairs][:SHOWN_COLUMNS], *[u for u in ranked if u in pairs]]


def _add_use(
    out: Drafts, facts: Facts, attribute: Attribute, run: Run, carried: Mapping[str, _Carried], leading: Sequence[str], *, reference: bool
) -> None:
    site = run.measured[0].numbers["proxy use"][attribute.name]["site"]
    n = run.measured[0].numbers["proxy use"][attribute.name]["rows"]
    low, high = facts.followed[attribute.name].names
    signed = UNIT_REMOVED if facts.text else UNIT_SIGNED
    products: list[tuple[Draft, float, float]] = []
    for unit in leading:
        base = Draft("", attribute.name, run.regime, None, unit, decides=False, n=n)
        moved = _over_seeds(facts, attribute, run, unit, "influence")
        if moved is None:
            continue
        size = over_seeds(moved)
        _publish(out, facts, replace(base, channel="influence", unit=UNIT_CHANGE, method=_how(facts)), size)
        if reference:
            continue  # beside trained models: what random weights do with the same swap
        total = _over_seeds(facts, attribute, run, unit, "total")
        product = replace(base, method="association on the audit rows times influence")
        products.append(_product(facts, product, carried[unit], moved, total))
        _add_path(out, facts, replace(base, group=f"{low} to {high}", unit=signed), attribute, run, unit, site)
    for (cell, _, below), adjusted in zip(products, holm([p for _, p, _ in products]) if products else [], strict=True):
        state: State = "present" if adjusted <= PRESENT_AT else "absent" if below <= ABSENT_AT else "unknown"
        reason = (
            "whether it carries the attribute and moves the output between the groups, each above its margin, is not settled"
            if state == "unknown"
            else None
        )
        if state == "absent" and run.regime in facts.no_absence:
            state, reason = "unknown", NOT_SEEN
        out.add(replace(cell, state=state, reason=reason))


def _how(facts: Facts) -> str:
    return _REMOVE if facts.text else _SWAP


def _publish(out: Drafts, facts: Facts, cell: Draft, measured: Measured) -> None:
    out.add(replace(cell, measured=measured, interval=crossed_interval(measured, LEVEL)))


def _product(
    facts: Facts, base: Draft, carried: _Carried, moved: Sequence[Measured], total: Sequence[Measured] | None
) -> tuple[Draft, float, float]:
    """The product with the delta method; how surely both of its factors are above their margins, and the influence below its own.

    A column may carry the attribute in one part of its values and move the outputs by another (a code that packs two things). Giving
    rows the column of one group or of the other must therefore move the outputs as well.
    """
    size, share = over_seeds(moved), carried.measured
    product = Measured(
        size.seed_values * share.value, size.influence_n * share.value + share.influence_n * size.value, size.clusters_n, row_df=size.row_df
    )
    effect = facts.margins.effect
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
        margin=facts.margins.leak * effect,
    )
    return cell, present, absent


def _moves_between(total: Sequence[Measured] | None) -> float:
    """p-value of "the column of the other group moves the outputs", in the same direction in every model."""
    if total is None:
        return 1.0
    up = over_seeds(total).value >= 0
    return in_every_seed([one if up else -one for one in total], 0.0)


def _add_path(out: Drafts, facts: Facts, base: Draft, attribute: Attribute, run: Run, unit: str, site: str) -> None:
    total = _over_seeds(facts, attribute, run, unit, "total")
    through = _over_seeds(facts, attribute, run, unit, "through")
    if total is not None:
        _publish(out, facts, replace(base, channel="path_total", method=f"{_how(facts)}; by group"), over_seeds(total))
    cell = replace(
        base, channel="path", site=site, method="the part of path_total that is gone when the attribute's LEACE subspace is held fixed"
    )
    if total is None or through is None:
        found = [m.numbers["proxy use"][attribute.name]["units"][unit].get("reason") for m in run.measured]
        out.add(replace(cell, reason=next((text for text in found if text), None)))
        return
    random = float(np.mean([max(m.numbers["proxy use"][attribute.name]["units"][unit]["random"]) for m in run.measured]))
    _publish(out, facts, replace(cell, null_high=random), over_seeds(through))
    share = replace(cell, channel="path_share", unit="share of path_total", method="path over path_total, Fieller's interval")
    ratio = fieller_ratio(over_seeds(through), over_seeds(total), LEVEL)
    if ratio is None:
        out.add(replace(share, reason="the column's own effect between the groups is not clearly different from zero"))
    else:
        out.add(replace(share, interval=ratio), value=ratio.value)


# Attributions -----------------------------------------------------------------------------------------------------


def _add_attributions(out: Drafts, facts: Facts, attribute: Attribute, run: Run, leading: Sequence[str]) -> None:
    # Of frozen transformers the first repetition stands for all.
    found = [one["attribution"] for one in (m.numbers["proxy use"][attribute.name] for m in run.measured) if "attribution" in one]
    site = run.measured[0].numbers["proxy use"][attribute.name]["site"]
    low, high = facts.followed[attribute.name].names
    missing = next((one["reason"] for one in found if "reason" in one), None if found else "the repetition that stands for all failed")
    tokens = bool(facts.text)
    for what in ("direction", "output"):
        base = Draft(
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
            out.add(replace(base, reason=missing))
            continue
        if what == "direction" and min(one[what]["difference"] for one in found) < _HARDLY:
            out.add(replace(base, reason="the groups hardly differ along the direction, so there is nothing to share out"))
            continue
        if tokens and max(one[what]["incomplete"] for one in found) > _INCOMPLETE:
            out.add(replace(base, reason="the gradients do not add up to the groups' difference (a rounded model has none)"))
            continue
        n = found[0]["rows"]
        values_of = {
            name: np.array([one[what]["columns"][place] / (one[what]["difference"] if what == "direction" else 1.0) for one in found])
            for place, name in enumerate(found[0]["names"] if tokens else facts.columns)
        }
        if tokens:
            ranked = sorted(values_of, key=lambda name: (-abs(round(float(values_of[name].mean()), 9)), name))
            shown = {f"token \u201c{name}\u201d": values_of[name] for name in ranked[:SHOWN_TOKENS]}
        else:
            shown = {name: values for name, values in values_of.items() if name in leading}
        for name, values in shown.items():
            measured = Measured(values, np.zeros(len(facts.clusters_n)), facts.clusters_n)
            # Over repetitions only: the rows are a few hundred, the same for all, and shares of a difference share their error.
            interval = crossed_interval(measured, LEVEL) if len(distinct_seeds(values)) > 1 else None
            out.add(replace(base, context=name, measured=measured, interval=interval, n=n))
