"""Tables larger than memory: read a batch at a time, and of what would not fit a random sample is kept.

A row's key hangs on what the row holds, on how many equal rows there were before it, and on the seed. So the sample is the same whatever
the order of rows, columns and files, whatever a file is called, and however many threads read. Where a column of groups is named the key
hangs on the group alone, and whole groups are kept. Two passes: the first makes the keys, the second reads the rows that are kept.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.data.public_counts import public_count
from proxyaudit.data.sampling import Keys, among, draw_rows, mixed
from proxyaudit.errors import InputError
from proxyaudit.files import temporary_folder
from proxyaudit.seeding import integer_seed

MEMORY: Final = 1.0  # gigabytes that the rows of a table may take where nothing is said
_CELL: Final = 128.0  # bytes of one value, as it is read, checked, encoded and handed to a model
_LEVELS: Final = 64  # of a column, at most, so that each of them is a stratum
_BUCKET: Final = 2**23  # rows that are sorted at a time
_MISSING: Final = 0x9E3779B97F4A7C15
_ORDER: Final = frozenset({"", "Unnamed: 0", "__index_level_0__"})  # columns that number the rows of a file


class Batches(Protocol):
    """A table that can be read again and again, some rows at a time."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""

    def __call__(self) -> Iterator[Any]:
        """Record batches of Arrow, in one order."""


@dataclass(frozen=True)
class Sampling:
    """What is kept of a table that is too large: by memory, or the rows that the recipe asks for where these are fewer."""

    seed: int
    memory: float = MEMORY  # gigabytes
    rows: int | None = None
    group: str | None = None
    strata: tuple[str, ...] = ()  # columns of which rare levels are kept

    def most(self, columns: int) -> int:
        """Rows of so many columns that fit."""
        return max(1000, int(self.memory * 1e9 / (_CELL * max(columns, 1))))


def read_batches(
    batches: Batches, count: int | None, sampling: Sampling | None, what: str, where: str
) -> tuple[Any, list[tuple[str, str]]]:
    """An Arrow table of all rows where they fit, else of a sample; and what a reader should be told of that.

    ``count`` is the number of rows where it is known. Raises ``InputError``: the groups are larger than what fits.
    """
    if sampling is None:
        return _joined(list(batches()), what, where), []
    most = sampling.most(len(batches.columns))
    if count is None or count <= most:
        kept, rows = [], 0
        for batch in batches():
            rows += batch.num_rows
            if rows > most:
                break
            kept.append(batch)
        else:
            return _joined(kept, what, where), []
        del kept
    wanted = most if sampling.rows is None else min(most, sampling.rows)
    with temporary_folder() as folder:
        chosen, extra, rows = _choose(batches, sampling, wanted, folder)
    if not len(chosen):
        mend = "raise data.memory, or name a column of smaller groups"
        raise InputError(f"{what}: each group of '{sampling.group}' has more rows than fit into memory", where=where, mend=mend)
    table = _joined(list(_taken(batches, chosen)), what, where)
    groups = "" if sampling.group not in batches.columns else f", whole groups of '{sampling.group}'"
    more = f"; {public_count(extra):,} of them were kept beyond their share, since few rows carry their level" if extra else ""
    why = (
        f"{public_count(len(chosen)):,} of {public_count(rows):,} rows were drawn at random by what they hold (seed {sampling.seed})"
        f"{groups}, so that they take at most {sampling.memory:g} GB (data: {{memory: {sampling.memory:g}}}){more}"
    )
    return table, [("rows beyond those that fit into memory", why)]


def _joined(batches: list[Any], what: str, where: str) -> Any:
    import pyarrow as pa

    try:
        return pa.concat_tables([pa.Table.from_batches([one]) for one in batches], promote_options="permissive")
    except pa.ArrowTypeError:
        kinds: dict[str, set[str]] = {}
        for batch in batches:
            for one in batch.schema:
                kinds.setdefault(one.name, set()).add("text" if pa.types.is_dictionary(one.type) else str(one.type))
        odd = next((name for name, types in kinds.items() if len(types) > 1), "?")
        fault = f"{what}: column '{odd[:60]}' is {' here and '.join(sorted(kinds.get(odd, ())))} there"
        raise InputError(fault, where=where, mend="write it alike in every file") from None


