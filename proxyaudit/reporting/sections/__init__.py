"""The sections of a report: one file each, registered in the entry point group ``proxyaudit.report_sections``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from proxyaudit.registry import load_plugin, plugin_names
from proxyaudit.reporting.blocks import Section
from proxyaudit.reporting.report import Report

GROUP = "report_sections"


@dataclass(frozen=True)
class ReportSection:
    """A section as it is registered."""

    order: int  # its place among the sections
    make: Callable[[Report], Section | None]  # nothing where the pack has no such data
    channels: tuple[str, ...] = ()  # whose numbers it shows; what no section shows stands under "Further numbers"


@cache
def all_sections() -> tuple[ReportSection, ...]:
    """Every registered section, in order."""
    found: list[tuple[str, ReportSection]] = [(name, load_plugin(GROUP, name)) for name in plugin_names(GROUP)]
    return tuple(section for _, section in sorted(found, key=lambda one: (one[1].order, one[0])))


def sections(report: Report) -> tuple[Section, ...]:
    """The sections that have something to say, in reading order."""
    return tuple(made for section in all_sections() if (made := section.make(report)) is not None)
