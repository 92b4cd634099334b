"""The verdict: one pure, total function of channel states (METHOD, section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from proxyaudit.estimates.questions import deciding_names, names_of
from proxyaudit.types import ChangeWord, Encoding, State, Surface, Verdict

UNCHANGED = (0.8, 1.25)
LARGER = 1.05


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
    """Turn channel states into a verdict.

    Args:
        states: State of every deciding channel; one left out counts as ``unknown``, so that forgetting it can never lead to "removed".
        surface: ``activations`` where no outputs were given: the embedding is what the consumer gets, so ``hidden`` needs
            ``linear`` absent there.

    Raises:
        ValueError: a key is no channel.
    """
    channels, use_channels, recoverable_channels = deciding_names(), names_of("use"), names_of("recoverable")
    strangers = sorted(set(states) - set(channels))
    if strangers:
        raise ValueError(f"unknown channel {strangers[0]!r}")
    full: dict[str, State] = {channel: states.get(channel, "unknown") for channel in channels}
    encoding = _encoding(full["linear"], full["nonlinear"])
    use = _listed(full, use_channels)
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
    if applying and all(state == "absent" for state in applying):
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


def encoding_word(word: ChangeWord, decision: Decision) -> ChangeWord:
    """The word for a changed linear leak: gone where nothing is left, no reduction where only a stronger reader finds it now."""
    if word == "reduced" and decision.encoding == "absent":
        return "eliminated"
    return "unknown" if word == "reduced" and decision.encoding == "nonlinear_only" else word


def _encoding(linear: State, nonlinear: State) -> Encoding:
    if linear == "present":
        return "linear"
    if linear == "absent" and nonlinear == "present":
        return "nonlinear_only"
    if linear == "absent" and nonlinear == "absent":
        return "absent"
    return "unknown"


def _listed(states: Mapping[str, State], channels: Sequence[str]) -> tuple[str, ...]:
    present = tuple(channel for channel in channels if states[channel] == "present")
    if present:
        return present
    return ("none",) if all(states[channel] in ("absent", "not_applicable") for channel in channels) else ("unknown",)
