"""Cures: each takes away what it says, leaves what it does not treat, and is the same for the same seed."""

import numpy as np
import pandas as pd
import pytest

from proxyaudit.audits.cure.run import cured_name
from proxyaudit.channels.cures.cases import _cleanest, is_part, mixable, trials_of
from proxyaudit.data.cures import Cure, cures_of
from proxyaudit.errors import NAME, TaskError
from proxyaudit.regimes import Regime
from proxyaudit.seeding import stream
from proxyaudit.types import Estimate


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
    return rows, Cure(way, "sex", columns).alter(rows, pd.factorize(rows["y"])[0], stream(seed, "cure"))


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
        Cure("resampled", "race").alter(table(), np.zeros(len(table()), dtype=np.int64), stream(0))


# Mixtures and erasers ------------------------------------------------------------------------------------------------------


def mixture(n=4000, others=4000, seed=0):
    """A table of which each row has its number as age, mixed with another whose numbers are negative."""
    own, other = (table(k, n=size).assign(age=sign * (1.0 + np.arange(size))) for k, size, sign in ((0, n, 1), (1, others, -1)))
    return own, other, Cure("mixed", "sex", source="vendor").alter(own, np.zeros(n, dtype=np.int64), stream(seed, "cure"), other)


@pytest.mark.parametrize(("n", "taken"), [(4000, 2000), (801, 400), (30, 15)])
def test_half_of_a_mixture_is_from_the_other_table_and_no_row_is_taken_twice(n, taken):
    own, other, mixed = mixture(n)
    assert len(mixed) == n
    assert (mixed["age"] < 0).sum() == taken
    assert mixed["age"].is_unique
    for whole, part in ((own, mixed[mixed["age"] > 0]), (other, mixed[mixed["age"] < 0])):
        rows = whole.set_index("age").loc[part["age"]]
        pd.testing.assert_frame_equal(rows, part.set_index("age"))


def test_the_order_of_a_mixture_does_not_tell_where_a_row_is_from():
    mixed = mixture()[2]
    halves = [(part["age"] < 0).mean() for part in (mixed.iloc[:2000], mixed.iloc[2000:])]
    assert halves == pytest.approx([0.5, 0.5], abs=0.05)
    assert list(mixed.index) == list(range(4000))


def test_a_mixture_follows_its_stream_and_has_the_columns_that_both_have():
    pd.testing.assert_frame_equal(mixture()[2], mixture()[2])
    assert not mixture(seed=1)[2].equals(mixture()[2])
    own, other, whole = mixture()
    target, cure = np.zeros(len(own), dtype=np.int64), Cure("mixed", "sex", source="vendor")
    mixed = cure.alter(own, target, stream(0, "cure"), other.drop(columns="sex"))
    pd.testing.assert_frame_equal(mixed, whole.drop(columns="sex"))


def test_a_mixture_that_cannot_be_made_says_so():
    with pytest.raises(TaskError, match="'vendor' has 1999 rows, and 2000 are to be taken"):
        mixture(others=1999)
    with pytest.raises(ValueError, match="rows of its source"):
        Cure("mixed", "sex", source="vendor").alter(table(), np.zeros(4000, dtype=np.int64), stream(0))
    with pytest.raises(ValueError, match="alters the model"):
        Cure("erased", "sex").alter(table(), np.zeros(4000, dtype=np.int64), stream(0))


def test_new_ways_are_named_and_need_no_attribute():
    found = cures_of("sex", ["a"], known=False, source="vendor", erasable=True)
    assert [cure.name for cure in found] == ["dropped-1", "permuted-1", "mixed-vendor", "erased"]
    assert [cure.alters_rows for cure in found] == [True, True, True, False]
    assert found[2].words() == "half of the rows taken from vendor"
    said = found[3].words()
    assert "eraser" in said
    assert not {"removed", "taken out", "free of"} & set(said.split())  # what is done, not what is left
    assert found[2] in cures_of("sex", [], known=False, source="vendor")


