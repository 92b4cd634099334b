"""Localisation as estimates: what was tried, what it did, what was left out and why. No verdict rests on it; no state is given.

Sites and blocks are the same location in every model, units and heads are told by their rank: what a unit stands for differs by model.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from proxyaudit.arrays import Ints, Places
from proxyaudit.channels.localisation.record import LOCALISATIONS, LocalisationRecord, LocationRecord, Part, Search
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import Draft, Drafts, Ledger
from proxyaudit.estimates.rounding import significant
from proxyaudit.stats.intervals import Interval, Measured, crossed_interval, fieller_ratio, over_seeds, p_above
from proxyaudit.stats.p_values import PRESENT_AT, holm

CHANNEL, PER_ROW, SHARE = "localisation", "localisation_per_row", "localisation_share"
NOT_SURE = "tried: not surely different from zero in every model"
NOT_BEYOND = "tried: no more than parts taken at random do"
NOT_WHOLE = "tried: moves the output alone, but the whole place does not (its parts, or rows, work against each other)"
METHODS = {
    CHANNEL: "the part's own value interchanged, donors share the label; other group minus own group; raw: what the gradient predicts",
    PER_ROW: "root of the mean product of two disjoint donor halves, for what cancels over rows; raw: what the gradient predicts",
    SHARE: "effect of the part over that of the whole place on the same rows, Fieller's interval",
}
_BEFORE = {"set": "together: ", "random": "random: ", "skipped": "skipped: "}
"""What stands before a subject in words, by measure."""


@dataclass(frozen=True)
class _Candidate:
    """One thing that was tried in every model of a regime; ``measure`` says whether it is the whole, a part, a set or a control."""

    measure: str
    subject: str
    parts: tuple[Part, ...]
    signed: tuple[Measured, ...]
    product: tuple[Measured, ...]
    places: Places = ()  # table and model of each, where tables were crossed with models

    @classmethod
    def of(cls, measure: str, subject: str, parts: Iterable[Part], clusters_n: Ints, places: Places) -> Self:
        parts = tuple(parts)
        both = [[(p.effect.signed, p.effect.signed_influence_n), (p.effect.product, p.effect.product_influence_n)] for p in parts]
        made = [[Measured(np.array([value]), influence.astype(np.float64), clusters_n) for value, influence in one] for one in both]
        return cls(measure, subject, parts, tuple(signed for signed, _ in made), tuple(product for _, product in made), places)

    def p(self) -> float:
        """p-value of "does nothing": signed or per row, in the model where it is largest."""
        return min(1.0, 2 * min(self.p_signed(), max(p_above(one, 0.0) for one in self.product)))

    def p_signed(self) -> float:
        """p-value of "does nothing from group to group", in the model where it is largest; models that disagree in sign have 1."""
        sign = 1.0 if over_seeds(self.signed).value >= 0 else -1.0
        return max(min(1.0, 2 * p_above(one if sign > 0 else -one, 0.0)) for one in self.signed)

    def size(self) -> float:
        """The larger of the signed and the per-row effect, in the mean over models."""
        return max(abs(over_seeds(self.signed).value), _root(over_seeds(self.product).value))


@dataclass(frozen=True)
class _Group:
    """What was tried at one location with the same controls, each to be given as a share of ``whole``."""

    location: Draft
    candidates: tuple[_Candidate, ...]
    controls: tuple[_Candidate, ...] = ()
    whole: _Candidate | None = None


def follow_up(facts: Facts, ledger: Ledger) -> Drafts:
    """Publish what was localised, for every protected attribute and regime that has it."""
    out = Drafts()
    for attribute in facts.protected:
        for run in facts.runs:
            found = [LOCALISATIONS.find(m, attribute.name) for m in run.measured]
            records = [record for record in found if record is not None]
            if records:  # of the repetitions that were asked
                _add(out, facts, ledger, attribute, run, records)
    return out


def _about(draft: Draft, measure: str, subject: str | None) -> Draft:
    return replace(draft, measure=measure, subject=subject, context=None if subject is None else _BEFORE.get(measure, "") + subject)


def _skipped(draft: Draft, subject: str, reason: str) -> Draft:
    return replace(_about(draft, "skipped", subject), reason=reason, n=None)


def _add(out: Drafts, facts: Facts, ledger: Ledger, attribute: Attribute, run: Run, found: Sequence[LocalisationRecord]) -> None:
    low, high = facts.followed[attribute.name].names
    base = Draft(CHANNEL, attribute.name, run.regime, group=f"{low} to {high}", unit=facts.gap_unit, method=METHODS[CHANNEL], decides=False)
    missing = next((one.reason for one in found if one.reason), None)
    if missing is not None:
        out.add(replace(_about(base, "whole", None), reason=missing))
        return
    base = replace(base, n=min(one.rows for one in found) // 10 * 10)
    blind = next((one.no_gradient for one in found if one.no_gradient), None)
    if blind is not None:
        out.add(_skipped(base, "screening by the gradient", blind))
    lines: list[_Group | Draft] = []
    for name in found[0].locations:
        location = replace(base, site=name)
        records = [one.locations[name] for one in found if name in one.locations]
        if len(records) < len(found):
            lines.append(replace(_about(location, "skipped", None), context="skipped", reason="the models differ in their places"))
        else:
            lines += _of_location(location, records, facts.clusters_n, run.places)
    # One correction over everything that was tried of the attribute in this regime.
    ps = iter(holm([one.p() for line in lines if isinstance(line, _Group) for one in line.candidates]))
    # A whole location may not move the outputs where the effect cancels over rows; the attribute's subspace there may.
    used = ("used", attribute.name, run.regime, "present")
    backed = {e.site for e in ledger.estimates if (e.channel, e.attribute, e.regime, e.state) == used and e.site is not None}
    for line in lines:
        if isinstance(line, Draft):
            out.add(line)
            continue
        own = [float(next(ps)) for _ in line.candidates]
        if line.whole is None and own[0] <= PRESENT_AT:
            backed.add(str(line.location.site))
        _publish(out, line, own, backed=line.location.site in backed)


def _of_location(location: Draft, records: Sequence[LocationRecord], clusters_n: Ints, places: Places) -> list[_Group | Draft]:
    """Everything that was tried at one location, and what was not."""
    kind = records[0].kind
    left = next((record.skipped for record in records if record.skipped), None)
    if left is not None:
        return [_skipped(location, f"whole {kind}", left)]
    wholes = [record.whole for record in records if record.whole is not None]
    whole = _Candidate.of("whole", f"whole {kind}", wholes, clusters_n, places)
    lines: list[_Group | Draft] = [_Group(location, (whole,))]
    searches = [record.search for record in records if record.search is not None]
    if len(searches) < len(records):
        left = next((record.search_skipped for record in records if record.search_skipped), None)
        return lines if left is None else [*lines, _skipped(location, "heads" if kind == "heads" else "units", left)]
    # By rank, as far as every model goes.
    ranks = [*zip(*(search.tried for search in searches), strict=False)]
    tried = [_Candidate.of("part", _ranked(parts, rank), parts, clusters_n, places) for rank, parts in enumerate(ranks)]
    drawn = zip(*(search.random for search in searches), strict=False)
    controls = [_Candidate.of("random", _names(parts), parts, clusters_n, places) for parts in drawn]
    lines.append(_Group(location, tuple(tried), tuple(controls), whole))
    why = next((search.no_carriers for search in searches if search.no_carriers), None)
    sets = [search.carriers for search in searches if search.carriers is not None]
    if why is None:
        together = _Candidate.of("set", _set_words(searches), [one.together for one in sets], clusters_n, places)
        random = _Candidate.of("random", "as many parts together", [one.random for one in sets], clusters_n, places)
        lines.append(_Group(location, (together,), (random,), whole))
    else:
        lines.append(replace(_about(location, "set", "the smallest set that carries 80 %"), reason=why, n=None))
    return [*lines, *_not_tried(location, searches)]


def _ranked(parts: Sequence[Part], rank: int) -> str:
    """A part by its name where it is the same in every model (or there is one), else by its rank and its name in each."""
    names = {part.name for part in parts}
    return next(iter(names)) if len(names) == 1 else f"rank {rank + 1}: {_names(parts)}"


def _names(parts: Sequence[Part]) -> str:
    names = [part.name for part in parts]
    return names[0] if len(set(names)) == 1 else ", ".join(names)


def _set_words(searches: Sequence[Search]) -> str:
    sets = [search.carriers for search in searches if search.carriers is not None]
    sizes = [one.size for one in sets]
    several = f"{sizes[0]}" if len(set(sizes)) == 1 else ", ".join(map(str, sizes))
    named = f" ({', '.join(sets[0].names)})" if len(sets) == 1 and sizes[0] <= len(sets[0].names) else ""
    return f"the first {several} of {min(search.moving for search in searches)}{named}"


def _not_tried(location: Draft, searches: Sequence[Search]) -> list[Draft]:
    """Parts that were not tried, in one line each for those that move and those that do not."""
    left, lines = max(search.left for search in searches), []
    still = max(search.parts - search.moving for search in searches)
    if left:
        largest = max(search.left_largest for search in searches)
        reason = f"the gradient predicts at most {largest:.2g} for any of them, less than for those picked by it"
        lines.append(_skipped(location, f"{left} parts", reason))
    if still:
        lines.append(_skipped(location, f"{still} parts without movement", "the same on every row"))
    return lines


def _publish(out: Drafts, group: _Group, ps: Sequence[float], *, backed: bool) -> None:
    """Effects, shares and, beside them, the controls; a part is confirmed where no reason says otherwise.

    Single units may move the output in a model that ignores the attribute: the location, or the subspace at it, must too (``backed``).
    """
    beside = max((control.size() for control in group.controls), default=0.0)
    location = replace(group.location, null_high=beside if group.controls else None)
    for one, p in zip(group.candidates, ps, strict=True):
        reason = NOT_SURE if p > PRESENT_AT else NOT_BEYOND if group.controls and one.size() <= beside else None
        if reason is None and not backed:
            reason = NOT_WHOLE
        _add_effects(out, replace(location, reason=reason), one)
        if group.whole is not None and reason is None and one.p_signed() <= PRESENT_AT:
            ratio = fieller_ratio(over_seeds(one.signed, one.places), over_seeds(group.whole.signed, one.places))
            if ratio is not None:
                share = replace(_about(group.location, one.measure, one.subject), channel=SHARE, method=METHODS[SHARE])
                out.add(replace(share, unit="share of the whole place's effect", interval=ratio), value=ratio.value)
    for control in group.controls:
        _add_effects(out, location, control)


def _add_effects(out: Drafts, location: Draft, one: _Candidate) -> None:
    draft = _about(location, one.measure, one.subject)
    signed, product = over_seeds(one.signed, one.places), over_seeds(one.product, one.places)
    out.add(replace(draft, measured=signed, interval=crossed_interval(signed), raw=_mean(part.predicted for part in one.parts)))
    if one.measure == "random":
        return
    # A root has no standard error worth the name near zero: the product's interval is taken, and its ends are drawn.
    around = crossed_interval(product)
    interval = Interval(_root(around.value), _root(around.low), _root(around.high), around.se, around.df)
    roots = [_root(float(value)) for value in product.seed_values]
    distinct, raw = len({significant(root) for root in roots}), _mean(part.predicted_per_row for part in one.parts)
    per_row = replace(draft, channel=PER_ROW, method=METHODS[PER_ROW], interval=interval, raw=raw, seed_values=roots, seeds=distinct)
    out.add(per_row, value=interval.value)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _root(value: float) -> float:
    return float(np.sqrt(max(0.0, value)))
