"""The pictures of a report. Each is named and described in words; colours are variables of the page, never the only difference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from proxyaudit.reporting.blocks import Key
from proxyaudit.reporting.summary import AttributeView, Profile
from proxyaudit.reporting.svg import Drawing, Scale, Style, fit, linear_scale, log_scale, root_scale, swatch
from proxyaudit.reporting.text import interval, number
from proxyaudit.types import Estimate

WIDTH = 380
_MARKERS = ("circle", "square", "up", "diamond", "down", "plus", "star4", "pentagon", "left", "right", "hexagon", "star")
_DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 1.5), (6, 2, 1.5, 2), (9, 3), (4, 1.5, 1.5, 1.5, 1.5, 1.5))
_REFERENCE_LOOK: dict[str, tuple[str, tuple[float, ...]]] = {
    "untrained": ("cross", (1.5, 2.5)),
    "reweighed": ("upright", (7, 2, 2, 2)),
    "inputs": ("bar", (1.0, 3.0)),
    "placebo": ("bar", (1.0, 2.0)),
}
_MARGIN_DASHES = (4, 3)
_COLOURS = 8


@dataclass(frozen=True)
class ForestRow:
    """A line of a forest plot: a name, a number with its interval, how far chance alone goes, and a part of the number."""

    label: str
    estimate: Estimate | None
    style: Style
    null_high: float | None = None
    part: Estimate | None = None


@dataclass(frozen=True)
class Curve:
    """A line through numbers."""

    name: str
    points: tuple[tuple[float, Estimate], ...]
    style: Style


def style_of(name: str, regimes: Sequence[str]) -> Style:
    """The look of a regime or reference, the same in every chart of a report."""
    if name not in regimes:
        marker, dashes = _REFERENCE_LOOK.get(name, ("cross", (1.0, 2.0)))
        return Style("km", marker, dashes)
    index = list(regimes).index(name)
    return Style(f"k{index % _COLOURS}", _MARKERS[index % len(_MARKERS)], _DASHES[index % len(_DASHES)])


def key(name: str, style: Style) -> Key:
    """An entry of a legend."""
    return Key(swatch(style), name)


def label(name: str) -> str:
    """A name short enough for a chart."""
    return fit(name, 140)


def profile_chart(profile: Profile, regimes: Sequence[str], *, ident: str, title: str) -> str:
    """Draw the linear leak along the model's sites, with floor, placebo band, margin and detection limits."""
    slanted = len(profile.sites) > 4 or any(len(site) > 10 for site in profile.sites)
    height = 300 if slanted else 260
    bottom = height - (78 if slanted else 40)
    drawing = Drawing(WIDTH, height)
    tops = [e.high if e.high is not None else e.value or 0.0 for series in profile.series for _, e in series.points]
    scale = linear_scale(0.0, 1.03 * min(max([*tops, *profile.band.values(), 3 * (profile.margin or 0.02)]), 1.0), bottom, 14)
    drawing.axis_y(scale, 52, WIDTH - 8, title="Leak inside (0 nothing, 1 all)")
    places = {site: 52 + (WIDTH - 60) * (index + 0.5) / len(profile.sites) for index, site in enumerate(profile.sites)}
    half = (WIDTH - 60) / len(profile.sites) / 2
    _band(drawing, profile, places, half, scale)
    if profile.margin is not None and scale.holds(profile.margin):
        _margin(drawing, at=scale(profile.margin), start=52, end=WIDTH - 8)
    for site, limit in profile.detection.items():
        drawing.line(places[site] - half * 0.7, scale(limit), places[site] + half * 0.7, scale(limit), "kg", width=2)
    for index, series in enumerate(profile.series):
        style = style_of(series.name, regimes)
        # Series stand a little apart so that their intervals do not cover each other.
        shift = (index - (len(profile.series) - 1) / 2) * min(half * 1.4 / max(len(profile.series), 1), 9)
        spots = [(places[site] + shift, e) for site, e in series.points]
        _drawn_curve(drawing, [(x, scale(float(e.value or 0.0))) for x, e in spots], [e for _, e in spots], style, scale)
    for site, x in places.items():
        name = fit(site, 105 if slanted else 2 * half - 4)
        drawing.text(x + (4 if slanted else 0), bottom + 16, name, anchor="end" if slanted else "middle", turn=-35 if slanted else 0)
    known = (("placebo band up to", profile.band), ("floor", profile.floor), ("detection limit", profile.detection))
    told = [(s.name, [(site, e.value) for site, e in s.points]) for s in profile.series]
    described = _described([*told, *((word, list(values.items())) for word, values in known if values)])
    return drawing.render(ident=ident, title=title, description=described)


