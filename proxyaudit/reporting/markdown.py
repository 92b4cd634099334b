"""The report as Markdown: the same blocks in the same order, for repositories and reviews; charts as their numbers."""

import re
from collections.abc import Iterable, Sequence

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting import blocks as b
from proxyaudit.reporting.first import report_page
from proxyaudit.reporting.text import beside, visible

_PICTURES = 3  # of those side by side so many are told as their numbers
# Everything that means something to Markdown; an underscore inside a word does not.
_MARKS = re.compile(r"[&<>$|`\\*\[\]#~!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", **{c: f"&#{ord(c)};" for c in "$|`\\"}}
# What code hosts turn into a person, an issue, a mail address, a picture or a link once Markdown is done; escapes do not stop that.
_LINKED = re.compile(r"@(?=\w)|[#!&$](?=\d)|[~%](?=[\w\"])|\bGH-(?=\d)|\bwww\.|:(?=//|(?!\d\d:)[\w+-]+:)", re.IGNORECASE)
_SPLIT = "&#8203;"  # a blank of no width


def escape(text: str) -> str:
    r"""``text`` so that Markdown shows it as it is: no HTML, no link, no table cell, no formula, and nobody is called.

    >>> escape("a|b <i>*x*</i> gaussian_copula")
    'a&#124;b &lt;i&gt;\\*x\\*&lt;/i&gt; gaussian_copula'
    """
    pieces, done, shown = [], 0, visible(text)
    for match in _LINKED.finditer(shown):
        pieces.append(_plain(shown[done : match.start()]) + ("&#58;" if match[0] == ":" else _plain(match[0])))
        done = match.end()
    return _SPLIT.join([*pieces, _plain(shown[done:])])


def _plain(text: str) -> str:
    return _MARKS.sub(lambda match: _ENTITIES.get(match[0], "\\" + match[0]), text)


def render_markdown(pack: EvidencePack) -> str:
    """The report of a pack as Markdown. Pure: the same pack gives the same text."""
    return page_markdown(report_page(pack))


def page_markdown(page: b.Page) -> str:
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


def markdown_blocks(blocks: Iterable[b.Block], *, level: int = 3) -> list[str]:
    """Blocks as Markdown paragraphs; ``level`` is that of the next heading."""
    parts: list[str] = []
    for block in blocks:
        match block:
            case b.Para():
                parts.append(_inline(block.parts))
            case b.Heading():
                parts.append(f"{'#' * level} {escape(block.text)}")
            case b.Bullets():
                parts.append(_bullets(block.items))
            case b.Terms():
                parts.append(_bullets((b.Strong(term), f": {text}") for term, text in block.pairs))
            case b.Code():
                parts.append("\n".join(f"    {visible(line)}" for line in block.text.split("\n")))
            case b.Table():
                parts.append(_table(block))
            case b.Fold():
                pass  # one click below on the page; in a text without clicks it would bury the answer
            case b.Answers():
                for item in block.items:
                    parts.append(_inline((b.Strong(item.name), f" ({item.about}): ", b.Strong(item.lead), f" {item.sentence}")))
                    parts.append(f"How sure: {escape(item.sure)}" if item.sure else "")
                    parts += [_table(item.table)] if item.table is not None else []
                steps = [*block.steps, *([(block.checks,)] if block.checks else [])]
                parts += ["**What next**", _bullets(steps)] if steps else []
            case b.Pictures():
                numbered = [(picture, picture.numbers) for picture in block.items if picture.numbers is not None]
                for picture, numbers in numbered[:_PICTURES]:
                    parts += [_inline((b.Strong(picture.name), " ", picture.caption)).rstrip(), _table(numbers)]
                if len(numbered) > _PICTURES:
                    parts.append(f"{len(numbered) - _PICTURES} more pictures are in report.html.")
    return parts


def _bullets(items: Iterable[Sequence[b.Inline]]) -> str:
    return "\n".join(f"- {_inline(item)}" for item in items)


def _inline(parts: Iterable[b.Inline]) -> str:
    said = []
    for part in parts:
        text = escape(part if isinstance(part, str) else part.instead if isinstance(part, b.Drawn) else part.text)
        said.append(f"**{text}**" if isinstance(part, b.Strong) else text)
    return "".join(said)


def _table(block: b.Table) -> str:
    below = block.below or [""] * len(block.header)
    header = [beside(name, more) for name, more in zip(block.header, below, strict=True)]
    rows = [_line(header), "|" + "---|" * len(block.header), *(_line(map(_cell, row)) for row in block.rows)]
    return "\n".join(rows)


def _cell(cell: b.Cell) -> str:
    text = f"{cell.chip.symbol} {cell.chip.word}" if cell.chip else cell.text
    return "; ".join(part for part in (beside(text, cell.beside), *cell.lines) if part)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escape(cell) for cell in cells) + " |"
