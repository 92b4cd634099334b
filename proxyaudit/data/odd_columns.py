"""Columns that a team should look at before it audits: whose rows they are, what holds the answer, what stands for a missing number."""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
import pandas as pd

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.columns import Column, ColumnKind, level_codes
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.types import NotTested

_MOST_LEVELS: Final = 100  # of an attribute
_FEWEST_GROUPS: Final = 30
_SURELY: Final = 1e-6  # chance that an unrelated attribute is the same within every group
_FULL_LEVEL: Final = 5  # rows from which on a level that has one class says something
_COVERED: Final = 0.9  # of the rows, that lie in such levels
_CUTS: Final = 2  # along a number that holds the answer
_FAR: Final = 2.0  # times the next largest value
_SHARE: Final = 0.001


def people_notes(table: pd.DataFrame, protected: Iterable[str]) -> list[NotTested]:
    """Notes on columns of a table, used or not, that may say whose rows are whose where nobody said so."""
    table = table.drop_duplicates()  # equal rows belong together anyway
    attributes = {name: level_codes(table[name], cut=False) for name in protected if table[name].nunique() <= _MOST_LEVELS}
    notes = []
    for name in table.columns:
        if name not in attributes and (kept := _shares(table[name], attributes)):
            why = (
                f"rows of one value of {name} are always of one {' and one '.join(kept)}; if they are one person's, set data.group: {name}"
            )
            notes.append(NotTested(what=f"whether rows of one {name} belong together", why=why))
    return notes


def input_notes(rows: pd.DataFrame, kinds: Mapping[str, ColumnKind], inputs: Iterable[str], target_n: Ints) -> list[NotTested]:
    """Notes on model inputs of real rows, coerced, with ``(n,)`` class numbers of the target."""
    notes = []
    for name in inputs:
        column, kind = rows[name], kinds[name]
        if _holds_answer(column, kind, target_n):
            why = "its values determine the target in the real rows; exclude it unless it is known before the decision is taken"
            notes.append(NotTested(what=f"whether column {name} is the answer itself", why=why))
        if kind.kind == "numeric" and not kind.date and (word := stand_in(column)) is not None:
            why = f"it was read as a number; if {word} says that nothing is known there, leave those fields empty"
            notes.append(NotTested(what=f"whether {word} in column {name} stands for a missing value", why=why))
    return notes


def _shares(column: Column, attributes: Mapping[str, Ints]) -> list[str]:
    """The attributes that are the same in all rows of one value, which chance would not do."""
    codes = pd.factorize(column)[0]
    known = codes >= 0
    sizes = np.bincount(codes[known])
    # Fewer values are a property of people rather than a name for them.
    if (sizes > 1).sum() < _FEWEST_GROUPS or len(sizes) < known.sum() ** 0.5:
        return []
    found = []
    for name, levels in attributes.items():
        counts = np.zeros((len(sizes), int(levels.max()) + 1))
        np.add.at(counts, (codes[known], levels[known]), 1.0)
        if (counts.max(axis=1) < sizes).any():
            continue
        rates = counts.sum(axis=0) / counts.sum()
        several = sizes[sizes > 1]
        if np.log((rates ** several[:, None]).sum(axis=1)).sum() < np.log(_SURELY):
            found.append(name)
    return found


def _holds_answer(column: Column, kind: ColumnKind, target_n: Ints) -> bool:
    """Whether each value goes with one class of the target, or a number is cut into classes."""
    if kind.kind == "numeric":
        values = column.to_numpy(dtype=np.float64)
        known = np.isfinite(values)
        return known.mean() > _COVERED and _in_order(values[known], target_n[known])
    codes = pd.factorize(column)[0]
    known = codes >= 0
    if not known.any():
        return False
    counts = np.zeros((int(codes.max()) + 1, int(target_n.max()) + 1))
    np.add.at(counts, (codes[known], target_n[known]), 1.0)
    full = counts.sum(axis=1) >= _FULL_LEVEL
    told = (counts.max(axis=1) == counts.sum(axis=1))[full].all()
    return bool(told and (counts[full].sum(axis=0) > 0).sum() > 1 and counts[full].sum() >= _COVERED * len(codes))


def _in_order(values_n: Floats, target_n: Ints) -> bool:
    """Whether the classes lie one after another along a number."""
    order = np.argsort(values_n, kind="stable")
    values, classes = values_n[order], target_n[order]
    turns = np.flatnonzero(np.diff(classes))
    return 0 < len(turns) <= min(_CUTS, len(np.unique(classes)) - 1) and bool((values[turns] < values[turns + 1]).all())


def stand_in(column: Column) -> str | None:
    """A number that many rows hold and that looks like a mark for "unknown": nines far above all others, or -1 where none is negative.

    >>> stand_in(pd.Series([3.0, 5.0, 8.0] * 40 + [999.0] * 20)), stand_in(pd.Series([38.0, 40.0, 98.0] * 40 + [99.0] * 20))
    ('999', None)
    """
    values = column.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    for value, others in ((f(values), values[values != f(values)]) for f in (np.max, np.min) if len(values)):
        often = len(values) - len(others) >= max(SMALLEST_CELL, _SHARE * len(values))
        if not often or not len(others) or value != np.round(value):
            continue
        word = f"{value:.0f}"
        if set(word.lstrip("-")) == {"9"} and abs(value) >= max(99.0, _FAR * float(np.abs(others).max())):
            return word
        if value < 0 and (others >= 0).all() and (word == "-1" or set(word[1:]) == {"9"}):
            return word
    return None
