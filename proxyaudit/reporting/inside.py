"""Sections about what is inside: along the model, against the outputs, and along a mixture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxyaudit.reporting import charts
from proxyaudit.reporting.blocks import Block, Cell, Fold, Picture, Pictures, Section, Table, para, table
from proxyaudit.reporting.context import Context, estimates_blocks, keys
from proxyaudit.reporting.summary import AttributeView, Row
from proxyaudit.reporting.text import DASH, interval, number, shorten
from proxyaudit.types import Estimate

__all__ = ["depth", "mixing", "profile"]


def profile(context: Context) -> Section | None:
    """Return where in the model an attribute can be read, with the references, the floor and the detection limits."""
    pictures: list[Picture] = []
    for index, view in enumerate(context.summary.attributes):
        if not view.profile.series:
            continue
        title = f"Leak inside along the model for {view.name}"
        svg = charts.profile_chart(view.profile, context.summary.regimes, ident=f"p{index}", title=title)
        bare = context.summary.bare
        caption = "In the order given." if bare else "From the inputs (left) to the last place before the output (right)."
        legend = keys(context, (series.name for series in view.profile.series))
        pictures.append(Picture(svg, view.name, caption, legend, _profile_table(view, context.what)))
    title = "Where it can be read" if context.summary.bare else "Where in the model it can be read"
    if not pictures:
        return Section("profile", title, (para("No layer profile was measured."),))
    place = "each place given" if context.summary.bare else "each place of the model that was read"
    said = [f"How much of the attribute a simple reader gets at {place}, as a share of all there is to know. Dashed line: the margin."]
    profiles = [view.profile for view in context.summary.attributes]
    if any(one.band for one in profiles):
        said.append("Light grey: what the model passes on of invented attributes (placebos, 95th percentile).")
    if any(one.floor for one in profiles):
        said.append("Dark grey: what chance alone reaches (shuffled labels, 95th percentile).")
    if any(one.detection for one in profiles):
        said.append("Short bars in the colour of the margin: the smallest leak that would surely have been found there.")
    if not context.summary.bare:
        said.append("An untrained network passes on most of its inputs too.")
    return Section("profile", title, (para(" ".join(said)), Pictures(tuple(pictures))))


def depth(context: Context) -> Section | None:
    """Return the outputs' gap against the leak inside: a point for each regime."""
    if context.summary.bare:
        return None
    pictures: list[Picture] = []
    folds: list[Block] = []
    for index, view in enumerate(context.summary.attributes):
        title = f"Output gap against leak inside for {view.name}"
        margins = (context.margin("leak"), context.margin("gap"))
        svg, names = charts.scatter_chart(view, context.summary.regimes, margins, ident=f"o{index}", title=title)
        if svg:
            words = {row.regime: _verdict_word(context, row) for row in view.rows}
            rows = [row for row in context.rows(view) if row.regime in names]
            numbers = [[Cell(row.regime), Cell(words.get(row.regime, "reference")), _figure(row.leak), _figure(row.gap)] for row in rows]
            beside = table(f"Inside and outside for {view.name}", (context.what, "Verdict", "Leak inside", "Output gap"), numbers)
            caption = "Square-root scales: small values are drawn apart."
            pictures.append(Picture(svg, view.name, caption, keys(context, names, words), beside))
        if view.expressed:
            inside = estimates_blocks(context, view.expressed, f"Outputs for {view.name}")
            folds.append(Fold(f"Technical reading: what shows in the outputs for {shorten(view.name, 80)}", inside))
    explained = (
        "A point is a kind of training data. High: it shows in the predictions. Right: it can be read inside the model. In the "
        "shaded corner, below and right of the dashed margins, a test of the predictions alone sees nothing although it is there: "
        "that is what “hidden” means. The verdict rests on all checks, so a point near a border may have another one than its place "
        "suggests."
    )
    blocks: tuple[Block, ...] = (
        (para(explained), Pictures(tuple(pictures))) if pictures else (para("Nothing to draw: output gaps or leaks are missing."),)
    )
    return Section("depth", "Surface against depth", (*blocks, *folds))


