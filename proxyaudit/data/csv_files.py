"""CSV files as they are: separator, encoding and decimal marks are found, or named in the recipe where a file allows two readings."""

import contextlib
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import pandas as pd

from proxyaudit.data.batches import CsvBatches, open_expanded
from proxyaudit.data.columns import Column, parse_numbers
from proxyaudit.data.reading import Reading, Told
from proxyaudit.data.streaming import read_batches
from proxyaudit.errors import InputError
from proxyaudit.recipe.tables import FormatSpec

_SEPARATORS: Final = (",", ";", "\t", "|")
_SAMPLE: Final = 2**18  # characters that the separator is found in
_CHUNK: Final = 2**24  # bytes that are looked at at once for what alphabet they are
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# Western letters among others: bytes that stand for letters of Latin-1, one or two at a time beside letters of ASCII. Where whole words
# lie beyond ASCII it may be any alphabet.
_WESTERN = re.compile(
    rb"(?:(?<=[A-Za-z])[\xc0-\xd6\xd8-\xf6\xf8-\xff]{1,2}(?![\x80-\xff])|(?<![\x80-\xff])[\xc0-\xd6\xd8-\xf6\xf8-\xff]{1,2}(?=[A-Za-z]))"
)
_COMMA_DECIMALS = re.compile(r"[+-]?\d*(?:,\d+)?(?:[eE][+-]?\d+)?|[+-]?\d{1,3}(?:\.\d{3})+,\d+")
_SURELY_DECIMAL = re.compile(r"[+-]?(?:0|\d{4,}|),\d+|[+-]?\d+,(?!\d{3}$)\d+|[+-]?\d{1,3}(?:\.\d{3})+,\d+")
_DOT_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+|[+-]?\d+")
_SURELY_DOTS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3}){2,}")
_COMMA_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})*(?:\.\d+)?")
_SURELY_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+\.\d+|[+-]?\d{1,3}(?:,\d{3}){2,}")

DECIMAL_COMMA, DOTS = "a decimal comma", "a dot between thousands"


@dataclass(frozen=True)
class _Dialect:
    encoding: str
    separator: str


@contextlib.contextmanager
def _open_text(path: Path, encoding: str) -> Iterator[TextIO]:
    with open_expanded(path) as stream, io.TextIOWrapper(stream, encoding=encoding, newline="") as text:
        yield text


