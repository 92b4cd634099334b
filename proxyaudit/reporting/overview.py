"""The first screen of a report, the audit in short, and the figures that decide."""

from __future__ import annotations

from dataclasses import replace

from proxyaudit.reporting import charts
from proxyaudit.reporting.answers import answers_of, kept, percent, points
from proxyaudit.reporting.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Fold,
    Heading,
    Inline,
    Picture,
    Pictures,
    Section,
    Strong,
    Table,
    figure_cell,
    note,
    para,
    table,
    verdict_cell,
)
from proxyaudit.reporting.context import Context, forest_numbers
from proxyaudit.reporting.facts import kinds, margin_words, reference_words
from proxyaudit.reporting.summary import MANY, AttributeView, Row
from proxyaudit.reporting.text import number, shorten, squeeze
from proxyaudit.reporting.words import CHANGES, CHANNEL_WORDS, CHANNELS_OF_ACTIVATIONS, STATES, channel_word, plain_word
from proxyaudit.types import Finding

__all__ = ["figures", "first_screen"]


def first_screen(context: Context) -> tuple[Block, ...]:
    """Return what answers the question: a sentence for each attribute, the matrix, and the figures that decide."""
    summary = context.summary
    if not summary.attributes:
        return (para("No attribute was audited."),)
    strongest = {view.attribute: view.strongest for view in context.proxies}
    texts = any(view.texts for view in context.proxies)
    answers, matrix = answers_of(summary, seeds=context.seeds, strongest=strongest, texts=texts), _matrix(context)
    # Many answers would push the matrix far down.
    blocks: list[Block] = [matrix, answers] if len(summary.attributes) > MANY else [answers, matrix]
    told: list[Inline] = []
    for word in summary.verdicts.values():
        told += [Strong(f"{word.symbol} {word.word}"), f": {word.meaning}. "]
    below = (
        "Below each verdict the share of all there is to know of the attribute that can be read, or how much of real's share is kept. "
        if summary.bare
        else "Below each verdict: how much of what real training leaves inside and shows outside is kept (100 %: as much as with "
        "real data), with 95 % intervals. "
    )
    blocks.append(note(below, *told))
    first = summary.attributes[0]
    pictures = _pictures(context, first, "f0")
    if pictures:
        more = " The same for every attribute: under “Why each answer”." if len(summary.attributes) > 1 else ""
        read = "Lines: 95 % intervals (an arrow: it goes on). Dashed: the margin, the smallest amount that counts."
        named = {row.regime for row in first.references if row.regime in ("untrained", "placebo")}
        told = [part for key, words in reference_words(context.pack).items() if key in named for part in (Strong(f" {key}"), f": {words}.")]
        blocks += [Heading(f"The figures that decide, for {shorten(first.name, 60)}"), pictures, note(read, *told, more)]
    return tuple(blocks)


def figures(context: Context) -> Section:
    """Return why each answer: sentences and pictures first, figures and checks below."""
    summary = context.summary
    margins = margin_words(context.pack.plan)
    explained = (
        "Values with 95 % intervals over the rows given."
        if summary.bare
        else "“Present” means: found in every one of the trained models. The interval answers another question, how far the number would "
        "move if the training were repeated; with two or three repetitions it is wide."
    )
    blocks: list[Block] = [note(explained + (f" Margins, the smallest amounts that count: {margins}." if margins else ""))]
    for index, view in enumerate(summary.attributes):
        blocks.append(Heading(shorten(view.name, 80)))
        blocks.append(Bullets(tuple(_reason(row.regime, row.finding) for row in view.rows if row.finding is not None)))
        pictures = _pictures(context, view, f"f{index}") if index else None
        if pictures:
            blocks.append(pictures)
        inside: list[Block] = [_table(context, view), _checks(context, view), Bullets(tuple(_technical(context, row) for row in view.rows))]
        named = {row.regime for row in view.references}
        references = [(Strong(key), f" (reference): {words}.") for key, words in reference_words(context.pack).items() if key in named]
        if references:
            inside.append(Bullets(tuple(references)))
        blocks.append(Fold(f"Technical reading: figures and checks for {shorten(view.name, 80)}", tuple(inside)))
    return Section("why", "Why each answer", tuple(blocks))


def _matrix(context: Context) -> Table:
    rows = []
    for view in context.summary.attributes:
        found = {row.regime: row for row in view.rows}
        name = Cell(shorten(view.name, 80), lines=("proxy",) if view.role == "proxy" else ())
        rows.append([name, *(_matrix_cell(context, found.get(regime)) for regime in context.summary.regimes)])
    regimes = context.summary.regimes
    made = table("Verdict for each attribute and kind of training data", ("Attribute", *(squeeze(name, 60) for name in regimes)), rows)
    told = kinds(context.pack)
    return replace(made, below=("", *(told.get(name, "") for name in regimes)))


