"""Pictures of several panels that share their scales: the answer at a glance, places along the model, and cures against their cost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from proxyaudit.reporting.charts import WIDTH, Styles
from proxyaudit.reporting.scale import Scale as Words
from proxyaudit.reporting.summary import Profile
from proxyaudit.reporting.svg import Drawing, Scale, Style, fit, linear_scale, width_of
from proxyaudit.reporting.text import hundredths, number
from proxyaudit.types import Estimate

AS_IT_IS = "as it is"  # a kind of training whose rows were not altered
_STEP = 24
_POINTS = Words()
_LABELS = 106
_MUTED = Style("km", "cross")


class Panel(NamedTuple):
    """One column of the picture at a glance: numbers by row, the band that is too small to count, and what its unit is."""

    title: str
    numbers: Mapping[str, Estimate]
    band: tuple[float, float] | None
    unit: str = ""
    fine: bool = False  # whether numbers below ten have a decimal


def overview_chart(rows: Mapping[str, Style], panels: Sequence[Panel], *, ident: str, title: str) -> str:
    """Draw a row for each kind of training and each thing that gives the scale, a panel for each number; all are shares, told times 100."""
    shown = [name for name in rows if any(name in panel.numbers for panel in panels)]
    drawn = [panel for panel in panels if panel.numbers]
    if not shown or not drawn:
        return ""
    top, room = 26, (WIDTH - _LABELS) / len(drawn)
    bottom = top + _STEP * len(shown) + 4
    drawing = Drawing(WIDTH, bottom + 20)
    for k, panel in enumerate(drawn):
        left, right = _LABELS + k * room + 4, _LABELS + (k + 1) * room - 36
        scale = _scale(panel, left, right)
        drawing.text(left, 15, f"{panel.title}{panel.unit}")
        if panel.band is not None:
            low, high = (scale(end) for end in panel.band)
            drawing.area(((low, top), (high, top), (high, bottom), (low, bottom)), "km", opacity=0.22)
        drawing.line(scale(0.0), top, scale(0.0), bottom, "km")
        for tick in scale.ticks:
            drawing.text(
                scale(tick), bottom + 15, number(100 * tick, 0 if scale.high - scale.low > 0.04 else 1), anchor="middle", colour="km"
            )
        drawing.line(left, bottom, right, bottom, "kl")
        for index, name in enumerate(shown):
            e, y = panel.numbers.get(name), top + _STEP * (index + 0.5)
            if e is None or e.value is None:
                continue
            drawing.interval(e, scale, rows[name].colour, y=y)
            drawing.mark(scale(e.value), y, rows[name])
            drawing.text(right + 34, y + 4, _hundredths(e.value, panel), anchor="end")
    for index, name in enumerate(shown):
        drawing.text(0, top + _STEP * (index + 0.5) + 4, fit(name, _LABELS - 6), colour=rows[name].colour)
    said = (
        f"{panel.title}{panel.unit}: " + ", ".join(f"{name} {_told(panel.numbers[name], panel)}" for name in shown if name in panel.numbers)
        for panel in drawn
    )
    return drawing.render(ident=ident, title=title, description="; ".join(said))


def _scale(panel: Panel, left: float, right: float) -> Scale:
    """From the smallest to the largest number, with room for intervals that are not much longer than the numbers."""
    values = [e.value or 0.0 for e in panel.numbers.values()]
    ends = [end for e in panel.numbers.values() for end in (e.low, e.high) if end is not None]
    band = panel.band or (0.0, 0.0)
    high = max([0.0, band[1], *values, min(max(ends, default=0.0), 1.5 * max([0.0, *values]))])
    low = min([0.0, band[0], *values, max(min(ends, default=0.0), 1.5 * min([0.0, *values]))])
    room = 0.06 * (high - low) or 0.01
    return linear_scale(low - (room if low < 0 else 0.0), high + room, left, right, most=3)


def _hundredths(value: float, panel: Panel) -> str:
    """A share times 100; of what is small, with a decimal if the panel wants it."""
    return number(100 * value, 1 if panel.fine and abs(value) < 0.0995 else 0)


def _told(e: Estimate, panel: Panel) -> str:
    ends = f" ({_hundredths(e.low, panel)} to {_hundredths(e.high, panel)})" if e.low is not None and e.high is not None else ""
    return f"{_hundredths(e.value or 0.0, panel)}{ends}"


class Spot(NamedTuple):
    """A point of the frontier: a cure with what it costs and what it leaves."""

    name: str
    cost: Estimate
    left: Estimate


class Ends(NamedTuple):
    """The ends of the two scales, which the pictures of one attribute share."""

    low: float
    high: float
    top: float


def frontier_ends(gaps: Iterable[Estimate], spots: Sequence[Spot], margin: float | None) -> Ends:
    """Ends that show all of these gaps and costs; gaps are shares."""
    costs = [spot.cost.value or 0.0 for spot in spots]
    low, high = min([0.0, *costs]), max([0.012, *costs])
    room = 0.06 * (high - low)
    sizes = [abs(e.value or 0.0) for e in (*gaps, *(spot.left for spot in spots))]
    return Ends(low - room, high + room, 1.15 * max([*sizes, 1.5 * (margin or 0.0)]))


def frontier_chart(
    before: Estimate,
    spots: Sequence[Spot],
    margin: float | None,
    style: Style,
    ends: Ends,
    *,
    ident: str,
    title: str,
    scale: Words = _POINTS,
) -> str:
    """Draw what is left of the gap against what it costs; the point at no cost is the training rows as they are."""
    if not spots:
        return ""
    height, bottom, left, right = 270, 226, 52, WIDTH - 12
    drawing = Drawing(WIDTH, height)
    before, spots = _points(before), [spot._replace(left=_points(spot.left)) for spot in spots]
    margin = None if margin is None else 100 * margin
    across = linear_scale(ends.low, ends.high, left + 8, right)
    up = linear_scale(0.0, 100 * ends.top, bottom, 14)
    if margin is not None:
        drawing.area(((left, up(margin)), (right, up(margin)), (right, bottom), (left, bottom)), "km", opacity=0.22)
        drawing.text(left + 12, bottom - 5, "too small to count", colour="km")
    drawing.axis_y(up, left, right, title=f"Gap left, {scale.unit}")
    drawing.axis_x(across, bottom, title=f"{scale.task.word} it costs")
    drawing.line(across(0.0), 14, across(0.0), bottom, "kl")
    points = [(AS_IT_IS, across(0.0), before, None), *((s.name, across(s.cost.value or 0.0), s.left, s.cost) for s in spots)]
    taken = [] if margin is None else [_words("too small to count", left + 12, bottom - 5, end=False)]
    for name, x, e, cost in sorted(points, key=lambda point: -abs(point[2].value or 0.0)):
        y, look = up(abs(e.value or 0.0)), style if cost is not None else _MUTED
        _size_interval(drawing, e, up, look.colour, x)
        if cost is not None:
            drawing.interval(cost, across, look.colour, y=y)
        drawing.mark(x, y, look)
        shown = fit(name, 150)
        box = _free(shown, x, y - 6, taken, (20.0, bottom - 3.0), end=x > (left + right) / 2)
        taken.append(box)
        drawing.text(box.left, box.line, shown)
    said = "; ".join(
        f"{name}: {number(abs(e.value or 0.0), 1)} {scale.unit} left" + (f", costs {number(cost.value)}" if cost else "")
        for name, _, e, cost in points
    )
    return drawing.render(ident=ident, title=title, description=said)


class _Words(NamedTuple):
    """Where words stand in a picture: from left to right, on a line."""

    left: float
    right: float
    line: float

    def over(self, other: "_Words") -> bool:
        """Whether one runs into the other."""
        return abs(self.line - other.line) < 12 and self.left < other.right and other.left < self.right


def _words(text: str, x: float, line: float, *, end: bool) -> _Words:
    """Words that start, or end, at a place."""
    wide = width_of(text)
    return _Words(x - wide, x, line) if end else _Words(x, x + wide, line)


def _free(text: str, x: float, line: float, taken: Sequence[_Words], within: tuple[float, float], *, end: bool) -> _Words:
    """Where a name stands: beside its point, on the other side, or some lines up or down, as near as there is room."""
    tried = [
        _words(text, x + (-7 if side else 7), line + 6 * step, end=side)
        for step in sorted(range(-40, 41), key=lambda step: (abs(step), -step))
        for side in (end, not end)
    ]
    room = [one for one in tried if within[0] <= one.line <= within[1] and one.left >= 52 and one.right <= WIDTH]
    return next((one for one in room if not any(one.over(other) for other in taken)), tried[0])


def _points(e: Estimate) -> Estimate:
    return hundredths(e) or e


def _size_interval(drawing: Drawing, e: Estimate, scale: Scale, colour: str, x: float) -> None:
    """The interval of a gap's size: from zero where the gap may go either way."""
    if e.low is not None and e.high is not None:
        low, high = (0.0, max(-e.low, e.high)) if e.low <= 0 <= e.high else sorted((abs(e.low), abs(e.high)))
        drawing.interval(e.model_copy(update={"low": low, "high": high}), scale, colour, x=x)


