"""Change records made of what ``mitigate`` and ``cure`` say. Pure: ``verify`` makes them again and compares."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxyaudit.estimates.questions import kind_of, word_of
from proxyaudit.estimates.task import AUROC, YARDSTICKS
from proxyaudit.evidence.changes import Changed, ChangeRecord, Mechanism, NamedRun, Side, change_claims
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.secret import has_secret, keyed_hash
from proxyaudit.types import Estimate

_TASKS = {by.measure: by.unit.partition(" on ")[0] for by in YARDSTICKS.values()}  # "AUROC of the target"
_OTHERS = ("linear", "nonlinear", "expressed", "used")
_OF_CURES = ("gap", "leak", "prominence")
_CHANNELS = {"gap": ("expressed", "gap"), "leak": ("linear", "leak"), "prominence": ("prominence", "units")}
_UNTRIED = "what the cure does to other attributes was not measured in the trial"
_NOT_AUDITED = "the numbers after the change are those of a trial; no verdict on the altered release is given before it is audited"
_OWN_VALUES = "rows are repaired in the release only: the model meets people's own values later"
_REAL_ROWS = "rows of the release are those of real people: it is no synthetic release, and to be kept as safe as the data"


def record_of_mitigation(document: Mapping[str, Any], identifier: str) -> ChangeRecord:
    """The record of a mitigation, from ``mitigation.json`` and the name of its folder."""
    attribute, sites = str(document["attribute"]), tuple(map(str, document["sites"]))
    numbers = [_of_channel(entry) for entry in document["channels"]]
    others = [n for n, entry in zip(numbers, document["channels"], strict=True) if _beside(entry, attribute)]
    verdict: Mapping[str, Any] = next((entry for entry in document["verdicts"] if entry["attribute"] == attribute), {})
    ranks = sorted({int(site["rank"]) for model in document["models"] for site in model})
    span = f"{ranks[0]}" if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]}"
    dimensions = f"{span} dimension{'' if ranks == [1] else 's'}" if ranks else "nothing"
    words = f"'{attribute}' erased from the models of '{document['regime']}' by {document['method']} at {', '.join(sites)} ({dimensions})"
    return ChangeRecord(
        change_version="1.0",
        id=identifier,
        kind="mitigation",
        attribute=attribute,
        regime=str(document["regime"]),
        changed_regime=str(document["mitigated_regime"]),
        mechanism=Mechanism(name=str(document["method"]), words=words, sites=sites, columns=()),
        source=_run(document["source"]),
        audit=_run(document["audit"]),
        verdict_before=_verdict(verdict.get("before")),
        verdict_after=_verdict(verdict.get("after")),
        measured=tuple(n for n in numbers if n.attribute == attribute),
        side_effects=(_task(document["task"]), *others),
        residual_risk=tuple(map(str, document["remains"])),
        artefacts=dict(document["checkpoints"]),
    )


def record_of_cure(document: Mapping[str, Any], identifier: str) -> ChangeRecord:
    """The record of a cure, from ``cure.json`` and the name of its folder."""
    before, promised, attribute = document["before"], document["promised"], str(document["attribute"])
    measured = [_of_trial(key, before.get(key), promised[key], attribute) for key in promised if key.partition(" at ")[0] in _OF_CURES]
    by = next((by for by in YARDSTICKS.values() if by.cost in promised), AUROC)
    cost = promised.get(by.cost)
    named: dict[str, Any] = {
        "channel": "cure",
        "measure": by.cost,
        "attribute": None,
        "site": None,
        "what": f"{_TASKS[by.measure]}, lost",
        "unit": _TASKS[by.measure].partition(" of the ")[0],
    }
    return ChangeRecord(
        change_version="1.0",
        id=identifier,
        kind="cure",
        attribute=attribute,
        regime=str(document["regime"]),
        changed_regime=str(document["cured_regime"]),
        mechanism=Mechanism(
            name=str(document["cure"]),
            words=f"the training rows of '{document['regime']}' altered for '{attribute}': {document['words']}",
            sites=(),
            columns=tuple(map(str, document["columns"])),
        ),
        source=_run(document["source"]),
        audit=None,
        verdict_before=document["verdict"],
        verdict_after=None,
        measured=tuple(measured),
        side_effects=() if cost is None else (Changed(**named, before=None, after=_side(cost)),),
        residual_risk=tuple(_left(document, measured)),
        artefacts={str(document["release"]["file"]): str(document["release"]["sha256"])},
    )


def before_cure(estimates: Iterable[Estimate], attribute: str, regime: str) -> dict[str, Any]:
    """The numbers of a run that its trials of cures are held against, named as these are."""
    found: dict[str, Any] = {}
    for e in estimates:
        plain = next((m for m in _OF_CURES if (e.channel, e.measure) == _CHANNELS[m]), None)
        if plain is not None and (e.attribute, e.regime) == (attribute, regime) and (plain == "gap") == (e.site is None):
            key = plain if e.site is None else f"{plain} at {e.site}"
            found.setdefault(key, {"value": e.value, "low": e.low, "high": e.high, "state": e.state, "margin": e.margin, "unit": e.unit})
    return found


def cited(record: ChangeRecord, signers: Sequence[str]) -> dict[str, Any]:
    """A record as other documents cite it; in whose names it was signed, which nobody checked there."""
    return {**change_claims(record), "signed_in_the_name_of": list(signers)}


def reads_change(pack: EvidencePack, record: ChangeRecord) -> bool:
    """Whether a run audited what a record's change made: the audit that it names, or one that read its very release."""
    run = pack.evidence.run
    if record.audit is not None:
        return (run.id, run.plan_digest) == (record.audit.run_id, record.audit.plan_digest)
    hashes = pack.plan.get("hashes")
    read = hashes.get(f"release {record.changed_regime}") if isinstance(hashes, Mapping) else None
    made = next(iter(record.artefacts.values()), None)
    return made is not None and read in {made, keyed_hash(made) if has_secret() and ":" not in made else made}


