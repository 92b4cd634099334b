"""Encoding: hand-computed values, gaps, unseen levels, and no small group in a published name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyaudit.data.attributes import MAX_LEVELS, MIN_LEVEL_ROWS, code_attribute
from proxyaudit.data.columns import ColumnKind
from proxyaudit.data.encoding import Encoder, FeatureColumn, fit_encoder
from proxyaudit.data.target import check_support
from proxyaudit.errors import InputError


def encoder_for(column: list[object], name: str = "c", kind: str = "categorical") -> Encoder:
    frame = pd.DataFrame({name: pd.Series(column, dtype=object if kind == "categorical" else float)})
    return fit_encoder(frame, (FeatureColumn(name, kind),), "standard")  # type: ignore[arg-type]


def test_numbers_by_hand() -> None:
    train = [1.0, 3.0] * 10 + [np.nan] * 11
    encoder = encoder_for(train, "x", "numeric")
    assert encoder.columns == ("x", "x=(missing)")
    assert encoder.sources == ("x", "x")
    filled = np.array([1.0, 3.0] * 10 + [2.0] * 11)
    out = encoder.transform(pd.DataFrame({"x": [1.0, np.nan]}))
    np.testing.assert_allclose(out[:, 0], [(1 - filled.mean()) / filled.std(), (2 - filled.mean()) / filled.std()], rtol=1e-6)
    assert out[:, 1].tolist() == [0, 1]
    assert out.dtype == np.float32


def test_a_few_gaps_are_filled_without_an_indicator() -> None:
    encoder = encoder_for([1.0, 3.0] * 10 + [np.nan] * 10, "x", "numeric")
    assert encoder.columns == ("x",)
    assert np.isfinite(encoder.transform(pd.DataFrame({"x": [np.nan]}))).all()


def test_categories_missing_unseen_and_rare() -> None:
    encoder = encoder_for(["u"] * 20 + ["v"] * 20 + [None] * 11 + ["r1"] * 6 + ["r2"] * 5)
    assert encoder.columns == ("c=u", "c=v", "c=(other)", "c=(missing)")
    out = encoder.transform(pd.DataFrame({"c": ["v", None, "r1", "never seen"]}))
    assert out.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_a_rare_level_is_never_named() -> None:
    encoder = encoder_for(["u"] * 20 + ["v"] * 20 + ["only one person"])
    assert encoder.columns == ("c=u", "c=v")
    assert encoder.transform(pd.DataFrame({"c": ["only one person"]})).tolist() == [[0, 0]]


def test_many_levels_are_cut_to_the_largest() -> None:
    levels = [f"l{k:03d}" for k in range(250) for _ in range(12 + (k < 10))]
    encoder = encoder_for(levels)  # type: ignore[arg-type]
    assert len(encoder.columns) == 200
    assert encoder.columns[-1] == "c=(other)"
    assert "c=l000" in encoder.columns
    assert "c=l249" not in encoder.columns


def test_names_that_read_alike_are_numbered() -> None:
    frame = pd.DataFrame({"a": ["b"] * 20 + ["c"] * 20, "a=b": np.arange(40.0)})
    encoder = fit_encoder(frame, (FeatureColumn("a", "categorical"), FeatureColumn("a=b", "numeric")), "standard")
    assert len(set(encoder.columns)) == 3


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["u", "v", "w", "(other)", "(missing)", None]), min_size=1, max_size=120))
def test_every_row_has_at_most_one_level(column: list[str | None]) -> None:
    encoder = encoder_for(column)  # type: ignore[arg-type]
    out = encoder.transform(pd.DataFrame({"c": pd.Series(column, dtype=object)}))
    assert (out.sum(axis=1) <= 1).all()
    assert (out.sum(axis=0) >= 11).all()
    assert len(set(encoder.columns)) == len(encoder.columns)


def test_none_passes_numbers_unchanged() -> None:
    frame = pd.DataFrame({"b": [1.5, 2.5], "a": [3, 3]})
    features = (FeatureColumn("b", "numeric"), FeatureColumn("a", "numeric"))
    encoder = fit_encoder(frame, features, "none")
    assert encoder.columns == ("b", "a")
    assert encoder.transform(frame).tolist() == [[1.5, 3.0], [2.5, 3.0]]


@pytest.mark.parametrize("value", [np.nan, 1e300])
def test_none_refuses_what_it_cannot_hand_over(value: float) -> None:
    with pytest.raises(InputError, match="'x' has missing or too large values in fewer than 20 rows"):
        fit_encoder(pd.DataFrame({"x": [1.0, value]}), (FeatureColumn("x", "numeric"),), "none")
    with pytest.raises(InputError, match="'c' is no number"):
        fit_encoder(pd.DataFrame({"c": ["u"]}), (FeatureColumn("c", "categorical"),), "none")


def test_numbers_too_large_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="too large"):
        encoder_for([1e308, -1e308, 1e308], "x", "numeric")
    encoder = encoder_for([1.0, 2.0], "x", "numeric")
    with pytest.raises(InputError, match="too large"):
        encoder.transform(pd.DataFrame({"x": [1e300]}))


CATEGORY = ColumnKind("a", "categorical")
NUMBER = ColumnKind("a", "numeric")


def coded(column: list[object], kind: ColumnKind = CATEGORY, role: str = "protected", groups=None):  # type: ignore[no-untyped-def]
    series = pd.Series(column, dtype=object if kind.kind == "categorical" else float, name="a")
    return code_attribute(series, kind, role, distinct=series.nunique(), where="f", fewest=30, groups=groups)  # type: ignore[arg-type]


def test_levels_are_sorted_and_coded() -> None:
    attribute, notes = coded(["m"] * 40 + ["f"] * 40)
    assert attribute.levels == ("f", "m")
    assert attribute.kind == "binary"
    assert attribute.codes.tolist() == [1] * 40 + [0] * 40
    assert notes == ()
    assert not attribute.codes.flags.writeable


def test_small_levels_pool_or_vanish_without_a_count() -> None:
    attribute, notes = coded(["m"] * 40 + ["f"] * 40 + ["x"] * 20 + ["y"] * 10)
    assert attribute.levels == ("(other)", "f", "m")
    assert [note.what for note in notes] == ["a: levels taken together"]
    attribute, notes = coded(["m"] * 40 + ["f"] * 40 + ["x"] * 9 + [None] * 7)
    assert attribute.levels == ("f", "m")
    assert (attribute.codes < 0).sum() == 16
    assert len(notes) == 2
    assert not any(text in note.what + note.why for text in ("9", "7", "16") for note in notes)
    attribute, _ = coded(["m"] * 40 + ["f"] * 40 + [None] * 30)
    assert attribute.levels == ("f", "m")
    assert (attribute.codes < 0).sum() == 30


def test_a_level_has_eleven_people_where_people_are_told() -> None:
    column: list[object] = ["m"] * 40 + ["f"] * 40 + ["x"] * 40
    whose = pd.Series([*range(80), *(100 + k % 10 for k in range(40))])
    attribute, notes = coded(column, groups=whose)
    assert attribute.levels == ("f", "m")
    assert "eleven people" in notes[0].why
    assert coded(column, groups=pd.Series([*range(80), *(100 + k % 11 for k in range(40))]))[0].levels == ("f", "m", "x")
    assert coded(column, groups=whose.where(whose < 100))[0].levels == ("f", "m", "x")  # of nobody known: each its own person's
    # Two levels of ten people are pooled, since together they have twenty.
    both = pd.Series([*range(80), *(100 + k % 10 for k in range(40)), *(200 + k % 10 for k in range(40))])
    assert coded([*column, *["y"] * 40], groups=both)[0].levels == ("(other)", "f", "m")
    with pytest.raises(InputError, match="two groups of 30 audit rows and eleven people"):
        coded(column[40:], groups=whose[40:].reset_index(drop=True))
    assert coded(column)[0].levels == ("f", "m", "x")


def test_a_class_has_eleven_people_where_people_are_told() -> None:
    codes = np.repeat([0, 1], 40)
    check_support(codes, ("a", "b"), "y", "audit", where="f", groups=pd.Series([*range(40), *(50 + k % 11 for k in range(40))]))
    with pytest.raises(InputError, match="a class has fewer than 11 people"):
        check_support(codes, ("a", "b"), "y", "audit", where="f", groups=pd.Series([*range(40), *(50 + k % 10 for k in range(40))]))


def test_many_levels_keep_the_29_largest() -> None:
    attribute, _ = coded([f"l{k:02d}" for k in range(40) for _ in range(30 + 40 - k)])
    assert len(attribute.levels) == MAX_LEVELS
    assert set(attribute.levels) == {f"l{k:02d}" for k in range(29)} | {"(other)"}
    assert np.bincount(attribute.codes).min() >= MIN_LEVEL_ROWS


def test_numbers_by_their_distinct_values() -> None:
    attribute, _ = coded([0, 1] * 40, NUMBER)
    assert (attribute.kind, attribute.levels) == ("binary", ("0", "1"))
    attribute, _ = coded(list(range(10)) * 40, NUMBER)
    assert attribute.kind == "multiclass"
    attribute, _ = coded([*range(11), None] * 40, NUMBER)
    assert attribute.kind == "continuous"
    assert attribute.codes.dtype == np.float64
    assert np.isnan(attribute.codes).sum() == 40


@pytest.mark.parametrize("column", [["m"] * 99, [None] * 99, ["m"] * 90 + ["f"] * 9])
def test_nothing_to_tell_apart(column: list[object]) -> None:
    with pytest.raises(InputError, match="protected column 'a'"):
        coded(column)
    attribute, notes = coded(column, role="proxy")
    assert attribute is None
    assert notes[0].what == "proxy a"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["u", "v", "w", "x", None, "(other)"]), st.integers(1, 70)), min_size=1, max_size=8))
def test_no_coded_level_is_small(runs: list[tuple[str | None, int]]) -> None:
    attribute, _ = coded([value for value, times in runs for _ in range(times)], role="proxy")
    if attribute is not None:
        counts = np.bincount(attribute.codes[attribute.codes >= 0], minlength=len(attribute.levels))
        assert counts.min() >= MIN_LEVEL_ROWS
        assert attribute.levels == tuple(sorted(attribute.levels))
