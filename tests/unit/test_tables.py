"""Reading tables and finding files: what is kept exactly, and what is refused in one line."""

from __future__ import annotations

import datetime
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyaudit.data.column_checks import check_feature
from proxyaudit.data.columns import coerce, infer_kind, labels, parse_numbers
from proxyaudit.data.tables import read_table, resolve_path
from proxyaudit.errors import InputError


def write(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_table(path, what="data")
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    return line


def test_csv_kinds(tmp_path: Path) -> None:
    text = "a, b ,zip,id,c\n1,1.5,02139,12345678901234567890,x\n2,,10001,12345678901234567891, y \n"
    frame = read_table(write(tmp_path, text), what="data")
    assert list(frame.columns) == ["a", "b", "zip", "id", "c"]
    assert frame["a"].dtype == np.int64
    assert frame["b"].dtype == np.float64
    assert frame["zip"].tolist() == ["02139", "10001"]
    assert frame["id"].nunique() == 2


def test_gzip_and_parquet_give_the_same_table_as_csv(tmp_path: Path) -> None:
    plain = read_table(write(tmp_path, "a,b\n1,x\n2,\n"), what="data")
    packed = read_table(write(tmp_path, gzip.compress(b"a,b\n1,x\n2,\n"), "t.csv.gz"), what="data")
    pd.testing.assert_frame_equal(plain, packed)
    plain.to_parquet(tmp_path / "t.parquet")
    parquet = read_table(tmp_path / "t.parquet", what="data")
    assert parquet["a"].tolist() == [1, 2]
    assert labels(parquet["b"]).tolist()[0] == "x"


def test_parquet_hides_no_column_in_an_index_and_keeps_wide_integers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"k": pd.array([2**60, 2**60 + 1, None], dtype="Int64"), "c": pd.Categorical(["u", "v", "u"])}).set_index("c")
    frame.to_parquet(tmp_path / "t.parquet")
    back = read_table(tmp_path / "t.parquet", what="data")
    assert set(back.columns) == {"k", "c"}
    assert labels(back["k"]).tolist()[:2] == [str(2**60), str(2**60 + 1)]
    assert labels(back["c"]).tolist() == ["u", "v", "u"]


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (b"", "t.csv", "empty"),
        (b"a,b\n", "t.csv", "no rows"),
        (b"a,b\n\xff\xfe,1\n", "t.csv", "not UTF-8"),
        (b"a,a\n1,2\n", "t.csv", "two columns are named 'a'"),
        (b"a,\n1,2\n", "t.csv", "has no name"),
        (b"a,b\n1,2\n3\n", "t.csv", "line 3"),
        (b"a,b\n1,2,3\n", "t.csv", "3 fields"),
        (b"a;b,c\n1;2,5\n", "t.csv", "separated by ',' and ';'"),
        (b"a;b\n1;2\n3\n", "t.csv", "fields that hold ';'"),
        (b"a,b\n1,2\n", "t.pkl", "unknown kind"),
        (b"not gzip", "t.csv.gz", "gzip"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 5000, mtime=0)[:60], "t.csv.gz", "gzip"),
        (b"PAR1 nonsense", "t.parquet", "parquet"),
    ],
)
def test_unreadable_tables_are_refused_in_one_line(tmp_path: Path, content: bytes, name: str, expected: str) -> None:
    assert expected in refused(write(tmp_path, content, name))


def test_relative_paths_start_at_the_recipe_then_at_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, cwd = tmp_path / "base", tmp_path / "cwd"
    base.mkdir()
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    write(cwd, "x", "t.csv")
    assert resolve_path("t.csv", base=base, what="p").resolve() == cwd / "t.csv"
    write(base, "x", "t.csv")
    assert resolve_path("t.csv", base=base, what="p").resolve() == base / "t.csv"


def test_paths_that_escape_are_refused_and_absolute_ones_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tmp_path / "base"
    base.mkdir()
    monkeypatch.chdir(base)
    secret = write(tmp_path, "x", "secret.csv")
    (base / "link.csv").symlink_to(secret)
    for text in ("../secret.csv", "link.csv", "../nothing.csv"):
        with pytest.raises(InputError, match="escapes"):
            resolve_path(text, base=base, what="p")
    assert resolve_path(str(secret), base=base, what="p") == secret


