"""What the words of a report mean."""

from __future__ import annotations

from proxyaudit.reporting.blocks import Section, Terms
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.reporting.words import glossary


def words(report: Report) -> Section:
    """The glossary."""
    return Section("words", "What the words mean", (Terms(glossary(report.summary.verdicts, bare=report.summary.bare)),))


SECTION = ReportSection(130, words)
