"""What no reader is given (last digits, faint axes, rare units) is not absent where it tells the attribute, and no hindrance elsewhere."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

import proxyaudit as pa
from proxyaudit.audits.probe import run as pipeline
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.probes.dropped_axes import TELLS, dropped_axes_p, unseen_features
from proxyaudit.probes.last_digits import last_digits
from proxyaudit.probes.whitening import mantissa_bits, whiten
from proxyaudit.seeding import stream

N = 1800


@pytest.fixture(autouse=True)
def _one_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flexible readers have tests of their own and take most of the time."""
    monkeypatch.setattr(pipeline, "Probing", partial(Probing, readers=("quadratic",)))


def plain(name, d=8, dtype=np.float32):
    return stream(0, name).normal(size=(N, d)).astype(dtype)


def signs(name):
    return stream(0, "signs", name).choice([-1, 1], N)


def verdict(acts, codes):
    audit = pa.probe({"m": {"s": acts}}, pd.DataFrame({"a": codes}), attributes=["a"], jobs=1)
    reasons = " ".join(str(e.reason) for e in audit.pack.evidence.estimates)
    return audit.pack.evidence.findings[0].verdict, reasons


def moved(column, steps):
    """The same numbers, some steps of their own format further."""
    whole = {8: np.int64, 4: np.int32, 2: np.int16}[column.dtype.itemsize]
    return (column.view(whole) + steps.astype(whole)).view(column.dtype)


def twins(dtype, steps, scale=1.0):
    """A unit and its copy, some steps apart; the sign of the difference times that of another unit is the attribute."""
    acts = plain("twins", dtype=dtype)
    acts[:, 0] *= dtype(scale)
    other = moved(acts[:, 0].copy(), steps * signs("twins"))
    told = np.sign(other.astype(np.float64) - acts[:, 0]) * np.sign(acts[:, 1].astype(np.float64))
    return np.column_stack([acts, other]), (told > 0).astype(int)


@pytest.mark.long
@pytest.mark.parametrize(
    ("dtype", "steps", "scale"),
    [(np.float32, 3, 1), (np.float32, 3, 1e6), (np.float32, 3, 1e-6), (np.float16, 3, 1), (np.float32, 1, 1), (np.float64, 2000, 1)],
)
def test_a_difference_of_a_few_steps_is_not_absent(dtype, steps, scale):
    acts, codes = twins(dtype, steps, scale)
    found, reasons = verdict(acts, codes)
    assert found == "hidden" or "last digits" in reasons
    assert found != "removed"


@pytest.mark.long
def test_a_code_in_the_last_digit_of_a_constant_is_read():
    acts = plain("constant", dtype=np.float64)
    codes = stream(1, "codes").integers(0, 2, N)
    for constant, step in ((np.float32(1000.0), 1), (np.float64(1e6), 400)):
        column = moved(np.full(N, constant), step * (codes ^ (acts[:, 1] > 0)))
        assert verdict(np.column_stack([acts.astype(column.dtype), column]), codes)[0] == "hidden"


def last_bit(acts):
    return acts[:, 2].view(np.int32) & 1


def parity(acts):
    acts[:, 2] = stream(2, "whole").integers(0, 3000, N)
    return acts[:, 2].astype(int) % 2


def parity_of_standardised(acts):
    whole = stream(2, "levels").integers(0, 60, N)
    acts[:, 2] = (whole - whole.mean()) / whole.std()
    return whole % 2 ^ (acts[:, 1] > 0)


@pytest.mark.parametrize("code", [last_bit, parity, parity_of_standardised])
def test_last_digits_of_one_unit_bar_absence(code):
    acts = plain("digits")
    codes = np.asarray(code(acts)).astype(int)
    found, reasons = verdict(acts, codes)
    assert found == "inconclusive"
    assert "last digits" in reasons


def one_hot():
    rng = stream(3, "levels")
    return np.concatenate([*(np.eye(k)[rng.integers(0, k, N)] for k in (3, 4, 5)), rng.normal(size=(N, 2))], axis=1).astype(np.float32)


