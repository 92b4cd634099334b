"""What one task measured of one model: numbers that JSON can hold, and arrays over rows.

Channels describe what they measure of a model as frozen dataclasses and turn them into numbers and arrays here: ``measure`` puts a
record on a :class:`Shelf`, ``estimate`` takes it from there.
"""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

OUTPUT_SITE = "outputs"
INPUT_SITE = "inputs"

T = TypeVar("T")


@dataclass(frozen=True)
class Measurement:
    """Numbers (JSON-able) and row influences of one (regime, seed); ``keep`` is told of every record that is put on it."""

    numbers: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    keep: Callable[["Measurement"], None] | None = field(default=None, compare=False)

    def write(self, folder: Path) -> None:
        """Write both into a folder."""
        (folder / "numbers.json").write_text(json.dumps(self.numbers, sort_keys=True, allow_nan=False), encoding="utf-8")
        save_file({name: np.ascontiguousarray(value) for name, value in self.arrays.items()}, folder / "arrays.safetensors")

    def merge(self, other: "Measurement") -> None:
        """Take what another measured of the same model: entries of mappings within mappings side by side, arrays by name."""
        _merge(self.numbers, other.numbers)
        self.arrays.update(other.arrays)

    @classmethod
    def read(cls, folder: Path) -> "Measurement":
        """Read what was written into a folder."""
        numbers = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))
        return cls(numbers, load_file(folder / "arrays.safetensors"))


def _merge(mine: dict[str, Any], theirs: Mapping[str, Any]) -> None:
    for key, value in theirs.items():
        if isinstance(value, Mapping) and isinstance(mine.get(key), dict):
            _merge(mine[key], value)
        else:
            mine[key] = value


@dataclass(frozen=True)
class Shelf(Generic[T]):
    """Where records of one kind stand in a measurement: under a name, then by what they are about, such as an attribute and a site."""

    name: str
    kind: type[T]

    def write(self, out: Measurement, record: T, *about: str) -> None:
        """Put a record there."""
        *outer, last = (self.name, *about)
        place = out.numbers
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = write_record(record, out.arrays, self._prefix(about))
        if out.keep is not None:
            out.keep(out)

    def find(self, measured: Measurement, *about: str) -> T | None:
        """The record that was put there, or ``None``."""
        found: dict[str, Any] | None = measured.numbers
        for key in (self.name, *about):
            found = None if found is None else found.get(key)
        return None if found is None else read_record(self.kind, found, measured.arrays, self._prefix(about))

    def read(self, measured: Measurement, *about: str) -> T:
        """The record that was put there; ``KeyError`` where there is none."""
        found = self.find(measured, *about)
        if found is None:
            raise KeyError(" ".join((self.name, *about)))
        return found

    def _prefix(self, about: tuple[str, ...]) -> str:
        return "\x1f".join((self.name, *about, ""))


def write_record(record: Any, arrays: dict[str, NDArray[Any]] | None = None, prefix: str = "") -> dict[str, Any]:
    """A frozen dataclass as a dictionary that JSON can hold.

    Fields may be numbers, strings, ``None``, dataclasses, and tuples and mappings of these; a mapping's keys are strings. A field that
    holds an array does not stand in the dictionary: it goes into ``arrays`` under ``prefix`` and its name; of a dataclass within, under
    ``prefix``, the names and places that lead there, and its name, spaces between them. A field named by
    ``field(metadata={"key": ...})`` goes by that name; one whose key is ``None`` is not recorded. A field that is ``None``, and would be by
    default, is left out. ``TypeError`` if a field holds something that a record cannot hold, or an array that has no place to go.
    """
    numbers: dict[str, Any] = {}
    kind: Any = type(record)
    for spec in _fields(kind):
        value = getattr(record, spec.name)
        if not isinstance(value, np.ndarray):
            if value is not None or spec.needed:
                numbers[spec.key] = _jsonable(value, arrays, f"{prefix}{spec.key} ")
        elif arrays is None:
            raise TypeError(f"the array '{spec.name}' has no place to go")
        else:
            arrays[prefix + spec.key] = value
    return numbers


def read_record(kind: type[T], numbers: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None, prefix: str = "") -> T:
    """A frozen dataclass from what :func:`write_record` made of it; ``TypeError`` if a field without default is missing.

    Keys that are no field of it are left alone, so that a record can be a view of some of the numbers.
    """
    given: dict[str, Any] = {}
    hashable: Any = kind  # mypy takes no class for hashable
    for spec in _fields(hashable):
        if spec.array:
            if arrays is not None and prefix + spec.key in arrays:
                given[spec.name] = arrays[prefix + spec.key]
        elif spec.key in numbers:
            given[spec.name] = _typed(spec.hint, numbers[spec.key], arrays, f"{prefix}{spec.key} ")
    return kind(**given)


@dataclass(frozen=True)
class _Field:
    name: str
    key: str
    hint: Any
    array: bool
    needed: bool


@cache
def _fields(kind: type[Any]) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    found = []
    for one in fields(kind):
        hint, key = hints[one.name], one.metadata.get("key", one.name)
        if key is None:
            continue
        array = any(get_origin(part) is np.ndarray for part in _alternatives(hint))
        found.append(_Field(one.name, key, hint, array, one.default is not None))
    return tuple(found)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _jsonable(value: Any, arrays: dict[str, NDArray[Any]] | None, prefix: str) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, tuple | list):
        return [_jsonable(item, arrays, f"{prefix}{place} ") for place, item in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item, arrays, f"{prefix}{key} ") for key, item in value.items()}
    if is_dataclass(value):
        return write_record(value, arrays, prefix)
    raise TypeError(f"a record cannot hold a {type(value).__name__}")


def _typed(hint: Any, value: Any, arrays: Mapping[str, NDArray[Any]] | None, prefix: str) -> Any:
    """A value that JSON held, as its field has it."""
    if value is None:
        return None
    kind = next(part for part in _alternatives(hint) if part is not type(None))
    origin, inner = get_origin(kind), get_args(kind)
    if origin is tuple:
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        items = enumerate(zip(each, value, strict=True))
        return tuple(_typed(one, item, arrays, f"{prefix}{place} ") for place, (one, item) in items)
    if origin is not None and issubclass(origin, Mapping):
        return {key: _typed(inner[1], item, arrays, f"{prefix}{key} ") for key, item in value.items()}
    return read_record(kind, value, arrays, prefix) if isinstance(kind, type) and is_dataclass(kind) else value
