"""Compare two packs: every number with its counterpart, what can be said of it, and one answer for each attribute and pair of regimes.

Decision 0015 says why the rules are what they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from proxyaudit.comparison.difference import Difference, Number, numbers_in, subtract
from proxyaudit.comparison.matching import Sites, kind_of, match_regimes, match_sites, models_of, numbers_of
from proxyaudit.comparison.outcomes import pair_outcome
from proxyaudit.comparison.training import NUMBER_NOTES, RUN_NOTES, Training, training_of
from proxyaudit.comparison.values import Comparison, MatchedBy, Models, NumberChange, PairOutcome, RunName, Word
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.stats.multiplicity import holm
from proxyaudit.types import Estimate, Finding

SURELY = 0.05  # level after Holm over all numbers compared
SHARE_OF_MARGIN = 0.5  # a difference smaller than this share of the margin is no news, however sure
GROWN, SHRUNK = 0.05, 0.2  # of A's value: decision 0006, growth counts from a twentieth on, a decrease from a fifth
UNCHANGED = (-0.2, 0.25)  # the band of "unchanged", of A's value
READER = "shown by the reader"
_Key = tuple[str, str, str | None]


@dataclass(frozen=True)
class _Side:
    """One run of a comparison."""

    pack: EvidencePack
    numbers: dict[str, Number]
    sites: Sites
    findings: dict[tuple[str, str], Finding]

    @classmethod
    def of(cls, pack: EvidencePack) -> _Side:
        findings = {(finding.attribute, finding.regime): finding for finding in pack.evidence.findings}
        return cls(pack, numbers_in(pack), Sites.of(pack), findings)

    def roles(self) -> dict[str, str]:
        """Role of each attribute, protected ones first."""
        found = {finding.attribute: str(finding.role) for finding in self.pack.evidence.findings}
        return dict(sorted(found.items(), key=lambda item: item[1] != "protected"))

    def levels(self) -> dict[str, object]:
        """How each attribute was coded."""
        planned = self.pack.plan.get("attributes")
        entries = [entry for entry in planned if isinstance(entry, dict)] if isinstance(planned, list) else []
        return {str(entry.get("name")): (entry.get("kind"), entry.get("levels")) for entry in entries}


def compare_packs(a: EvidencePack, b: EvidencePack, regimes: Sequence[str] = (), attributes: Sequence[str] = ()) -> Comparison:
    """Compare run B with run A: what got worse, better, or cannot be told. Pure: the same packs give the same value.

    Args:
        a: The run compared with (before).
        b: The run judged (after).
        regimes: ``A=B`` pairs of regimes; by default those of one name, and the one that is left in each.
        attributes: Attributes to look at; by default all that either run has.

    Raises:
        InputError: a regime or attribute is unknown, or nothing belongs together.
    """
    before, after = _Side.of(a), _Side.of(b)
    pairs, without = match_regimes(a, b, regimes)
    roles = _roles(before, after, attributes)
    same_rows = any(isinstance(a.plan.get(key), str) and a.plan.get(key) == b.plan.get(key) for key in ("audit_rows", "digest"))
    models: dict[tuple[str, str], Models] = {
        (old, new): "given" if models_of(a, old) == models_of(b, new) == "given" else "trained" for old, new in pairs
    }
    training = training_of(a, b)
    drafts = [
        draft
        for attribute in roles
        for old, new in pairs
        for draft in _numbers(before, after, attribute, (old, new), models[old, new], same_rows, training)
    ]
    numbers = _decided(drafts)
    outcomes = [
        pair_outcome(
            name,
            role,
            pair,
            before.findings.get((name, pair[0])),
            after.findings.get((name, pair[1])),
            [n for n in numbers if (n.attribute, n.regime_a, n.regime_b) == (name, *pair)],
            models[pair],
            by_chance=training == "other_seed" and models[pair] == "trained" and pair[0] == pair[1],
        )
        for name, role in roles.items()
        for pair in pairs
        if (name, pair[0]) in before.findings and (role == "protected" or attributes or (name, pair[1]) in after.findings)
    ]
    outcomes += [_left_out(before, name, regime) for name, role in roles.items() for regime in without if role == "protected"]
    recoded = _recoded(before, after, roles)
    why = "it was coded in other levels in run B, so its numbers are not of one kind"
    outcomes = [
        replace(pair, outcome="cannot_tell", reasons=(why,)) if pair.attribute in recoded and pair.outcome != "worse" else pair
        for pair in outcomes
    ]
    notes = _notes(before, after, roles, same_rows, any(n.paired for n in numbers))
    if "trained" in models.values() and training != "same_rows":
        notes = (RUN_NOTES[training], *notes)
    assumed = [f"'{old}' of A and '{new}' of B were taken to belong together" for old, new in pairs if old != new and not regimes]
    notes = (*assumed, *notes)
    return Comparison(_name(a), _name(b), pairs, same_rows, tuple(outcomes), tuple(numbers), notes)


def _name(pack: EvidencePack) -> RunName:
    run = pack.evidence.run
    return RunName(run.name, run.id, run.status, run.plan_digest)


def _roles(before: _Side, after: _Side, wanted: Sequence[str]) -> dict[str, str]:
    roles = {**after.roles(), **before.roles()}
    for name in wanted:
        if name not in roles:
            raise InputError(
                f"neither run has the attribute '{name[:80]}'", where="--attribute", mend=f"they have {', '.join(list(roles)[:12])}"
            )
    return {name: role for name, role in roles.items() if not wanted or name in wanted}


# Numbers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Draft:
    """A number beside its counterpart, before the correction for looking at many."""

    change: NumberChange
    found: Difference | None
    bound_a: str | None
    bound_b: str | None


def _numbers(
    before: _Side, after: _Side, attribute: str, pair: tuple[str, str], models: Models, same_rows: bool, training: Training
) -> Iterable[_Draft]:
    old, new = numbers_of(before.pack, attribute, pair[0]), numbers_of(after.pack, attribute, pair[1])
    sites = match_sites(before.sites, after.sites)
    met: set[_Key] = set()
    for key, estimate in new.items():
        counterpart, matched_by = _counterpart(key, old, sites)
        theirs = old.get(counterpart) if counterpart else None
        if counterpart:
            met.add(counterpart)
        yield _draft(before, after, attribute, pair, theirs, estimate, matched_by, models, same_rows, training)
    for key, estimate in old.items():
        # A site of A that no site of B stands for is no loss where the architecture changed; a whole measure is.
        if key not in met and not any(other[:2] == key[:2] for other in new):
            yield _draft(before, after, attribute, pair, estimate, None, "name", models, same_rows, training)


def _counterpart(key: _Key, old: dict[_Key, Estimate], sites: dict[str, tuple[str, MatchedBy]]) -> tuple[_Key | None, MatchedBy]:
    channel, kind, site = key
    if site is None:
        return (key, "joint" if kind.startswith("joint") else "outputs") if key in old else (None, "outputs")
    if site in sites:
        other, matched_by = sites[site]
        return ((channel, kind, other), matched_by) if (channel, kind, other) in old else (None, matched_by)
    # A place that is measured whatever the sites are (the last block, when it is trained again).
    places = [found for found in old if found[:2] == key[:2]]
    if key in old:
        return key, "name"
    return (places[0], "role") if len(places) == 1 else (None, "role")


def _draft(
    before: _Side,
    after: _Side,
    attribute: str,
    pair: tuple[str, str],
    a: Estimate | None,
    b: Estimate | None,
    matched_by: MatchedBy,
    models: Models,
    same_rows: bool,
    training: Training,
) -> _Draft:
    one = b or a
    assert one is not None
    margins = [e.margin for e in (a, b) if e is not None and e.margin is not None]
    change = NumberChange(
        attribute=attribute,
        channel=one.channel,
        kind=kind_of(one),
        regime_a=pair[0],
        regime_b=pair[1],
        site_a=a.site if a else None,
        site_b=b.site if b else None,
        matched_by=matched_by,
        id_a=a.id if a else None,
        id_b=b.id if b else None,
        state_a=a.state if a else None,
        state_b=b.state if b else None,
        value_a=a.value if a else None,
        value_b=b.value if b else None,
        difference=None,
        low=None,
        high=None,
        p=None,
        p_adjusted=None,
        margin=min(margins) if margins else None,
        unit=one.unit,
        paired=False,
        word="cannot_tell",
    )
    for side, estimate in (("A", a), ("B", b)):
        if estimate is None or estimate.value is None:
            why = "not measured" if estimate is None else estimate.reason or "not measured"
            return _Draft(replace(change, note=f"{side}: {why}"), None, None, None)
    assert a is not None
    assert b is not None
    if a.unit != b.unit:
        return _Draft(replace(change, note=f"not the same unit: {a.unit} against {b.unit}"), None, None, None)
    x, y = before.numbers.get(a.id), after.numbers.get(b.id)
    if x is None or y is None:
        return _Draft(replace(change, note="a number without an interval"), None, None, None)
    note = ""
    if a.channel == "expressed" and a.group != b.group and a.group and b.group:
        note = f"the largest gap is another one: {a.group} in A, {b.group} in B; their sizes are compared"
    if b.margin is not None and a.margin is not None and b.margin > a.margin:
        note = f"B was decided at a laxer margin: {b.margin:g} against {a.margin:g}"
    bounds = [e.method.partition(READER)[2].partition(":")[0].strip() or None for e in (a, b)]
    found = subtract(x, y, models=models, same_rows=same_rows)
    if models == "trained" and training != "same_rows":
        found = replace(found, p=None)
        note = "; ".join(part for part in (note, NUMBER_NOTES[training]) if part)
    return _Draft(replace(change, note=note, paired=found.paired), found, bounds[0], bounds[1])


def _decided(drafts: Sequence[_Draft]) -> list[NumberChange]:
    """Holm over all numbers that could be claimed, then one word for each."""
    tested = [i for i, draft in enumerate(drafts) if draft.found is not None and draft.found.p is not None]
    p_values = [float(found.p) for i in tested if (found := drafts[i].found) is not None and found.p is not None]
    adjusted = dict(zip(tested, (float(p) for p in holm(p_values)), strict=True)) if tested else {}
    return [_worded(draft, adjusted.get(i)) for i, draft in enumerate(drafts)]


def _worded(draft: _Draft, p: float | None) -> NumberChange:
    change, found = draft.change, draft.found
    if found is None or change.value_a is None or change.margin is None:
        return change
    shown = replace(change, difference=_six(found.value), low=_six(found.low), high=_six(found.high), p=_six(found.p), p_adjusted=_six(p))
    word, why = _word(shown, draft, p is not None and p <= SURELY)
    return replace(shown, word=word, note="; ".join(part for part in (shown.note, why) if part))


def _word(n: NumberChange, draft: _Draft, surely: bool) -> tuple[Word, str]:
    assert draft.found is not None
    assert n.margin is not None
    assert n.value_a is not None
    size, difference = abs(n.value_a), draft.found.value
    least = max(SHARE_OF_MARGIN * n.margin, (GROWN if difference > 0 else SHRUNK) * size)
    if surely and abs(difference) >= least:
        if not draft.found.agrees:
            return "not_seen", "the models of one side disagree"
        lower_bound = draft.bound_a if difference > 0 else draft.bound_b
        if lower_bound is not None and draft.bound_a != draft.bound_b:
            return "not_seen", "the smaller number is only a lower bound"
        if difference > 0 and n.state_b == "present":
            return "worse", ""
        if difference > 0 and n.state_b == "unknown":
            return "cannot_tell", "surely larger, but whether it is there in B is not settled"
        if difference < 0 and n.state_a == "present":
            return "better", ""
    within = max(n.margin, -UNCHANGED[0] * size), max(n.margin, UNCHANGED[1] * size)
    if draft.found.low >= -within[0] and draft.found.high <= within[1]:
        return "unchanged", ""
    alone = draft.found.p is None and not any(text in n.note for text in NUMBER_NOTES.values())
    return "not_seen", "one model on each side: what differs may be nothing but its initial weights" if alone else ""


def _six(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


# What surrounds them -----------------------------------------------------------------------------------------------


def _left_out(before: _Side, attribute: str, regime: str) -> PairOutcome:
    finding = before.findings.get((attribute, regime))
    reason = "run B has no such regime; name the pairs to compare with --regime to leave it out"
    return PairOutcome(
        attribute,
        "protected",
        regime,
        "",
        finding.verdict if finding else None,
        None,
        finding.at_least if finding else None,
        None,
        "cannot_tell",
        models_of(before.pack, regime),
        (reason,),
    )


def _recoded(before: _Side, after: _Side, roles: Iterable[str]) -> list[str]:
    described = [side.levels() for side in (before, after)]
    return [name for name in roles if name in described[0] and described[0][name] != described[1].get(name, described[0][name])]


def _notes(before: _Side, after: _Side, roles: dict[str, str], same_rows: bool, paired: bool) -> tuple[str, ...]:
    notes = []
    if paired:
        notes.append("both were measured on the same rows: intervals of differences are paired")
    elif same_rows:
        notes.append(
            "both were measured on the same rows, but a pack keeps no row sums (an earlier version wrote it): intervals are unpaired"
        )
    else:
        notes.append("the rows are not known to be the same: intervals of differences are unpaired, wider than for pairs")
    for side, name in ((before, "A"), (after, "B")):
        if side.pack.evidence.run.status != "complete":
            notes.append(f"run {name} is partial: a task failed, so some numbers are missing")
    mine, theirs = before.roles(), after.roles()
    notes += [f"'{name}' is only in run B and was not compared" for name in roles if name not in mine]
    notes += [
        f"the proxy '{name}' is only in run A and was not compared" for name, role in mine.items() if name not in theirs and role == "proxy"
    ]
    for regime in dict.fromkeys(regime for _, regime in after.findings):
        if regime not in {known for _, known in before.findings}:
            shown = sorted({f.verdict for (name, own), f in after.findings.items() if own == regime and name in roles})
            notes.append(f"the regime '{regime}' ({', '.join(shown)}) is only in run B; it was compared only if a pair names it")
    notes += [f"'{name}' was coded in other levels in run B, so its numbers are not of one kind" for name in _recoded(before, after, roles)]
    old, new = (side.pack.plan.get("margins") for side in (before, after))
    if isinstance(old, dict) and isinstance(new, dict):
        laxer = [key for key in old if isinstance(new.get(key), int | float) and isinstance(old[key], int | float) and new[key] > old[key]]
        notes += [f"run B has a laxer margin for {key}: {new[key]:g} against {old[key]:g}; states are not of one kind" for key in laxer]
    return tuple(notes)
