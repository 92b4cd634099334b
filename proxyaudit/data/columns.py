"""What a column is (number, date or category), decided once on the real rows, and how raw values of every table become that kind.

Numbers are float64 (int64 where every value is whole), dates days since 1970 and categories text without blanks around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from proxyaudit.data.faults import NoNumbers
from proxyaudit.errors import InputError
from proxyaudit.later import Later

if TYPE_CHECKING:
    import pandas as pd

    Column = pd.Series[Any]
else:
    pd, Column = Later("pandas"), Any  # slow to load, and needless for commands that read evidence
MISSING = "(missing)"
OTHER = "(other)"
NOT_SEEN = "so many values of an input cannot be seen by the model that what it does without them proves no absence"
EXACT_INTEGER = 2**53  # beyond this float64 no longer tells neighbouring integers apart
LEADING_ZERO = re.compile(r"[+-]?0\d")
_PLAIN = r"^-?(?:0|[1-9]\d{0,14})(?:\.\d{1,18})?$"  # no leading zeros, nothing beyond 2**53
_WORD = r"^[A-DG-HJ-MO-SU-Za-dg-hj-mo-su-z]"  # of which no number begins: not Infinity, NaN, True or False
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?")
_TWO_READINGS = re.compile(r"[+-]?\d{1,3}(,\d{3})*")
_DOTTED = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_UNDOTTED = re.compile(r"[+-]?\d{1,3}")
_FEW_DOTTED = 10
_TRUTH: Mapping[str, bool] = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "0"), False)
_PAIRS = (("true", "false"), ("yes", "no"), ("t", "f"), ("y", "n"), ("1", "0"))


@dataclass(frozen=True)
class Bands:
    """Where a column of numbers is cut, so that groups of people ("under 30", "30 to 39") are audited and not a slope."""

    edges: tuple[float, ...]  # rising; each begins a new band
    levels: tuple[str, ...]  # names of the bands, from low to high

    @classmethod
    def of(cls, edges: tuple[float, ...], *, whole: bool) -> Self:
        """Name the bands; of ``whole`` numbers their last one is named too.

        >>> Bands.of((30, 40), whole=True).levels
        ('under 30', '30 to 39', '40 and over')
        >>> Bands.of((0.5, 1), whole=False).levels
        ('under 0.5', '0.5 to under 1', '1 and over')
        """
        whole = whole and all(float(edge).is_integer() for edge in edges)
        names = [f"under {_number(edges[0])}"]
        for low, high in pairwise(edges):
            last = _number(high - 1) if whole else f"under {_number(high)}"
            names.append(_number(low) if last == _number(low) else f"{_number(low)} to {last}")
        return cls(edges, (*names, f"{_number(edges[-1])} and over"))

    def cut(self, numbers: Column) -> Column:
        """Return the band of each number, as text; missing values stay missing."""
        bins = [-np.inf, *self.edges, np.inf]
        return pd.cut(numbers.astype("float64"), bins, right=False, labels=list(self.levels)).astype(object)


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


@dataclass(frozen=True)
class ColumnKind:
    """Kind of one column; ``date`` columns are numeric (days since 1970-01-01), numbers in ``bands`` categorical.

    ``spellings`` gives the real table's spelling of each category without regard to case, blanks and ways of writing truth values; every
    table is brought to it. ``truth`` says that a number is 0 or 1, so that other tables may write it as a truth value.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    date: bool = False
    bands: Bands | None = None
    spellings: Mapping[str, str] | None = field(default=None, compare=False, repr=False)
    truth: bool = field(default=False, compare=False, repr=False)

    def spelt(self, level: str) -> str:
        """A category as the real table writes it."""
        return (self.spellings or {}).get(_plain(level), level)

    def in_order(self, levels: Iterable[str]) -> tuple[str, ...]:
        """Return levels in the order in which they are listed: bands from low to high, others as text."""
        places = {level: place for place, level in enumerate(self.bands.levels)} if self.bands is not None else {}
        return tuple(sorted(levels, key=lambda level: (places.get(level, len(places)), level)))