def scatter_chart(
    view: AttributeView, regimes: Sequence[str], margins: tuple[float | None, float | None], *, ident: str, title: str
) -> tuple[str, list[str]]:
    """Draw what shows in the outputs against what is inside, one point per regime: "hidden" is a place on the picture.

    ``margins`` are those of leak and gap, ``regimes`` all of the report, for their looks; ``ident`` is unique on the page.

    Returns:
        The drawing and the names of what is in it; empty if nothing can be drawn.
    """
    points = _points(view)
    if not points:
        return "", []
    leak, gap = (margin if margin is not None else 0.02 for margin in margins)
    height, bottom, left = 310, 262, 56
    drawing = Drawing(WIDTH, height)
    reach = [max(float(e.value or 0.0), min(e.high or 0.0, 1.6 * abs(float(e.value or 0.0)))) for _, *pair in points for e in pair]
    across = root_scale(min(max([*reach[::2], 6 * leak]) * 1.1, 1.0), left, WIDTH - 12)
    up = root_scale(min(max([*reach[1::2], 3 * gap]) * 1.15, 1.0), bottom, 14)
    drawing.axis_y(up, left, WIDTH - 12, title="Shows in the outputs (gap)")
    drawing.axis_x(across, bottom, title="Can be read inside (leak)")
    x, y = across(leak), up(gap)
    drawing.area(((x, y), (WIDTH - 12, y), (WIDTH - 12, bottom), (x, bottom)), "kh", opacity=0.13)
    _margin(drawing, at=x, start=14, end=bottom, upright=True)
    _margin(drawing, at=y, start=left, end=WIDTH - 12)
    drawing.text(WIDTH - 16, 27, "exposed: it shows", anchor="end", colour="km", size=13)
    # The words stand where the points are farthest away.
    taken = [up(float(outside.value or 0.0)) for _, _, outside in points]
    line = max((y + 16, (y + bottom) / 2 + 4, bottom - 8), key=lambda at: min(abs(at - 4 - spot) for spot in taken))
    drawing.text(x + 6, line, "hidden: inside, does not show", colour="km", size=13)
    if x - left > 50:
        drawing.text(left + 4, line, "neither", colour="km", size=13)
    for name, inside, outside in points:
        _cross(drawing, inside, outside, style_of(name, regimes), across, up)
    described = _described((name, [("leak", inside.value), ("gap", outside.value)]) for name, inside, outside in points)
    return drawing.render(ident=ident, title=title, description=described), [name for name, _, _ in points]


def forest_chart(rows: Sequence[ForestRow], margin: float | None, *, axis: str, ident: str, title: str) -> str:
    """Draw numbers with their intervals one below the other, against the margin and what chance alone reaches."""
    shown = [row for row in rows if row.estimate is not None and row.estimate.value is not None]
    if not shown:
        return ""
    left, right, step = 136, WIDTH - 48, 24
    bottom = 14 + step * len(shown)
    drawing = Drawing(WIDTH, bottom + 40)
    known = [e for row in shown for e in (row.estimate, row.part) if e is not None]
    values = [float(e.value or 0.0) for e in known]
    highs = [e.high for e in known if e.high is not None]
    lows = [e.low for e in known if e.low is not None]
    # An interval much longer than the numbers themselves would press them into a corner: it is cut, with an arrow.
    widest = max(1.7 * max(values), 2.2 * (margin or 0.0), 1e-6)
    lowest = min(1.7 * min(values), -0.25 * widest, 0.0)
    high = min(max([*values, *highs, *(row.null_high or 0.0 for row in shown), 1.3 * (margin or 0.0)]), widest)
    low = max(min([*values, *lows, 0.0]), lowest)
    room = 0.04 * (high - low)
    scale = linear_scale(low - (room if low < 0 else 0.0), high + room, left, right, most=4)
    drawing.axis_x(scale, bottom, title=axis, top=10)
    drawing.line(scale(0.0), 10, scale(0.0), bottom, "km", width=1)
    if margin is not None and scale.holds(margin):
        _margin(drawing, at=scale(margin), start=10, end=bottom, upright=True)
    for index, row in enumerate(shown):
        y = 14 + step * (index + 0.5)
        assert row.estimate is not None
        if row.null_high is not None and row.null_high > 0:
            drawing.area(((scale(0.0), y - 7), (scale(row.null_high), y - 7), (scale(row.null_high), y + 7), (scale(0.0), y + 7)), "km")
        drawing.text(left - 10, y + 4, fit(row.label, left - 14), anchor="end")
        lift = 0.0
        if row.part is not None and row.part.value is not None:
            lift = 4.0
            _interval(drawing, row.part, scale, "km", y=y + lift)
            drawing.mark(scale(row.part.value), y + lift, Style("km", "upright"))
        _interval(drawing, row.estimate, scale, row.style.colour, y=y - lift)
        drawing.mark(scale(float(row.estimate.value or 0.0)), y - lift, row.style)
        drawing.text(WIDTH - 4, y + 4, number(row.estimate.value), anchor="end")
    described = "; ".join(
        f"{row.label} {number(row.estimate.value)} ({interval(row.estimate) or 'no interval'})"
        + (f", of which {number(row.part.value)}" if row.part is not None else "")
        for row in shown
        if row.estimate
    )
    return drawing.render(ident=ident, title=title, description=described)


