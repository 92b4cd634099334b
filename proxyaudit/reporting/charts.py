"""Charts as inline SVG: drawn offline by matplotlib, made safe to stand several on one page.

Same numbers, same bytes: fixed salt, no date, default settings whatever the user's matplotlibrc says.
Colours are CSS variables of the page, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from proxyaudit.reporting.summary import AttributeView, Profile
from proxyaudit.reporting.text import number, shorten, visible
from proxyaudit.types import Estimate

__all__ = ["Style", "profile_chart", "scatter_chart", "style_of", "swatch"]

# Stand-ins that matplotlib can draw with; they become variables of the page.
_VARIABLES = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--margin)",
    "#050505": "var(--page)",
    **{f"#0101{index + 16:02x}": f"var(--s{index})" for index in range(8)},
}
_INK, _MUTED, _LINE, _MARGIN, _PAGE = list(_VARIABLES)[:5]
_SERIES = list(_VARIABLES)[5:]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
_DASHES: tuple[tuple[float, ...], ...] = ((), (6, 2), (2, 1.5), (6, 2, 1.5, 2), (9, 3), (4, 1.5, 1.5, 1.5, 1.5, 1.5))
_REFERENCE_LOOK = {"untrained": ("x", (1.5, 2.5)), "reweighed": ("+", (7, 2, 2, 2)), "inputs": ("d", (1.0, 3.0))}
_WIDTH, _HEIGHT = 420, 290
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"


@dataclass(frozen=True)
class Style:
    """How a series is drawn: never by colour alone."""

    colour: str
    marker: str
    dashes: tuple[float, ...]


def style_of(name: str, regimes: Sequence[str]) -> Style:
    """Return the look of a regime or reference, the same in every chart of a report."""
    if name not in regimes:
        marker, dashes = _REFERENCE_LOOK.get(name, ("1", (1.0, 2.0)))
        return Style(_MUTED, marker, dashes)
    index = list(regimes).index(name)
    return Style(_SERIES[index % len(_SERIES)], _MARKERS[index % len(_MARKERS)], _DASHES[index % len(_DASHES)])


def profile_chart(profile: Profile, regimes: Sequence[str], *, ident: str, title: str) -> str:
    """Draw the linear leak along the model's sites; ``ident`` must be unique on the page."""
    positions = {site: index for index, site in enumerate(profile.sites)}

    def draw(axes: Axes) -> None:
        count = len(profile.series)
        for index, series in enumerate(profile.series):
            style = style_of(series.name, regimes)
            # Series stand a little apart so that their intervals do not cover each other.
            shift = (index - (count - 1) / 2) * min(0.5 / max(count, 1), 0.08)
            xs = [positions[site] + shift for site, _ in series.points]
            _line(axes, xs, [estimate for _, estimate in series.points], style)
        if profile.band:
            sites = [site for site in profile.sites if site in profile.band]
            xs = [positions[site] for site in sites]
            axes.fill_between(
                [xs[0] - 0.3, *xs, xs[-1] + 0.3],
                [profile.band[site] for site in (sites[0], *sites, sites[-1])],
                color=_MUTED,
                alpha=0.16,
                linewidth=0,
                zorder=0.5,
            )
        if profile.margin is not None:
            axes.axhline(profile.margin, color=_MARGIN, linewidth=1.2, dashes=(4, 3), zorder=1)
        axes.set_xlim(-0.5, max(len(profile.sites) - 0.5, 0.5))
        names = [shorten(visible(site), 16) for site in profile.sites]
        slanted = len(names) > 4 or any(len(name) > 9 for name in names)
        axes.set_xticks(
            range(len(names)), names, rotation=35 if slanted else 0, ha="right" if slanted else "center", rotation_mode="anchor"
        )
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.set_ylabel("Leak inside")

    description = "; ".join(f"{s.name}: " + ", ".join(f"{site} {number(e.value)}" for site, e in s.points) for s in profile.series)
    return _svg(draw, ident=ident, title=title, description=description)


def scatter_chart(
    view: AttributeView, regimes: Sequence[str], margins: tuple[float | None, float | None], *, ident: str, title: str
) -> tuple[str, list[str]]:
    """Draw what shows in the outputs against what is inside, one point per regime.

    Args:
        view: The attribute.
        regimes: All regimes of the report, for their looks.
        margins: Margins of leak and gap.
        ident: Unique on the page.
        title: Accessible name of the chart.

    Returns:
        The drawing and the names of what is in it; empty if nothing can be drawn.
    """
    points = _points(view)
    if not points:
        return "", []

    def draw(axes: Axes) -> None:
        for name, inside, outside in points:
            _cross(axes, inside, outside, style_of(name, regimes))
        leak, gap = margins
        if leak is not None:
            axes.axvline(leak, color=_MARGIN, linewidth=1.2, dashes=(4, 3), zorder=1)
        if gap is not None:
            axes.axhline(gap, color=_MARGIN, linewidth=1.2, dashes=(4, 3), zorder=1)
        axes.set_xlim(min(0.0, axes.get_xlim()[0]), max(axes.get_xlim()[1], 0.1))
        axes.set_ylim(min(0.0, axes.get_ylim()[0]), max(axes.get_ylim()[1], 0.1))
        axes.set_xlabel("Leak inside, at the verdict site")
        axes.set_ylabel("Output gap")

    described = (f"{name}: leak {number(inside.value)}, gap {number(outside.value)}" for name, inside, outside in points)
    return _svg(draw, ident=ident, title=title, description="; ".join(described)), [name for name, _, _ in points]


