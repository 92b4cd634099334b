"""Where in the model an attribute can be read."""

from proxyaudit.reporting.blocks import Cell, Drawn, Inline, Picture, Section, number_cell, para, table
from proxyaudit.reporting.charts import profile_chart
from proxyaudit.reporting.report import Report, ReportSection, side_by_side
from proxyaudit.reporting.summary import AttributeView
from proxyaudit.reporting.text import number

_DRAWN = (
    ("band", Drawn(" Light grey", " Placebos"), "what the model passes on of invented attributes (placebos, 95th percentile)"),
    ("floor", Drawn(" Dark grey", " Chance"), "what chance alone reaches (shuffled labels, 95th percentile)"),
    (
        "detection",
        Drawn(" Short bars in the colour of the margin", " Detection limit"),
        "the smallest leak that would surely have been found there",
    ),
)


def profile(report: Report) -> Section | None:
    """Pictures of the leak along the model, with the references, the floor and the detection limits."""
    views, bare = report.summary.attributes, report.summary.bare
    drawn = side_by_side(profile_picture(report, view, f"p{index}") for index, view in enumerate(views))
    place = "each place given" if bare else "each place of the model that was read"
    said: list[Inline] = [f"How much of the attribute a simple reader gets at {place}, as a share of all there is to know."]
    said.append(Drawn(" Dashed line: the margin."))
    for field, mark, words in _DRAWN:
        said += [mark, f": {words}."] if any(getattr(view.profile, field) for view in views) else []
    if not bare:
        said.append(" An untrained network passes on most of its inputs too.")
    opening = para(*said) if drawn else para("No layer profile was measured.")
    return Section("profile", "Where it can be read" if bare else "Where in the model it can be read", (opening, *drawn))


def profile_picture(report: Report, view: AttributeView, ident: str) -> Picture | None:
    """The leak of one attribute along the model; nothing where none was measured."""
    shown = view.profile
    if not shown.series:
        return None
    svg = profile_chart(shown, report.style, ident=ident, title=f"Leak inside along the model for {view.name}")
    caption = "In the order given." if report.summary.bare else "From the inputs (left) to the last place before the output (right)."
    legend = report.legend(shown.series)
    known = (("placebos, 95th percentile", shown.band), ("chance, 95th percentile", shown.floor), ("detection limit", shown.detection))
    rows = [[Cell(name), *(number_cell(at.get(site)) for site in shown.sites)] for name, at in shown.series.items()]
    rows += [[Cell(name), *(Cell(number(values.get(site)), look="num") for site in shown.sites)] for name, values in known if values]
    behind = len(rows) - len(shown.series)
    numbers = table(f"Leak inside along the model: {view.name}", (report.what, *shown.sites), rows, behind=behind)
    return Picture(svg, view.name, caption, legend, numbers)


SECTION = ReportSection(30, profile, ("linear", "elsewhere", "nonlinear", "beyond"))
