"""Localisation as estimates: what was tried, what it did, what was left out and why. No verdict rests on it; no state is given.

Models trained apart share their architecture, not what a unit or a head stands for. Sites and blocks are therefore the same place in every
model, units and heads are told by their rank: the part that does most in each model (ranked on rows apart from those of the effect).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.draft import PRESENT_AT, Draft
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import UNIT_GAP, Drafts, Ledger, significant
from proxyaudit.estimates.record import cell_key
from proxyaudit.stats.intervals import LEVEL, Interval, Measured, crossed_interval, fieller_ratio, over_seeds, p_above
from proxyaudit.stats.multiplicity import holm
from proxyaudit.types import Estimate

CHANNEL, PER_ROW, SHARE = "localisation", "localisation_per_row", "localisation_share"
WHOLE, CONTROL, SKIPPED = "whole", "random", "skipped"
NOT_SURE = "tried: not surely different from zero in every model"
NOT_BEYOND = "tried: no more than parts taken at random do"
NOT_WHOLE = "tried: moves the output alone, but the whole place does not (its parts, or rows, work against each other)"
METHODS = {
    CHANNEL: "the part's own value interchanged, donors share the label; other group minus own group; raw: what the gradient predicts",
    PER_ROW: "root of the mean product of two disjoint donor halves, for what cancels over rows; raw: what the gradient predicts",
    SHARE: "effect of the part over that of the whole place on the same rows, Fieller's interval",
}


@dataclass(frozen=True)
class _Candidate:
    """One thing that was tried in every model of a regime."""

    context: str
    numbers: tuple[Mapping[str, Any], ...]
    signed: tuple[Measured, ...]
    product: tuple[Measured, ...]
    control: bool = False

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
    """What was tried at one place with the same controls, each to be given as a share of ``whole``."""

    place: Draft
    candidates: tuple[_Candidate, ...]
    controls: tuple[_Candidate, ...] = ()
    whole: _Candidate | None = None


def follow_up(facts: Facts, ledger: Ledger) -> Drafts:
    """Publish what was localised, for every protected attribute and regime that has it."""
    out = Drafts()
    for attribute in facts.protected:
        for run in facts.runs:
            if run.measured and all("localisation" in m.numbers for m in run.measured):
                _add(out, facts, ledger, attribute, run)
    return out


def _add(out: Drafts, facts: Facts, ledger: Ledger, attribute: Attribute, run: Run) -> None:
    found = [m.numbers["localisation"][attribute.name] for m in run.measured]
    low, high = facts.followed[attribute.name].names
    base = Draft(CHANNEL, attribute.name, run.regime, group=f"{low} to {high}", unit=UNIT_GAP, method=METHODS[CHANNEL], decides=False)
    missing = next((one["reason"] for one in found if one["reason"]), None)
    if missing is not None:
        out.add(replace(base, reason=missing))
        return
    base = replace(base, n=min(one["rows"] for one in found) // 10 * 10)
    blind = next((one["no gradient"] for one in found if one["no gradient"]), None)
    if blind is not None:
        out.add(replace(base, context=f"{SKIPPED}: screening by the gradient", reason=blind, n=None))
    lines: list[_Group | Draft] = []
    for name in found[0]["places"]:
        entries = [one["places"].get(name) for one in found]
        place = replace(base, site=name)
        if any(entry is None for entry in entries):
            lines.append(replace(place, context=SKIPPED, reason="the models differ in their places"))
            continue
        left = next((entry["skipped"] for entry in entries if entry["skipped"]), None)
        if left is not None:
            lines.append(replace(place, context=f"{SKIPPED}: {WHOLE} {entries[0]['kind']}", reason=left, n=None))
            continue
        lines += _of_place(facts, place, run, entries)
    # One correction over everything that was tried of the attribute in this regime.
    ps = iter(holm([one.p() for line in lines if isinstance(line, _Group) for one in line.candidates] or [1.0]))
    backed: set[str | None] = {e.site for e in ledger.estimates if _shows_use(e, attribute.name, run.regime)}
    for line in lines:
        if isinstance(line, Draft):
            out.add(line)
            continue
        own = [float(next(ps)) for _ in line.candidates]
        if line.whole is None and own[0] <= PRESENT_AT:
            backed.add(line.place.site)
        _publish(out, line, own, backed=line.place.site in backed)


def _shows_use(e: Estimate, attribute: str, regime: str) -> bool:
    """Whether the attribute's subspace moves the outputs, which a whole place may not where the effect cancels over rows."""
    return (e.channel, e.attribute, e.regime, e.state) == ("used", attribute, regime, "present") and e.site is not None