def mixing(context: Context) -> Section | None:
    """Return how leak, gap and effect move with the share of synthetic rows; nothing without a mixture."""
    mixed = _mixtures(context.pack.plan)
    pictures: list[Picture] = []
    for index, view in enumerate(context.summary.attributes):
        rows = {row.regime: row for row in view.rows}
        for count, (of, shares) in enumerate(mixed.items()):
            ends = {0.0: rows.get("real"), **{share: rows.get(name) for share, name in shares.items()}, 1.0: rows.get(of)}
            at = {share: row for share, row in sorted(ends.items()) if row is not None}
            picture = _mixing_picture(context, view, of, at, f"m{index}n{count}") if len(at) > 1 else None
            if picture:
                pictures.append(picture)
    if not pictures:
        return None
    explained = (
        "How much is inside, shows and acts as real rows are replaced by synthetic ones (0 = real rows alone, 1 = synthetic rows alone). "
        "A line that falls to the right says that the synthetic rows lower it."
    )
    return Section("mixing", "Mixing real and synthetic rows", (para(explained), Pictures(tuple(pictures))))


_MEASURES = (
    ("leak inside", "leak", charts.Style("k0", "circle")),
    ("output gap", "gap", charts.Style("k1", "square", (6, 2))),
    ("interchange effect", "effect", charts.Style("k2", "up", (2, 1.5))),
)


def _mixing_picture(context: Context, view: AttributeView, of: str, at: Mapping[float, Row], ident: str) -> Picture | None:
    curves: list[charts.Curve] = []
    for name, field, style in _MEASURES:
        points = tuple((share, e) for share, row in at.items() if (e := getattr(row, field)) is not None and e.value is not None)
        if points:
            curves.append(charts.Curve(name, points, style))
    title = f"Real rows mixed with {of} rows: {view.name}"
    axis = (f"Share of {charts.label(of)} rows", "Leak, gap, effect")
    svg = charts.curve_chart(curves, None, axis=axis, ident=ident, title=title, ticks=tuple(at))
    if not svg:
        return None
    rows = [
        [Cell(number(share, 2)), Cell(row.regime, look="name"), *(_figure(getattr(row, field)) for _, field, _ in _MEASURES)]
        for share, row in at.items()
    ]
    numbers = table(
        f"Mixture with {of} for {view.name}", ("Synthetic share", context.what, "Leak inside", "Output gap", "Interchange effect"), rows
    )
    legend = tuple(charts.key(curve.name, curve.style) for curve in curves)
    return Picture(svg, f"{view.name}, {of}", "Lines join measured mixtures; nothing was measured between them.", legend, numbers)


def _mixtures(plan: Mapping[str, Any]) -> dict[str, dict[float, str]]:
    """Return synthesizer -> share -> name of the regime."""
    found: dict[str, dict[float, str]] = {}
    regimes = plan.get("regimes")
    for entry in regimes if isinstance(regimes, list | tuple) else ():
        if isinstance(entry, dict) and entry.get("kind") == "mixed" and isinstance(entry.get("ratio"), int | float):
            found.setdefault(str(entry.get("of")), {})[float(entry["ratio"])] = str(entry.get("name"))
    return found


def _verdict_word(context: Context, row: Row) -> str:
    if row.finding is None:
        return ""
    word = context.summary.verdicts[row.finding.verdict]
    return f"{word.symbol} {word.word.lower()}" + (f", at least {row.finding.at_least}" if row.finding.at_least else "")


def _figure(e: Estimate | None) -> Cell:
    return Cell(DASH, look="num") if e is None else Cell(number(e.value), interval(e), look="num")


def _profile_table(view: AttributeView, what: str) -> Table:
    profile = view.profile
    rows: list[list[Cell]] = []
    for series in profile.series:
        values = dict(series.points)
        rows.append([Cell(series.name), *(_figure(values.get(site)) for site in profile.sites)])
    known = (
        ("placebos, 95th percentile", profile.band),
        ("chance, 95th percentile", profile.floor),
        ("detection limit", profile.detection),
    )
    first = len(rows)
    rows += [[Cell(name), *(Cell(number(values.get(site)), look="num") for site in profile.sites)] for name, values in known if values]
    return table(f"Leak inside along the model: {view.name}", (what, *profile.sites), rows, references=frozenset(range(first, len(rows))))