def parse_numbers(text: Column, *, settled: bool = False) -> Column | None:
    """Return the column as numbers when every value is one, else None.

    Codes with leading zeros and integers beyond 2**53 are no numbers here: they would lose what tells them apart. Neither are numbers
    that may have dots between thousands, unless it is ``settled`` that a dot is the decimal mark.

    >>> parse_numbers(pd.Series(["1", " 2", None])).tolist()
    [1.0, 2.0, nan]
    >>> parse_numbers(pd.Series(["02139", "10001"])) is None
    True
    """
    known = text.dropna()
    if known.empty:
        return None
    settles, quick = _plain_numbers(text, settled=settled)
    if settles:
        return quick
    levels = pd.Series(known.unique())
    if pd.to_numeric(levels, errors="coerce").isna().any():
        return None
    levels = levels.astype(str).str.strip()
    if levels.str.match(LEADING_ZERO).any() or (not settled and may_have_dots_between_thousands(levels)):
        return None
    # pandas' own parser is off by the last bit at times; Python's, behind astype, is not.
    numbers = text.astype("float64")
    if (numbers.abs() > EXACT_INTEGER).any() and levels.str.fullmatch(r"[+-]?\d{16,}").any():
        return None
    return _narrow(numbers)


def _plain_numbers(text: Column, *, settled: bool) -> tuple[bool, Column | None]:
    """Whether values are written so plainly, as numbers or as words, that nothing else is to be looked at; and the numbers, if they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes, levels = pd.factorize(text)
    try:
        texts = pa.array(levels, type=pa.string())
        if not pc.all(pc.match_substring_regex(texts, _PLAIN)).as_py():
            return bool(pc.any(pc.match_substring_regex(texts, _WORD)).as_py()), None
        dotted = pc.sum(pc.match_substring(texts, ".")).as_py()
        if not settled and _FEW_DOTTED <= dotted < len(levels):
            return False, None  # dots may stand between thousands
        values = texts.cast(pa.float64()).to_numpy(zero_copy_only=False)  # correctly rounded, as Python's own
    except (pa.ArrowException, TypeError):
        return False, None
    return True, _narrow(pd.Series(np.append(values, np.nan)[codes], index=text.index, name=text.name))


def may_have_dots_between_thousands(levels: Column) -> bool:
    """Whether distinct texts are whole numbers below a thousand and others with a dot before their last three digits.

    Decimals would show a shorter fraction, or a zero before the dot, among that many. Where all have a dot they were rounded to three.
    """
    dotted = levels.str.contains(".", regex=False)
    if not _FEW_DOTTED <= int(dotted.sum()) < len(levels):
        return False
    return bool(levels[dotted].str.fullmatch(_DOTTED).all() and levels[~dotted].str.fullmatch(_UNDOTTED).all())


def check_one_reading(column: Column, name: str, *, where: str) -> None:
    """``InputError`` where the texts of a column are numbers of two readings: with marks between thousands, or decimals."""
    if column.dtype.kind in "biufM":
        return
    levels = pd.Series(column.dropna().unique(), dtype=object).astype(str).str.strip()
    if len(levels) and levels.str.fullmatch(_TWO_READINGS).all() and levels.str.contains(",").any():
        what = f"column '{name}' mixes numbers with text, or writes numbers with commas (is 1,234 a thousand, or a little over one?)"
        mend = 'say which mark it is: data: {format: {thousands: ","}} or {decimal: ","}, or list it in data.exclude'
        raise InputError(what, where=where, mend=mend)
    if may_have_dots_between_thousands(levels):
        what = f"column '{name}' may write numbers with dots between thousands (is 1.234 a thousand, or a little over one?)"
        mend = 'say which mark it is: data: {format: {decimal: ",", thousands: "."}} or {decimal: "."}, or list it in data.exclude'
        raise InputError(what, where=where, mend=mend)


def _narrow(numbers: Column) -> Column:
    """Whole numbers as int64, so that a synthesizer keeps them whole; everything else float64."""
    if numbers.dtype.kind in "iu":
        return numbers.astype("int64")
    values = numbers.to_numpy(dtype=np.float64)
    if len(values) and np.isfinite(values).all() and (np.abs(values) <= EXACT_INTEGER).all() and (values == np.round(values)).all():
        return numbers.astype("int64")
    return numbers.astype("float64")


def _label(value: object) -> str | float:
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return np.nan
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        number = float(value)
        return str(int(number)) if number.is_integer() and abs(number) <= EXACT_INTEGER else repr(number)
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return str(value).strip() or np.nan


def labels(column: Column, *, where: str = "") -> Column:
    """A column as text labels (``1`` and ``1.0`` are both ``"1"``), blanks stripped, missing NaN; ``InputError`` for nested values."""
    try:
        codes, uniques = pd.factorize(column)
    except TypeError:
        raise InputError(f"column '{column.name}' holds nested values", where=where, mend="flatten it to one value per row") from None
    known = np.array([_label(value) for value in uniques] + [np.nan], dtype=object)
    return pd.Series(known[codes], index=column.index, name=column.name, dtype=object)


def _plain(level: str) -> str:
    return " ".join(level.casefold().split())


def spellings_of(text: Column) -> dict[str, str]:
    """The most frequent spelling of each category by what is left of it without case and blanks; of equals the first in order.

    >>> spellings_of(pd.Series(["care", "care", "Care", "True"]))
    {'care': 'care', 'true': 'True'}
    """
    counts = text.value_counts()
    chosen: dict[str, str] = {}
    for level in sorted(counts.index, key=lambda level: (-int(counts[level]), level)):
        chosen.setdefault(_plain(level), level)
    return chosen | _truth_spellings(chosen)


def _truth_spellings(chosen: Mapping[str, str]) -> dict[str, str]:
    """Where all categories are truth values of one way of writing, or of one in words and others: every way of writing them."""
    pairs = [pair for pair in _PAIRS if {*pair} <= chosen.keys()]
    if not pairs or not chosen.keys() <= _TRUTH.keys() or (len(chosen) > 2 and pairs[0] not in _PAIRS[:2]):
        return {}
    levels = list(chosen.values())  # by frequency
    first = {truth: next(level for level in levels if _TRUTH[_plain(level)] == truth) for truth in (True, False)}
    return {word: first[truth] for word, truth in _TRUTH.items()}


def one_spelling(text: Column, spellings: Mapping[str, str]) -> Column:
    """Labels as ``spellings`` writes them; categories that it lacks share a spelling of their own."""
    levels = text.dropna().unique()
    own = {} if all(_plain(level) in spellings for level in levels) else spellings_of(text)
    known = {**own, **spellings}
    changed = {level: known[_plain(level)] for level in levels if known[_plain(level)] != level}
    return text.map(lambda level: changed.get(level, level)) if changed else text


def as_truth(text: Column) -> Column | None:
    """Truth values as 0 and 1, where every known label is one; else ``None``."""
    numbers = text.map(lambda level: float(_TRUTH[_plain(level)]) if isinstance(level, str) and _plain(level) in _TRUTH else np.nan)
    return numbers if bool((numbers.notna() == text.notna()).all()) else None


def _without_na(column: Column, where: str) -> Column:
    """Numbers of a type of pandas' or Arrow's own as numpy's: floats where some are missing, text where floats would merge neighbours."""
    if isinstance(column.dtype, np.dtype) or column.dtype.kind not in "iuf":
        return column
    known = column.dropna()
    if len(known) == len(column):
        return column.astype(np.dtype(f"{column.dtype.kind}8"))
    if column.dtype.kind in "iu" and bool((known.abs() > EXACT_INTEGER).any()):
        return labels(column, where=where)
    return column.astype("float64")


