"""What the sections of a report are made from, and the parts that several of them share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxyaudit.estimates.questions import word_of
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting import charts
from proxyaudit.reporting.blocks import Block, Cell, Fold, Heading, Key, Section, Strong, Table, figure_cell, note, number_cell, para, table
from proxyaudit.reporting.lookup import Lookup
from proxyaudit.reporting.proxies import ProxyView, proxy_views
from proxyaudit.reporting.summary import AttributeView, Row, Summary, summarize
from proxyaudit.reporting.svg import Style, swatch
from proxyaudit.reporting.text import DASH, ToldView, number, shorten
from proxyaudit.reporting.words import REFERENCE_WORDS, state_word
from proxyaudit.types import Estimate

# A page with longer tables is slow to open; every number is in evidence.json.
_MOST_ROWS = 60


@dataclass(frozen=True)
class Report:
    """A pack and how it is shown."""

    pack: EvidencePack
    summary: Summary
    lookup: Lookup
    proxies: tuple[ProxyView, ...]

    @classmethod
    def of(cls, pack: EvidencePack) -> Report:
        """Arrange a pack. Pure."""
        return cls(pack, summarize(pack), Lookup(pack.evidence), proxy_views(pack))

    @property
    def what(self) -> str:
        """What a column or row of a table stands for."""
        return "Activations" if self.summary.bare else "Training data"

    @property
    def seeds(self) -> int | None:
        """Models of each kind of training, as planned."""
        planned = self.pack.plan.get("seeds")
        return planned if isinstance(planned, int) and not isinstance(planned, bool) else None

    def margin(self, name: str) -> float | None:
        """A margin of the plan."""
        return self.summary.margins.get(name)

    def rows(self, view: AttributeView, references: Sequence[str] = ("untrained", "reweighed")) -> list[Row]:
        """The rows of an attribute: regimes first, then these references."""
        return [*view.rows, *(row for row in view.references if row.regime in references)]

    def style(self, name: str) -> Style:
        """The look of a regime or reference."""
        return charts.style_of(name, self.summary.regimes)

    def legend(self, names: Iterable[str], words: Mapping[str, str] | None = None) -> tuple[Key, ...]:
        """The legend of a chart."""
        told = words or {}
        return tuple(Key(swatch(self.style(name)), name, told.get(name, "reference" if name in REFERENCE_WORDS else "")) for name in names)


def technical(title: str, *blocks: Block) -> Fold:
    """What is one click below, for readers who want every number."""
    return Fold(f"Technical reading: {title}", blocks)


def told_section(ident: str, title: str, text: str, views: Sequence[ToldView]) -> Section | None:
    """A section of answers with their tables one click below; nothing where there are none."""
    blocks: list[Block] = [para(text)]
    for view in views:
        name = shorten(view.attribute, 80)
        blocks += [Heading(name), para(Strong(view.answer))]
        blocks.append(technical(f"{title[:1].lower()}{title[1:]}, {name}", *told_tables(view, title)))
    return Section(ident, title, tuple(blocks)) if views else None


def told_tables(view: ToldView, what: str) -> tuple[Block, ...]:
    """The tables of a view as blocks."""
    blocks: list[Block] = []
    for made in view.tables:
        blocks.append(para(f"{made.title}."))
        if made.rows:
            rows = [[Cell(row[0]), *(Cell(cell, look="text") for cell in row[1:])] for row in made.rows]
            blocks.append(table(f"{made.title}: {what}, {view.attribute}", made.header, rows))
        blocks += [note(remark) for remark in made.remarks]
    return tuple(blocks)


def forest_numbers(label: str, what: str, rows: Sequence[charts.ForestRow]) -> Table:
    """The numbers of a forest plot."""
    parts = any(row.part is not None for row in rows)
    cells = [
        [
            Cell(row.label),
            number_cell(row.estimate),
            Cell(state_word(row.estimate.state) if row.estimate else DASH),
            *([number_cell(row.part)] if parts else []),
        ]
        for row in rows
    ]
    return table(label, (what, "Value", "State", *(("Through its trace inside",) if parts else ())), cells)


def estimates_blocks(
    report: Report, estimates: Sequence[Estimate], label: str, *, channel: bool = False, attribute: bool = False
) -> tuple[Block, ...]:
    """Estimates as a table with their units and methods below it."""
    # What decides comes first, so that a table cut short has lost none of it.
    shown = sorted(estimates, key=lambda e: e.state is None)[:_MOST_ROWS]
    named = (("Attribute",) if attribute else ()) + (("Measure",) if channel else ())
    header = ("Id", *named, report.what, "Site", "What", "Value", "State", "Chance 95 %", "Detection limit", "Rows", "Models")
    rows = [_cells(e, channel=channel, attribute=attribute) for e in shown]
    # A column of dashes tells nothing.
    full = [index for index in range(len(header)) if index == 0 or any(row[index].text != DASH for row in rows)]
    blocks: list[Block] = [table(label, [header[index] for index in full], [[row[index] for index in full] for row in rows])]
    said = dict.fromkeys(f"{e.unit or 'no unit'}: {e.method}" if e.method else e.unit for e in shown if e.unit or e.method)
    if said:
        blocks.append(note("Units and methods: ", "; ".join(said), "."))
    if len(shown) < len(estimates):
        blocks.append(note(f"{len(estimates) - len(shown)} more are in evidence.json."))
    return tuple(blocks)


def _cells(e: Estimate, *, channel: bool, attribute: bool) -> list[Cell]:
    state, *why = figure_cell(e).lines
    return [
        Cell(e.id),
        *([Cell(e.attribute or DASH, look="name")] if attribute else []),
        *([Cell(word_of(e.channel))] if channel else []),
        Cell(e.regime, look="name"),
        Cell(e.site or "outputs", look="name"),
        Cell("; ".join(part for part in (e.group, e.context) if part) or "main figure", look="name"),
        number_cell(e),
        Cell(state, lines=tuple(why)),
        Cell(number(e.null_high), look="num"),
        Cell(number(e.detection_limit), look="num"),
        *(Cell(DASH if count is None else str(count), look="num") for count in (e.n, e.seeds)),
    ]
