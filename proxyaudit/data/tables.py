"""Tables from disk: paths that cannot escape, CSV, parquet and saved data sets, and one clear line for every failure."""

import errno
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from proxyaudit.data.batches import ParquetBatches, parquet_files
from proxyaudit.data.columns import Column
from proxyaudit.data.csv_files import DECIMAL_COMMA, DOTS, read_csv, read_dotted, read_numbers
from proxyaudit.data.dots import dotted_columns
from proxyaudit.data.faults import Faults, Stray
from proxyaudit.data.frames import arrow_frame, is_saved_dataset, read_saved_dataset
from proxyaudit.data.identifiers import INDEX_DROPPED, drop_index
from proxyaudit.data.missing import check_text, settle_missing
from proxyaudit.data.reading import Reading, Told
from proxyaudit.data.several_labels import join_labels
from proxyaudit.data.streaming import Sampling, read_batches
from proxyaudit.errors import InputError

_ROW_INDEX = "__index_level_0__"  # pandas writes its row labels into parquet under this name


def is_inside(path: Path, folder: Path) -> bool:
    """Say whether ``path`` (links followed) lies in ``folder`` or below it."""
    return path.resolve().is_relative_to(folder.resolve())


def resolve_path(text: str, *, base: Path, what: str, extra: tuple[Path, ...] = (), folders: bool = False) -> Path:
    """Find the file that a recipe names; ``what`` it is, e.g. ``"data.path"``, is for messages.

    Absolute paths are taken as they are; relative ones are looked for below ``base`` (the recipe's folder), the current folder and
    ``extra``, and may not lead out of all of these. Raises ``InputError``: there is no such file, the path escapes, or it is a folder,
    unless ``folders`` of saved data sets are asked for.
    """
    if not text or "\0" in text:
        raise InputError(f"{what} is not a file name", mend="write the path of a file")
    trusted = (base, Path.cwd(), *extra)
    try:
        if Path(text).is_absolute():
            return _existing_file(Path(text), what, folders)
        inside = [folder / text for folder in trusted if any(is_inside(folder / text, root) for root in trusted)]
        for candidate in inside:
            if candidate.exists():
                return _existing_file(candidate, what, folders)
            if candidate.is_symlink():
                raise OSError(errno.ENOENT, "a link that leads nowhere")  # newer Pythons tell links in a circle apart no more
    except (OSError, RuntimeError) as error:  # a name of thousands of letters, links in a circle
        reason = getattr(error, "strerror", None) or "links in a circle"
        raise InputError(f"{what}: the path cannot be used ({reason})", where=text[:200], mend="check the path") from None
    if not inside:
        raise InputError(f"{what}: the path escapes the recipe's folder", where=text, mend="write the absolute path if you mean it")
    raise InputError(f"{what}: no such file", where=text, mend="paths are relative to the recipe's folder, then to the current folder")


def _existing_file(path: Path, what: str, folders: bool) -> Path:
    if path.is_dir() and not (folders and (is_saved_dataset(path) or parquet_files(path))):
        raise InputError(f"{what}: this is a folder, not a file", where=str(path), mend="name the file itself")
    if not path.exists():
        raise InputError(f"{what}: no such file", where=str(path), mend="check the path")
    return path


def read_table(
    path: Path, *, what: str, reading: Reading | None = None, told: Told | None = None, faults: Faults | None = None
) -> pd.DataFrame:
    """Read a CSV (header line, optionally gzipped), parquet, a folder of parquet or a saved data set; of one too large a sample.

    ``told`` takes what a reader should know of it. Where ``faults`` are gathered, a column that cannot be read is noted there and left out.

    Columns whose every value is a number become numbers; columns with leading zeros (codes such as ``02139``) or integers beyond 2**53 stay
    text, since numbers would not keep them apart. The words of ``reading.missing`` and empty fields are missing values, whatever the kind
    of file. Raises ``InputError``: the file cannot be read as such a table; one line says why and where.
    """
    reading, told = reading or Reading(), told if told is not None else Told()
    own = faults if faults is not None else Faults(what, str(path))
    name, is_text = path.name.lower(), False
    if path.is_dir() and is_saved_dataset(path):
        frame = _plain(read_saved_dataset(path, what), own)
    elif name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
        frame, is_text = read_csv(path, what, reading, told), True
    elif path.is_dir() or name.endswith((".parquet", ".pq")):
        frame = _read_parquet(path, what, reading.sampling, told, own)
    else:
        raise InputError(f"{what}: unknown kind of file", where=str(path), mend="use one of .csv, .tsv (both also as .gz), .parquet")
    frame = _check_names(drop_index(frame, told.remarks), own)
    if frame.empty:
        own.settle()
        raise InputError(f"{what}: the table has no rows", where=str(path), mend="give a table with a header line and at least one row")
    frame = reading.histories.settle(settle_values(frame, reading, told, own, numbers=is_text), own, told.remarks)
    if faults is None:
        own.settle()
    return frame


