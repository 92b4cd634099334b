"""How training data and models were made, and how well the models do their task."""

from proxyaudit.estimates.questions import word_of
from proxyaudit.estimates.training import PROMINENCE
from proxyaudit.reporting.blocks import Cell, Section, Terms, table
from proxyaudit.reporting.facts import facts, made
from proxyaudit.reporting.report import Report, ReportSection
from proxyaudit.reporting.text import DASH, beside, interval, number


def data(report: Report) -> Section:
    """The training data, a row each, and the facts of the audit."""
    # The label's own prominence is about no attribute either; it stands where prominence does.
    task, rows = [e for e in report.pack.evidence.estimates if e.attribute is None and e.channel != PROMINENCE], []
    for name, how, count, saw in made(report.pack):
        measured = [e for e in task if e.regime == name and e.value is not None]
        told = (f"{beside(word_of(e.channel), e.context or '')} {beside(number(e.value), interval(e))}" for e in measured)
        lines = tuple(f"{said}, {e.unit}" if e.unit else said for said, e in zip(told, measured, strict=True))
        cells = (Cell(name), Cell(how, look="text"), Cell(count, look="num"), Cell(saw, look="text"))
        rows.append([*cells, *([Cell("" if lines else DASH, lines=lines, look="num")] if task else [])])
    header = (report.what, "Made how", "Rows", "Did its maker see the protected columns", *(("Task",) if task else ()))
    return Section("data", "Data and training", (table("Training data", header, rows), Terms(tuple(facts(report.pack)))))


SECTION = ReportSection(120, data, ("task",))