def _taken(batches: Batches, chosen: Ints) -> Iterator[Any]:
    """The chosen rows, in the order of the table."""
    start = 0
    for batch in batches():
        low, high = np.searchsorted(chosen, (start, start + batch.num_rows))
        if high > low:
            yield batch.take(chosen[low:high] - start)
        start += batch.num_rows


def _choose(batches: Batches, sampling: Sampling, wanted: int, folder: Path) -> tuple[Ints, int, int]:
    """Places of the rows that are kept, how many of them beyond their share, and how many rows there are."""
    strata = {name: _Levels() for name in sampling.strata if batches.columns.count(name) == 1}
    with contextlib.ExitStack() as stack:
        hashes = stack.enter_context((folder / "hashes").open("wb"))
        codes = {name: stack.enter_context((folder / f"level{place}").open("wb")) for place, name in enumerate(strata)}
        for batch in batches():
            hashes.write(_row_hashes(batch, sampling.group).tobytes())
            for name, levels in strata.items():
                codes[name].write(levels.codes(batch.column(name)).tobytes())
    rows = (folder / "hashes").stat().st_size // 8
    salt = integer_seed(sampling.seed, "rows of a table")
    found: Keys = np.memmap(folder / "hashes", np.uint64, "r", shape=(rows,))
    keys = _numbered(found, salt, folder) if sampling.group not in batches.columns else mixed_file(found, salt, folder)
    columns = [
        np.memmap(folder / f"level{place}", np.int8, "r", shape=(rows,)) for place, levels in enumerate(strata.values()) if levels.few
    ]
    chosen, extra = draw_rows(keys, wanted, columns)
    return chosen, extra, rows


def _numbered(hashes_n: Keys, salt: int, folder: Path) -> Keys:
    """Keys of rows, of equal ones different keys: those of the first, the second, and so on, whichever of them comes first."""
    n = len(hashes_n)
    keys: Keys = np.memmap(folder / "keys", np.uint64, "w+", shape=(n,))
    bits = max(0, int(np.ceil(np.log2(max(n, 1) / _BUCKET))))
    for bucket in range(2**bits):
        place = np.concatenate([_of_bucket(hashes_n, start, bits, bucket) for start in range(0, n, _BUCKET)])
        values = hashes_n[place]
        keys[place] = mixed(values ^ mixed(_number(values)), salt)
    return keys


def _number(values_m: Keys) -> Keys:
    """How many equal values came before each."""
    number: Keys = np.zeros(len(values_m), dtype=np.uint64)
    ordered = np.sort(values_m)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    rows = np.flatnonzero(among(values_m, twice))  # most tables have few rows that are equal to another
    order = np.argsort(values_m[rows], kind="stable")
    same = values_m[rows[order]]
    first = np.flatnonzero(np.append(True, same[1:] != same[:-1]))[: len(same)]
    number[rows[order]] = np.arange(len(same)) - np.repeat(first, np.diff(np.append(first, len(same))))
    return number


def _of_bucket(hashes_n: Keys, start: int, bits: int, bucket: int) -> Ints:
    part = hashes_n[start : start + _BUCKET]
    if not bits:
        return np.arange(start, start + len(part))
    return np.flatnonzero((part >> np.uint64(64 - bits)) == bucket) + start


def mixed_file(hashes_n: Keys, salt: int, folder: Path) -> Keys:
    """Keys of groups, one for all rows of a group."""
    keys: Keys = np.memmap(folder / "keys", np.uint64, "w+", shape=(len(hashes_n),))
    for start in range(0, len(keys), _BUCKET):
        keys[start : start + _BUCKET] = mixed(hashes_n[start : start + _BUCKET], salt)
    return keys


