"""A mitigation as Markdown: what was changed, what it did, what remains. Pure: the same document gives the same text."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from proxyaudit.estimates.questions import word_of
from proxyaudit.estimates.task import AUROC, YARDSTICKS
from proxyaudit.evidence.schema import identify
from proxyaudit.reporting.blocks import Block, Code, Page, Para, Section, Strong, Table, bullets, para, table
from proxyaudit.reporting.markdown import page_markdown
from proxyaudit.reporting.text import DASH, beside, join_words, number, span
from proxyaudit.reporting.words import state_word

_METHODS = {
    "leace": "LEACE (Belrose et al. 2023): the least change after which no linear reader beats the constant one on the fitted rows",
    "splince": "SPLINCE (arXiv 2506.10703): an oblique projection that keeps the covariance of the activations with the task's label",
}
_OTHERS = ("linear", "nonlinear", "expressed", "used")
_FITTED = (
    "Fitted on real training rows, none of which is an audit row. The affine map is part of the saved weights "
    "(erase/<site>/weight and bias) and is applied where the site is read, so the site itself is changed, not only what follows. "
    "Whoever has the checkpoint can read the erased direction from the map."
)
_CHANGES = ("Model", "Site", "Units", "Dimensions erased", "Fitting rows", "Variance moved", "Norm of the change", "Cosine to the task")
_CHANNELS = ("Attribute", "Check", "Site", "Before", "After", "State before", "State after")
_LEFT = {"present": "still found by", "unknown": "not excluded by"}


def render_mitigation(document: Mapping[str, Any]) -> str:
    """``mitigation.md`` for the content of ``mitigation.json``."""
    source, audit = document["source"], document["audit"]
    title = f"{document['attribute']} erased from the models of {document['regime']}"
    first: list[Block] = [para(f"Made from run {source['run_id']} of {source['name']}; audited again as run {audit['run_id']}.")]
    if document["status"] != "complete":
        first.append(para(Strong("The new audit is partial."), " A task failed, so some figures are missing."))
    return page_markdown(Page(title, title, (), (*first, bullets(summary_lines(document))), tuple(_sections(document))))


def _sections(document: Mapping[str, Any]) -> Iterable[Section]:
    attribute, channels = document["attribute"], document["channels"]
    changes = table("What was changed", _CHANGES, _changes(document["models"]))
    method, weights = f"{_METHODS.get(document['method'], document['method'])}.", f"Models: {document['weights']['words']}."
    yield Section("changed", "What was changed", (para(method), changes, para(_FITTED), para(weights)))
    yield Section("attribute", "What it did to the attribute", (_numbers(c for c in channels if c["attribute"] == attribute),))
    others = [c for c in channels if c["attribute"] != attribute]
    if others:
        yield Section("others", "What it did to the other attributes", (_numbers(c for c in others if c["channel"] in _OTHERS),))
    yield Section("task", "What it did to the task", (_task(document["task"]),))
    told = [(v["attribute"], v["before"], v["after"]) for v in document["verdicts"]]
    rows = [(name, _verdict(before), _verdict(after), (after or {}).get("sentence") or "") for name, before, after in told]
    yield Section("verdicts", "Verdicts", (table("Verdicts", ("Attribute", "Before", "After", "In words"), rows),))
    yield Section("remains", "What remains", (bullets(document["remains"]),))
    hashes = bullets([f"{name}: sha256 {value}" for name, value in document["checkpoints"].items()])
    yield Section("reproduce", "Reproduce", (Code(f"proxyaudit run {document['audit']['recipe']}"), hashes))


def summary_lines(document: Mapping[str, Any]) -> list[str]:
    """The answer in a few plain sentences."""
    attribute, lines = document["attribute"], []
    mine = [c for c in document["channels"] if c["attribute"] == attribute]
    for change in mine:
        linear = change["channel"] in ("linear", "elsewhere") and change["site"] in document["sites"] and change["after"] is not None
        # Documents of earlier versions say in words alone what was measured.
        if linear and (change.get("measure") or identify(change["channel"], "", change["context"], change["site"])[0]) == "leak":
            before, after = _figure(change["before"]), _figure(change["after"])
            lines.append(f"Linear leak at {change['site']}: {before} before, {after} after{_to_margin(change['after'])}.")
    task = document["task"]
    if task["loss_per_model"]:
        each = ", ".join(number(value) for value in task["loss_per_model"])
        word = next((by.word for by in YARDSTICKS.values() if by.unit == task["unit"]), AUROC.word)
        lines.append(f"Task {word}: {_figure(task['before'])} before, {_figure(task['after'])} after; lost in each model: {each}.")
    for change in document["verdicts"]:
        if change["attribute"] == attribute and change["after"] is not None:
            lines.append(f"Verdict: {_verdict(change['before'])} before, {_verdict(change['after'])} after.")
    named: list[str] = []
    for state, words in _LEFT.items():
        # A check that was made at several places is named once, by the most that it says.
        left = dict.fromkeys(word_of(c["channel"]) for c in mine if (c["after"] or {}).get("state") == state)
        if left := {word: None for word in left if word not in named}:
            lines.append(f"{attribute} is {words}: {join_words(list(left))}.")
            named += left
    return lines


def _to_margin(now: Mapping[str, Any]) -> str:
    margin = now["margin"]
    if margin is None or now["value"] is None:
        return ""
    if now["state"] == "absent":
        return f", absent at the margin of {margin:g}"
    if now["high"] is not None and now["high"] < margin:
        return f", its whole interval below the margin of {margin:g}"
    return f", {'below' if now['value'] < margin else 'not below'} the margin of {margin:g} ({state_word(now['state'])})"


def _changes(models: Sequence[Sequence[Mapping[str, Any]]]) -> Iterable[tuple[str, ...]]:
    for index, model in enumerate(models, start=1):
        for site in model:
            cosine = DASH if site["cosine"] is None else number(site["cosine"], 2) + (" (given up)" if site["task_given_up"] else "")
            counts = (str(site[key]) for key in ("units", "rank", "rows"))
            yield (str(index), site["site"], *counts, f"{site['moved']:.1%}", number(site["norm"], 2), cosine)


def _numbers(channels: Iterable[Mapping[str, Any]]) -> Table:
    rows = []
    for c in channels:
        sides = (c["before"], c["after"])
        what = beside(word_of(c["channel"]), c["context"] or "")
        states = (DASH if side is None else state_word(side["state"]) for side in sides)
        rows.append((c["attribute"], what, c["site"] or "outputs", *map(_figure, sides), *states))
    return table("Numbers before and after", _CHANNELS, rows)


def _task(task: Mapping[str, Any]) -> Table | Para:
    if task["before"] is None or task["after"] is None:
        return para("The task was not measured in both.")
    loss = ", ".join(number(value) for value in task["loss_per_model"]) or DASH
    row = (task["unit"] or "", _figure(task["before"]), _figure(task["after"]), loss)
    return table("The task", ("Measure", "Before", "After", "Lost in each model"), [row])


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    if verdict is None:
        return DASH
    return f"{verdict['verdict']}, at least {verdict['at_least']}" if verdict["at_least"] else str(verdict["verdict"])


def _figure(shown: Mapping[str, Any] | None) -> str:
    return DASH if shown is None or shown["value"] is None else beside(number(shown["value"]), span(shown["low"], shown["high"]))
