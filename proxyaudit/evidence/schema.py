"""The JSON schema of ``evidence.json``, and evidence of schema 1.0 brought to it: only here words of a pack are read for what they mean."""

import json
import re
from collections.abc import Mapping
from importlib import resources
from itertools import product
from typing import Any, Final

from proxyaudit.estimates.ledger import TURNED
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.estimates.states import passes
from proxyaudit.types import SCHEMA_VERSION, Control, Estimate, Evidence

Identity = tuple[str, str | None, str | None]  # measure, subject, reference_for

_REFERENCE = re.compile(r"^(?P<regime>.*): 95th percentile of (?P<what>.*)$", re.DOTALL)
_SHOWN_BY = re.compile(r"shown by the reader '(?P<reader>[^']*)'")
_ROWS_NEEDED = re.compile(r"^too few audit rows to tell: about (?P<rows>[\d,]{1,15}) would show")
_PROMPTS = ("tone", "likelihood", "ranking", "refusal")
_LEAKS = {
    "": "leak",
    "nonlinear": "leak_nonlinear",
    "in quarters": "leak_in_quarters",
    "in quarters, nonlinear": "leak_in_quarters_nonlinear",
    "unweighted": "unweighted_leak",
}
_EXPRESSED = {
    "": "gap",
    "gap": "gap",
    "gap within label": "gap_within_label",
    "within label": "gap_within_label",
    "output leak": "output_leak",
    "output leak, nonlinear": "output_leak_nonlinear",
}
_AMNESIC = {"output gap after erasing": "gap_after_erasing", "change of the task's AUROC by erasing": "auroc_change"}
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
_LISTED: Final = {"estimates": "Estimate", "controls": "Control", "findings": "Finding", "not_tested": "NotTested"}
_FIXED: Final[Mapping[tuple[str, str], dict[str, float | None]]] = {
    ("positive", "no planted leak stands out from the references"): {"share": None},
    ("repetition", "all repetitions differ"): {"identical_pairs": 0.0},
    ("repetition", "two repetitions are identical and count as one"): {"identical_pairs": 1.0},
}


def evidence_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``evidence.json``."""
    schema = Evidence.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"proxyaudit-evidence-{SCHEMA_VERSION}", **schema}


def committed_schema(version: str = SCHEMA_VERSION) -> dict[str, Any]:
    """Return the schema as committed: what users validate against; a test keeps today's equal to ``evidence_schema``."""
    text = resources.files("proxyaudit.evidence").joinpath(f"schema-{version}.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def later_fields(document: Mapping[str, Any]) -> list[str]:
    """Fields of ``evidence.json`` that schema 1.0 does not have: a later version wrote them, whatever version the document says."""
    told = committed_schema("1.0")
    known = {"": set(told["properties"]), **{kind: set(told["$defs"][kind]["properties"]) for kind in _LISTED.values()}}
    lists = {kind: document.get(name) for name, kind in _LISTED.items()}
    entries = [("", document), *((kind, one) for kind, ones in lists.items() if isinstance(ones, list) for one in ones)]
    return sorted({str(key) for kind, one in entries if isinstance(one, Mapping) for key in one if key not in known[kind]})


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
        outcomes = {passes(kind, dict(zip(told, ends, strict=True))) for ends in product(*(tried[1:] for tried in told.values()))}
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
    half = 0.51 * 10.0**-digits * float(f"1e{text.partition('e')[2] or 0}")
    scale = 0.01 if percent else 1.0
    return value * scale, (value - half) * scale, (value + half) * scale


def with_fields(estimate: Estimate) -> Estimate:
    """An estimate of schema 1.0 with the fields of 1.1; one that has them stays as it is."""
    if estimate.measure:
        return estimate
    measure, subject, reference_for = identify(estimate.channel, estimate.regime, estimate.context, estimate.site)
    shown, rows = _SHOWN_BY.search(estimate.method), _ROWS_NEEDED.match(estimate.reason or "")
    needed = int(rows["rows"].replace(",", "") or 0) or None if rows else None
    identity = {"measure": measure, "subject": subject, "reference_for": reference_for}
    return estimate.model_copy(update={**identity, "shown_by": shown["reader"] if shown else None, "rows_needed": needed})


def identify(channel: str, regime: str, context: str | None, site: str | None) -> Identity:
    """What a number is about, by its words of schema 1.0; an interchange without a site was done at all verdict sites together."""
    said = context or ""
    if regime in ("placebo", "floor") and (found := _REFERENCE.match(said)):
        return _of_reference(channel, found["what"], found["regime"])
    if channel in ("linear", "elsewhere"):
        if channel == "elsewhere" and site is None:
            return "unprofiled", None, None
        return _LEAKS.get(said, "leak"), None, None
    if channel == "nonlinear":
        return "leak_in_quarters_nonlinear" if said else "leak_nonlinear", None, None
    if channel == "beyond":
        measure = "leak_nonlinear" if said.endswith(", nonlinear") else "leak"
        return measure, said.removesuffix(", nonlinear").removeprefix("beyond ") or None, None
    if channel == "expressed":
        measure, _, template = said.partition(", template ")
        return (measure, template or None, None) if measure in _PROMPTS else (_EXPRESSED.get(said, said), None, None)
    if channel == "used":
        return _of_use(said, site)
    if channel in ("completeness", "selectivity"):
        return ("learned_" if "learned" in said else "") + channel, said.rpartition("towards ")[2] if "towards " in said else None, None
    if channel in ("change", "retention", "origin"):
        return _of_contrast(channel, said)
    if channel == "relearned":
        return ("excess", None, None) if not said or "excess over" in said else ("curve", said, None)
    if channel.startswith("localisation"):
        kind, _, rest = said.partition(": ")
        kinds = {"random": "random", "skipped": "skipped", "together": "set"}
        if said.startswith("whole"):
            return "whole", said, None
        return (kinds[kind], rest or None, None) if kind in kinds else ("part" if said else "whole", said or None, None)
    fixed = {"amnesic": _AMNESIC.get(said, said), "mediation": "share_of_gap", "task": "auroc"}
    if channel in fixed:
        return fixed[channel], None, None
    if channel == "effort":
        shots = re.match(r"few-shot, (\d+) labelled rows", said)
        return ("few_shot", shots[1], None) if shots else ("codelength" if "codelength" in said else "selectivity", None, None)
    return channel, context, None


def _of_reference(channel: str, what: str, regime: str) -> Identity:
    if channel == "relearned":
        return "curve", what.partition(" placebos, ")[2] or None, regime
    if channel == "expressed":
        return ("gap" if what.endswith("gap") else "output_leak"), None, regime
    return "leak", None, regime


def _of_use(said: str, site: str | None) -> Identity:
    joint = said.startswith("joint")
    if "to first order" in said:
        return "first_order_effect", None, None
    if said.startswith("within label"):
        return "effect_within_label", "joint" if site is None else None, None
    if "unread directions included" in said:
        return "learned_effect_unread", "joint" if site is None else None, None
    measure = "learned_effect" if "learned" in said else "effect"
    subject = "joint" if joint else said if " against " in said else None
    return measure, subject, None


def _of_contrast(channel: str, said: str) -> Identity:
    what, _, rest = said.partition(": ")
    what = what if what in ("encoding", "use") else "use"
    if channel == "origin":
        return f"{what}_above_{'untrained' if 'untrained' in rest else 'placebos'}", None, None
    kind = "difference" if channel == "change" else "ratio"
    subject = rest.partition(", difference to ")[0] if ", difference to " in rest else None
    return f"{what}_{kind}", subject, None
