"""The pictures of a report. Each is named and described in words; colours are variables of the page, never the only difference."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from proxyaudit.reporting.summary import Row
from proxyaudit.reporting.svg import Drawing, Scale, Style, fit, linear_scale, log_scale, root_scale
from proxyaudit.reporting.text import interval, number
from proxyaudit.types import Estimate

WIDTH = 380
Lines = Mapping[str, Mapping[float, Estimate]]  # name -> place on the axis -> number
Styles = Callable[[str], Style]  # from the name of a line or point to its look
_MARKERS = ("circle", "square", "up", "diamond", "down", "plus", "star4", "pentagon", "left", "right", "hexagon", "star")
_DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 1.5), (6, 2, 1.5, 2), (9, 3), (4, 1.5, 1.5, 1.5, 1.5, 1.5))
_REFERENCE_LOOK: dict[str, tuple[str, tuple[float, ...]]] = {
    "untrained": ("cross", (1.5, 2.5)),
    "reweighed": ("upright", (7, 2, 2, 2)),
    "inputs": ("bar", (1.0, 3.0)),
    "placebo": ("bar", (1.0, 2.0)),
}
_COLOURS = 8


class ForestRow(NamedTuple):
    """A line of a forest plot: a name, a number with its interval, how far chance alone goes, and a part of the number."""

    label: str
    estimate: Estimate | None
    style: Style
    null_high: float | None = None
    part: Estimate | None = None


def style_of(name: str, regimes: Sequence[str]) -> Style:
    """The look of a regime or reference, the same in every chart of a report."""
    if name not in regimes:
        marker, dashes = _REFERENCE_LOOK.get(name, ("cross", (1.0, 2.0)))
        return Style("km", marker, dashes)
    index = list(regimes).index(name)
    return Style(f"k{index % _COLOURS}", _MARKERS[index % len(_MARKERS)], _DASHES[index % len(_DASHES)])


def scatter_chart(
    rows: Iterable[Row], styles: Styles, margins: tuple[float | None, float | None], *, ident: str, title: str, unit: str = "points"
) -> tuple[str, list[str]]:
    """Draw what shows in the outputs against what is inside, one point per row: "hidden" is a place on the picture.

    ``margins`` are those of leak and gap. Returns the drawing and the names of what is in it; empty if nothing can be drawn.
    """
    pairs = [(row.regime, row.leak, row.gap) for row in rows]
    points = [(name, leak, gap) for name, leak, gap in pairs if leak and gap and leak.value is not None and gap.value is not None]
    if not points:
        return "", []
    least, least_gap = (margin if margin is not None else 0.02 for margin in margins)
    height, bottom, left = 310, 262, 56
    drawing = Drawing(WIDTH, height)
    reach = [max(_value(e), min(e.high or 0.0, 1.6 * abs(_value(e)))) for _, *pair in points for e in pair]
    across = root_scale(min(max([*reach[::2], 6 * least]) * 1.1, 1.0), left, WIDTH - 12)
    up = root_scale(min(max([*reach[1::2], 3 * least_gap]) * 1.15, max(1.0, *map(_value, (e for *_, e in points)))), bottom, 14)
    drawing.axis_y(up, left, WIDTH - 12, title=f"Shows in the outputs: gap, {unit}", times=100)
    drawing.axis_x(across, bottom, title="Can be read inside, %", times=100)
    x, y = across(least), up(least_gap)
    drawing.area(((x, y), (WIDTH - 12, y), (WIDTH - 12, bottom), (x, bottom)), "kh", opacity=0.13)
    _margin(drawing, at=x, start=14, end=bottom, upright=True)
    _margin(drawing, at=y, start=left, end=WIDTH - 12)
    drawing.text(WIDTH - 16, 27, "exposed: it shows", anchor="end", colour="km", size=13)
    # The words stand where the points are farthest away.
    taken = [up(_value(outside)) for _, _, outside in points]
    line = max((y + 16, (y + bottom) / 2 + 4, bottom - 8), key=lambda at: min(abs(at - 4 - spot) for spot in taken))
    drawing.text(x + 6, line, "hidden: inside, does not show", colour="km", size=13)
    if x - left > 50:
        drawing.text(left + 4, line, "neither", colour="km", size=13)
    for name, inside, outside in points:
        style, x, y = styles(name), across(_value(inside)), up(_value(outside))
        drawing.interval(inside, across, style.colour, y=y)
        if outside.low is not None and outside.high is not None:
            drawing.line(x, up(outside.low), x, up(outside.high), style.colour, width=1.6)
        drawing.mark(x, y, style, size=5.5)
    described = _described((name, [("can be read, %", inside.value), (f"gap, {unit}", outside.value)]) for name, inside, outside in points)
    return drawing.render(ident=ident, title=title, description=described), [name for name, _, _ in points]


def forest_limits(rows: Sequence[ForestRow], margin: float | None) -> tuple[float, float]:
    """The ends of a scale that shows these rows; of the rows of several pictures it makes them comparable."""
    shown = [(row, row.estimate) for row in rows if row.estimate is not None and row.estimate.value is not None]
    if not shown:
        return 0.0, 1.0
    known = [e for row, whole in shown for e in (whole, row.part) if e is not None]
    values = [_value(e) for e in known]
    highs = [e.high for e in known if e.high is not None]
    lows = [e.low for e in known if e.low is not None]
    # An interval much longer than the numbers themselves would press them into a corner: it is cut, with an arrow.
    widest = max(1.7 * max(values), 2.2 * (margin or 0.0), 1e-6)
    lowest = min(1.7 * min(values), -0.25 * widest, 0.0)
    high = min(max([*values, *highs, *(row.null_high or 0.0 for row, _ in shown), 1.3 * (margin or 0.0)]), widest)
    low = max(min([*values, *lows, 0.0]), lowest)
    room = 0.04 * (high - low)
    return low - (room if low < 0 else 0.0), high + room


def forest_chart(
    rows: Sequence[ForestRow],
    margin: float | None,
    *,
    axis: str,
    ident: str,
    title: str,
    limits: tuple[float, float] | None = None,
    digits: int = 3,
) -> str:
    """Draw numbers with their intervals one below the other, against the margin and what chance alone reaches."""
    shown = [(row, row.estimate) for row in rows if row.estimate is not None and row.estimate.value is not None]
    if not shown:
        return ""
    left, right, step = 136, WIDTH - 48, 24
    bottom = 14 + step * len(shown)
    drawing = Drawing(WIDTH, bottom + 40)
    scale = linear_scale(*(limits or forest_limits(rows, margin)), left, right, most=4)
    drawing.axis_x(scale, bottom, title=axis, top=10)
    drawing.line(scale(0.0), 10, scale(0.0), bottom, "km", width=1)
    if margin is not None and scale.holds(margin):
        _margin(drawing, at=scale(margin), start=10, end=bottom, upright=True)
    for index, (row, e) in enumerate(shown):
        y = 14 + step * (index + 0.5)
        if row.null_high is not None and row.null_high > 0:
            drawing.area(((scale(0.0), y - 7), (scale(row.null_high), y - 7), (scale(row.null_high), y + 7), (scale(0.0), y + 7)), "km")
        drawing.text(left - 10, y + 4, fit(row.label, left - 14), anchor="end")
        lift = 0.0
        if row.part is not None and row.part.value is not None:
            lift = 4.0
            drawing.interval(row.part, scale, "km", y=y + lift)
            drawing.mark(scale(row.part.value), y + lift, Style("km", "upright"))
        drawing.interval(e, scale, row.style.colour, y=y - lift)
        drawing.mark(scale(_value(e)), y - lift, row.style)
        drawing.text(WIDTH - 4, y + 4, number(e.value, digits), anchor="end")
    parts = [f", through its direction inside {number(row.part.value, digits)}" if row.part is not None else "" for row, _ in shown]
    numbers = [f"{row.label} {number(e.value, digits)} ({interval(e, digits) or 'no interval'})" for row, e in shown]
    described = "; ".join(whole + part for whole, part in zip(numbers, parts, strict=True))
    return drawing.render(ident=ident, title=title, description=described)


def curve_chart(
    lines: Lines,
    styles: Styles,
    *,
    axis: tuple[str, str],
    ident: str,
    title: str,
    ticks: tuple[float, ...] = (),
    breaks: tuple[float, ...] = (),
) -> str:
    """Draw lines, times 100, over a number with its ``ticks``, or without them over a count of rows on a logarithmic scale.

    ``breaks`` are places on the axis where something changed: an upright line stands there.
    """
    xs = sorted({x for at in lines.values() for x in at})
    if len(xs) < 2:
        return ""
    height, bottom, left = 270, 226, 52
    drawing = Drawing(WIDTH, height)
    start, end = left + 14, WIDTH - 22
    across = linear_scale(xs[0], xs[-1], start, end)._replace(ticks=ticks) if ticks else log_scale(xs, start, end)
    estimates = [e for at in lines.values() for e in at.values()]
    values = [_value(e) for e in estimates]
    highs = [min(e.high, 2 * abs(_value(e)) + 0.1) for e in estimates if e.high is not None]
    scale = linear_scale(min([0.0, *values]), min(max([*highs, *values, 0.02]), max([1.0, *values])), bottom, 14)
    drawing.axis_y(scale, left, WIDTH - 8, title=axis[1], times=100)
    drawing.axis_x(across, bottom, title=axis[0])
    for x in breaks:
        _margin(drawing, at=across(x), start=14, end=bottom, upright=True)
    for index, (name, at) in enumerate(lines.items()):
        shift = (index - (len(lines) - 1) / 2) * 4
        _drawn_curve(drawing, [(across(x) + shift, e) for x, e in at.items()], styles(name), scale)
    described = _described((name, [(f"{x:g}", e.value) for x, e in at.items()]) for name, at in lines.items())
    return drawing.render(ident=ident, title=title, description=described)


def _value(e: Estimate) -> float:
    return float(e.value or 0.0)


def _drawn_curve(drawing: Drawing, spots: Sequence[tuple[float, Estimate]], style: Style, scale: Scale) -> None:
    drawing.path([(x, scale(_value(e))) for x, e in spots], style.colour, dashes=style.dashes)
    for x, e in spots:
        drawing.interval(e, scale, style.colour, x=x)
        drawing.mark(x, scale(_value(e)), style)


def _margin(drawing: Drawing, *, at: float, start: float, end: float, upright: bool = False) -> None:
    ends = (at, start, at, end) if upright else (start, at, end, at)
    drawing.line(*ends, "kg", width=1.2, dashes=(4, 3))


def _described(named: Iterable[tuple[str, Iterable[tuple[str, float | None]]]]) -> str:
    """The numbers of a chart, times 100, in words for whoever does not see it."""
    return "; ".join(f"{name}: " + ", ".join(f"{place} {_hundred(value)}" for place, value in values) for name, values in named)


def _hundred(value: float | None) -> str:
    return number(None if value is None else 100 * value, 1)
