"""The columns, or words and ways of writing, that stand in for an attribute, and the ways they take."""

from __future__ import annotations

from proxyaudit.reporting.blocks import Block, Heading, Picture, Section, Strong, note, para
from proxyaudit.reporting.charts import ForestRow
from proxyaudit.reporting.proxies import ProxyView
from proxyaudit.reporting.report import Report, forest_picture, side_by_side, technical, told_tables
from proxyaudit.reporting.sections import ReportSection
from proxyaudit.reporting.text import shorten

_CHANNELS = (
    *("association", "pair_gain", "influence", "proxy_use", "path_total", "path", "path_share"),
    *("attribution_direction", "attribution_output"),
)


def proxies(report: Report) -> Section | None:
    """The strongest of them for each attribute, and where their effect runs; nothing where none were followed."""
    if not report.proxies:
        return None
    blocks: list[Block] = [para(*report.proxies[0].words.opening)]
    for index, view in enumerate(report.proxies):
        # The first kinds of training have pictures, all have tables.
        drawn = side_by_side(_paths(report, view, *named) for named in zip(view.regimes, (f"x{index}{c}" for c in "abcd"), strict=False))
        inside = (note(view.words.note), *told_tables(view, "proxies"))
        name = shorten(view.attribute, 80)
        blocks += [Heading(name), para(Strong(view.answer)), *drawn, technical(f"proxies of {name} in numbers", *inside)]
    return Section("proxies", "Proxies and their paths", tuple(blocks))


def _paths(report: Report, view: ProxyView, regime: str, ident: str) -> Picture | None:
    mine = [e for e in report.pack.evidence.estimates if (e.attribute, e.regime) == (view.attribute, regime)]
    totals, parts = ({e.subject: e for e in mine if e.channel == name} for name in ("path_total", "path"))
    rows = [ForestRow(unit, totals[unit], report.style(regime), None, parts.get(unit)) for unit in view.followed if unit in totals]
    what = view.words.what
    title = f"What each {what.lower()} does between the groups of {view.attribute} after training on {regime}"
    groups = next((e.group for e in totals.values() if e.group), None)
    named = (f"{view.attribute}, {regime}", f"Between the groups {groups}." if groups else "Between the groups.")
    return forest_picture(what, rows, None, named=named, axis="Change of the prediction (1 = 100 points)", ident=ident, title=title)


SECTION = ReportSection(80, proxies, _CHANNELS)
