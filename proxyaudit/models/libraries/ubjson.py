"""Universal Binary JSON (draft 12 of ubjson.org), as XGBoost writes it: big-endian numbers, and arrays of one type without copies."""

import struct
from typing import Any

import numpy as np

from proxyaudit.limits import DEEPEST_TREES, at_most

_NUMBERS = {"i": ">i1", "U": ">u1", "I": ">i2", "l": ">i4", "L": ">i8", "d": ">f4", "D": ">f8"}


def parse_ubjson(data: bytes) -> Any:
    """The value that a file holds; arrays of one type of numbers are numpy arrays. Raises ``ValueError``: it is damaged."""
    reader = _Reader(data)
    try:
        return reader.value(reader.mark(), 0)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ValueError("it is no whole UBJSON") from error


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """So many bytes."""
        if count < 0 or self.at + count > len(self.data):
            raise ValueError("it is cut off")
        self.at += count
        return self.data[self.at - count : self.at]

    def mark(self) -> str:
        """The next type, padding skipped."""
        found = "N"
        while found == "N":
            found = self.take(1).decode("ascii")
        return found

    def number(self, kind: str) -> Any:
        """One number of a type."""
        if kind not in _NUMBERS:
            raise ValueError("a number is of no known type")
        form = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self.take(form.itemsize), dtype=form)[0].item()

    def length(self) -> int:
        """A count, whatever its type."""
        found = self.number(self.mark())
        if not isinstance(found, int) or found < 0:
            raise ValueError("a length is no count")
        return found

    def text(self) -> str:
        """A string after its type."""
        return self.take(self.length()).decode()

    def value(self, kind: str, depth: int) -> Any:
        """A value after its type."""
        if depth > at_most(DEEPEST_TREES):
            raise ValueError("it is nested too deeply")
        if kind in "ZTF":
            return {"Z": None, "T": True, "F": False}[kind]
        if kind in "SC":
            return self.text() if kind == "S" else self.take(1).decode("ascii")
        if kind == "[":
            return self.array(depth)
        return self.members(depth) if kind == "{" else self.number(kind)

    def array(self, depth: int) -> Any:
        """An array after its bracket."""
        kind, count = self._announced()
        if kind is not None and count is not None and kind in _NUMBERS:
            form = np.dtype(_NUMBERS[kind])
            return np.frombuffer(self.take(count * form.itemsize), dtype=form).astype(form.newbyteorder("="))
        found: list[Any] = []
        while count is None or len(found) < count:
            one = kind or self.mark()
            if one == "]" and count is None:
                break
            found.append(self.value(one, depth + 1))
        return found

    def members(self, depth: int) -> dict[str, Any]:
        """An object after its brace."""
        kind, count = self._announced()
        found: dict[str, Any] = {}
        read = 0
        while count is None or read < count:
            if count is None and self.data[self.at : self.at + 1] == b"}":
                self.at += 1
                break
            name = self.text()
            found[name] = self.value(kind or self.mark(), depth + 1)
            read += 1
        return found

    def _announced(self) -> tuple[str | None, int | None]:
        """The type and number of what a container holds, where it says so."""
        kind = count = None
        if self.data[self.at : self.at + 1] == b"$":
            self.at += 1
            kind = self.take(1).decode("ascii")
        if self.data[self.at : self.at + 1] == b"#":
            self.at += 1
            count = self.length()
        if (kind is not None and count is None) or (kind in ("Z", "T", "F", "N") and count):
            raise ValueError("a container does not say what it holds")
        return kind, count
