"""Notes on levels of a column that were taken for one, as they are written in two ways."""

from collections.abc import Mapping, Sequence

import pandas as pd

from proxyaudit.data.columns import ColumnKind, as_truth, labels, one_spelling
from proxyaudit.data.public_counts import SMALLEST_CELL, count_people, count_words
from proxyaudit.types import NotTested

_SHOWN = 3


def spelling_notes(
    table: pd.DataFrame, kinds: Mapping[str, ColumnKind] | Sequence[ColumnKind], what: str, group: str | None = None
) -> list[NotTested]:
    """Notes on levels that were united because they differ only in case, blanks or the way of writing true and false.

    ``group`` is the column that says whose rows they are, where there is one.
    """
    notes = []
    for kind in kinds.values() if isinstance(kinds, Mapping) else kinds:
        if kind.name not in table.columns or (kind.spellings is None and not kind.truth):
            continue
        raw = labels(table[kind.name]) if kind.spellings is not None or table[kind.name].dtype.kind not in "iuf" else None
        if kind.spellings is None or raw is None:
            if raw is not None and raw.notna().any() and pd.to_numeric(raw, errors="coerce").isna().any() and as_truth(raw) is not None:
                notes.append(NotTested(what=f"{what}: spellings of column {kind.name} apart", why="true and false were read as 1 and 0"))
            continue
        united = one_spelling(raw, kind.spellings)
        changed = raw[raw.notna() & (raw != united)] if united is not raw else raw.iloc[:0]
        if not len(changed):
            continue
        counts = changed.value_counts()
        named = [f"'{level}' as '{kind.spelt(level)}' ({count_words(int(counts[level]))} rows)" for level in counts.index]
        people = counts if group is None or group not in table.columns else count_people(changed, labels(table[group]))
        named = [word for word, level in zip(named, counts.index, strict=True) if people[level] >= SMALLEST_CELL][:_SHOWN]
        truth = any(level.casefold().split() != kind.spelt(level).casefold().split() for level in counts.index)
        how = "in how true and false are written" if truth else "in case or blanks"
        why = f"they differ from the others only {how}, and were read as the same" + (f" ({', '.join(named)})" if named else "")
        notes.append(NotTested(what=f"{what}: spellings of column {kind.name} apart", why=why))
    return notes
