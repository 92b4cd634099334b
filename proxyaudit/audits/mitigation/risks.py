"""What a mitigation leaves: what its audit still finds or cannot exclude, and what the method itself cannot reach."""

from collections.abc import Sequence
from typing import Any

ROWS_PER_UNIT = 10  # fewer fitting rows than this for each unit leave much of the attribute on fresh rows
_ASKS = {
    "linear": "a linear reader at a verdict site",
    "nonlinear": "a non-linear reader",
    "elsewhere": "a reader at another site",
    "beyond": "a reader that knows the label",
    "expressed": "what the outputs show",
    "used": "swapping what is left of it between people",
    "relearned": "a little fine-tuning",
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

    ``changes`` are those of :func:`~proxyaudit.comparison.compare.channel_changes`; the attribute was erased at ``sites`` (those in
    ``token_sites`` are token sequences) of ``model_sites``, all in forward order. ``models`` holds each model's ``SiteChange.as_dict``.
    """
    risks = []
    for state, words in (("present", "still finds it"), ("unknown", "cannot exclude it")):
        for change in changes:
            now = change["after"]
            if change["attribute"] == attribute and now is not None and now["state"] == state:
                place = f" at {change['site']}" if change["site"] else ""
                kind = f" ({change['context']})" if change["context"] else ""
                why = f": {now['reason']}" if now["reason"] else ""
                number = "not measured" if now["value"] is None else f"{now['value']:.3f}"
                number += f" ({now['low']:.3f} to {now['high']:.3f})" if now["value"] is not None and now["low"] is not None else ""
                risks.append(f"{change['channel']}{kind}{place}: {_ASKS[change['channel']]} {words}, {number}{why}")
    first = min(model_sites.index(site) for site in sites)
    if first:
        risks.append(f"earlier sites are untouched and relay what they did: {', '.join(model_sites[:first])}")
    if token_sites:
        risks.append(f"only the mean over tokens was made clean; single tokens may hold it: {', '.join(token_sites)}")
    every = [site for model in models for site in model]
    marked = {
        "the eraser was fitted on few rows for the units there are, so it leaves more on fresh rows": [
            site["site"] for site in every if site["rows"] < ROWS_PER_UNIT * site["units"]
        ],
        "the task's own direction is nearly the attribute's and could not be kept": [s["site"] for s in every if s["task_given_up"]],
        "nothing linear was found to erase in some model": [site["site"] for site in every if not site["rank"]],
    }
    risks += [f"{risk}: {', '.join(sorted({*where}))}" for risk, where in marked.items() if where]
    risks.append("an eraser is linear: what only a non-linear reader sees is left where it is")
    risks += [f"not tested: {what} ({why})" for what, why in not_tested if what.startswith("relearned")]
    return risks
