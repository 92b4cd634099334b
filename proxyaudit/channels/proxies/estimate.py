"""Proxies as estimates: association, influence, their product, the path through the sensitive direction, attributions.

No verdict rests on these. The product is reported with the rule of Datta et al. 2017 (arXiv 1707.08120): a column is a proxy in use
where it both carries the attribute and moves the output, each above its margin.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proxyaudit.arrays import Places
from proxyaudit.causal.proxy_use import Attribution, Number
from proxyaudit.channels.proxies.record import TABLES, USES, TableRecord, UnitUse, UseRecord, label
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.columns import NOT_SEEN
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import Draft, Drafts, unit_of
from proxyaudit.estimates.task import unit_for
from proxyaudit.stats import intervals
from proxyaudit.stats.intervals import Measured, crossed_interval, distinct_seeds, in_every_seed, over_seeds, p_above, p_below
from proxyaudit.stats.p_values import ABSENT_AT, PRESENT_AT, holm
from proxyaudit.types import State

SHOWN_COLUMNS = 8  # of each attribute: influence, product, path and attributions
SHOWN_TOKENS = 12
_INCOMPLETE = 0.15  # standard deviations by which attributions may miss the groups' difference
_HARDLY = 0.1  # standard deviations between the groups below which a direction tells nothing to attribute

_READER = "out-of-fold mean of the attribute in each cell of the column, drawn towards the rest; null by permuting the attribute"
_PAIR_READER = "what the pair's cells add to the better of its two columns; null within the better's cells"
_UNIT_CHANGE = "mean absolute change of predicted probability"
_NOT_SURELY = "not surely above the margin; absence is not tested, more rows would show more"
_NOT_SETTLED = "whether it carries the attribute and moves the output between the groups, each above its margin, is not settled"
_Carriers = dict[str, tuple[Measured, float]]
"""What each proxy or pair surely carries on the audit rows, and the p-value of its being above the margin."""


# How numbers about columns, or about features of texts, are told: method, signed change, attribution.
_COLUMNS = (
    "the column's value replaced by that of random other rows, all its encoded inputs together",
    "change of predicted probability, donors of one group minus donors of the other",
    "integrated gradients from the mean row, summed over the column's encoded inputs; difference of the groups",
)
_TEXTS = (
    "the text written without the word or habit and read again",
    "what it adds to the predicted probability, one group minus the other",
    "layer integrated gradients of the token embedding, summed over the places of a token; difference of the groups",
)


_PATHS = (
    "path-dependent TreeSHAP (Lundberg et al. 2020), exact, as the libraries of trees give it; summed over the column's encoded inputs; "
    "difference of the groups"
)
_LARGEST = 3  # columns that feed a tree's output most are shown though they do not lead


@dataclass(frozen=True)
class _Uses:
    """What proxies do in the models of a regime, one record each."""

    regime: str
    records: tuple[UseRecord, ...]
    facts: Facts

    def measured(self, unit: str, what: Callable[[UnitUse], Number | None]) -> list[Measured] | None:
        """One number of a proxy in every model; ``None`` where a model lacks it."""
        found = [what(record.units[unit]) for record in self.records]
        known = [Measured(np.array([one.value]), one.influence_n, self.facts.clusters_n) for one in found if one is not None]
        return known if len(known) == len(found) else None

    @property
    def places(self) -> Places:
        """Table and model of each, where tables were crossed with models."""
        run = self.facts.run(self.regime)
        return () if run is None else run.places

    def total(self, unit: str) -> list[Measured] | None:
        """How far it moves the output between the groups."""
        return self.measured(unit, lambda use: use.total)


def estimate(facts: Facts) -> Drafts:
    """Publish everything about proxies of every protected attribute."""
    out = Drafts()
    for attribute in facts.audited:
        table = TABLES.read(facts.inputs, attribute.name)  # on the audit rows, where every attribute is known
        drafts = _add_carried(out, facts, attribute, "inputs", [table], table.n)
        carriers = {str(one.subject): (one.measured, float(one.present_p or 0.0)) for one in drafts if one.measured is not None}
        uses = {run.regime: _Uses(run.regime, tuple(USES.read(m, attribute.name) for m in run.measured), facts) for run in facts.runs}
        leading = _leading(facts, attribute, carriers, [uses[r.regime] for r in facts.runs if r.measured and not r.is_reference])
        for run in facts.runs:
            if not run.is_reference:
                _add_table(out, facts, attribute, run)
            if run.measured and (not run.is_reference or run.kind == "untrained"):
                _add_use(out, attribute, uses[run.regime], carriers, leading, reference=run.is_reference)
            if run.measured and not run.is_reference:
                _add_attributions(out, attribute, uses[run.regime], leading)
    return out


def _draft(channel: str, attribute: Attribute, regime: str, subject: str | None, **more: Any) -> Draft:
    return Draft(channel, attribute.name, regime, measure=channel, subject=subject, context=subject, **more)


def _association(facts: Facts, attribute: Attribute, regime: str, unit: str | None, *, gain: bool = False) -> Draft:
    channel, method = ("pair_gain", _PAIR_READER) if gain else ("association", _READER)
    return _draft(channel, attribute, regime, unit, margin=facts.margins.leak, unit=unit_of(attribute), method=method)


def _judge(found: Sequence[tuple[Draft, Measured, float, float]], n: int) -> Iterator[Draft]:
    """States of the proxies of one table: Holm over them; present needs the null rejected and the margin passed.

    Never absent: where rows are few the reader draws everything to the prior and scores zero whatever the column carries.
    """
    above = [max(p, p_above(measured, draft.margin)) for draft, measured, p, _ in found]
    for (draft, measured, _, null_high), adjusted, p_present in zip(found, holm(above), above, strict=True):
        present = adjusted <= PRESENT_AT
        judged = replace(draft, state="present" if present else "unknown", reason=None if present else _NOT_SURELY)
        interval = crossed_interval(measured)
        yield replace(judged, measured=measured, interval=interval, present_p=p_present, null_high=null_high, n=n)


def _add_table(out: Drafts, facts: Facts, attribute: Attribute, run: Run) -> None:
    """In the table that a regime was trained on, one for each repetition unless it is a release."""
    tables = [table for table in (TABLES.find(m, attribute.name) for m in run.measured) if table is not None]
    if not tables:
        return  # real rows and mixtures have no table of their own; failures are told elsewhere
    lacking = next((table.reason for table in tables if table.reason), None)
    if lacking is not None:
        reason = f"{lacking}, so what its columns carry cannot be measured there; on the audit rows it is"
        out.add(replace(_association(facts, attribute, run.regime, None), state="unknown", reason=reason))
        return
    _add_carried(out, facts, attribute, run.regime, tables, min(table.n for table in tables) // 10 * 10)


def _add_carried(out: Drafts, facts: Facts, attribute: Attribute, regime: str, tables: Sequence[TableRecord], n: int) -> list[Draft]:
    """What each proxy and pair carries, then what pairs add; returns the former."""
    carried: list[Draft] = []
    for gain in (False, True):
        found = []
        for unit in tables[0].units:
            draft = _association(facts, attribute, regime, unit, gain=gain)
            measured = _over_tables(facts, draft, tables, n, gain=gain)
            if measured is not None:
                found.append((draft, *measured))
            elif not gain:
                why = next((table.units[unit].reason for table in tables if table.units[unit].reason), None)
                out.add(replace(draft, state="unknown", reason=why))
        judged = list(_judge(found, n))
        out.numbers += judged
        carried = carried if gain else judged
    return carried


def _over_tables(facts: Facts, draft: Draft, tables: Sequence[TableRecord], n: int, *, gain: bool) -> tuple[Measured, float, float] | None:
    """What a proxy carries over all tables of a regime, its p-value and the end of its null; ``None`` where a table does not tell."""
    units = [table.units[str(draft.subject)] for table in tables]
    ones = [one for one in (found.gain if gain else found.association for found in units) if one is not None]
    if len(ones) < len(units):
        return None
    values = np.array([one.value for one in ones])
    if draft.regime == "inputs" and ones[0].influence_n is not None:
        return Measured(values, ones[0].influence_n, facts.people_n), ones[0].p, ones[0].null_high
    # Every repetition has rows of its own: their variance is averaged, not crossed.
    variance = float(np.mean([one.variance for one in ones])) / len(distinct_seeds(values))
    measured = Measured(values, np.zeros(len(facts.clusters_n)), facts.clusters_n, variance, max(n - 1.0, 1.0))
    return measured, max(one.p for one in ones), float(np.mean([one.null_high for one in ones]))


def _leading(facts: Facts, attribute: Attribute, carriers: _Carriers, regimes: Sequence[_Uses]) -> list[str]:
    """Proxies and pairs by association times influence, averaged over the regimes; those that move nothing between the groups come last."""
    products: dict[str, float] = {}
    for unit in [u for u in carriers if all(u in uses.records[0].units for uses in regimes)]:
        sizes = [record.units[unit].moved.value for uses in regimes for record in uses.records]
        products[unit] = max(carriers[unit][0].value, 0.0) * float(np.mean(sizes)) if sizes else 0.0
    pairs = {label(pair) for pair in facts.pairs.get(attribute.name, ())}
    idle = {unit for unit in products if all(_moves_between(uses.total(unit)) > PRESENT_AT for uses in regimes)}
    ranked = sorted(products, key=lambda unit: (unit in idle, -round(products[unit], 9), unit))
    return [*[u for u in ranked if u not in pairs][:SHOWN_COLUMNS], *[u for u in ranked if u in pairs]]


def _add_use(out: Drafts, attribute: Attribute, uses: _Uses, carriers: _Carriers, leading: Sequence[str], *, reference: bool) -> None:
    method, signed, _ = _TEXTS if uses.facts.text else _COLUMNS
    low, high = uses.facts.followed[attribute.name].names
    n = uses.records[0].rows
    products: list[tuple[Draft, float, float]] = []
    for unit in leading:
        moved = uses.measured(unit, lambda use: use.moved)
        if moved is None:
            continue
        base = _draft("influence", attribute, uses.regime, unit, decides=False, n=n, method=method)
        _publish(out, replace(base, unit=unit_for(_UNIT_CHANGE, uses.facts.task)), over_seeds(moved, uses.places))
        if not reference:  # beside trained models: what random weights do with the same swap
            products.append(_product(uses, replace(base, channel="proxy_use", measure="proxy_use"), carriers[unit], moved))
            _add_path(out, uses, replace(base, group=f"{low} to {high}", unit=unit_for(signed, uses.facts.task)))
    for (draft, _, below), adjusted in zip(products, holm([p for _, p, _ in products]), strict=True):
        state: State = "present" if adjusted <= PRESENT_AT else "absent" if below <= ABSENT_AT else "unknown"
        reason = _NOT_SETTLED if state == "unknown" else None
        if state == "absent" and uses.regime in uses.facts.no_absence:
            state, reason = "unknown", NOT_SEEN
        out.add(replace(draft, state=state, reason=reason))


def _publish(out: Drafts, draft: Draft, measured: Measured) -> None:
    out.add(replace(draft, measured=measured, interval=crossed_interval(measured)))


def _product(uses: _Uses, base: Draft, carrier: tuple[Measured, float], moved: Sequence[Measured]) -> tuple[Draft, float, float]:
    """The product with the delta method; how surely both of its factors are above their margins, and the influence below its own.

    A column may carry the attribute in one part of its values and move the outputs by another (a code that packs two things). Giving
    rows the column of one group or of the other must therefore move the outputs as well.
    """
    size, (share, carries_p) = over_seeds(moved, uses.places), carrier
    influence_n = size.influence_n * share.value + share.influence_n * size.value
    product = Measured(size.seed_values * share.value, influence_n, size.clusters_n, row_df=size.row_df, places=size.places)
    margins = uses.facts.margins
    present = max(carries_p, in_every_seed(moved, margins.effect), _moves_between(uses.total(str(base.subject))))
    absent = max(p_below(one, margins.effect) for one in moved)
    draft = replace(base, unit="association times influence", method="association on the audit rows times influence", measured=product)
    draft = replace(draft, interval=crossed_interval(product), margin=margins.leak * margins.effect)
    return replace(draft, decides=True, present_p=present, absent_p=absent, can_be_absent=True), present, absent


def _moves_between(total: Sequence[Measured] | None) -> float:
    """p-value of "the column of the other group moves the outputs", in the same direction in every model."""
    if total is None:
        return 1.0
    up = over_seeds(total).value >= 0
    return in_every_seed([one if up else -one for one in total], 0.0)


def _add_path(out: Drafts, uses: _Uses, base: Draft) -> None:
    unit = str(base.subject)
    total, through = uses.total(unit), uses.measured(unit, lambda use: use.through)
    if total is not None:
        whole = replace(base, channel="path_total", measure="path_total", method=f"{base.method}; by group")
        _publish(out, whole, over_seeds(total, uses.places))
    method = "the part of path_total that is gone when the attribute's LEACE subspace is held fixed"
    part = replace(base, channel="path", measure="path", site=uses.records[0].site, method=method)
    found = [record.units[unit] for record in uses.records]
    if total is None or through is None:
        out.add(replace(part, reason=next((one.reason for one in found if one.reason), None)))
        return
    _publish(out, replace(part, null_high=float(np.mean([max(one.random) for one in found]))), over_seeds(through, uses.places))
    how = "path over path_total, Fieller's interval"
    share = replace(part, channel="path_share", measure="path_share", unit="share of path_total", method=how)
    ratio = intervals.fieller_ratio(over_seeds(through, uses.places), over_seeds(total, uses.places))
    if ratio is None:
        out.add(replace(share, reason="the column's own effect between the groups is not clearly different from zero"))
    else:
        out.add(replace(share, interval=ratio), value=ratio.value)


def _add_attributions(out: Drafts, attribute: Attribute, uses: _Uses, leading: Sequence[str]) -> None:
    """What feeds the direction and the output. Of frozen transformers the first repetition stands for all."""
    low, high = uses.facts.followed[attribute.name].names
    found = [record.attribution for record in uses.records if record.attribution is not None]
    of = next((one.of for one in found if one.of), "")  # of trees alone
    method = _PATHS if of else (_TEXTS if uses.facts.text else _COLUMNS)[2]
    common = {"group": f"{low} to {high}", "decides": False, "method": method}
    missing = next((one.reason for one in found if one.reason), None if found else "the repetition that stands for all was not measured")
    share = "share of the groups' difference along the sensitive direction"
    inside = _draft("attribution_direction", attribute, uses.regime, None, site=uses.records[0].site, unit=share, **common)
    outside = _draft("attribution_output", attribute, uses.regime, None, unit=f"standard deviations of the {of or 'log-odds'}", **common)
    for draft, splits in ((inside, [one.direction for one in found]), (outside, [one.output for one in found])):
        known = [split for split in splits if split is not None]
        reason = missing or _unattributable(known, direction=draft is inside, text=uses.facts.text)
        if reason is not None:
            out.add(replace(draft, reason=reason))
            continue
        scales = [split.difference if draft is inside else 1.0 for split in known]
        values = np.array([split.columns / scale for split, scale in zip(known, scales, strict=True)])
        given = dict(zip(found[0].names, values.T, strict=True))
        largest = sorted(given, key=lambda name: (-abs(round(float(given[name].mean()), 9)), name))[: _LARGEST if of else 0]
        _add_inputs(out, replace(draft, n=found[0].rows), given, uses.facts, [*leading, *largest])


def _unattributable(splits: Sequence[Attribution], *, direction: bool, text: bool) -> str | None:
    if direction and min(split.difference for split in splits) < _HARDLY:
        return "the groups hardly differ along the direction, so there is nothing to share out"
    if text and max(split.incomplete for split in splits) > _INCOMPLETE:
        return "the gradients do not add up to the groups' difference (a rounded model has none)"
    return None


def _add_inputs(out: Drafts, draft: Draft, values: Mapping[str, Any], facts: Facts, leading: Sequence[str]) -> None:
    """Those of the inputs that are shown: of texts the tokens that give most, of a table the columns that lead."""
    if facts.text:
        ranked = sorted(values, key=lambda name: (-abs(round(float(values[name].mean()), 9)), name))
        shown = {f"token \u201c{name}\u201d": values[name] for name in ranked[:SHOWN_TOKENS]}
    else:
        shown = {name: given for name, given in values.items() if name in leading}
    for name, given in shown.items():
        run = facts.run(draft.regime)
        measured = intervals.placed(Measured(given, np.zeros(len(facts.clusters_n)), facts.clusters_n), () if run is None else run.places)
        # Over repetitions only: the rows are a few hundred, the same for all, and shares of a difference share their error.
        interval = crossed_interval(measured) if len(distinct_seeds(given)) > 1 else None
        out.add(replace(draft, subject=name, context=name, measured=measured, interval=interval))
