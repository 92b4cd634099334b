"""Drafts of cures: what is left of the gap and of the leak, and what it costs. No verdict rests on these.

A cured model is compared with the model of the same repetition that was trained on the rows as they are, on the same audit rows.

Cures are tried with one model, and a few of them with more. With two or three an interval over models is many times as wide as one over
rows, so whether a cure helps is asked of all alike: of rows, in the mean over the models that it was tried with (the p-values), and
of each of these models (their values). The intervals stay those over models.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from proxyaudit.arrays import Floats, Places
from proxyaudit.channels.cures.record import CURED_SITES
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Cured, Facts
from proxyaudit.estimates.ledger import Draft, Drafts, Ledger, unit_of
from proxyaudit.estimates.task import yardstick
from proxyaudit.stats.group_gaps import gap_in
from proxyaudit.stats.intervals import Measured, crossed_interval, over_seeds, p_above, p_below

AFFORDABLE: Final = 0.01  # AUROC, or R squared, that a cure may cost to be named in the answer
METHOD: Final = "trained again on altered rows, same initial weights; compared with the models trained on the rows as they are"
OF_ERASER: Final = "LEACE fitted on real training rows, put into the trained models at the verdict sites; compared with these models"
BY_ROWS: Final = "; p-values: the mean over these very models, rows drawn anew"
WORTH: Final = 0.1  # of the margin of a gap: a gap that is smaller by no more than that is not worth a cure, nor more models
_DECIMALS: Final = 14


@dataclass(frozen=True)
class Tried:
    """What one cure did: gap between the groups that differ in the regime, its change, and its cost to the task."""

    name: str
    gap: Measured
    gap_change: Measured
    size_change: Measured  # of the gap, whichever group it favours
    cost: Measured

    @property
    def before(self) -> float:
        """Size of the gap before."""
        return abs(self.gap.value - self.gap_change.value)

    @property
    def left(self) -> float:
        """Size of the gap that is left."""
        return abs(self.gap.value)


def lessens(before: float, left: float, margin: float) -> bool:
    """Whether a gap is smaller than before by more than a tenth of its margin; what rounding leaves of a tenth is none."""
    return before - left > WORTH * margin + 1e-9


def follow_up(facts: Facts, ledger: Ledger) -> Drafts:
    """Numbers of every cure that was tried."""
    out = Drafts()
    for one in facts.cured:
        attribute = next(a for a in facts.attributes if a.name == one.cure.attribute)
        (done,), gap = tried(facts, ledger, [one]), _gap_draft(ledger, attribute, one.regime)
        base = Draft("cure", attribute.name, one.regime, subject=one.cure.name, context=one.cure.words(), decides=False)
        base = replace(base, n=int(attribute.known.sum()), method=METHOD if one.cure.alters_rows else OF_ERASER)
        outputs = replace(base, group=gap.group, unit=facts.gap_unit, margin=facts.margins.gap)
        by_rows = replace(outputs, method=f"{base.method}{BY_ROWS}", shows_p=True)
        out.add(_published(replace(by_rows, measure="gap", absent_p=_p_within(done.gap, facts.margins.gap)), done.gap))
        smaller = p_above(-_of_rows(done.size_change), 0.0)
        out.add(_published(replace(by_rows, measure="gap_change", margin=0.0, present_p=smaller), done.gap_change))
        by = yardstick(facts.task)
        out.add(_published(replace(base, measure=by.cost, unit=by.unit, n=len(facts.labels_n), marks=(AFFORDABLE,)), done.cost))
        for site in facts.verdict_sites:
            _add_site(out, facts, one, replace(base, site=site), unit_of(attribute))
    return out


def tried(facts: Facts, ledger: Ledger, cured: Sequence[Cured]) -> list[Tried]:
    """What cures did, in the order given."""
    found = []
    for one in cured:
        attribute = next(a for a in facts.attributes if a.name == one.cure.attribute)
        draft, groups = _gap_draft(ledger, attribute, one.regime), attribute.groups()[0]
        (low, high), column = draft.extras["pair"], draft.extras["column"]
        run = facts.run(one.regime)
        before = [] if run is None else run.outputs[: len(one.measured)]
        after = [m.arrays["outputs"] for m in one.measured]
        old, new = ([gap_in(outputs, groups, low, high, column, facts.clusters_n) for outputs in which] for which in (before, after))
        places = () if run is None else run.places[: len(one.measured)]
        change = over_seeds([b - a for a, b in zip(old, new, strict=True)], places)
        size = over_seeds([b.oriented() - a.oriented() for a, b in zip(old, new, strict=True)], places)
        found.append(Tried(one.cure.name, over_seeds(new, places), change, size, _cost(facts, before, after, places)))
    return found


def best_of(found: Sequence[Tried]) -> tuple[str, ...]:
    """The cure that leaves the smallest gap among those that are affordable, and the one that leaves the smallest of all."""
    affordable = [one for one in found if one.cost.value <= AFFORDABLE]
    return tuple({min(some, key=lambda one: (one.left, one.name)).name: None for some in (affordable, found) if some})


def _gap_draft(ledger: Ledger, attribute: Attribute, regime: str) -> Draft:
    """The gap of the regime itself: it says which groups and which output are compared."""
    wanted = ("expressed", attribute.name, regime, "gap")
    return next(d for d in ledger.drafts.values() if (d.channel, d.attribute, d.regime, d.measure) == wanted)


def _add_site(out: Drafts, facts: Facts, one: Cured, base: Draft, unit: str) -> None:
    found = [CURED_SITES.read(m, str(base.site)) for m in one.measured]
    leaks, shown = [(f.leak, f.leak_n) for f in found], [(f.prominence, f.prominence_n) for f in found]
    for measure, each, of in (("leak", leaks, unit), ("prominence", shown, "share of variance")):
        singles = [
            Measured(np.array([value]), influence, facts.clusters_n)
            for value, influence in each
            if value is not None and influence is not None
        ]
        # The leak of altered rows is read of further repetitions only; what a site does not show is left out in all.
        if singles and (measure == "leak" or len(singles) == len(each)):
            out.add(replace(_published(replace(base, measure=measure, unit=of), over_seeds(singles)), calibrated=measure == "leak"))


def _published(draft: Draft, measured: Measured) -> Draft:
    """A model that learnt nothing gives everybody one number: what the order of summation leaves of differences is no gap."""
    values, influence = (np.round(x, _DECIMALS) + 0.0 for x in (measured.seed_values, measured.influence_n))
    clean = replace(measured, seed_values=values, influence_n=influence)
    return replace(draft, measured=clean, interval=crossed_interval(clean))


def _of_rows(measured: Measured) -> Measured:
    """The mean over the very models that were trained: what is unsure of it is which rows were drawn."""
    return replace(measured, seed_values=np.array([measured.value]), places=())


def _p_within(gap: Measured, margin: float) -> float:
    """p-value of the hypothesis that the mean gap over these models is as large as counts, either way."""
    alone = _of_rows(gap)
    return max(p_below(alone, margin), p_below(-alone, margin))


def _cost(facts: Facts, before: Sequence[Floats], after: Sequence[Floats], places: Places) -> Measured:
    """AUROC (of a number R squared) before minus after, with the rows' influences."""
    return over_seeds([facts.score(a) - facts.score(b) for a, b in zip(before, after, strict=True)], places)
