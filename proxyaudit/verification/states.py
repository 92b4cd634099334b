"""States of channels made again from p-values, values, margins and controls."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from proxyaudit.stats.multiplicity import holm
from proxyaudit.types import CHANNELS, Control, Estimate, Evidence, State

__all__ = ["control_problems", "deciding", "number_problems", "state_problems"]

PRESENT_AT = 0.05
ABSENT_AT = 0.01
FAILED_AT = 0.001
FOUND = 80  # per cent
# Published numbers have six significant digits: a threshold within that of a number may fall on either side.
_ROUNDING = (-6e-6, 0.0, 6e-6)
_MARGINS = {
    "linear": ("leak",),
    "nonlinear": ("nonlinear", "leak"),
    "elsewhere": ("leak", "nonlinear"),
    "beyond": ("leak", "nonlinear"),
    "expressed": ("gap", "leak"),
    "used": ("effect",),
    "relearned": ("relearned",),
}
_FAMILIES = ("row_parts.",)  # arrays about many estimates at once
_PLANTS = re.compile(r"plants found at the margin (\d+)%, at twice the margin (\d+)%")
_BROUGHT = re.compile(r"found in (\d+)% of plants")
_NEGATIVE = re.compile(r"Holm-adjusted p = ([0-9.e+-]+)")
_RANDOM = re.compile(r"effect ([0-9.-]+); 95th percentile of random subspaces of equal rank ([0-9.-]+)")
_UNTRAINED = re.compile(r"smallest effect ([0-9.-]+); largest in untrained models ([0-9.-]+)")
_ERASED = re.compile(r"planted leak ([0-9.-]+) on fresh rows, ([0-9.-]+) after LEACE")
_BASELINE = re.compile(r"random features of what is conditioned on: leak ([0-9.-]+)")


def deciding(estimates: Iterable[Estimate]) -> list[Estimate]:
    """Estimates that a verdict rests on."""
    return [e for e in estimates if e.channel in CHANNELS and e.state is not None]


def state_problems(evidence: Evidence, margins: dict[str, Any], no_absence: Sequence[str] = ()) -> list[str]:
    """States that do not follow from the numbers beside them.

    ``no_absence`` names the regimes of which the plan says that the model could not see too many values.
    Holm's correction runs over the deciding cells of a regime, as when the run was made.
    """
    problems: list[str] = []
    failed = {(c.regime, c.attribute, c.site) for c in evidence.controls if c.kind == "negative" and c.passed is False}
    by_regime: dict[str, list[Estimate]] = defaultdict(list)
    for estimate in deciding(evidence.estimates):
        by_regime[estimate.regime].append(estimate)
    for regime, cells in by_regime.items():
        tested = [e for e in cells if e.p_present is not None]
        adjusted = dict(zip((e.id for e in tested), holm([e.p_present or 0.0 for e in tested]) if tested else [], strict=True))
        for e in cells:
            problems += _margin_problems(e, margins)
            allowed = set()
            offsets = (0.0,) if _exact(e.p_present) and _exact(e.p_absent) else _ROUNDING
            for p_off, margin_off in itertools.product(offsets, _ROUNDING):
                blocked = (regime, e.attribute, e.site) in failed
                allowed |= _states(e, float(adjusted.get(e.id, 1.0)), blocked, 1 + p_off, 1 + margin_off)
            if regime in no_absence and e.state == "absent":
                problems.append(f"evidence.json: {e.id} is absent in {regime!r}, where plan.json bars absence (values that cannot be seen)")
            if e.state not in allowed:
                words = " or ".join(sorted(allowed))
                problems.append(f"evidence.json: {e.id} ({e.channel}, {e.attribute}, {regime}) says {e.state}, its numbers say {words}")
            if e.state == "unknown" and not e.reason:
                problems.append(f"evidence.json: {e.id} is unknown without a reason")
    return problems


def _exact(p: float | None) -> bool:
    """Whether a p-value was not rounded: shares of permutations and plants have few digits, and often fall on a threshold."""
    return p is None or float(f"{p:.5g}") == p


def _states(e: Estimate, adjusted: float, blocked: bool, p_scale: float, margin_scale: float) -> set[State]:
    """The states that the numbers of one cell allow."""
    if e.p_present is None or e.value is None or e.margin is None:
        return {"unknown"}
    present_at, absent_at, margin = PRESENT_AT * p_scale, ABSENT_AT * p_scale, e.margin * margin_scale
    if adjusted <= present_at and e.value > margin:
        if blocked:
            return {"unknown"}
        if e.beyond_null is None:
            # The first packs did not say whether the null was rejected.
            return {"present", "unknown"}
        return {"present"} if e.beyond_null else {"unknown"}
    seeds = e.seed_values
    if len(seeds) > 1 and any(v > margin for v in seeds) and any(v < margin for v in seeds):
        return {"unknown"}
    if e.value > margin or e.p_present <= present_at:
        return {"unknown"}
    return {"absent"} if e.p_absent is not None and e.p_absent <= absent_at else {"unknown"}


def _margin_problems(e: Estimate, margins: dict[str, Any]) -> list[str]:
    wanted = [margins.get(name) for name in _MARGINS[e.channel]]
    return [] if e.margin in wanted else [f"evidence.json: {e.id} was decided against a margin of {e.margin}, plan.json has {wanted[0]}"]


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
    strangers = sorted(name for name in arrays if name not in known and not name.startswith(_FAMILIES))
    return problems + [f"arrays.safetensors: nothing in evidence.json is named {name[:40]!r}" for name in strangers]


def _inside(value: float, low: float, high: float) -> bool:
    slack = 1e-5 * max(abs(value), abs(low), abs(high))
    if value == 0 or (low == high == 0):
        return True  # a calibrated leak below zero is shown as zero
    if low >= -1 and high <= 1:
        value = min(max(value, -1.0), 1.0)  # the interval of a share is cut where a share ends
    return low - slack <= value <= high + slack


def control_problems(evidence: Evidence, margins: dict[str, Any], verdict_sites: Sequence[str]) -> list[str]:
    """Controls that contradict their own figures, were dropped, or failed without consequence."""
    problems = [
        f"evidence.json: {c.id} says {_word(c.passed)}, its figures say otherwise" for c in evidence.controls if _denied(c, margins)
    ]
    kinds: dict[tuple[str, str | None, str, str | None], list[Control]] = defaultdict(list)
    for control in evidence.controls:
        kinds[control.kind, control.attribute, control.regime, control.site].append(control)
    cells: dict[tuple[str, str | None, str, str | None], list[Estimate]] = defaultdict(list)
    for e in deciding(evidence.estimates):
        cells[e.channel, e.attribute, e.regime, e.site].append(e)
    for c in evidence.controls:
        own = cells[c.channel, c.attribute, c.regime, c.site]
        if c.kind == "positive" and c.passed is False and own and all(e.state == "absent" for e in own):
            problems.append(f"evidence.json: {c.id} failed, so {own[0].id} cannot be absent")
    for e in evidence.estimates:
        where = (e.attribute, e.regime, e.site)
        measured = e.value is not None and e.margin is not None and e.reason != "the site is constant"
        if e.channel == "linear" and e.context is None and e.site in verdict_sites and e.state is not None and measured:
            for kind in ("negative", "positive"):
                if not any(c.channel == "linear" for c in kinds[(kind, *where)]):
                    problems.append(f"evidence.json: the {kind} control of {e.id} is missing")
        if e.state is None or not (e.reason or "").startswith(("the positive control", "the negative control")):
            continue
        kind = (e.reason or "").split()[1]
        found = [c for c in evidence.controls if (c.kind, c.attribute, c.regime) == (kind, e.attribute, e.regime) and c.passed is False]
        # Of a non-linear test beside another, or at other sites, the pack lists no control of its own.
        beside = (e.context or "").endswith("nonlinear") or e.channel in ("elsewhere", "expressed") or "in quarters" in (e.context or "")
        if not found and not (kind == "positive" and beside) and e.site in (None, *verdict_sites):
            problems.append(f"evidence.json: {e.id} speaks of a failed control that is not listed")
    return problems


def _word(passed: bool | None) -> str:
    return "not run" if passed is None else "passed" if passed else "failed"


def _denied(c: Control, margins: dict[str, Any]) -> bool:
    """Whether the figures in a control's detail contradict its outcome, rounding apart."""
    outcomes = _outcomes(c, margins)
    return outcomes is not None and c.passed not in outcomes