def settle_values(frame: pd.DataFrame, reading: Reading, told: Told, faults: Faults, *, numbers: bool = False) -> pd.DataFrame:
    """What values of a raw table mean, by one rule for every kind of it; columns of text become ``numbers`` where all of them are."""
    check_text(frame, faults)
    are_numbers = (lambda values: read_numbers(values, reading.format)[0] is not None) if numbers else None
    frame, words = settle_missing(frame, reading.missing, are_numbers)
    told.words += words
    told.missing = faults.known = reading.missing
    faults.recipe = bool(reading.key)
    for word in words:
        if word.first:
            faults.strays.setdefault(word.column, []).append(Stray(word.word, word.rows, word.first))
    dotted = dotted_columns(frame, reading.format)
    read = {name: read_numbers(frame[name], reading.format) for name in (frame.columns if numbers else ())}
    has_comma = any(mark == DECIMAL_COMMA for _, mark in read.values())
    for name, (found, mark) in read.items():
        # A file has one decimal mark: beside a comma a dot is none.
        if has_comma and not mark and (whole := read_dotted(frame[name])) is not None:
            found, mark = whole, DOTS
        if found is not None:
            frame[name] = found
        if mark:
            told.marks.setdefault(mark, []).append(name)
    told.dotted |= {name: numbers for name in dotted if not read.get(name, (None, ""))[1]}
    return join_labels(reading.metadata.with_dates(frame), reading.labels, reading.key)


def _check_names(frame: pd.DataFrame, faults: Faults) -> pd.DataFrame:
    """The frame without columns that have no name, or that of another."""
    names = [str(name) for name in frame.columns]
    for place in [place for place, name in enumerate(names, 1) if not name]:
        faults.add(f"{faults.table}: column {place} has no name", "name it in the header, or drop it")
    for name in [name for name, times in Counter(names).items() if times > 1 and name]:
        faults.add(f"{faults.table}: two columns are named '{name}'", "rename one of them")
    kept = ~pd.Index(names).duplicated() & (np.array(names) != "")
    return frame if kept.all() else frame.loc[:, kept]


def _read_parquet(path: Path, what: str, sampling: Sampling | None, told: Told, faults: Faults) -> pd.DataFrame:
    import pyarrow

    where, files = str(path), parquet_files(path) if path.is_dir() else (path,)
    if not files:
        raise InputError(f"{what}: the folder holds no parquet files", where=where, mend="name a folder of .parquet files")
    try:
        batches = ParquetBatches.of(files, path if path.is_dir() else None, what, sampled=sampling is not None)
        table, remarks = read_batches(batches, batches.count, sampling, what, where)
        frame = arrow_frame(table)
    except (pyarrow.ArrowException, ValueError):
        raise InputError(f"{what}: not a parquet table", where=where, mend="write it again, or use CSV") from None
    except OSError as error:
        reason = error.strerror or "damaged"
        raise InputError(f"{what}: the file cannot be read ({reason})", where=where, mend="check the file and its permissions") from None
    told.remarks += remarks
    if _ROW_INDEX in frame.columns:
        frame = frame.drop(columns=[_ROW_INDEX])
        told.remarks.append(INDEX_DROPPED)
    return _plain(frame, faults)


def _plain(frame: pd.DataFrame, faults: Faults) -> pd.DataFrame:
    """A frame with names as text and the columns that can be used."""
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    kept = [_plain_column(frame.iloc[:, place], faults) for place in range(frame.shape[1])]
    known = [column for column in kept if column is not None]
    return pd.concat(known, axis=1) if known else frame.iloc[:, :0]


def _plain_column(column: Column, faults: Faults) -> Column | None:
    """A column of numbers, truth values, dates or objects; ``None``, and a fault, where it holds none of these."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind not in "biufMO":
        mend = "store it as numbers, text or dates"
        faults.add(f"{faults.table}: column '{column.name}' is of an unsupported type ({dtype})", mend)
        return None
    return column
