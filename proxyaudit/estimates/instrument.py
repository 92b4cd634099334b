"""When a control of the instrument passed: one function of its figures, used by whoever publishes it and by whoever checks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from proxyaudit.estimates.draft import ABSENT_AT, FOUND

FAILED_AT: Final = (
    0.001  # a control that fails by chance would silence one audit in a hundred at .01; a broken instrument is far below this
)

LEAST_FOUND: Final = 0.5  # of a planted effect; of twice the margin, more than half is above the margin

_Figures = Mapping[str, float]


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


def _plants_found(figures: _Figures) -> bool:
    """Planted features are found in most draws; of planted effects none is called absent, and more than half of each is found."""
    if "least_found" in figures:
        return figures["least_found"] > LEAST_FOUND and figures["least_absent_p"] > ABSENT_AT
    if "share" in figures:
        return figures["share"] >= FOUND
    return min(figures["found_once"], figures["found_twice"]) >= FOUND


_RULES: Final[Mapping[str, Callable[[_Figures], bool]]] = {
    "negative": lambda f: f["p"] > FAILED_AT,
    "positive": _plants_found,
    "random_subspace": lambda f: f["random_high"] < max(f["effect"], f["margin"]),
    "untrained": lambda f: f["smallest"] > f["largest_untrained"],
    "eraser": lambda f: f["before"] > f["margin"] > f["after"],
    "baseline": lambda f: f["leak"] < f["margin"],
    "repetition": lambda f: f["identical_pairs"] == 0,
}
