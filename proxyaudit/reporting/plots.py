"""Charts of a report as objects of their own: shown in a notebook, saved to a file."""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from markupsafe import Markup

from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.sections.depth import depth_picture
from proxyaudit.reporting.sections.profile import profile_picture
from proxyaudit.reporting.text import visible

KINDS = {"profile": ("Leak inside along the model", profile_picture), "surface": ("Output gap against leak inside", depth_picture)}
_SUFFIXES = (".svg", ".html")


@dataclass(frozen=True)
class Plot:
    """One chart, with the names and small drawings of its series; the last expression of a cell in a notebook shows it."""

    title: str
    svg: str  # with a title and a description for those who cannot see it
    legend: tuple[tuple[str, str], ...]  # names and small drawings of the series

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        item = Markup('<span style="margin-right:1.2em;white-space:nowrap">{} {}</span>')
        items = Markup(" ").join(item.format(Markup(drawing), visible(name)) for name, drawing in self.legend)
        return str(Markup("<figure>{}<figcaption>{}<br>{}</figcaption></figure>").format(Markup(self.svg), items, visible(self.title)))

    def __repr__(self) -> str:
        return f"Plot({self.title!r})"

    def save(self, path: str | Path) -> Path:
        """Write the chart: ``.svg`` the drawing alone, ``.html`` with its legend; ``InputError`` for other endings and where it fails."""
        place = Path(path)
        if place.suffix.lower() not in _SUFFIXES:
            raise InputError(f"a chart cannot be saved as '{place.suffix}'", where=str(path), mend=f"use {' or '.join(_SUFFIXES)}")
        text = self.svg
        if place.suffix.lower() == ".html":
            head = Markup('<!doctype html><html lang="en"><meta charset="utf-8"><title>{}</title>').format(visible(self.title))
            text = f"{head}{self._repr_html_()}</html>"
        try:
            place.write_text(text + "\n", encoding="utf-8", newline="\n")
        except OSError as error:
            raise InputError(f"the file cannot be written ({error.strerror})", where=str(path), mend="check the folder") from None
        return place


def make_plot(pack: EvidencePack, kind: str, attribute: str | None = None) -> Plot:
    """Draw a chart of the report of one attribute, the first one if not given.

    ``kind`` is ``profile`` (leak along the model's sites) or ``surface`` (what outputs show against what is inside); ``InputError`` for
    an unknown kind or attribute, and where the pack has nothing to draw.
    """
    if kind not in KINDS:
        raise InputError(f"unknown chart '{kind}'", where="plot", mend=f"one of {', '.join(KINDS)}")
    report, (what, draw) = Report.of(pack), KINDS[kind]
    views = {view.name: view for view in report.summary.attributes}
    if attribute is not None and attribute not in views:
        raise InputError(f"no attribute '{attribute[:80]}' in this audit", where="plot", mend=f"one of {', '.join(views)}")
    if not views:
        raise InputError("this audit has no findings", where="plot", mend="look at .estimates")
    name = attribute if attribute is not None else next(iter(views))
    ident = "pa-" + hashlib.sha256(f"{pack.evidence.run.id} {kind} {name}".encode("utf-8", "replace")).hexdigest()[:10]
    picture = draw(report, views[name], f"{ident}-c")
    if picture is None:
        raise InputError(f"nothing to draw: the numbers of '{name}' for '{kind}' were not measured", where="plot")
    legend = tuple((key.name, _alone(key.svg, f"{ident}-key{k}")) for k, key in enumerate(picture.legend))
    return Plot(f"{what} for {name}", _alone(picture.svg, ident), legend)


def _alone(svg: str, ident: str) -> str:
    """A drawing made for the report's page as one that stands alone: with the page's colours, for itself only."""
    head, rest = svg.split(">", 1)
    space = "" if "xmlns=" in head else ' xmlns="http://www.w3.org/2000/svg"'
    return f'{head}{space} id="{ident}"><style>{_colours().replace("SELF", f"#{ident}")}</style>{rest}'


@cache
def _colours() -> str:
    """The rules of the page that drawings need: its colours, and those of the series."""
    css = resources.files("proxyaudit.reporting").joinpath("templates", "page.css").read_text(encoding="utf-8")
    root = re.search(r"^:root \{(.*?)^\}", css, re.MULTILINE | re.DOTALL)
    variables = re.findall(r"--[\w-]+: *[^;]+;", root[1]) if root else []
    look = "background: var(--page); font-family: system-ui, sans-serif; "
    found = ["SELF{" + look + " ".join(variables) + "}"]
    for selectors, body in re.findall(r"^(svg [^{}\n]+?) \{([^{}]*)\}", css, re.MULTILINE):
        parts = [part.strip().removeprefix("svg ") for part in selectors.split(",")]
        found.append(", ".join(f"SELF {part}" for part in parts) + f"{{{body.strip()}}}")
    found += [f"SELF .{name}{{{body.strip()}}}" for name, body in re.findall(r"\.(k\w) \{([^{}]*)\}", css)]
    return "".join(found)