_COLUMNS, _WIDE, _HIGH = 2, WIDTH / 2, 104
_BEHIND = ("untrained", "inputs")


def multiples_chart(profile: Profile, styles: Styles, *, ident: str, title: str, unit: str) -> str:
    """Draw numbers along the model's sites, a small panel for each kind of training with shared scales.

    In every panel: in grey the untrained network, and as bands what placebos (light) and chance (dark) reach; dashed the margin; as short
    bars the detection limits.
    """
    front = [name for name in profile.series if name not in _BEHIND] or list(profile.series)
    behind = [name for name in profile.series if name not in front]
    lines = -(-len(front) // _COLUMNS)
    drawing = Drawing(WIDTH, int(lines * _HIGH + 22 + (66 if _slanted(profile.sites) else 18)))
    drawing.text(0, 12, unit, colour="km")
    tops = [e.value or 0.0 for at in profile.series.values() for e in at.values()]
    tops += [min(e.high, 1.5 * (e.value or 0.0)) for at in profile.series.values() for e in at.values() if e.high is not None]
    most = 1.05 * max([*tops, *profile.band.values(), 3 * (profile.margin or 0.0), 0.01])
    for index, name in enumerate(front):
        x, y = (index % _COLUMNS) * _WIDE + 34, index // _COLUMNS * _HIGH + 36
        scale, end = linear_scale(0.0, most, y + _HIGH - 32, y, most=2), x + _WIDE - 42
        places = {site: x + (end - x) * (k + 0.5) / len(profile.sites) for k, site in enumerate(profile.sites)}
        _backdrop(drawing, profile, places, scale, (x, end))
        for other in behind:
            drawing.path([(places[site], scale(e.value or 0.0)) for site, e in profile.series[other].items()], "km", dashes=(2, 2))
            for site, e in profile.series[other].items():
                drawing.mark(places[site], scale(e.value or 0.0), styles(other), size=3)
        drawing.path([(places[site], scale(e.value or 0.0)) for site, e in profile.series[name].items()], styles(name).colour)
        for site, e in profile.series[name].items():
            drawing.interval(e, scale, styles(name).colour, x=places[site])
            drawing.mark(places[site], scale(e.value or 0.0), styles(name), size=3.5)
        drawing.text(x, y - 6, fit(name, _WIDE - 44), colour=styles(name).colour)
        for tick in scale.ticks:
            drawing.text(x - 4, scale(tick) + 4, number(100 * tick, 0 if most > 0.04 else 1), anchor="end", colour="km")
        if index + _COLUMNS >= len(front):
            _site_names(drawing, profile.sites, places, y + _HIGH - 32)
    return drawing.render(ident=ident, title=title, description=_described(profile))


def _backdrop(drawing: Drawing, profile: Profile, places: Mapping[str, float], scale: Scale, ends: tuple[float, float]) -> None:
    start, end = ends
    for tick in scale.ticks:
        drawing.line(start, scale(tick), end, scale(tick), "kl", width=0.7)
    for known, opacity in ((profile.band, 0.16), (profile.floor, 0.4)):
        if top := [(places[site], scale(known[site])) for site in profile.sites if site in known]:
            half, zero = (end - start) / len(profile.sites) / 2, scale(0.0)
            first, last = top[0][0] - half, top[-1][0] + half
            drawing.area([(first, zero), (first, top[0][1]), *top, (last, top[-1][1]), (last, zero)], "km", opacity=opacity)
    if profile.margin is not None:
        drawing.line(start, scale(profile.margin), end, scale(profile.margin), "kg", width=1.2, dashes=(4, 3))
    for site, limit in ((site, limit) for site, limit in profile.detection.items() if scale.holds(limit)):
        drawing.line(places[site] - 5, scale(limit), places[site] + 5, scale(limit), "kg", width=2)


def _slanted(sites: Sequence[str]) -> bool:
    return len(sites) > 2 or any(len(site) > 11 for site in sites)


def _site_names(drawing: Drawing, sites: Sequence[str], places: Mapping[str, float], y: float) -> None:
    slanted = _slanted(sites)
    # Of many places every second or third is named.
    for site in sites[:: -(-len(sites) // 7)]:
        shown, anchor = fit(site, 70 if slanted else 68), "end" if slanted else "middle"
        drawing.text(places[site] + (4 if slanted else 0), y + 15, shown, anchor=anchor, turn=-40 if slanted else 0, colour="km")


def _described(profile: Profile) -> str:
    told: list[tuple[str, Iterable[tuple[str, float | None]]]] = [
        (name, [(site, e.value) for site, e in at.items()]) for name, at in profile.series.items()
    ]
    more = (("placebo band up to", profile.band), ("floor", profile.floor), ("detection limit", profile.detection))
    told += [(word, values.items()) for word, values in more if values]
    return "; ".join(f"{name}: " + ", ".join(f"{place} {number(value)}" for place, value in values) for name, values in told)
