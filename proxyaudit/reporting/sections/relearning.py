"""What a little training brings back, and how easily an attribute is got out."""

from __future__ import annotations

from proxyaudit.reporting import charts
from proxyaudit.reporting.blocks import Block, Bullets, Cell, Fold, Picture, Pictures, Section, Strong, note, number_cell, para, table
from proxyaudit.reporting.report import Report, estimates_blocks, technical
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.reporting.summary import AttributeView
from proxyaudit.reporting.text import beside, interval, number, percent, shorten
from proxyaudit.reporting.words import state_word
from proxyaudit.types import Estimate

_OPENING = (
    "Part of the model is trained again on a few labelled real rows, to see how fast the attribute comes back. Whatever "
    "the inputs carry can be learnt again, so it counts only if it comes back further than from an untrained model and "
    "than invented attributes do."
)
_EFFORT = (
    "For a linear reader: how much of the attribute's labels the activations save when they are sent one block after the other, how well "
    "a reader separates the groups after a few labelled rows, and how much of that mere memory could do. What only a non-linear reader "
    "finds does not show here. No verdict rests on these."
)
_PART = "last block"


def relearning(report: Report) -> Section | None:
    """What a little fine-tuning brings back, and how easily it is got out; nothing where neither was measured."""
    views = report.summary.attributes
    pictures = tuple(made for index, view in enumerate(views) if (made := _picture(report, view, f"r{index}")) is not None)
    lines = [
        (
            Strong(view.name),
            f", {e.regime}: {beside(number(e.value), interval(e))}, {state_word(e.state)}{f': {e.reason}' if e.reason else ''}",
        )
        for view in views
        for e in view.of("relearned")
        if e.state is not None and e.regime in report.summary.regimes
    ]
    blocks: list[Block] = [para(_OPENING)] if pictures or lines else []
    if pictures:
        blocks.append(Pictures(pictures))
    if lines:
        decided = note("Excess over both references with 256 rows (negative: less than from the references):")
        blocks.append(Fold("What the relearning check found", (decided, Bullets(tuple(lines)))))
    for view in views:
        name = shorten(view.name, 80)
        if numbers := view.of("relearned"):
            blocks.append(technical(f"relearning for {name}", *estimates_blocks(report, numbers, f"Relearning for {view.name}")))
        if numbers := view.of("effort"):
            inside = estimates_blocks(report, numbers, f"Effort for {view.name}")
            blocks.append(technical(f"how easily {name} is got out", note(_EFFORT), *inside))
    title = "Does it come back with a little training" if pictures or lines else "How easily it is got out"
    return Section("relearning", title, tuple(blocks)) if blocks else None


def _picture(report: Report, view: AttributeView, ident: str) -> Picture | None:
    """The leak after training the last block again, over the rows that it was trained on."""
    curve = [(e, rows) for e in view.of("relearned") if e.value is not None and (rows := _rows(e)) is not None]
    lines: dict[str, list[tuple[float, Estimate]]] = {}
    for e, rows in curve:
        if e.regime != "placebo":
            lines.setdefault(e.regime, []).append((rows, e))
    order = [name for name in (*report.summary.regimes, "reweighed", "untrained") if name in lines]
    curves = [charts.Curve(name, tuple(sorted(lines[name], key=lambda point: point[0])), report.style(name)) for name in order]
    placebos = [(rows, e) for e, rows in curve if e.regime == "placebo"]
    largest = max(placebos, key=lambda point: point[1].value or 0.0, default=None)
    if curves and largest is not None:
        curves.append(charts.Curve("placebo", (largest,), report.style("placebo")))
    title = f"Leak after training the last block again on a few rows: {view.name}"
    svg = charts.curve_chart(curves, None, axis=("Labelled real rows used", "Leak reached"), ident=ident, title=title, logarithmic=True)
    if not svg:
        return None
    counts = sorted({x for one in curves for x, _ in one.points})
    cells = [[Cell(one.name), *(number_cell(dict(one.points).get(x)) for x in counts)] for one in curves]
    numbers = table(f"Relearning curve for {view.name}", (report.what, *(f"{x:g} rows" for x in counts)), cells)
    caption = "How much can be read after that" + (f"; the largest placebos reach {percent(largest[1].value)}." if largest else ".")
    legend = report.legend((one.name for one in curves), {"placebo": "reference, 95th percentile"})
    return Picture(svg, view.name, caption, legend, numbers)


def _rows(e: Estimate) -> float | None:
    """The rows of a point of the curve, whose subject is "last block, 256 rows"; nothing for other parts and other numbers."""
    part, _, rows = (e.subject or "").rpartition(", ")
    count = rows.removesuffix(" rows")
    return float(count) if e.measure == "curve" and part == _PART and count.isdecimal() else None


SECTION = ReportSection(90, relearning, ("relearned", "effort"))
