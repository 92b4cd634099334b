"""Activations on disk: numpy and safetensors files in the precision that they are stored in, read a few rows at a time.

Nothing is kept of a file but its shape: a block of rows is mapped into memory, copied out, and unmapped again, so that a file of any size
takes the memory of one block. Nothing that a file holds is executed: headers are read as text, and numpy files of objects are refused.
"""

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from proxyaudit.arrays import Ints
from proxyaudit.errors import InputError
from proxyaudit.files import open_plain

Floating = NDArray[np.floating[Any]]
How = Literal["mean", "last", "first"]

_TABLES = (".csv", ".tsv", ".parquet", ".xlsx", ".json", ".yaml")
_BLOCK = 2**25  # bytes of one block, as it is stored
# Types of the safetensors format that numpy has; bfloat16 is widened, which loses nothing.
_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "|b1"} | {
    f"{kind}{8 * size}": f"{'|' if size == 1 else '<'}{letter}{size}" for kind, letter in (("I", "i"), ("U", "u")) for size in (1, 2, 4, 8)
}


@dataclass(frozen=True)
class Part:
    """One array of a file: where its numbers begin, of what type they are, and their shape ``(rows, ...)``."""

    file: Path
    offset: int
    dtype: str  # as numpy writes it
    shape: tuple[int, ...]
    brain: bool = False  # bfloat16, of which numpy knows the bits only
    fortran: bool = False

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    @property
    def bytes(self) -> int:
        """Size of its numbers on disk."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def read(self, place: Any) -> NDArray[Any]:
        """The numbers at a place, as indexing takes it; floats of half precision in single, which holds all of them."""
        if not math.prod(self.shape):
            return np.asarray(np.zeros(self.shape, dtype=self.dtype)[place])
        with open_plain(self.file) as stream:
            order: Literal["C", "F"] = "F" if self.fortran else "C"
            mapped: Any = np.memmap(stream, self.dtype, "r", self.offset, self.shape, order)
            found = np.array(mapped[place])
            del mapped  # what was mapped counts as memory until it goes
        if self.brain:
            return np.asarray((found.astype(np.uint32) << 16).view(np.float32))
        return found.astype(np.float32) if found.dtype == np.float16 else found.astype(found.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True, eq=False)
class Stored:
    """Activations ``(n, d)`` of one site that lie on disk, read when they are looked at; ``(n, t, d)`` on disk where tokens are pooled.

    ``layer`` is the place of the site where each file is one row and holds ``(t, layers, d)``, tokens first or layers first.
    """

    parts: tuple[Part, ...]
    pool: How | None = None
    mask: "Stored | None" = None  # (n, t): which tokens are tokens
    layer: int | None = None
    tokens_first: bool = True
    rows: Ints | None = None  # of all rows those that are looked at, in this order
    instead: tuple[Ints, Floating] | None = None  # rows that are given other values, and these
    dtype: Any = None  # what they are handed over as; as they are where it is not settled

    def __len__(self) -> int:
        return self.stored_rows if self.rows is None else len(self.rows)

    @property
    def stored_rows(self) -> int:
        """Rows on disk."""
        return len(self.parts) if self.layer is not None else sum(map(len, self.parts))

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows that are looked at, and what each is."""
        first = self.parts[0].shape
        if self.layer is not None:
            return (len(self), first[-1])
        return (len(self), *((first[-1],) if self.pool is not None and len(first) == 3 else first[1:]))

    @property
    def bytes(self) -> int:
        """Size on disk of what is looked at of it."""
        layers = 1 if self.layer is None else self.parts[0].shape[1 if self.tokens_first else 0]
        return int(sum(part.bytes for part in self.parts) / layers * len(self) / max(self.stored_rows, 1))

    def take(self, order: Ints) -> "Stored":
        """The rows ``order`` of those that are looked at."""
        return replace(self, rows=order if self.rows is None else self.rows[order])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All rows that are looked at, in memory."""
        rows = np.arange(self.stored_rows) if self.rows is None else self.rows
        out: NDArray[Any] | None = None
        for place, block in self._blocks(rows):
            if out is None:
                out = np.empty((len(rows), *block.shape[1:]), dtype=dtype or self.dtype or block.dtype)
            out[place] = block
        found = np.zeros(self.shape, dtype=dtype or self.dtype) if out is None else out
        if self.instead is not None:
            found[self.instead[0]] = self.instead[1]
        return found

    def _blocks(self, rows: Ints) -> Iterator[tuple[Ints, NDArray[Any]]]:
        """Some rows at a time in the order of the disk, and their places among ``rows``."""
        order = np.argsort(rows, kind="stable")
        if self.layer is not None:
            for place in order:
                yield place[None], self._request(self.parts[int(rows[place])])[None]
            return
        ends = np.cumsum([len(part) for part in self.parts])
        cuts = np.searchsorted(rows[order], ends)
        for part, end, begin, stop in zip(self.parts, ends, np.append(0, cuts[:-1]), cuts, strict=True):
            step = max(1, _BLOCK * max(len(part), 1) // max(part.bytes, 1))
            for start in range(int(begin), int(stop), step):
                places = order[start : min(start + step, int(stop))]
                yield places, self._pooled(part, rows[places] - (end - len(part)), rows[places])

    def _pooled(self, part: Part, inside: Ints, rows: Ints) -> NDArray[Any]:
        """Rows of a part, tokens pooled where there are any; ``rows`` are their numbers among all."""
        # A run of rows is read as one piece, whatever else lies between sampled ones is not read.
        place = slice(int(inside[0]), int(inside[-1]) + 1) if inside[-1] - inside[0] == len(inside) - 1 else inside
        if self.pool is None or len(part.shape) != 3:
            return part.read(place)
        if self.mask is None:
            if self.pool == "mean":
                return np.asarray(part.read(place).mean(axis=1, dtype=np.float64), dtype=np.float32)
            return part.read((place, 0 if self.pool == "first" else part.shape[1] - 1))
        return pooled(part.read(place), np.asarray(self.mask.take(rows)), self.pool)

    def _request(self, part: Part) -> NDArray[Any]:
        """The row of one file, tokens pooled."""
        token = {"first": 0, "last": part.shape[0 if self.tokens_first else 1] - 1}.get(str(self.pool), slice(None))
        found = part.read((token, self.layer) if self.tokens_first else (self.layer, token))
        return found if self.pool != "mean" else np.asarray(found.mean(axis=0, dtype=np.float64), dtype=np.float32)


def pooled(acts_ntd: NDArray[Any], mask_nt: NDArray[Any], how: How) -> NDArray[Any]:
    """One vector for each row, of the tokens that ``mask_nt`` says are tokens: their mean, the last or the first of them.

    Raises ``ValueError``: the mask holds other values than 0 and 1, or a row has no token.
    """
    if not np.isin(mask_nt, (0, 1)).all():
        raise ValueError("the mask holds other values than 0 and 1")
    known = mask_nt.astype(bool)
    if not known.any(axis=1).all():
        raise ValueError("the mask leaves a row without any token")
    if how == "mean":
        total = np.where(known[:, :, None], acts_ntd, 0).sum(axis=1, dtype=np.float64)
        return np.asarray(total / known.sum(axis=1)[:, None], dtype=np.float32)
    place = known.argmax(axis=1) if how == "first" else known.shape[1] - 1 - known[:, ::-1].argmax(axis=1)
    return np.asarray(acts_ntd[np.arange(len(acts_ntd)), place])


def read_header(path: Path) -> dict[str, Part]:
    """The arrays of one file, by name: of safetensors its tensors, of numpy the one that the file is called after.

    ``InputError``: it is no such file, is cut short, or holds numbers of a type that no reader takes.
    """
    return {path.stem: _numpy_header(path)} if path.suffix.lower() == ".npy" else _tensors(path)


def _numpy_header(path: Path) -> Part:
    where, again = str(path), "write it with numpy.save: one (rows, dimensions) array of numbers"
    try:
        with open_plain(path) as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            part = Part(path, stream.tell(), dtype.str, tuple(map(int, shape)), fortran=bool(fortran))
            if min(part.shape, default=1) < 1 or any(isinstance(length, bool) for length in shape):
                raise ValueError(f"an array of shape {shape} holds nothing")
            short = stream.seek(0, 2) < part.offset + part.bytes
    except (OSError, ValueError, struct.error, TypeError, OverflowError, SyntaxError, RecursionError, MemoryError, TokenError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"not a numpy file ({line[:80]})", where=where, mend=again) from None
    if dtype.hasobject or dtype.kind not in "fiub" or dtype.itemsize > 8:
        mend = "save single or half precision, or use safetensors, which knows bfloat16 as well"
        raise InputError(f"the file holds numbers of a type that is not read ({dtype})", where=where, mend=mend)
    if short:
        raise InputError("the file is cut short", where=where, mend="copy it again")
    return part


def _tensors(path: Path) -> dict[str, Part]:
    where, mend = str(path), "write it with safetensors: one (n, d) tensor for each site"
    if path.suffix.lower() in _TABLES:
        raise InputError("a table holds no activations", where=where, mend="give it as --labels; activations are safetensors or .npy files")
    try:
        with safe_open(str(path), framework="numpy") as file:  # checks names, places and sizes of all tensors
            names = sorted(file.keys())
        with open_plain(path) as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"not a safetensors file ({line[:80]})", where=where, mend=mend) from None
    found = {}
    for name in names:
        kind, shape = header[name]["dtype"], tuple(map(int, header[name]["shape"]))
        if kind not in _TYPES:
            what = "are no real numbers" if kind.startswith("C") else f"are of a type that is not read ({kind})"
            raise InputError(f"the activations {what}", where=f"{where}, tensor '{name}'", mend="save single, half or bfloat16 precision")
        found[name] = Part(path, 8 + length + int(header[name]["data_offsets"][0]), _TYPES[kind], shape, brain=kind == "BF16")
    return found
