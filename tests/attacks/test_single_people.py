"""What plans and messages tell of one person: names of levels, digests of tables, digits of a number, exact counts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_tables import load, people, recipe_of

from proxyaudit.data.dataset import Dataset, file_hashes
from proxyaudit.data.numbers import Number
from proxyaudit.errors import InputError
from proxyaudit.regimes import few_steps

CANARY = "canarytown"


def of_one_person(rows: int = 60, **values: Any) -> pd.DataFrame:
    """Rows of 300 people, two of each, and many of one more, who alone has these values."""
    frame = people().assign(person=[f"p{row // 2}" for row in range(600)], town="x", y2=["no", "yes"] * 300)
    one = frame.iloc[[0] * rows].assign(person="q", x=np.arange(rows) / 7, **values)
    return pd.concat([frame, one], ignore_index=True)


def published(dataset: Dataset) -> str:
    columns = getattr(dataset.encoder, "columns", ())
    return json.dumps([columns, dataset.classes, [note.model_dump() for note in dataset.notes]])


def trained_on(frame: pd.DataFrame, folder: Path, **data: Any) -> Dataset:
    """The data set with that person among the training rows: audited are others."""
    frame[frame["person"] != "q"].assign(person=lambda rows: "h" + rows["person"], x=lambda rows: rows["x"] + 9).to_csv(
        folder / "h.csv", index=False
    )
    return load(folder, frame, {"group": "person", "holdout": "h.csv", **data})


@pytest.mark.parametrize(
    "values",
    [{"town": CANARY}, {"town": CANARY.upper(), "job": f" {CANARY}"}, {"town": f"{CANARY}=x", "help": CANARY}],
    ids=["a level", "two levels", "a level like a column"],
)
def test_a_level_that_one_person_has_in_many_rows_is_not_named(tmp_path: Path, values: dict[str, Any]) -> None:
    told = published(trained_on(of_one_person(**values), tmp_path))
    assert CANARY not in told.casefold()
    alone = of_one_person(**values)  # eleven people and more may be named: the same rows, each somebody's own
    alone["person"] = [f"p{row}" for row in range(len(alone))]
    assert CANARY in published(trained_on(alone, tmp_path)).casefold()


@pytest.mark.parametrize("spelt", ["CLERK", "Clerk", "cLERK"])
def test_how_one_person_spells_is_not_shown(tmp_path: Path, spelt: str) -> None:
    told = published(trained_on(of_one_person(job=spelt), tmp_path))
    assert f"'{spelt}'" not in told
    assert "spellings of column job" in told


@pytest.mark.parametrize("rows", [60, 90, 120])
def test_a_combination_of_labels_that_one_person_has_is_not_named(tmp_path: Path, rows: int) -> None:
    frame = of_one_person(rows)
    several = frame["y"].eq("yes")
    frame = frame.assign(up=several, down=~several)
    frame.loc[frame["person"] == "q", ["up", "down"]] = True
    found = trained_on(frame.assign(up=frame["up"].astype(int), down=frame["down"].astype(int)), tmp_path, target=["up", "down"])
    assert "up, down" not in found.classes
    assert {"up", "down"} <= set(found.classes)


def test_whether_one_person_lacks_a_number_is_no_column(tmp_path: Path) -> None:
    frame = of_one_person()
    frame["age"] = np.arange(len(frame)) % 50.0
    frame.loc[frame["person"] == "q", "age"] = np.nan
    assert "age=(missing)" not in published(trained_on(frame, tmp_path))


def test_digests_of_peoples_tables_are_keyed_wherever_they_are_named(tmp_path: Path) -> None:
    frame = people().assign(person=[f"p{row}" for row in range(600)])
    frame[["person", "x"]].assign(sum=1.5).to_csv(tmp_path / "orders.csv", index=False)
    frame.to_csv(tmp_path / "t.csv", index=False)
    digest = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("t.csv", "orders.csv")}
    columns = "".join(f"  {name}: what it is\n" for name in frame.columns)
    about = f"name: own\ntitle: t\nsource: s\nlicence: l\nattribution: a\npath: t.csv\nsha256: {digest['t.csv']}\n"
    card = f"{about}columns:\n{columns}target: y\nprotected: [sex]\n"
    (tmp_path / "own.yaml").write_text(card)
    join = [{"path": "orders.csv", "key": "person", "columns": {"sum": ["sum"]}}]
    recipe = recipe_of("t.csv", {"join": join, "card": "own.yaml", "path": None, "target": None, "protected": None})
    hashes = file_hashes(recipe, tmp_path)
    assert {"data", "joined table 1", "card"} <= set(hashes)  # the card holds the digest of the table
    assert all(value.startswith("keyed:") for value in hashes.values())


def test_digests_that_anybody_has_stay_as_they_are(tmp_path: Path) -> None:
    people().to_csv(tmp_path / "r.csv", index=False)
    recipe = recipe_of(
        "", {"card": "adult", "path": None, "target": None, "protected": None}, [{"synthetic": {"name": "v", "path": "r.csv"}}]
    )
    hashes = file_hashes(recipe, tmp_path)
    assert set(hashes) == {"card", "data", "release v"}
    assert not any(value.startswith("keyed:") for value in hashes.values())


def scale_with(extremes: list[float], *, one: bool = False, rows: int = 400) -> tuple[float, float]:
    values = np.concatenate([np.random.default_rng(0).lognormal(3, 0.4, rows), extremes])
    whose = pd.Series([f"p{row}" for row in range(rows)] + (["q"] * len(extremes) if one else [f"q{at}" for at in range(len(extremes))]))
    found = Number.of(pd.Series(values, name="pay"), pd.Series(values[:0]), (whose, None), where="t")
    return found.mean, found.sd


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [([5.1e6], [5.9e6], False), ([5.1e6, 5.3e6], [5.6e6, 5.9e6], False), ([5.1e6] * 40, [5.3e6] * 40, True)],
    ids=["one", "two", "one person's rows"],
)
def test_mean_and_deviation_of_a_target_do_not_tell_an_extreme_one(first: list[float], second: list[float], *, one: bool) -> None:
    values = [np.concatenate([np.random.default_rng(0).lognormal(3, 0.4, 400), extremes]) for extremes in (first, second)]
    assert float(f"{values[0].std():.3g}") != float(f"{values[1].std():.3g}")  # with three digits they differ
    assert scale_with(first, one=one) == scale_with(second, one=one)


def test_a_deviation_that_many_carry_keeps_its_digits_and_none_becomes_larger() -> None:
    values = np.random.default_rng(0).lognormal(3, 0.4, 400)
    assert scale_with([])[1] == float(f"{values.std():.3g}")
    for size in (1e3, 1e4, 1e7):
        assert scale_with([size])[1] <= np.append(values, size).std() * 1.001


@pytest.mark.parametrize(("size", "other"), [(60, 61), (70, 79), (61, 79)])
def test_steps_of_training_do_not_count_rows(size: int, other: int) -> None:
    recipe = recipe_of("t.csv", model={"kind": "mlp", "batch_size": 2, "epochs": 1})
    assert few_steps(recipe, size) == few_steps(recipe, other) != []


@pytest.mark.parametrize("lacking", [1, 3, 10])
def test_a_message_counts_no_few_rows(tmp_path: Path, lacking: int) -> None:
    frame = people()[["x", "sex", "y"]]
    frame.loc[: lacking - 1, "x"] = np.nan
    with pytest.raises(InputError, match="missing or too large values in fewer than 20 rows"):
        load(tmp_path, pd.concat([frame, frame.iloc[lacking:]]), {"encode": "none", "holdout": None})