def curve_chart(
    curves: Sequence[Curve],
    margin: float | None,
    *,
    axis: tuple[str, str],
    ident: str,
    title: str,
    logarithmic: bool = False,
    ticks: tuple[float, ...] | None = None,
) -> str:
    """Draw lines over a number: a share of rows, or a count of rows on a logarithmic scale."""
    drawn = [curve for curve in curves if curve.points]
    xs = sorted({x for curve in drawn for x, _ in curve.points})
    if len(xs) < 2:
        return ""
    height, bottom, left = 270, 226, 52
    drawing = Drawing(WIDTH, height)
    across = log_scale(xs, left + 14, WIDTH - 22) if logarithmic else linear_scale(xs[0], xs[-1], left + 14, WIDTH - 22)
    if ticks:
        across = Scale(across.place, across.low, across.high, ticks)
    values = [e for curve in drawn for _, e in curve.points]
    highs = [min(e.high, 2 * abs(float(e.value or 0.0)) + 0.1) for e in values if e.high is not None]
    lowest = min([0.0, *(float(e.value or 0.0) for e in values)])
    scale = linear_scale(lowest, min(max([*highs, *(float(e.value or 0.0) for e in values), 2 * (margin or 0.01)]), 1.0), bottom, 14)
    drawing.axis_y(scale, left, WIDTH - 8, title=axis[1])
    drawing.axis_x(across, bottom, title=axis[0])
    if margin is not None:
        _margin(drawing, at=scale(margin), start=left, end=WIDTH - 8)
    for index, curve in enumerate(drawn):
        shift = (index - (len(drawn) - 1) / 2) * 4
        spots = [(across(x) + shift, scale(float(e.value or 0.0))) for x, e in curve.points]
        _drawn_curve(drawing, spots, [e for _, e in curve.points], curve.style, scale)
    described = _described((curve.name, [(f"{x:g}", e.value) for x, e in curve.points]) for curve in drawn)
    return drawing.render(ident=ident, title=title, description=described)


def _points(view: AttributeView) -> list[tuple[str, Estimate, Estimate]]:
    """Return (name, leak, gap) of the regimes and trained or untrained references that have both."""
    rows = [*view.rows, *(row for row in view.references if row.regime in ("untrained", "reweighed"))]
    pairs = [(row.regime, row.leak, row.gap) for row in rows]
    return [(name, leak, gap) for name, leak, gap in pairs if leak and gap and leak.value is not None and gap.value is not None]


def _band(drawing: Drawing, profile: Profile, places: dict[str, float], half: float, scale: Scale) -> None:
    """Draw, from zero up, what placebos reach, and darker what chance alone does."""
    for known, colour, opacity in ((profile.band, "km", 0.16), (profile.floor, "km", 0.4)):
        sites = [site for site in profile.sites if site in known]
        if not sites:
            continue
        ends = (
            (places[sites[0]] - half, known[sites[0]]),
            *((places[s], known[s]) for s in sites),
            (places[sites[-1]] + half, known[sites[-1]]),
        )
        top = [(x, scale(value)) for x, value in ends]
        drawing.area([(ends[0][0], scale(0.0)), *top, (ends[-1][0], scale(0.0))], colour, opacity=opacity)


def _drawn_curve(drawing: Drawing, spots: Sequence[tuple[float, float]], estimates: Sequence[Estimate], style: Style, scale: Scale) -> None:
    drawing.path(spots, style.colour, dashes=style.dashes)
    for (x, y), e in zip(spots, estimates, strict=True):
        _interval(drawing, e, scale, style.colour, x=x)
        drawing.mark(x, y, style)


def _interval(drawing: Drawing, e: Estimate, scale: Scale, colour: str, *, x: float = 0.0, y: float | None = None) -> None:
    """Draw an interval along a scale: level at ``y``, else upright at ``x``."""
    if e.low is not None and e.high is not None:
        cut = (not scale.holds(e.low), not scale.holds(e.high))
        start, end = ((scale(end), y) if y is not None else (x, scale(end)) for end in (e.low, e.high))
        drawing.interval(start, end, colour, cut=cut)


def _margin(drawing: Drawing, *, at: float, start: float, end: float, upright: bool = False) -> None:
    """Draw the dashed line of a margin."""
    ends = (at, start, at, end) if upright else (start, at, end, at)
    drawing.line(*ends, "kg", width=1.2, dashes=_MARGIN_DASHES)


def _described(named: Iterable[tuple[str, Iterable[tuple[str, float | None]]]]) -> str:
    """The numbers of a chart in words, for whoever does not see it."""
    return "; ".join(f"{name}: " + ", ".join(f"{place} {number(value)}" for place, value in values) for name, values in named)


def _cross(drawing: Drawing, leak: Estimate, gap: Estimate, style: Style, across: Scale, up: Scale) -> None:
    x, y = across(float(leak.value or 0.0)), up(float(gap.value or 0.0))
    _interval(drawing, leak, across, style.colour, y=y)
    if gap.low is not None and gap.high is not None:
        drawing.line(x, up(gap.low), x, up(gap.high), style.colour, width=1.6)
    drawing.mark(x, y, style, size=5.5)
