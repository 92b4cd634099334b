"""The outputs' gap against the leak inside."""

from __future__ import annotations

from proxyaudit.reporting import charts
from proxyaudit.reporting.blocks import Block, Cell, Picture, Pictures, Section, number_cell, para, table
from proxyaudit.reporting.report import Report, estimates_blocks, technical
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.text import shorten

_EXPLAINED = (
    "A point is a kind of training data. High: it shows in the predictions. Right: it can be read inside the model. In the "
    "shaded corner, below and right of the dashed margins, a test of the predictions alone sees nothing although it is there: "
    "that is what “hidden” means. The verdict rests on all checks, so a point near a border may have another one than its place "
    "suggests."
)


def depth(report: Report) -> Section | None:
    """A point for each regime: the outputs' gap against the leak inside."""
    if report.summary.bare:
        return None
    views = report.summary.attributes
    pictures = [made for index, view in enumerate(views) if (made := depth_picture(report, view, f"o{index}")) is not None]
    folds: list[Block] = []
    for view in views:
        if numbers := view.of("expressed"):
            inside = estimates_blocks(report, numbers, f"Outputs for {view.name}")
            folds.append(technical(f"what shows in the outputs for {shorten(view.name, 80)}", *inside))
    blocks: tuple[Block, ...] = (
        (para(_EXPLAINED), Pictures(tuple(pictures))) if pictures else (para("Nothing to draw: output gaps or leaks are missing."),)
    )
    return Section("depth", "Surface against depth", (*blocks, *folds))


def depth_picture(report: Report, view: AttributeView, ident: str) -> Picture | None:
    """Gap and leak of one attribute, a point for each regime; nothing where none has both."""
    title = f"Output gap against leak inside for {view.name}"
    margins = (report.margin("leak"), report.margin("gap"))
    svg, names = charts.scatter_chart(view, report.summary.regimes, margins, ident=ident, title=title)
    if not svg:
        return None
    words = {row.regime: _verdict_word(report, row) for row in view.rows}
    rows = [row for row in report.rows(view) if row.regime in names]
    cells = [[Cell(row.regime), Cell(words.get(row.regime, "reference")), number_cell(row.leak), number_cell(row.gap)] for row in rows]
    beside = table(f"Inside and outside for {view.name}", (report.what, "Verdict", "Leak inside", "Output gap"), cells)
    return Picture(svg, view.name, "Square-root scales: small values are drawn apart.", report.legend(names, words), beside)


def _verdict_word(report: Report, row: Row) -> str:
    if row.finding is None:
        return ""
    word = report.summary.verdicts[row.finding.verdict]
    return f"{word.symbol} {word.word.lower()}" + (f", at least {row.finding.at_least}" if row.finding.at_least else "")


SECTION = ReportSection(40, depth, ("expressed",))
