"""Compare two packs, or two regimes of one: every number with its counterpart, and one answer for each attribute (decision 0015)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from proxyaudit.comparison import matching
from proxyaudit.comparison.difference import Difference, numbers_in, subtract
from proxyaudit.comparison.matching import Key, Sites, Training
from proxyaudit.comparison.outcomes import (
    GAP,
    Comparison,
    MatchedBy,
    Models,
    NumberChange,
    PairOutcome,
    RunName,
    Word,
    outcome_of,
    pair_outcome,
)
from proxyaudit.comparison.prominence import prominence_changes
from proxyaudit.errors import InputError
from proxyaudit.estimates.questions import deciding_names, kind_of
from proxyaudit.estimates.rounding import significant
from proxyaudit.estimates.scope import entries, margins_of
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.stats.p_values import holm
from proxyaudit.types import AUDITED, ROLES, Estimate, Evidence, Finding, Role

SURELY = 0.05  # level after Holm over all numbers compared
SHARE_OF_MARGIN = 0.5  # a difference smaller than this share of the margin is no news, however sure
GROWN, SHRUNK = 0.05, 0.2  # of A's value: decision 0006, growth counts from a twentieth on, a decrease from a fifth
UNCHANGED = (-0.2, 0.25)  # the band of "unchanged", of A's value
_SHOWN = ("id", "state", "value", "low", "high", "auroc", "margin", "seeds", "n", "group", "reason")
_TOLD = ("verdict", "at_least", "sentence", "would_settle")


class _Side:
    """One run of a comparison."""

    def __init__(self, pack: EvidencePack) -> None:
        self.pack, self.numbers, self.sites = pack, numbers_in(pack), Sites.of(pack)
        self.findings = {(finding.attribute, finding.regime): finding for finding in pack.evidence.findings}

    def roles(self) -> dict[str, Role]:
        """Role of each attribute, protected ones first, then intersections."""
        found = {finding.attribute: finding.role for finding in self.pack.evidence.findings}
        return dict(sorted(found.items(), key=lambda item: ROLES.index(item[1])))


def compare_packs(
    a: EvidencePack, b: EvidencePack, regimes: Sequence[str] = (), attributes: Sequence[str] = (), purged: Sequence[str] = ()
) -> Comparison:
    """Compare run B (after) with run A (before): what got worse, better, or cannot be told. Pure: the same packs give the same value.

    Regimes are paired as ``A=B``, by default those of one name and the one that is left in each; of attributes all that either run has.
    ``purged`` names the runs (A, B) whose row sums a receipt calls deleted.
    Raises ``InputError`` where a regime or attribute is unknown, or nothing belongs together.
    """
    before, after = _Side(a), _Side(b)
    pairs, without = matching.match_regimes(a, b, regimes)
    roles = {**after.roles(), **before.roles()}
    for name in attributes:
        if name not in roles:
            mend = f"they have {', '.join(list(roles)[:12])}"
            raise InputError(f"neither run has the attribute '{name[:80]}'", where="--attribute", mend=mend)
    roles = {name: role for name, role in roles.items() if not attributes or name in attributes}
    same_rows = any(isinstance(a.plan.get(key), str) and a.plan.get(key) == b.plan.get(key) for key in ("audit_rows", "digest"))
    training = matching.training_of(a, b)
    kinds: list[Models] = ["given" if {matching.models_of(a, x), matching.models_of(b, y)} == {"given"} else "trained" for x, y in pairs]
    sides = [_Pair(before, after, *pair, kind, same_rows, training) for pair, kind in zip(pairs, kinds, strict=True)]
    numbers = _decided([draft for name in roles for pair in sides for draft in pair.drafts(name)])
    recoded = _recoded(before, after, roles)
    outcomes = [
        _outcome(pair, name, role, numbers, recoded)
        for name, role in roles.items()
        for pair in sides
        if (name, pair.old) in before.findings and (role in AUDITED or attributes or (name, pair.new) in after.findings)
    ]
    reasons = ["run B has no such regime; name the pairs to compare with --regime to leave it out"]
    for name, role, regime in [(name, role, regime) for name, role in roles.items() for regime in without if role in AUDITED]:
        who, finding = (name, role, regime, ""), before.findings.get((name, regime))
        outcomes.append(outcome_of(who, finding, None, "cannot_tell", matching.models_of(a, regime), reasons))
    notes = [f"'{old}' of A and '{new}' of B were taken to belong together" for old, new in pairs if old != new and not regimes]
    if training != "same_rows" and any(pair.models == "trained" for pair in sides):
        notes.append(matching.RUN_NOTES[training])
    notes += _notes(before, after, roles, same_rows, any(n.paired for n in numbers), purged)
    first, second = (RunName(run.name, run.id, run.status, run.plan_digest) for run in (a.evidence.run, b.evidence.run))
    shown = prominence_changes(a, b, pairs, list(roles), same_rows=same_rows, training=training)
    return Comparison(first, second, pairs, same_rows, tuple(outcomes), tuple(numbers), tuple(notes), shown)


@dataclass(frozen=True)
class _Draft:
    """A number beside its counterpart, before the correction for looking at many."""

    change: NumberChange
    found: Difference | None = None
    bounds: tuple[str | None, str | None] = (None, None)  # the probe that a number of A or B is only a lower bound by
    other_rows: bool = False  # no change may be claimed, since the models were trained on other rows


@dataclass(frozen=True)
class _Pair:
    """A regime of each run, and what the two have in common."""

    before: _Side
    after: _Side
    old: str
    new: str
    models: Models
    same_rows: bool
    training: Training

    def drafts(self, attribute: str) -> Iterable[_Draft]:
        """Every number of B with its counterpart, and the numbers of A that have none."""
        old, new = matching.numbers_of(self.before.pack, attribute, self.old), matching.numbers_of(self.after.pack, attribute, self.new)
        sites = matching.match_sites(self.before.sites, self.after.sites)
        met: set[Key] = set()
        for key, estimate in new.items():
            counterpart, matched_by = _counterpart(key, old, sites)
            if counterpart:
                met.add(counterpart)
            yield self._draft(old.get(counterpart) if counterpart else None, estimate, matched_by)
        for key, estimate in old.items():
            # A site of A that no site of B stands for is no loss where the architecture changed; a whole measure is.
            if key not in met and not any(other.at(None) == key.at(None) for other in new):
                yield self._draft(estimate, None, "name")

    def _draft(self, a: Estimate | None, b: Estimate | None, matched_by: MatchedBy) -> _Draft:
        change = _beside(a, b, self.old, self.new, matched_by)
        if a is None or a.value is None or b is None or b.value is None:
            side, one = ("A", a) if a is None or a.value is None else ("B", b)
            why = (one.reason if one else None) or "not measured"
            return _Draft(replace(change, note=f"{side}: {why}", missing=why if side == "B" else ""))
        if a.unit != b.unit:
            return _Draft(replace(change, note=f"not the same unit: {a.unit} against {b.unit}"))
        x, y = self.before.numbers.get(a.id), self.after.numbers.get(b.id)
        if x is None or y is None:
            return _Draft(replace(change, note="a number without an interval"))
        found = subtract(x, y, models=self.models, same_rows=self.same_rows)
        note = ""
        if a.channel == "expressed" and a.group != b.group and a.group and b.group:
            note = f"the largest gap is another one: {a.group} in A, {b.group} in B; their sizes are compared"
        if change.laxer:
            note = f"B was decided at a laxer margin: {b.margin:g} against {a.margin:g}"
        other_rows = self.models == "trained" and self.training != "same_rows"
        if other_rows:
            found = replace(found, p=None)
            note = "; ".join(part for part in (note, matching.NUMBER_NOTES[self.training]) if part)
        return _Draft(replace(change, note=note, paired=found.paired), found, (a.shown_by, b.shown_by), other_rows)


def _beside(a: Estimate | None, b: Estimate | None, old: str, new: str, matched_by: MatchedBy) -> NumberChange:
    one = b or a
    assert one is not None
    margins = [e.margin for e in (a, b) if e is not None and e.margin is not None]
    sides: dict[str, Any] = {
        f"{key}_{side}": getattr(e, key, None) for side, e in (("a", a), ("b", b)) for key in ("site", "id", "state", "value", "bound")
    }
    what = (one.attribute or "", one.channel, one.measure, one.subject, kind_of(one.channel, one.measure, one.subject))
    margin, laxer = min(margins) if margins else None, len(margins) == 2 and margins[1] > margins[0]
    return NumberChange(*what, old, new, matched_by=matched_by, margin=margin, unit=one.unit, laxer=laxer, **sides)


def _counterpart(key: Key, old: dict[Key, Estimate], sites: dict[str, tuple[str, MatchedBy]]) -> tuple[Key | None, MatchedBy]:
    if key.site is None:
        return (key, "joint" if key.measure in matching.OF_SITES else "outputs") if key in old else (None, "outputs")
    if key.site in sites:
        site, matched_by = sites[key.site]
        return (key.at(site) if key.at(site) in old else None), matched_by
    # A place that is measured whatever the sites are (the last block, when it is trained again).
    places = [found for found in old if found.at(None) == key.at(None)]
    if key in old:
        return key, "name"
    return (places[0], "role") if len(places) == 1 else (None, "role")


def _decided(drafts: Sequence[_Draft]) -> list[NumberChange]:
    """Holm over all numbers that could be claimed, then one word for each."""
    tested = {i: draft.found.p for i, draft in enumerate(drafts) if draft.found is not None and draft.found.p is not None}
    gaps = {i: p for i, p in tested.items() if (drafts[i].change.channel, drafts[i].change.measure) == GAP}
    among_all, among_gaps = ({k: float(p) for k, p in zip(of, holm(list(of.values())), strict=True)} if of else {} for of in (tested, gaps))
    return [replace(_worded(draft, among_all.get(i)), p_gaps=significant(among_gaps.get(i))) for i, draft in enumerate(drafts)]


def _worded(draft: _Draft, p: float | None) -> NumberChange:
    change, found = draft.change, draft.found
    if found is None or change.value_a is None or change.margin is None:
        return change
    value, low, high, raw_p, adjusted_p = map(significant, (found.value, found.low, found.high, found.p, p))
    shown = replace(change, difference=value, low=low, high=high, p=raw_p, p_adjusted=adjusted_p)
    word, why = _word(shown, draft, found, abs(change.value_a), change.margin, p is not None and p <= SURELY)
    return replace(shown, word=word, note="; ".join(part for part in (shown.note, why) if part))


def _word(n: NumberChange, draft: _Draft, found: Difference, size: float, margin: float, surely: bool) -> tuple[Word, str]:
    difference = found.value
    if surely and abs(difference) >= max(SHARE_OF_MARGIN * margin, (GROWN if difference > 0 else SHRUNK) * size):
        if not found.agrees:
            return "not_seen", "the models of one side disagree"
        lower_bound = draft.bounds[0 if difference > 0 else 1]
        if lower_bound is not None and draft.bounds[0] != draft.bounds[1]:
            return "not_seen", "the smaller number is only a lower bound"
        if difference > 0 and n.state_b == "present":
            return "worse", ""
        if difference > 0 and n.state_b == "unknown":
            return "cannot_tell", "surely larger, but whether it is there in B is not settled"
        if difference < 0 and n.state_a == "present":
            return "better", ""
    most = max(margin, UNCHANGED[1] * size)
    if found.low >= -max(margin, -UNCHANGED[0] * size) and found.high <= most:
        return "unchanged", ""
    if found.p is not None or draft.other_rows:
        return "not_seen", ""
    # Nothing can be claimed of one model, and a number that grew past what counts as unchanged is no all-clear either.
    grown = found.low > most and n.state_b in ("present", "unknown")
    return "cannot_tell" if grown else "not_seen", "one model on each side: what differs may be nothing but its initial weights"


def _outcome(pair: _Pair, attribute: str, role: str, numbers: Sequence[NumberChange], recoded: Iterable[str]) -> PairOutcome:
    a, b = pair.before.findings.get((attribute, pair.old)), pair.after.findings.get((attribute, pair.new))
    mine = [n for n in numbers if (n.attribute, n.regime_a, n.regime_b) == (attribute, pair.old, pair.new)]
    by_chance = pair.training == "other_seed" and pair.models == "trained" and pair.old == pair.new
    itself = pair.before.pack.evidence == pair.after.pack.evidence and pair.old == pair.new
    found = pair_outcome((attribute, role, pair.old, pair.new), a, b, mine, pair.models, by_chance=by_chance or itself)
    if attribute in recoded and found.outcome != "worse":
        why = "it was coded in other levels in run B, so its numbers are not of one kind"
        return replace(found, outcome="cannot_tell", reasons=(why,))
    return found


def _recoded(before: _Side, after: _Side, roles: Iterable[str]) -> list[str]:
    planned = (entries(side.pack.plan, "attributes") for side in (before, after))
    old, new = ({str(entry.get("name")): (entry.get("kind"), entry.get("levels")) for entry in found} for found in planned)
    return [name for name in roles if name in old and old[name] != new.get(name, old[name])]


_NO_SUMS = "a pack keeps no row sums (an earlier version wrote it)"


def _notes(before: _Side, after: _Side, roles: dict[str, Role], same_rows: bool, paired: bool, purged: Sequence[str]) -> list[str]:
    rows = "the rows are not known to be the same: intervals of differences are unpaired, wider than for pairs"
    if paired:
        rows = "both were measured on the same rows: intervals of differences are paired"
    elif same_rows:
        why = f"'purge' deleted the row sums of run {' and run '.join(purged)}" if purged else _NO_SUMS
        rows = f"both were measured on the same rows, but {why}: intervals are unpaired"
    notes = [rows]
    for side, name in ((before, "A"), (after, "B")):
        if side.pack.evidence.run.status != "complete":
            notes.append(f"run {name} is partial: a task failed, so some numbers are missing")
    mine, theirs = before.roles(), after.roles()
    gone = [name for name, role in mine.items() if name not in theirs and role == "proxy"]
    notes += [f"'{name}' is only in run B and was not compared" for name in roles if name not in mine]
    notes += [f"the proxy '{name}' is only in run A and was not compared" for name in gone]
    known = {regime for _, regime in before.findings}
    for regime in dict.fromkeys(regime for _, regime in after.findings if regime not in known):
        shown = sorted({f.verdict for (name, own), f in after.findings.items() if own == regime and name in roles})
        notes.append(f"the regime '{regime}' ({', '.join(shown)}) is only in run B; it was compared only if a pair names it")
    notes += [f"'{name}' was coded in other levels in run B, so its numbers are not of one kind" for name in _recoded(before, after, roles)]
    old, new = (margins_of(side.pack.plan) for side in (before, after))
    laxer = [key for key in old if new.get(key, old[key]) > old[key]]
    return notes + [f"run B has a laxer margin for {key}: {new[key]:g} against {old[key]:g}; states are not of one kind" for key in laxer]


def channel_changes(evidence: Evidence, before: str, after: str) -> list[dict[str, Any]]:
    """Every deciding number of every attribute in the two regimes, side by side."""
    names = deciding_names()
    pairs: dict[tuple[Any, ...], dict[str, Estimate]] = {}
    for estimate in evidence.estimates:
        if estimate.regime in (before, after) and estimate.channel in names and estimate.state is not None:
            # An interchange effect is given by the larger of its two forms: both are one channel.
            what = None if estimate.channel == "used" else (estimate.measure, estimate.subject)
            key = (estimate.attribute, estimate.channel, estimate.site, what)
            pairs.setdefault(key, {})[estimate.regime] = estimate
    roles = {finding.attribute: finding.role for finding in evidence.findings}
    changes = []
    for (attribute, channel, site, what), found in pairs.items():
        first, sides = next(iter(found.values())), {"before": _shown(found.get(before)), "after": _shown(found.get(after))}
        context = None if what is None else first.context
        place = {"attribute": attribute, "role": roles.get(attribute), "channel": channel, "site": site, "context": context}
        changes.append({**place, "measure": first.measure, "unit": first.unit, **sides})
    return changes


def _shown(what: Estimate | Finding | None, keys: tuple[str, ...] = _SHOWN) -> dict[str, Any] | None:
    return None if what is None else {key: getattr(what, key) for key in keys}


def verdict_changes(evidence: Evidence, before: str, after: str) -> list[dict[str, Any]]:
    """Verdict of each attribute before and after."""
    found = {(finding.attribute, finding.regime): finding for finding in evidence.findings}
    names = dict.fromkeys(finding.attribute for finding in evidence.findings)
    pairs = {name: [found.get((name, regime)) for regime in (before, after)] for name in names}
    return [{"attribute": name, "before": _shown(was, _TOLD), "after": _shown(now, _TOLD)} for name, (was, now) in pairs.items()]


def task_change(evidence: Evidence, before: str, after: str) -> dict[str, Any]:
    """AUROC (of a number R squared) of the target before and after, and the loss in each model (positive: the mitigated one is worse)."""
    found = {e.regime: e for e in evidence.estimates if e.channel == "task" and e.regime in (before, after)}
    first, last = found.get(before), found.get(after)
    loss: list[float | None] = []
    if first is not None and last is not None:
        values = [(e.seed_values or (() if e.value is None else (e.value,))) for e in (first, last)]
        if len(values[0]) == len(values[1]):
            loss = [significant(a - b, 4) for a, b in zip(*values, strict=True)]
    known = [value for value in loss if value is not None]
    mean, unit = significant(sum(known) / len(known), 4) if known else None, first.unit if first is not None else None
    return {"unit": unit, "before": _shown(first), "after": _shown(last), "loss_per_model": loss, "mean_loss": mean}
