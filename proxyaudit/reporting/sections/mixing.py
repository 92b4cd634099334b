"""How leak, gap and effect move along a mixture of real and synthetic rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxyaudit.evidence.plans import entries
from proxyaudit.reporting import charts
from proxyaudit.reporting.blocks import Cell, Picture, Pictures, Section, number_cell, para, table
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.svg import Style
from proxyaudit.reporting.text import number


def mixing(report: Report) -> Section | None:
    """Curves over the share of synthetic rows; nothing without a mixture."""
    mixed = _mixtures(report.pack.plan)
    pictures: list[Picture] = []
    for index, view in enumerate(report.summary.attributes):
        rows = {row.regime: row for row in view.rows}
        for count, (of, shares) in enumerate(mixed.items()):
            ends = {0.0: rows.get("real"), **{share: rows.get(name) for share, name in shares.items()}, 1.0: rows.get(of)}
            at = {share: row for share, row in sorted(ends.items()) if row is not None}
            picture = _mixing_picture(report, view, of, at, f"m{index}n{count}") if len(at) > 1 else None
            if picture:
                pictures.append(picture)
    if not pictures:
        return None
    explained = (
        "How much is inside, shows and acts as real rows are replaced by synthetic ones (0 = real rows alone, 1 = synthetic rows alone). "
        "A line that falls to the right says that the synthetic rows lower it."
    )
    return Section("mixing", "Mixing real and synthetic rows", (para(explained), Pictures(tuple(pictures))))


_MEASURES = (
    ("leak inside", "leak", Style("k0", "circle")),
    ("output gap", "gap", Style("k1", "square", (6, 2))),
    ("interchange effect", "effect", Style("k2", "up", (2, 1.5))),
)


def _mixing_picture(report: Report, view: AttributeView, of: str, at: Mapping[float, Row], ident: str) -> Picture | None:
    curves: list[charts.Curve] = []
    for name, field, style in _MEASURES:
        points = tuple((share, e) for share, row in at.items() if (e := getattr(row, field)) is not None and e.value is not None)
        if points:
            curves.append(charts.Curve(name, points, style))
    title = f"Real rows mixed with {of} rows: {view.name}"
    axis = (f"Share of {charts.label(of)} rows", "Leak, gap, effect")
    svg = charts.curve_chart(curves, None, axis=axis, ident=ident, title=title, ticks=tuple(at))
    if not svg:
        return None
    rows = [
        [Cell(number(share, 2)), Cell(row.regime, look="name"), *(number_cell(getattr(row, field)) for _, field, _ in _MEASURES)]
        for share, row in at.items()
    ]
    numbers = table(
        f"Mixture with {of} for {view.name}", ("Synthetic share", report.what, "Leak inside", "Output gap", "Interchange effect"), rows
    )
    legend = tuple(charts.key(curve.name, curve.style) for curve in curves)
    return Picture(svg, f"{view.name}, {of}", "Lines join measured mixtures; nothing was measured between them.", legend, numbers)


def _mixtures(plan: Mapping[str, Any]) -> dict[str, dict[float, str]]:
    """Synthesizer -> share -> name of the regime."""
    found: dict[str, dict[float, str]] = {}
    for entry in entries(plan, "regimes"):
        if entry.get("kind") == "mixed" and isinstance(entry.get("ratio"), int | float):
            found.setdefault(str(entry.get("of")), {})[float(entry["ratio"])] = str(entry.get("name"))
    return found


SECTION = ReportSection(50, mixing)
