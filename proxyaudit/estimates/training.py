"""What training did to an attribute inside the model (METHOD, section 3b), concluded from published numbers alone."""

import math
from typing import Final

from proxyaudit.estimates.numbers import Numbers
from proxyaudit.types import Estimate, Training, TrainingWord

PROMINENCE: Final = "prominence"
PRESENT_AT: Final = 0.025  # of each of the two tests of "nothing of it is there"
LARGER: Final = math.log(1.25)  # of a gain: below it, in both directions, training left the attribute alone
FEWEST_PLACEBOS: Final = 20
_LONGEST: Final = math.log(99)
_MEASURES: Final = ("gain", "gain_total", "kept_of_added", "ratio_to_real")
DISAGREE: Final = "the two shares of variance do not agree on the direction"


def deciding_site(numbers: Numbers, attribute: str) -> str | None:
    """The verdict site where the attribute is most prominent, over all regimes and the untrained network: the same for every regime."""
    shown: dict[str, float] = {}
    for site in numbers.scope.verdict_sites:
        found = [prominence(numbers, attribute, regime, site) for regime in _compared(numbers)]
        values = [e.value for e in found if e is not None and e.value is not None]
        if values:
            shown[site] = sum(values)
    return max(shown, key=lambda site: shown[site], default=None)


def prominence(numbers: Numbers, attribute: str | None, regime: str, site: str | None) -> Estimate | None:
    """The prominence of an attribute, or of the label (``None``), in a regime at a site."""
    return numbers.find(PROMINENCE, attribute, regime, site=site, measure="units")


def training_of(numbers: Numbers, attribute: str, regime: str) -> tuple[Training | None, str | None]:
    """What training did to an attribute, and why where that is unknown; ``None`` where nothing was asked."""
    site = deciding_site(numbers, attribute)
    if site is None or regime == numbers.scope.untrained:
        return None, "it was not measured"
    found = {name: numbers.find(PROMINENCE, attribute, regime, site=site, measure=name) for name in _MEASURES}
    gain = found["gain"]
    kept = next((found[name] for name in ("kept_of_added", "ratio_to_real") if found[name] is not None), None)
    beside = numbers.find(PROMINENCE, attribute, "placebo", site=site, reference_for=regime, measure="gain")
    singled_out = None
    if gain is not None and gain.value is not None and beside is not None and beside.value is not None:
        singled_out = gain.value > beside.value
    before = prominence(numbers, attribute, numbers.scope.untrained, site) if numbers.scope.untrained else None
    word, why = _word(prominence(numbers, attribute, regime, site), before, gain, found["gain_total"])
    refs = {"gain": gain.id if gain else None, "kept_of_real": kept.id if kept else None}
    return Training(word=word, singled_out=singled_out if word != "not_present" else None, **refs), why


def _compared(numbers: Numbers) -> tuple[str, ...]:
    scope = numbers.scope
    return tuple(dict.fromkeys([*scope.regimes, *((scope.untrained,) if scope.untrained else ())]))


def times_before(gain: Estimate | None) -> str:
    """How many times as prominent as in the untrained network, with the interval; empty where it was not compared."""
    if gain is None or gain.value is None or gain.low is None or gain.high is None:
        return ""
    return f"{times(gain.value)} times the untrained network, {times(gain.low)} to {times(gain.high)}"


def times(log: float) -> str:
    """A log ratio as how many times; beyond 99 it says no more."""
    ratio = math.exp(max(min(log, _LONGEST), -_LONGEST))
    if ratio >= math.exp(_LONGEST):
        return "over 99"
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2f}"


def training_sentence(training: Training | None, gain: Estimate | None, attribute: str, source: str) -> str:
    """What training on a source of data did, in one plain sentence; empty where nothing before it was there to compare with."""
    if training is None or (training.word == "unknown" and not times_before(gain)):
        return ""
    beside = {True: ", more than it does with attributes that it could learn as well", False: ", as it does with the task", None: ""}
    with_task, size = beside[training.singled_out] if training.word == "amplified" else "", times_before(gain)
    return {
        "amplified": f"Training on {source} made '{attribute}' more prominent ({size}){with_task}.",
        "suppressed": f"Training on {source} made '{attribute}' less prominent ({size}).",
        "left_alone": f"Training on {source} left '{attribute}' as prominent as it was ({size}).",
        "not_present": f"'{attribute}' explains nothing of what varies inside, before training on {source} or after.",
        "unknown": f"What training on {source} did to how prominent '{attribute}' is cannot be told ({size}).",
    }[training.word]


def _word(own: Estimate | None, before: Estimate | None, gain: Estimate | None, total: Estimate | None) -> tuple[TrainingWord, str | None]:
    """The word; it needs both shares, and claims nothing where they point in opposite directions."""
    if own is None or own.p_present is None:
        return "unknown", "it was not measured"
    if before is None or before.p_present is None or gain is None or gain.value is None or gain.low is None or gain.high is None:
        return "unknown", "there is no untrained network to compare with"
    if min(own.p_present, before.p_present) > PRESENT_AT:
        return "not_present", None
    if total is None or total.value is None or total.low is None or total.high is None:
        return "unknown", "the second share of variance was not measured"
    if gain.low > LARGER:
        return ("amplified", None) if total.value > 0 else ("unknown", DISAGREE)
    if gain.high < -LARGER:
        return ("suppressed", None) if total.value < 0 else ("unknown", DISAGREE)
    if gain.low >= -LARGER and gain.high <= LARGER:
        return ("unknown", DISAGREE) if total.low > LARGER or total.high < -LARGER else ("left_alone", None)
    return "unknown", "the interval of the gain holds more than one answer"
