"""Cures that were tried: what altering the training rows leaves of the gap, and what it costs."""

from proxyaudit.channels.cures.estimate import AFFORDABLE
from proxyaudit.reporting.blocks import Block, Cell, Heading, Picture, Section, Terms, number_cell, para, share_cell, table
from proxyaudit.reporting.panels import Ends, Spot, frontier_chart, frontier_ends
from proxyaudit.reporting.report import Report, ReportSection, side_by_side
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.text import shorten
from proxyaudit.reporting.training import best_cure

_OPENING = (
    "The training rows were altered in each of these ways, and models were trained on them and tested again. ",
    "Low and left is best: little is left of the gap, and it costs little of how well the models do their task. ",
    "Below zero a cure makes them better. ",
)
_HEADER = ("Trained on", "Cure", "Gap left, points", "AUROC it costs", "Prominent, %")


def cures(report: Report) -> Section | None:
    """A picture for each kind of training and a table for each attribute; nothing where no cure was tried."""
    blocks: list[Block] = []
    for index, view in enumerate(report.summary.attributes):
        rows = [row for row in view.rows if row.tried]
        if not rows:
            continue
        spots = {row.regime: _spots(row) for row in rows}
        gaps, margin = [row.gap for row in rows if row.gap is not None], report.summary.margins.get("gap")
        ends = frontier_ends(gaps, [spot for found in spots.values() for spot in found], margin)
        drawn = side_by_side(_picture(report, view, row, spots[row.regime], ends, f"c{index}n{k}") for k, row in enumerate(rows))
        means = dict.fromkeys((one.name, one.words) for row in rows for one in row.tried)
        blocks += [Heading(shorten(view.name, 80)), *drawn, table(f"Cures tried against {view.name}", _HEADER, _cells(rows))]
        blocks.append(Terms(tuple(means)))
    if not blocks:
        return None
    said = f"{_OPENING[2]}A cure is named in the answer where it surely makes the gap smaller and costs at most {AFFORDABLE:g}."
    return Section("cures", "Cures tried", (para(*_OPENING[:2], said), *blocks))


def _spots(row: Row) -> list[Spot]:
    return [Spot(one.name, one.cost, one.gap) for one in row.tried if one.gap and one.cost and None not in (one.gap.value, one.cost.value)]


def _picture(report: Report, view: AttributeView, row: Row, spots: list[Spot], ends: Ends, ident: str) -> Picture | None:
    if row.gap is None or row.gap.value is None:
        return None
    title = f"What cures leave of the gap of {view.name} after {row.regime}, against what they cost"
    svg = frontier_chart(row.gap, spots, report.summary.margins.get("gap"), report.style(row.regime), ends, ident=ident, title=title)
    best = best_cure(row.tried, row.gap)
    told = f"Best at little cost: {best.name}." if best else "No cure that costs little surely helps."
    return Picture(svg, f"{shorten(view.name, 60)}, {row.regime}", told) if svg else None


def _cells(rows: list[Row]) -> list[list[Cell]]:
    made = []
    for row in rows:
        for one in sorted(row.tried, key=lambda one: one.left if one.left is not None else 2.0):
            shown = (share_cell(one.gap), number_cell(one.cost))
            within = share_cell(one.prominence) if one.prominence else Cell("")
            made.append([Cell(row.regime), Cell(one.name), *shown, within])
    return made


SECTION = ReportSection(15, cures, ("cure",))
