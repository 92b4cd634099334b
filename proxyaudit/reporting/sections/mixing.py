"""How leak, gap and effect move along a mixture of real and synthetic rows."""

from collections.abc import Mapping

from proxyaudit.estimates.scope import entries
from proxyaudit.reporting.blocks import Cell, Drawn, Key, Picture, Section, number_cell, para, table
from proxyaudit.reporting.charts import curve_chart
from proxyaudit.reporting.report import Report, ReportSection, side_by_side
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.svg import Style, fit, swatch
from proxyaudit.reporting.text import capital, hundredths, number
from proxyaudit.types import Estimate

_MEASURES = (
    # Colours are those of kinds of training elsewhere: here form alone tells the lines apart.
    ("leak inside, %", "leak", Style("ki", "circle")),
    ("output gap, {}", "gap", Style("ki", "square", (6, 2))),
    ("interchange effect, {}", "effect", Style("ki", "up", (2, 1.5))),
)


def mixing(report: Report) -> Section | None:
    """Curves over the share of synthetic rows; nothing without a mixture."""
    # Synthesizer -> share -> name of the regime.
    mixed: dict[str, dict[float, str]] = {}
    for entry in entries(report.pack.plan, "regimes"):
        if entry.get("kind") == "mixed" and isinstance(entry.get("ratio"), int | float):
            mixed.setdefault(str(entry.get("of")), {})[float(entry["ratio"])] = str(entry.get("name"))
    pictures: list[Picture | None] = []
    for index, view in enumerate(report.summary.attributes):
        rows = {row.regime: row for row in view.rows}
        for count, (of, shares) in enumerate(mixed.items()):
            ends = {0.0: rows.get("real"), **{share: rows.get(name) for share, name in shares.items()}, 1.0: rows.get(of)}
            at = {share: row for share, row in sorted(ends.items()) if row is not None}
            pictures.append(_mixing_picture(report, view, of, at, f"m{index}n{count}"))
    opening = para(
        "How much is inside, shows and acts as real rows are replaced by synthetic ones (0 = real rows alone, 1 = synthetic rows alone). ",
        Drawn("A line that falls to the right", "A number that falls as their share grows"),
        " says that the synthetic rows lower it.",
    )
    drawn = side_by_side(pictures)
    return Section("mixing", "Mixing real and synthetic rows", (opening, *drawn)) if drawn else None


def _mixing_picture(report: Report, view: AttributeView, of: str, at: Mapping[float, Row], ident: str) -> Picture | None:
    lines: dict[str, dict[float, Estimate]] = {}
    unit = report.summary.scale.unit
    measures = [(name.format(unit), field, style) for name, field, style in _MEASURES]
    for name, field, _ in measures:
        found = {share: getattr(row, field) for share, row in at.items()}
        if points := {share: e for share, e in found.items() if e is not None and e.value is not None}:
            lines[name] = points
    styles = {name: style for name, _, style in measures}
    axis, title = (f"Share of {fit(of, 140)} rows", f"Leak, %; gap, effect, {unit}"), f"Real rows mixed with {of} rows: {view.name}"
    svg = curve_chart(lines, styles.__getitem__, axis=axis, ident=ident, title=title, ticks=tuple(at))
    if not svg:
        return None
    rows = []
    for share, row in at.items():
        rows.append(
            [
                Cell(number(share, 2)),
                Cell(row.regime, look="name"),
                *(number_cell(hundredths(getattr(row, key)), 1) for _, key, _ in measures),
            ]
        )
    header = ("Synthetic share", report.what, *(capital(name) for name, _, _ in measures))
    legend = tuple(Key(swatch(styles[name]), name) for name in lines)
    numbers = table(f"Mixture with {of} for {view.name}", header, rows)
    caption = Drawn("Lines join measured mixtures; nothing was measured between them.")
    return Picture(svg, f"{view.name}, {of}", caption, legend, numbers)


SECTION = ReportSection(50, mixing)
