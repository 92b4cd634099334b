"""Files of rows that are read a batch at a time: parquet, folders of parquet, and CSV; every field of a CSV as text."""

import contextlib
import errno
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proxyaudit.errors import InputError
from proxyaudit.files import natural, open_plain
from proxyaudit.limits import EXPANDED, MOST_TABLE, at_most, how_to_raise

_ROWS: Final = 2**17  # of a batch
_CSV_BYTES: Final = 2**23
_SUFFIXES = (".parquet", ".pq")


class _Expanding(gzip.GzipFile):
    """A gzip file that is read up to a limit: a few megabytes may hold more than any memory."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size if size is not None and size >= 0 else at_most(MOST_TABLE) + 1)
        if self.tell() > at_most(MOST_TABLE):
            raise OSError(errno.EFBIG, f"it expands to more than {at_most(MOST_TABLE) / 2**20:,.0f} MB; {how_to_raise()}")
        return data

    read1 = read


def parquet_files(path: Path) -> tuple[Path, ...]:
    """The parquet files of a folder, whatever lies deeper too, in the natural order of their names; none where there are none.

    Names that begin with a dot or an underscore are those of other programs' own files, and are left out.
    """
    if not path.is_dir():
        return ()
    found = [one for one in path.rglob("*") if one.name.lower().endswith(_SUFFIXES) and one.is_file()]
    if linked := next((one for one in found if one.is_symlink()), None):
        raise InputError(
            f"'{linked.name[:80]}' is a link; links in folders are not followed", where=str(path), mend="put the file itself there"
        )
    plain = [one for one in found if not any(part.startswith((".", "_")) for part in one.relative_to(path).parts)]
    return tuple(sorted(plain, key=lambda one: natural(one.relative_to(path).as_posix())))


@dataclass(frozen=True)
class ParquetBatches:
    """Rows of parquet files with the same columns, one file after the other; names of folders such as ``year=2024`` are columns too."""

    files: tuple[Path, ...]
    folder: Path | None
    columns: tuple[str, ...]
    count: int

    @classmethod
    def of(cls, files: tuple[Path, ...], folder: Path | None, what: str, *, sampled: bool) -> "ParquetBatches":
        """Look at the files' own descriptions.

        ``InputError``: one is no parquet, they differ in columns, or expand beyond what is read; where a sample is drawn of it, beyond what
        any table expands to.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        names: list[tuple[str, ...]] = []
        rows = expanded = stored = 0
        for file in files:
            try:
                with open_plain(file) as stream:
                    about, parts = pq.ParquetFile(stream), _partitions(file, folder)
                    if doubled := next((name for name in about.schema_arrow.names if name in parts), None):
                        fault = f"{what}: column '{doubled[:60]}' is in the file and in the name of its folder ('{doubled[:60]}=...')"
                        mend = f"leave it out of the files, or move them out of '{doubled[:60]}=...'"
                        raise InputError(fault, where=str(file), mend=mend)
                    own = about.schema_arrow.names
                    if len(files) > 1 and (twice := next((name for name in own if own.count(name) > 1), None)) is not None:
                        mend = "rename one of them, in every file of the folder"
                        raise InputError(f"{what}: two columns are named '{twice[:60]}'", where=str(file), mend=mend)
                    names.append((*own, *parts))
                    meta = about.metadata
                    sizes = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
                    rows, expanded = rows + meta.num_rows, expanded + max(8 * meta.num_rows * meta.num_columns, sizes)
                    stored += file.stat().st_size
            except (pa.ArrowException, ValueError):
                raise InputError(f"{what}: not a parquet table", where=str(file), mend="write it again, or use CSV") from None
        odd = next((place for place, one in enumerate(names) if set(one) != set(names[0])), None)
        if odd is not None:
            differing = sorted(set(names[odd]) ^ set(names[0]))[0]
            fault = f"{what}: '{files[odd].name}' and '{files[0].name}' differ in column '{differing[:60]}'"
            raise InputError(fault, where=str(folder), mend="keep files of one table in the folder")
        if expanded > at_most(MOST_TABLE) and (not sampled or expanded > EXPANDED * stored):
            fault = f"{what}: it expands to more than {at_most(MOST_TABLE) / 2**20:,.0f} MB"
            raise InputError(fault, where=str(folder or files[0]), mend=f"give fewer rows or columns; {how_to_raise()}")
        return cls(files, folder, names[0], rows)

    def __call__(self) -> Iterator[Any]:
        """Record batches, columns in the order of the first file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for file in self.files:
            more = _partitions(file, self.folder)
            with open_plain(file) as stream:
                about = pq.ParquetFile(stream)
                texts = [one.name for one in about.schema_arrow if pa.types.is_string(one.type) or pa.types.is_large_string(one.type)]
                stream.seek(0)
                about = pq.ParquetFile(stream, read_dictionary=texts, buffer_size=2**20)
                empty = pa.RecordBatch.from_pylist([], about.schema_arrow)
                for batch in about.iter_batches(_ROWS) if about.metadata.num_rows else (empty,):
                    if more:
                        arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
                        arrays |= {name: pa.array([value] * batch.num_rows) for name, value in more.items()}
                        yield pa.record_batch([arrays[name] for name in self.columns], names=list(self.columns))
                    elif tuple(batch.schema.names) == self.columns:
                        yield batch
                    else:
                        yield batch.select(list(self.columns))


def _partitions(file: Path, folder: Path | None) -> dict[str, Any]:
    """What the names of folders say of a file: ``year=2024`` is a column of one value."""
    parts = file.parent.relative_to(folder).parts if folder is not None else ()
    named = [part.partition("=") for part in parts if "=" in part]
    return {name: int(value) if value.isdecimal() and str(int(value)) == value else value for name, _, value in named}


@dataclass(frozen=True)
class CsvBatches:
    """Rows of a CSV, every field as text. Arrow's own errors say what is no such table."""

    path: Path
    encoding: str
    separator: str
    columns: tuple[str, ...]

    def __call__(self) -> Iterator[Any]:
        """Record batches. ``ValueError``: a quote is open at the end, and what follows it would be one field."""
        import pyarrow as pa
        import pyarrow.csv as pc

        with open_expanded(self.path) as opened:
            stream = _Quotes(opened)
            places = [str(place) for place in range(len(self.columns))]  # two columns may have one name
            how = pc.ReadOptions(block_size=_CSV_BYTES, column_names=places, skip_rows_after_names=1)
            how.encoding = "utf8" if self.encoding == "utf-8-sig" else self.encoding
            texts = pc.ConvertOptions(column_types=dict.fromkeys(places, pa.string()), strings_can_be_null=False)
            for batch in pc.open_csv(stream, how, pc.ParseOptions(delimiter=self.separator, newlines_in_values=True), texts):
                yield pa.RecordBatch.from_arrays(batch.columns, names=list(self.columns))
            if stream.count % 2:
                raise ValueError("a quote is not closed")


class _Quotes(io.RawIOBase):
    """A stream whose quotes are counted as it is read."""

    def __init__(self, stream: io.BufferedReader | _Expanding) -> None:
        self.stream, self.count = stream, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        self.count += data.count(b'"')
        return data


@contextlib.contextmanager
def open_expanded(path: Path) -> Iterator[io.BufferedReader | _Expanding]:
    """The bytes of a file, expanded where it is a gzip file."""
    with open_plain(path) as stream:
        yield _Expanding(fileobj=stream) if path.name.lower().endswith(".gz") else stream
