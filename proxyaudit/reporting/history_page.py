"""The page of many runs: what got worse first, then for each attribute verdicts, curves and the same numbers as a table."""

from collections.abc import Callable, Sequence

from proxyaudit.reporting.blocks import (
    Block,
    Cell,
    Chip,
    Key,
    Page,
    Picture,
    Pictures,
    Section,
    Table,
    bullets,
    note,
    para,
    share_cell,
    table,
)
from proxyaudit.reporting.charts import WIDTH, curve_chart, style_of
from proxyaudit.reporting.history import History, Pair, Point, Reading, place_of, worsenings
from proxyaudit.reporting.scale import unit_of_gap
from proxyaudit.reporting.svg import Drawing, Style, fit, linear_scale, swatch
from proxyaudit.reporting.text import DASH, join_words, number, shorten, squeeze
from proxyaudit.reporting.words import VERDICTS, named, verdict_text
from proxyaudit.types import Estimate

# Shapes differ, so that print and colour blindness lose nothing.
_LOOKS = {
    "exposed": Style("kg", "circle"),
    "hidden": Style("kh", "diamond"),
    "removed": Style("k2", "bar"),
    "inconclusive": Style("km", "cross"),
}
_CURVES: tuple[tuple[str, str, str, Callable[[Reading], Estimate | None]], ...] = (
    ("Prominence inside", "Prominent, %", "the share of what varies inside that the attribute explains", lambda r: r.prominence),
    ("Gap in the outputs", "Gap", "how far predictions differ between groups, whichever is ahead", lambda r: r.gap),
    ("What can be read inside", "Can be read, %", "by a linear reader at the verdict sites", lambda r: r.leak),
    ("What may be left at most", "At most, %", "of what was not found, at level .01", lambda r: _bound(r)),
)
_READ = (
    "Upright lines stand where data, model or plan changed: what differs there may be that. A verdict is marked where it may be worse than "
    "that of the run before, a number where its whole 95 % interval lies above that one's. Two runs of many will differ by chance; "
    "'proxyaudit compare' decides between two."
)
_RECORDED = (
    "What 'mitigate' and 'cure' changed, before and after, as their records say; of the task its AUROC or R² is given, or what of "
    "that a cure cost in its trial. Signatures were not checked here: 'proxyaudit verify FOLDER --key PUB' does that."
)
_STRIP = "▲ where it may be worse than before. Above: what changed, D data, M model, P plan, V version of proxyaudit."
_MOST, _STEP, _LEFT, _TOP = 12, 26, 106, 34


def history_page(history: History) -> Page:
    """Runs over time as a page of blocks."""
    count = sum(len(points) for points in history.audits.values())
    sections = [section for k, points in enumerate(history.audits.values()) for section in _sections(points, k)]
    if history.changes:
        rows = [one.row() for one in history.changes]
        header = ("Change", "Of run", "What", "Gap", "Task", "Verdict", "Audited as", "Signed")
        sections.append(Section("changes", "Recorded changes", (para(_RECORDED), table("Recorded changes", header, rows))))
    if history.left or history.notes:
        lines = [*(f"{one.folder}: {one.why}" for one in history.left), *history.notes]
        sections.append(Section("left", "Left out, and notes", (bullets(lines),)))
    title = answer(history)
    return Page(
        title=title,
        name=f"History of {runs(count)}: {title}",
        about=("proxyaudit history", *(f"{shorten(name, 40)}, {runs(len(points))}" for name, points in list(history.audits.items())[:6])),
        first=tuple(block for points in history.audits.values() for block in _first(points)) or (para("There is no run to show."),),
        sections=tuple(sections),
        foot="Made by proxyaudit from the runs' evidence alone. This page needs no network and runs no script.",
    )


def runs(count: int) -> str:
    """A number of runs."""
    return "1 run" if count == 1 else f"{count} runs"


