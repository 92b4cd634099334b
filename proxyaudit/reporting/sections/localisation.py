"""Which places, heads and units carry the effect."""

from __future__ import annotations

from proxyaudit.reporting.blocks import Section
from proxyaudit.reporting.localisation import LOCALISATION_NOTE, localisation_views
from proxyaudit.reporting.report import Report, told_section
from proxyaudit.reporting.sections import ReportSection


def localisation(report: Report) -> Section | None:
    """Which parts carry the effect; nothing where none was localised."""
    return told_section("localisation", "Where the effect comes from", LOCALISATION_NOTE, localisation_views(report.pack))


SECTION = ReportSection(70, localisation, ("localisation", "localisation_per_row", "localisation_share"))
