"""What a reader might expect and the audit did not look at."""

from proxyaudit.reporting.blocks import Cell, Section, para, table
from proxyaudit.reporting.report import Report, ReportSection


def not_tested(report: Report) -> Section:
    """What was not tested, and why."""
    listed = report.pack.evidence.not_tested
    rows = [[Cell(item.what, look="text"), Cell(item.why, look="text")] for item in listed]
    shown = table("What was not tested and why", ("What", "Why"), rows) if rows else para("Nothing is listed.")
    return Section("not-tested", "Not tested", (shown,))


SECTION = ReportSection(110, not_tested)
