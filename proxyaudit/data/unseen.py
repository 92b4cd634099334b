"""Rows that the encoder cannot see: values of a column that training never showed, and gaps that it did not have.

Such a value reaches the model as zeros or as the column's median. The model then answers as if the column were not there, and an audit
on those rows would call removed what was only not shown (METHOD, section 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from proxyaudit.data.columns import ColumnKind, labels, one_spelling
from proxyaudit.data.encoding import Encoder
from proxyaudit.data.public_counts import SMALLEST_CELL, share_words
from proxyaudit.data.text import TextEncoder
from proxyaudit.errors import InputError
from proxyaudit.types import NotTested

NOTED, BARS, REFUSED = 0.01, 0.20, 0.80  # shares of rows
NOT_SEEN = "so many values of an input cannot be seen by the model that what it does without them proves no absence"
_SHOWN = 3


@dataclass(frozen=True)
class Unseen:
    """How much of one column of one table the encoder cannot see."""

    table: str
    column: str
    share: float
    rows: int

    @property
    def bars_absence(self) -> bool:
        """Whether nothing that rests on these rows may be called absent."""
        return self.share > BARS

    def note(self) -> NotTested:
        """What a reader must know."""
        shown = share_words(self.share * self.rows, self.rows)
        bars = "; absence is not claimed" if self.bars_absence else ""
        why = f"missing, or written as no training row writes them, so the model cannot see them ({shown} of the column){bars}"
        return NotTested(what=f"{self.table}: values of column {self.column}", why=why)


def check_seen(encoder: Encoder | TextEncoder, frame: pd.DataFrame, *, table: str, where: str) -> tuple[Unseen, ...]:
    """The one check of every table (coerced rows, called ``table``) that enters the encoder.

    Returns:
        One entry for each column of which more than 1 % cannot be seen.

    Raises:
        InputError: more than 80 % of a column cannot be seen.
    """
    if isinstance(encoder, TextEncoder) or not len(frame):
        return ()
    found = []
    for part in encoder.parts:
        column = frame[part.name]
        unseen, missing = part.unseen(column)
        share = unseen + missing
        if share > REFUSED:
            what = f"{table}: column '{part.name}' {_found(part, column, unseen, missing)}, so the model cannot see {share:.0%} of it"
            raise InputError(what, where=where, mend="fill it and write its values as the real table does, or exclude the column")
        if share > NOTED:
            found.append(Unseen(table, part.name, share, len(frame)))
    return tuple(found)


def _found(part: Any, column: pd.Series[Any], unseen: float, missing: float) -> str:
    if missing >= unseen:
        return "has no values" if column.isna().all() else "lacks most of its values"
    counts = column[~column.isin(part.known)].value_counts()
    theirs = [f"'{level}'" for level in counts.index[counts >= SMALLEST_CELL]][:_SHOWN]
    ours = [f"'{level}'" for level in part.levels if level in part.known][:_SHOWN]
    known = column.isin(part.known).any()
    what = "holds mostly values that no real training row has" if known else "shares no value with the real table"
    return what + (f" (it writes {', '.join(theirs)}; the real table {', '.join(ours)})" if theirs and ours else "")


def spelling_notes(table: pd.DataFrame, kinds: Mapping[str, ColumnKind] | Sequence[ColumnKind], what: str) -> list[NotTested]:
    """Notes on levels that were united because they differ only in case or blanks."""
    notes = []
    for kind in kinds.values() if isinstance(kinds, Mapping) else kinds:
        if kind.spellings is None or kind.name not in table.columns:
            continue
        raw = labels(table[kind.name])
        changed = raw[raw.notna() & (raw != one_spelling(raw, kind.spellings))]
        if not len(changed):
            continue
        counts = changed.value_counts()
        named = [f"'{level}' as '{kind.spelt(level)}'" for level in counts.index[counts >= SMALLEST_CELL]][:_SHOWN]
        why = "they differ from the others only in case or blanks, and were read as the same" + (f" ({', '.join(named)})" if named else "")
        notes.append(NotTested(what=f"{what}: spellings of column {kind.name} apart", why=why))
    return notes
