"""Evidence of schema 1.0, brought to the fields of today. The one place where words of a pack are read for what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from proxyaudit.estimates.context import identify
from proxyaudit.estimates.instrument import passes
from proxyaudit.estimates.methods import TURNED
from proxyaudit.estimates.questions import deciding_names

__all__ = ["brought_up"]

_NUMBER: Final = r"([0-9.e+-]+)"
# Kind of a control, what its detail says, the figures in it, and the margin that they are held against.
_DETAILS: Final[tuple[tuple[str, str, tuple[str, ...], str | None], ...]] = (
    ("negative", f"Holm-adjusted p = {_NUMBER}", ("p",), None),
    ("positive", r"plants found at the margin (\d+)%, at twice the margin (\d+)%", ("found_once", "found_twice"), None),
    ("positive", r"found in (\d+)% of plants", ("found",), None),
    (
        "random_subspace",
        f"effect {_NUMBER}; 95th percentile of random subspaces of equal rank {_NUMBER}",
        ("effect", "random_high"),
        "effect",
    ),
    ("untrained", f"smallest effect {_NUMBER}; largest in untrained models {_NUMBER}", ("smallest", "largest_untrained"), None),
    ("eraser", f"planted leak {_NUMBER} on fresh rows, {_NUMBER} after LEACE", ("before", "after"), "leak"),
    ("baseline", f"random features of what is conditioned on: leak {_NUMBER}", ("leak",), "leak"),
)
_FIXED: Final[Mapping[tuple[str, str], dict[str, float | None]]] = {
    ("positive", "no planted leak stands out from the references"): {"found": None},
    ("repetition", "all repetitions differ"): {"identical_pairs": 0.0},
    ("repetition", "two repetitions are identical and count as one"): {"identical_pairs": 1.0},
}


def brought_up(document: dict[str, Any], margins: Mapping[str, Any]) -> dict[str, Any]:
    """A document of schema 1.0 with the fields of today: what a number is about, and the figures of controls.

    Args:
        document: ``evidence.json`` as it was written.
        margins: Those of its plan, which figures are held against.
    """
    estimates = [_estimate(e) if isinstance(e, dict) else e for e in _list(document, "estimates")]
    controls = [_control(c, margins) if isinstance(c, dict) else c for c in _list(document, "controls")]
    return {**document, "estimates": estimates, "controls": controls}


def _list(document: dict[str, Any], key: str) -> list[Any]:
    found = document.get(key)
    return found if isinstance(found, list) else []


def _estimate(e: dict[str, Any]) -> dict[str, Any]:
    words = [e.get(key) for key in ("channel", "regime", "context", "site", "reason")]
    if e.get("measure") or not all(word is None or isinstance(word, str) for word in words):
        return e
    channel, context = str(e.get("channel")), e.get("context")
    measure, subject, reference_for = identify(channel, str(e.get("regime")), context, e.get("site"))
    if measure == "use_difference" and e.get("reason") == TURNED:
        measure = "use_difference_turned"
    found = {**e, "measure": measure, "subject": subject, "reference_for": reference_for}
    if channel in deciding_names() and e.get("p_present") is not None and e.get("beyond_null") is None and e.get("state") is not None:
        # The first packs did not say whether the null was rejected.
        found["beyond_null"] = e["state"] == "present"
    return found


def _control(c: dict[str, Any], margins: Mapping[str, Any]) -> dict[str, Any]:
    kind, detail = c.get("kind"), c.get("detail")
    if c.get("figures") or not isinstance(kind, str) or not isinstance(detail, str):
        return c
    if (kind, detail) in _FIXED:
        return {**c, "figures": _FIXED[kind, detail]}
    for its_kind, pattern, names, margin in _DETAILS:
        found = re.search(pattern, detail) if kind == its_kind else None
        if found is None:
            continue
        told = {name: _interval(text, percent=name.startswith("found")) for name, text in zip(names, found.groups(), strict=True)}
        if margin is not None:
            limit = float(margins.get(margin) or 0.0)
            told["margin"] = (limit, limit, limit)
        outcomes = {passes(kind, {n: tried[k] for (n, tried), k in zip(told.items(), ends, strict=True)}) for ends in _corners(len(told))}
        # Words are rounded: where the figures themselves could lie on either side, they are not known.
        return {**c, "figures": {name: value for name, (value, _, _) in told.items()}} if len(outcomes) == 1 else c
    return c


def _interval(text: str, *, percent: bool) -> tuple[float, float, float]:
    """What a rounded number may have been: itself, at least, at most."""
    try:
        value = float(text)
    except ValueError:
        return 0.0, 0.0, 0.0
    digits = len(text.partition("e")[0].partition(".")[2])
    exponent = float(f"1e{text.partition('e')[2] or 0}")
    half = 0.51 * 10.0**-digits * exponent
    scale = 0.01 if percent else 1.0
    return value * scale, (value - half) * scale, (value + half) * scale


def _corners(count: int) -> list[tuple[int, ...]]:
    return [tuple(1 + (mask >> k & 1) for k in range(count)) for mask in range(2**count)]