@pytest.mark.parametrize(
    ("regime", "cure"),
    [
        ("real", Cure("dropped", "sex", ("a", "b"))),
        ("r" * 80, Cure("dropped", "sex", ("a",))),
        ("r" * 80, Cure("mixed", "sex", source="s" * 80)),
        ("real", Cure("mixed", "sex", source="s" * 80)),
        ("0", Cure("mixed", "sex", source="0.-_" + "x" * 76)),
    ],
)
def test_cured_names_are_names_of_regimes(regime, cure):
    name = cured_name(regime, cure)
    assert NAME.fullmatch(name)
    assert name.startswith(regime[:20])
    if len(regime) + len(cure.name) < 60:
        assert name == f"{regime}-{cure.name}"


# What is tried for what -----------------------------------------------------------------------------------------------------

REAL, COPULA, TVAE = Regime("real", "real"), Regime("copula", "synthetic"), Regime("tvae", "synthetic")
VENDOR, MIXED = Regime("vendor", "release"), Regime("half", "mixed", of="copula", ratio=0.5)
OTHERS = (Regime("files", "checkpoints"), Regime("untrained", "untrained"), Regime("reweighed", "reweighed"))


@pytest.mark.parametrize(
    ("regime", "trained", "names"),
    [
        (REAL, (REAL, COPULA, VENDOR), ["copula", "vendor"]),
        (REAL, (REAL, COPULA, VENDOR, MIXED), ["vendor"]),  # the pair is audited already
        (COPULA, (REAL, COPULA, VENDOR, MIXED), ["vendor"]),
        (TVAE, (REAL, COPULA, TVAE, MIXED), ["real", "copula"]),
        (MIXED, (REAL, COPULA, VENDOR, MIXED), ["vendor"]),  # it holds the others' rows
        (MIXED, (REAL, COPULA, MIXED), []),
        (REAL, (REAL,), []),
    ],
)
def test_what_may_be_mixed_in(regime, trained, names):
    assert [one.name for one in mixable(regime, trained)] == names


def gap(regime, value, attribute="sex", measure="gap"):
    return Estimate(id="E1", channel="expressed", attribute=attribute, regime=regime, value=value, measure=measure)


@pytest.mark.parametrize(
    ("values", "source"),
    [
        ({"tvae": 0.2, "copula": -0.05, "real": 0.1}, "copula"),
        ({"tvae": -0.2, "copula": 0.3, "real": 0.1}, "real"),
        ({"tvae": 0.05, "copula": -0.1, "real": 0.1}, ""),  # it is the cleanest
        ({"tvae": 0.1, "copula": 0.1, "real": 0.1}, ""),
        ({"tvae": 0.2, "copula": None}, ""),  # what was not measured is no source
        ({"copula": 0.1, "real": 0.1}, ""),
    ],
)
def test_the_source_has_the_smallest_gap_and_a_smaller_one_than_the_regime(values, source):
    noise = [gap("copula", 0.0, "race"), gap("real", 0.0, measure="output_leak")]
    assert _cleanest(TVAE, [REAL, COPULA], [*noise, *(gap(*pair) for pair in values.items())], "sex") == source


def test_what_is_to_be_tried_is_counted():
    every = (REAL, COPULA, VENDOR, *OTHERS)
    assert trials_of(REAL, every, 2, erasable=True) == (16, 2)
    assert trials_of(REAL, (REAL, *OTHERS), 2, erasable=True) == (14, 2)
    assert trials_of(REAL, every, 2, erasable=False) == (16, 0)
    assert trials_of(REAL, every, 0, erasable=True) == (0, 0)
    assert {trials_of(one, every, 2, erasable=True) for one in OTHERS} == {(0, 0)}


def test_some_of_the_columns_are_dropped_after_all_of_them():
    few, more = [(regime, Cure("dropped", "sex", tuple("abc"[:count]))) for regime, count in ((REAL, 2), (COPULA, 3))]
    part, other = (COPULA, Cure("dropped", "sex", ("a",))), (COPULA, Cure("permuted", "sex", ("a", "b", "c")))
    every = [few, part, more, other, (COPULA, Cure("dropped", "race", ("a", "b")))]
    # Two columns are all there is in one kind of training, whatever another one has.
    assert [case for case in every if is_part(case, every)] == [part]


def test_a_mixture_is_the_same_one_for_every_attribute():
    mixtures, others = (
        [Cure("mixed", name, source="real").drawn_for for name in ("sex", "race")],
        [Cure("resampled", n).drawn_for for n in "ab"],
    )
    assert mixtures[0] == mixtures[1]
    assert others == ["a", "b"]