def _matrix_cell(context: Context, row: Row | None) -> Cell:
    if row is None:
        return verdict_cell(None)
    compared = row.kept_inside is not None or row.kept_outside is not None
    lines: list[str] = []
    if row.kept_inside is not None:
        lines.append(f"inside {kept(row.kept_inside)}")
    elif not compared and row.leak is not None and row.leak.value is not None:
        lines.append(f"{percent(row.leak.value)} readable inside")
    if row.stronger is not None and row.stronger.value is not None:
        lines.append(f"{channel_word(row.stronger.channel)} {percent(row.stronger.value)}")
    if row.kept_outside is not None:
        lines.append(f"outputs {kept(row.kept_outside)}")
    elif not compared and not context.summary.bare and row.gap is not None and row.gap.value is not None:
        lines.append(f"outputs differ by {points(row.gap.value)}")
    return verdict_cell(row.finding, lines)


def _pictures(context: Context, view: AttributeView, ident: str) -> Pictures | None:
    """Return a forest plot for each of the numbers that decide."""
    wanted = [("Can it be read inside?", "leak", "Leak inside (0 nothing, 1 all)")]
    if not context.summary.bare:
        wanted += [
            ("Does it show in the outputs?", "gap", "Gap between groups (1 = 100 points)"),
            ("Does it move the outputs?", "effect", "Effect of swapping it (1 = 100 points)"),
        ]
    made: list[Picture] = []
    for index, (asks, field, axis) in enumerate(wanted):
        rows = [
            charts.ForestRow(row.regime, getattr(row, field), context.style(row.regime))
            for row in context.rows(view, ("untrained", "placebo"))
            if getattr(row, field) is not None
        ]
        title = f"{asks} {view.name}"
        svg = charts.forest_chart(rows, context.margin(field), axis=axis, ident=f"{ident}{'abc'[index]}", title=title)
        if svg:
            made.append(Picture(svg, asks, _AXES[field], numbers=forest_numbers(title, context.what, rows)))
    return Pictures(tuple(made)) if made else None


_AXES = {
    "leak": "Points right of the dashed line can be read.",
    "gap": "How far predictions differ between groups.",
    "effect": "How far predictions move when its trace inside is swapped.",
}


def _reason(regime: str, finding: Finding | None) -> tuple[Inline, ...]:
    assert finding is not None
    return (Strong(squeeze(regime, 60)), f": {finding.sentence}")


def _table(context: Context, view: AttributeView) -> Table:
    bare = context.summary.bare
    rows: list[list[Cell]] = []
    for row in (*view.rows, *view.references):
        placebo = [f"placebos up to {number(row.placebo_leak.value)}"] if row.placebo_leak and row.placebo_leak.value is not None else []
        if row.stronger is not None and row.stronger.value is not None:
            stronger = figure_cell(row.stronger)
            placebo.append(f"{channel_word(row.stronger.channel)} {stronger.text} ({stronger.beside}): {stronger.lines[0]}")
        cells = [
            Cell(row.regime),
            verdict_cell(row.finding) if row in view.rows else Cell("reference"),
            figure_cell(row.leak, lines=placebo),
        ]
        if not bare:
            beside = [f"placebos up to {number(row.placebo_gap.value)}"] if row.placebo_gap and row.placebo_gap.value is not None else []
            if row.output_leak is not None and row.output_leak.value is not None:
                leak = figure_cell(row.output_leak)
                beside.append(f"output leak {leak.text}: {leak.lines[0]}")
            cells += [figure_cell(row.gap, lines=beside), figure_cell(row.effect)]
        change = row.finding.change if row.finding else None
        told = [f"inside: {CHANGES[change.encoding]}"] if change else []
        told += [f"use: {CHANGES[change.use]}"] if change and not bare else []
        rows.append([*cells, Cell("", lines=tuple(told))])
    header = (context.what, "Verdict", "Leak inside", *(() if bare else ("Output gap", "Interchange effect")), "Against real")
    references = frozenset(range(len(view.rows), len(rows)))
    return table(f"Deciding figures for {view.name}", header, rows, references=references)


def _checks(context: Context, view: AttributeView) -> Table:
    channels = CHANNELS_OF_ACTIVATIONS if context.summary.bare else tuple(CHANNEL_WORDS)
    header = (context.what, *(CHANNEL_WORDS[key][0] for key in channels))
    rows = [[Cell(row.regime), *(Cell(" ".join(STATES[row.states[key]]), look="state") for key in channels)] for row in view.rows]
    return table(f"What each check found for {view.name}", header, rows)


def _technical(context: Context, row: Row) -> tuple[Inline, ...]:
    finding = row.finding
    if finding is None:
        return (Strong(row.regime), ": no verdict.")
    bare = context.summary.bare
    said = [f"inside: {plain_word(finding.encoding)}{_origin(finding.origin.encoding)}"]
    if not bare:
        said.append(f"use: {', '.join(map(channel_word, finding.use))}{_origin(finding.origin.use)}")
    if finding.basis:
        said.append(f"basis: {plain_word(finding.basis)}")
    if not bare:
        said.append(f"recoverable: {', '.join(map(channel_word, finding.recoverable))}")
    if finding.mechanisms:
        said.append(f"decided by: {', '.join(map(channel_word, finding.mechanisms))}")
    parts: list[Inline] = [Strong(row.regime), ": " + "; ".join(said)]
    if finding.decided_by:
        parts += [" (", Code(", ".join(finding.decided_by)), ")"]
    settle = f". What would settle it: {finding.would_settle.rstrip('.')}" if finding.would_settle else ""
    return (*parts, f"{settle}.")


def _origin(word: str) -> str:
    return f" ({word})" if word in ("learned", "relayed") else ""
