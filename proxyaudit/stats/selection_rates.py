"""Selection rates of groups, their differences and ratios, over several models on one set of rows.

A rate is the mean of indicators, so its row influences are those of a mean. A rate near 0 or 1 shows hardly any variance: it has at least
that of the rate after one yes and one no are added (Agresti & Coull 1998). Ratios have Fieller's interval (Fieller 1954): a group of which
nobody is selected has one too, which the logarithm of a ratio (Katz et al. 1978) would not give.

Where fewer people of a group are selected, or are not, than may be published, their number is not told: in that model the rate is somewhere
between none of them and as many as may not be, and intervals hold both ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from proxyaudit.arrays import Bools, Floats, Ints, Places
from proxyaudit.stats.group_gaps import weighted_sum
from proxyaudit.stats.intervals import Interval, Measured, cluster_sums, crossed_interval, fieller_ratio, over_seeds

FEWEST_ROWS = 30  # of which a rate says anything
_PEOPLE = 4  # that no digit of a rate tells apart, as of an area under a curve


@dataclass(frozen=True)
class Rate:
    """A share of a group; ``least`` and ``most`` are one number unless ``few`` people make it up in some model."""

    least: Measured
    most: Measured
    few: bool
    rows: int
    step: float  # below which digits would tell of fewer than four people

    @property
    def middle(self) -> float:
        """Mean over models, halfway between the bounds."""
        return (self.least.value + self.most.value) / 2

    def interval(self, level: float) -> Interval:
        """From the lower end of the least to the upper end of the most."""
        return _between(crossed_interval(self.least, level), crossed_interval(self.most, level))


def rate_of(
    chosen: Sequence[Bools], inside_n: Bools, clusters_n: Ints, people_n: Ints, *, smallest: int, places: Places = (), hide: bool = False
) -> Rate | None:
    """Share of the rows ``inside_n`` that each model chose; ``None`` of fewer than 30 rows or ``smallest`` people.

    One that is to be hidden (``hide``) lies anywhere between nobody and everybody, whatever the models did.
    """
    people, counts = np.unique(people_n[inside_n], return_counts=True)
    rows = int(inside_n.sum())
    if rows < FEWEST_ROWS or len(people) < smallest:
        return None
    most_hidden = float(np.sort(counts)[1 - smallest :].sum()) / rows  # by too few people to be told
    least, most = [], []
    for chosen_n in chosen:
        yes, no = (len(np.unique(people_n[inside_n & part_n])) for part_n in (chosen_n, ~chosen_n))
        if min(yes, no) >= smallest and not hide:
            ends = [_single(float(chosen_n[inside_n].mean()), inside_n, clusters_n, chosen_n)] * 2
        else:
            bounds = (0.0, 1.0) if hide else (0.0, most_hidden) if yes < smallest else (1 - most_hidden, 1.0)
            ends = [_single(bound, inside_n, clusters_n) for bound in bounds]
        least.append(ends[0])
        most.append(ends[1])
    few = any(one is not other for one, other in zip(least, most, strict=True))
    return Rate(over_seeds(least, places), over_seeds(most, places), few, rows, _PEOPLE / len(people))


def hide_differences(overall: Rate | None, parts: Sequence[Rate | None]) -> list[Rate | None]:
    """Rates of a group and of its two ``parts``, of which none tells what another hides.

    Who is chosen of one part is who is chosen of the whole less who is of the other. So beside a part that ``few`` make up, the other one
    lies between bounds too, which follow from the whole; and beside two such parts the whole does, which follow from theirs.
    """
    one, other = parts
    if overall is None or one is None or other is None or overall.few or not (one.few or other.few):
        return [overall, one, other]
    if one.few and other.few:
        shares = one.rows / overall.rows, other.rows / overall.rows
        least, most = (weighted_sum(list(zip(shares, ends, strict=True))) for ends in ((one.least, other.least), (one.most, other.most)))
        return [replace(overall, least=least, most=most, few=True), one, other]
    hidden, known = (one, other) if one.few else (other, one)
    whole, part = overall.rows / known.rows, hidden.rows / known.rows
    least, most = (weighted_sum([(whole, overall.least), (-part, end)]) for end in (hidden.most, hidden.least))
    bounded = replace(known, least=least, most=most, few=True)
    return [overall, *((one, bounded) if one.few else (bounded, other))]


def _single(value: float, inside_n: Bools, clusters_n: Ints, chosen_n: Bools | None = None) -> Measured:
    """A rate in one model; without ``chosen_n`` a bound, whose whole variance is the least one."""
    influence: Floats = np.zeros(len(inside_n))
    if chosen_n is not None:
        influence[inside_n] = (chosen_n[inside_n] - value) / inside_n.sum()
    sizes = np.unique(clusters_n[inside_n], return_counts=True)[1]
    n = float(sizes.sum()) ** 2 / float((sizes.astype(np.float64) ** 2).sum())  # effective clusters
    p = (value * n + 1) / (n + 2)
    missing = p * (1 - p) / (n + 2) - float((cluster_sums(influence, clusters_n) ** 2).sum())
    df = max(n - 1, 1.0)
    return Measured(np.array([value]), influence, clusters_n, max(missing, 0.0), df, df)


def extremes(rates: Sequence[Rate]) -> tuple[int, int]:
    """Places of the lowest and the highest rate by what is surely there; two places, whatever is tied."""
    order = sorted(range(len(rates)), key=lambda place: (rates[place].least.value, rates[place].most.value))
    return order[0], order[-1]


def pairs_level(level: float, groups: int, asked: int = 1) -> float:
    """Level of one of the intervals of all pairs of ``groups``, ``asked`` times over, that hold together at ``level`` (Bonferroni)."""
    return 1 - (1 - level) / (asked * groups * (groups - 1) / 2)


@dataclass(frozen=True)
class Compared:
    """A difference or ratio of two rates: its interval, and where nobody is hidden the number itself."""

    interval: Interval
    measured: Measured | None
    seed_values: tuple[float, ...]
    step: float


def difference(high: Rate, low: Rate, level: float) -> Compared:
    """One rate minus another, paired on rows and models."""
    interval = _between(crossed_interval(high.least - low.most, level), crossed_interval(high.most - low.least, level))
    step = max(high.step, low.step)
    if high.few or low.few:
        return Compared(interval, None, (), step)
    found = high.least - low.least
    return Compared(interval, found, tuple(found.seed_values), step)


def ratio(top: Rate, bottom: Rate, level: float) -> Compared | None:
    """One rate over another with Fieller's interval; ``None`` where the lower one is not surely above zero at the ``level``."""
    ends = [fieller_ratio(a, b, level) for a, b in product((top.least, top.most), (bottom.least, bottom.most))]
    found = [end for end in ends if end is not None]
    if len(found) < len(ends):
        return None
    value = top.middle / bottom.middle
    interval = replace(found[0], value=value, low=min(end.low for end in found), high=max(end.high for end in found))
    step = max(top.step, bottom.step) / bottom.middle
    models = bottom.least.seed_values
    if top.few or bottom.few:
        return Compared(interval, None, (), step)
    # What rows and models add to the ratio, to first order.
    linear = weighted_sum([(1 / bottom.middle, top.least), (-value / bottom.middle, bottom.least)])
    measured = replace(linear, seed_values=linear.seed_values + value)
    return Compared(interval, measured, tuple(top.least.seed_values / models), step)


def _between(lower: Interval, upper: Interval) -> Interval:
    return replace(lower, value=(lower.value + upper.value) / 2, high=upper.high)
