"""Columns that are read as words though they are something else: numbers and days in other spellings, identifiers, free text."""

import re
from typing import TYPE_CHECKING, Any, Final

from proxyaudit.data.columns import EXACT_INTEGER, LEADING_ZERO, ColumnKind
from proxyaudit.data.decorated import refuse_decorated
from proxyaudit.data.faults import NoNumbers
from proxyaudit.errors import InputError
from proxyaudit.later import Later

if TYPE_CHECKING:
    import pandas as pd

    Column = pd.Series[Any]
else:
    pd = Later("pandas")

LEAVE_OUT: Final = "list the column in data.exclude"
_DECORATION: Final = re.compile(r"[,\s%$€£]")
_OTHER_DAY: Final = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}( .*)?|\d{1,2}[ -][A-Za-z]{3,9}[ -]\d{2,4}")
_MAX_TEXT_LEVELS: Final = 50
_MAX_MIXED_LEVELS: Final = 20


def check_feature(column: "Column", kind: ColumnKind, *, where: str) -> None:
    """Refuse a coerced model input that is an identifier, free text, or numbers written as text."""
    if kind.kind == "numeric":
        if (column.abs() > EXACT_INTEGER).any() and not kind.date:
            mend = "list it in data.exclude, make it data.group, or rescale it if it is a measurement"
            raise InputError(f"column '{kind.name}' holds numbers beyond 2**53, as identifiers do", where=where, mend=mend)
        return
    known = column.dropna()
    levels = _levels(known)
    if len(levels) and levels.str.fullmatch(r"[+-]?\d{16,}").mean() > 0.5:
        mend = "list it in data.exclude, or make it data.group"
        raise InputError(f"column '{kind.name}' looks like an identifier (very long whole numbers)", where=where, mend=mend)
    check_spelling(column, kind, where=where)
    if len(levels) > _MAX_TEXT_LEVELS and len(levels) > len(known) / 2:
        mend = "list it in data.exclude"
        raise InputError(f"column '{kind.name}' looks like an identifier or free text (most values occur once)", where=where, mend=mend)


def check_spelling(column: "Column", kind: ColumnKind, *, where: str, leave: str = LEAVE_OUT) -> None:
    """Refuse a coerced column of words of which most are numbers or days in other spellings; ``leave``: what else mends it."""
    if kind.kind == "numeric" or kind.bands is not None:
        return
    known = column.dropna()
    levels = _levels(known)
    if len(levels) <= _MAX_MIXED_LEVELS:
        return
    if is_numberish(known):
        what = f"column '{kind.name}' mixes numbers with text, units or marks in several ways"
        mend = f"write plain numbers (1234.5) and leave unknown ones empty, or {leave}"
        raise NoNumbers(what, where=where, mend=mend, column=kind.name, instead=leave)
    refuse_decorated(known, kind.name, fewest=_MAX_MIXED_LEVELS, where=where, leave=leave)
    if levels.str.fullmatch(_OTHER_DAY).mean() > 0.5:
        mend = f"write them as YYYY-MM-DD, or {leave}"
        raise InputError(f"column '{kind.name}' holds dates that are not written as YYYY-MM-DD", where=where, mend=mend)


def is_numberish(known: "Column") -> bool:
    """Whether more than half of the known values of a column of text are numbers but for commas, blanks and units of money."""
    levels = _levels(known)
    if not len(levels) or levels.str.match(LEADING_ZERO).any():
        return False
    plain = levels.str.replace(_DECORATION, "", regex=True)
    return bool(known.astype(str).isin(set(levels[pd.to_numeric(plain, errors="coerce").notna()])).mean() > 0.5)


def _levels(known: "Column") -> "Column":
    return pd.Series(known.unique(), dtype=object).astype(str)
