"""Inline SVG written by hand: no library, no script, no font; coordinates have one decimal, so that same numbers give same bytes."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from html import escape
from typing import NamedTuple

from proxyaudit.reporting.text import number, squeeze, visible
from proxyaudit.types import Estimate


def _around(count: int, *, turn: float = 0.0, inner: float = 0.0) -> tuple[tuple[float, float], ...]:
    """Corners of a regular polygon, or of a star if ``inner`` is the share of every second corner."""
    corners = count * 2 if inner else count
    radii = [inner if inner and index % 2 else 1.0 for index in range(corners)]
    angles = [math.pi * (2 * index / corners - 0.5) + turn for index in range(corners)]
    return tuple((r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True))


# Filled shapes of about equal weight, told apart without colour; and strokes for what never gets a verdict.
_SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "up": _around(3),
    "diamond": ((0, -1.2), (0.9, 0), (0, 1.2), (-0.9, 0)),
    "down": _around(3, turn=math.pi),
    "plus": (
        *((-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35)),
        *((0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35)),
    ),
    "star4": _around(4, inner=0.4),
    "pentagon": _around(5),
    "left": _around(3, turn=-math.pi / 2),
    "right": _around(3, turn=math.pi / 2),
    "hexagon": _around(6),
    "star": _around(5, inner=0.45),
}
_STROKES = {"cross": ((-0.8, -0.8, 0.8, 0.8), (-0.8, 0.8, 0.8, -0.8)), "upright": ((-1, 0, 1, 0), (0, -1, 0, 1)), "bar": ((0, -1, 0, 1),)}
_SIZE = 12
# Shares of the font's size; what is not listed counts as an average letter.
_WIDTHS = {**dict.fromkeys("iljtfrI.,:;'|!()[] ", 0.4), **dict.fromkeys("mwMW@%", 0.98), **dict.fromkeys("ABCDEFGHKNOPQRSTUVXYZ_", 0.72)}


class Style(NamedTuple):
    """How a series is drawn: never by colour alone. ``colour`` is a class of the page."""

    colour: str
    marker: str
    dashes: tuple[float, ...] = ()


class Scale(NamedTuple):
    """From numbers to pixels, with the numbers to be written beside the axis."""

    place: Callable[[float], float]
    low: float
    high: float
    ticks: tuple[float, ...]

    def __call__(self, value: float) -> float:
        """The pixel of a number; what lies outside stands at the edge."""
        return self.place(min(max(value, self.low), self.high))

    def holds(self, value: float) -> bool:
        """Whether a number lies within the picture."""
        return self.low - 1e-12 <= value <= self.high + 1e-12


def linear_scale(low: float, high: float, start: float, end: float, *, most: int = 5) -> Scale:
    """An even scale from ``low`` at pixel ``start`` to ``high`` at ``end``."""
    high = high if high > low else low + 1.0
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (1, 2, 2.5, 5, 10) if step * power >= rough * 0.999) * power
    ticks = tuple(index * step for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1))
    return Scale(lambda value: start + (value - low) / (high - low) * (end - start), low, high, ticks)


def root_scale(high: float, start: float, end: float) -> Scale:
    """A square-root scale from zero, so that a margin of .02 is a place that can be seen beside .8."""
    high = max(high, 1e-6)
    kept = [0.0]
    for tick in (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0):
        shown = tick <= high and (math.sqrt(tick / high) > 0.16 or tick == 0.01)
        if shown and math.sqrt(tick / high) - math.sqrt(kept[-1] / high) > 0.09:
            kept.append(tick)
    return Scale(lambda value: start + math.sqrt(max(value, 0.0) / high) * (end - start), 0.0, high, tuple(kept))


def log_scale(values: Sequence[float], start: float, end: float) -> Scale:
    """A logarithmic scale over positive numbers, each of which is written."""
    low, high = min(values), max(values)
    span = math.log(high / low) or 1.0
    return Scale(lambda value: start + math.log(value / low) / span * (end - start), low, high, tuple(dict.fromkeys(values)))


def fit(text: str, room: float) -> str:
    """Return ``text``, cut in the middle, so that it is about ``room`` pixels wide at most; no font is at hand to measure with."""
    shown = visible(text)
    # No letter is narrower than .4 of the size: what is longer than this cannot fit.
    length = min(len(shown), int(room / (0.4 * _SIZE)) + 1)
    cut = squeeze(shown, length)
    while length > 3 and width_of(cut) > room:
        length -= 1
        cut = squeeze(shown, length)
    return cut


def width_of(text: str) -> float:
    """About how many pixels wide ``text`` is."""
    return sum(_WIDTHS.get(letter, _average(ord(letter))) for letter in text) * _SIZE


def _average(code: int) -> float:
    """The share of the font's size of an average letter of this letter's script."""
    if code > 0x2E7F:
        return 1.0
    return 0.7 if 0x0590 <= code <= 0x08FF else 0.58


class Drawing:
    """Collects the elements of one chart."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._made: list[str] = []
        self._path: tuple[str, str] | None = None  # how the last element begins and ends, if it is a path

    def _add(self, element: str) -> None:
        self._made.append(element)
        self._path = None

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1.0, dashes: Sequence[float] = ()) -> None:
        """Draw a straight line."""
        self.path(((x1, y1), (x2, y2)), colour, width=width, dashes=dashes)

    def path(self, points: Sequence[tuple[float, float]], colour: str, *, width: float = 1.6, dashes: Sequence[float] = ()) -> None:
        """Draw a line through points."""
        if len(points) < 2:
            return
        course = " ".join(f"{'ML'[index > 0]}{_short(x)} {_short(y)}" for index, (x, y) in enumerate(points))
        dash = f' stroke-dasharray="{" ".join(f"{d:g}" for d in dashes)}"' if dashes else ""
        wide = "" if width == 1.6 else f" w{10 * width:.0f}"
        start, end = f'<path class="{colour}{wide}" d="', f'"{dash}/>'
        # Lines of one look that follow each other are one element: a page holds thousands of them.
        if self._path == (start, end):
            self._made[-1] = self._made[-1].removesuffix(end) + course + end
        else:
            self._add(f"{start}{course}{end}")
            self._path = start, end

    def area(self, points: Sequence[tuple[float, float]], colour: str, *, opacity: float = 0.16) -> None:
        """Fill a shape faintly."""
        corners = " ".join(f"{_short(x)},{_short(y)}" for x, y in points)
        self._add(f'<polygon class="{colour}" points="{corners}" fill-opacity="{opacity:g}"/>')

    def mark(self, x: float, y: float, style: Style, *, size: float = 4.5) -> None:
        """Draw a point in the shape of its series."""
        if style.marker in _STROKES:
            for x1, y1, x2, y2 in _STROKES[style.marker]:
                self.line(x + x1 * size, y + y1 * size, x + x2 * size, y + y2 * size, style.colour, width=1.8)
        elif style.marker in _SHAPES:
            corners = " ".join(f"{_short(x + a * size)},{_short(y + b * size)}" for a, b in _SHAPES[style.marker])
            self._add(f'<polygon class="{style.colour}" points="{corners}"/>')
        else:
            self._add(f'<circle class="{style.colour}" cx="{_short(x)}" cy="{_short(y)}" r="{_short(size * 0.92)}"/>')

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "start", colour: str = "ki", size: float = _SIZE, turn: float = 0
    ) -> None:
        """Write words; what comes from data is escaped and made visible."""
        where = f'x="{_short(x)}" y="{_short(y)}"'
        turned = f' transform="rotate({turn:g} {_short(x)} {_short(y)})"' if turn else ""
        sized = "" if size == _SIZE else f' font-size="{size:g}"'
        anchored = "" if anchor == "start" else f" t{anchor[0]}"
        self._add(f'<text class="{colour}{anchored}" {where}{sized}{turned}>{escape(visible(text))}</text>')

    def interval(self, e: Estimate, scale: Scale, colour: str, *, x: float = 0.0, y: float | None = None) -> None:
        """Draw an interval along a scale, level at ``y``, else upright at ``x``; an arrow where it goes on beyond the picture."""
        if e.low is None or e.high is None:
            return
        low, high = ((scale(end), y) if y is not None else (x, scale(end)) for end in (e.low, e.high))
        self.line(*low, *high, colour, width=1.6)
        for (at, up), end, tip in ((low, e.low, -5), (high, e.high, 5)):
            if not scale.holds(end):
                level = [(at, up - 3.5), (at + tip, up), (at, up + 3.5)]
                self.area(level if y is not None else [(at - 3.5, up), (at, up - tip), (at + 3.5, up)], colour, opacity=1)

    def axis_x(self, scale: Scale, y: float, *, title: str, top: float | None = None, times: float = 1.0) -> None:
        """Draw a scale below the picture, its numbers ``times`` what they are."""
        for tick in scale.ticks if top is not None else ():
            self.line(scale(tick), top or 0.0, scale(tick), y, "kl", width=0.7)
        for tick in scale.ticks:
            self.text(scale(tick), y + 15, _tick(times * tick), anchor="middle", colour="km")
        start, end = scale.place(scale.low), scale.place(scale.high)
        self.line(start, y, end, y, "kl")
        self.text((start + end) / 2, y + 32, title, anchor="middle", colour="km")

    def axis_y(self, scale: Scale, x: float, right: float, *, title: str, times: float = 1.0) -> None:
        """Draw a scale left of the picture, its numbers ``times`` what they are."""
        for tick in scale.ticks:
            self.line(x, scale(tick), right, scale(tick), "kl", width=0.7)
        for tick in scale.ticks:
            self.text(x - 6, scale(tick) + 4, _tick(times * tick), anchor="end", colour="km")
        start, end = scale.place(scale.low), scale.place(scale.high)
        self.line(x, start, x, end, "kl")
        self.text(11, (start + end) / 2, title, anchor="middle", colour="km", turn=-90)

    def render(self, *, ident: str, title: str, description: str) -> str:
        """The chart as an element of a page; ``ident`` must be unique on it."""
        head = f'<svg viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}" font-size="{_SIZE}"'
        if not title:
            return f'{head} aria-hidden="true">{"".join(self._made)}</svg>'
        label = f' role="img" aria-labelledby="{ident}-title {ident}-desc">'
        words = f'<title id="{ident}-title">{escape(visible(title))}</title><desc id="{ident}-desc">{escape(visible(description))}</desc>'
        return head + label + words + "".join(self._made) + "</svg>"


@cache
def swatch(style: Style) -> str:
    """A small drawing of a series' line and point, for a legend in the page."""
    drawing = Drawing(34, 14)
    drawing.line(1, 7, 33, 7, style.colour, width=2, dashes=style.dashes)
    drawing.mark(17, 7, style)
    return drawing.render(ident="", title="", description="")


def _short(place: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{place:z.1f}".removesuffix(".0")


def _tick(value: float) -> str:
    # Counts keep their zeros; shares lose those that say nothing.
    return f"{value:g}" if abs(value) >= 100 else number(value, 4).rstrip("0").rstrip(".")
