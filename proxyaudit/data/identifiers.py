"""Columns that name rows: indexes that were saved along, running numbers, keys. No model should read them, and they hide copied rows.

A column of whole numbers that no two rows share, though people's numbers would meet by chance in so narrow a range, counts its rows. Texts
of one word that no two rows share are keys. Numbers that never repeat in a wide range are measurements (incomes in cents) unless the
column's own name says that it is a key.
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.data.column_checks import is_numberish
from proxyaudit.data.columns import EXACT_INTEGER, Column, infer_kind
from proxyaudit.data.decorated import decorated
from proxyaudit.errors import InputError
from proxyaudit.types import NotTested

INDEX_DROPPED: Final = ("a column of row numbers without a name", "it is the index of a data frame that was saved along; it was dropped")
_UNNAMED = re.compile(r"(?:Unnamed: \d+(?:[._]\d+)*)?")
_KEY = re.compile(
    r"(?:.*[_.\s-])?(?:id|ids|uid|uuid|guid|key|nr|no|rowid)|index|idx|number|identifier|row[_ ]?(?:n(?:r|o|um|umber)|names?|index)",
    re.IGNORECASE,
)
_CAMEL_KEY = re.compile(r".*[a-z](?:Id|ID|Key|Nr|No|Index)")
_FEWEST: Final = 30
_NEVER: Final = 14.0  # exp(-14): chance that as many numbers drawn from as wide a range never meet
_ONE_WORD: Final = 0.99  # of the values
_LONG = re.compile(r"[+-]?\d{16,}")
_DAYLIKE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}.*")


def drop_index(frame: pd.DataFrame, remarks: list[tuple[str, str]]) -> pd.DataFrame:
    """The frame without leading columns that have no name and number its rows, or name them one by one."""
    while frame.shape[1] > 1 and _UNNAMED.fullmatch(str(frame.columns[0])) and len(frame):
        column = frame.iloc[:, 0]
        numbers = pd.to_numeric(column, errors="coerce")
        whole = bool((numbers.notna() & (numbers == numbers.round())).all())
        # Tables that were put together number their rows again and again.
        again = whole and bool(((numbers.diff() == 1) | (numbers == numbers.iloc[0])).all()) and numbers.iloc[0] in (0, 1)
        if not (again or (column.is_unique and (whole or numbers.isna().any()))):
            break
        frame = frame.iloc[:, 1:]
        remarks.append(INDEX_DROPPED)
    return frame


def find_identifiers(table: pd.DataFrame, columns: Sequence[str]) -> tuple[str, ...]:
    """Those of the ``columns`` whose values name rows."""
    likely = [name for name in columns if table[name].dtype.kind in "iufO" and _mostly_apart(table[name])]
    if not likely:
        return ()
    try:
        rows = table.drop_duplicates()  # a copy of a row has the row's name
    except (TypeError, NotImplementedError):  # nested values: refused when the column is used
        rows = table
    return tuple(name for name in likely if _names_rows(name, rows[name].dropna(), len(rows)))


def _mostly_apart(column: Column) -> bool:
    try:
        return int(column.nunique()) > max(_FEWEST, len(column) / 4)
    except (TypeError, NotImplementedError):  # nested values: refused when the column is used
        return False


def _names_rows(name: str, known: Column, rows: int) -> bool:
    if len(known) < max(_FEWEST, rows / 2) or not known.is_unique:
        return False
    if known.dtype.kind in "iuf":
        return _counts(known.to_numpy(), key=bool(_KEY.fullmatch(name) or _CAMEL_KEY.fullmatch(name)))
    texts = known.astype(str).str.strip()
    if texts.str.fullmatch(_LONG).mean() > 1 / 2:
        return bool(texts.is_unique)
    if not texts.is_unique or is_numberish(texts) or decorated(texts) or texts.str.match(_DAYLIKE).mean() > 1 / 2:
        return False
    try:
        is_category = infer_kind(known, where="").kind == "categorical"
    except InputError:
        return False
    return is_category and float((~texts.str.contains(r"\s", regex=True)).mean()) >= _ONE_WORD


def _counts(values_n: NDArray[Any], *, key: bool) -> bool:
    """Whether whole numbers, no two alike, are those of rows."""
    if values_n.dtype.kind == "f" and not (np.isfinite(values_n).all() and (values_n == np.round(values_n)).all()):
        return False
    span = float(values_n.max()) - float(values_n.min()) + 1.0
    beyond = values_n.dtype.kind in "iu" and bool((np.abs(values_n.astype(np.float64)) > EXACT_INTEGER).any())
    return key or beyond or len(values_n) * (len(values_n) - 1.0) / (2 * span) > _NEVER


def identifier_note(names: Sequence[str], *, kept: bool) -> NotTested:
    """What was done with columns that name rows; ``kept``: the model reads them all the same."""
    listed = ", ".join(names)
    how = "its values name rows: no two rows share one, as of running numbers and keys, or data.identifiers or data.metadata says so"
    if kept:
        why = f"{how}; 'encode: none' hands them to the model, and only the comparison of rows leaves them out"
        return NotTested(what=f"what a model learns of single rows by {listed}", why=why)
    why = f"{how}; no model reads them, nor does the comparison of rows (data: {{identifiers: []}} makes them inputs)"
    return NotTested(what=f"column{'s' if len(names) > 1 else ''} {listed} as input{'s' if len(names) > 1 else ''}", why=why)