def _days(text: Column) -> Column | None:
    """Days since 1970 of ISO dates or date-times (with an offset: in UTC), or None when some value is neither."""
    codes, uniques = pd.factorize(text)
    levels = [str(value) for value in uniques]
    if not levels:
        return None
    try:
        if all(_DAY.fullmatch(level) for level in levels):
            # numpy knows the year 9999, a usual stand-in for "never", and pandas' nanoseconds do not.
            days: NDArray[np.float64] = np.array(levels, dtype="datetime64[D]").astype(np.int64).astype(np.float64)
        elif all(_MOMENT.fullmatch(level) or _DAY.fullmatch(level) for level in levels):
            moments = pd.to_datetime(pd.Series(levels), format="ISO8601", utc=True).dt.tz_localize(None)
            days = np.asarray((moments - pd.Timestamp(0)) / pd.Timedelta(days=1), dtype=np.float64)
        else:
            return None
    except ValueError:
        return None
    return pd.Series(np.append(days, np.nan)[codes], index=text.index, name=text.name)


def _days_of(moments: Column) -> Column:
    """Days since 1970 of moments, in UTC where they have an offset; in their own unit, since nanoseconds end in the year 2262."""
    plain = moments if moments.dt.tz is None else moments.dt.tz_convert("UTC").dt.tz_localize(None)
    values = plain.to_numpy()
    day = np.timedelta64(1, "D") / np.array(1, dtype=values.dtype.str.replace("M", "m"))
    return pd.Series(np.where(np.isnat(values), np.nan, values.astype(np.int64) / day), index=moments.index, name=moments.name)


