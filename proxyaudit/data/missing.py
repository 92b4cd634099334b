"""Words that mean "nothing is known": one rule for CSV, parquet and frames, and a note with word and count wherever it is used.

The words of ``values.missing`` are compared without regard to case and outer blanks; an empty field is always missing. ``None`` is a
value, as people answer it ("disability: None"), unless the recipe names it. In a column whose other values are more than twenty
different numbers a word such as ``None`` cannot be one of them, and is missing.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from proxyaudit.data.columns import Column, parse_numbers
from proxyaudit.data.faults import Faults
from proxyaudit.data.public_counts import count_words
from proxyaudit.errors import InputError
from proxyaudit.types import NotTested

_DOUBTFUL: Final = frozenset({"none", "nan", "na", "n/a", "null", "nil", "<na>", "#n/a"})  # often missing, read as values where not named
_FEW_NUMBERS: Final = 20
_HALF: Final = re.compile("[\ud800-\udfff]")  # of a letter; no file can hold it
_SHOWN: Final = 6


@dataclass(frozen=True)
class Word:
    """A word that was, or might have been, read as missing in one column."""

    column: str
    word: str
    rows: int
    missing: bool


def check_text(frame: pd.DataFrame, faults: Faults) -> None:
    """Note columns with characters that are no text. Whoever compares texts up to a NUL takes two categories, or two people, for one."""
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if column.dtype.kind not in "OU" and not isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype):
            continue
        values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else _distinct(column)
        bad = next((v for v in values if isinstance(v, str) and ("\0" in v or (not v.isascii() and _HALF.search(v)))), None)
        if bad is not None:
            code = "U+0000" if "\0" in bad else "half of a letter, U+D800 to U+DFFF"
            with faults.gathering(str(name)):
                what = f"column '{name}' holds a character that is no text ({code})"
                raise InputError(what, where=faults.where, mend="take it out of every value, or write the value otherwise")


def _distinct(column: Column) -> Any:
    """A column's values in their order, each once where that can be told."""
    try:
        return column.unique()
    except TypeError:  # nested values: refused when the column is used
        return column


def settle_missing(frame: pd.DataFrame, words: Collection[str]) -> tuple[pd.DataFrame, list[Word]]:
    """The frame with missing words as NaN, and the words that were found, empty fields apart."""
    plain = {_plain(word) for word in words} | {""}
    firsts = {mark for word in plain | _DOUBTFUL for mark in (word[:1], word[:1].upper())}
    found: list[Word] = []
    changed: dict[Any, Any] = {}
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if column.dtype.kind not in "OU" and not isinstance(column.dtype, pd.StringDtype):
            continue
        try:
            codes, uniques = pd.factorize(column)
        except TypeError:  # nested values: refused when the column is used
            continue
        counts = np.bincount(codes[codes >= 0], minlength=len(uniques))
        # Of half a million different numbers none is folded: the first letter tells.
        texts = [_plain(v) if isinstance(v, str) and (v[:1] in firsts or v[:1].isspace()) else None for v in uniques]
        gone = np.array([text in plain for text in texts], dtype=bool)
        doubtful = np.array([text in _DOUBTFUL for text in texts], dtype=bool) & ~gone
        if doubtful.any() and _are_numbers([value for value, out in zip(uniques, gone | doubtful, strict=True) if not out]):
            gone |= doubtful
        for at in np.flatnonzero(gone | doubtful):
            if texts[at] != "":
                found.append(Word(str(name), str(uniques[int(at)]).strip(), int(counts[at]), bool(gone[at])))
        if gone.any():
            # Not rebuilt from its distinct values: 1 and True are one of them.
            changed[place] = column.astype(object).mask(np.append(gone, False)[codes], np.nan)
    if changed:
        columns = [changed.get(place, frame.iloc[:, place]) for place in range(frame.shape[1])]
        frame = pd.concat(columns, axis=1).set_axis(frame.columns, axis=1)
    return frame, found


def _are_numbers(values: list[Any]) -> bool:
    return len(values) > _FEW_NUMBERS and parse_numbers(pd.Series(values, dtype=object)) is not None


def _plain(word: str) -> str:
    return word.strip().casefold()


def word_notes(words: Collection[Word], columns: Collection[str], table: str, *, recipe: bool = True) -> list[NotTested]:
    """One note for each word of the ``columns`` in use, with the rows that hold it, and how a ``recipe`` would change how it was read."""
    notes = []
    used = [word for word in words if word.column in columns]
    for text, missing in sorted({(word.word, word.missing) for word in used}):
        where = [word for word in used if (word.word, word.missing) == (text, missing)]
        shown = [f"{word.column} ({count_words(word.rows)} rows)" for word in where[:_SHOWN]]
        places = f"column{'s' if len(where) > 1 else ''} {', '.join(shown)}" + (
            f" and {len(where) - _SHOWN} more" if where[_SHOWN:] else ""
        )
        if missing:
            mend = "leave it out of the recipe's values: {missing: [...]}" if recipe else "write it otherwise"
            why = f"it was read as missing in {places}; if it is an answer, {mend}"
        else:
            mend = f'name it in the recipe: values: {{missing: ["{text}", ...]}}' if recipe else "leave those fields empty"
            why = f"it was read as a value in {places}; if it says that nothing is known, {mend}"
        notes.append(NotTested(what=f"{table}: whether '{text}' is an answer or missing", why=why))
    return notes
