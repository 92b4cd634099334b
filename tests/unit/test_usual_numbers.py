"""Numbers of another table that are none of the real column's kind prove no absence; a later year or a narrower group is no such thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from proxyaudit.data.encoding import FeatureColumn, check_seen, fit_encoder
from proxyaudit.data.usual import Usual
from proxyaudit.pipeline.plan import prepare
from tests.unit.test_unseen import held, load, recipe_for, table

Change = Callable[[pd.Series], pd.Series]


def income(n: int = 600, seed: int = 0) -> pd.Series:
    return pd.Series(np.random.default_rng(seed).normal(35000, 9000, n).clip(1000).round(), name="income")


def days(first: str, last: str, seed: int = 1) -> pd.Series:
    low, high = (int(np.datetime64(day).astype(int)) for day in (first, last))
    return pd.Series(np.random.default_rng(seed).integers(low, high + 1, 400), name="day")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c / 1000, "much smaller"),
        (lambda c: c / 12, "much smaller"),
        (lambda c: c * 0, "one number"),
        (lambda c: c * 0 + 35000, "one number"),
        (lambda c: c * 12, "much larger"),
        (lambda c: c * 1000, "much larger"),
        (lambda c: -c * 1000, "much larger"),
    ],
)
def test_another_unit_or_one_number_is_told_with_both_ranges(change: Change, words: str) -> None:
    usual = Usual.of(income())
    assert usual is not None
    share, told = usual.foreign(change(income(400, 1)))
    assert share > 0.2
    assert words in told
    assert "of the real training rows between about 29,000 and 41,000" in told


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c,
        lambda c: c * 1.2,
        lambda c: c * 2.5,
        lambda c: c / 3,
        lambda c: c[c > c.quantile(0.8)],
        lambda c: c[c < c.quantile(0.1)],
        lambda c: c.where(np.arange(len(c)) > 20, 9e9),
        lambda c: c[:20] * 0,
        lambda c: c * np.nan,
    ],
)
def test_ordinary_drift_is_not(change: Change) -> None:
    usual = Usual.of(income())
    assert usual is not None
    assert usual.foreign(change(income(400, 1))) == (0.0, "")


def test_later_days_years_flags_and_rare_amounts_are_no_other_unit() -> None:
    rng = np.random.default_rng(3)
    flag = [pd.Series((rng.random(n) < 0.1).astype(int)) for n in (600, 400)]
    rare = [pd.Series(np.where(rng.random(n) < share, rng.lognormal(8, 1, n), 0)) for n, share in ((900, 0.08), (400, 0.02))]
    pairs = [
        (days("2018-01-01", "2020-12-31"), days("2021-01-01", "2021-01-31", 2)),
        (days("2020-01-01", "2020-03-31"), days("2024-01-01", "2024-12-31", 2)),
        (pd.Series([2018, 2019, 2020] * 100), pd.Series([2024] * 100)),
        (flag[0], flag[1] * 0),
        (flag[0], flag[1] * 0 + 1),
        tuple(rare),
        (rare[0], rare[1] * 0),
    ]
    for real, other in pairs:
        usual = Usual.of(real)
        assert usual is None or usual.foreign(other) == (0.0, "")


@pytest.mark.parametrize("encode", ["standard", "none"])
def test_every_encoder_of_numbers_bars_absence_alike(encode: str) -> None:
    real, other = income().to_frame(), (income(400, 1) / 1000).to_frame()
    encoder = fit_encoder(real, (FeatureColumn("income", "numeric"),), encode)  # type: ignore[arg-type]
    (found,) = check_seen(encoder, other, table="data.holdout", where="hold.csv")
    assert found.bars_absence
    note = found.note()
    assert note.what == "data.holdout: what column income carries at its usual values"
    assert "absence is not claimed; write it in the unit of the real table" in note.why
    assert check_seen(encoder, (income(400, 1) * 1.2).to_frame(), table="data.holdout", where="hold.csv") == ()


def test_a_holdout_or_release_of_another_scale_bars_absence_in_the_plan(tmp_path: Path) -> None:
    real = table().assign(income=income())
    data = load(tmp_path, held(x=lambda c: c).assign(income=income(400, 1) * 0), real)
    assert [found.column for found in data.unseen if found.bars_absence] == ["income"]
    recipe = recipe_for(tmp_path, real, release=held(x=lambda c: c).assign(income=income(400, 1) / 1000))
    plan = prepare(recipe, tmp_path).plan
    assert [regime for regime in plan.no_absence if "vendor" in regime]
    assert any(note["what"].startswith("release vendor: what column income carries") for note in plan.notes)