def _of_place(facts: Facts, place: Draft, run: Run, entries: Sequence[Mapping[str, Any]]) -> list[_Group | Draft]:
    clusters = facts.clusters_n

    def candidate(context: str, what: str, numbers: Sequence[Mapping[str, Any]], *, control: bool = False) -> _Candidate:
        key = cell_key(place.attribute, str(place.site), f"localised {what} ")
        signed, product = (
            tuple(
                Measured(np.array([one[kind]]), np.asarray(m.arrays[key + kind], dtype=np.float64), clusters)
                for one, m in zip(numbers, run.measured, strict=True)
            )
            for kind in ("signed", "product")
        )
        return _Candidate(context, tuple(numbers), signed, product, control)

    whole = candidate(f"{WHOLE} {entries[0]['kind']}", WHOLE, [entry["whole"] for entry in entries])
    searches = [entry["search"] for entry in entries if "search" in entry]
    tried, controls = [], []
    sets = [search["set"] for search in searches]
    complete = len(searches) == len(entries)
    if complete:
        for rank in range(min(len(search["tried"]) for search in searches)):
            numbers = [search["tried"][rank] for search in searches]
            tried.append(candidate(_ranked(numbers, rank), f"tried {rank}", numbers))
        for rank in range(min(len(search["random"]) for search in searches)):
            numbers = [search["random"][rank] for search in searches]
            controls.append(candidate(f"{CONTROL}: {_names(numbers)}", f"random {rank}", numbers, control=True))
    lines: list[_Group | Draft] = [_Group(place, (whole,))]
    if not complete:
        left = next((entry["search skipped"] for entry in entries if entry.get("search skipped")), None)
        parts = "heads" if entries[0]["kind"] == "heads" else "units"
        return [*lines, *([] if left is None else [replace(place, context=f"{SKIPPED}: {parts}", reason=left, n=None)])]
    lines.append(_Group(place, tuple(tried), tuple(controls), whole))
    why = next((one["reason"] for one in sets if one["reason"]), None)
    if why is None:
        together = candidate(_set_words(searches), "set", sets)
        random = candidate(f"{CONTROL}: as many parts together", "random set", [one["random"] for one in sets], control=True)
        lines.append(_Group(place, (together,), (random,), whole))
    else:
        lines.append(replace(place, context="together: the smallest set that carries 80 %", reason=why, n=None))
    return [*lines, *_left(place, searches)]


def _ranked(numbers: Sequence[Mapping[str, Any]], rank: int) -> str:
    """A part by its name where it is the same in every model (or there is one), else by its rank and its name in each."""
    names = {one["name"] for one in numbers}
    return next(iter(names)) if len(names) == 1 else f"rank {rank + 1}: {_names(numbers)}"


def _names(numbers: Sequence[Mapping[str, Any]]) -> str:
    names = [str(one["name"]) for one in numbers]
    return names[0] if len(set(names)) == 1 else ", ".join(names)


def _set_words(searches: Sequence[Mapping[str, Any]]) -> str:
    sizes = [search["set"]["size"] for search in searches]
    several = f"{sizes[0]}" if len(set(sizes)) == 1 else ", ".join(map(str, sizes))
    named = ""
    if len(searches) == 1 and sizes[0] <= len(searches[0]["set"]["names"]):
        named = f" ({', '.join(searches[0]['set']['names'])})"
    return f"together: the first {several} of {min(search['moving'] for search in searches)}{named}"


def _publish(out: Drafts, group: _Group, ps: Sequence[float], *, backed: bool) -> None:
    """Effects, shares and, beside them, the controls. A part is confirmed where no reason says otherwise.

    Units of a model that ignores the attribute can move the output one by one, upwards and downwards: what none of it adds up to is no
    effect of the attribute, so a part also needs the whole place, or the attribute's subspace at it, to move the output (``backed``).
    """
    beside = max((control.size() for control in group.controls), default=0.0)
    place = replace(group.place, null_high=beside if group.controls else None)
    for one, p in zip(group.candidates, ps, strict=True):
        reason = NOT_SURE if p > PRESENT_AT else NOT_BEYOND if group.controls and one.size() <= beside else None
        if reason is None and not backed:
            reason = NOT_WHOLE
        _add_effects(out, replace(place, context=one.context, reason=reason), one)
        if group.whole is not None and reason is None and one.p_signed() <= PRESENT_AT:
            _add_share(out, replace(group.place, context=one.context), one, group.whole)
    for control in group.controls:
        _add_effects(out, replace(place, context=control.context), control)


def _add_effects(out: Drafts, cell: Draft, one: _Candidate) -> None:
    signed, product = over_seeds(one.signed), over_seeds(one.product)
    raw = [float(np.mean([n[key] for n in one.numbers])) if key in one.numbers[0] else None for key in ("predicted", "predicted per row")]
    out.add(replace(cell, measured=signed, interval=crossed_interval(signed, LEVEL), raw=raw[0]))
    if one.control:
        return
    # A root has no standard error worth the name near zero: the product's interval is taken, and its ends are drawn.
    around = crossed_interval(product, LEVEL)
    interval = Interval(_root(around.value), _root(around.low), _root(around.high), around.se, around.df)
    roots = [_root(float(value)) for value in product.seed_values]
    distinct = len({significant(root) for root in roots})
    per_row = replace(cell, channel=PER_ROW, method=METHODS[PER_ROW], interval=interval, raw=raw[1], seed_values=roots, seeds=distinct)
    out.add(per_row, value=interval.value)


def _add_share(out: Drafts, cell: Draft, one: _Candidate, whole: _Candidate) -> None:
    cell = replace(cell, channel=SHARE, unit="share of the whole place's effect", method=METHODS[SHARE])
    ratio = fieller_ratio(over_seeds(one.signed), over_seeds(whole.signed), LEVEL)
    if ratio is not None:
        out.add(replace(cell, interval=ratio), value=ratio.value)


def _left(place: Draft, searches: Sequence[Mapping[str, Any]]) -> list[_Group | Draft]:
    """Parts that were not tried, in one line."""
    left, lines = max(search["left"] for search in searches), []
    still = max(search["parts"] - search["moving"] for search in searches)
    if left:
        largest = max(search["left largest"] for search in searches)
        reason = f"the gradient predicts at most {largest:.2g} for any of them, less than for those picked by it"
        lines.append(replace(place, context=f"{SKIPPED}: {left} parts", reason=reason, n=None))
    if still:
        lines.append(replace(place, context=f"{SKIPPED}: {still} parts without movement", reason="the same on every row", n=None))
    return [*lines]


def _root(value: float) -> float:
    return float(np.sqrt(max(0.0, value)))
