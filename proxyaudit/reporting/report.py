"""The report as its sections see it, and what several of them are made of."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxyaudit.estimates.questions import word_of
from proxyaudit.estimates.rounding import coarse_step
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting import blocks as b
from proxyaudit.reporting import charts
from proxyaudit.reporting.summary import AttributeView, Row, Summary, summarize
from proxyaudit.reporting.svg import Style, swatch
from proxyaudit.reporting.text import DASH, ToldView, hundredths, number, shorten, span
from proxyaudit.reporting.words import REFERENCE_WORDS
from proxyaudit.types import Estimate

Named = tuple[str, str | b.Drawn]  # name and caption of a picture
# A page with longer tables is slow to open; every number is in evidence.json.
_MOST_ROWS = 8
_NEXT = "Next model 95 %"
_NEXT_WORDS = (
    "Next model: where the number of one more model trained this way would lie in 95 of 100 cases; where synthetic tables are made, of one "
    "that is trained on one more table."
)
_READABLE = b.Drawn("Points right of the dashed line can be read.", "What is above the margin can be read.")
_DECIDING: tuple[tuple[str, str, str, str | b.Drawn], ...] = (
    ("leak", "Can it be read inside?", "Can be read inside, %", _READABLE),
    ("gap", "Does it show in the outputs?", "Gap between groups", "How far predictions differ between groups."),
)


@dataclass(frozen=True)
class Report:
    """A pack and how it is shown."""

    pack: EvidencePack
    summary: Summary

    @classmethod
    def of(cls, pack: EvidencePack) -> "Report":
        """Arrange a pack. Pure."""
        return cls(pack, summarize(pack))

    @property
    def what(self) -> str:
        """What a column or row of a table stands for."""
        return "Activations" if self.summary.bare else "Training data"

    def rows(self, view: AttributeView, references: Sequence[str] = ("untrained", "reweighed")) -> list[Row]:
        """The rows of an attribute: regimes first, then these references."""
        return [*view.rows, *(row for row in view.references if row.regime in references)]

    def style(self, name: str) -> Style:
        """The look of a regime or reference."""
        return charts.style_of(name, self.summary.regimes)

    def legend(self, names: Iterable[str], words: Mapping[str, str] | None = None) -> tuple[b.Key, ...]:
        """The legend of a chart."""
        told = dict.fromkeys(REFERENCE_WORDS, "reference") | dict(words or {})
        return tuple(b.Key(swatch(self.style(name)), name, told.get(name, "")) for name in names)


@dataclass(frozen=True)
class ReportSection:
    """A section as it is registered."""

    order: int  # its place among the sections
    make: Callable[[Report], b.Section | None]  # nothing where the pack has no such data
    channels: tuple[str, ...] = ()  # whose numbers it shows; what no section shows stands under "Further numbers"


def technical(title: str, *blocks: b.Block) -> b.Fold:
    """What is one click below, for readers who want every number."""
    return b.Fold(f"Technical reading: {title}", blocks)


def _rest(count: int) -> tuple[str, ...]:
    """A note on the rows that a table left out."""
    return (f"{count - _MOST_ROWS} more are in evidence.json.",) if count > _MOST_ROWS else ()


def told_tables(view: ToldView, what: str) -> tuple[b.Block, ...]:
    """The tables of a view as blocks."""
    blocks: list[b.Block] = []
    for made in view.tables:
        blocks.append(b.para(f"{made.title}."))
        if made.rows:
            rows = [[b.Cell(row[0]), *(b.Cell(cell, look="text") for cell in row[1:])] for row in made.rows[:_MOST_ROWS]]
            blocks.append(b.table(f"{made.title}: {what}, {view.attribute}", made.header, rows))
        blocks += [b.note(remark) for remark in (*made.remarks, *_rest(len(made.rows)))]
    return tuple(blocks)


def side_by_side(pictures: Iterable[b.Picture | None]) -> tuple[b.Pictures, ...]:
    """The pictures that could be drawn as one block; no block where there are none."""
    drawn = tuple(picture for picture in pictures if picture is not None)
    return (b.Pictures(drawn),) if drawn else ()


def forest_picture(
    what: str,
    rows: Sequence[charts.ForestRow],
    margin: float | None,
    *,
    named: Named,
    axis: str,
    ident: str,
    title: str,
    limits: tuple[float, float] | None = None,
    numbered: bool = True,
) -> b.Picture | None:
    """A forest plot, all told times 100, with its numbers unless another table of the page has them; nothing where nothing can be drawn."""
    told = [hundredths_row(row) for row in rows]
    margin = None if margin is None else 100 * margin
    svg = charts.forest_chart(told, margin, axis=axis, ident=ident, title=title, limits=limits, digits=1)
    if not svg:
        return None
    if not numbered:
        return b.Picture(svg, *named)
    parts, beside = any(row.part is not None for row in told), any(row.null_high is not None for row in told)
    header = (what, axis, "State", *(["Chance 95 %"] if beside else []), *(["Through its direction inside"] if parts else []))
    cells = []
    for row in told:
        state, *why = b.state_lines(row.estimate) if row.estimate else (DASH,)
        more = [b.Cell(number(row.null_high, 1), look="num")] if beside else []
        more += [b.number_cell(row.part, 1)] if parts else []
        cells.append([b.Cell(row.label), b.number_cell(row.estimate, 1), b.Cell(state, lines=tuple(why)), *more])
    return b.Picture(svg, *named, numbers=b.table(title, header, cells))


def hundredths_row(row: charts.ForestRow) -> charts.ForestRow:
    """A row with its numbers times 100."""
    null = None if row.null_high is None else 100 * row.null_high
    return row._replace(estimate=hundredths(row.estimate), part=hundredths(row.part), null_high=null)


def deciding_pictures(report: Report, view: AttributeView, ident: str) -> tuple[b.Pictures, ...]:
    """A forest plot for each of the numbers that decide, with what placebos reach in the same models."""
    made = []
    for letter, (field, asks, axis, caption) in zip("abc", _DECIDING[: 1 if report.summary.bare else None], strict=False):
        found = [(row, getattr(row, field)) for row in report.rows(view, ("untrained",))]
        reached = {row.regime: getattr(row, f"placebo_{field}", None) for row, _ in found}
        rows = [
            charts.ForestRow(row.regime, e, report.style(row.regime), beside.value if (beside := reached[row.regime]) is not None else None)
            for row, e in found
            if e is not None
        ]
        grey = "Grey: what 95 % of placebos reach, invented attributes that the inputs know as well as this one."
        told = b.Drawn(*(f"{text} {grey}" for text in (caption if isinstance(caption, b.Drawn) else (caption, caption))))
        named = (asks, told if any(row.null_high is not None for row in rows) else caption)
        margin, title = report.summary.margins.get(field), f"{asks} {view.name}"
        place, axis = ident + letter, f"{axis}, {report.summary.scale.unit}" if field == "gap" else axis
        made.append(forest_picture(report.what, rows, margin, named=named, axis=axis, ident=place, title=title, numbered=False))
    return side_by_side(made)


def estimates_blocks(report: Report, estimates: Sequence[Estimate], label: str, more: Sequence[str] = ()) -> tuple[b.Block, ...]:
    """Estimates as a table with their units and methods below it; ``more`` may name the columns Attribute and Measure."""
    # What decides comes first, so that a table cut short has lost none of it.
    shown = sorted(estimates, key=lambda e: e.state is None)[:_MOST_ROWS]
    rows = [_cells(e, report.what) for e in shown]
    # A column of dashes tells nothing.
    full = [name for name in rows[0] if name == "Id" or any(row[name].text != DASH for row in rows)]
    header = [name for name in full if name in more or name not in ("Attribute", "Measure")]
    blocks: list[b.Block] = [b.table(label, header, [[row[name] for name in header] for row in rows])]
    said = dict.fromkeys(f"{e.unit or 'no unit'}: {e.method}" if e.method else e.unit for e in shown if e.unit or e.method)
    if said:
        blocks.append(b.note("Units and methods: ", "; ".join(said), "."))
    if _NEXT in header:
        blocks.append(b.note(_NEXT_WORDS))
    blocks += [b.note(words) for words in _rest(len(estimates))]
    return tuple(blocks)


def rounding_note(estimates: Iterable[Estimate | None]) -> list[b.Block]:
    """A line on digits where some of these shares are told in coarse steps, told times 100; nothing elsewhere."""
    steps = [step for e in estimates if e is not None and (step := coarse_step(e)) is not None]
    if not steps:
        return []
    most = number(100 * max(steps), 0 if max(steps) >= 0.01 else 1)
    said = (
        "Numbers are rounded so that no single person shows in their digits: where few people carry one, its digits are coarser "
        f"(here in steps of up to {most}), and its interval is rounded outwards."
    )
    return [b.note(said)]


def numbers_fold(
    report: Report, view: AttributeView, numbers: Sequence[Estimate], named: tuple[str, str], *, more: Sequence[str] = (), first: str = ""
) -> list[b.Block]:
    """Numbers of an attribute one click below, if there are any, named by a title with braces for the attribute's name and a label."""
    if not numbers:
        return []
    inside = estimates_blocks(report, numbers, f"{named[1]} for {view.name}", more)
    return [technical(named[0].format(shorten(view.name, 80)), *([b.note(first)] if first else []), *inside)]


def _cells(e: Estimate, what: str) -> dict[str, b.Cell]:
    state, *why = b.figure_cell(e).lines
    return {
        "Id": b.Cell(e.id),
        "Attribute": b.Cell(e.attribute or DASH, look="name"),
        "Measure": b.Cell(word_of(e.channel)),
        what: b.Cell(e.regime, look="name"),
        "Site": b.Cell(e.site or "outputs", look="name"),
        "What": b.Cell("; ".join(part for part in (e.group, e.context) if part) or "main figure", look="name"),
        "Value": b.number_cell(e),
        _NEXT: b.Cell(span(*e.next_model) if e.next_model else DASH, look="num"),
        "State": b.Cell(state, lines=tuple(why)),
        "Chance 95 %": b.Cell(number(e.null_high), look="num"),
        "At most (99 %)": b.Cell(number(e.bound), look="num"),
        "Detection limit": b.Cell(number(e.detection_limit), look="num"),
        "Rows": b.Cell(DASH if e.n is None else str(e.n), look="num"),
        "Models": b.Cell(DASH if e.seeds is None else str(e.seeds), look="num"),
    }
