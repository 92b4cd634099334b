"""Fields that say what a number is about, figures beside it that must agree, and what a pack says it left out: held against the plan."""

from collections.abc import Iterator, Mapping
from itertools import chain
from math import log, log2, sqrt
from typing import Any, Final

from proxyaudit.channels.proxies.record import label
from proxyaudit.estimates.ledger import UNIT_CLASSES, UNIT_VALUES
from proxyaudit.estimates.not_tested import learnt_question, overlap_question, standing_notes
from proxyaudit.estimates.questions import FLOOR, LINEAR_READER, all_questions
from proxyaudit.estimates.scope import Scope, entries, listed, mapping, names
from proxyaudit.estimates.states import deciding
from proxyaudit.estimates.task import YARDSTICKS
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.types import REFERENCES, Estimate

_OF_COLUMNS: Final = ("association", "pair_gain", "influence", "proxy_use", "path_total", "path", "path_share")
_OF_LINEAR_READERS: Final = ("leak", "leak_in_quarters", "output_leak")
_PLANTED: Final = (("linear", "leak"), ("nonlinear", "leak_nonlinear"), ("beyond", "leak"))
_RAREST: Final = 0.05  # share of the smallest class that the slack below allows for; class counts are not published
_SURELY: Final = 5.0  # standard errors beyond which chance explains nothing


def field_problems(pack: EvidencePack, scope: Scope) -> Iterator[str]:
    """Numbers that name a regime, a subject or a reader that the audit does not have."""
    if not pack.evidence.not_tested:
        yield "evidence.json: not_tested is empty, and every audit leaves something out"
    known = {*scope.regimes, *map(str, listed(pack.plan, "references")), *REFERENCES}
    questions, decides = all_questions(), {e.id for e in deciding(pack.evidence.estimates)}
    columns = _columns(pack.plan)
    for e in pack.evidence.estimates:
        if e.regime not in known:
            yield f"evidence.json: {e.id} is of a regime that plan.json does not have ({e.regime[:40]!r})"
        if e.reference_for is not None and (e.reference_for not in known or e.regime not in REFERENCES):
            yield f"evidence.json: {e.id} belongs to no regime of plan.json ({e.reference_for[:40]!r})"
        has = e.id in decides and e.shown_by in questions[e.channel].readers and ("nonlinear" in e.measure) != (e.shown_by == LINEAR_READER)
        if e.shown_by is not None and not has:
            yield f"evidence.json: {e.id} is shown by a reader that its check does not have ({e.shown_by[:40]!r})"
        subjects = _subjects(pack.plan, scope, e) if e.id in decides else columns if e.channel in _OF_COLUMNS else None
        # A release that lacks the attribute is told as that, of no single column.
        untold = e.channel in _OF_COLUMNS and e.value is None and e.subject is None
        if subjects is not None and e.subject not in subjects and not untold:
            yield f"evidence.json: {e.id} is about what plan.json does not name ({str(e.subject)[:40]!r})"


def _subjects(plan: Mapping[str, Any], scope: Scope, e: Estimate) -> set[str | None] | None:
    """What a deciding number may be about beside its attribute; ``None`` where this version does not know."""
    if e.channel not in FLOOR:
        return None
    if scope.surface == "prompts":
        asked = mapping(plan, "prompts")
        templates = {None, *names(asked, "templates"), *names(asked, "requests")}
        levels = next((names(entry, "levels") for entry in entries(plan, "attributes") if entry.get("name") == e.attribute), ())
        against = {f"{one} against {other}" for one in levels for other in levels if one != other}
        return templates if e.channel == "expressed" else {None, *against} if e.channel == "used" else {None}
    if e.channel == "beyond":
        bare = scope.surface == "activations"
        unasked = bare and not scope.conditions and e.value is None
        return {None if unasked else ", ".join(scope.conditions) if bare else "the label"}
    return {None, "joint"} if e.channel == "used" else {None}


