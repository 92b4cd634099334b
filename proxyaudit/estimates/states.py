"""States: a pure function of published numbers and controls, so that whoever holds a pack can decide again and compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from proxyaudit.estimates.draft import ABSENT_AT, PRESENT_AT, Outcome
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.stats.multiplicity import holm
from proxyaudit.types import Control, Estimate, State


def deciding(estimates: Iterable[Estimate]) -> list[Estimate]:
    """Estimates that a verdict rests on."""
    names = deciding_names()
    return [e for e in estimates if e.channel in names and e.state is not None]


def decide_states(estimates: Iterable[Estimate], controls: Iterable[Control]) -> dict[str, State]:
    """State of every deciding estimate, by its id; the state that an estimate has says only that it decides."""
    return {name: _STATES.get(outcome, "unknown") for name, outcome in decide_outcomes(estimates, controls).items()}


_STATES: Final[dict[Outcome, State]] = {"present": "present", "absent": "absent", "asks nothing": "not_applicable"}


def decide_outcomes(estimates: Iterable[Estimate], controls: Iterable[Control]) -> dict[str, Outcome]:
    """How every deciding estimate comes to its state, by its id.

    Holm's correction runs over the deciding numbers of a regime. A negative control that failed disables presence of its attribute at
    its site.
    """
    failed = {(c.regime, c.attribute, c.site) for c in controls if c.kind == "negative" and c.passed is False}
    by_regime: dict[str, list[Estimate]] = defaultdict(list)
    for estimate in deciding(estimates):
        by_regime[estimate.regime].append(estimate)
    outcomes: dict[str, Outcome] = {}
    for regime, own in by_regime.items():
        adjusted = _adjusted(own)
        for e in own:
            outcomes[e.id] = _outcome(e, adjusted.get(e.id, 1.0), blocked=(regime, e.attribute, e.site) in failed)
    return outcomes


def _adjusted(estimates: Sequence[Estimate]) -> dict[str, float]:
    tested = [(e.id, e.p_present) for e in estimates if e.p_present is not None]
    if not tested:
        return {}
    return {name: float(p) for (name, _), p in zip(tested, holm([p for _, p in tested]), strict=True)}


def _outcome(e: Estimate, adjusted: float, *, blocked: bool) -> Outcome:
    if e.margin is None:
        return "asks nothing"
    if e.p_present is None or e.value is None:
        return "not measured"
    if adjusted <= PRESENT_AT and e.value > e.margin:
        return "blocked" if blocked else "present" if e.beyond_null else "within its null"
    seeds = e.seed_values
    if len(seeds) > 1 and max(seeds) > e.margin > min(seeds):
        return "unstable"
    if e.p_present <= PRESENT_AT:
        return "corrected"
    if e.value > e.margin:
        return "unsure"
    return "absent" if e.p_absent is not None and e.p_absent <= ABSENT_AT else "between"
