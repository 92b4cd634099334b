"""Rows of one person over time and second tables: one row for each person, whatever the order of the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.data.dataset import file_hashes, load_dataset
from proxyaudit.data.releases import load_releases
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import parse_recipe


def visits(people: int = 400, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), rng.integers(1, 6, people))
    n = len(person)
    return pd.DataFrame(
        {
            "person": [f"p{one}" for one in person],
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.permutation(n), unit="D"),
            "sex": np.where(person % 2 == 0, "f", "m"),
            "amount": rng.normal(10, 3, n).round(3),
            "ward": rng.choice(["a", "b", "c"], n),
            "ill": rng.integers(0, 2, n),
        }
    ).assign(day=lambda frame: frame["day"].dt.strftime("%Y-%m-%d"))


def dataset_of(folder: Path, frame: pd.DataFrame, regimes: list[Any] | None = None, **data: Any) -> Any:
    frame.to_csv(folder / "visits.csv", index=False)
    spec = {"path": "visits.csv", "target": "ill", "protected": ["sex"], "group": "person", "order": "day", **data}
    recipe = {"name": "t", "data": spec, "regimes": regimes or ["real"], "model": {"kind": "mlp"}}
    parsed = parse_recipe(recipe)
    return parsed, load_dataset(parsed, folder)


def people_of(dataset: Any) -> pd.DataFrame:
    return pd.concat([dataset.train, dataset.audit]).set_index("person").sort_index()


def test_the_last_row_stands_for_a_person(tmp_path: Path) -> None:
    frame = visits()
    found = people_of(dataset_of(tmp_path, frame)[1])
    last = frame.sort_values("day").groupby("person").last().sort_index()
    assert len(found) == 400
    pd.testing.assert_series_equal(found["amount"], last["amount"], check_names=False)
    assert (found["ward"] == last["ward"]).all()
    assert (found["ill"].astype(int) == last["ill"]).all()
    np.testing.assert_allclose(found["mean of amount"], frame.groupby("person")["amount"].mean().sort_index())
    assert (found["rows of person"] == frame.groupby("person").size().sort_index()).all()
    assert "day" not in found
    assert "mean of ill" not in found  # no other day's answer is an input


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_the_file_has_no_say(tmp_path: Path, seed: int) -> None:
    frame = visits()
    (tmp_path / "other").mkdir()
    one = people_of(dataset_of(tmp_path, frame)[1])
    other = people_of(dataset_of(tmp_path / "other", frame.sample(frac=1, random_state=seed))[1])
    pd.testing.assert_frame_equal(one, other)


def test_statistics_that_are_named(tmp_path: Path) -> None:
    frame = visits()
    wanted = {"amount": ["first", "min", "max", "sum"], "ward": ["mode", "distinct", "count"]}
    found = people_of(dataset_of(tmp_path, frame, pool=wanted)[1])
    people = frame.sort_values("day").groupby("person")
    for statistic in ("first", "min", "max", "sum"):
        np.testing.assert_allclose(found[f"{statistic} of amount"], getattr(people["amount"], statistic)().sort_index())
    assert "mean of amount" not in found
    modes = people["ward"].agg(lambda wards: sorted(wards.mode())[0]).sort_index()
    assert (found["mode of ward"] == modes).all()
    assert (found["distinct ward"] == people["ward"].nunique().sort_index()).all()


def test_what_no_model_sees_makes_no_inputs(tmp_path: Path) -> None:
    n = len(frame := visits())
    person = frame["person"].str[1:].astype(int)
    frame = frame.assign(wealth=person + np.random.default_rng(4).normal(size=n), number=70_000 + np.arange(n), height=150 + person % 40)
    dataset = dataset_of(tmp_path, frame, exclude=["sex", "wealth"])[1]
    found = people_of(dataset)
    assert "mean of amount" in found
    # Excluded, a name of the row, and what a person has one value of: none is an input in another form.
    assert not {"mean of wealth", "mean of number", "mean of height"} & set(found.columns)
    assert "wealth" not in [feature.name for feature in dataset.features]


def test_a_second_table_is_summed_up(tmp_path: Path) -> None:
    frame = visits()
    rng = np.random.default_rng(1)
    orders = pd.DataFrame(
        {"who": rng.choice([f"p{one}" for one in range(350)], 3000), "price": rng.normal(5, 1, 3000), "item": rng.choice([*"xyz"], 3000)}
    )
    orders.to_csv(tmp_path / "orders.csv", index=False)
    join = [
        {"path": "orders.csv", "key": "person", "key_there": "who", "columns": {"price": ["sum", "mean"], "item": ["distinct", "count"]}}
    ]
    recipe, dataset = dataset_of(tmp_path, frame, join=join)
    found = people_of(dataset)
    sums = orders.groupby("who")["price"].sum().reindex(found.index)
    np.testing.assert_allclose(found["sum of price"], sums)
    counts = orders.groupby("who")["item"].count().reindex(found.index).fillna(0)
    assert (found["count of item"] == counts).all()
    assert any("joined table" in note.what for note in dataset.notes)  # ten people and more have no order there
    assert "mean of sum of price" not in found
    assert "joined table 1" in file_hashes(recipe, tmp_path)
    assert not dataset.histories.tables


def test_a_second_table_beside_rows_that_stand_alone(tmp_path: Path) -> None:
    frame = visits().drop_duplicates("person").drop(columns="day")
    prices = np.random.default_rng(2).normal(size=(len(frame), 2)).round(4)
    pd.DataFrame({"person": frame["person"].repeat(2), "price": prices.ravel()}).to_parquet(tmp_path / "orders.parquet")
    join = [{"path": "orders.parquet", "key": "person", "name": "shop", "columns": {"price": ["max"]}}]
    found = dataset_of(tmp_path, frame, join=join, order=None, group=None)[1]
    rows = pd.concat([found.train, found.audit])
    np.testing.assert_allclose(sorted(rows["max of shop.price"]), sorted(prices.max(axis=1)))
    assert "person" not in rows  # a key is no input


@pytest.mark.parametrize(
    ("change", "data", "words"),
    [
        (lambda frame: frame.assign(sex=np.where(np.arange(len(frame)) % 3, "f", "m")), {}, "changes within one 'person'"),
        (lambda frame: frame.assign(day=frame["day"].where(np.arange(len(frame)) > 3)), {}, "is empty in fewer than 20 rows"),
        (lambda frame: frame.assign(day="some day"), {}, "neither numbers nor dates"),
        (lambda frame: frame, {"order": "dy"}, "did you mean 'day'"),
        (lambda frame: frame, {"order": "sex"}, "cannot be the order as well"),
        (lambda frame: frame, {"pool": {"ward": ["mean"]}}, "it has no mean"),
        (lambda frame: frame, {"pool": {"wardd": ["mode"]}}, "did you mean 'ward'"),
        (lambda frame: frame, {"pool": {"ill": ["mean"]}}, "nothing but the last value"),
        (lambda frame: frame, {"pool": {"sex": ["mode"]}}, "nothing but the last value"),
        (lambda frame: frame, {"exclude": ["sex", "amount"], "pool": {"amount": ["max"]}}, "nothing but the last value"),
        (lambda frame: frame, {"pool": {"day": ["first"]}}, "nothing but the last value"),
        (
            lambda frame: frame,
            {"join": [{"path": "visits.csv", "key": "person", "columns": {"sex": ["mode"]}}]},
            "would hand the model 'sex'",
        ),
        (
            lambda frame: frame,
            {"join": [{"path": "visits.csv", "key": "person", "columns": {"ill": ["sum"]}}]},
            "would hand the model 'ill'",
        ),
        (lambda frame: frame, {"group": None}, "data.order needs data.group"),
        (lambda frame: frame, {"order": None, "pool": {"amount": ["sum"]}}, "'pool' says what is kept of rows in 'order'"),
        (lambda frame: frame.rename(columns={"amount": "mean of x"}).assign(x=lambda f: np.arange(len(f)) % 7), {}, "is there already"),
        (lambda frame: frame, {"join": [{"path": "none.csv", "key": "person", "columns": {"price": ["sum"]}}]}, "no such file"),
        (lambda frame: frame, {"join": [{"path": "visits.csv", "key": "persn", "columns": {"amount": ["sum"]}}]}, "did you mean 'person'"),
        (lambda frame: frame, {"join": [{"path": "visits.csv", "key": "person", "columns": {"ward": ["sum"]}}]}, "it has no sum"),
        (
            lambda frame: frame,
            {"join": [{"path": "visits.csv", "key": "person", "key_there": "ward", "columns": {"amount": ["sum"]}}]},
            "keys alike",
        ),
    ],
)
def test_what_cannot_be_pooled_is_one_line(tmp_path: Path, change: Any, data: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        dataset_of(tmp_path, change(visits()), **data)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_equal_moments_are_told(tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, visits().assign(day=1))[1]
    assert any("came first" in note.what for note in dataset.notes)


def test_a_release_of_rows_or_of_people(tmp_path: Path) -> None:
    frame, release = visits(), visits(300, 9)
    regimes = ["real", {"synthetic": {"name": "maker", "path": "release.csv"}}]
    release.to_csv(tmp_path / "release.csv", index=False)
    recipe, dataset = dataset_of(tmp_path, frame, regimes)
    rows = load_releases(recipe, dataset, tmp_path, [])["maker"]
    assert len(rows) == 300
    np.testing.assert_allclose(sorted(rows["mean of amount"]), sorted(release.groupby("person")["amount"].mean()))
    rows.to_csv(tmp_path / "release.csv", index=False)
    again = load_releases(recipe, dataset, tmp_path, [])["maker"]
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), again.reset_index(drop=True), check_dtype=False)
    rows.drop(columns="mean of amount").to_csv(tmp_path / "release.csv", index=False)
    with pytest.raises(InputError, match="one row for each person with this column"):
        load_releases(recipe, dataset, tmp_path, [])


def test_a_holdout_is_pooled_too(tmp_path: Path) -> None:
    held = visits(300, 8).assign(person=lambda frame: "h" + frame["person"])
    held.to_csv(tmp_path / "held.csv", index=False)
    dataset = dataset_of(tmp_path, visits(), holdout="held.csv")[1]
    assert dataset.audit["person"].is_unique
    assert dataset.audit["person"].str.startswith("h").all()


@pytest.mark.parametrize(("there", "words"), [("who", "'key_there'; the columns are who, price"), ("persons", "did you mean 'persons'")])
def test_a_key_that_the_second_table_calls_otherwise(tmp_path: Path, there: str, words: str) -> None:
    pd.DataFrame({there: ["p1"], "price": [1.0]}).to_csv(tmp_path / "orders.csv", index=False)
    with pytest.raises(InputError) as error:
        dataset_of(tmp_path, visits(), join=[{"path": "orders.csv", "key": "person", "columns": {"price": ["sum"]}}])
    assert words in str(error.value)
    assert "\n" not in str(error.value)
