"""A mitigation as Markdown: what was changed, what it did, what remains. Pure: the same document gives the same text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxyaudit.reporting.markdown import escape
from proxyaudit.reporting.text import DASH, join_words, number
from proxyaudit.reporting.words import channel_word, state_word

__all__ = ["render_mitigation", "summary_lines"]

_METHODS = {
    "leace": "LEACE (Belrose et al. 2023): the least change after which no linear reader beats the constant one on the fitted rows",
    "splince": "SPLINCE (arXiv 2506.10703): an oblique projection that keeps the covariance of the activations with the task's label",
}
_OTHERS = ("linear", "nonlinear", "expressed", "used")


def render_mitigation(document: Mapping[str, Any]) -> str:
    """Return ``mitigation.md`` for the content of ``mitigation.json``."""
    attribute, before = document["attribute"], document["regime"]
    source, audit = document["source"], document["audit"]
    parts = [f"# {escape(attribute)} erased from the models of {escape(before)}"]
    parts.append(f"Made from run {escape(source['run_id'])} of {escape(source['name'])}; audited again as run {escape(audit['run_id'])}.")
    if document["status"] != "complete":
        parts.append("**The new audit is partial.** A task failed, so some figures are missing.")
    parts += ["\n".join(f"- {escape(line)}" for line in summary_lines(document))]
    parts += ["## What was changed", f"{escape(_METHODS.get(document['method'], document['method']))}.", _changes(document["models"])]
    parts.append(
        "Fitted on real training rows, none of which is an audit row. The affine map is part of the saved weights "
        "(`erase/<site>/weight` and `bias`) and is applied where the site is read, so the site itself is changed, not only what follows. "
        "Whoever has the checkpoint can read the erased direction from the map."
    )
    parts.append(f"Models: {escape(document['weights']['words'])}.")
    parts += ["## What it did to the attribute", _channels(document["channels"], [attribute])]
    others = [name for name in dict.fromkeys(c["attribute"] for c in document["channels"]) if name != attribute]
    if others:
        shown = [c for c in document["channels"] if c["channel"] in _OTHERS]
        parts += ["## What it did to the other attributes", _channels(shown, others)]
    parts += ["## What it did to the task", _task(document["task"]), "## Verdicts", _verdicts(document["verdicts"])]
    parts += ["## What remains", "\n".join(f"- {escape(line)}" for line in document["remains"])]
    command = f"    proxyaudit run {audit['recipe']}"
    parts += ["## Reproduce", command, "\n".join(f"- {escape(name)}: sha256 {value}" for name, value in document["checkpoints"].items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary_lines(document: Mapping[str, Any]) -> list[str]:
    """The answer in a few plain sentences."""
    attribute, lines = document["attribute"], []
    for change in document["channels"]:
        linear = change["channel"] in ("linear", "elsewhere") and change["site"] in document["sites"] and change["context"] is None
        if change["attribute"] == attribute and linear and change["after"] is not None:
            lines.append(
                f"Linear leak at {change['site']}: {_figure(change['before'])} before, {_figure(change['after'])} after{_beside(change)}."
            )
    task = document["task"]
    loss = task["loss_per_model"]
    if loss:
        each = ", ".join(number(value) for value in loss)
        lines.append(f"Task AUROC: {_figure(task['before'])} before, {_figure(task['after'])} after; lost in each model: {each}.")
    for change in document["verdicts"]:
        if change["attribute"] == attribute and change["after"] is not None:
            lines.append(f"Verdict: {_verdict(change['before'])} before, {_verdict(change['after'])} after.")
    states = {"present": "still found by", "unknown": "not excluded by"}
    for state, words in states.items():
        left = dict.fromkeys(
            channel_word(c["channel"])
            for c in document["channels"]
            if c["attribute"] == attribute and (c["after"] or {}).get("state") == state
        )
        if left:
            lines.append(f"{attribute} is {words}: {join_words(list(left))}.")
    return lines


def _beside(change: Mapping[str, Any]) -> str:
    """Where the leak after stands to its margin."""
    now, margin = change["after"], change["after"]["margin"]
    if margin is None or now["value"] is None:
        return ""
    if now["state"] == "absent":
        return f", absent at the margin of {margin:g}"
    if now["high"] is not None and now["high"] < margin:
        return f", its whole interval below the margin of {margin:g}"
    return f", {'below' if now['value'] < margin else 'not below'} the margin of {margin:g} ({state_word(now['state'])})"


def _changes(models: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    header = ("Model", "Site", "Units", "Dimensions erased", "Fitting rows", "Variance moved", "Norm of the change", "Cosine to the task")
    rows = [
        (
            str(index + 1),
            site["site"],
            str(site["units"]),
            str(site["rank"]),
            str(site["rows"]),
            f"{site['moved']:.1%}",
            number(site["norm"], 2),
            DASH if site["cosine"] is None else number(site["cosine"], 2) + (" (given up)" if site["task_given_up"] else ""),
        )
        for index, model in enumerate(models)
        for site in model
    ]
    return _table(header, rows)


def _channels(channels: Iterable[Mapping[str, Any]], attributes: Sequence[str]) -> str:
    header = ("Attribute", "Check", "Site", "Before", "After", "State before", "State after")
    rows = [
        (
            c["attribute"],
            channel_word(c["channel"]) + (f" ({c['context']})" if c["context"] else ""),
            c["site"] or "outputs",
            _figure(c["before"]),
            _figure(c["after"]),
            _state(c["before"]),
            _state(c["after"]),
        )
        for c in channels
        if c["attribute"] in attributes
    ]
    return _table(header, rows)


def _task(task: Mapping[str, Any]) -> str:
    if task["before"] is None or task["after"] is None:
        return "The task was not measured in both."
    loss = ", ".join(number(value) for value in task["loss_per_model"]) or DASH
    rows = [(task["unit"] or "", _figure(task["before"]), _figure(task["after"]), loss)]
    return _table(("Measure", "Before", "After", "Lost in each model"), rows)


def _verdicts(verdicts: Iterable[Mapping[str, Any]]) -> str:
    rows = [(v["attribute"], _verdict(v["before"]), _verdict(v["after"]), (v["after"] or {}).get("sentence") or "") for v in verdicts]
    return _table(("Attribute", "Before", "After", "In words"), rows)


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return DASH
    return str(verdict["verdict"]) + (f", at least {verdict['at_least']}" if verdict["at_least"] else "")


def _figure(shown: Mapping[str, Any] | None) -> str:
    if shown is None or shown["value"] is None:
        return DASH
    ends = "" if shown["low"] is None or shown["high"] is None else f" ({number(shown['low'])} to {number(shown['high'])})"
    return number(shown["value"]) + ends


def _state(shown: Mapping[str, Any] | None) -> str:
    return DASH if shown is None else state_word(shown["state"])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, *rows]
    text = ["| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])
