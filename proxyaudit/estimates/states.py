"""States, controls and verdicts (METHOD, section 5): pure functions of what is published, so that whoever holds a pack can decide again."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from proxyaudit.estimates.questions import deciding_names, names_of
from proxyaudit.stats.p_values import ABSENT_AT, FOUND, PRESENT_AT, holm, weighted_holm
from proxyaudit.types import ChangeWord, Control, Encoding, Estimate, Role, State, Surface, Verdict

FAILED_AT: Final = 0.001  # by chance one control in a hundred would fail at .01 and silence an audit; a broken instrument is far below
LEAST_FOUND: Final = 0.5  # of a planted effect; of twice the margin, more than half is above the margin
Outcome = Literal[
    "asks nothing", "not measured", "blocked", "within its null", "present", "unstable", "unsure", "corrected", "absent", "between"
]
"""How a number came to its state; what is said beside an unknown depends on it."""
UNCHANGED = (0.8, 1.25)
LARGER = 1.05
NO_ROLES: Final[Mapping[str, Role]] = MappingProxyType({})


def deciding(estimates: Iterable[Estimate]) -> list[Estimate]:
    """Estimates that a verdict rests on."""
    names = deciding_names()
    return [e for e in estimates if e.channel in names and e.state is not None]


def decide_states(
    estimates: Iterable[Estimate], controls: Iterable[Control], roles: Mapping[str, Role] | None = NO_ROLES
) -> dict[str, State]:
    """State of every deciding estimate, by its id; the state that an estimate has says only that it decides."""
    return {name: state_of(outcome) for name, outcome in decide_outcomes(estimates, controls, roles).items()}


def state_of(outcome: Outcome) -> State:
    """The state that an outcome comes to."""
    known: dict[Outcome, State] = {"present": "present", "absent": "absent", "asks nothing": "not_applicable"}
    return known.get(outcome, "unknown")


def adjusted_p(estimates: Iterable[Estimate], roles: Mapping[str, Role] | None = NO_ROLES) -> dict[str, float]:
    """p-values of presence after the correction within each regime, by id."""
    by_regime: dict[str, list[Estimate]] = defaultdict(list)
    for estimate in deciding(estimates):
        by_regime[estimate.regime].append(estimate)
    return {name: p for own in by_regime.values() for name, p in corrected(own, roles).items()}


def decide_outcomes(
    estimates: Iterable[Estimate], controls: Iterable[Control], roles: Mapping[str, Role] | None = NO_ROLES
) -> dict[str, Outcome]:
    """How every deciding estimate comes to its state, by its id.

    Presence is corrected for looking at many numbers as :func:`corrected` says, by the ``roles`` of the attributes. A negative control
    that failed disables presence of its attribute at its site.
    """
    failed = {(c.regime, c.attribute, c.site) for c in controls if c.kind == "negative" and c.passed is False}
    own = deciding(estimates)
    adjusted = adjusted_p(own, roles)
    return {e.id: _outcome(e, adjusted.get(e.id, 1.0), blocked=(e.regime, e.attribute, e.site) in failed) for e in own}


def corrected(own: Sequence[Estimate], roles: Mapping[str, Role] | None) -> dict[str, float]:
    """Adjusted p-values of presence of one regime's deciding numbers, by id (decision 0025).

    Protected attributes and proxies are two families: no proxy takes power from an attribute that the audit is about. Within a family
    each pair of attribute and question has the same weight, shared by its numbers (sites, tests). ``roles`` of ``None``: the rule of schema
    1.0, Holm over all numbers alike. Attributes without a role are a family of their own.
    """
    tested = {e.id: (e, e.p_present) for e in own if e.p_present is not None}
    if roles is None:
        return dict(zip(tested, map(float, holm([p for _, p in tested.values()])), strict=True))
    adjusted: dict[str, float] = {}
    for family in dict.fromkeys(roles.get(e.attribute or "") for e, _ in tested.values()):
        mine = {name: one for name, one in tested.items() if roles.get(one[0].attribute or "") == family}
        shared = Counter((e.attribute, e.channel) for e, _ in mine.values())
        weights = [1 / shared[e.attribute, e.channel] for e, _ in mine.values()]
        adjusted |= zip(mine, map(float, weighted_holm([p for _, p in mine.values()], weights)), strict=True)
    return adjusted


def _outcome(e: Estimate, adjusted: float, *, blocked: bool) -> Outcome:
    if e.margin is None and e.p_present is None and e.value is None:
        return "asks nothing"
    if e.margin is None or e.p_present is None or e.value is None:
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
    rule = _RULES.get(kind, {}).get(frozenset(figures))
    if rule is None:
        return None
    known = {name: value for name, value in figures.items() if value is not None}
    if len(known) < len(figures) or any(not 0 <= known[name] <= 1 for name in _SHARES & known.keys()):
        return False
    return rule(known)


def figures_fit(kind: str, channel: str, figures: Mapping[str, float | None]) -> bool:
    """Whether these are the figures that a control of this kind and channel has: exactly them, none missing and none more."""
    names = frozenset(figures)
    if kind == "positive" and channel in ("used", "relearned"):
        # Planted effects, and a planted leak that is learnt; readers find planted leaks of one or two sizes.
        return names == _EFFECTS if channel == "used" else names in (_LEARNT, _SHARE)
    return names in _RULES.get(kind, {}) and names not in (_EFFECTS, _LEARNT)


_Rule = Callable[[Mapping[str, float]], bool]
_SHARES: Final = {"share", "found_once", "found_twice", "p", "least_absent_p"}
_SHARE, _SIZES, _LEARNT = frozenset({"share"}), frozenset({"found_once", "found_twice"}), frozenset({"leak", "share"})
_EFFECTS: Final = frozenset({"least_found", "least_absent_p"})
# Of each kind the sets of figures that its outcome follows from: with one too many, whoever adds it could choose the rule.
_RULES: Final[Mapping[str, Mapping[frozenset[str], _Rule]]] = {
    "negative": {frozenset({"p"}): lambda f: f["p"] > FAILED_AT},
    # Planted features are found in most draws; of planted effects none is called absent, and more than half of each is found.
    "positive": {
        _SHARE: lambda f: f["share"] >= FOUND,
        _SIZES: lambda f: min(f["found_once"], f["found_twice"]) >= FOUND,
        _LEARNT: lambda f: f["share"] >= FOUND,
        _EFFECTS: lambda f: f["least_found"] > LEAST_FOUND and f["least_absent_p"] > ABSENT_AT,
    },
    "random_subspace": {frozenset({"effect", "random_high", "margin"}): lambda f: f["random_high"] < max(f["effect"], f["margin"])},
    "untrained": {frozenset({"smallest", "largest_untrained"}): lambda f: f["smallest"] > f["largest_untrained"]},
    "eraser": {frozenset({"before", "after", "margin"}): lambda f: f["before"] > f["margin"] > f["after"]},
    "baseline": {frozenset({"leak", "margin"}): lambda f: f["leak"] < f["margin"]},
    "repetition": {frozenset({"identical_pairs"}): lambda f: f["identical_pairs"] == 0},
}


@dataclass(frozen=True)
class Decision:
    """What the channel states of one attribute in one regime amount to."""

    verdict: Verdict
    at_least: Literal["hidden"] | None
    encoding: Encoding
    use: tuple[str, ...]
    recoverable: tuple[str, ...]
    mechanisms: tuple[str, ...]


def combine(states: Sequence[State]) -> State:
    """One state of several cells of a channel: present anywhere, absent only everywhere."""
    applying = [state for state in states if state != "not_applicable"]
    if not applying:
        return "not_applicable"
    if "present" in applying:
        return "present"
    return "absent" if all(state == "absent" for state in applying) else "unknown"


def decide(states: Mapping[str, State], *, surface: Surface = "outputs") -> Decision:
    """Turn the states of the deciding channels into a verdict; ``ValueError`` if a key is none of them.

    A channel left out counts as ``unknown``, so that forgetting it can never lead to "removed". On the surface ``activations`` no outputs
    were given: the embedding is what the consumer gets, so ``hidden`` needs ``linear`` absent there.
    """
    channels, use_channels, recoverable_channels = deciding_names(), names_of("use"), names_of("recoverable")
    strangers = sorted(set(states) - set(channels))
    if strangers:
        raise ValueError(f"unknown channel {strangers[0]!r}")
    full: dict[str, State] = {channel: states.get(channel, "unknown") for channel in channels}
    encoding = _encoding(full["linear"], full["nonlinear"])
    use = _listed(full, use_channels)
    if surface != "activations" and use == ("none",) and not any(full[channel] == "absent" for channel in use_channels):
        use = ("unknown",)  # where there are outputs, what was asked of none of them is no absence of use
    recoverable = _listed(full, recoverable_channels)
    inside = tuple(channel for channel in (*names_of("encoding"), *recoverable_channels) if full[channel] == "present")
    acting = tuple(channel for channel in use_channels if full[channel] == "present")
    if surface == "activations" and full["linear"] == "present":
        acting = (*acting, "linear")
    applying = [state for state in full.values() if state != "not_applicable"]
    if acting:
        return Decision("exposed", None, encoding, use, recoverable, acting)
    if inside:
        # Activations are their own surface: what a linear reader finds there is their use, and unknown is not none.
        unused = use == ("none",) and (surface != "activations" or full["linear"] == "absent")
        verdict: Verdict = "hidden" if unused else "inconclusive"
        return Decision(verdict, None if verdict == "hidden" else "hidden", encoding, use, recoverable, inside)
    # Whatever else does not apply: no reader looked inside, or nobody at the outputs, and nothing was removed.
    asked = {"linear", "nonlinear"} | ({"expressed"} if surface == "outputs" else set())
    if all(full[channel] == "absent" for channel in asked) and all(state == "absent" for state in applying):
        absent = tuple(channel for channel in channels if full[channel] == "absent")
        return Decision("removed", None, encoding, use, recoverable, absent)
    return Decision("inconclusive", None, encoding, use, recoverable, ())


def change_word(
    mine: State | None, real: State | None, margin: float, difference: tuple[float, float], ratio: tuple[float, float, float] | None
) -> ChangeWord:
    """How a number changed against real training: from both states, the interval of the paired difference, and the ratio.

    ``margin`` is that of the number in real training; ``ratio`` (value, low, high) is ``None`` where real's lower bound does not exceed it.
    """
    low, high = difference
    if ratio is not None and ratio[0] > LARGER and low > 0 and mine == "present":
        # Surely larger comes before "within the band of no change": a grown exposure must not read as unchanged.
        return "amplified"
    if ratio is not None and ratio[1] >= UNCHANGED[0] and ratio[2] <= UNCHANGED[1]:
        return "unchanged"
    if ratio is None and low > -margin and high < margin:
        return "unchanged"
    if "present" not in (mine, real):
        return "unknown"
    return "amplified" if low > 0 else "reduced" if high < 0 else "unknown"


def _encoding(linear: State, nonlinear: State) -> Encoding:
    if linear == "present":
        return "linear"
    if linear == "absent" and nonlinear in ("present", "absent"):
        return "nonlinear_only" if nonlinear == "present" else "absent"
    return "unknown"


def _listed(states: Mapping[str, State], channels: Sequence[str]) -> tuple[str, ...]:
    present = tuple(channel for channel in channels if states[channel] == "present")
    if present:
        return present
    return ("none",) if all(states[channel] in ("absent", "not_applicable") for channel in channels) else ("unknown",)