def _columns(plan: Mapping[str, Any]) -> set[str | None] | None:
    """Columns and pairs that the plan follows; ``None`` where a plan of an older version does not list them."""
    told = mapping(plan, "proxies")
    if not isinstance(told.get("columns"), list):
        return None
    pairs = chain.from_iterable(listed(mapping(told, "pairs"), name) for name in mapping(told, "pairs"))
    return {*names(told, "columns"), *(label(tuple(map(str, pair))) for pair in pairs if isinstance(pair, list))}


def figure_problems(pack: EvidencePack) -> Iterator[str]:
    """Absences that the reader's own figures contradict: an attribute that a reader tells well is not absent.

    A reader with area A under its curve shows that the classes' distributions are at least that far apart, which bounds the leak from
    below (Pinsker 1964): with total variation t between a class and the rest, A is at most 1/2 + t - t**2 / 2.
    """
    classes = {str(entry.get("name")): len(listed(entry, "levels")) for entry in entries(pack.plan, "attributes")}
    passed = {(c.channel, c.attribute, c.regime, c.site) for c in pack.evidence.controls if c.kind == "positive" and c.passed}
    for e in deciding(pack.evidence.estimates):
        if e.measure in _OF_LINEAR_READERS and e.value is not None and (e.unit not in (UNIT_CLASSES, UNIT_VALUES) or e.n is None):
            yield f"evidence.json: {e.id} does not say in which unit, or on how many rows, it was measured"
        # A constant site is a measured zero: there nothing can be planted.
        planted = (e.channel, e.measure) in _PLANTED and (e.low, e.high) != (0.0, 0.0)
        if e.state == "absent" and planted and (e.channel, e.attribute, e.regime, e.site) not in passed:
            yield f"evidence.json: {e.id} is absent without a positive control that passed"
        read = e.unit == UNIT_CLASSES and e.measure in _OF_LINEAR_READERS and e.channel != "beyond"
        if e.state != "absent" or e.margin is None or not read:
            continue
        noise = _SURELY / sqrt(12 * _RAREST * max(e.n or 0, 20))
        most = _largest_area(e.margin, max(classes.get(e.attribute or "", 2), 2))
        if e.auroc is not None and abs(e.auroc - 0.5) > most - 0.5 + noise:
            yield f"evidence.json: {e.id} is absent, while its reader tells the attribute with an AUROC of {e.auroc:.3g}"
        if e.raw is not None and e.raw > e.margin + 4 * noise * sqrt(e.margin):
            yield f"evidence.json: {e.id} is absent, while its reader scores {e.raw:.3g} on unseen rows"


def _largest_area(leak: float, classes: int) -> float:
    share = 1 / classes
    t = min(1.0, sqrt(leak * log(2) * log2(classes) / (2 * share * (1 - share))))
    return 0.5 + t - t**2 / 2


def omission_problems(pack: EvidencePack, scope: Scope) -> Iterator[str]:
    """What the list of what was not tested leaves out of what this version says."""
    said = {(item.what, item.why) for item in pack.evidence.not_tested}
    for note in standing_notes(scope):
        if (note.what, note.why) not in said:
            yield f"evidence.json: not_tested leaves out {note.what[:80]!r}, which every such audit says"
    for e in pack.evidence.estimates if scope.surface == "outputs" else ():
        by = YARDSTICKS.get(e.measure) if e.channel == "task" and e.regime in scope.regimes else None
        asked = learnt_question(e.regime)
        if by is not None and e.value is not None and e.value < by.near and not any(what == asked for what, _ in said):
            yield f"evidence.json: not_tested leaves out {asked[:80]!r}, whose models learnt next to nothing"
    if mapping(pack.recipe, "data").get("text") is None or scope.failures:
        return
    for entry in entries(pack.plan, "regimes"):
        asked = overlap_question(str(entry.get("name")))
        if entry.get("kind") in ("synthetic", "release") and not any(what == asked for what, _ in said):
            yield f"evidence.json: not_tested leaves out {asked[:80]!r}"
