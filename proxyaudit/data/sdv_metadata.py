"""Kinds of columns as SDV's metadata say them (``data.metadata``), read as plain JSON: SDV is not needed for it.

``id`` and whatever is marked as personal (names, addresses of mail) name rows and are kept out of models; ``categorical`` and ``boolean``
columns are categories though they are written as numbers; ``numerical`` ones are numbers; dates come in the format that is named there.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd

from proxyaudit.data.columns import Column, ColumnKind, labels, spellings_of
from proxyaudit.data.faults import NoNumbers
from proxyaudit.errors import InputError
from proxyaudit.files import read_file

_CATEGORIES: Final = ("categorical", "boolean")
_PLAIN: Final = (*_CATEGORIES, "numerical", "datetime", "unknown")


@dataclass(frozen=True)
class Metadata:
    """What SDV's metadata say of a table's columns."""

    where: str = ""
    identifiers: tuple[str, ...] = ()
    kinds: dict[str, str] = field(default_factory=dict)  # sdtype by column
    dates: dict[str, str] = field(default_factory=dict)  # format by column

    def settled(self, column: Column, kind: ColumnKind, *, where: str) -> ColumnKind:
        """The kind of a column where the metadata know better than its values; ``InputError`` where values cannot be of it."""
        said = self.kinds.get(kind.name)
        if said in _CATEGORIES and kind.kind == "numeric" and not kind.date:
            return ColumnKind(kind.name, "categorical", spellings=spellings_of(labels(column, where=where)))
        if (said == "numerical" and kind.kind != "numeric") or (said == "datetime" and not kind.date):
            what = f"column '{kind.name}' holds other values than {'numbers' if said == 'numerical' else 'dates'}, which data.metadata says"
            mend = "mend those values, or correct its sdtype there"
            numbers = kind.name if said == "numerical" else ""  # where dates are wanted, words among numbers explain nothing
            raise NoNumbers(what, where=where, mend=mend, column=numbers, instead="correct its sdtype in data.metadata")
        return kind

    def with_dates(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with dates written as ISO dates, where every value of a column is one of the format named."""
        for name, form in self.dates.items():
            if name in frame.columns and frame[name].notna().any():
                found = pd.to_datetime(labels(frame[name]), format=form, errors="coerce")
                if bool((found.notna() == frame[name].notna()).all()):
                    frame[name] = found
        return frame


def read_metadata(path: Path) -> Metadata:
    """Read metadata of one table, in any version of SDV's format; ``InputError`` if the file holds none, or of several tables."""
    where, mend = str(path), "write it with SDV: metadata.save_to_json"
    try:
        document = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        raise InputError("data.metadata: the file is no JSON", where=where, mend=mend) from None
    tables = document.get("tables") if isinstance(document, dict) else None
    if isinstance(tables, dict) and len(tables) > 1:
        raise InputError(f"data.metadata describes {len(tables)} tables", where=where, mend="keep the one that data.path holds")
    table: Any = next(iter(tables.values()), None) if isinstance(tables, dict) else document
    columns = table.get("columns") if isinstance(table, dict) else None
    if not isinstance(columns, dict) or not all(isinstance(said, dict) for said in columns.values()):
        raise InputError("data.metadata describes no columns", where=where, mend=mend)
    kinds = {str(name): str(said.get("sdtype", "unknown")) for name, said in columns.items()}
    keys = table.get("primary_key")
    keys = [str(key) for key in (keys if isinstance(keys, list) else [keys]) if key is not None]
    personal = [
        name for name, said in columns.items() if kinds[str(name)] not in _PLAIN and (kinds[str(name)] == "id" or said.get("pii", True))
    ]
    identifiers = tuple(dict.fromkeys([str(name) for name in personal] + (keys if len(keys) == 1 else [])))
    dates = {str(name): str(said["datetime_format"]) for name, said in columns.items() if said.get("datetime_format")}
    return Metadata(where, identifiers, kinds, {name: form for name, form in dates.items() if kinds[name] == "datetime"})
