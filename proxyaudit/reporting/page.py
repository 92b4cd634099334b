"""The report of a pack as a page of blocks, which HTML and Markdown share."""

from __future__ import annotations

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.blocks import Page
from proxyaudit.reporting.facts import failures
from proxyaudit.reporting.first import first_screen
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.sections import sections


def report_page(pack: EvidencePack) -> Page:
    """The report of a pack. Pure: the same pack gives the same page."""
    report, run = Report.of(pack), pack.evidence.run
    date = (report.summary.date,) if report.summary.date else ()
    partial = run.status != "complete"
    return Page(
        title=report.summary.question,
        name=f"{run.name}: {report.summary.question}",
        about=("proxyaudit report", run.name, f"run {run.id}", *date),
        first=first_screen(report),
        sections=sections(report),
        partial="This run" if partial else "",
        failures=tuple(failures(pack)) if partial else (),
        foot=f"Made by proxyaudit from evidence of schema {pack.evidence.schema_version}. This page needs no network and runs no script. "
        "A verdict speaks about the models and rows of this run, not about synthetic data in general.",
    )
