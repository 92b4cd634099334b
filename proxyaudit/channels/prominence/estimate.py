"""Drafts of prominence, and of what training did to it: against the untrained network, against real training and beside placebos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.channels.prominence.record import OF_LABEL, PROMINENT, Prominent
from proxyaudit.estimates.conclude import TOO_WIDE, WIDEST
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import Draft, Drafts
from proxyaudit.estimates.training import FEWEST_PLACEBOS, LARGER, PROMINENCE
from proxyaudit.stats.intervals import Measured, crossed_interval, fieller_ratio, over_seeds, p_above
from proxyaudit.stats.p_values import exceeded_by_few

METHOD = {
    "units": "mean over standardised units of the share of variance explained, minus what chance gives (Hermann & Lampinen 2020)",
    "total": "share of the total variance explained, minus what chance gives; the same however activations are rotated",
}
_UNIT, _LOG = "share of variance", "log ratio"
_OF_PLACEBOS = "label-planted on the inputs, with the attribute's input leak, base rates and association with the label"


@dataclass(frozen=True)
class _Models:
    """One attribute, or the label, at one site in the models of one regime, by repetition."""

    found: Mapping[int, Prominent]
    clusters_n: Ints
    floor: float  # what the rows cannot tell from nothing: a share below it counts as that much in a ratio
    places: Mapping[int, tuple[int, int]]  # table and model of each, where repetitions have an order of their own

    def model(self, number: int) -> int:
        """Which initial weights a repetition has."""
        return self.places[number][1] if self.places else number

    def of(self, models: Sequence[int] | None) -> list[int]:
        """Repetitions with these initial weights, or all."""
        return [number for number in self.found if models is None or self.model(number) in models]

    def shares(self, measure: str, models: Sequence[int] | None = None, *, log: bool = False) -> Measured | None:
        """The mean over repetitions with these initial weights, or over all; of the ``log`` of the shares where it is asked for."""
        singles, numbers = [], self.of(models)
        for number in numbers:
            one = self.found[number]
            value, influence_n = (one.units, one.units_n) if measure == "units" else (one.total, one.total_n)
            if value is None or influence_n is None:
                return None
            size = max(value, self.floor)
            value, influence_n = (float(np.log(size)), influence_n / size) if log else (value, influence_n)
            singles.append(Measured(np.array([value]), influence_n, self.clusters_n))
        places = tuple(self.places[number] for number in numbers) if self.places else ()
        return over_seeds(singles, places) if singles else None

    def placebos(self, models: Sequence[int]) -> Floats:
        """Mean of each placebo's log over repetitions with these initial weights."""
        values = [np.log(np.maximum(self.found[number].placebos, self.floor)) for number in self.of(models)]
        count = min((len(one) for one in values), default=0)
        return np.mean([one[:count] for one in values], axis=0) if count else np.zeros(0)


def estimate(facts: Facts) -> Drafts:
    """Prominence of every attribute, and of the label, in every regime at every site; at verdict sites what training did to it."""
    out = Drafts()
    for run in facts.runs:
        for name in (*(attribute.name for attribute in facts.attributes), ""):
            for site in facts.sites:
                _add_site(out, facts, run, name, site)
    return out


def _models(facts: Facts, regime: str | None, name: str, site: str) -> _Models | None:
    run = None if regime is None else facts.run(regime)
    found = [PROMINENT.find(m, name, site) if name else OF_LABEL.find(m, site) for m in run.measured] if run else []
    by_number = {one.repetition: one for one in found if one is not None}
    placed = zip(found, run.places, strict=True) if run and run.places else ()
    places = {one.repetition: place for one, place in placed if one is not None}
    return _Models(by_number, facts.clusters_n, 1 / len(np.unique(facts.clusters_n)), places) if by_number else None


def _add_site(out: Drafts, facts: Facts, run: Run, name: str, site: str) -> None:
    mine = _models(facts, run.regime, name, site)
    if mine is None:
        return
    about = "" if name else "label: "
    n = next(iter(mine.found.values())).n
    base = Draft(PROMINENCE, name, run.regime, site, subject=None if name else "the label", unit=_UNIT, decides=False, n=n)
    verdict = site in facts.verdict_sites
    for measure in ("units", "total") if verdict else ("units",):
        measured = mine.shares(measure)
        shown = replace(base, measure=measure, context=f"{about}{measure}", method=METHOD[measure])
        if measured is None:
            out.add(replace(shown, reason="no unit of the site varies, or too few independent rows to tell"))
        else:
            # No true share is below zero: whether any is above is a question of rows alone, however much models differ.
            by_rows = p_above(replace(measured, seed_values=np.array([measured.value]), places=()), 0.0)
            out.add(replace(shown, measured=measured, interval=crossed_interval(measured), present_p=by_rows, shows_p=True))
    if verdict:
        _add_gain(out, facts, run, base, mine)


