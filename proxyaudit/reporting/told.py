"""What a section tells of one attribute, the same for HTML and Markdown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ToldTable:
    """A table as text: title, header, rows of cells, and remarks below it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToldView:
    """An answer in words, and its tables."""

    attribute: str
    answer: str
    tables: tuple[ToldTable, ...]
