"""Numbers that contradict one another, controls that contradict their figures, and states that do not follow from both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from proxyaudit.estimates.instrument import passes
from proxyaudit.estimates.questions import all_questions
from proxyaudit.estimates.states import decide_states, deciding
from proxyaudit.types import Control, Estimate, Evidence


def state_problems(evidence: Evidence, margins: Mapping[str, Any], no_absence: Collection[str] = ()) -> list[str]:
    """States that do not follow from the numbers beside them, and margins that are not those of the plan.

    ``no_absence`` names the regimes of which the plan says that the model could not see too many values.
    """
    problems: list[str] = []
    states, questions = decide_states(evidence.estimates, evidence.controls), all_questions()
    for e in deciding(evidence.estimates):
        wanted = [margins.get(name) for name in questions[e.channel].margins]
        if e.margin is not None and e.margin not in wanted:
            problems.append(f"evidence.json: {e.id} was decided against a margin of {e.margin}, plan.json has {wanted[0]}")
        if e.state == "absent" and e.regime in no_absence:
            problems.append(f"evidence.json: {e.id} is absent in {e.regime!r}, where plan.json bars absence (values that cannot be seen)")
        if e.state != states[e.id]:
            about = f"{e.id} ({e.channel}, {e.attribute}, {e.regime})"
            problems.append(f"evidence.json: {about} says {e.state}, its numbers say {states[e.id]}")
        if e.state == "unknown" and not e.reason:
            problems.append(f"evidence.json: {e.id} is unknown without a reason")
    return problems


def number_problems(evidence: Evidence, arrays: dict[str, Any], level: Any, *, paired: bool) -> list[str]:
    """Numbers that contradict one another: ids, means over repetitions, intervals, arrays.

    ``paired``: the pack keeps repetitions as arrays too.
    """
    problems = []
    if [e.id for e in evidence.estimates] != [f"E{k + 1}" for k in range(len(evidence.estimates))]:
        problems.append("evidence.json: the estimates are not numbered one by one: some were removed, added or moved")
    if [c.id for c in evidence.controls] != [f"C{k + 1}" for k in range(len(evidence.controls))]:
        problems.append("evidence.json: the controls are not numbered one by one: some were removed, added or moved")
    for e in evidence.estimates:
        values = e.seed_values
        # Per-row effects are the root of a mean over repetitions, not the mean of roots.
        if values and e.value is not None and e.channel != "localisation_per_row":
            mean = sum(values) / len(values)
            slack = 2e-5 * max(abs(mean), *(abs(v) for v in values), 1e-300)
            # A calibrated leak below zero is shown as zero.
            if abs(mean - e.value) > slack and not (e.value == 0 and mean < slack):
                problems.append(f"evidence.json: {e.id} is not the mean of its repetitions")
        if values and e.seeds is not None and not 1 <= e.seeds <= len(values):
            problems.append(f"evidence.json: {e.id} says {e.seeds} repetitions and lists {len(values)}")
        if e.low is not None and e.high is not None and e.low > e.high:
            problems.append(f"evidence.json: the interval of {e.id} is empty")
        if e.value is not None and e.low is not None and e.high is not None and not _inside(e.value, e.low, e.high):
            problems.append(f"evidence.json: {e.id} lies outside its own interval")
        if any(p is not None and not 0 <= p <= 1 for p in (e.p_present, e.p_absent)):
            problems.append(f"evidence.json: a p-value of {e.id} is none")
        if level is not None and e.level != level:
            problems.append(f"evidence.json: {e.id} has another confidence level than plan.json")
        # The same numbers lie in the arrays: whoever changes one must change both.
        kept = arrays.get(f"{e.id}.seed_values")
        if paired and (kept is not None or len(values) > 1) and (kept is None or tuple(float(v) for v in kept) != values):
            problems.append(f"arrays.safetensors: the repetitions of {e.id} are not those of evidence.json")
    known = {f"{e.id}.seed_values" for e in evidence.estimates}
    strangers = sorted(name for name in arrays if name not in known and not name.startswith("row_parts."))
    return problems + [f"arrays.safetensors: nothing in evidence.json is named {name[:40]!r}" for name in strangers]


def _inside(value: float, low: float, high: float) -> bool:
    slack = 1e-5 * max(abs(value), abs(low), abs(high))
    if value == 0 or (low == high == 0):
        return True  # a calibrated leak below zero is shown as zero
    if low >= -1 and high <= 1:
        value = min(max(value, -1.0), 1.0)  # the interval of a share is cut where a share ends
    return low - slack <= value <= high + slack


def control_problems(evidence: Evidence, margins: Mapping[str, Any], verdict_sites: Collection[str]) -> list[str]:
    """Controls that contradict their own figures, were dropped, or failed without consequence."""
    problems = [line for control in evidence.controls for line in _figure_problems(control, margins, evidence.schema_version)]
    places: dict[tuple[str, str | None, str, str | None], list[Estimate]] = defaultdict(list)
    for e in deciding(evidence.estimates):
        places[e.channel, e.attribute, e.regime, e.site].append(e)
    for c in evidence.controls:
        own = places[c.channel, c.attribute, c.regime, c.site]
        if c.kind == "positive" and c.passed is False and own and all(e.state == "absent" for e in own):
            problems.append(f"evidence.json: {c.id} failed, so {own[0].id} cannot be absent")
    there = {(c.kind, c.attribute, c.regime, c.site) for c in evidence.controls if c.channel == "linear"}
    for e in deciding(evidence.estimates):
        # A site that is constant has a measured zero and nothing to plant in: no probe gave a score there.
        if (e.channel, e.measure) == ("linear", "leak") and e.site in verdict_sites and e.raw is not None:
            kinds: Sequence[str] = ("negative", "positive")
            missing = [kind for kind in kinds if (kind, e.attribute, e.regime, e.site) not in there]
            problems += [f"evidence.json: the {kind} control of {e.id} is missing" for kind in missing]
    return problems


def _figure_problems(c: Control, margins: Mapping[str, Any], version: str) -> list[str]:
    problems = []
    made = passes(c.kind, c.figures)
    # Schema 1.0 had figures in words alone; where their rounding leaves the outcome open, there are none.
    told = made is not None or version != "1.0"
    if told and c.passed is not made:
        problems.append(f"evidence.json: {c.id} says {_word(c.passed)}, its figures say otherwise")
    question = all_questions().get(c.channel)
    wanted = [margins.get(name) for name in question.margins] if question is not None else []
    if "margin" in c.figures and wanted and c.figures["margin"] not in wanted:
        problems.append(f"evidence.json: {c.id} is held against a margin of {c.figures['margin']}, plan.json has {wanted[0]}")
    return problems


def _word(passed: bool | None) -> str:
    return "not run" if passed is None else "passed" if passed else "failed"
