"""Tables from disk: paths that cannot escape, CSV and parquet, and one clear line for every failure."""

import contextlib
import csv
import errno
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd

from proxyaudit.data.columns import parse_numbers
from proxyaudit.errors import InputError
from proxyaudit.files import LIMITS, MOST_TABLE, at_most, open_plain

_ROW_INDEX = "__index_level_0__"  # pandas writes its row labels into parquet under this name


def is_inside(path: Path, folder: Path) -> bool:
    """Say whether ``path`` (links followed) lies in ``folder`` or below it."""
    return path.resolve().is_relative_to(folder.resolve())


def resolve_path(text: str, *, base: Path, what: str, extra: tuple[Path, ...] = ()) -> Path:
    """Find the file that a recipe names; ``what`` it is, e.g. ``"data.path"``, is for messages.

    Absolute paths are taken as they are; relative ones are looked for below ``base`` (the recipe's folder), the current folder and
    ``extra``, and may not lead out of all of these. Raises ``InputError``: there is no such file, it is a folder, or the path escapes.
    """
    if not text or "\0" in text:
        raise InputError(f"{what} is not a file name", mend="write the path of a file")
    trusted = (base, Path.cwd(), *extra)
    try:
        if Path(text).is_absolute():
            return _existing_file(Path(text), what)
        inside = [folder / text for folder in trusted if any(is_inside(folder / text, root) for root in trusted)]
        for candidate in inside:
            if candidate.exists():
                return _existing_file(candidate, what)
    except (OSError, RuntimeError) as error:  # a name of thousands of letters, links in a circle
        reason = getattr(error, "strerror", None) or "links in a circle"
        raise InputError(f"{what}: the path cannot be used ({reason})", where=text[:200], mend="check the path") from None
    if not inside:
        raise InputError(f"{what}: the path escapes the recipe's folder", where=text, mend="write the absolute path if you mean it")
    raise InputError(f"{what}: no such file", where=text, mend="paths are relative to the recipe's folder, then to the current folder")


def _existing_file(path: Path, what: str) -> Path:
    if path.is_dir():
        raise InputError(f"{what}: this is a folder, not a file", where=str(path), mend="name the file itself")
    if not path.exists():
        raise InputError(f"{what}: no such file", where=str(path), mend="check the path")
    return path


def read_table(path: Path, *, what: str) -> pd.DataFrame:
    """Read a CSV (UTF-8, commas, header line, optionally gzipped) or parquet table.

    Columns whose every value is a number become numbers; columns with leading zeros (codes such as ``02139``) or integers beyond 2**53 stay
    text, since numbers would not keep them apart. Empty fields and the usual spellings (``NA``, ``NaN``, ``null``, ``None``) are missing
    values. Raises ``InputError``: the file cannot be read as such a table; one line says why and where.
    """
    name = path.name.lower()
    if name.endswith((".csv", ".csv.gz")):
        frame = _read_csv(path, what)
    elif name.endswith((".parquet", ".pq")):
        frame = _read_parquet(path, what)
    else:
        raise InputError(f"{what}: unknown kind of file", where=str(path), mend="use one of .csv, .csv.gz, .parquet")
    if frame.empty:
        raise InputError(f"{what}: the table has no rows", where=str(path), mend="give a table with a header line and at least one row")
    return frame


