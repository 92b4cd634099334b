"""Drafts of selection rates, impact ratios and the differences that fairness tools count, under Fairlearn's names.

They are reported and decide nothing. Of more than two groups, differences and ratios hold together (Bonferroni over all pairs), since the
groups that are compared are chosen by their rates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from proxyaudit.arrays import Bools
from proxyaudit.channels.outputs.groups import Rates, rates_of
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import UNIT_RATE, UNIT_RATES, UNIT_RATIO, Draft, Drafts
from proxyaudit.stats.intervals import LEVEL
from proxyaudit.stats.selection_rates import (
    FEWEST_ROWS,
    Compared,
    Rate,
    difference,
    extremes,
    pairs_level,
    ratio,
)
from proxyaudit.types import FOUR_FIFTHS

CHANNEL: Final = "selection"
FEW: Final = (
    "fewer than eleven people of a group, or of those of it with one true label, are selected, or are not, so the number itself is not "
    "told, nor one that would tell it; the interval holds it"
)
NOT_ABOVE_ZERO: Final = "the rate of the most selected group is not surely above zero"
_LOWEST: Final = "lowest rate over highest, means over models; Fieller, simultaneous interval"
_LEFT_OUT: Final = f"the group has fewer than {FEWEST_ROWS} of these audit rows, or fewer than eleven people"
_GROUP_LACKS: Final = "the rate of a group is not known, and leaving that group out would look better than it is"
# Rates among all rows and among those of either true label, each with the name of its difference.
_RATES: Final[Mapping[str, str]] = {
    "selection_rate": "demographic_parity_difference",
    "true_positive_rate": "equal_opportunity_difference",
    "false_positive_rate": "false_positive_rate_difference",
}
_AMONG: Final = {"true_positive_rate": ", among rows that have it", "false_positive_rate": ", among rows that do not"}


class _Pair(NamedTuple):
    """A difference and the groups with the higher and the lower rate."""

    high: Rate
    low: Rate
    names: tuple[str, str]
    groups: int  # among which they were chosen

    @property
    def size(self) -> float:
        """By how much the rates differ, on average over the models."""
        return self.high.middle - self.low.middle


def selection(facts: Facts) -> Drafts:
    """Rates, ratios and differences of every protected attribute after every kind of training; nothing where no threshold was declared."""
    out = Drafts()
    if facts.selection is not None:
        for run in facts.runs:
            if not run.measured or run.is_reference:
                continue
            place = facts.selection.column(facts.classes)
            chosen = _chosen(run, place, len(facts.classes), facts.selection.threshold)
            rates = rates_of(facts, run, chosen, facts.labels_n == place)
            for attribute in facts.audited:
                _add(out, facts, attribute, run, rates[attribute.name])
    return out


def _add(out: Drafts, facts: Facts, attribute: Attribute, run: Run, groups: Rates) -> None:
    assert facts.selection is not None
    asked, place = facts.selection, facts.selection.column(facts.classes)
    said = f"predicted probability of '{facts.classes[place]}' at least {asked.threshold:g}"
    base = Draft(CHANNEL, attribute.name, run.regime, unit=UNIT_RATE, decides=False, seeds=len(run.measured))
    found: dict[str, _Pair | None] = {}
    _, names = attribute.groups()
    for measure, *rates in zip(_RATES, *groups, strict=True):
        method = f"share with {said}{_AMONG.get(measure, '')}"
        for name, rate in zip(names, rates, strict=True):
            out.add(_rate(replace(base, measure=measure, context=measure.replace("_", " "), group=name, method=method), rate))
        known = [rate for rate in rates if rate is not None]
        complete = len(known) == len(rates)
        found[measure] = _largest(known, names) if complete else None
        if measure == "selection_rate":
            _add_ratios(out, replace(base, unit=UNIT_RATIO), known if complete else [], names)
        out.add(_differs(replace(base, measure=_RATES[measure]), found[measure]))
    odds = [found["true_positive_rate"], found["false_positive_rate"]]
    worst = None if None in odds else max((pair for pair in odds if pair is not None), key=lambda pair: pair.size)
    larger = "the larger difference of true and of false positive rates, mean over models; simultaneous interval"
    out.add(_differs(replace(base, measure="equalized_odds_difference", method=larger), worst, asked=len(odds)))
    _add_rate_ratios(out, replace(base, unit=UNIT_RATIO, method=_LOWEST), odds)


def _chosen(run: Run, place: int, classes: int, threshold: float) -> list[Bools]:
    """Who is selected by each model, ``(n,)``."""
    columns = [outputs[:, 0 if classes == 2 else place] for outputs in run.outputs]
    return [(1 - column if classes == 2 and place == 0 else column) >= threshold for column in columns]


def _rate(draft: Draft, rate: Rate | None) -> Draft:
    if rate is None:
        return replace(draft, reason=_LEFT_OUT)
    shown = replace(draft, interval=rate.interval(LEVEL), coarse=rate.step, n=rate.rows)
    return replace(shown, reason=FEW) if rate.few else replace(shown, measured=rate.least, seeds=None)


def _largest(rates: Sequence[Rate], names: Sequence[str]) -> _Pair:
    low, high = extremes(rates)
    return _Pair(rates[high], rates[low], (names[high], names[low]), len(rates))


def _compared(draft: Draft, found: Compared) -> Draft:
    shown = replace(draft, interval=found.interval, coarse=found.step)
    if found.measured is None:
        return replace(shown, reason=FEW)
    return replace(shown, measured=found.measured, seed_values=found.seed_values, seeds=None)


def _differs(draft: Draft, found: _Pair | None, asked: int = 1) -> Draft:
    draft = replace(draft, context=draft.measure.replace("_", " "), unit=UNIT_RATES)
    if found is None:
        return replace(draft, reason=_GROUP_LACKS)
    method = draft.method or "highest minus lowest rate, mean over models; simultaneous interval"
    compared = difference(found.high, found.low, pairs_level(LEVEL, found.groups, asked))
    return _compared(replace(draft, group=found.names[0], subject=found.names[1], method=method), compared)


def _add_rate_ratios(out: Drafts, base: Draft, odds: Sequence[_Pair | None]) -> None:
    """Ratios of true positive rates, and the smaller of those and of the ratios of false positive rates."""
    both = []
    for place, pair in enumerate(odds):
        about = base if pair is None else replace(base, group=pair.names[1], subject=pair.names[0])
        if place == 0:
            out.add(_divided(replace(about, measure="equal_opportunity_ratio", context="equal opportunity ratio"), pair, 1))
        both.append(_divided(replace(about, measure="equalized_odds_ratio", context="equalized odds ratio"), pair, len(odds)))
    # One that has no number may be the smaller one.
    both.sort(key=lambda draft: draft.measured.value if draft.measured is not None else -1.0)
    out.add(both[0])


def _divided(draft: Draft, pair: _Pair | None, asked: int) -> Draft:
    if pair is None:
        return replace(draft, reason=_GROUP_LACKS)
    found = ratio(pair.low, pair.high, pairs_level(LEVEL, pair.groups, asked))
    return replace(draft, reason=NOT_ABOVE_ZERO) if found is None else _compared(draft, found)


def _add_ratios(out: Drafts, base: Draft, rates: Sequence[Rate], names: Sequence[str]) -> None:
    """Impact ratios of all groups to the most selected one, and the smallest under its other name."""
    method = "selection rate over that of the most selected group; Fieller, simultaneous interval"
    impact = replace(base, measure="impact_ratio", method=method, marks=(FOUR_FIFTHS,))
    parity = replace(impact, measure="demographic_parity_ratio", context="demographic parity ratio")
    if not rates:
        out.add(replace(parity, reason=_GROUP_LACKS))
        return
    low, high = extremes(rates)
    smallest = parity
    for place in (place for place in range(len(rates)) if place != high):
        about = replace(impact, group=names[place], subject=names[high], context=f"impact ratio to '{names[high]}'")
        found = ratio(rates[place], rates[high], pairs_level(LEVEL, len(rates)))
        about = replace(about, reason=NOT_ABOVE_ZERO) if found is None else _compared(about, found)
        out.add(about)
        if place == low:
            smallest = replace(about, measure=parity.measure, context=parity.context)
    out.add(smallest)
