"""Cures: each takes away what it says, leaves what it does not treat, and is the same for the same seed."""

import numpy as np
import pandas as pd
import pytest

from proxyaudit.data.cures import Cure, cures_of
from proxyaudit.errors import TaskError
from proxyaudit.seeding import stream


def table(seed=0, n=4000):
    rng = stream(seed, "cures")
    sex = rng.integers(0, 2, n)
    y = (rng.random(n) < np.where(sex, 0.6, 0.3)).astype(int)
    hours = np.round(rng.normal(38 + 5 * sex + 2 * y, 6)).astype(int)
    job = np.where(rng.random(n) < 0.7, sex, rng.integers(0, 2, n))
    return pd.DataFrame(
        {
            "sex": np.array(["f", "m"])[sex],
            "y": np.array(["no", "yes"])[y],
            "hours": hours,
            "job": pd.Series(np.array(["nurse", "driver"])[job]).where(rng.random(n) > 0.05),
            "age": rng.normal(40, 10, n),
        }
    )


def associated(rows, column, by):
    """Largest difference between groups in the distribution function of a column."""
    values = rows[column] if column in ("hours", "age") else rows[column].astype(object).where(rows[column].notna(), "none")
    codes = pd.Series(pd.factorize(values, sort=True)[0])
    groups = rows[by].to_numpy()
    grid = np.sort(codes.unique())
    cdf = [np.searchsorted(np.sort(codes[groups == g]), grid, side="right") / (groups == g).sum() for g in np.unique(groups)]
    return float(np.max(np.ptp(cdf, axis=0)))


def altered(way, *columns, seed=0):
    rows = table()
    return rows, Cure(way, "sex", columns).alter(rows, "y", stream(seed, "cure"))


def test_resampled_rows_make_the_target_independent_of_the_attribute():
    before, after = altered("resampled")
    assert associated(before, "y", "sex") > 0.25
    assert associated(after, "y", "sex") < 0.002
    assert len(after) == len(before)
    for column in ("sex", "y"):
        shares = before[column].value_counts(normalize=True).to_dict()
        assert after[column].value_counts(normalize=True).to_dict() == pytest.approx(shares, abs=0.001)
    assert set(map(tuple, after[["sex", "y", "hours"]].to_numpy())) <= set(map(tuple, before[["sex", "y", "hours"]].to_numpy()))


@pytest.mark.parametrize("way", ["dropped", "permuted", "repaired"])
def test_treated_columns_no_longer_carry_the_attribute(way):
    before, after = altered(way, "hours", "job")
    for column in ("hours", "job"):
        assert associated(before, column, "sex") > 0.2
        assert associated(after, column, "sex") < 0.06
    pd.testing.assert_frame_equal(after[["sex", "y", "age"]], before[["sex", "y", "age"]])
    assert dict(after.dtypes) == dict(before.dtypes)
    if way == "dropped":
        assert after["hours"].nunique() == after["job"].nunique(dropna=False) == 1
    else:
        assert sorted(after["job"].value_counts(dropna=False)) == pytest.approx(sorted(before["job"].value_counts(dropna=False)), rel=0.1)


def test_repair_keeps_ranks_within_groups():
    before, after = altered("repaired", "hours")
    for _, rows in before.groupby("sex"):
        order = rows["hours"].sort_values(kind="stable").index
        assert (np.diff(after.loc[order, "hours"]) >= 0).all()


def test_carriers_keep_what_they_say_together():
    before, after = altered("permuted", "hours", "job")
    assert sorted(map(str, after[["hours", "job"]].to_numpy())) == sorted(map(str, before[["hours", "job"]].to_numpy()))


@pytest.mark.parametrize("way", ["resampled", "permuted", "repaired"])
def test_the_same_seed_gives_the_same_rows(way):
    columns = () if way == "resampled" else ("hours", "job")
    once, again = altered(way, *columns)[1], altered(way, *columns)[1]
    pd.testing.assert_frame_equal(once, again)
    assert not altered(way, *columns, seed=1)[1].equals(once)


def test_cures_that_need_the_attribute_are_not_tried_without_it():
    every = cures_of("sex", ["a", "b", "c", "d"], known=True)
    assert [cure.name for cure in every] == ["resampled", "dropped-1", "dropped-2", "dropped-3", "permuted-3", "repaired-3"]
    assert [cure.name for cure in cures_of("sex", ["a"], known=False)] == ["dropped-1", "permuted-1"]
    assert [cure.name for cure in cures_of("sex", [], known=True)] == ["resampled"]
    with pytest.raises(TaskError, match="do not hold 'race'"):
        Cure("resampled", "race").alter(table(), "y", stream(0))
