"""Numbers of channels that no section shows: those of another package."""

from proxyaudit.estimates.questions import all_questions
from proxyaudit.reporting.blocks import Block, Heading, Section, note
from proxyaudit.reporting.report import Report, ReportSection, estimates_blocks
from proxyaudit.reporting.sections import all_sections
from proxyaudit.reporting.text import shorten


def more(report: Report) -> Section | None:
    """Every number that stands nowhere else, question by question."""
    shown = {name for section in all_sections() for name in section.channels}
    blocks: list[Block] = []
    for name, question in all_questions().items():
        for view in report.summary.attributes if name not in shown else ():
            if numbers := view.of(name):
                blocks.append(Heading(f"{question.word or name}: {shorten(view.name, 80)}"))
                blocks += [note(question.asks)] if question.asks else []
                blocks += estimates_blocks(report, numbers, f"{question.word or name} of {view.name}")
    return Section("more", "Further numbers", tuple(blocks)) if blocks else None


SECTION = ReportSection(95, more)
