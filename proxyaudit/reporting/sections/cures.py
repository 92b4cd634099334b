"""Cures that were tried: what altering the training rows leaves of the gap, and what it costs."""

from collections.abc import Iterable

from proxyaudit.channels.cures.estimate import AFFORDABLE
from proxyaudit.estimates.sentences import share_at_most
from proxyaudit.reporting.blocks import Block, Cell, Fold, Heading, Picture, Section, Terms, number_cell, para, share_cell, table
from proxyaudit.reporting.panels import AS_IT_IS, Ends, Spot, frontier_chart, frontier_ends
from proxyaudit.reporting.report import Report, ReportSection, rounding_note, side_by_side
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.text import DASH, join_names, percent, shorten
from proxyaudit.reporting.training import TriedView, best_cure

_OPENING = (
    "The training rows were altered in each of these ways, and models were trained on them and tested again. ",
    "Low and left is best: little is left of the gap, at little cost to the task. ",
    "Below zero models do it better. ",
)
_HELPS = "A cure helps where it surely makes the gap smaller, by over a tenth of what counts, in every model tried. "
_WIDE = "Intervals over two or three models are wide; over one they tell of rows alone."
_SHOWN = 4  # cures of each kind of training that leave least; the others are one click away
_ERASED = "One alters no rows: an eraser is put into the trained models. "


def cures(report: Report) -> Section | None:
    """A picture for each kind of training and a table for each attribute; nothing where no cure was tried."""
    blocks, scale = list[Block](), report.summary.scale
    header = ("Trained on", "Cure", f"Gap left, {scale.unit}", f"{scale.task.word} it costs", "Prominent, %")
    for index, view in enumerate(report.summary.attributes):
        rows = [row for row in view.rows if row.tried]
        if not rows:
            continue
        spots = {row.regime: _spots(row) for row in rows}
        gaps, margin = [row.gap for row in rows if row.gap is not None], report.summary.margins.get("gap")
        ends = frontier_ends(gaps, [spot for found in spots.values() for spot in found], margin)
        drawn = side_by_side(_picture(report, view, row, spots[row.regime], ends, f"c{index}n{k}") for k, row in enumerate(rows))
        shown, others = _cells(view, rows)
        blocks += [Heading(shorten(view.name, 80)), *drawn, table(f"Cures tried against {view.name}", header, shown)]
        if others:
            words = f"{len(others)} more that were tried"
            blocks.append(Fold(words, (table(f"More cures tried against {view.name}", header, others),)))
        blocks += [*rounding_note(e for row in rows for e in (row.gap, *(one.gap for one in row.tried))), Terms(tuple(_meanings(rows)))]
    if not blocks:
        return None
    said = f"{_OPENING[2]}{_HELPS}The answer names one that helps and costs at most {AFFORDABLE:g}. {_WIDE}"
    erased = any(not one.alters_rows for view in report.summary.attributes for row in view.rows for one in row.tried)
    return Section("cures", "Cures tried", (para(_OPENING[0], *([_ERASED] if erased else []), _OPENING[1], said), *blocks))


def _spots(row: Row) -> list[Spot]:
    return [Spot(one.name, one.cost, one.gap) for one in row.tried if one.gap and one.cost and None not in (one.gap.value, one.cost.value)]


def _picture(report: Report, view: AttributeView, row: Row, spots: list[Spot], ends: Ends, ident: str) -> Picture | None:
    if row.gap is None or row.gap.value is None:
        return None
    title = f"What cures leave of the gap of {view.name} after {row.regime}, against what they cost"
    margin, style = report.summary.margins.get("gap"), report.style(row.regime)
    svg = frontier_chart(row.gap, spots, margin, style, ends, ident=ident, title=title, scale=report.summary.scale)
    best = best_cure(row.tried, row.gap)
    told = f"Best at little cost: {best.name}." if best else "No cure that costs little surely helps."
    return Picture(svg, f"{shorten(view.name, 60)}, {row.regime}", told) if svg else None


def _meanings(rows: list[Row]) -> Iterable[tuple[str, str]]:
    """What each cure does; where that depends on the kind of training, a line for each."""
    told: dict[str, dict[str, list[str]]] = {}
    inside: dict[str, list[str]] = {}
    for row in rows:
        for one in row.tried:
            told.setdefault(one.name, {}).setdefault(one.words, []).append(row.regime)
            if not one.alters_rows:
                inside.setdefault(_left_inside(one), []).append(row.regime)
    for name, by_words in told.items():
        for words, regimes in by_words.items():
            yield f"{name}, after {join_names(regimes)}" if len(by_words) > 1 else name, words
    if inside:
        left = ", ".join(f"{much} after {join_names(regimes)}" for much, regimes in inside.items())
        yield "what the eraser leaves inside", f"found by a linear reader: {left}; other readers were not asked"
    yield AS_IT_IS, "the training rows as they are"


def _left_inside(one: TriedView) -> str:
    """What stays readable of what an eraser was put against: a smaller gap is no proof that it is gone."""
    if one.leak is None or one.leak.value is None or one.leak.high is None:
        return "not asked"
    return percent(one.leak.value) if one.readable else f"at most {share_at_most(one.leak.high)}"


def _cells(view: AttributeView, rows: list[Row]) -> tuple[list[list[Cell]], list[list[Cell]]]:
    """Of each kind of training the cures that leave the smallest gaps, the best one among them; and the others."""
    made, others = list[list[Cell]](), list[list[Cell]]()
    for row in rows:
        best = best_cure(row.tried, row.gap)
        own = view.inside.own.get(row.regime) if view.inside else None
        made.append(
            [Cell(row.regime), Cell(AS_IT_IS), share_cell(row.gap)._replace(lines=()), Cell(DASH), share_cell(own) if own else Cell("")]
        )
        for place, one in enumerate(sorted(row.tried, key=lambda one: one.left if one.left is not None else 2.0)):
            shown = (share_cell(one.gap), number_cell(one.cost))
            within = share_cell(one.prominence) if one.prominence else Cell("")
            chosen = made if place < _SHOWN or (best is not None and one.name == best.name) else others
            chosen.append([Cell(row.regime), Cell(one.name), *shown, within])
    return made, others


SECTION = ReportSection(15, cures, ("cure",))
