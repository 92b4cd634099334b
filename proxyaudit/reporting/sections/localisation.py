"""Which places, heads and units carry the effect."""

from collections.abc import Mapping, Sequence

from proxyaudit.estimates.scope import sites_of
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.blocks import Block, Heading, Section, para
from proxyaudit.reporting.report import Report, ReportSection, technical, told_tables
from proxyaudit.reporting.text import DASH, ToldTable, ToldView, figure, join_names, number, shorten
from proxyaudit.types import Estimate

LOCALISATION_NOTE = (
    "Which parts of the model carry the effect. For every part the gradient predicts what exchanging it between people of the two groups "
    "with the same label would do; the strongest, a few in which the groups differ most (a gradient is blind to a saturated unit), and a "
    "few at random are then really exchanged, each alone, and the first of a ranking together. A whole place of a network without side "
    "ways hands over everything, so its effect is the gap within the label. Units and heads are counted from 0; what a number stands for "
    "differs between models trained apart, so parts are told by their rank and named for each model in turn. The effect of a unit alone "
    "is small where many share the work, and zero where another does the same. Confirmed: in each model by itself the outputs move, surely "
    "and beyond parts taken at random; intervals also hold how much models differ. No verdict rests on these figures."
)
_SIGNED, _PER_ROW, _SHARE = "localisation", "localisation_per_row", "localisation_share"
_HEADER = ("Place", "Part", "Predicted", "Effect when exchanged", "Effect per row", "Share of the place", "Result")
Key = tuple[str, str | None, str, str | None]


def localisation(report: Report) -> Section | None:
    """Which parts carry the effect; nothing where none was localised."""
    views, title = localisation_views(report.pack), "Where the effect comes from"
    blocks: list[Block] = []
    for view in views:
        name = shorten(view.attribute, 80)
        inside = technical(f"where the effect comes from, {name}", *told_tables(view, title))
        blocks += [Heading(name), para(view.answer), inside]
    blocks.append(technical("how parts were looked for", para(LOCALISATION_NOTE)))
    return Section("localisation", title, tuple(blocks)) if views else None


def _key(e: Estimate, channel: str | None = None) -> Key:
    """What a number is about, or what the same part's number of another channel is about."""
    return channel or e.channel, e.site, e.measure, e.subject


def localisation_views(pack: EvidencePack) -> tuple[ToldView, ...]:
    """Arrange what was localised. Pure; empty for packs of versions without it."""
    found = [e for e in pack.evidence.estimates if e.channel in (_SIGNED, _PER_ROW, _SHARE) and e.attribute is not None]
    return tuple(_view(name, [e for e in found if e.attribute == name], pack) for name in dict.fromkeys(str(e.attribute) for e in found))


def _view(name: str, mine: Sequence[Estimate], pack: EvidencePack) -> ToldView:
    regimes = dict.fromkeys(e.regime for e in mine)
    site = next(reversed(sites_of(pack.plan, "verdict")), None)
    alike: dict[str, list[str]] = {}
    for regime in regimes:
        alike.setdefault(_answer(site, [e for e in mine if e.regime == regime]), []).append(regime)
    parts = [f"After training on {join_names(names)} data, at {site}: {answer}" for answer, names in alike.items() if answer]
    tables = tuple(_table(regime, [e for e in mine if e.regime == regime]) for regime in regimes)
    return ToldView(name, " ".join(parts) or " ".join(dict.fromkeys(remark for table in tables for remark in table.remarks)), tables)


def _answer(site: str | None, mine: Sequence[Estimate]) -> str:
    """What is found at the last verdict site after one kind of training."""
    here = {_key(e): e for e in mine if e.site == site}
    confirmed = [e for e in here.values() if e.channel == _SIGNED and e.value is not None and e.reason is None]
    shares = [share for e in confirmed if (share := here.get(_key(e, _SHARE))) is not None]
    together = next((share for share in shares if share.measure == "set"), None)
    if together is not None:
        return f"{together.subject} parts together carry {_percent(together)} of the effect of the whole place."
    single = max((share for share in shares if share.measure != "whole"), key=lambda share: share.value or 0.0, default=None)
    if single is not None:
        return f"the effect is spread out; the strongest part alone ({single.subject}) carries {_percent(single)} of it."
    if any(e.measure == "whole" for e in confirmed):
        return "no single part was confirmed to carry the effect of the whole place."
    return "no effect was confirmed." if here else ""


def _table(regime: str, mine: Sequence[Estimate]) -> ToldTable:
    found: dict[Key, Estimate] = {}
    for e in mine:
        found.setdefault(_key(e), e)
    rows = tuple(_row(e, found) for e in mine if e.channel == _SIGNED and e.site is not None)
    remarks = [f"{e.context or 'Nothing was localised'}: {e.reason}." for e in mine if e.channel == _SIGNED and e.site is None and e.reason]
    groups = next((e.group for e in mine if e.group), None)
    if groups and rows:
        rests = max((e.n for e in mine if e.n), default=None)
        remarks.append(f"Groups compared: {groups}" + (f"; {rests} recipients, 8 donors of each group and half." if rests else "."))
    return ToldTable(f"After training on {regime} data", _HEADER, rows, tuple(remarks))


def _row(e: Estimate, found: Mapping[Key, Estimate]) -> tuple[str, ...]:
    per_row, share = (found.get(_key(e, channel)) for channel in (_PER_ROW, _SHARE))
    shown, result = DASH if share is None else _percent(share), "control" if e.measure == "random" else "confirmed"
    return str(e.site), shorten(str(e.context), 80), number(e.raw, 4), figure(e), figure(per_row), shown, e.reason or result


def _percent(e: Estimate) -> str:
    value, low, high = (number(None if end is None else 100 * end, 0) for end in (e.value, e.low, e.high))
    return f"{value} % ({low} to {high})"


SECTION = ReportSection(70, localisation, (_SIGNED, _PER_ROW, _SHARE))
