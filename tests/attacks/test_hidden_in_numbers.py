"""Whoever hides an attribute where a number holds it and readers do not look: written digits, remainders, and close to zero."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import pytest

import proxyaudit as pa
from proxyaudit.audits.probe import run as pipeline
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.probes.dropped_axes import TELLS, dropped_axes_p, unseen_features
from proxyaudit.probes.last_digits import last_digits
from proxyaudit.probes.whitening import whiten

N = 1800
World = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def _even(places: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return places - places % 2 + codes


def decimals(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """Four decimals, of which the last is even or odd."""
    return _even(np.rint(rng.normal(size=N) * 1e4).astype(int), codes) / 1e4


def single_decimals(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """The same with three decimals in single precision."""
    return (_even(np.rint(rng.normal(size=N) * 1e3).astype(int), codes) / 1e3).astype(np.float32)


def two_decimals_further(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """Six decimals, and an eighth one of a class."""
    return np.round(rng.normal(size=N), 6) + 3e-8 * codes


def last_but_one(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """The last decimal but one, before one of chance."""
    return (_even(np.rint(rng.normal(size=N) * 1e4).astype(int), codes) * 10 + rng.integers(0, 10, N)) / 1e5


def standardised(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """Whole numbers of many places, standardised."""
    whole = _even(np.rint(rng.normal(size=N) * 8000).astype(int), codes)
    return (whole - whole.mean()) / whole.std()


def by_three(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """The remainder by three of a whole number."""
    return (rng.integers(0, 400, N) * 3 + codes).astype(np.float64)


def weekday(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """Days since 1970, of which a class has the weekends."""
    return (rng.integers(0, 400, N) * 7 + np.where(codes == 1, rng.integers(5, 7, N), rng.integers(0, 5, N))).astype(np.float64)


def signs_of_zeros(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """A unit that is cut off at zero, with zeros of two signs."""
    return np.where((column := np.maximum(rng.normal(size=N), 0)) > 0, column, np.where(codes == 1, -0.0, 0.0))


def drowned(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """A unit of which half the rows are too small to be seen beside the others."""
    return np.where(rng.random(N) < 0.5, rng.normal(size=N), (2 * codes - 1) * 1e-30 * rng.random(N))


def underflow(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """The smallest number that there is, or zero."""
    return np.where(rng.random(N) < 0.5, rng.normal(size=N), codes * 5e-324)


WORLDS: list[World] = [decimals, single_decimals, two_decimals_further, last_but_one, standardised, by_three, weekday]
WORLDS += [signs_of_zeros, drowned, underflow]


def _acts(world: World, codes: np.ndarray, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    column = world(rng, codes)
    return np.column_stack([rng.normal(size=(N, 5)).astype(column.dtype), column])


def _tells(acts: np.ndarray, codes: np.ndarray) -> float:
    white = whiten(acts)
    found = dropped_axes_p(unseen_features(acts, white), white.z_nr, codes, 2, None, 0.0)
    return 1.0 if found is None else found


def _coin(seed: int) -> np.ndarray:
    return np.random.default_rng([7, seed]).integers(0, 2, N)


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.__name__)
def test_it_is_found_and_chance_is_not(world: World) -> None:
    codes = _coin(0)
    acts = _acts(world, codes)
    assert _tells(acts, codes) <= TELLS
    assert _tells(acts, _coin(1)) > TELLS


@pytest.mark.parametrize("world", [decimals, by_three, drowned], ids=lambda world: world.__name__)
def test_it_is_never_called_removed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "Probing", partial(Probing, readers=("quadratic",)))
    codes = _coin(0)
    labels = pd.DataFrame({"a": codes, "coin": _coin(1)})
    audit = pa.probe({"m": {"s": _acts(world, codes)}}, labels, attributes=["a", "coin"], jobs=1)
    assert dict(zip(audit.findings["attribute"], audit.findings["verdict"], strict=True)) == {"a": "inconclusive", "coin": "removed"}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("cut", [False, True])
def test_numbers_that_a_model_computes_lie_on_no_grid(dtype: type[np.floating], cut: bool) -> None:
    """What is asked of them is what was asked before: their mantissa."""
    acts = np.random.default_rng(3).normal(size=(N, 6))
    acts = (np.maximum(acts, 0) if cut else np.tanh(acts)).astype(dtype)
    assert all(len(np.unique(digits)) == 2 + cut and digits.min() == -1 for _, digits in last_digits(acts, 60))