def answer(history: History) -> str:
    """When it last got worse, in one sentence; of several audits whether the newest runs did."""
    if all(len(points) < 2 for points in history.audits.values()):
        if not history.audits:
            return "There is no run to set beside another."
        if len(history.audits) == 1:
            return "There is one run so far: run the audit again and this says what changed."
        return (
            f"There is one run of each of {len(history.audits)} audits, so nothing can be said over time: runs are set side by side "
            "where their recipes have the same name. 'proxyaudit compare' takes any two."
        )
    last: dict[int, dict[str, list[str]]] = {}  # by whether it is the newest run, then by audit
    for name, points in history.audits.items():
        found = worsenings(points)
        number = found[-1][0].number if found else 0
        told = list(dict.fromkeys(named(pair[0]) for point, pair, _ in found if point.number == number))
        if told:
            last.setdefault(number == len(points), {})[f"run {number} of {len(points)} of {named(name)}"] = told
    for newest, words in (
        (True, "The newest run may be worse than the one before"),
        (False, "The newest run is no worse; it last got worse at"),
    ):
        if newest in last:
            where = [f"{run} ({join_words(names)})" for run, names in last[newest].items()]
            return f"{words}{':' if newest else ''} {join_words(where)}."
    return "No run surely shows more than the one before it."


def _first(points: Sequence[Point]) -> list[Block]:
    found = sorted(worsenings(points), key=lambda one: -one[0].number)
    lines = [f"Run {p.number} ({_day(p)}), {named(pair[0])} in {squeeze(pair[1], 40)}: {words}." for p, pair, words in found[:_MOST]]
    more = [f"{len(found) - _MOST} more stand in the tables below."] if len(found) > _MOST else []
    if len(points) == 1:
        return [para(f"{shorten(points[0].name, 60)}: 1 run, {_day(points[0])}. There is no run before it to compare with.")]
    head = f"{shorten(points[0].name, 60)}: {len(points)} runs, {_day(points[0])} to {_day(points[-1])}."
    if not found:
        return [para(f"{head} No run surely shows more than the one before it.")]
    return [para(f"{head} Where it got worse, newest first:"), bullets([*lines, *more])]


def _day(point: Point) -> str:
    return point.date[:10] or "no date"


def _sections(points: Sequence[Point], k: int) -> list[Section]:
    attributes = list(dict.fromkeys(pair[0] for point in points for pair in point.readings))
    roles = {name: role for point in points for name, role in point.roles.items()}
    attributes.sort(key=lambda name: place_of(roles.get(name)))
    audit = shorten(points[0].name, 40)
    made = [
        Section(f"h{k}-{index}", f"{shorten(name, 60)} in {audit}", _attribute(points, name, f"h{k}-{index}"))
        for index, name in enumerate(attributes)
    ]
    return [*made, Section(f"h{k}-runs", f"Runs of {audit}", (_runs(points),))]


def _attribute(points: Sequence[Point], name: str, ident: str) -> tuple[Block, ...]:
    regimes = list(dict.fromkeys(pair[1] for point in points for pair in point.readings if pair[0] == name))
    legend = tuple(Key(swatch(style_of(regime, regimes)), regime) for regime in regimes)
    looks = tuple(Key(swatch(look), word) for word, look in _LOOKS.items())
    pictures = [Picture(_strip(points, name, regimes, f"{ident}v"), "Verdicts", _STRIP, looks)]
    breaks = tuple(float(point.number) for point in points if point.changes and point.changes.words)
    ticks = _ticks(len(points))
    prominent = any(r.prominence for p in points for pair, r in p.readings.items() if pair[0] == name)
    for letter, (title, axis, words, get) in zip("abcd", _CURVES, strict=True):
        if letter == "c" and prominent:
            continue  # what training did says more than what is as readable before it
        lines = {
            regime: {float(p.number): e for p in points if (r := p.readings.get((name, regime))) is not None and (e := get(r)) is not None}
            for regime in regimes
        }
        lines = {regime: at for regime, at in lines.items() if at}
        first = next(iter(lines.values()), {})
        svg = curve_chart(
            lines,
            lambda regime: style_of(regime, regimes),
            axis=("Run", f"{axis}, {unit_of_gap(next(iter(first.values()), None))}" if axis == "Gap" else axis),
            ident=f"{ident}{letter}",
            title=f"{title} over runs: {name}",
            ticks=ticks,
            breaks=breaks,
        )
        if svg:
            pictures.append(Picture(svg, title, f"{words}.", legend))
    return Pictures(tuple(pictures)), note(_READ), _table(points, name, regimes)