def _add_gain(out: Drafts, facts: Facts, run: Run, base: Draft, mine: _Models) -> None:
    """Log ratios to the untrained network and to real training, the placebos' gain, and what is kept of what real training added."""
    untrained, real = (_models(facts, regime, base.attribute, str(base.site)) for regime in (facts.untrained, facts.real))
    base = replace(base, unit=_LOG, marks=(0.0, LARGER, -LARGER))
    if untrained is not None and run.regime != facts.untrained:
        for measure, what in (("units", "gain"), ("total", "gain_total")):
            told = f"{what.replace('_', ', ')}: log ratio to the untrained network"
            _add_ratio(out, replace(base, measure=what, context=told), mine, untrained, measure, given=run.kind == "checkpoints")
        if base.attribute:
            _add_placebos(out, base, mine, untrained)
    if base.attribute and real is not None and run.regime not in (facts.real, facts.untrained):
        said = replace(base, measure="gain_to_real", context="log ratio to real training")
        _add_ratio(out, said, mine, real, "units", given=run.kind == "checkpoints")
        _add_kept(out, base, mine, real, untrained)


def _add_ratio(out: Drafts, base: Draft, mine: _Models, other: _Models, measure: str, *, given: bool) -> None:
    same = _same(mine, other)
    top, bottom = (models.shares(measure, same or None, log=True) for models in (mine, other))
    if top is not None and bottom is not None:
        gain = top - bottom
        weights = "initial weights of given models are not known" if given or not same else "same initial weights"
        out.add(replace(base, measured=gain, interval=crossed_interval(gain), method=f"paired on the same rows; {weights}"))


def _same(*several: _Models) -> tuple[int, ...]:
    """Initial weights that all have."""
    return tuple(sorted(set.intersection(*({models.model(number) for number in models.found} for models in several))))


def _add_placebos(out: Drafts, base: Draft, mine: _Models, untrained: _Models) -> None:
    """95th percentile of the gain of placebos; without a value where too few could be matched."""
    same = _same(mine, untrained)
    after, before = mine.placebos(same), untrained.placebos(same)
    count = min(len(before), len(after))
    if count == 0:
        return
    said = replace(base, regime="placebo", reference_for=base.regime, measure="gain", method=_OF_PLACEBOS)
    said = replace(said, context=f"{base.regime}: 95th percentile of the gain of {count} placebos")
    if count < FEWEST_PLACEBOS:
        out.add(replace(said, reason=f"only {count} placebos could be matched, of at least {FEWEST_PLACEBOS}"))
    else:
        out.add(said, value=exceeded_by_few(after[:count] - before[:count]))


def _add_kept(out: Drafts, base: Draft, mine: _Models, real: _Models, untrained: _Models | None) -> None:
    """How much is kept of what real training surely added; else the ratio to real training."""
    kept, what, same = None, "ratio_to_real", _same(mine, real)
    top, bottom = (models.shares("units", same or None) for models in (mine, real))
    if top is None or bottom is None:
        return
    three = _same(mine, real, untrained) if untrained is not None else ()
    before = untrained.shares("units", three) if untrained is not None and three else None
    if before is not None and three == same and crossed_interval(bottom - before).low > 0:
        kept, what = fieller_ratio(top - before, bottom - before), "kept_of_added"
    elif crossed_interval(bottom).low > 0:
        kept = fieller_ratio(top, bottom)
    if kept is None:
        return
    words = {"kept_of_added": "share kept of what real training added", "ratio_to_real": "ratio to real training"}
    shown = replace(base, measure=what, context=words[what], unit="ratio", method="paired on the same rows; Fieller")
    if kept.high - kept.low > max(WIDEST, kept.value):
        out.add(replace(shown, reason=TOO_WIDE))
    else:
        out.add(replace(shown, interval=kept), value=kept.value)