def _run(named: Mapping[str, Any]) -> NamedRun:
    return NamedRun(name=str(named["name"]), run_id=str(named["run_id"]), plan_digest=str(named["plan_digest"]))


def _of_channel(entry: Mapping[str, Any]) -> Changed:
    kind = kind_of(str(entry["channel"]), str(entry.get("measure", "")))
    words = word_of(str(entry["channel"])) + (f", {kind}" if kind else "")
    sides: dict[str, Any] = {key: None if entry[key] is None else _side(entry[key]) for key in ("before", "after")}
    named = {"channel": entry["channel"], "measure": str(entry.get("measure", "")), "attribute": entry["attribute"], "site": entry["site"]}
    return Changed(**named, what=words, unit=str(entry["unit"] or ""), **sides)


def _beside(entry: Mapping[str, Any], attribute: str) -> bool:
    return entry["attribute"] != attribute and entry["channel"] in _OTHERS


def _task(task: Mapping[str, Any]) -> Changed:
    sides: dict[str, Any] = {key: None if task[key] is None else _side(task[key]) for key in ("before", "after")}
    unit = str(task["unit"] or "")
    measure = next((by.measure for by in YARDSTICKS.values() if by.unit == unit), AUROC.measure)
    return Changed(channel="task", measure=measure, attribute=None, site=None, what=_TASKS[measure], unit=unit, **sides)


def _of_trial(key: str, before: Mapping[str, Any] | None, after: Mapping[str, Any], attribute: str) -> Changed:
    measure, _, site = key.partition(" at ")
    named: dict[str, Any] = {"channel": _CHANNELS[measure][0], "measure": measure, "attribute": attribute, "site": site or None}
    unit = str((before or {}).get("unit") or "")
    return Changed(**named, what=measure, unit=unit, before=None if before is None else _side(before), after=_side(after))


def _side(found: Mapping[str, Any]) -> Side:
    numbers = {key: None if found.get(key) is None else float(found[key]) for key in ("value", "low", "high")}
    return Side(**numbers, state=found.get("state"))


def _verdict(found: Mapping[str, Any] | None) -> str | None:
    if not found:
        return None
    return f"{found['verdict']}, at least {found['at_least']}" if found.get("at_least") else str(found["verdict"])


def _left(document: Mapping[str, Any], measured: Sequence[Changed]) -> Iterable[str]:
    """What a trial leaves open, the gap that is left first."""
    margin = (document["before"].get("gap") or {}).get("margin")
    for one in measured:
        after = one.after
        if one.measure == "gap" and after is not None and after.value is not None and after.low is not None and after.high is not None:
            size = max(abs(after.low), abs(after.high))
            told = f"a gap of {after.value:.3f} ({after.low:.3f} to {after.high:.3f}) is left"
            inside = margin is not None and size < margin
            yield told + ("" if margin is None else f", {'within' if inside else 'which may exceed'} the margin of {margin:g}")
        elif one.measure == "leak" and after is not None and after.low is not None and after.low > 0:
            yield f"a linear reader still finds it at {one.site}: leak {after.value:.3f} ({after.low:.3f} to {after.high:.3f})"
    yield _NOT_AUDITED
    yield _UNTRIED
    if str(document["cure"]).startswith("repaired"):
        yield _OWN_VALUES
    if document.get("holds_real_rows"):
        yield _REAL_ROWS
