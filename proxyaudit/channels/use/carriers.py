"""Columns that carry the attribute and act: what of them reaches the groups, by a test against the effect margin.

The product of association and influence is what exchanging a column's group-linked part changes (Datta et al. 2017, arXiv 1707.08120):
signed between the groups, and row by row, which sees what cancels. Absence of use is barred only where the product surely exceeds the
margin and does not run through the attribute's subspace, which the interchange sees; that a column moves single outputs is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from proxyaudit.arrays import Ints, Places
from proxyaudit.causal.proxy_use import Number, Reach
from proxyaudit.channels.use.record import COLUMNS, ColumnUse, all_of
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Draft, Drafts
from proxyaudit.stats.intervals import ALONE, LEVEL, Measured, SharedSpreads, crossed_interval, over_seeds, p_above, p_below
from proxyaudit.stats.p_values import PRESENT_AT

TOGETHER = "all columns that carry it, together"
# Influence is a mean over donors of all groups, and of those at most half change what a column tells of the group. Networks that ignore the
# attribute (8,000 training rows) move single rows by .015 to .035 between its groups, to either side.
_ROW_BY_ROW = 2.0  # times the margin
_METHOD = "the column given other rows' values: change by donors of one group minus change by donors of the other, signed or row by row"


@dataclass(frozen=True)
class Carrier:
    """What exchanging one column, or all that carry the attribute, does in the models of a regime."""

    name: str
    uses: tuple[ColumnUse, ...]
    shared: SharedSpreads = ALONE  # what exchanges in this audit have in common of the variance between models
    places: Places = ()  # table and model of each

    def surely_reaches(self, clusters_n: Ints, margin: float, level: float) -> bool:
        """Whether what reaches the groups surely exceeds the margin, and what goes around the attribute's subspace does as well."""
        total, around = all_of(use.reach for use in self.uses), all_of(use.around for use in self.uses)
        found = [reaches for reaches in (total, around) if reaches]
        return bool(total) and all(self._above_p(reaches, clusters_n, margin) <= level for reaches in found)

    def surely_idle(self, clusters_n: Ints, margin: float) -> bool:
        """Whether what reaches the groups surely lies below the margin, row by row too.

        A mean over rows is at most as large as their root mean square, so the signed part is settled by either of the two.
        """
        reaches = all_of(use.reach for use in self.uses)
        products = all_of(reach.product for reach in reaches)
        if not products:
            return False
        signed, product = self.shared.applied(self.mean([reach.signed for reach in reaches], clusters_n), self.mean(products, clusters_n))
        mean = 2 * min(p_below(signed.oriented(), margin), p_below(product, margin**2))
        return max(mean, p_below(product, (_ROW_BY_ROW * margin) ** 2)) <= PRESENT_AT

    def mean(self, numbers: Sequence[Number], clusters_n: Ints) -> Measured:
        """The mean over models of a number of each."""
        return _mean(numbers, clusters_n, self.places)

    def _above_p(self, reaches: Sequence[Reach], clusters_n: Ints, margin: float) -> float:
        """p-value of "reaches the groups by more than the margin", signed or row by row; the sign was taken from the data."""
        signed, products = self.mean([reach.signed for reach in reaches], clusters_n), all_of(reach.product for reach in reaches)
        if not products:
            return min(1.0, 2 * p_above(signed.oriented(), margin))
        signed, product = self.shared.applied(signed, self.mean(products, clusters_n))
        found = [2 * p_above(signed.oriented(), margin), p_above(product, (_ROW_BY_ROW * margin) ** 2)]
        return min(1.0, len(found) * min(found))


def shared_by_exchanges(runs: Sequence[Run], attributes: Sequence[str], clusters_n: Ints) -> SharedSpreads:
    """What exchanges of columns have in common of the variance between models, over regimes of trained models and attributes."""
    pairs = []
    for run in runs:
        for records in (all_of(COLUMNS.find(m, attribute) for m in run.measured) for attribute in attributes):
            for name in records[0].units if records else ():
                reaches = all_of(use.reach for use in all_of(record.units.get(name) for record in records))
                if products := all_of(reach.product for reach in reaches):
                    signed = _mean([reach.signed for reach in reaches], clusters_n, run.places)
                    pairs.append((signed, _mean(products, clusters_n, run.places)))
    return SharedSpreads.of(pairs)


def carriers_of(run: Run, attribute: str, names: Sequence[str], shared: SharedSpreads = ALONE) -> list[Carrier]:
    """What was measured of columns by name, and of all together, in every model of a regime."""
    records = all_of(COLUMNS.find(m, attribute) for m in run.measured)
    found = {name: all_of(record.units.get(name) for record in records) for name in names}
    found[TOGETHER] = all_of(record.together for record in records)
    return [Carrier(name, tuple(uses), shared, run.places) for name, uses in found.items() if uses]


def barring(carriers: Sequence[Carrier], clusters_n: Ints, margin: float) -> str | None:
    """Why columns bar absence of use, or ``None``."""
    for carrier in carriers:
        if carrier.surely_reaches(clusters_n, margin, PRESENT_AT / len(carriers)):
            name = carrier.name if carrier.name == TOGETHER else f"“{carrier.name}”, which carries it,"
            return f"{name} moves the outputs between the groups by more than the margin, past the directions that were swapped"
    return None


def explain(carriers: Sequence[Carrier], clusters_n: Ints, margin: float) -> bool:
    """Whether no exchange of what carries the attribute, alone or together, reaches the groups by as much as the margin.

    A direction that mixes the attribute with what the model reads then tells their product, though nothing is used.
    """
    named = {carrier.name for carrier in carriers}
    return TOGETHER in named and len(named) > 1 and all(carrier.surely_idle(clusters_n, margin) for carrier in carriers)


def add_carriers(out: Drafts, base: Draft, carriers: Sequence[Carrier], clusters_n: Ints) -> None:
    """Tell of each column that carries the attribute and moves single outputs what of it reaches the groups."""
    for carrier in carriers:
        moved = float(np.mean([use.moved.value for use in carrier.uses]))
        reaches = all_of(use.reach for use in carrier.uses)
        if moved <= base.margin or not reaches:
            continue
        products = all_of(reach.product for reach in reaches)
        mean_square = max(0.0, float(np.mean([one.value for one in products]))) if products else 0.0
        mean = carrier.mean([reach.signed for reach in reaches], clusters_n)
        measured = carrier.shared.signed.applied(mean, mean_square).oriented()
        surely = carrier.surely_reaches(clusters_n, base.margin, PRESENT_AT), carrier.surely_idle(clusters_n, base.margin)
        favours = "past the directions that were swapped" if surely[0] else "without favouring a group"
        if not any(surely):
            favours = "and it is not settled whether that favours a group"
        reason = f"{carrier.name}: carries it and moves single outputs by {moved:.2f} on average, {favours}"
        draft = replace(base, channel="carrier_effect", measure="carrier_effect", subject=carrier.name, context=carrier.name)
        draft = replace(draft, decides=False, method=_METHOD, raw=float(np.sqrt(mean_square)), reason=reason)
        out.add(replace(draft, measured=measured, interval=crossed_interval(measured, LEVEL)))


def _mean(numbers: Sequence[Number], clusters_n: Ints, places: Places) -> Measured:
    return over_seeds([Measured(np.array([number.value]), number.influence_n, clusters_n) for number in numbers], places)
