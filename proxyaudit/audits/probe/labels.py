"""Labels of `probe`: the same text is the same number, date or name from CSV, parquet and frames, and what may be numbers is no name.

A number that is taken for a name is asked about as hundreds of rare groups, of which nothing can be found: so it is refused, or told.
"""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from proxyaudit.data.attributes import MAX_DISCRETE_NUMBERS
from proxyaudit.data.columns import Column, ColumnKind, labels
from proxyaudit.data.decorated import disguised
from proxyaudit.data.faults import Faults, Stray
from proxyaudit.data.reading import Reading, Told
from proxyaudit.data.tables import read_table, settle_values
from proxyaudit.errors import InputError
from proxyaudit.types import NotTested

WHAT: Final = "--labels"
_SIGN = r"[+\-\u00ad\u2010-\u2015\u2212\u207b\ufe58\ufe63\uff0d]"
_MONEY = r"(?:EUR|USD|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|HUF|CAD|AUD|BRL|MXN|ZAR|US|Fr|SFr|Rs|kr)\b\.?"
_GAP = r"[.,'\u2019\u00b4`\u066c_\s]"
_DIGITS = rf"\d{{1,3}}(?:{_GAP}\d{{2,3}})*{_GAP}\d{{3}}(?:[.,\u066b]\d+)?|\d+(?:[.,\u066b]\d*)?|[.,\u066b]\d+"
_NUMBER: Final = re.compile(
    rf"\(?\s*{_SIGN}?\s*(?:{_MONEY})?\s*(?:¤)?\s*{_SIGN}?\s*(?P<digits>{_DIGITS})(?:[eE][+-]?\d+)?\s*{_SIGN}?\)?"
    r"(?P<unit>\s*[^\W\d_¤]?[^\d<>=/:;()\[\]-]{0,15})",
    re.IGNORECASE,
)
_BARE: Final = re.compile(r"\d+")
_DATE: Final = re.compile(
    r"\d{1,4}\s?([./-])\s?\d{1,2}\s?\1\s?\d{1,4}\.?([ T,].*)?|\d{1,2}\.?[ -][^\W\d_]{3,9}\.?,?[ -]\d{2,4}([ ,].*)?"
    r"|[^\W\d_]{3,9}\.? \d{1,2}, ?\d{4}|\d{4}-(0[1-9]|1[0-2])|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s?[aApP]\.?[mM]\.?)?"
)
_READ: Final = re.compile(r"\d{4}-\d{2}-\d{2}([T ].*)?", re.ASCII)
_DATE_MEND: Final = "write dates as YYYY-MM-DD (2024-05-31), times of day as numbers (13.5), and leave the field empty where none is known"
_UNITS: Final = 2  # of a column; more suffixes than these are names (5a, 5b, 5c)
_EXACT_DIGITS: Final = 16  # from here on whole numbers are names, as doubles would not keep them apart


def read_labels(path: Path, told: Told) -> pd.DataFrame:
    """The table of a file or folder; ``InputError`` as :func:`read_table`."""
    return _with_numbers(read_table(path, what=WHAT, told=told), told)


def settle_labels(table: pd.DataFrame, told: Told) -> pd.DataFrame:
    """A frame as :func:`read_labels` gives a file of the same values."""
    faults = Faults("labels", "labels")
    table = settle_values(_plain_types(table), Reading(), told, faults)
    faults.settle()
    return _with_numbers(table, told)


def _plain_types(table: pd.DataFrame) -> pd.DataFrame:
    """Columns of types of Arrow's own as objects of Python, unless they are numbers, text or moments: who compares nested ones raises."""
    odd = [
        place for place, kind in enumerate(table.dtypes) if isinstance(kind, pd.ArrowDtype) and (kind.kind not in "biufMU" or _is_day(kind))
    ]
    if not odd:
        return table
    columns = [_as_objects(table.iloc[:, place]) if place in odd else table.iloc[:, place] for place in range(table.shape[1])]
    return pd.concat(columns, axis=1).set_axis(table.columns, axis=1)


def _is_day(kind: pd.ArrowDtype) -> bool:
    """Whether it is a date without a time, which pandas takes for a moment but has none of its methods for."""
    return str(kind).startswith("date")


def _as_objects(column: Column) -> Column:
    values = np.empty(len(column), dtype=object)
    for place, value in enumerate(column):
        values[place] = np.nan if value is None or value is pd.NA else value
    return pd.Series(values, index=column.index, name=column.name)


def _with_numbers(table: pd.DataFrame, told: Told) -> pd.DataFrame:
    """Columns of text that are numbers, however they are marked, as a CSV of the same text would be read."""
    once = ~table.columns.duplicated(keep=False)
    places = [place for place in range(table.shape[1]) if once[place] and _is_text(table.iloc[:, place])]
    if not places:
        return table
    texts = pd.concat([labels(table.iloc[:, place]) for place in places], axis=1)
    own = Told()
    read = settle_values(texts, Reading(), own, Faults("labels", "labels"), numbers=True)
    changed = {place: read.iloc[:, at] for at, place in enumerate(places) if read.iloc[:, at].dtype.kind in "iuf"}
    for mark, names in own.marks.items():
        told.marks.setdefault(mark, []).extend(names)
    columns = [changed.get(place, table.iloc[:, place]) for place in range(table.shape[1])]
    return pd.concat(columns, axis=1).set_axis(table.columns, axis=1) if changed else table


