"""What an estimate of schema 1.0 is about, read from the words that stood beside it.

Schema 1.1 says it in the fields ``measure``, ``subject``, ``reference_for``, ``shown_by`` and ``rows_needed``. Packs of 1.0 are brought to
it here, and nowhere else.
"""

from __future__ import annotations

import re

from proxyaudit.types import Estimate

Identity = tuple[str, str | None, str | None]
"""``measure``, ``subject``, ``reference_for``."""

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


def with_fields(estimate: Estimate) -> Estimate:
    """An estimate of schema 1.0 with the fields of 1.1; one that has them stays as it is."""
    if estimate.measure:
        return estimate
    measure, subject, reference_for = identify(estimate.channel, estimate.regime, estimate.context, estimate.site)
    shown, rows = _SHOWN_BY.search(estimate.method), _ROWS_NEEDED.match(estimate.reason or "")
    fields = {
        "measure": measure,
        "subject": subject,
        "reference_for": reference_for,
        "shown_by": shown["reader"] if shown else None,
        "rows_needed": int(rows["rows"].replace(",", "") or 0) or None if rows else None,
    }
    return estimate.model_copy(update=fields)


def identify(channel: str, regime: str, context: str | None, site: str | None) -> Identity:
    """What a number is about, by its place and the words of schema 1.0; an interchange without a site was done at all of them together."""
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
        return (
            ("leak_nonlinear" if said.endswith(", nonlinear") else "leak"),
            said.removesuffix(", nonlinear").removeprefix("beyond ") or None,
            None,
        )
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
