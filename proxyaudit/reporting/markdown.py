"""The report as Markdown: the same content in tables, for repositories and reviews."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.facts import command, facts, failures, hash_lines, made, margin_words
from proxyaudit.reporting.localisation import localisation_blocks
from proxyaudit.reporting.proxies import PROXY_NOTE, ProxyView, proxy_views
from proxyaudit.reporting.summary import AttributeView, Row, Summary, summarize
from proxyaudit.reporting.text import DASH, interval, number, visible
from proxyaudit.reporting.words import (
    CHANGES,
    CHANNEL_WORDS,
    CHANNELS_OF_ACTIVATIONS,
    EFFORT_NOTE,
    GLOSSARY,
    REFERENCE_WORDS,
    STATES,
    VERDICTS,
    WORDS_OF_MODELS,
    channel_word,
    plain_word,
    state_word,
    verdict_glossary,
)
from proxyaudit.types import Estimate, Finding

__all__ = ["escape", "render_markdown"]

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "|": "&#124;", "`": "&#96;", "\\": "&#92;"}
# Everything that means something to Markdown; an underscore inside a word does not.
_MARKS = re.compile(r"[&<>$|`\\*\[\]#~!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|://|\bwww\.")
_ADDRESSES = {"://": "&#58;//", "www.": "www&#46;"}


def escape(text: str) -> str:
    r"""Return ``text`` so that Markdown shows it as it is: no HTML, no link, no table cell, no formula.

    >>> escape("a|b <i>*x*</i> gaussian_copula")
    'a&#124;b &lt;i&gt;\\*x\\*&lt;/i&gt; gaussian_copula'
    """
    return _MARKS.sub(_harmless, visible(text))


def _harmless(match: re.Match[str]) -> str:
    # Bare addresses would become links; backslashes do not stop that.
    return _ADDRESSES.get(match[0]) or _ENTITIES.get(match[0], "\\" + match[0])


def render_markdown(pack: EvidencePack) -> str:
    """Return the report of a pack as Markdown. Pure: the same pack gives the same text."""
    summary = summarize(pack)
    run = pack.evidence.run
    dated = f", {escape(summary.date)}" if summary.date else ""
    parts = [f"# {escape(summary.question)}", f"proxyaudit report, {escape(run.name)}, run {escape(run.id)}{dated}"]
    if run.status != "complete":
        parts.append("**This run is partial.** A task failed, so some figures are missing.")
        parts.append("\n".join(f"- {escape(line)}" for line in failures(pack)))
    parts += [f"**{escape(view.name)}** ({view.role}): {escape(view.answer)}" for view in summary.attributes]
    parts += [_matrix(summary), " ".join(f"{word.symbol} **{word.word}**: {word.meaning}." for word in summary.verdicts.values())]
    margins = margin_words(pack.plan)
    explained = (
        "Values with 95 % intervals over the rows given."
        if summary.bare
        else 'Values with 95 % intervals over rows and repetitions of the training (wide with two or three of them); "present" means found '
        "in every trained model."
    )
    parts += ["## The figures that decide", explained + (f" Margins: {escape(margins)}." if margins else "")]
    parts += [block for view in summary.attributes for block in _figures(view, bare=summary.bare)]
    shown = {row.regime for view in summary.attributes for row in view.references}
    parts += [f"- **{key}** (reference): {words}" for key, words in REFERENCE_WORDS.items() if key in shown]
    parts += ["## Why each answer", *(block for view in summary.attributes for block in _reasons(view, bare=summary.bare))]
    parts += ["## Where in the model it sits", *(block for view in summary.attributes for block in _profile(view))]
    if any(view.effort for view in summary.attributes):
        parts += ["## How easily it is got out", EFFORT_NOTE, _estimates(e for view in summary.attributes for e in view.effort)]
    if not summary.bare:
        parts += ["## In the outputs", _estimates(e for view in summary.attributes for e in view.expressed)]
        parts += ["## Does the model use it", _estimates(e for view in summary.attributes for e in view.used)]
    proxies = proxy_views(pack)
    parts += ["## Proxies", PROXY_NOTE, *(block for view in proxies for block in _proxies(view))] if proxies else []
    parts += localisation_blocks(pack, escape, _table)
    parts += ["## Controls", *_controls(summary, pack)]
    parts += ["## Not tested", _table(("What", "Why"), [(item.what, item.why) for item in pack.evidence.not_tested])]
    parts += ["## Data and training", *_data(summary, pack)]
    parts += ["## What the words mean", "\n".join(f"- **{escape(term)}**: {escape(text)}" for term, text in _glossary(summary))]
    parts += ["## Reproduce", *_reproduce(pack)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _glossary(summary: Summary) -> list[tuple[str, str]]:
    terms = [item for item in GLOSSARY if not summary.bare or item[0] not in WORDS_OF_MODELS]
    return [*verdict_glossary(summary.verdicts), *terms]


def _matrix(summary: Summary) -> str:
    rows: list[tuple[str, ...]] = []
    for view in summary.attributes:
        findings = {row.regime: row.finding for row in view.rows}
        rows.append((view.name, *(_verdict(findings.get(regime)) for regime in summary.regimes)))
    return _table(("Attribute", *summary.regimes), rows)


def _verdict(finding: Finding | None) -> str:
    if finding is None:
        return DASH
    word = VERDICTS[finding.verdict]
    return f"{word.symbol} {word.word}" + (f" (at least {finding.at_least})" if finding.at_least else "")


def _figures(view: AttributeView, *, bare: bool) -> list[str]:
    def line(row: Row) -> tuple[str, ...]:
        finding = row.finding
        change = f"inside {CHANGES[finding.change.encoding]}, use {CHANGES[finding.change.use]}" if finding else ""
        leak = row.output_leak
        beside = f"; output leak {number(leak.value)}, {state_word(leak.state)}" if leak and leak.value is not None else ""
        verdict = _verdict(finding) if row in view.rows else "reference"
        kind = f"inside {CHANGES[finding.change.encoding]}" if bare and finding else change
        inside = _figure(row.leak) + (f"; {channel_word(row.stronger.channel)} {_figure(row.stronger)}" if row.stronger else "")
        if bare:
            return (row.regime, verdict, inside, kind)
        return (row.regime, verdict, inside, _figure(row.gap) + beside, _figure(row.effect), change)

    header: tuple[str, ...] = ("Training data", "Verdict", "Leak inside", "Output gap", "Interchange effect", "Against real")
    if bare:
        header = ("Activations", "Verdict", "Leak inside", "Against real")
    return [f"### {escape(view.name)}", _table(header, [line(row) for row in (*view.rows, *view.references)])]


def _figure(estimate: Estimate | None) -> str:
    if estimate is None:
        return f"{DASH} not measured"
    ends = interval(estimate)
    text = number(estimate.value) + (f" ({ends})" if ends else "") + f", {state_word(estimate.state)}"
    return text + (f": {estimate.reason}" if estimate.reason else "")


def _reasons(view: AttributeView, *, bare: bool) -> list[str]:
    channels = CHANNELS_OF_ACTIVATIONS if bare else tuple(CHANNEL_WORDS)
    header = ("Activations" if bare else "Training data", *(CHANNEL_WORDS[key][0] for key in channels))
    rows = [(row.regime, *(" ".join(STATES[row.states[key]]) for key in channels)) for row in view.rows]
    blocks = [f"### {escape(view.name)}", _table(header, rows)]
    for row in view.rows:
        finding = row.finding
        if finding is not None:
            settle = f" What would settle it: {finding.would_settle.rstrip('.')}." if finding.would_settle else ""
            blocks.append(f"- **{escape(row.regime)}**: {escape(finding.sentence + settle)}{_decided(finding)}")
    return blocks


def _decided(finding: Finding) -> str:
    by = ", ".join(channel_word(name) for name in finding.mechanisms)
    return f" Decided by: {escape(by)} ({escape(', '.join(finding.decided_by))})." if by else ""


def _profile(view: AttributeView) -> list[str]:
    profile = view.profile
    if not profile.series:
        return []
    rows = []
    for series in profile.series:
        values = dict(series.points)
        rows.append((series.name, *(f"{number(values[s].value)} ({interval(values[s])})" if s in values else DASH for s in profile.sites)))
    if profile.band:
        rows.append(("placebos, 95th percentile", *(number(profile.band.get(site)) for site in profile.sites)))
    return [f"### Leak inside for {escape(view.name)}", _table(("Training data", *profile.sites), rows)]


def _estimates(estimates: Iterable[Estimate]) -> str:
    header = ("Id", "Attribute", "Training data", "Site", "What", "Value", "State", "Null 95 %", "Rows", "Models")
    rows = [
        (
            e.id,
            e.attribute or DASH,
            e.regime,
            e.site or "outputs",
            "; ".join(part for part in (e.group, e.context) if part) or "main figure",
            number(e.value) + (f" ({interval(e)})" if interval(e) else ""),
            state_word(e.state) + (f": {e.reason}" if e.reason else ""),
            number(e.null_high),
            DASH if e.n is None else str(e.n),
            DASH if e.seeds is None else str(e.seeds),
        )
        for e in estimates
    ]
    return _table(header, rows) if rows else "Nothing was measured."


def _proxies(view: ProxyView) -> list[str]:
    blocks = [f"### Proxies of {escape(view.attribute)}", f"**{escape(view.answer)}**"]
    for table in view.tables:
        blocks += [f"{escape(table.title)}.", _table(table.header, table.rows) if table.rows else ""]
        blocks.append("\n".join(f"- {escape(remark)}" for remark in table.remarks))
    return blocks


def _controls(summary: Summary, pack: EvidencePack) -> list[str]:
    if not summary.controls:
        return ["No control was run."]
    rows = [(plain_word(kind), channel_word(channel), *map(str, counts)) for kind, channel, *counts in summary.controls]
    blocks = [_table(("Control", "Check", "Passed", "Failed", "Could not be run"), rows)]
    notable = [c for c in pack.evidence.controls if c.passed is not True]
    header = ("Id", "Control", "Result", "Attribute", "Training data", "Site", "Detail")
    lines = [
        (c.id, plain_word(c.kind), "failed" if c.passed is False else "not run", c.attribute or DASH, c.regime, c.site or DASH, c.detail)
        for c in notable
    ]
    return [*blocks, _table(header, lines)] if lines else blocks


def _data(summary: Summary, pack: EvidencePack) -> list[str]:
    rows = [(item.name, item.how, item.rows, item.saw) for item in made(pack)]
    blocks = [_table(("Training data", "Made how", "Rows", "Did its maker see the protected columns"), rows)]
    blocks.append("\n".join(f"- **{escape(term)}**: {escape(text)}" for term, text in facts(pack)))
    if summary.task:
        lines = [
            (e.regime, channel_word(e.channel), e.context or "", number(e.value) + (f" ({interval(e)})" if interval(e) else ""), e.unit)
            for e in summary.task
        ]
        blocks.append(_table(("Training data", "Measure", "What", "Value", "Unit"), lines))
    return blocks


def _reproduce(pack: EvidencePack) -> list[str]:
    run = pack.evidence.run
    versions = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
    lines = [("Plan digest", run.plan_digest), ("Root seed", str(run.seed)), ("Versions", versions)]
    lines += [(f"sha256 of {name}", value) for name, value in hash_lines(pack)]
    return ["    " + visible(command(pack)), "\n".join(f"- **{escape(term)}**: {escape(text)}" for term, text in lines)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a pipe table with every cell escaped."""
    lines = [_line(header), "|" + "---|" * len(header), *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"