def read_csv(path: Path, what: str, reading: Reading, told: Told) -> pd.DataFrame:
    """Every field as text, ``InputError`` in one line for whatever is no such table; ``told`` takes what was found of its writing."""
    where = str(path)
    try:
        dialect = _find_dialect(path, what, reading, told)
        frame = _read_quickly(path, what, dialect, reading, told)
        if frame is None:
            header = _check_csv(path, what, dialect)
            with _open_text(path, dialect.encoding) as stream:
                places = list(range(len(header)))
                frame = pd.read_csv(stream, sep=dialect.separator, dtype=str, header=0, names=places, index_col=False, na_filter=False)
                frame = frame.set_axis(header, axis=1)
    except UnicodeDecodeError:
        mend = "save it as UTF-8" + reading.or_named("encoding: latin-1")
        raise InputError(f"{what}: the file is not UTF-8 text", where=where, mend=mend) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"{what}: the gzip file is damaged or cut short", where=where, mend="copy or compress it again") from None
    except (csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{what}: not a CSV table ({type(error).__name__})", where=where, mend="check quotes and separators") from None
    except FileNotFoundError:
        raise InputError(f"{what}: no such file", where=where, mend="check the path") from None
    except OSError as error:
        raise InputError(f"{what}: the file cannot be read ({error.strerror})", where=where, mend="check its permissions") from None
    return frame


def _read_quickly(path: Path, what: str, dialect: _Dialect, reading: Reading, told: Told) -> pd.DataFrame | None:
    """The rows as Arrow reads them, a sample where they would not fit; ``None`` where Arrow cannot: then what is wrong is to be said."""
    import pyarrow as pa

    header, lines = _header(path, what, dialect)
    if lines != 1 or dialect.encoding.lower().startswith("utf-16"):
        return None
    try:
        batches = CsvBatches(path, dialect.encoding, dialect.separator, tuple(header))
        table, remarks = read_batches(batches, None, reading.sampling, what, str(path))
    except (pa.ArrowException, ValueError):
        return None
    told.remarks += remarks
    found: pd.DataFrame = table.rename_columns([str(place) for place in range(len(header))]).to_pandas()
    return found.set_axis(header, axis=1)


def _header(path: Path, what: str, dialect: _Dialect) -> tuple[list[str], int]:
    """Names of the columns, and the line of the file that they end on."""
    with _open_text(path, dialect.encoding) as stream:
        reader = csv.reader(stream, delimiter=dialect.separator)
        header = [name.strip() for name in next((row for row in reader if row), [])]
        if not header:
            raise InputError(f"{what}: the file is empty", where=str(path), mend="give a table with a header line")
        return header, reader.line_num


def _find_dialect(path: Path, what: str, reading: Reading, told: Told) -> _Dialect:
    named = reading.format
    encoding = named.encoding or _find_encoding(path, told)
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8"):
        encoding = "utf-8-sig"  # a mark at the beginning is no part of the first column's name
    if named.separator is not None:
        return _Dialect(encoding, named.separator)
    with _open_text(path, encoding) as stream:
        sample = stream.read(_SAMPLE)
    found = find_separators(sample)
    if len(found) > 1:
        marks = " and ".join("tab" if mark == "\t" else f"'{mark}'" for mark in found)
        mend = "save it as comma-separated CSV" + reading.or_named('separator: ";"')
        raise InputError(f"{what}: the columns may be separated by {marks}", where=str(path), mend=mend)
    return _Dialect(encoding, found[0])


def _find_encoding(path: Path, told: Told) -> str:
    """UTF-8, UTF-16 by its mark, or Latin-1 where all that is no UTF-8 are single Western letters within words."""
    encoding = "utf-8-sig"
    for data in _whole_lines(path):
        if encoding == "utf-8-sig" and data[:2] in _UTF16:
            return "utf-16"
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            encoding = "latin-1"
            break
    if encoding == "latin-1":
        for data in _whole_lines(path):
            if re.search(rb"[\x80-\xff]", _WESTERN.sub(b"", data)):
                raise UnicodeDecodeError("utf-8", data, 0, 1, "it may be any alphabet")
        why = "the file is not UTF-8; it was read as Latin-1, since all of them are Western letters then"
        told.remarks.append(("whether letters beyond ASCII are read as they were meant", why))
    return encoding


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The bytes of a file some megabytes at a time, cut where lines end."""
    with open_expanded(path) as stream:
        while data := stream.read(_CHUNK):
            yield data + stream.readline()


def find_separators(sample: str) -> tuple[str, ...]:
    r"""The marks that give the header and every row of a sample the same number of fields, two or more; else the header's most frequent.

    >>> find_separators("a;b\n1,5;2\n"), find_separators("a;b,c\n1;2,5\n")
    ((';',), (',', ';'))
    """
    cut = len(sample) == _SAMPLE
    fits, widths = [], Counter[str]()
    for mark in _SEPARATORS:
        rows = [row for row in csv.reader(io.StringIO(sample, newline=""), delimiter=mark) if row]
        rows = rows[:-1] if cut and len(rows) > 1 else rows
        widths[mark] = len(rows[0]) if rows else 0
        if widths[mark] > 1 and all(len(row) == widths[mark] for row in rows):
            fits.append(mark)
    return tuple(fits) or (max(_SEPARATORS, key=lambda mark: widths[mark]),)


def _check_csv(path: Path, what: str, dialect: _Dialect) -> list[str]:
    """Return the header; refuse rows of another length, which pandas would fill or cut without a word."""
    header, _ = _header(path, what, dialect)
    with _open_text(path, dialect.encoding) as stream:
        reader = csv.reader(stream, delimiter=dialect.separator)
        next(row for row in reader if row)
        for row in reader:
            if row and len(row) != len(header):
                fault, where = f"a row has {len(row)} fields where the header has {len(header)}", f"{path}, line {reader.line_num}"
                mark = "tabs" if dialect.separator == "\t" else "commas" if dialect.separator == "," else f"'{dialect.separator}'"
                raise InputError(f"{what}: {fault}", where=where, mend=f"quote fields that hold {mark}, or complete the row")
    return header


def read_numbers(column: Column, named: FormatSpec) -> tuple[Column | None, str]:
    """A column of text as numbers where every value is one, else ``None``, and the decimal or thousands mark that was found in it.

    >>> read_numbers(pd.Series(["1,5", "2"]), FormatSpec())[0].tolist(), read_numbers(pd.Series(["1,500"]), FormatSpec())[0]
    ([1.5, 2.0], None)
    """
    if named.decimal is None and named.thousands is None and (plain := parse_numbers(column)) is not None:
        return plain, ""
    levels = [str(value).strip() for value in column.dropna().unique()]
    if named.decimal is not None or named.thousands is not None:
        decimal = named.decimal or "."
        thousands = named.thousands or ("." if decimal == "," else "")
        wanted = re.compile(rf"[+-]?(?:\d+|\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+)?(?:{re.escape(decimal)}\d+)?(?:[eE][+-]?\d+)?")
        if levels and all(level and wanted.fullmatch(level) for level in levels):
            return parse_numbers(_with_marks(column, decimal, thousands), settled=True), ""
        return (parse_numbers(column, settled=True), "") if decimal == "." else (None, "")
    if any(map(_SURELY_DOTS.fullmatch, levels)) and (dotted := read_dotted(column)) is not None:
        return dotted, DOTS
    if not any("," in level for level in levels):
        return None, ""
    if all(level and _COMMA_DECIMALS.fullmatch(level) for level in levels) and any(map(_SURELY_DECIMAL.fullmatch, levels)):
        if sum("," in level for level in levels) * 2 >= len(levels):
            return parse_numbers(_with_marks(column, ",", "."), settled=True), DECIMAL_COMMA
    elif all(map(_COMMA_THOUSANDS.fullmatch, levels)) and any(map(_SURELY_THOUSANDS.fullmatch, levels)):
        return parse_numbers(_with_marks(column, ".", ","), settled=True), "a comma between thousands"
    return None, ""


def read_dotted(column: Column) -> Column | None:
    """A column of text as whole numbers with dots between thousands, where all of it may be that; else ``None``."""
    levels = [str(value).strip() for value in column.dropna().unique()]
    fits = any("." in level for level in levels) and all(map(_DOT_THOUSANDS.fullmatch, levels))
    return parse_numbers(_with_marks(column, ",", ".")) if fits else None


def _with_marks(column: Column, decimal: str, thousands: str) -> Column:
    """Text as Python writes numbers."""
    codes, uniques = pd.factorize(column)
    plain = [str(level).strip().replace(thousands, "").replace(decimal, ".") for level in uniques]
    return pd.Series(pd.array([*plain, None], dtype=object)[codes], index=column.index, name=column.name)