@pytest.mark.parametrize("text", ["", "a\0b", "nothing.csv", "."])
def test_paths_to_nothing_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        resolve_path(text, base=tmp_path, what="p")


@given(st.lists(st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False)), min_size=1))
def test_numbers_survive_text(values: list[float | int | None]) -> None:
    numbers = parse_numbers(pd.Series([None if v is None else repr(v) for v in values], dtype=object))
    if all(v is None for v in values):
        assert numbers is None
    elif numbers is not None:  # None: digits too many for a number, kept as text
        for number, value in zip(numbers, values, strict=True):
            assert (value is None and np.isnan(number)) or number == value


def test_labels_tell_apart_and_join_what_they_should() -> None:
    column = pd.Series([1, 1.0, True, " a ", "", None, np.nan, 2**60], dtype=object)
    assert [v if isinstance(v, str) else None for v in labels(column[3:])] == ["a", None, None, None, str(2**60)]
    assert labels(pd.Series([1.0, 2.5])).tolist() == ["1", "2.5"]
    assert labels(pd.Series([True, False])).tolist() == ["True", "False"]
    with pytest.raises(InputError, match="nested"):
        labels(pd.Series([[1], [2]]))


@pytest.mark.parametrize(
    ("values", "days"),
    [
        (["1970-01-02", None, "9999-12-31"], [1.0, np.nan, 2932896.0]),
        (["1970-01-02T12:00:00Z", "1970-01-01 00:00"], [1.5, 0.0]),
        (["1970-01-01T01:00+01:00"], [0.0]),
        ([datetime.date(1970, 1, 3)], [2.0]),
        (pd.to_datetime(["1970-01-02", None]), [1.0, np.nan]),
        (pd.to_datetime(["1970-01-02"], utc=True), [1.0]),
    ],
)
def test_dates_become_days(values: list[object], days: list[float]) -> None:
    column = pd.Series(values, name="d")
    kind = infer_kind(column, where="f")
    assert (kind.kind, kind.date) == ("numeric", True)
    np.testing.assert_allclose(coerce(column, kind, where="f"), days)


def test_impossible_dates_are_categories_and_a_number_is_no_date() -> None:
    assert infer_kind(pd.Series(["2021-02-30", "2021-02-28"], name="d"), where="f").kind == "categorical"
    kind = infer_kind(pd.Series(["2021-02-27"], name="d"), where="f")
    with pytest.raises(InputError, match="dates"):
        coerce(pd.Series([20210227], name="d"), kind, where="f")


def test_infinite_values_are_named_and_counted() -> None:
    for column in (pd.Series([1.0, np.inf, -np.inf], name="x"), pd.Series(["1", "inf", "-inf"], name="x")):
        with pytest.raises(InputError, match="'x' holds 2 infinite"):
            infer_kind(column, where="f")


def test_the_first_row_that_is_no_number_is_named() -> None:
    kind = infer_kind(pd.Series([1, 2], name="x"), where="f")
    with pytest.raises(InputError, match=r"row 3\b") as caught:
        coerce(pd.Series(["1", " ", "private text"], name="x"), kind, where="f")
    assert "private" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([f"{k},{k:03d}" for k in range(100, 200)], "mixes numbers"),
        ([f"{k} kg" if k % 3 == 0 else str(k) for k in range(100)] + ["n/a"] * 9, "mixes numbers"),
        (["1", "2", "3", "some"] * 20, None),
        (["?"] + [str(k) for k in range(100)], "mixes numbers"),
        ([f"name {k}" for k in range(100)], "identifier or free text"),
        ([str(2**60 + k % 5) for k in range(100)], "identifier"),
        ([2**60 + k for k in range(100)], "identifier"),
        ([float(2**60) * k for k in range(100)], "identifiers"),
        (["a", "b"] * 50, None),
        ([f"name {k % 40}" for k in range(60)], None),
    ],
)
def test_inputs_that_are_no_features(values: list[object], expected: str | None) -> None:
    column = pd.Series(values, name="x")
    kind = infer_kind(column, where="f")
    if expected is None:
        check_feature(coerce(column, kind, where="f"), kind, where="f")
        return
    with pytest.raises(InputError, match=expected):
        check_feature(coerce(column, kind, where="f"), kind, where="f")