def _outcomes(c: Control, margins: dict[str, Any]) -> set[bool] | None:
    leak, effect = (float(margins.get(name) or 0.0) for name in ("leak", "effect"))
    if c.kind == "negative" and (found := _NEGATIVE.search(c.detail)):
        return _above(float(found[1]), FAILED_AT, 6e-3 * float(found[1]))
    if c.kind == "positive" and (found := _PLANTS.search(c.detail)):
        return _above(min(int(found[1]), int(found[2])), FOUND, 0.51)
    if c.kind == "positive" and (found := _BROUGHT.search(c.detail)):
        return _above(int(found[1]), FOUND, 0.51)
    if c.kind == "positive" and c.detail == "no planted leak stands out from the references":
        return {False}
    if c.kind == "random_subspace" and (found := _RANDOM.search(c.detail)):
        return _above(max(float(found[1]), effect), float(found[2]), 1.1e-4)
    if c.kind == "untrained" and (found := _UNTRAINED.search(c.detail)):
        return _above(float(found[1]), float(found[2]), 1.1e-4)
    if c.kind == "eraser" and (found := _ERASED.search(c.detail)):
        before, after = _above(float(found[1]), leak, 6e-4), _above(leak, float(found[2]), 6e-4)
        return {a and b for a in before for b in after}
    if c.kind == "baseline" and (found := _BASELINE.search(c.detail)):
        return _above(leak, float(found[1]), 6e-4)
    if c.kind == "repetition":
        return {c.detail == "all repetitions differ"}
    return None


def _above(value: float, limit: float, slack: float) -> set[bool]:
    return {True, False} if abs(value - limit) <= slack else {value > limit}
