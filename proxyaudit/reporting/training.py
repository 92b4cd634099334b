"""What training did to an attribute inside, and what altering the training rows did: numbers of a pack arranged for reading."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proxyaudit.channels.cures.estimate import AFFORDABLE, WORTH, lessens
from proxyaudit.data.cures import ERASED, MIXES, Share
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.task import YARDSTICKS
from proxyaudit.estimates.training import PROMINENCE, deciding_site
from proxyaudit.types import Estimate, Finding

_SURELY = 0.025  # one end of a 95 % interval
_GROUPS = re.compile(r"(.+) minus (.+?)(?:, predicted '(.*)')?", re.DOTALL)


class Inside(NamedTuple):
    """Prominence of one attribute at the place in the model where it is most prominent; mappings are by kind of training."""

    site: str
    untrained: str | None
    own: Mapping[str, Estimate]
    label: Mapping[str, Estimate]  # the label's own
    gains: Mapping[str, Estimate]  # log ratios to the untrained network
    placebos: Mapping[str, Estimate]  # 95th percentile of the gain of invented attributes
    kept: Mapping[str, Estimate]  # of what real training added, else the ratio to real training
    profile: Mapping[str, Mapping[str, Estimate]]  # by site

    @property
    def lacking(self) -> str:
        """Why nothing can be said of training, where there is no network before it to compare with; else empty."""
        if self.untrained is None:
            return "no untrained network was given (--activations NAME=FILE with --untrained NAME)"
        return "" if self.untrained in self.own else "no untrained network was measured beside"


class TriedView(NamedTuple):
    """One way to alter the training rows, or the trained model, that was tried, with what it left and cost."""

    name: str
    words: str
    gap: Estimate | None
    change: Estimate | None
    cost: Estimate | None
    prominence: Estimate | None
    ready: bool = True  # whether a command makes it
    leak: Estimate | None = None  # what a linear reader still finds inside, where that was read
    people: Share = "none"  # of the altered rows: how many are those of real people

    @property
    def left(self) -> float | None:
        """Size of the gap that is left."""
        return None if self.gap is None or self.gap.value is None else abs(self.gap.value)

    @property
    def most(self) -> float | None:
        """The largest size that its interval allows."""
        if self.gap is None or self.gap.low is None or self.gap.high is None:
            return None
        return max(abs(self.gap.low), abs(self.gap.high))

    @property
    def affordable(self) -> bool:
        """Whether it costs at most a hundredth of AUROC (of a number of R squared)."""
        return self.cost is not None and self.cost.value is not None and self.cost.value <= AFFORDABLE

    @property
    def alters_rows(self) -> bool:
        """Whether it gives a release; an eraser is put into the model."""
        return self.name != ERASED

    @property
    def mixes(self) -> bool:
        """Whether it takes rows from another kind of training."""
        return self.name.startswith(MIXES)

    @property
    def readable(self) -> bool:
        """Whether what an eraser was put against is surely still read by a linear reader."""
        return not self.alters_rows and self.leak is not None and self.leak.low is not None and self.leak.low > 0

    @property
    def confirmed(self) -> bool:
        """Whether it was tried with more than one model."""
        return self.gap is not None and (self.gap.seeds or len(self.gap.seed_values)) > 1

    def within(self, margin: float) -> bool:
        """Whether what it leaves is surely below a margin: of rows, and in every model that it was tried with."""
        if self.gap is None or self.gap.p_absent is None:  # a pack of an older version
            return self.most is not None and self.most < margin
        return self.gap.p_absent <= _SURELY and all(abs(value) < margin for value in self.gap.seed_values)

    def helps(self, before: Estimate | None) -> bool:
        """Whether it surely makes the gap smaller, by more than a tenth of the margin: than what it was, and than in the same models.

        An interval over two or three models is many times as wide as one over rows, so a cure that was confirmed would lose its place to
        one that was not: of both it is asked whether rows are sure, and whether every model that was trained agrees.
        """
        if before is None or before.value is None or self.gap is None or self.left is None:
            return False
        if not lessens(abs(before.value), self.left, before.margin or 0.0):
            return False
        if self.change is not None:
            return lessens(self._own(self.gap, self.change), self.left, before.margin or 0.0) and self._is_surely_less(self.change)
        ends = (before.low, before.high, self.gap.low, self.gap.high)  # not paired: the two intervals must lie apart
        return None not in ends and (ends[0] > ends[3] or ends[1] < ends[2])  # type: ignore[operator]

    @staticmethod
    def _own(gap: Estimate, change: Estimate) -> float:
        """The size of the gap before in the models that it was tried with."""
        return abs((gap.value or 0.0) - (change.value or 0.0))

    def _is_surely_less(self, change: Estimate) -> bool:
        values = self.gap.seed_values if self.gap is not None else ()
        in_all = all(abs(left) < abs(left - moved) for left, moved in zip(values, change.seed_values, strict=False))
        if change.p_present is not None:
            return in_all and change.p_present <= _SURELY
        return in_all and change.low is not None and change.high is not None and not change.low <= 0 <= change.high


def inside_of(numbers: Numbers, attribute: str, regimes: Sequence[str]) -> Inside | None:
    """Prominence as it is to be read; nothing where it was not measured."""
    site, before = deciding_site(numbers, attribute), numbers.scope.untrained
    if site is None:
        return None
    names = tuple(dict.fromkeys([*regimes, *([before] if before else [])]))

    def found(measure: str, of: str | None = attribute) -> dict[str, Estimate]:
        pairs = ((name, numbers.find(PROMINENCE, of, name, site=site, measure=measure)) for name in names)
        return {name: e for name, e in pairs if e is not None and e.value is not None}

    placebos = (e for e in numbers.all_of(PROMINENCE, attribute, "placebo") if e.site == site and e.measure == "gain")
    profile: dict[str, dict[str, Estimate]] = {}
    for name in names:
        units = [e for e in numbers.all_of(PROMINENCE, attribute, name) if e.measure == "units" and e.value is not None]
        profile |= {name: {str(e.site): e for e in units}} if units else {}
    kept = found("ratio_to_real") | found("kept_of_added")
    beside = {str(e.reference_for): e for e in placebos if e.value is not None}
    return Inside(site, before, found("units"), found("units", None), found("gain"), beside, kept, profile)


def tried_of(finding: Finding | None, by_id: Mapping[str, Estimate], site: str | None) -> tuple[TriedView, ...]:
    """The cures of a finding with their numbers."""
    made = []
    for cure in finding.cures if finding is not None else ():
        numbers = [by_id[ref] for ref in cure.estimates if ref in by_id]
        of = {e.measure: e for e in numbers if e.site is None or e.site == site}
        words = next((e.context for e in numbers if e.context), cure.name)
        made.append(
            TriedView(
                cure.name,
                words,
                of.get("gap"),
                of.get("gap_change"),
                next((of[by.cost] for by in YARDSTICKS.values() if by.cost in of), None),
                of.get("prominence"),
                leak=of.get("leak"),
            )
        )
    return tuple(made)


def reweighed(gap: Estimate | None, task: Estimate | None, real: Estimate | None) -> TriedView | None:
    """The reference of that name as a cure of real training that was tried; nothing where it was not measured."""
    if gap is None or task is None or real is None or task.value is None or real.value is None:
        return None
    cost = task.model_copy(update={"value": real.value - task.value, "low": None, "high": None})
    words = "real rows weighted so that protected attributes do not depend on the target"
    return TriedView("reweighed", words, gap, None, cost, None, ready=False)


def best_cure(tried: Iterable[TriedView], before: Estimate | None) -> TriedView | None:
    """The best of the cures that surely help and cost little; nothing where none does."""
    return least_of([one for one in tried if one.affordable and one.helps(before)], before)


def least_of(found: Sequence[TriedView], before: Estimate | None) -> TriedView | None:
    """The cure that leaves the smallest gap; of those that leave about as much rather one that several models confirm."""
    about = min((one.left or 0.0 for one in found), default=0.0) + WORTH * ((before.margin if before is not None else None) or 0.0)
    near = [one for one in found if (one.left or 0.0) <= about]
    return min(near, key=lambda one: (not one.confirmed, one.left or 0.0, one.name), default=None)


class Pair(NamedTuple):
    """Which groups a gap compares, and in which output."""

    high: str
    low: str
    output: str


def pair_of(e: Estimate | None) -> Pair | None:
    """The pair that a gap is about, as its group says it; nothing where it says something else."""
    found = _GROUPS.fullmatch(e.group) if e is not None and e.group else None
    return Pair(found[1], found[2], found[3] or "") if found else None


def oriented(e: Estimate | None, pair: Pair | None) -> Estimate | None:
    """The same gap with its sign as in ``pair``: turned where it was told the other way round, as it is where it is about other groups."""
    own = pair_of(e)
    if e is None or own is None or pair is None or (own.high, own.low, own.output) != (pair.low, pair.high, pair.output):
        return e
    value, low, high = (None if end is None else -end for end in (e.value, e.high, e.low))
    group = e.group.replace(f"{own.high} minus {own.low}", f"{pair.high} minus {pair.low}", 1) if e.group else None
    return e.model_copy(update={"value": value, "low": low, "high": high, "group": group})
