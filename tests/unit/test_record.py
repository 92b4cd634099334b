"""Records of one model go into numbers that JSON can hold and arrays, and come back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from proxyaudit.arrays import Floats
from proxyaudit.estimates.record import read_record, write_record


@dataclass(frozen=True)
class _Part:
    name: str
    gain: float | None = None


@dataclass(frozen=True)
class _Deep:
    parts: tuple[_Whole, ...]
    by_name: Mapping[str, _Whole]


@dataclass(frozen=True)
class _Whole:
    leak: float
    pair: tuple[int, float]
    parts: tuple[_Part, ...] = ()
    families: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    by_name: dict[str, _Part] = field(default_factory=dict)
    first: _Part | None = None
    row_floor: float = field(default=0.0, metadata={"key": "row floor"})
    influence_n: Floats | None = field(default=None, metadata={"key": "influence"})


def _whole(influence: NDArray[np.float64] | None) -> _Whole:
    parts = (_Part("trees", 0.25), _Part("mlp"))
    return _Whole(0.5, (3, 0.5), parts, {"isotropic": (0.1, 0.9)}, {"a": parts[0]}, parts[1], 0.125, influence)


def test_a_record_survives_json_and_its_arrays_go_by_key() -> None:
    arrays: dict[str, NDArray[np.float64]] = {}
    key = "linear "
    numbers = json.loads(json.dumps(write_record(_whole(np.arange(3.0)), arrays, key), allow_nan=False))
    assert set(arrays) == {key + "influence"}
    assert numbers["row floor"] == 0.125
    assert "influence" not in numbers
    back = read_record(_Whole, numbers, arrays, key)
    assert back.influence_n is not None
    np.testing.assert_array_equal(back.influence_n, np.arange(3.0))
    bare, without = write_record(_whole(None)), read_record(_Whole, numbers)
    assert without == _whole(None)
    assert read_record(_Whole, bare) == without


def test_a_record_is_a_view_of_some_of_the_numbers() -> None:
    assert read_record(_Part, {"name": "trees", "gain": 0.5, "skipped": "too slow"}) == _Part("trees", 0.5)
    assert read_record(_Part, {"name": "trees"}).gain is None
    with pytest.raises(TypeError, match="name"):
        read_record(_Part, {"gain": 0.5})


def test_numbers_of_numpy_are_plain_and_what_cannot_be_held_is_refused() -> None:
    numbers = write_record(_Part("mlp", np.float64(0.5)))
    assert type(numbers["gain"]) is float
    with pytest.raises(TypeError, match="complex"):
        write_record(_Part("mlp", 1j))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no place to go"):
        write_record(_whole(np.arange(3.0)))


def test_arrays_within_are_told_apart() -> None:
    arrays: dict[str, NDArray[np.float64]] = {}
    deep = _Deep((_whole(np.zeros(2)), _whole(np.ones(2))), {"a": _whole(np.full(2, 2.0)), "b": _whole(None)})
    back = read_record(_Deep, json.loads(json.dumps(write_record(deep, arrays, "x "))), arrays, "x ")
    assert set(arrays) == {"x parts 0 influence", "x parts 1 influence", "x by_name a influence"}
    assert [None if w.influence_n is None else w.influence_n[0] for w in (*back.parts, *back.by_name.values())] == [0.0, 1.0, 2.0, None]
