"""The columns, or words and ways of writing, that stand in for an attribute: how much each carries and moves, and by which way."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from proxyaudit.estimates.scope import entries, mapping
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting import charts
from proxyaudit.reporting.blocks import Block, Drawn, Heading, Picture, Section, Strong, note, para
from proxyaudit.reporting.report import Report, ReportSection, forest_picture, hundredths_row, side_by_side, technical, told_tables
from proxyaudit.reporting.text import DASH, ToldTable, ToldView, at_most, beside, figure, interval, join_words, percent, shorten
from proxyaudit.reporting.words import REAL, state_word
from proxyaudit.types import REFERENCES, Estimate

_TOKEN = "token "
_MOST, _NAMED, _PICTURES, _ROWS = 8, 3, 4, 5
Found = Mapping[tuple[str, str, str | None], Estimate]
_WHOLE, _PART = Drawn("Filled marks", "Value"), Drawn("upright crosses below them", "through its direction inside")
_CHANNELS = ("association", "pair_gain", "influence", "proxy_use", "path_total", "path", "path_share")


class ProxyWords(NamedTuple):
    """How a report tells of columns, or of features of texts."""

    what: str
    where: str
    header: tuple[str, ...]
    own: str
    opening: str
    whole: str
    first: str
    note: str


_COLUMNS = ProxyWords(
    "Column",
    "Real audit rows",
    (
        *("Moves the output by", "Carries times moves", "Between the groups", "Of that through the direction"),
        *("Feeds the direction", "Feeds the output"),
    ),
    "the column's own effect",
    "A model that never sees an attribute can still act on it through columns that stand in for it. ",
    "how far the prediction moves between the groups through that column",
    "Columns that both carry the attribute and move the output stand first.",
    "For each column: how much of the attribute it carries (0 nothing, 1 everything) in the real audit rows and in each synthetic table; "
    "how far the predicted probability moves when the column's value is replaced by another row's; the product of the two, by which the "
    "columns are ranked; and how much of what the column does between the groups runs through the attribute's own direction inside the "
    "model (the effect that is gone when that direction is held fixed; above 100 % where the rest works against it). Swapped rows need not "
    "occur in life, and no verdict rests on these figures.",
)
_TEXTS = ProxyWords(
    "Word or habit",
    "Real audit texts",
    ("Leaving it out moves the output by", "Carries times moves", "Adds between the groups", "Of that through the direction"),
    "its own effect",
    "A model that reads texts can act on an attribute through words and habits of style that stand in for it. ",
    "what the word or habit adds to the prediction in one group beyond the other",
    "What both carries the attribute and moves the output stands first.",
    "A model that reads texts can act on an attribute through words and ways of writing that stand in for it. For each: how much of the "
    "attribute it carries (0 nothing, 1 everything) in the real audit texts, and in synthetic or scrubbed ones; how far the predicted "
    "probability moves when the text is written without it; the product of the two, by which they are ranked; what it adds to the "
    "prediction in one group beyond the other; and how much of that runs through the attribute's own direction inside the model. "
    "Tokens: what each adds along that direction and to the log-odds of the output (integrated gradients), as the groups' difference. "
    "Only what at least eleven people write is named, and given names never are. A text without a word need not occur in life, leaving "
    "out any word moves a model a little, and no verdict rests on these figures.",
)


@dataclass(frozen=True)
class ProxyView(ToldView):
    """Everything about the proxies of one attribute."""

    strongest: tuple[str, ...] = ()  # those that surely both carry it and move the output, strongest first
    followed: tuple[str, ...] = ()  # those that were followed into the model
    regimes: tuple[str, ...] = ()  # kinds of training that are told of
    words: ProxyWords = _COLUMNS  # how they are told

    @property
    def texts(self) -> bool:
        """Whether they are features of texts, not columns."""
        return self.words is _TEXTS


def proxies(report: Report) -> Section | None:
    """The strongest of them for each attribute, and where their effect runs; nothing where none were followed."""
    views = proxy_views(report.pack)
    if not views:
        return None
    words, own = views[0].words, _paths_by_place(report.pack)
    through = f": the part of it that runs through the attribute's own direction inside the model. {words.first}"
    blocks: list[Block] = [para(words.opening, _WHOLE, f": {words.whole}; ", _PART, through)]
    for index, view in enumerate(views):
        # The first kinds of training have pictures, all have tables.
        of = {regime: _path_rows(report, view, regime, own[view.attribute, regime]) for regime in view.regimes[:_PICTURES]}
        # One scale for all kinds of training, so that they can be compared.
        ends = [charts.forest_limits([hundredths_row(row) for row in rows], None) for rows in of.values() if rows]
        limits = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None
        drawn = side_by_side(_paths(report, view, regime, rows, limits, f"x{index}{k}") for k, (regime, rows) in enumerate(of.items()))
        inside = (note("" if view.texts else words.opening, report.summary.scale.plain(view.words.note)), *told_tables(view, "proxies"))
        name = shorten(view.attribute, 80)
        blocks += [Heading(name), para(Strong(view.answer)), *drawn, technical(f"proxies of {name} in numbers", *inside)]
    return Section("proxies", "Proxies and their paths", tuple(blocks))


def _paths_by_place(pack: EvidencePack) -> dict[tuple[str | None, str], list[Estimate]]:
    """What is drawn, by attribute and regime: packs may hold very many numbers."""
    found: dict[tuple[str | None, str], list[Estimate]] = defaultdict(list)
    for e in pack.evidence.estimates:
        if e.channel in ("path_total", "path"):
            found[e.attribute, e.regime].append(e)
    return found


def _path_rows(report: Report, view: ProxyView, regime: str, own: Sequence[Estimate]) -> list[charts.ForestRow]:
    totals, parts = ({e.subject: e for e in own if e.channel == name} for name in ("path_total", "path"))
    looks = report.style(regime)
    return [charts.ForestRow(unit, totals[unit], looks, None, parts.get(unit)) for unit in view.followed if unit in totals][:_ROWS]


def _paths(
    report: Report, view: ProxyView, regime: str, rows: Sequence[charts.ForestRow], limits: tuple[float, float] | None, ident: str
) -> Picture | None:
    what = view.words.what
    title = f"What each {what.lower()} does between the groups of {view.attribute} after training on {regime}"
    groups = next((row.estimate.group for row in rows if row.estimate is not None and row.estimate.group), None)
    named = (f"{view.attribute}, {regime}", f"Between the groups {groups}." if groups else "Between the groups.")
    axis = f"Change of the prediction, {report.summary.scale.unit}"
    return forest_picture(what, rows, None, named=named, axis=axis, ident=ident, title=title, limits=limits, numbered=False)


def proxy_views(pack: EvidencePack) -> tuple[ProxyView, ...]:
    """Arrange the proxies of each attribute that has any. Pure; empty for packs of versions without them."""
    names = dict.fromkeys(e.attribute for e in pack.evidence.estimates if e.channel == "association" and e.attribute is not None)
    return tuple(_view(name, pack) for name in names)


def _view(name: str, pack: EvidencePack) -> ProxyView:
    mine = [e for e in pack.evidence.estimates if e.attribute == name]
    texts = mapping(pack.plan, "proxies").get("of") == "texts"
    words = _TEXTS if texts else _COLUMNS
    found: dict[tuple[str, str, str | None], Estimate] = {}
    for e in mine:
        if e.channel in _CHANNELS or e.channel.startswith("attribution_"):
            found.setdefault((e.channel, e.regime, e.subject), e)
    regimes = [r for r in dict.fromkeys(regime for channel, regime, _ in found if channel == "proxy_use") if r not in REFERENCES]
    pairs = [str(unit) for channel, regime, unit in found if channel == "pair_gain" and regime == "inputs"]
    carrying = [unit for channel, regime, unit in found if (channel, regime) == ("association", "inputs")]
    columns = [unit for unit in carrying if unit is not None and unit not in pairs]
    followed = [unit for unit in columns if any(("proxy_use", regime, unit) in found for regime in regimes)]
    followed.sort(key=lambda unit: (-_mean(found, regimes, unit), unit))
    # The first table holds every sure carrier, those that carry most first; columns that were not followed close it.
    carried = {unit: found["association", "inputs", unit] for unit in columns}
    surely = [unit for unit, e in carried.items() if e.state == "present" and e.value is not None]
    carriers = tuple(sorted(surely, key=lambda unit: (-(carried[unit].value or 0.0), unit)))
    ordered = list(dict.fromkeys([*carriers[:_MOST], *followed, *columns]))[: max(_MOST, len(carriers))]
    discovered = [str(one.get("name")) for one in entries(mapping(pack.plan, "proxies"), "discovered") if one.get("of") == name]
    tables = [_carried(found, ordered, regimes, discovered, words)]
    for regime in regimes:
        tables.append(_used(found, followed[:_MOST], regime, words))
        if texts:
            tables.append(_tokens(found, regime))
    if pairs:
        tables.append(_pairs(found, pairs, regimes))
    # Next steps speak of the data that can be made again: what only real training does with a column is in its table.
    made = [regime for regime in regimes if regime != REAL] or regimes
    strongest = _strongest(found, sorted(followed, key=lambda unit: (-_mean(found, made, unit), unit)), made)
    shown = tuple(table for table in tables if table.rows or table.remarks)
    # What real training alone does with a column must not read as what nothing does.
    alone = _strongest(found, followed, [REAL]) if REAL in regimes and not strongest else ()
    answer = _text_answer(name, strongest, carriers, alone) if texts else _answer(name, strongest, carriers, alone)
    return ProxyView(name, answer, shown, strongest, tuple(followed[:_MOST]), tuple(regimes), words)


def _mean(found: Found, regimes: Iterable[str], unit: str) -> float:
    values = [e.value for e in (found.get(("proxy_use", regime, unit)) for regime in regimes) if e is not None and e.value is not None]
    return sum(values) / len(values) if values else 0.0


def _strongest(found: Found, followed: list[str], regimes: list[str]) -> tuple[str, ...]:
    surely = {unit for (channel, regime, unit), e in found.items() if channel == "proxy_use" and regime in regimes and e.state == "present"}
    return tuple(unit for unit in followed if unit in surely)


def _answer(name: str, used: tuple[str, ...], carriers: tuple[str, ...], alone: tuple[str, ...]) -> str:
    what, silent = f"“{shorten(name, 40)}”", [unit for unit in carriers if unit not in (used or alone)]
    if used:
        said = f"Columns that surely both carry {what} and move the output, strongest first: {_listed(used)}."
        return f"{said} Carriers that do not surely move it: {_listed(silent)}." if silent else said
    said = f"No column was found that surely both carries {what} and moves the output."
    if alone:
        said = f"After real training these surely both carry {what} and move the output: {_listed(alone)}; after other training none does."
    return f"{said} Columns that surely carry it{' as well' if alone else ''}: {_listed(silent)}." if silent else said


def _listed(units: Sequence[str]) -> str:
    return join_words(at_most([f"“{shorten(unit, 40)}”" for unit in units], _NAMED))


def _text_answer(name: str, used: tuple[str, ...], carrying: tuple[str, ...], alone: tuple[str, ...]) -> str:
    of = f"“{shorten(name, 40)}”"
    listed = [
        join_words([shorten(unit, 40) for unit in units[:3]]) + (f", and {len(units) - 3} more" if len(units) > 3 else "")
        for units in (used, carrying)
    ]
    if not carrying:
        return f"No word or habit of style was found that surely carries {of}."
    first = f"Words and habits of style that surely carry {of}, most first: {listed[1]}."
    if used:
        return f"{first} Those that surely move the output between the groups as well: {listed[0]}."
    if alone:
        return f"{first} After real training alone some surely move the output between the groups as well: {_listed(alone)}."
    return f"{first} None was found that surely moves the output between the groups as well."


def _carried(found: Found, columns: list[str], regimes: list[str], discovered: list[str], words: ProxyWords) -> ToldTable:
    tables = [regime for regime in regimes if any((channel, where) == ("association", regime) for channel, where, _ in found)]
    lacking = [(regime, found["association", regime, None].reason) for regime in tables if ("association", regime, None) in found]
    shown = [regime for regime in tables if regime not in {regime for regime, _ in lacking}]
    rows = tuple((unit, *(_figure(found.get(("association", regime, unit))) for regime in ("inputs", *shown))) for unit in columns)
    remarks = [f"{regime}: {reason}." for regime, reason in lacking]
    if discovered:
        remarks.append(f"Found by this audit and probed like a declared proxy: {join_words(discovered)}.")
    return ToldTable(f"How much of it each {words.what.lower()} carries", (words.what, words.where, *shown), rows, tuple(remarks))


def _used(found: Found, columns: list[str], regime: str, words: ProxyWords) -> ToldTable:
    order = sorted(columns, key=lambda unit: (-_mean(found, [regime], unit), unit))
    header = (words.what, *words.header)
    of = {(channel, unit): e for (channel, where, unit), e in found.items() if where == regime}
    rows = []
    for unit in order:
        use, share = _figure(of.get(("proxy_use", unit)), digits=4), _share(of.get(("path_share", unit)), of.get(("path", unit)))
        into, out = of.get(("attribution_direction", unit)), of.get(("attribution_output", unit))
        told = (unit, figure(of.get(("influence", unit))), use, figure(of.get(("path_total", unit))), share)
        rows.append((*told, percent(into.value if into else None), figure(out))[: len(header)])
    first = next((of["path_total", unit] for unit in order if ("path_total", unit) in of), None)
    remarks = [] if first is None or not first.group else [f"Groups compared: {first.group}."]
    parts = [(of.get(("path_share", unit)), of.get(("path", unit))) for unit in order]
    if any(part is not None and part.value is not None and not interval(share) for share, part in parts):
        remarks.append(f"No share: {words.own} between the groups is not clearly different from zero; the part through the direction.")
    if words is _COLUMNS:
        remarks += [*_feeding(of), *_unattributed(found, regime)]
    return ToldTable(f"What each {header[0].lower()} does after training on {regime} data", header, tuple(rows), tuple(remarks))


def _feeding(of: Mapping[tuple[str, str | None], Estimate]) -> list[str]:
    """By which columns the groups' outputs differ most."""
    fed = [(unit, e) for (channel, unit), e in of.items() if channel == "attribution_output" and unit is not None and e.value]
    fed.sort(key=lambda one: (-abs(one[1].value or 0.0), one[0]))
    told = join_words([f"“{shorten(unit, 40)}” ({figure(e)})" for unit, e in fed[:_NAMED]])
    return [f"What feeds the difference of the outputs between the groups most: {told}, {fed[0][1].unit}."] if fed else []


