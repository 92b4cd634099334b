"""The columns, or words and ways of writing, that stand in for an attribute, and the ways they take."""

from __future__ import annotations

from proxyaudit.reporting import charts
from proxyaudit.reporting.blocks import Block, Heading, Picture, Pictures, Section, Strong, note, para
from proxyaudit.reporting.proxies import PROXY_NOTE, PROXY_OPENING, TEXT_NOTE, TEXT_OPENING, ProxyView
from proxyaudit.reporting.report import Report, forest_numbers, technical, told_tables
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.reporting.text import shorten

_MOST_PICTURES = 4
_CHANNELS = (
    *("association", "pair_gain", "influence", "proxy_use", "path_total", "path", "path_share"),
    *("attribution_direction", "attribution_output"),
)


def proxies(report: Report) -> Section | None:
    """The strongest of them for each attribute, and where their effect runs; nothing where none were followed."""
    if not report.proxies:
        return None
    blocks: list[Block] = [para(TEXT_OPENING if report.proxies[0].texts else PROXY_OPENING)]
    for index, view in enumerate(report.proxies):
        blocks += [Heading(shorten(view.attribute, 80)), para(Strong(view.answer))]
        pictures = _paths(report, view, f"x{index}")
        if pictures:
            blocks.append(Pictures(pictures))
        inside = (note(TEXT_NOTE if view.texts else PROXY_NOTE), *told_tables(view, "proxies"))
        blocks.append(technical(f"proxies of {shorten(view.attribute, 80)} in numbers", *inside))
    return Section("proxies", "Proxies and their paths", tuple(blocks))


def _paths(report: Report, view: ProxyView, ident: str) -> tuple[Picture, ...]:
    made: list[Picture] = []
    for index, regime in enumerate(view.regimes[:_MOST_PICTURES]):
        totals, parts = ({e.subject: e for e in report.lookup.numbers(view.attribute, regime, name)} for name in ("path_total", "path"))
        style = report.style(regime)
        rows = [charts.ForestRow(unit, totals[unit], style, None, parts.get(unit)) for unit in view.followed if unit in totals]
        what = "Word or habit" if view.texts else "Column"
        title = f"What each {what.lower()} does between the groups of {view.attribute} after training on {regime}"
        svg = charts.forest_chart(
            rows, None, axis="Change of the prediction (1 = 100 points)", ident=f"{ident}{'abcd'[index]}", title=title
        )
        if svg:
            groups = next((e.group for e in totals.values() if e.group), None)
            caption = f"Between the groups {groups}." if groups else "Between the groups."
            numbers = forest_numbers(title, what, rows)
            made.append(Picture(svg, f"{view.attribute}, {regime}", caption, numbers=numbers))
    return tuple(made)


SECTION = ReportSection(80, proxies, _CHANNELS)
