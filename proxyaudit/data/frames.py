"""Tables that are no files of rows: frames of Python (pandas, polars, Arrow, datasets), and folders that ``datasets`` has saved.

Nothing is imported for them: a frame hands its columns over through Arrow's own interface, and a saved data set is Arrow on disk.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.data.batches import parquet_files
from proxyaudit.digests import digest_of, file_digest
from proxyaudit.errors import InputError, machine_error
from proxyaudit.files import open_plain, read_file
from proxyaudit.limits import MOST_TABLE, at_most, how_to_raise

_STATE, _SPLITS, _ABOUT = "state.json", "dataset_dict.json", "dataset_info.json"


def as_frame(table: Any, *, what: str = "labels") -> pd.DataFrame:
    """A pandas frame of a frame of another library, or of a mapping of columns; ``InputError`` where it is neither."""
    mend = "give a frame of pandas, polars or Arrow, or a mapping of columns"
    try:
        if isinstance(table, pd.DataFrame):
            return _flat(table, what)
        if isinstance(table, Mapping):
            return _of_columns(table, what)
        if not hasattr(table, "__arrow_c_stream__") and hasattr(table, "to_pandas"):
            found = table.to_pandas()
            if isinstance(found, pd.DataFrame):
                return found
        if hasattr(table, "__arrow_c_stream__"):
            import pyarrow

            return arrow_frame(pyarrow.table(table))
        if hasattr(table, "collect"):
            mend = "call its collect() first"
        elif isinstance(table, list):
            return pd.DataFrame(table)
    except InputError:
        raise
    except Exception as error:  # whatever the frame of another library raises
        if machine_error(error) is not None:
            raise
        raise InputError(f"{what}: no table can be made of it ({type(error).__name__})", where=what, mend=mend) from None
    raise InputError(f"{what}: no table, but a {type(table).__name__}", where=what, mend=mend)


def _flat(table: pd.DataFrame, what: str) -> pd.DataFrame:
    if table.columns.nlevels > 1 or any(isinstance(kind, np.dtype) and kind.kind == "V" for kind in table.dtypes):
        raise InputError(f"{what}: its columns have columns of their own", where=what, mend="flatten it to one level of names")
    return table


def _of_columns(table: Mapping[Any, Any], what: str) -> pd.DataFrame:
    """Columns side by side as they come; ``InputError`` where pandas would sort the rows anew, to fit indexes in other orders."""
    columns = {name: table[name] for name in table}
    indexes = [values.index for values in columns.values() if isinstance(values, pd.Series)]
    if any(isinstance(values, Mapping) for values in columns.values()) or any(not one.equals(indexes[0]) for one in indexes):
        mend = "give one frame, or arrays whose rows are in the order of the activations"
        raise InputError(f"{what}: the columns have rows of different names or orders", where=what, mend=mend)
    return _flat(pd.DataFrame(columns), what)


def check_row_order(arrays: Iterable[tuple[str, Any]], labels: pd.DataFrame) -> None:
    """Refuse (``InputError``) frames of pandas whose index has the names of the labels' rows, or of one another's, in another order."""
    seen = [("the labels", labels.index)]
    for where, values in arrays:
        if not isinstance(values, pd.DataFrame | pd.Series):
            continue
        for other, index in seen:
            if len(index) != len(values) or index.equals(values.index):
                continue
            if Counter(index) == Counter(values.index):  # names of several types have no order
                mend = "bring both to one order, or call reset_index(drop=True) on them if the rows are in one order already"
                raise InputError(f"the rows are named as those of {other}, in another order", where=where, mend=mend)
        seen.append((where, values.index))


def arrow_frame(table: Any) -> pd.DataFrame:
    """A pandas frame of an Arrow table: no column hidden in an index, integers exact beside missing ones, categories as their values."""
    # pandas' own metadata could bring back an index and so hide a column; nullable integers stay exact as objects.
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    for name in [name for name in frame.columns if isinstance(frame[name].dtype, pd.CategoricalDtype)] if frame.columns.is_unique else []:
        frame[name] = frame[name].astype(object)
    return frame


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder is one that ``datasets`` has saved."""
    return (path / _STATE).is_file() or (path / _SPLITS).is_file()


