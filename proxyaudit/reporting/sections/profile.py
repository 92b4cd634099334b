"""Where in the model an attribute is prominent, and where it can be read."""

from proxyaudit.reporting.blocks import Block, Cell, Drawn, Inline, Picture, Section, number_cell, para, table
from proxyaudit.reporting.panels import multiples_chart
from proxyaudit.reporting.report import Report, ReportSection, side_by_side, technical
from proxyaudit.reporting.summary import AttributeView, Profile
from proxyaudit.reporting.text import hundredths, number

_DRAWN = (
    ("band", Drawn(" Light grey", " Placebos"), "what 95 % of placebos reach, invented attributes that the inputs know as well"),
    ("floor", Drawn(" Dark grey", " Chance"), "what chance alone reaches (shuffled labels, 95th percentile)"),
    (
        "detection",
        Drawn(" Short bars in the colour of the margin", " Detection limit"),
        "the smallest leak that would surely have been found",
    ),
)
_PROMINENT = "How much of what varies at each place of the model the attribute explains. "
_PANELS = Drawn("Every panel has the same scale; dotted grey: the untrained network. ")


def profile(report: Report) -> Section | None:
    """Pictures along the model: prominence where it was measured, else what can be read, which otherwise is one click below."""
    views, bare = report.summary.attributes, report.summary.bare
    prominent = side_by_side(_prominence(report, view, f"k{index}") for index, view in enumerate(views))
    drawn = side_by_side(profile_picture(report, view, f"p{index}") for index, view in enumerate(views))
    place = "each place given" if bare else "each place of the model that was read"
    said: list[Inline] = [f"How much of the attribute a simple reader gets at {place}: 0 % is guessing, 100 % is knowing it of everybody."]
    said.append(Drawn(" Dashed line: the margin. Dotted grey: the untrained network."))
    for field, mark, words in _DRAWN:
        said += [mark, f": {words}."] if any(getattr(view.profile, field) for view in views) else []
    if not bare:
        said.append(" An untrained network passes on most of its inputs too.")
    leaks: list[Block] = [para(*said), *drawn] if drawn else [para("No layer profile was measured.")]
    title = "Where it can be read" if bare else "Where in the model it is"
    if not prominent:
        return Section("profile", title, tuple(leaks))
    blocks: list[Block] = [para(_PROMINENT, _PANELS), *prominent]
    return Section("profile", title, (*blocks, technical("how much can be read along the model", *leaks)))


def _prominence(report: Report, view: AttributeView, ident: str) -> Picture | None:
    """Prominence of one attribute along the model; nothing where it was read at one place only."""
    if view.inside is None:
        return None
    found = view.inside.profile
    sites = tuple(dict.fromkeys(site for at in found.values() for site in at))
    if len(sites) < 2:
        return None
    ordered = tuple(site for site in view.profile.sites if site in sites) + tuple(site for site in sites if site not in view.profile.sites)
    shown = Profile(ordered, {name: dict(at) for name, at in found.items()}, {}, None, {}, {})
    return _drawn(report, view, shown, ident, "Prominence", "Prominent, %")


def profile_picture(report: Report, view: AttributeView, ident: str) -> Picture | None:
    """The leak of one attribute along the model; nothing where none was measured."""
    return _drawn(report, view, view.profile, ident, "Leak inside", "Can be read, %") if view.profile.series else None


def _drawn(report: Report, view: AttributeView, shown: Profile, ident: str, what: str, unit: str) -> Picture:
    title = f"{what} along the model for {view.name}"
    svg = multiples_chart(shown, report.style, ident=ident, title=title, unit=unit)
    caption = "In the order given." if report.summary.bare else "From the inputs (left) to the last place before the output (right)."
    known = (("placebos, 95th percentile", shown.band), ("chance, 95th percentile", shown.floor), ("detection limit", shown.detection))
    rows = [[Cell(name), *(number_cell(hundredths(at.get(site)), 1) for site in shown.sites)] for name, at in shown.series.items()]
    for name, values in known:
        told = (values.get(site) for site in shown.sites)
        rows += [[Cell(name), *(Cell(number(None if x is None else 100 * x, 1), look="num") for x in told)]] if values else []
    behind = len(rows) - len(shown.series)
    return Picture(svg, view.name, caption, (), table(f"{title}, %", (report.what, *shown.sites), rows, behind=behind))


SECTION = ReportSection(30, profile, ("linear", "elsewhere", "nonlinear", "beyond"))