def _tokens(found: Found, regime: str) -> ToldTable:
    """Tokens that feed the direction and the output: sums over texts, never a text."""

    def fed(channel: str) -> dict[str, Estimate]:
        return {unit: e for (one, where, unit), e in found.items() if (one, where) == (channel, regime) and unit is not None}

    inside, outside = fed("attribution_direction"), fed("attribution_output")
    order = [*inside, *(unit for unit in outside if unit not in inside)]
    fed_in = {unit: percent(e.value) for unit, e in inside.items()}
    rows = tuple((unit.removeprefix(_TOKEN), fed_in.get(unit, DASH), figure(outside.get(unit))) for unit in order)
    title = f"Tokens that feed the direction and the output after training on {regime} data"
    return ToldTable(title, ("Token", "Feeds the direction", "Feeds the output"), rows, tuple(_unattributed(found, regime)))


def _unattributed(found: Found, regime: str) -> list[str]:
    mine = [e for (channel, where, unit), e in found.items() if where == regime and channel.startswith("attribution_") and unit is None]
    return sorted({f"{e.reason}." for e in mine if e.reason})


def _pairs(found: Found, pairs: list[str], regimes: list[str]) -> ToldTable:
    header = ("Pair", "Carries together", "More than the better one alone", *(f"Carries times moves, {regime}" for regime in regimes))
    rows = []
    for unit in pairs:
        together, gain = figure(found.get(("association", "inputs", unit))), _figure(found.get(("pair_gain", "inputs", unit)))
        rows.append((unit, together, gain, *(_figure(found.get(("proxy_use", regime, unit)), digits=4) for regime in regimes)))
    return ToldTable("Pairs of columns that tell more together", header, tuple(rows))


def _figure(e: Estimate | None, *, digits: int = 3) -> str:
    shown = figure(e, digits)
    return shown if e is None or e.value is None or e.state is None else f"{shown}, {state_word(e.state)}"


def _share(share: Estimate | None, part: Estimate | None) -> str:
    if share is not None and interval(share):
        return beside(percent(share.value), f"{percent(share.low)} to {percent(share.high)}")
    return DASH if part is None or part.value is None else f"{figure(part)}, no share"


SECTION = ReportSection(80, proxies, (*_CHANNELS, "attribution_direction", "attribution_output"))
