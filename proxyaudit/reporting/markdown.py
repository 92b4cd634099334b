"""The report as Markdown: the same blocks in the same order, for repositories and reviews; charts as their numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.blocks import (
    Answers,
    Block,
    Bullets,
    Cell,
    Code,
    Command,
    Fold,
    Heading,
    Inline,
    Page,
    Para,
    Pictures,
    Strong,
    Table,
    Terms,
)
from proxyaudit.reporting.page import report_page
from proxyaudit.reporting.text import beside, visible

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "|": "&#124;", "`": "&#96;", "\\": "&#92;"}
# Everything that means something to Markdown; an underscore inside a word does not.
_MARKS = re.compile(r"[&<>$|`\\*\[\]#~!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|://|\bwww\.")
_ADDRESSES = {"://": "&#58;//", "www.": "www&#46;"}


def escape(text: str) -> str:
    r"""``text`` so that Markdown shows it as it is: no HTML, no link, no table cell, no formula.

    >>> escape("a|b <i>*x*</i> gaussian_copula")
    'a&#124;b &lt;i&gt;\\*x\\*&lt;/i&gt; gaussian_copula'
    """
    return _MARKS.sub(_harmless, visible(text))


def _harmless(match: re.Match[str]) -> str:
    # Bare addresses would become links; backslashes do not stop that.
    return _ADDRESSES.get(match[0]) or _ENTITIES.get(match[0], "\\" + match[0])


def render_markdown(pack: EvidencePack) -> str:
    """The report of a pack as Markdown. Pure: the same pack gives the same text."""
    return page_markdown(report_page(pack))


def page_markdown(page: Page) -> str:
    """A page as Markdown."""
    parts = [f"# {escape(page.title)}", escape(" · ".join(page.about))]
    if page.partial:
        parts.append(f"**{page.partial} is partial.** A task failed, so some figures are missing.")
        parts.append("\n".join(f"- {escape(line)}" for line in page.failures))
    parts += markdown_blocks(page.first)
    for section in page.sections:
        parts += [f"## {escape(section.title)}", *markdown_blocks(section.blocks)]
    return joined(parts)


def joined(parts: Iterable[str]) -> str:
    """Paragraphs as one document."""
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_blocks(blocks: Iterable[Block], *, level: int = 3) -> list[str]:
    """Blocks as Markdown paragraphs; ``level`` is that of the next heading."""
    parts: list[str] = []
    for block in blocks:
        match block:
            case Para():
                parts.append(_inline(block.parts))
            case Heading():
                parts.append(f"{'#' * level} {escape(block.text)}")
            case Bullets():
                parts.append("\n".join(f"- {_inline(item)}" for item in block.items))
            case Terms():
                parts.append("\n".join(f"- **{escape(term)}**: {escape(text)}" for term, text in block.pairs))
            case Command():
                parts.append("\n".join(f"    {visible(line)}" for line in block.text.split("\n")))
            case Table():
                parts.append(_table(block))
            case Fold():
                parts += [f"{'#' * (level + 1)} {escape(block.title)}", *markdown_blocks(block.blocks, level=level + 2)]
            case Answers():
                parts += _answers(block)
            case Pictures():
                for picture in block.items:
                    if picture.numbers is not None:
                        parts += [f"**{escape(picture.name)}** {escape(picture.caption)}", _table(picture.numbers)]
    return parts


def _answers(block: Answers) -> list[str]:
    parts: list[str] = []
    for answer in block.items:
        parts.append(f"**{escape(answer.name)}** ({escape(answer.about)}): **{escape(answer.lead)}** {escape(answer.sentence)}")
        parts.append(f"How sure: {escape(answer.sure)}" if answer.sure else "")
    if block.steps:
        parts += ["**What to do next**", "\n".join(f"- {_inline(step)}" for step in block.steps)]
    return parts


def _inline(parts: Sequence[Inline]) -> str:
    made = []
    for part in parts:
        match part:
            case Strong():
                made.append(f"**{escape(part.text)}**")
            case Code():
                made.append(escape(part.text))
            case _:
                made.append(escape(part))
    return "".join(made)


def _table(block: Table) -> str:
    """A pipe table with every cell escaped."""
    below = block.below or [""] * len(block.header)
    header = [beside(name, more) for name, more in zip(block.header, below, strict=True)]
    lines = [_line(header), "|" + "---|" * len(block.header)]
    return "\n".join([*lines, *(_line([_cell(cell) for cell in row.cells]) for row in block.rows)])


def _cell(cell: Cell) -> str:
    text = f"{cell.chip.symbol} {cell.chip.word}" if cell.chip else cell.text
    return "; ".join(part for part in (beside(text, cell.beside), *cell.lines) if part)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"
