"""Dots that one table reads as decimal marks while another table's numbers say that they stand between thousands.

A column that writes 12.345 throughout is read as decimals, as it may well be. Where the same column of another table holds whole numbers a
thousand times as large, one of the two is misread, and what an audit says of it is wrong.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
import pandas as pd

from proxyaudit.data.columns import Column
from proxyaudit.data.csv_files import read_dotted
from proxyaudit.data.faults import Faults
from proxyaudit.recipe.tables import FormatSpec

_FIRST: Final = 200  # values that tell of most columns that they are no such numbers
_DOTTED: Final = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
_LIKE: Final = 3.0  # times another number: of the same size
_LINE: Final = '{format: {decimal: ",", thousands: "."}}'


def dotted_columns(frame: pd.DataFrame, named: FormatSpec) -> list[str]:
    """Columns of raw text that write whole numbers with dots between thousands, or decimals of three digits; none where that was said."""
    if named.decimal is not None:
        return []
    texts = [str(name) for name in frame.columns if frame.columns.is_unique and frame[name].dtype.kind not in "biufM"]
    return [name for name in texts if _may_be_dotted(frame[name])]


def _may_be_dotted(column: Column) -> bool:
    known = column.dropna()
    if not any(isinstance(value, str) and _DOTTED.fullmatch(value.strip()) for value in known[:_FIRST]):
        return False
    return read_dotted(known[:_FIRST]) is not None and read_dotted(known) is not None


def check_dots(
    real: pd.DataFrame, other: pd.DataFrame, dotted: tuple[Mapping[str, bool], Mapping[str, bool]], faults: Faults, section: str
) -> None:
    """Note columns of numbers (coerced) that one of two tables writes with dots and the other without, which are a thousand times as large.

    ``dotted``: the columns of either that may be so, and whether ``format`` can say it of that file.
    ``section``: of a recipe, that says how the other table is written.
    """
    for name in [name for name in other.columns if name in real]:
        if not all(pd.api.types.is_numeric_dtype(rows[name].dtype) for rows in (real, other)):
            continue
        for place, (mine, theirs) in enumerate(((other, real), (real, other))):
            if name not in dotted[1 - place] or name in dotted[place] or not _thousandfold(theirs[name], mine[name]):
                continue
            which, whose = (faults.table, "real table") if not place else ("the real table", faults.table)
            what = (
                f"{which}: column '{name}' is written with a dot before the last three digits (as 12.345 is) and read as decimals, "
                f"but the column of {'the ' if not place else ''}{whose} holds whole numbers a thousand times as large"
            )
            mend = f"write it without dots (12345) in {which}"
            # The mark would hold for every column of the file, and for every file that is read as the real table is.
            read = (real, other) if section == "data" else (mine,)
            if dotted[1 - place][name] and not any(_has_fractions(rows, {name, *dotted[0], *dotted[1]}) for rows in read):
                mend += f", or say so: {section if not place else 'data'}: {_LINE}"
            faults.add(what, mend)


def _thousandfold(whole: Column, decimals: Column) -> bool:
    large, small = (np.abs(column.to_numpy(dtype=np.float64)) for column in (whole, decimals))
    large, small = large[np.isfinite(large)], small[np.isfinite(small)]
    if not (len(large) and len(small)) or (large != np.round(large)).any():
        return False
    one, other = float(np.quantile(large, 0.9)), 1000 * float(np.quantile(small, 0.9))
    return other > 0 and 1 / _LIKE < one / other < _LIKE


def _has_fractions(rows: pd.DataFrame, apart: Collection[str]) -> bool:
    numbers = [rows[name].dropna() for name in rows.columns if name not in apart and rows[name].dtype.kind == "f"]
    return any(bool((column != column.round()).any()) for column in numbers)