def swatch(style: Style, *, ident: str) -> str:
    """Return a small drawing of a series' line and marker for a legend in the page."""
    return _swatch(style).replace("swatch-", f"{ident}-")


@cache
def _swatch(style: Style) -> str:
    def draw(axes: Axes) -> None:
        axes.set_axis_off()
        axes.plot([0, 1], [0, 0], color=style.colour, linewidth=2, dashes=style.dashes or (None, None))
        axes.plot([0.5], [0], color=style.colour, marker=style.marker, markersize=7, linestyle="none")
        axes.set(xlim=(-0.05, 1.05), ylim=(-1, 1))

    return _svg(draw, ident="swatch", title="", description="", size=(34, 14))


def _points(view: AttributeView) -> list[tuple[str, Estimate, Estimate]]:
    """Return (name, leak, gap) of the regimes and trained or untrained references that have both."""
    rows = [*view.rows, *(row for row in view.references if row.regime in ("untrained", "reweighed"))]
    pairs = [(row.regime, row.leak, row.gap) for row in rows]
    return [(name, leak, gap) for name, leak, gap in pairs if leak and gap and leak.value is not None and gap.value is not None]


def _line(axes: Axes, xs: Sequence[float], estimates: Sequence[Estimate], style: Style) -> None:
    ys = [float(e.value or 0.0) for e in estimates]
    dashes = style.dashes or (None, None)
    axes.plot(xs, ys, color=style.colour, marker=style.marker, markersize=6, linewidth=1.6, dashes=dashes, zorder=3)
    for x, e in zip(xs, estimates, strict=True):
        if e.low is not None and e.high is not None:
            axes.plot([x, x], [e.low, e.high], color=style.colour, linewidth=1.6, alpha=0.75, zorder=2)


def _cross(axes: Axes, leak: Estimate, gap: Estimate, style: Style) -> None:
    x, y = float(leak.value or 0.0), float(gap.value or 0.0)
    if leak.low is not None and leak.high is not None:
        axes.plot([leak.low, leak.high], [y, y], color=style.colour, linewidth=1.6, alpha=0.75, zorder=2)
    if gap.low is not None and gap.high is not None:
        axes.plot([x, x], [gap.low, gap.high], color=style.colour, linewidth=1.6, alpha=0.75, zorder=2)
    axes.plot([x], [y], color=style.colour, marker=style.marker, markersize=8, linestyle="none", zorder=3)


def _svg(draw: Callable[[Axes], None], *, ident: str, title: str, description: str, size: tuple[int, int] = (_WIDTH, _HEIGHT)) -> str:
    small = size != (_WIDTH, _HEIGHT)
    settings: dict[Any, Any] = {
        "svg.hashsalt": ident,
        "svg.fonttype": "none",
        # Names from data are text, never mathematics.
        "text.parse_math": False,
        "font.family": ["DejaVu Sans"],
        "font.size": 11.0,
        "axes.edgecolor": _LINE,
        "axes.labelcolor": _MUTED,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": True,
    }
    buffer = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Letters that the bundled font lacks are drawn by the reader's browser; matplotlib only measures with it.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), facecolor="none")
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0, 0, 1, 1) if small else (0.135, 0.225, 0.85, 0.74), facecolor="none")
        if not small:
            axes.grid(axis="y", color=_LINE, linewidth=0.6, alpha=0.6)
            axes.set_axisbelow(True)
            axes.tick_params(length=3, color=_LINE)
        draw(axes)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _embed(buffer.getvalue(), ident=ident, title=title, description=description, size=size)


def _embed(data: bytes, *, ident: str, title: str, description: str, size: tuple[int, int]) -> str:
    """Turn a file into an element of a page: own ids, page colours, a name and a description, no metadata."""
    root = ElementTree.fromstring(data)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        for key in list(element.attrib):
            value = element.attrib.pop(key)
            if key == "id":
                value = f"{ident}-{value}"
            elif key in ("href", f"{_XLINK}href"):
                key, value = "href", value.replace("#", f"#{ident}-", 1)
            elif key in ("style", "clip-path"):
                value = re.sub(r"font-family:[^;]*;?\s*", "", value).replace("url(#", f"url(#{ident}-")
                value = re.sub(r"#[0-9a-f]{6}\b", lambda match: _VARIABLES.get(match[0], match[0]), value)
            element.set(key, value)
    viewbox = f"0 0 {size[0]} {size[1]}"
    root.attrib = {"viewBox": viewbox, "width": str(size[0]), "height": str(size[1])}
    if title:
        root.attrib |= {"role": "img", "aria-labelledby": f"{ident}-title {ident}-desc"}
        for index, (tag, text) in enumerate((("title", title), ("desc", description))):
            label = ElementTree.Element(tag, {"id": f"{ident}-{tag}"})
            label.text = visible(text)
            root.insert(index, label)
    else:
        root.attrib |= {"aria-hidden": "true", "focusable": "false"}
    return ElementTree.tostring(root, encoding="unicode")
