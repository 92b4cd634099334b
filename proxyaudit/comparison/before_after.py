"""Two regimes of one audit side by side: every deciding number, the verdicts and the task before and after a change."""

from __future__ import annotations

from typing import Any

from proxyaudit.estimates.ledger import significant
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.types import Estimate, Evidence, Finding

_SHOWN = ("id", "state", "value", "low", "high", "auroc", "margin", "seeds", "n", "group", "reason")
_TOLD = ("verdict", "at_least", "sentence", "would_settle")


def channel_changes(evidence: Evidence, before: str, after: str) -> list[dict[str, Any]]:
    """Every deciding number of every attribute in the two regimes, side by side."""
    names = deciding_names()
    pairs: dict[tuple[Any, ...], dict[str, Estimate]] = {}
    for estimate in evidence.estimates:
        if estimate.regime in (before, after) and estimate.channel in names and estimate.state is not None:
            # An interchange effect is given by the larger of its two forms: both are one channel.
            what = None if estimate.channel == "used" else (estimate.measure, estimate.subject)
            key = (estimate.attribute, estimate.channel, estimate.site, what)
            pairs.setdefault(key, {})[estimate.regime] = estimate
    roles = {finding.attribute: finding.role for finding in evidence.findings}
    return [
        {
            "attribute": attribute,
            "role": roles.get(attribute),
            "channel": channel,
            "site": site,
            "context": None if what is None else first.context,
            "measure": first.measure,
            "unit": first.unit,
            "before": _shown(found.get(before)),
            "after": _shown(found.get(after)),
        }
        for (attribute, channel, site, what), found in pairs.items()
        for first in [next(iter(found.values()))]
    ]


def _shown(what: Estimate | Finding | None, keys: tuple[str, ...] = _SHOWN) -> dict[str, Any] | None:
    return None if what is None else {key: getattr(what, key) for key in keys}


def verdict_changes(evidence: Evidence, before: str, after: str) -> list[dict[str, Any]]:
    """Verdict of each attribute before and after."""
    found = {(finding.attribute, finding.regime): finding for finding in evidence.findings}
    names = dict.fromkeys(finding.attribute for finding in evidence.findings)
    pairs = {name: [found.get((name, regime)) for regime in (before, after)] for name in names}
    return [{"attribute": name, "before": _shown(was, _TOLD), "after": _shown(now, _TOLD)} for name, (was, now) in pairs.items()]


def task_change(evidence: Evidence, before: str, after: str) -> dict[str, Any]:
    """AUROC of the target before and after, and the loss in each model (positive: the mitigated one is worse)."""
    found = {e.regime: e for e in evidence.estimates if e.channel == "task" and e.regime in (before, after)}
    first, last = found.get(before), found.get(after)
    loss: list[float | None] = []
    if first is not None and last is not None:
        values = [(e.seed_values or (() if e.value is None else (e.value,))) for e in (first, last)]
        if len(values[0]) == len(values[1]):
            loss = [significant(a - b, 4) for a, b in zip(*values, strict=True)]
    known = [value for value in loss if value is not None]
    return {
        "unit": first.unit if first is not None else None,
        "before": _shown(first),
        "after": _shown(last),
        "loss_per_model": loss,
        "mean_loss": significant(sum(known) / len(known), 4) if known else None,
    }