class _Expanding(gzip.GzipFile):
    """A gzip file that is read up to a limit: a few megabytes may hold more than any memory."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size if size is not None and size >= 0 else at_most(MOST_TABLE) + 1)
        if self.tell() > at_most(MOST_TABLE):
            raise OSError(errno.EFBIG, f"it expands to more than {at_most(MOST_TABLE) / 2**20:,.0f} MB; set {LIMITS}=10 to raise that")
        return data

    read1 = read


@contextlib.contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    with open_plain(path) as stream:
        if path.name.lower().endswith(".gz"):
            with io.TextIOWrapper(_Expanding(fileobj=stream), encoding="utf-8-sig", newline="") as text:
                yield text
        else:
            with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
                yield text


def _read_csv(path: Path, what: str) -> pd.DataFrame:
    where = str(path)
    try:
        header = _check_csv(path, what)
        with _open_text(path) as stream:
            frame = pd.read_csv(stream, dtype=str, header=0, names=header, index_col=False, skip_blank_lines=True)
    except UnicodeDecodeError:
        raise InputError(f"{what}: the file is not UTF-8 text", where=where, mend="save it as UTF-8") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"{what}: the gzip file is damaged or cut short", where=where, mend="copy or compress it again") from None
    except (csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{what}: not a CSV table ({type(error).__name__})", where=where, mend="check quotes and separators") from None
    except FileNotFoundError:
        raise InputError(f"{what}: no such file", where=where, mend="check the path") from None
    except OSError as error:
        raise InputError(f"{what}: the file cannot be read ({error.strerror})", where=where, mend="check its permissions") from None
    for column in frame.columns:
        numbers = parse_numbers(frame[column])
        if numbers is not None:
            frame[column] = numbers
    return frame


def _check_csv(path: Path, what: str) -> list[str]:
    """Return the header; refuse rows of another length, which pandas would fill or cut without a word."""
    with _open_text(path) as stream:
        reader = csv.reader(stream)
        header = [name.strip() for name in next((row for row in reader if row), [])]
        if not header:
            raise InputError(f"{what}: the file is empty", where=str(path), mend="give a table with a header line")
        if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
            raise InputError(f"{what}: the columns are not separated by commas", where=str(path), mend="save it as comma-separated CSV")
        _check_names(header, path, what)
        for row in reader:
            if row and len(row) != len(header):
                fault, where = f"a row has {len(row)} fields where the header has {len(header)}", f"{path}, line {reader.line_num}"
                raise InputError(f"{what}: {fault}", where=where, mend="quote fields that hold commas, or complete the row")
    return header


def _check_names(names: list[str], path: Path, what: str) -> None:
    if "" in names:
        column = names.index("") + 1
        raise InputError(f"{what}: column {column} has no name", where=str(path), mend="name it in the header, or drop it")
    doubled = [name for name, times in Counter(names).items() if times > 1]
    if doubled:
        raise InputError(f"{what}: two columns are named '{doubled[0]}'", where=str(path), mend="rename one of them")


def _check_parquet(about: Any, path: Path, what: str) -> None:
    """Refuse what would not fit once it is expanded: a column of one value takes no room in the file."""
    size = max(8 * about.num_rows * about.num_columns, sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups)))
    if size > at_most(MOST_TABLE):
        fault = f"{what}: it expands to more than {at_most(MOST_TABLE) / 2**20:,.0f} MB"
        raise InputError(fault, where=str(path), mend=f"give fewer rows or columns, or set {LIMITS}=10")


def _read_parquet(path: Path, what: str) -> pd.DataFrame:
    import pyarrow
    import pyarrow.parquet

    where = str(path)
    try:
        with open_plain(path) as stream:
            _check_parquet(pyarrow.parquet.ParquetFile(stream).metadata, path, what)
            stream.seek(0)
            table = pyarrow.parquet.read_table(stream)
        # pandas' own metadata could bring back an index and so hide a column; nullable integers stay exact as objects.
        frame: pd.DataFrame = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    except (pyarrow.ArrowException, ValueError):
        raise InputError(f"{what}: not a parquet table", where=where, mend="write it again, or use CSV") from None
    except OSError as error:
        reason = error.strerror or "damaged"
        raise InputError(f"{what}: the file cannot be read ({reason})", where=where, mend="check the file and its permissions") from None
    frame = frame.drop(columns=[_ROW_INDEX], errors="ignore")
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    _check_names(list(frame.columns), path, what)
    for column in frame.columns:
        dtype = frame[column].dtype
        if isinstance(dtype, pd.CategoricalDtype):
            frame[column] = frame[column].astype(object)
        elif isinstance(dtype, np.dtype) and dtype.kind not in "biufMO":
            mend = "store it as numbers, text or dates"
            raise InputError(f"{what}: column '{column}' is of an unsupported type ({dtype})", where=where, mend=mend)
    return frame
