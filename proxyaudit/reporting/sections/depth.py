"""The outputs' gap against the leak inside."""

from proxyaudit.reporting.blocks import Block, Drawn, Picture, Section, para
from proxyaudit.reporting.charts import scatter_chart
from proxyaudit.reporting.report import Report, ReportSection, numbers_fold, side_by_side
from proxyaudit.reporting.summary import AttributeView
from proxyaudit.reporting.words import verdict_text

_EXPLAINED = Drawn(
    "A point is a kind of training data. High: it shows in the predictions. Right: it can be read inside the model. In the "
    "shaded corner, below and right of the dashed margins, a test of the predictions alone sees nothing although it is there: "
    "that is what “hidden” means. The verdict rests on all checks, so a point near a border may have another one than its place "
    "suggests.",
    "Where the output gap stays below its margin and the leak inside does not, a test of the predictions alone sees nothing although it "
    "is there: that is what “hidden” means. The verdict rests on all checks, so it may differ from what these two numbers suggest.",
)


def depth(report: Report) -> Section | None:
    """A point for each regime: the outputs' gap against the leak inside."""
    if report.summary.bare:
        return None
    views = report.summary.attributes
    drawn = side_by_side(depth_picture(report, view, f"o{index}") for index, view in enumerate(views))
    blocks: list[Block] = [para(_EXPLAINED if drawn else "Nothing to draw: output gaps or leaks are missing."), *drawn]
    for view in views:
        blocks += numbers_fold(report, view, view.of("expressed"), ("what shows in the outputs for {}", "Outputs"))
    return Section("depth", "Surface against depth", tuple(blocks))


def depth_picture(report: Report, view: AttributeView, ident: str) -> Picture | None:
    """Gap and leak of one attribute, a point for each regime; nothing where none has both."""
    title = f"Output gap against leak inside for {view.name}"
    margins = (report.summary.margins.get("leak"), report.summary.margins.get("gap"))
    svg, names = scatter_chart(report.rows(view), report.style, margins, ident=ident, title=title, unit=report.summary.scale.unit)
    if not svg:
        return None
    found = ((row.regime, row.finding) for row in view.rows)
    words = {name: verdict_text(f.verdict, f.at_least).lower() if f else "" for name, f in found}
    return Picture(svg, view.name, Drawn("Square-root scales: small values are drawn apart."), report.legend(names, words))


SECTION = ReportSection(40, depth, ("expressed",))
