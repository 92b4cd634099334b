"""Where in the model an attribute can be read."""

from __future__ import annotations

from proxyaudit.reporting import charts
from proxyaudit.reporting.blocks import Cell, Picture, Pictures, Section, Table, number_cell, para, table
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.reporting.summary import AttributeView
from proxyaudit.reporting.text import number


def profile(report: Report) -> Section | None:
    """Pictures of the leak along the model, with the references, the floor and the detection limits."""
    views = report.summary.attributes
    pictures = [made for index, view in enumerate(views) if (made := profile_picture(report, view, f"p{index}")) is not None]
    title = "Where it can be read" if report.summary.bare else "Where in the model it can be read"
    if not pictures:
        return Section("profile", title, (para("No layer profile was measured."),))
    place = "each place given" if report.summary.bare else "each place of the model that was read"
    said = [f"How much of the attribute a simple reader gets at {place}, as a share of all there is to know. Dashed line: the margin."]
    profiles = [view.profile for view in report.summary.attributes]
    if any(one.band for one in profiles):
        said.append("Light grey: what the model passes on of invented attributes (placebos, 95th percentile).")
    if any(one.floor for one in profiles):
        said.append("Dark grey: what chance alone reaches (shuffled labels, 95th percentile).")
    if any(one.detection for one in profiles):
        said.append("Short bars in the colour of the margin: the smallest leak that would surely have been found there.")
    if not report.summary.bare:
        said.append("An untrained network passes on most of its inputs too.")
    return Section("profile", title, (para(" ".join(said)), Pictures(tuple(pictures))))


def profile_picture(report: Report, view: AttributeView, ident: str) -> Picture | None:
    """The leak of one attribute along the model; nothing where none was measured."""
    if not view.profile.series:
        return None
    title = f"Leak inside along the model for {view.name}"
    svg = charts.profile_chart(view.profile, report.summary.regimes, ident=ident, title=title)
    caption = "In the order given." if report.summary.bare else "From the inputs (left) to the last place before the output (right)."
    legend = report.legend(series.name for series in view.profile.series)
    return Picture(svg, view.name, caption, legend, _profile_table(view, report.what))


def _profile_table(view: AttributeView, what: str) -> Table:
    profile = view.profile
    rows: list[list[Cell]] = []
    for series in profile.series:
        values = dict(series.points)
        rows.append([Cell(series.name), *(number_cell(values.get(site)) for site in profile.sites)])
    known = (
        ("placebos, 95th percentile", profile.band),
        ("chance, 95th percentile", profile.floor),
        ("detection limit", profile.detection),
    )
    first = len(rows)
    rows += [[Cell(name), *(Cell(number(values.get(site)), look="num") for site in profile.sites)] for name, values in known if values]
    return table(f"Leak inside along the model: {view.name}", (what, *profile.sites), rows, references=range(first, len(rows)))


SECTION = ReportSection(30, profile, ("linear", "elsewhere", "nonlinear", "beyond"))
