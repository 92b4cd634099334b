"""The first screen of a report: an answer for each attribute, the matrix, and the figures that decide."""

from __future__ import annotations

from dataclasses import replace

from proxyaudit.estimates.questions import word_of
from proxyaudit.reporting import charts
from proxyaudit.reporting.answers import answers_of, kept
from proxyaudit.reporting.blocks import Block, Cell, Heading, Inline, Picture, Pictures, Strong, Table, note, para, table, verdict_cell
from proxyaudit.reporting.facts import kinds, reference_words
from proxyaudit.reporting.report import Report, forest_numbers
from proxyaudit.reporting.summary import MANY, AttributeView, Row
from proxyaudit.reporting.text import percent, points, shorten, squeeze


def first_screen(report: Report) -> tuple[Block, ...]:
    """What answers the question: a sentence for each attribute, the matrix, and the figures that decide."""
    summary = report.summary
    if not summary.attributes:
        return (para("No attribute was audited."),)
    strongest = {view.attribute: view.strongest for view in report.proxies}
    texts = any(view.texts for view in report.proxies)
    answers, matrix = answers_of(summary, seeds=report.seeds, strongest=strongest, texts=texts), _matrix(report)
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
    pictures = deciding_pictures(report, first, "f0")
    if pictures:
        more = " The same for every attribute: under “Why each answer”." if len(summary.attributes) > 1 else ""
        read = "Lines: 95 % intervals (an arrow: it goes on). Dashed: the margin, the smallest amount that counts."
        named = {row.regime for row in first.references if row.regime in ("untrained", "placebo")}
        told = [part for key, words in reference_words(report.pack).items() if key in named for part in (Strong(f" {key}"), f": {words}.")]
        blocks += [Heading(f"The figures that decide, for {shorten(first.name, 60)}"), pictures, note(read, *told, more)]
    return tuple(blocks)


def _matrix(report: Report) -> Table:
    rows = []
    for view in report.summary.attributes:
        found = {row.regime: row for row in view.rows}
        name = Cell(shorten(view.name, 80), lines=("proxy",) if view.role == "proxy" else ())
        rows.append([name, *(_matrix_cell(report, found.get(regime)) for regime in report.summary.regimes)])
    regimes = report.summary.regimes
    made = table("Verdict for each attribute and kind of training data", ("Attribute", *(squeeze(name, 60) for name in regimes)), rows)
    told = kinds(report.pack)
    return replace(made, below=("", *(told.get(name, "") for name in regimes)))


def _matrix_cell(report: Report, row: Row | None) -> Cell:
    if row is None:
        return verdict_cell(None)
    compared = row.kept_inside is not None or row.kept_outside is not None
    lines: list[str] = []
    if row.kept_inside is not None:
        lines.append(f"inside {kept(row.kept_inside)}")
    elif not compared and row.leak is not None and row.leak.value is not None:
        lines.append(f"{percent(row.leak.value)} readable inside")
    if row.stronger is not None and row.stronger.value is not None:
        lines.append(f"{word_of(row.stronger.channel)} {percent(row.stronger.value)}")
    if row.kept_outside is not None:
        lines.append(f"outputs {kept(row.kept_outside)}")
    elif not compared and not report.summary.bare and row.gap is not None and row.gap.value is not None:
        lines.append(f"outputs differ by {points(row.gap.value)}")
    return verdict_cell(row.finding, lines)


def deciding_pictures(report: Report, view: AttributeView, ident: str) -> Pictures | None:
    """A forest plot for each of the numbers that decide."""
    wanted = [("Can it be read inside?", "leak", "Leak inside (0 nothing, 1 all)")]
    if not report.summary.bare:
        wanted += [
            ("Does it show in the outputs?", "gap", "Gap between groups (1 = 100 points)"),
            ("Does it move the outputs?", "effect", "Effect of swapping it (1 = 100 points)"),
        ]
    made: list[Picture] = []
    for index, (asks, field, axis) in enumerate(wanted):
        rows = [
            charts.ForestRow(row.regime, getattr(row, field), report.style(row.regime))
            for row in report.rows(view, ("untrained", "placebo"))
            if getattr(row, field) is not None
        ]
        title = f"{asks} {view.name}"
        svg = charts.forest_chart(rows, report.margin(field), axis=axis, ident=f"{ident}{'abc'[index]}", title=title)
        if svg:
            made.append(Picture(svg, asks, _AXES[field], numbers=forest_numbers(title, report.what, rows)))
    return Pictures(tuple(made)) if made else None


_AXES = {
    "leak": "Points right of the dashed line can be read.",
    "gap": "How far predictions differ between groups.",
    "effect": "How far predictions move when its trace inside is swapped.",
}
