"""Words that mean "nothing is known": one rule for CSV, parquet and frames, and a note with word and count wherever it is used.

The words of ``values.missing`` are compared without regard to case and outer blanks; an empty field is always missing. ``None`` is a
value, as people answer it ("disability: None"), unless the recipe names it. In a column whose other values are more than twenty
different numbers a word such as ``None`` cannot be one of them, and is missing. Any other word there ("k.A.") is told, and never guessed.
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from proxyaudit.data.columns import Column, parse_numbers
from proxyaudit.data.faults import Faults
from proxyaudit.data.public_counts import SMALLEST_CELL, count_words
from proxyaudit.errors import InputError
from proxyaudit.recipe.tables import MISSING_WORDS, missing_line, plain_word
from proxyaudit.types import NotTested

_DOUBTFUL: Final = frozenset({"none", "nan", "na", "n/a", "null", "nil", "<na>", "#n/a"})  # often missing, read as values where not named
_FEW_NUMBERS: Final = 20
_HALF: Final = re.compile("[\ud800-\udfff]")  # of a letter; no file can hold it
_SHOWN: Final = 6
_DIGIT: Final = re.compile(r"\d")
_MOST_STRAYS: Final = 20  # different words; a column of more is one of text, that holds some numbers
_LONGEST: Final = 40  # letters of such a word; more are a sentence


@dataclass(frozen=True)
class Word:
    """A word that was, or might have been, read as missing in one column."""

    column: str
    word: str
    rows: int
    missing: bool
    first: int = 0  # of a word that stands among more than twenty different numbers: the number of the first row that holds it


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
    except (TypeError, NotImplementedError):  # nested values: refused when the column is used
        return column


def settle_missing(
    frame: pd.DataFrame, words: Collection[str], numbers: Callable[[Column], bool] | None = None
) -> tuple[pd.DataFrame, list[Word]]:
    """The frame with missing words as NaN, and the words that were found, empty fields apart.

    ``numbers`` says whether texts are read as such with the marks of their file; plain ones where it is not given.
    """
    plain = {plain_word(word) for word in words} | {""}
    firsts = {mark for word in plain | _DOUBTFUL for mark in (word[:1], word[:1].upper())}
    found: list[Word] = []
    changed: dict[Any, Any] = {}
    looked: list[tuple[str, Any, Any]] = []
    for place, name in enumerate(frame.columns):
        column = frame.iloc[:, place]
        if column.dtype.kind not in "OU" and not isinstance(column.dtype, pd.StringDtype):
            continue
        try:
            codes, uniques = pd.factorize(column)
        except (TypeError, NotImplementedError):  # nested values: refused when the column is used
            continue
        counts = np.bincount(codes[codes >= 0], minlength=len(uniques))
        looked.append((str(name), uniques, counts))
        # Of half a million different numbers none is folded: the first letter tells.
        texts = [plain_word(v) if isinstance(v, str) and (v[:1] in firsts or v[:1].isspace()) else None for v in uniques]
        gone = np.array([text in plain for text in texts], dtype=bool)
        doubtful = np.array([text in _DOUBTFUL for text in texts], dtype=bool) & ~gone
        strays = _strays(uniques, gone | doubtful)
        among = (doubtful.any() or strays.any()) and _are_numbers(uniques[~(gone | doubtful | strays)], numbers)
        if among:
            gone |= doubtful
        for at in np.flatnonzero(gone | doubtful | (strays & among)):
            if texts[at] != "":
                word = str(uniques[int(at)]).strip()
                first = int(np.argmax(codes == at)) + 1 if strays[at] else 0
                found.append(Word(str(name), word, int(counts[at]), bool(gone[at]), first))
        if gone.any():
            # Not rebuilt from its distinct values: 1 and True are one of them.
            changed[place] = column.astype(object).mask(np.append(gone, False)[codes], np.nan)
    if changed:
        columns = [changed.get(place, frame.iloc[:, place]) for place in range(frame.shape[1])]
        frame = pd.concat(columns, axis=1).set_axis(frame.columns, axis=1)
    return frame, found + _levels_that_stray_elsewhere(looked, found)


def _strays(uniques: Any, settled: Any) -> Any:
    """Which values, of those not settled, are words without a digit; none where there are so many that the column is one of text."""
    strays = np.zeros(len(uniques), dtype=bool)
    for at, value in enumerate(uniques):
        if isinstance(value, str) and not value[:1].isdecimal() and not settled[at] and not _DIGIT.search(value):
            if len(value) > _LONGEST or strays.sum() == _MOST_STRAYS:
                return np.zeros(len(uniques), dtype=bool)
            strays[at] = bool(value.strip())
    return strays


def _levels_that_stray_elsewhere(looked: Iterable[tuple[str, Any, Any]], found: Iterable[Word]) -> list[Word]:
    """Words of columns of text that stand among the numbers of another column, where enough people have them to be told."""
    strays: dict[str, int] = {}
    for word in found:
        if word.first:
            strays[plain_word(word.word)] = max(word.rows, strays.get(plain_word(word.word), 0))
    told = {(word.column, word.word) for word in found}
    often = {word for word, rows in strays.items() if rows >= SMALLEST_CELL}
    return [
        Word(name, value.strip(), int(rows), missing=False)
        for name, uniques, counts in (looked if often else ())
        for value, rows in zip(uniques, counts, strict=True)
        if isinstance(value, str) and rows >= SMALLEST_CELL and plain_word(value) in often and (name, value.strip()) not in told
    ]


def _are_numbers(values: Any, numbers: Callable[[Column], bool] | None) -> bool:
    if len(values) <= _FEW_NUMBERS:
        return False
    column = pd.Series(values, dtype=object)
    return parse_numbers(column) is not None if numbers is None else numbers(column)


def word_notes(
    words: Collection[Word], columns: Collection[str], table: str, *, recipe: bool = True, known: Sequence[str] = MISSING_WORDS
) -> list[NotTested]:
    """One note for each word of the ``columns`` in use, with the rows that hold it, and how a ``recipe`` would change how it was read.

    ``known`` are the words that it takes for missing.
    """
    notes = []
    used = [word for word in words if word.column in columns and not (word.first and word.rows < SMALLEST_CELL)]
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
            mend = f"let the recipe say: {missing_line([text], known)}" if recipe else "leave those fields empty"
            why = f"it was read as a value in {places}; if it says that nothing is known, {mend}"
        notes.append(NotTested(what=f"{table}: whether '{text}' is an answer or missing", why=why))
    return notes
