"""Tables as people have them: one message for all faults, one rule for missing words, identifiers kept out, marks found or named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_tables import load, people, recipe_of, write

from proxyaudit.data.csv_files import read_numbers
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.identifiers import find_identifiers
from proxyaudit.data.missing import settle_missing
from proxyaudit.data.reading import Reading, Told
from proxyaudit.data.releases import load_releases, release_notes
from proxyaudit.data.tables import read_table
from proxyaudit.errors import InputError
from proxyaudit.recipe.tables import FormatSpec, ValuesSpec


def said(data: Dataset) -> str:
    return "\n".join(f"{note.what}: {note.why}" for note in data.notes)


# Words for nothing known


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("word", ["NA", "n/a", " NULL ", "nan", "<NA>", ""])
def test_missing_words_are_missing_in_every_kind_of_file(tmp_path: Path, name: str, word: str) -> None:
    frame = people().assign(job=lambda f: f["job"].where(np.arange(len(f)) >= 100, word))
    data = load(tmp_path, frame, name=name)
    assert pd.concat([data.train, data.audit])["job"].isna().sum() == 100
    assert (
        f"whether '{word.strip()}' is an answer or missing: it was read as missing in column job (at least 100 rows)" in said(data)
    ) == bool(word)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_none_is_an_answer_unless_the_recipe_names_it(tmp_path: Path, name: str) -> None:
    asked = {"protected": ["sex", "help"]}
    told = load(tmp_path, people(), asked, name)
    assert told.attributes[1].levels == ("None", "much", "some")
    assert "it was read as a value in column help (at least 360 rows)" in said(told)
    assert '"#N/A", "None"]}' in said(told)
    named = load(tmp_path, people(), asked, name, values={"missing": ["none", "NA"]})
    assert named.attributes[1].levels == ("much", "some")
    assert "read as missing in column help" in said(named)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_class_of_the_target_may_be_called_none(tmp_path: Path, name: str) -> None:
    assert load(tmp_path, people(), {"target": "help"}, name).classes == ("None", "much", "some")


def test_a_word_among_many_numbers_is_missing_and_among_few_codes_a_value(tmp_path: Path) -> None:
    income = [None if k % 10 == 0 else 1000.5 + k for k in range(600)]
    frame = people().assign(income=[str(v) for v in income], children=["None" if k % 2 else str(k % 3) for k in range(600)])
    data = load(tmp_path, frame)
    kinds = {feature.name: feature.kind for feature in data.features}
    assert (kinds["income"], kinds["children"]) == ("numeric", "categorical")
    assert "read as missing in column income (at least 60 rows)" in said(data)


def test_the_rule_is_that_of_releases_and_holdouts(tmp_path: Path) -> None:
    held, release = people(400, 1), people(400, 2)
    write(held, tmp_path / "h.parquet")
    regimes = ["real", {"synthetic": {"name": "v", "path": write(release, tmp_path / "v.csv")}}]
    for values, gone in ((None, False), ({"missing": ["None"]}, True)):
        more = {} if values is None else {"values": values}
        recipe = recipe_of(write(people(), tmp_path / "t.csv"), {"holdout": "h.parquet"}, regimes, **more)
        data = load_dataset(recipe, tmp_path)
        notes: list[Any] = []
        rows = load_releases(recipe, data, tmp_path, notes)["v"]
        for frame in (data.train, data.audit, rows):
            assert bool(frame["help"].isna().any()) == gone
        assert [note for note in notes if "release v: whether 'None'" in note.what]
        assert data.unseen == ()


# Truth values


@pytest.mark.parametrize(("real", "other"), [((1, 0), ("True", "False")), (("yes", "no"), (True, False)), (("t", "f"), ("TRUE", "false"))])
def test_truth_values_of_two_tables_are_one(tmp_path: Path, real: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    frame, held = people(), people(400, 1)
    frame["member"], held["member"] = np.where(frame["x"] > 0, *real), np.where(held["x"] > 0, *other)
    write(held, tmp_path / "h.csv")
    data = load(tmp_path, frame, {"holdout": "h.csv"})
    assert data.unseen == ()
    place = [name for name in data.encoder.columns if name.startswith("member")][-1]
    shown = data.encoder.transform(data.audit)[:, list(data.encoder.columns).index(place)]
    assert np.corrcoef(shown, data.audit["x"] > 0)[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert "spellings of column member apart" in said(data)


def test_one_column_of_two_ways_is_one_and_letters_are_left_alone(tmp_path: Path) -> None:
    answers = np.array(["yes", "no", "Y", "N", "true"])[np.arange(600) % 5]
    grades = np.array(["t", "f", "n"])[np.arange(600) % 3]
    data = load(tmp_path, people().assign(asked=answers, grade=grades), {"protected": ["sex", "asked"], "exclude": ["sex", "asked"]})
    assert len(data.attributes[1].levels) == 2
    assert sum(name.startswith("grade=") for name in data.encoder.columns) == 3


# Identifiers and indexes


@pytest.mark.parametrize(
    "values",
    [
        lambda n: np.arange(1, n + 1),
        lambda n: np.random.default_rng(0).permutation(n) + 10_000,
        lambda n: [f"CUST-{k:05d}" for k in range(n)],
        lambda n: [f"{k * 2654435761 % 2**32:08x}-{k:04x}" for k in range(n)],
        lambda n: [2**60 + 7 * k for k in range(n)],
        lambda n: [f"p{k}@example.org" for k in range(n)],
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_identifiers_are_kept_out_and_hide_no_copies(tmp_path: Path, values: Any, name: str) -> None:
    real, held = people(), people(400, 1)
    release = held.sample(frac=1, random_state=3)
    for frame in (real, held, release):
        frame.insert(0, "who", values(len(frame)))
    regimes = ["real", {"synthetic": {"name": "v", "path": write(release, tmp_path / "v.csv")}}]
    write(held, tmp_path / "h.csv")
    recipe = recipe_of(write(real, tmp_path / name), {"holdout": "h.csv"}, regimes)
    data = load_dataset(recipe, tmp_path)
    assert "who" not in [feature.name for feature in data.features]
    assert "column who as input: its values name rows" in said(data)
    copies = [note.why for note in release_notes(data, load_releases(recipe, data, tmp_path, []))]
    assert any("at least 360 of its rows equal an audit row" in why for why in copies)


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("income", lambda r, n: r.choice(10**7, n, replace=False), False),  # cents: they might meet, and by chance did not
        ("customer_id", lambda r, n: r.choice(10**7, n, replace=False), True),
        ("customerId", lambda r, n: r.choice(10**7, n, replace=False), True),
        ("paid", lambda r, n: r.normal(size=n), False),
        ("age", lambda r, n: r.integers(18, 90, n), False),
        ("person", lambda r, n: np.arange(n) // 2, False),  # of several rows: data.group
        ("seen", lambda r, n: pd.date_range("2020-01-01", periods=n).strftime("%Y-%m-%d"), False),
        ("note", lambda r, n: [f"some words {k}" for k in range(n)], False),
        ("debt", lambda r, n: [f"{k},5 EUR" for k in range(n)], False),
    ],
)
def test_measurements_are_no_identifiers(name: str, values: Any, found: bool) -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({name: values(rng, 500), "x": rng.normal(size=500)})
    assert find_identifiers(frame, [name, "x"]) == ((name,) if found else ())
    assert find_identifiers(pd.concat([frame, frame]), [name, "x"]) == ((name,) if found else ())


def test_the_recipe_has_the_last_word_on_identifiers(tmp_path: Path) -> None:
    frame = people().assign(place=np.arange(600), month=lambda f: np.arange(600) % 12)
    assert "place" in [f.name for f in load(tmp_path, frame, {"identifiers": []}).features]
    named = [f.name for f in load(tmp_path, frame, {"identifiers": ["month"]}).features]
    assert "month" not in named
    assert "place" in named
    with pytest.raises(InputError, match="did you mean 'month'"):
        load(tmp_path, frame, {"identifiers": ["mont"]})
    with pytest.raises(InputError, match="another role"):
        load(tmp_path, frame, {"identifiers": ["y"]})


def test_encode_none_keeps_every_column_where_a_module_expects_it(tmp_path: Path) -> None:
    frame = people().assign(row=np.arange(600)).drop(columns=["job", "help"])
    data = load(tmp_path, pd.concat([frame, frame.assign(row=np.arange(600, 1200))]), {"encode": "none"})
    assert [f.name for f in data.features] == ["x", "row"]
    assert "what a model learns of single rows by row" in said(data)
    assert not set(data.train["x"]) & set(data.audit["x"])  # copies are found in spite of their numbers


@pytest.mark.parametrize(
    ("index", "dropped"),
    [
        (lambda n: range(n), True),
        (lambda n: np.random.default_rng(0).permutation(10 * n)[:n], True),  # a sample of a larger frame
        (lambda n: [*range(n // 2), *range(n - n // 2)], True),  # two frames put together
        (lambda n: [f"row {k}" for k in range(n)], True),  # R's names of rows
        (lambda n: np.random.default_rng(0).integers(0, 3, n), False),
        (lambda n: np.random.default_rng(0).normal(size=n), False),
    ],
)
def test_an_index_without_a_name_is_dropped_and_nothing_else_is(tmp_path: Path, index: Any, dropped: bool) -> None:
    people().set_index(pd.Index(index(600))).to_csv(tmp_path / "t.csv")
    told = Told()
    if not dropped:
        with pytest.raises(InputError, match="column 1 has no name"):
            read_table(tmp_path / "t.csv", what="data", told=told)
        return
    frame = read_table(tmp_path / "t.csv", what="data", told=told)
    assert list(frame.columns) == list(people().columns)
    assert "without a name" in told.remarks[0][0]
    frame.to_csv(tmp_path / "again.csv")
    twice = pd.read_csv(tmp_path / "again.csv")  # it is called 'Unnamed: 0' now
    twice.to_csv(tmp_path / "again.csv", index=False)
    assert list(read_table(tmp_path / "again.csv", what="data").columns) == list(people().columns)


# How files are written


@pytest.mark.parametrize("mark", [";", "\t", "|", ","])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_separators_and_encodings_are_found(tmp_path: Path, mark: str, encoding: str) -> None:
    frame = people().assign(job=lambda f: f["job"].replace("cook", "Köchin, klein"))
    frame.to_csv(tmp_path / "t.csv", index=False, sep=mark, encoding=encoding)
    told = Told()
    back = read_table(tmp_path / "t.csv", what="data", told=told)
    pd.testing.assert_frame_equal(back, frame.replace({"help": {}}), check_dtype=False)
    assert [what for what, _ in told.remarks] == (
        ["whether letters beyond ASCII are read as they were meant"] if encoding == "latin-1" else []
    )


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["1,5", "2", "-3,25"], [1.5, 2.0, -3.25]),
        (["1.234,5", "12,0"], [1234.5, 12.0]),
        (["0,125", "0,250"], [0.125, 0.25]),
        (["1,234.5", "17", "1,000"], [1234.5, 17.0, 1000.0]),
        (["1,234,567", "1,000"], [1234567.0, 1000.0]),
        (["1,234", "5,678"], None),  # thousands, or three decimals
        (["1,2", "2,3", "1,2,3"], None),  # several answers
        (["1", "2", "3", "4", "1,5"], None),
        (["1,5 kg", "2"], None),
        (["1.234.567", "1.000", "17"], [1234567.0, 1000.0, 17.0]),
        (["1.234.567", "1.234,5"], None),
        (["1.234.567", "1.5"], None),
        ([*(f"{k}.125" for k in range(1, 13)), "7"], None),  # thousands, or three decimals
        ([*(f"{k}.125" for k in range(1, 13)), "1.5"], [*(k + 0.125 for k in range(1, 13)), 1.5]),
        ([f"{k}.125" for k in range(1, 13)], [k + 0.125 for k in range(1, 13)]),  # rounded to three decimals
        ([*(f"{k}.125" for k in range(12)), "7"], [*(k + 0.125 for k in range(12)), 7.0]),
    ],
)
def test_decimal_and_thousands_marks_are_found_where_one_reading_is_left(values: list[str], numbers: list[float] | None) -> None:
    found, _ = read_numbers(pd.Series(values, dtype=object), FormatSpec())
    assert (None if found is None else found.tolist()) == numbers


@pytest.mark.parametrize(
    ("form", "values", "numbers"),
    [
        ({"decimal": ","}, ["1,234", "5"], [1.234, 5.0]),
        ({"thousands": ","}, ["1,234", "5"], [1234.0, 5.0]),
        ({"decimal": ",", "thousands": "."}, ["1.234", "1.234,5"], [1234.0, 1234.5]),
        ({"thousands": " "}, ["1 234", "12"], [1234.0, 12.0]),
        ({"thousands": ","}, ["12,34", "5"], None),
        ({"decimal": ","}, ["a", "5"], None),
        ({"decimal": ","}, ["1.234", "5"], [1234.0, 5.0]),
        ({"decimal": "."}, [*(f"{k}.125" for k in range(1, 13)), "7"], [*(k + 0.125 for k in range(1, 13)), 7.0]),
        ({"thousands": ","}, [*(f"{k}.125" for k in range(1, 13)), "7"], [*(k + 0.125 for k in range(1, 13)), 7.0]),
    ],
)
def test_marks_may_be_named(form: dict[str, str], values: list[str], numbers: list[float] | None) -> None:
    found, _ = read_numbers(pd.Series(values, dtype=object), FormatSpec(**form))
    assert (None if found is None else found.tolist()) == numbers


def test_what_a_file_leaves_open_is_refused_with_the_line_that_settles_it(tmp_path: Path) -> None:
    frame = people().assign(debt=[f"{1 + k % 9},{k % 30:03d}" for k in range(600)])
    with pytest.raises(InputError, match=r'data: \{format: \{thousands: ","\}\}'):
        load(tmp_path, frame)
    assert load(tmp_path, frame, {"format": {"thousands": ","}}).train["debt"].max() >= 1000
    assert load(tmp_path, frame, {"format": {"decimal": ","}}).train["debt"].max() < 10
    (tmp_path / "c.csv").write_bytes("a,y\nÖê,1\n".encode("cp1251", "replace") + "\xcf\xf0\xe8\xe2,2\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"not UTF-8.*data: \{format: \{encoding: latin-1\}\}"):
        read_table(tmp_path / "c.csv", what="data", reading=Reading.of(None, None))
    named = read_table(tmp_path / "c.csv", what="data", reading=Reading.of(FormatSpec(encoding="cp1251"), None))
    assert named["a"].iloc[1] == "Прив"


def _dotted(values: Any) -> list[str]:
    return [f"{int(value):,}".replace(",", ".") for value in values]


def test_dots_between_thousands_are_no_decimals(tmp_path: Path) -> None:
    """1.234 beside 999: read as decimals the larger number is the smaller one."""
    debt = np.arange(600) * 97 + 500
    frame = people().assign(debt=_dotted(debt))
    with pytest.raises(InputError, match=r'dots between thousands.*data: \{format: \{decimal: ",", thousands: "\."\}\}'):
        load(tmp_path, frame)
    with pytest.raises(InputError, match="dots between thousands"):  # nor is it a protected attribute of many levels
        load(tmp_path, frame, {"protected": ["debt"]})
    assert load(tmp_path, frame, {"exclude": ["sex", "debt"]}).train.shape[0] > 0
    assert load(tmp_path, frame, {"format": {"decimal": ",", "thousands": "."}}).train["debt"].max() > 10000
    assert load(tmp_path, frame, {"format": {"decimal": "."}}).train["debt"].max() < 1000
    beside = frame.assign(x=frame["x"].map(lambda v: f"{v:.3f}".replace(".", ",")))
    found = load(tmp_path, beside)
    assert found.train["debt"].max() > 10000
    assert any("a dot between thousands" in note.why for note in found.notes)


def test_a_release_in_another_hand_than_the_real_rows_is_refused(tmp_path: Path) -> None:
    real = people().assign(debt=np.arange(600) * 97 + 500)
    release = people(400, 2).assign(debt=_dotted(np.arange(400) * 97 + 500))
    release.to_csv(tmp_path / "v.csv", index=False)
    recipe = recipe_of(write(real, tmp_path / "t.csv"), None, ["real", {"synthetic": {"name": "v", "path": "v.csv"}}])
    with pytest.raises(InputError, match="dots between thousands"):
        load_releases(recipe, load_dataset(recipe, tmp_path), tmp_path, [])


def test_a_release_says_itself_how_it_is_written(tmp_path: Path) -> None:
    release = people(400, 2)
    release["x"] = release["x"].map(lambda v: f"{v:.3f}".replace(".", ","))
    release.to_csv(tmp_path / "v.csv", sep=";", index=False)
    recipe = recipe_of(write(people(), tmp_path / "t.csv"), None, ["real", {"synthetic": {"name": "v", "path": "v.csv"}}])
    rows = load_releases(recipe, load_dataset(recipe, tmp_path), tmp_path, [])["v"]
    assert rows["x"].abs().max() < 10
    spec = {"name": "v", "path": "v.csv", "format": {"separator": ";", "decimal": ","}}
    named = recipe_of("t.csv", None, ["real", {"synthetic": spec}])
    pd.testing.assert_frame_equal(load_releases(named, load_dataset(named, tmp_path), tmp_path, [])["v"], rows)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"data": {"format": {"separatr": ";"}}}, "did you mean 'separator'"),
        ({"data": {"format": {"encoding": "utf-88"}}}, "write utf-8, latin-1"),
        ({"data": {"format": {"encoding": "zip"}}}, "no encoding of text"),
        ({"data": {"format": {"decimal": ",", "thousands": ","}}}, "the same mark"),
        ({"values": {"missing": [None]}}, "in quotes"),
        ({"regimes": [{"synthetic": {"sdv": "tvae", "format": {"decimal": ","}}}]}, "belongs to 'path'"),
    ],
)
def test_wrong_formats_are_refused(section: dict[str, Any], words: str) -> None:
    more = {key: value for key, value in section.items() if key not in ("data", "regimes")}
    with pytest.raises(InputError, match=words):
        recipe_of("t.csv", section.get("data"), section.get("regimes"), **more)


def test_what_is_not_named_is_no_part_of_the_recipe() -> None:
    document = recipe_of("t.csv").published()
    assert "values" not in document
    assert not {"format", "identifiers"} & document["data"].keys()
    assert ValuesSpec().missing[0] == ""


def test_values_that_are_equal_and_not_the_same_stay_apart() -> None:
    frame = pd.DataFrame({"a": pd.Series([True, 1, "NA", 1.0, None], dtype=object)})
    found, words = settle_missing(frame, ["NA"])
    assert [type(value) for value in found["a"][[0, 1, 3]]] == [bool, int, float]
    assert found["a"].isna().tolist() == [False, False, True, False, True]
    assert [(word.word, word.rows, word.missing) for word in words] == [("NA", 1, True)]


def test_encodings_are_told_beyond_the_first_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxyaudit.data.csv_files._CHUNK", 64)
    frame = pd.DataFrame({"a": ["plain words"] * 60 + ["Köln"], "b": range(61)})
    for encoding in ("utf-8", "latin-1"):
        frame.to_csv(tmp_path / "t.csv", index=False, encoding=encoding)
        pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv", what="data"), frame)
