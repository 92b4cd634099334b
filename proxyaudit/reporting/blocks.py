"""What a page consists of, without a word about HTML or Markdown: both walk the same blocks and say the same in the same order."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from proxyaudit.estimates.sentences import share_at_most
from proxyaudit.reporting.text import DASH, hundredths, interval, number
from proxyaudit.reporting.words import VERDICTS, state_word
from proxyaudit.types import Estimate, Finding


class Strong(NamedTuple):
    """Words that stand out."""

    text: str


class Code(NamedTuple):
    """Words as typed; as a block, lines of their own."""

    text: str


class Chip(NamedTuple):
    """An answer in one word, with a symbol that needs no colour; ``look`` is a class of the page."""

    symbol: str
    word: str
    look: str


class Drawn(NamedTuple):
    """Words about a drawing; where there is none, ``instead`` stands for them."""

    text: str
    instead: str = ""


Inline = str | Strong | Code | Drawn


class Para(NamedTuple):
    """A paragraph; ``note`` for small print."""

    parts: tuple[Inline, ...]
    note: bool = False


class Bullets(NamedTuple):
    """A list."""

    items: tuple[tuple[Inline, ...], ...]


class Terms(NamedTuple):
    """Terms and what is to be said of each."""

    pairs: tuple[tuple[str, str], ...]


class Heading(NamedTuple):
    """A heading below that of the section."""

    text: str


class Cell(NamedTuple):
    """A cell: its figure or word, what stands beside it, small lines below; ``look`` is num, text, name or state."""

    text: str
    beside: str = ""
    lines: tuple[str, ...] = ()
    look: str = ""
    chip: Chip | None = None


class Table(NamedTuple):
    """A table; the first cell of a row names it."""

    label: str  # its name for whoever does not see it; differs from every other on the page
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    below: tuple[str, ...] = ()  # in a few words what each column stands for
    behind: int = 0  # so many rows at the end are references, which stand back


class Key(NamedTuple):
    """An entry of a legend: drawing, name, and what is to be said of it."""

    svg: str
    name: str
    words: str = ""


class Picture(NamedTuple):
    """A chart (SVG made here, not from data), its caption, its legend and the same numbers as a table."""

    svg: str
    name: str
    caption: str | Drawn
    legend: tuple[Key, ...] = ()
    numbers: Table | None = None


class Pictures(NamedTuple):
    """Charts side by side."""

    items: tuple[Picture, ...]


class Fold(NamedTuple):
    """What is one click below: the technical reading."""

    title: str
    blocks: tuple[Any, ...]


class Answer(NamedTuple):
    """The answer for one attribute: a few words, a few sentences, how sure it is, and the same as a table and a picture."""

    name: str
    about: str
    lead: str
    sentence: str
    sure: str
    table: Table | None = None
    picture: Picture | None = None


class Answers(NamedTuple):
    """The answers of all attributes, what to do next, and what the checks of the instrument limit."""

    items: tuple[Answer, ...]
    steps: tuple[tuple[Inline, ...], ...]
    checks: str = ""


Block = Para | Bullets | Terms | Heading | Code | Table | Pictures | Fold | Answers


class Section(NamedTuple):
    """A part of a page that can be linked to."""

    ident: str
    title: str
    blocks: tuple[Block, ...]


class Page(NamedTuple):
    """A whole page."""

    title: str
    name: str  # for the window of a browser
    about: tuple[str, ...]  # what it was made from, a part each
    first: tuple[Block, ...]  # the first screen
    sections: tuple[Section, ...]
    partial: str = ""  # what is partial, if anything is
    failures: tuple[str, ...] = ()  # why, a line for each
    foot: str = ""  # what it rests on


def para(*parts: Inline) -> Para:
    """A paragraph."""
    return Para(parts)


def note(*parts: Inline) -> Para:
    """Small print."""
    return Para(parts, note=True)


def bullets(lines: Iterable[str]) -> Bullets:
    """A list of plain lines."""
    return Bullets(tuple((line,) for line in lines))


def table(label: str, header: Sequence[str], rows: Iterable[Sequence[Cell | str]], *, behind: int = 0) -> Table:
    """A table of plain or prepared cells; the last ``behind`` rows stand back."""
    made = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    return Table(label, tuple(header), made, behind=behind)


def number_cell(e: Estimate | None, digits: int = 3) -> Cell:
    """An estimate as a cell: value and interval."""
    return Cell(number(e.value if e else None, digits), interval(e, digits), look="num")


def state_lines(e: Estimate) -> tuple[str, ...]:
    """What a number decides; beside "present", why an interval that holds zero is no contradiction."""
    word = (state_word(e.state),)
    if e.state != "present" or e.low is None or e.high is None or not e.low <= 0 <= e.high:
        return word
    count = len(e.seed_values)
    models = f"each of {count} models" if count > 1 else "the one model"
    told = f"tested at the margin on the rows of {models}"
    return (*word, f"{told}; the interval tells how far models differ" if count > 1 else told)


def share_cell(e: Estimate | None, *, lines: Iterable[str] = ()) -> Cell:
    """A share or a gap as a cell, times 100, with its interval and what it decides; why not only where there is no number."""
    if e is None:
        return Cell(DASH, lines=("not measured",), look="num")
    state = state_lines(e) if e.state is not None else ()
    most = [f"at most {share_at_most(e.bound)}"] if e.bound is not None and e.state in ("absent", "unknown") else []
    return number_cell(hundredths(e), 1)._replace(lines=(*state, *most, *lines, *([e.reason] if e.reason and e.value is None else [])))


def figure_cell(e: Estimate | None, *, lines: Iterable[str] = ()) -> Cell:
    """An estimate as a cell: value, interval, what it decides and why not."""
    if e is None:
        return Cell(DASH, lines=("not measured",), look="num")
    most = [f"at most {number(e.bound)}"] if e.bound is not None and e.state in ("absent", "unknown") else []
    return Cell(number(e.value), interval(e), (*state_lines(e), *most, *lines, *([e.reason] if e.reason else [])), "num")


def verdict_cell(finding: Finding | None, lines: Iterable[str] = ()) -> Cell:
    """A verdict as a cell."""
    if finding is None:
        return Cell(DASH, lines=tuple(lines))
    word = VERDICTS[finding.verdict]
    least = (f"at least {finding.at_least}",) if finding.at_least else ()
    return Cell("", lines=(*least, *lines), chip=Chip(word.symbol, word.word, word.look))
