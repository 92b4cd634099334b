"""Why each answer: sentences and pictures first, figures and checks below."""

from __future__ import annotations

from proxyaudit.estimates.questions import all_questions, word_of
from proxyaudit.reporting.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Heading,
    Inline,
    Section,
    Strong,
    Table,
    figure_cell,
    note,
    table,
    verdict_cell,
)
from proxyaudit.reporting.facts import margin_words, reference_words
from proxyaudit.reporting.first import deciding_pictures
from proxyaudit.reporting.report import Report, technical
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.text import capital, number, shorten, squeeze
from proxyaudit.reporting.words import CHANGES, STATES, checks, plain_word


def why(report: Report) -> Section:
    """The reasons for each attribute, with its figures and checks one click below."""
    summary = report.summary
    margins = margin_words(report.pack.plan)
    explained = (
        "Values with 95 % intervals over the rows given."
        if summary.bare
        else "“Present” means: found in every one of the trained models. The interval answers another question, how far the number would "
        "move if the training were repeated; with two or three repetitions it is wide."
    )
    blocks: list[Block] = [note(explained + (f" Margins, the smallest amounts that count: {margins}." if margins else ""))]
    for index, view in enumerate(summary.attributes):
        blocks.append(Heading(shorten(view.name, 80)))
        blocks.append(Bullets(tuple((Strong(squeeze(row.regime, 60)), f": {row.finding.sentence}") for row in view.rows if row.finding)))
        pictures = deciding_pictures(report, view, f"f{index}") if index else None
        if pictures:
            blocks.append(pictures)
        inside: list[Block] = [_table(report, view), _checks(report, view), Bullets(tuple(_technical(report, row) for row in view.rows))]
        named = {row.regime for row in view.references}
        references = [(Strong(key), f" (reference): {words}.") for key, words in reference_words(report.pack).items() if key in named]
        if references:
            inside.append(Bullets(tuple(references)))
        blocks.append(technical(f"figures and checks for {shorten(view.name, 80)}", *inside))
    return Section("why", "Why each answer", tuple(blocks))


def _table(report: Report, view: AttributeView) -> Table:
    bare = report.summary.bare
    rows: list[list[Cell]] = []
    for row in (*view.rows, *view.references):
        placebo = [f"placebos up to {number(row.placebo_leak.value)}"] if row.placebo_leak and row.placebo_leak.value is not None else []
        if row.stronger is not None and row.stronger.value is not None:
            stronger = figure_cell(row.stronger)
            placebo.append(f"{word_of(row.stronger.channel)} {stronger.text} ({stronger.beside}): {stronger.lines[0]}")
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
    header = (report.what, "Verdict", "Leak inside", *(() if bare else ("Output gap", "Interchange effect")), "Against real")
    return table(f"Deciding figures for {view.name}", header, rows, references=range(len(view.rows), len(rows)))


def _checks(report: Report, view: AttributeView) -> Table:
    channels = checks(bare=report.summary.bare)
    header = (report.what, *(all_questions()[name].word or capital(word_of(name)) for name in channels))
    rows = [[Cell(row.regime), *(Cell(" ".join(STATES[row.states[key]]), look="state") for key in channels)] for row in view.rows]
    return table(f"What each check found for {view.name}", header, rows)


def _technical(report: Report, row: Row) -> tuple[Inline, ...]:
    finding = row.finding
    if finding is None:
        return (Strong(row.regime), ": no verdict.")
    bare = report.summary.bare
    said = [f"inside: {plain_word(finding.encoding)}{_origin(finding.origin.encoding)}"]
    if not bare:
        said.append(f"use: {', '.join(map(word_of, finding.use))}{_origin(finding.origin.use)}")
    if finding.basis:
        said.append(f"basis: {plain_word(finding.basis)}")
    if not bare:
        said.append(f"recoverable: {', '.join(map(word_of, finding.recoverable))}")
    if finding.mechanisms:
        said.append(f"decided by: {', '.join(map(word_of, finding.mechanisms))}")
    parts: list[Inline] = [Strong(row.regime), ": " + "; ".join(said)]
    if finding.decided_by:
        parts += [" (", Code(", ".join(finding.decided_by)), ")"]
    settle = f". What would settle it: {finding.would_settle.rstrip('.')}" if finding.would_settle else ""
    return (*parts, f"{settle}.")


def _origin(word: str) -> str:
    return f" ({word})" if word in ("learned", "relayed") else ""


SECTION = ReportSection(20, why)