def copied():
    acts = plain("copied")
    return np.concatenate([acts, acts[:, :3], -acts[:, 2:4]], axis=1)


def combined():
    acts = plain("combined")
    return np.concatenate([acts, acts @ stream(4, "w").normal(size=(8, 6)).astype(np.float32)], axis=1)


@pytest.mark.parametrize("make", [one_hot, copied, combined])
def test_dependent_units_stay_decidable(make):
    assert verdict(make(), stream(5, "coin").integers(0, 2, N))[0] == "removed"


@pytest.mark.parametrize("size", [100.0, 1e3, 1e4])
def test_few_extreme_rows_hide_nothing(size):
    """A unit that is the attribute but for twenty rows, and another that the attribute scales."""
    rng = stream(6, "outliers", str(size))
    codes = rng.integers(0, 2, 1400)
    acts = rng.normal(size=(1400, 6))
    acts[:, 0] = codes + 0.1 * acts[:, 0]
    acts[:, 1] *= 1 + 2 * codes
    acts[rng.choice(1400, 20, replace=False), 0] = size * rng.choice([-1, 1], 20)
    assert verdict(acts.astype(np.float32), codes)[0] == "exposed"


def test_extreme_rows_hide_no_product():
    rng = stream(7, "outliers of a product")
    acts = rng.normal(size=(2000, 6))
    codes = (acts[:, 0] * acts[:, 1] > 0).astype(int)
    acts[rng.choice(2000, 20, replace=False), 0] = 1e3
    assert verdict(acts.astype(np.float32), codes)[0] == "hidden"


def test_formats_are_told_by_their_values():
    acts = plain("formats", dtype=np.float64)
    assert mantissa_bits(acts) == 52
    assert mantissa_bits(acts.astype(np.float32).astype(np.float64)) == 23
    assert mantissa_bits(acts.astype(np.float16).astype(np.float32)) == 10
    short = (acts.astype(np.float32).view(np.int32) & ~0xFFFF).view(np.float32)
    assert mantissa_bits(short) == 7


def test_digits_of_whole_numbers_are_those_of_their_places():
    whole = stream(8, "places").integers(0, 50, 400)
    (place, digits), *_ = last_digits(((whole - 20.0) / 7.3).astype(np.float32)[:, None], 3)
    assert place == 0
    np.testing.assert_array_equal(digits > 0, (whole - whole.min()) % 2 == 1)


def test_chance_tells_nothing_and_groups_count_as_one():
    tells = []
    for seed in range(20):
        acts = stream(seed, "chance").normal(size=(600, 6)).astype(np.float32)
        acts[:, 5] = np.maximum(acts[:, 5] - 2, 0)
        people, rng = np.repeat(np.arange(100), 6), stream(seed, "people")
        white = whiten(acts)
        unseen = unseen_features(acts, white)
        tells.append(dropped_axes_p(unseen, white.z_nr, rng.integers(0, 2, 600), 2, None, 0.0))
        tells.append(dropped_axes_p(unseen, white.z_nr, rng.integers(0, 3, 600), 3, None, 0.0))
        tells.append(dropped_axes_p(unseen, white.z_nr, rng.integers(0, 2, 100)[people], 2, people, 0.0))
        tells.append(dropped_axes_p(unseen, white.z_nr, rng.normal(size=600), 0, None, 0.0))
    assert min(tells) > TELLS


def test_a_product_on_the_rows_that_move_a_rare_unit_is_told():
    acts = stream(0, "rare").normal(size=(4000, 8)).astype(np.float32)
    acts[:, 3] = np.maximum(acts[:, 3] - 1.8, 0)
    rng = stream(9, "rare")
    codes = np.where((acts[:, 3] > 0), acts[:, 1] > 0, rng.random(4000) < 0.5).astype(int)
    white = whiten(acts)
    assert white.rare_d.sum() == 1
    p = dropped_axes_p(unseen_features(acts, white), white.z_nr, codes, 2, None, 0.0)
    assert p is not None
    assert p < TELLS
