"""How training data and models were made, and how well the models do their task."""

from proxyaudit.estimates.questions import word_of
from proxyaudit.reporting.blocks import Cell, Section, Terms, table
from proxyaudit.reporting.facts import facts, made
from proxyaudit.reporting.report import Report, ReportSection
from proxyaudit.reporting.text import DASH, beside, interval, number
from proxyaudit.types import Estimate


def data(report: Report) -> Section:
    """The training data, a row each, and the facts of the audit."""
    task, rows = [e for e in report.pack.evidence.estimates if e.attribute is None], []
    for name, how, count, saw in made(report.pack):
        lines = tuple(_told(e) for e in task if e.regime == name and e.value is not None)
        cells = (Cell(name), Cell(how, look="text"), Cell(count, look="num"), Cell(saw, look="text"))
        rows.append([*cells, *([Cell("" if lines else DASH, lines=lines, look="num")] if task else [])])
    header = (report.what, "Made how", "Rows", "Did its maker see the protected columns", *(("Task",) if task else ()))
    return Section("data", "Data and training", (table("Training data", header, rows), Terms(tuple(facts(report.pack)))))


def _told(e: Estimate) -> str:
    shown = f"{beside(word_of(e.channel), e.context or '')} {beside(number(e.value), interval(e))}"
    return f"{shown}, {e.unit}" if e.unit else shown


SECTION = ReportSection(120, data, ("task",))