def _ticks(count: int) -> tuple[float, ...]:
    step = -(-count // 8)
    return tuple(float(number) for number in range(1, count + 1, step))


def _strip(points: Sequence[Point], name: str, regimes: Sequence[str], ident: str) -> str:
    """A row for each regime, a mark for each run."""
    bottom = _TOP + _STEP * len(regimes)
    drawing = Drawing(WIDTH, bottom + 36)
    across = linear_scale(1.0, float(max(len(points), 2)), _LEFT + 8, WIDTH - 14)._replace(ticks=_ticks(len(points)))
    lettered = -len(points)
    for point in points:
        if point.changes and point.changes.words:
            drawing.line(across(point.number), 16, across(point.number), bottom, "kg", width=1.2, dashes=(4, 3))
            # Where runs stand close, letters stand above one another's neighbours only if they fit.
            if point.number - lettered >= 3 * len(points) / 30:
                drawing.text(
                    across(point.number), 12, "".join(word[0].upper() for word in point.changes.words), anchor="middle", colour="kg"
                )
                lettered = point.number
    said = []
    for index, regime in enumerate(regimes):
        y = _TOP + _STEP * (index + 0.5)
        drawing.text(0, y + 4, fit(regime, _LEFT - 8))
        for point in points:
            reading = point.readings.get((name, regime))
            if reading is None:
                continue
            drawing.mark(across(point.number), y, _LOOKS[reading.finding.verdict])
            if reading.worse:
                drawing.mark(across(point.number), y - 12, Style("kg", "up"), size=4)
        words = (f"run {p.number} {r.finding.verdict}" for p in points if (r := p.readings.get((name, regime))) is not None)
        said.append(f"{regime}: {', '.join(words)}")
    drawing.axis_x(across, bottom, title="Run")
    return drawing.render(ident=ident, title=f"Verdicts over runs: {name}", description="; ".join(said))


def _bound(reading: Reading) -> Estimate | None:
    """The bound as a number that can be drawn; without an interval, since it is the end of one."""
    one = reading.leak or reading.gap or reading.prominence
    return None if one is None or reading.bound is None else one.model_copy(update={"value": reading.bound, "low": None, "high": None})


def _table(points: Sequence[Point], name: str, regimes: Sequence[str]) -> Table:
    rows = [[_run(point), *(_cell(point.readings.get((name, regime))) for regime in regimes)] for point in reversed(points)]
    return table(f"Runs of {points[0].name}, newest first: {name}", ("Run", *(squeeze(regime, 60) for regime in regimes)), rows)


def _run(point: Point) -> Cell:
    changed = f"changed: {', '.join(point.changes.words)}" if point.changes and point.changes.words else ""
    return Cell(str(point.number), lines=tuple(filter(None, (_day(point), changed, "partial" if point.partial else ""))))


def _cell(reading: Reading | None) -> Cell:
    if reading is None:
        return Cell(DASH, lines=("no finding",))
    word = VERDICTS[reading.finding.verdict]
    told = [
        ("prominent", reading.prominence, " %"),
        ("gap", reading.gap, f" {unit_of_gap(reading.gap)}"),
        ("can be read", reading.leak, " %"),
    ]
    lines = [
        f"{what} {share_cell(e).text}{unit}" for what, e, unit in told if e is not None and (what != "can be read" or reading.gap is None)
    ]
    lines += [f"at most {number(100 * reading.bound, 1)} % left"] if reading.bound is not None else []
    lines += ["▲ verdict may be worse"] if reading.worse else []
    lines += [f"▲ more {', '.join(reading.more)}"] if reading.more else []
    least = (f"at least {reading.finding.at_least}",) if reading.finding.at_least else ()
    return Cell("", lines=(*least, *lines), chip=Chip(word.symbol, word.word, word.look))


def _runs(points: Sequence[Point]) -> Table:
    rows = []
    for point in reversed(points):
        parts = point.changes._asdict().items() if point.changes else ()
        told = [f"{what}: {', '.join(map(str, names[:6]))}" for what, names in parts if isinstance(names, tuple) and names]
        told += ["another version of proxyaudit"] if point.changes and point.changes.code else []
        verdicts = [
            f"{attribute} in {regime}: {verdict_text(r.finding.verdict, r.finding.at_least)}" for (attribute, regime), r in _worse(point)
        ]
        rows.append(
            [
                Cell(str(point.number), lines=("partial",) if point.partial else ()),
                Cell(point.date or DASH, look="name"),
                Cell(point.id, look="name"),
                Cell("" if told else DASH, lines=tuple(told), look="text"),
                Cell("" if verdicts else DASH, lines=tuple(verdicts), look="text"),
            ]
        )
    return table(f"Every run of {points[0].name}", ("Run", "Date", "Run id", "Changed since the run before", "May be worse"), rows)


def _worse(point: Point) -> list[tuple[Pair, Reading]]:
    return [(pair, reading) for pair, reading in point.readings.items() if reading.worse or reading.more]