def infer_kind(column: Column, *, where: str) -> ColumnKind:
    """Decide what a real column is: truth values are categories, ISO dates and times numbers. ``InputError``: infinite or nested values."""
    column = _without_na(column, where)
    name, numeric = str(column.name), column.dtype.kind in "iuf"
    if column.dtype.kind == "M":
        return ColumnKind(name, "numeric", date=True)
    text = column if numeric else labels(column, where=where)
    # Whether they are numbers or dates is told by the distinct ones; of a column of few words that is much less to look at.
    levels = pd.Series(text.dropna().unique(), dtype=text.dtype)
    numbers = column if numeric else None if parse_numbers(levels) is None else parse_numbers(text)
    if numbers is not None:
        _refuse_infinite(numbers, where)
        wide = numbers.dtype.kind in "iu" and bool((numbers.abs() > EXACT_INTEGER).any())
        return ColumnKind(name, "categorical" if wide else "numeric", truth=set(numbers.dropna().unique()) == {0, 1})
    if _days(levels) is not None:
        return ColumnKind(name, "numeric", date=True)
    return ColumnKind(name, "categorical", spellings=spellings_of(text))


def _refuse_infinite(numbers: Column, where: str) -> None:
    count = int(np.isinf(numbers.to_numpy(dtype=np.float64)).sum())
    if count:
        mend = "replace them by numbers or leave them empty"
        raise InputError(f"column '{numbers.name}' holds {count} infinite values", where=where, mend=mend)


def coerce(column: Column, kind: ColumnKind, *, where: str) -> Column:
    """Bring a raw column to its kind, the index kept; ``InputError`` for a value that is not of that kind (with its row) or infinite."""
    column = _without_na(column, where)
    if kind.bands is not None:
        # A table may hold the bands already, as synthetic rows do.
        text = labels(column, where=where)
        named = text.isin(kind.bands.levels)
        return text.where(named, kind.bands.cut(coerce(column.mask(named), ColumnKind(kind.name, "numeric"), where=where)))
    if kind.kind == "categorical":
        text = labels(column, where=where)
        return text if kind.spellings is None else one_spelling(text, kind.spellings)
    if kind.date and column.dtype.kind == "M":
        return _narrow(_days_of(column))
    if kind.date:
        text = labels(column, where=where)
        days = _days(text) if text.notna().any() else text.astype("float64")
        if days is None:
            raise InputError(f"column '{kind.name}' should hold dates", where=where, mend="write them as YYYY-MM-DD")
        return _narrow(days)
    if column.dtype.kind not in "iuf":
        text = labels(column, where=where)
        if kind.truth and (words := as_truth(text)) is not None:
            return _narrow(words)
        bad = pd.to_numeric(text, errors="coerce").isna() & text.notna()
        if bad.any():
            row = int(np.flatnonzero(bad.to_numpy())[0]) + 1
            what, mend = f"column '{kind.name}' should hold numbers", "write plain numbers (1234.5) or leave it empty"
            raise NoNumbers(what, where=f"{where}, row {row}", mend=mend, column=kind.name, instead="write them as numbers")
        check_one_reading(text, kind.name, where=where)
        column = text.astype("float64")
    _refuse_infinite(column, where)
    return _narrow(column)


def level_codes(column: Column, *, cut: bool) -> NDArray[np.int64]:
    """Dense codes ``(n,)`` of a column's values in order of appearance, missing ones a level too; a number is ``cut`` at its quarters."""
    if cut:
        values = column.to_numpy(dtype=np.float64)
        edges = np.unique(np.nanquantile(values, [0.25, 0.5, 0.75]))
        codes = np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values))
    else:
        codes = pd.factorize(column.astype(object).where(column.notna(), MISSING))[0]
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)