def _is_text(column: Column) -> bool:
    """Whether every known value is text, and there is one."""
    if column.dtype.kind not in "OU" and not isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype):
        return False
    try:
        values = column.dropna().unique()
    except (TypeError, NotImplementedError):  # nested values
        return False
    return len(values) > 0 and all(isinstance(value, str) for value in values)


@dataclass(frozen=True)
class _Looks:
    """What the texts of a column look like; shares are of rows or of distinct texts, whichever is more."""

    numbers: list[str]  # distinct texts that are numbers but for their spelling
    others: list[str]
    share: float
    codes: bool  # digits alone, of which zeros in front or their length say that they are names

    @property
    def decorated(self) -> list[str]:
        return [text for text in self.numbers if not _is_plain(text)]


def no_numbers(column: Column, kind: ColumnKind, *, where: str, notes: list[NotTested] | None = None) -> None:
    """``InputError`` where a column that was read as names holds numbers or dates in a spelling that is none; ``notes``: what is told."""
    if kind.kind != "categorical" or kind.spellings is None:
        return
    counts = labels(column).value_counts()
    if len(counts) <= MAX_DISCRETE_NUMBERS:
        return  # of so few, numbers are asked as groups too
    texts = [str(text) for text in counts.index]
    dates = np.array([bool(_DATE.fullmatch(unicodedata.normalize("NFKC", text))) for text in texts])
    if max(dates.mean(), counts[dates].sum() / counts.sum()) > 1 / 2:
        odd = [text for text in texts if not _READ.fullmatch(text)]
        what = f"column '{kind.name}' holds dates or times that are not read as such{_example(odd or texts, counts, ', e.g.')}"
        raise InputError(what, where=where, mend=f"{_DATE_MEND}; {_as_names(kind.name)}")
    looks = _look(counts)
    if looks.share <= 1 / 2 or len(looks.numbers) <= MAX_DISCRETE_NUMBERS:
        return
    if looks.codes:
        if notes is not None:
            why = f"they were read as names, since zeros in front or more than {_EXACT_DIGITS - 1} digits tell that they count nothing"
            notes.append(NotTested(what=f"labels: whether values of {kind.name} are numbers", why=why))
        return
    raise InputError(_fault(kind.name, looks, counts), where=where, mend=_mend(kind.name, looks))


def _fault(name: str, looks: _Looks, counts: "pd.Series[Any]") -> str:
    texts = f"texts{_example(looks.others, counts, ' such as')}"
    if looks.decorated:
        what = f"column '{name}' holds numbers in a spelling that is not read as one{_example(_longest(looks.decorated), counts, ', e.g.')}"
        return what + (f", beside {texts}" if looks.others else "")
    if looks.others:
        return f"column '{name}' mixes numbers{_example(looks.numbers, counts, ' such as')} with {texts}"
    return f"column '{name}' may write numbers with dots between thousands{_example(_longest(looks.numbers), counts, ', e.g.')}"


def _mend(name: str, looks: _Looks) -> str:
    if not looks.decorated and not looks.others:
        return "give them as numbers instead of text (parquet), or write 1234 without a mark, and decimals with one more digit (1.2340)"
    empty = ", and leave the field empty where no number is known" if looks.others else ""
    return f"write plain numbers (1234 or 1234.5, without marks, units or zeros before them){empty}; {_as_names(name)}"


def _as_names(name: str) -> str:
    return f"if they are names of groups, put a letter before each (labels[{name!r}] = 'c' + labels[{name!r}])"


def _longest(texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: (-len(text), text))


def _example(texts: list[str], counts: "pd.Series[Any]", words: str) -> str:
    """The first text that a message may show, after ``words``: the spelling of a number or date, with nobody's digits, or a common word."""
    for text in texts:
        spelt = _NUMBER.fullmatch(_folded(text)) or _DATE.fullmatch(unicodedata.normalize("NFKC", text))
        if spelt or Stray(text, int(counts[text]), 0).nameable:
            return f"{words} '{disguised(text)[:40]}'"
    return ""


def _look(counts: "pd.Series[Any]") -> _Looks:
    texts = [str(text) for text in counts.index]
    found = {text: one for text in texts if (one := _NUMBER.fullmatch(_folded(text))) is not None}
    units: dict[str, int] = {}
    for text, one in found.items():
        if unit := one["unit"].strip().casefold():
            units[unit] = units.get(unit, 0) + int(counts[text])
    known = {"", *sorted(units, key=lambda unit: (-units[unit], unit))[:_UNITS]}
    numbers = [text for text in texts if text in found and found[text]["unit"].strip().casefold() in known]
    taken = set(numbers)
    others = [text for text in texts if text not in taken]
    bare = [text for text in numbers if _BARE.fullmatch(text)]
    apart = any((text[0] == "0" and len(text) > 1) or len(text) >= _EXACT_DIGITS for text in bare)
    share = max(len(numbers) / len(texts), float(counts[numbers].sum() / counts.sum()))
    return _Looks(numbers, others, share, codes=apart and 2 * len(bare) > len(numbers))


def _folded(text: str) -> str:
    """Digits of full width and the like as plain ones, every sign of money as one."""
    plain = unicodedata.normalize("NFKC", text.strip())
    return "".join("¤" if unicodedata.category(letter) == "Sc" else letter for letter in plain)


def _is_plain(text: str) -> bool:
    return re.fullmatch(r"[+-]?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", text, re.ASCII) is not None
