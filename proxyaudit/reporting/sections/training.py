"""What training did to how prominent each attribute is, beside the untrained network, placebos and the label."""

import math

from proxyaudit.estimates.training import PROMINENCE, times_before
from proxyaudit.reporting.blocks import Block, Cell, Section, number_cell, para, table
from proxyaudit.reporting.report import Report, ReportSection
from proxyaudit.reporting.summary import AttributeView
from proxyaudit.reporting.text import DASH, figure, number, shorten
from proxyaudit.reporting.words import trained
from proxyaudit.types import Estimate

_OPENING = (
    "Prominence is the share of what varies inside a model that the attribute explains; chance gives zero. Training makes what it needs "
    "prominent. Placebos are invented attributes that inputs and label know as well: what gains no more is carried with the task. "
    "The label's own prominence says how much was learnt at all."
)


def training(report: Report) -> Section | None:
    """A table for each attribute at the site that decides; nothing where prominence was not measured."""
    tables = [made for view in report.summary.attributes if (made := _table(report, view)) is not None]
    return Section("training", "What training did", (para(_OPENING), *tables)) if tables else None


def _table(report: Report, view: AttributeView) -> Block | None:
    own = view.of(PROMINENCE)
    gains = [row.gain for row in view.rows if row.gain is not None]
    site = gains[0].site if gains else next((e.site for e in own if e.measure == "total"), None)
    label = [e for e in report.pack.evidence.estimates if e.channel == PROMINENCE and e.attribute is None and e.site == site]
    rows = []
    for row in (*view.references, *view.rows):
        shown = _find(own, row.regime, "units", site)
        if shown is None:
            continue
        placebo = next((e for e in own if e.reference_for == row.regime and e.site == site), None)
        kept = row.finding.training.kept_of_real if row.finding is not None and row.finding.training is not None else None
        ratio = next((e for e in own if e.id == kept), None)
        what = {"kept_of_added": "of what real data added", "ratio_to_real": "of that after real data"}
        rows.append(
            [
                Cell(row.regime, look="name"),
                Cell(trained(row.finding, row.gain) or DASH),
                number_cell(shown),
                Cell(times_before(row.gain) or DASH),
                Cell(f"{math.exp(placebo.value):.1f} times" if placebo is not None and placebo.value is not None else DASH),
                Cell(f"{figure(ratio)} {what[ratio.measure]}" if ratio is not None and ratio.value is not None else DASH),
                Cell(number(e.value) if (e := _find(label, row.regime, "units", site)) is not None else DASH),
            ]
        )
    header = (report.what, "By training", "Prominence", "Against before", "Placebos gain up to", "Kept of real", "Label's own")
    return table(f"Prominence of {shorten(view.name, 80)} at {site}", header, rows) if rows else None


def _find(own: tuple[Estimate, ...] | list[Estimate], regime: str, measure: str, site: str | None) -> Estimate | None:
    return next((e for e in own if (e.regime, e.measure, e.site) == (regime, measure, site)), None)


SECTION = ReportSection(15, training, (PROMINENCE,))
