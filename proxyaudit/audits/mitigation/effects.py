"""What a mitigation did: every channel before and after, the task, the other attributes, and the risk that remains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxyaudit.audits.mitigation.erase import ROWS_PER_UNIT
from proxyaudit.estimates.ledger import significant
from proxyaudit.types import CHANNELS, Estimate, Evidence, Finding

_SHOWN = ("id", "state", "value", "low", "high", "auroc", "margin", "seeds", "n", "group", "reason")
_ASKS = {
    "linear": "a linear reader at a verdict site",
    "nonlinear": "a non-linear reader",
    "elsewhere": "a reader at another site",
    "beyond": "a reader that knows the label",
    "expressed": "what the outputs show",
    "used": "swapping what is left of it between people",
    "relearned": "a little fine-tuning",
}


def channel_changes(evidence: Evidence, before: str, after: str) -> list[dict[str, Any]]:
    """Every deciding number of every attribute in the two regimes, side by side.

    Args:
        evidence: The audit of both.
        before: Regime of the models as they were.
        after: Regime of the mitigated ones.
    """
    pairs: dict[tuple[Any, ...], dict[str, Estimate]] = {}
    for estimate in evidence.estimates:
        if estimate.regime in (before, after) and estimate.channel in CHANNELS and estimate.state is not None:
            # Both forms of an interchange effect are one check.
            about = None if estimate.channel == "used" else (estimate.measure, estimate.subject)
            key = (estimate.attribute, estimate.channel, estimate.site, about)
            pairs.setdefault(key, {})[estimate.regime] = estimate
    roles = {finding.attribute: finding.role for finding in evidence.findings}
    return [
        {
            "attribute": attribute,
            "role": roles.get(attribute),
            "channel": channel,
            "site": site,
            "context": None if about is None else first.context,
            "measure": first.measure,
            "unit": first.unit,
            "before": _shown(found.get(before)),
            "after": _shown(found.get(after)),
        }
        for (attribute, channel, site, about), found in pairs.items()
        for first in [next(iter(found.values()))]
    ]


def _shown(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else {key: getattr(estimate, key) for key in _SHOWN}


def verdict_changes(evidence: Evidence, before: str, after: str) -> list[dict[str, Any]]:
    """Verdict of each attribute before and after."""
    found = {(finding.attribute, finding.regime): finding for finding in evidence.findings}
    names = dict.fromkeys(finding.attribute for finding in evidence.findings)
    return [
        {"attribute": name, "before": _verdict(found.get((name, before))), "after": _verdict(found.get((name, after)))} for name in names
    ]


def _verdict(finding: Finding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    return {"verdict": finding.verdict, "at_least": finding.at_least, "sentence": finding.sentence, "would_settle": finding.would_settle}


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


def remaining_risks(
    changes: Sequence[dict[str, Any]],
    attribute: str,
    sites: Sequence[str],
    model_sites: Sequence[str],
    token_sites: Sequence[str],
    models: Sequence[Sequence[dict[str, Any]]],
    not_tested: Sequence[tuple[str, str]],
) -> list[str]:
    """What the new audit still finds or cannot exclude, and what the method itself leaves.

    Args:
        changes: :func:`channel_changes`.
        attribute: The attribute that was erased.
        sites: Sites that were mapped.
        model_sites: All profiled sites in forward order.
        token_sites: Of the mapped sites, those that are token sequences.
        models: Changes of each model's sites (``SiteChange.as_dict``).
        not_tested: What the audit did not look at, with reasons.
    """
    risks = []
    for state, words in (("present", "still finds it"), ("unknown", "cannot exclude it")):
        for change in changes:
            now = change["after"]
            if change["attribute"] == attribute and now is not None and now["state"] == state:
                place = f" at {change['site']}" if change["site"] else ""
                kind = f" ({change['context']})" if change["context"] else ""
                why = f": {now['reason']}" if now["reason"] else ""
                risks.append(f"{change['channel']}{kind}{place}: {_ASKS[change['channel']]} {words}, {_number(now)}{why}")
    first = min(model_sites.index(site) for site in sites)
    if first:
        risks.append(f"earlier sites are untouched and relay what they did: {', '.join(model_sites[:first])}")
    if token_sites:
        risks.append(f"only the mean over tokens was made clean; single tokens may hold it: {', '.join(token_sites)}")
    every = [site for model in models for site in model]
    small = sorted({site["site"] for site in every if site["rows"] < ROWS_PER_UNIT * site["units"]})
    if small:
        risks.append(f"the eraser was fitted on few rows for the units there are, so it leaves more on fresh rows: {', '.join(small)}")
    given_up = sorted({site["site"] for site in every if site["task_given_up"]})
    if given_up:
        risks.append(f"the task's own direction is nearly the attribute's and could not be kept: {', '.join(given_up)}")
    nothing = sorted({site["site"] for site in every if not site["rank"]})
    if nothing:
        risks.append(f"nothing linear was found to erase in some model: {', '.join(nothing)}")
    risks.append("an eraser is linear: what only a non-linear reader sees is left where it is")
    risks += [f"not tested: {what} ({why})" for what, why in not_tested if what.startswith("relearned")]
    return risks


def _number(shown: dict[str, Any]) -> str:
    if shown["value"] is None:
        return "not measured"
    text = f"{shown['value']:.3f}"
    return text if shown["low"] is None else f"{text} ({shown['low']:.3f} to {shown['high']:.3f})"