def table_digest(path: Path) -> str:
    """SHA-256 of a table's file; of a folder, over the names and digests of the files that are read."""
    if not path.is_dir():
        return file_digest(path)
    if not is_saved_dataset(path) and (rows := parquet_files(path)):
        return digest_of([[file.relative_to(path).as_posix(), file_digest(file)] for file in rows])
    files = [path / _STATE, *([path / _ABOUT] if (path / _ABOUT).is_file() else []), *_arrow_files(path, "data")]
    return digest_of([[file.name, file_digest(file)] for file in files])


def read_saved_dataset(path: Path, what: str) -> pd.DataFrame:
    """The rows of a folder that ``datasets`` has saved, labels of classes by their names.

    ``InputError``: it holds several splits, rows chosen by an index, or no Arrow that can be read.
    """
    import pyarrow

    where = str(path)
    tables = []
    for file in _arrow_files(path, what):
        try:
            with open_plain(file) as stream:
                tables.append(pyarrow.ipc.open_stream(stream).read_all())
        except (pyarrow.ArrowException, OSError, ValueError):
            raise InputError(f"{what}: '{file.name}' is no Arrow stream", where=where, mend="save the data set again") from None
        if sum(table.nbytes for table in tables) > at_most(MOST_TABLE):
            fault = f"{what}: it expands to more than {at_most(MOST_TABLE) / 2**20:,.0f} MB"
            raise InputError(fault, where=where, mend=f"give fewer rows or columns; {how_to_raise()}")
    try:
        frame = arrow_frame(pyarrow.concat_tables(tables))
    except (pyarrow.ArrowException, ValueError):
        raise InputError(f"{what}: its files do not fit together", where=where, mend="save the data set again") from None
    for name, names in _class_names(path).items():
        if name in frame.columns:
            frame[name] = [names[code] if isinstance(code, int) and 0 <= code < len(names) else None for code in frame[name].tolist()]
    return frame


def _arrow_files(path: Path, what: str) -> list[Path]:
    """The files of rows, in order; ``InputError``: there are none, or they lie elsewhere."""
    where, again = str(path), "save the data set again (save_to_disk)"
    if (path / _SPLITS).is_file():
        splits = _json(path / _SPLITS).get("splits") or []
        named = ", ".join(str(split)[:40] for split in splits[:6]) if isinstance(splits, list) else ""
        raise InputError(f"{what}: the folder holds several splits ({named})", where=where, mend="name the folder of one of them")
    state = _json(path / _STATE)
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise InputError(f"{what}: its rows are chosen by an index", where=where, mend="call flatten_indices() and save it again")
    listed = state.get("_data_files")
    names = [one.get("filename") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    plain = [name for name in names if isinstance(name, str) and name and not any(mark in name for mark in "/\\\0")]
    files = [path / name for name in plain if (path / name).is_file() and not (path / name).is_symlink()]
    if not files or len(files) < len(names):
        raise InputError(f"{what}: {_STATE} names no files of rows beside it", where=where, mend=again)
    return files


def _class_names(path: Path) -> dict[str, list[str]]:
    features = _json(path / _ABOUT).get("features") if (path / _ABOUT).is_file() else None
    kinds = {name: kind for name, kind in features.items() if isinstance(kind, dict)} if isinstance(features, dict) else {}
    named = {name: kind.get("names") for name, kind in kinds.items() if kind.get("_type") == "ClassLabel"}
    return {name: [str(one) for one in names] for name, names in named.items() if isinstance(names, list)}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError(f"'{path.name}' cannot be read", where=str(path.parent), mend="save the data set again")
    return found
