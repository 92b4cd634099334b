"""What a page consists of: sections of paragraphs, tables and pictures, without a word about HTML or Markdown.

Both renderings walk the same blocks, so that they say the same in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from proxyaudit.reporting.text import DASH, interval, number
from proxyaudit.reporting.words import VERDICTS, state_word
from proxyaudit.types import Estimate, Finding


@dataclass(frozen=True)
class Strong:
    """Words that stand out."""

    text: str


@dataclass(frozen=True)
class Code:
    """Words as typed."""

    text: str


@dataclass(frozen=True)
class Chip:
    """An answer in one word, with a symbol that needs no colour; ``look`` is a class of the page."""

    symbol: str
    word: str
    look: str


Inline = str | Strong | Code


@dataclass(frozen=True)
class Para:
    """A paragraph; ``note`` for small print."""

    parts: tuple[Inline, ...]
    note: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[tuple[Inline, ...], ...]


@dataclass(frozen=True)
class Terms:
    """Terms and what is to be said of each."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    text: str


@dataclass(frozen=True)
class Command:
    """Lines to be typed or read as they are."""

    text: str


@dataclass(frozen=True)
class Cell:
    """A cell: its figure or word, what stands beside it, small lines below; ``look`` is num, text, name or state."""

    text: str
    beside: str = ""
    lines: tuple[str, ...] = ()
    look: str = ""
    chip: Chip | None = None


@dataclass(frozen=True)
class Row:
    """A row of cells, the first of which names it; references stand back."""

    cells: tuple[Cell, ...]
    reference: bool = False


@dataclass(frozen=True)
class Table:
    """A table; ``label`` is its name for whoever does not see it, and differs from every other on the page.

    ``below`` says in a few words what each column stands for.
    """

    label: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    below: tuple[str, ...] = ()


@dataclass(frozen=True)
class Key:
    """An entry of a legend: drawing, name, and what is to be said of it."""

    svg: str
    name: str
    words: str = ""


@dataclass(frozen=True)
class Picture:
    """A chart (SVG made here, not from data), its caption, its legend and the same numbers as a table."""

    svg: str
    name: str
    caption: str
    legend: tuple[Key, ...] = ()
    numbers: Table | None = None


@dataclass(frozen=True)
class Pictures:
    """Charts side by side."""

    items: tuple[Picture, ...]


@dataclass(frozen=True)
class Fold:
    """What is one click below: the technical reading."""

    title: str
    blocks: tuple[Any, ...]


@dataclass(frozen=True)
class Answer:
    """The answer for one attribute: a few words, a sentence, and how sure it is."""

    name: str
    about: str
    lead: str
    sentence: str
    sure: str


@dataclass(frozen=True)
class Answers:
    """The answers of all attributes, and what to do next."""

    items: tuple[Answer, ...]
    steps: tuple[tuple[Inline, ...], ...]


Block = Para | Bullets | Terms | Heading | Command | Table | Pictures | Fold | Answers


@dataclass(frozen=True)
class Section:
    """A part of a page that can be linked to."""

    ident: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A whole page: its question or answer as the title, what it is, the first screen, and the sections below.

    ``partial`` says what is partial, if anything is, and ``failures`` why; ``foot`` is what the page rests on.
    """

    title: str
    name: str  # for the window of a browser
    about: tuple[str, ...]  # what it was made from, a part each
    first: tuple[Block, ...]
    sections: tuple[Section, ...]
    partial: str = ""
    failures: tuple[str, ...] = ()
    foot: str = ""


def para(*parts: Inline) -> Para:
    """A paragraph."""
    return Para(parts)


def note(*parts: Inline) -> Para:
    """Small print."""
    return Para(parts, note=True)


def table(label: str, header: Sequence[str], rows: Iterable[Sequence[Cell | str]], *, references: Iterable[int] = ()) -> Table:
    """A table of plain or prepared cells; ``references`` numbers the rows that stand back."""
    behind = frozenset(references)
    made = tuple(
        Row(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row), index in behind) for index, row in enumerate(rows)
    )
    return Table(label, tuple(header), made)


def number_cell(e: Estimate | None) -> Cell:
    """An estimate as a cell: value and interval."""
    return Cell(number(e.value if e else None), interval(e), look="num")


def figure_cell(e: Estimate | None, *, lines: Iterable[str] = ()) -> Cell:
    """An estimate as a cell: value, interval, what it decides and why not."""
    if e is None:
        return Cell(DASH, lines=("not measured",), look="num")
    return Cell(number(e.value), interval(e), (state_word(e.state), *lines, *([e.reason] if e.reason else [])), "num")


def verdict_cell(finding: Finding | None, lines: Iterable[str] = ()) -> Cell:
    """A verdict as a cell."""
    if finding is None:
        return Cell(DASH, lines=tuple(lines))
    word = VERDICTS[finding.verdict]
    least = (f"at least {finding.at_least}",) if finding.at_least else ()
    return Cell("", lines=(*least, *lines), chip=Chip(word.symbol, word.word, word.look))