class _Levels:
    """Numbers of the levels of a column, in the order in which they come, while there are few."""

    def __init__(self) -> None:
        self.known: dict[Any, int] = {}
        self.few = True

    def codes(self, column: Any) -> NDArray[np.int8]:
        """The number of each row's level, -1 where it is missing."""
        if not self.few:
            return np.full(len(column), -1, dtype=np.int8)
        places, levels = _encoded(column)
        for level in levels:
            self.known.setdefault(level, len(self.known))
        self.few = len(self.known) <= _LEVELS
        numbers = np.array([*(self.known[level] if self.few else -1 for level in levels), -1], dtype=np.int8)
        return np.asarray(numbers[places], dtype=np.int8)


def _encoded(column: Any) -> tuple[Ints, list[Any]]:
    """Place of each row's value among the distinct ones, -1 for none, and these."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        column = pc.dictionary_encode(column)
    places = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return places, column.dictionary.to_pylist()


def _row_hashes(batch: Any, group: str | None) -> Keys:
    """A hash of each row: of its group where it has one, else of the values of all columns, whatever the order of these."""
    total: Keys = np.zeros(batch.num_rows, dtype=np.uint64)
    known = None
    with np.errstate(over="ignore"):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in _ORDER:
                continue
            found = mixed(_hashes(column), int(pd.util.hash_array(np.array([name], dtype=object))[0]))
            if name == group:
                known = (np.asarray(column.is_valid().to_numpy(zero_copy_only=False), dtype=bool), found)
            total += found
    if known is None:
        return total
    has, of_group = known
    return np.where(has, of_group, mixed(total))


def _hashes(column: Any) -> Keys:
    """A hash of each value of a column; 1 and 1.0 hash alike, as texts do however they are stored."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        missing = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
        values = column.cast(pa.float64(), safe=False) if not pa.types.is_boolean(kind) else column.cast(pa.uint8()).cast(pa.float64())
        bits = (values.fill_null(0.0).to_numpy(zero_copy_only=False) + 0.0).view(np.uint64)
        return np.where(missing, np.uint64(_MISSING), bits)
    if pa.types.is_dictionary(kind):
        places = column.indices.fill_null(len(column.dictionary)).to_numpy(zero_copy_only=False)
        return np.asarray(np.append(_hashes(column.dictionary), np.uint64(_MISSING))[places])
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        try:
            column = column.cast(pa.string())
        except (pa.ArrowException, NotImplementedError):  # nested values, which are refused when they are used
            column = pa.array([str(value) for value in column.to_pylist()], type=pa.string())
    found = _text_hashes(column)
    return np.where(column.is_null().to_numpy(zero_copy_only=False), np.uint64(_MISSING), found) if column.null_count else found


def _text_hashes(column: Any) -> Keys:
    """A hash of each text, eight bytes at a time, all texts at once."""
    import pyarrow as pa

    wide = pa.types.is_large_string(column.type)
    _, ends, data = column.buffers()
    if not len(column) or data is None:
        return mixed(np.zeros(len(column), dtype=np.uint64))
    offsets = np.frombuffer(ends, np.int64 if wide else np.int32)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    length = np.diff(offsets)
    padded = np.append(np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]], np.zeros(8, dtype=np.uint8))
    words = np.lib.stride_tricks.as_strided(padded.view(np.uint8), (len(padded) - 7, 8), (1, 1))
    found, starts = mixed(length.astype(np.uint64)), offsets[:-1] - offsets[0]
    for begin in range(0, int(length.max(initial=0)), 8):
        rows = np.flatnonzero(length > begin) if begin else np.flatnonzero(length)
        left = np.minimum(length[rows] - begin, 8).astype(np.uint64)
        word = np.ascontiguousarray(words[starts[rows] + begin]).view("<u8").ravel()
        mask = np.where(left == 8, np.uint64(2**64 - 1), (np.uint64(1) << (left * np.uint64(8) & np.uint64(63))) - np.uint64(1))
        found[rows] = mixed(found[rows] ^ (word & mask))
    return found
