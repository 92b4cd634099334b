"""States and controls: pure functions of what is published, so that whoever holds a pack can decide again and compare."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from proxyaudit.estimates.draft import ABSENT_AT, FOUND, PRESENT_AT, Outcome
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.stats.multiplicity import holm
from proxyaudit.types import Control, Estimate, State

FAILED_AT: Final = 0.001  # by chance one control in a hundred would fail at .01 and silence an audit; a broken instrument is far below
LEAST_FOUND: Final = 0.5  # of a planted effect; of twice the margin, more than half is above the margin


def deciding(estimates: Iterable[Estimate]) -> list[Estimate]:
    """Estimates that a verdict rests on."""
    names = deciding_names()
    return [e for e in estimates if e.channel in names and e.state is not None]


def decide_states(estimates: Iterable[Estimate], controls: Iterable[Control]) -> dict[str, State]:
    """State of every deciding estimate, by its id; the state that an estimate has says only that it decides."""
    return {name: state_of(outcome) for name, outcome in decide_outcomes(estimates, controls).items()}


def state_of(outcome: Outcome) -> State:
    """The state that an outcome comes to."""
    known: dict[Outcome, State] = {"present": "present", "absent": "absent", "asks nothing": "not_applicable"}
    return known.get(outcome, "unknown")


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
        tested = {e.id: e.p_present for e in own if e.p_present is not None}
        adjusted = dict(zip(tested, holm(list(tested.values())), strict=True)) if tested else {}
        for e in own:
            outcomes[e.id] = _outcome(e, adjusted.get(e.id, 1.0), blocked=(regime, e.attribute, e.site) in failed)
    return outcomes


def _outcome(e: Estimate, adjusted: float, *, blocked: bool) -> Outcome:
    if e.margin is None and e.p_present is None and e.value is None:
        return "asks nothing"
    if e.margin is None:
        return "not measured"
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


def knows(kind: str) -> bool:
    """Whether controls of a kind follow from figures."""
    return kind in _RULES


def passes(kind: str, figures: Mapping[str, float | None]) -> bool | None:
    """Whether a control passed; ``None`` where its figures are not those of its kind. What could not be found did not pass."""
    rule = _RULES.get(kind)
    if rule is None or not figures:
        return None
    known = {name: value for name, value in figures.items() if value is not None}
    if len(known) < len(figures):
        return False
    try:
        return rule(known)
    except KeyError:
        return None


def _plants_found(figures: Mapping[str, float]) -> bool:
    """Planted features are found in most draws; of planted effects none is called absent, and more than half of each is found."""
    if "least_found" in figures:
        return figures["least_found"] > LEAST_FOUND and figures["least_absent_p"] > ABSENT_AT
    return (figures["share"] if "share" in figures else min(figures["found_once"], figures["found_twice"])) >= FOUND


_RULES: Final[Mapping[str, Callable[[Mapping[str, float]], bool]]] = {
    "negative": lambda f: f["p"] > FAILED_AT,
    "positive": _plants_found,
    "random_subspace": lambda f: f["random_high"] < max(f["effect"], f["margin"]),
    "untrained": lambda f: f["smallest"] > f["largest_untrained"],
    "eraser": lambda f: f["before"] > f["margin"] > f["after"],
    "baseline": lambda f: f["leak"] < f["margin"],
    "repetition": lambda f: f["identical_pairs"] == 0,
}
