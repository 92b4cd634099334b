"""What training did to an attribute inside the model (METHOD, section 3b), concluded from published numbers alone."""

import math
from typing import Final

from proxyaudit.estimates.numbers import Numbers
from proxyaudit.types import Estimate, Training, TrainingWord

PROMINENCE: Final = "prominence"
LARGER: Final = math.log(1.25)  # of a gain: below it, in both directions, training left the attribute alone
FEWEST_PLACEBOS: Final = 20
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


def _word(own: Estimate | None, before: Estimate | None, gain: Estimate | None, total: Estimate | None) -> tuple[TrainingWord, str | None]:
    """The word; it needs both shares, and claims nothing where they point in opposite directions."""
    if own is None or own.low is None:
        return "unknown", "it was not measured"
    if before is None or before.low is None or gain is None or gain.value is None or gain.low is None or gain.high is None:
        return "unknown", "there is no untrained network to compare with"
    if own.low <= 0 and before.low <= 0:
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
