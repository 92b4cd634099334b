"""The JSON schema of ``evidence.json``, and evidence of schema 1.0 brought to it.

The one place where words of a pack are read for what they mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

from proxyaudit.estimates.context import with_fields
from proxyaudit.estimates.instrument import passes
from proxyaudit.estimates.methods import TURNED
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.types import SCHEMA_VERSION, Control, Estimate, Evidence

_NUMBER: Final = r"([0-9.e+-]+)"
_RANDOM: Final = ("effect", "random_high")
# Kind of a control, what its detail says, the figures in it, and the margin that they are held against.
_DETAILS: Final[tuple[tuple[str, str, tuple[str, ...], str | None], ...]] = (
    ("negative", f"Holm-adjusted p = {_NUMBER}", ("p",), None),
    ("positive", r"plants found at the margin (\d+)%, at twice the margin (\d+)%", ("found_once", "found_twice"), None),
    ("positive", r"found in (\d+)% of plants", ("share",), None),
    ("random_subspace", f"effect {_NUMBER}; 95th percentile of random subspaces of equal rank {_NUMBER}", _RANDOM, "effect"),
    ("untrained", f"smallest effect {_NUMBER}; largest in untrained models {_NUMBER}", ("smallest", "largest_untrained"), None),
    ("eraser", f"planted leak {_NUMBER} on fresh rows, {_NUMBER} after LEACE", ("before", "after"), "leak"),
    ("baseline", f"random features of what is conditioned on: leak {_NUMBER}", ("leak",), "leak"),
)
_FIXED: Final[Mapping[tuple[str, str], dict[str, float | None]]] = {
    ("positive", "no planted leak stands out from the references"): {"share": None},
    ("repetition", "all repetitions differ"): {"identical_pairs": 0.0},
    ("repetition", "two repetitions are identical and count as one"): {"identical_pairs": 1.0},
}


def evidence_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``evidence.json``."""
    schema = Evidence.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"proxyaudit-evidence-{SCHEMA_VERSION}", **schema}


def committed_schema() -> dict[str, Any]:
    """Return the schema as committed: what users validate against; a test keeps it equal to ``evidence_schema``."""
    text = resources.files("proxyaudit.evidence").joinpath(f"schema-{SCHEMA_VERSION}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def brought_up(evidence: Evidence, margins: Mapping[str, Any]) -> Evidence:
    """Evidence of schema 1.0 with the fields of today: what a number is about, and the figures of controls, held against the margins."""
    estimates = tuple(_estimate(e) for e in evidence.estimates)
    return evidence.model_copy(update={"estimates": estimates, "controls": tuple(_control(c, margins) for c in evidence.controls)})


def _estimate(e: Estimate) -> Estimate:
    found = with_fields(e)
    if found.measure == "use_difference" and e.reason == TURNED:
        found = found.model_copy(update={"measure": "use_difference_turned"})
    if e.channel in deciding_names() and e.p_present is not None and e.beyond_null is None and e.state is not None:
        # The first packs did not say whether the null was rejected.
        found = found.model_copy(update={"beyond_null": e.state == "present"})
    return found


def _control(c: Control, margins: Mapping[str, Any]) -> Control:
    figures = _FIXED.get((c.kind, c.detail)) or _figures(c, margins)
    return c.model_copy(update={"figures": figures}) if figures and not c.figures else c


def _figures(c: Control, margins: Mapping[str, Any]) -> Mapping[str, float | None]:
    for kind, pattern, names, margin in _DETAILS:
        found = re.search(pattern, c.detail) if c.kind == kind else None
        if found is None:
            continue
        told = {name: _interval(text, percent=r"%" in pattern) for name, text in zip(names, found.groups(), strict=True)}
        if margin is not None:
            limit = float(margins.get(margin) or 0.0)
            told["margin"] = (limit, limit, limit)
        outcomes = {passes(kind, {n: tried[k] for (n, tried), k in zip(told.items(), ends, strict=True)}) for ends in _corners(len(told))}
        # Words are rounded: where the figures themselves could lie on either side, they are not known.
        return {name: value for name, (value, _, _) in told.items()} if len(outcomes) == 1 else {}
    return {}


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
