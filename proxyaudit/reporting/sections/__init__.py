"""The sections of a report: one file each, registered in the entry point group ``proxyaudit.report_sections``."""

from functools import cache

from proxyaudit.registry import load_plugin, plugin_names
from proxyaudit.reporting.report import ReportSection

__all__ = ["ReportSection", "all_sections"]

GROUP = "report_sections"


@cache
def all_sections() -> tuple[ReportSection, ...]:
    """Every registered section, in order."""
    found: list[tuple[str, ReportSection]] = [(name, load_plugin(GROUP, name)) for name in plugin_names(GROUP)]
    return tuple(section for _, section in sorted(found, key=lambda one: (one[1].order, one[0])))
