"""Columns that a plan names before anything runs: whose rows they are, the answer itself, numbers that stand for nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from proxyaudit.data.columns import ColumnKind
from proxyaudit.data.dataset import load_dataset
from proxyaudit.data.odd_columns import input_notes, people_notes, stand_in
from proxyaudit.recipe.recipe import load_recipe

RNG = np.random.default_rng(0)
PEOPLE = np.repeat(np.arange(200), 3)


def owned(names: np.ndarray, *, turned: int = 0) -> pd.DataFrame:
    """Rows of 200 people, three each, whose sex is theirs but for some of them."""
    sex = np.array(["f", "m"])[RNG.integers(0, 2, 200)][PEOPLE]
    sex[: 3 * turned : 3] = np.where(sex[: 3 * turned : 3] == "f", "m", "f")
    return pd.DataFrame({"id": names, "town": RNG.integers(0, 12, len(PEOPLE)).astype(str), "sex": sex})


@pytest.mark.parametrize(
    "names", [PEOPLE, np.array([f"u{i:05d}" for i in PEOPLE]), PEOPLE * 0.5 + 0.25], ids=["numbers", "words", "fractions"]
)
def test_a_column_that_fixes_the_attribute_may_say_whose_rows_they_are(names: np.ndarray) -> None:
    (note,) = people_notes(owned(names), ["sex"])
    assert "data.group: id" in note.why
    assert "town" not in note.what


def test_people_whose_sex_differs_between_rows_are_no_people() -> None:
    assert people_notes(owned(PEOPLE, turned=1), ["sex"]) == []


def test_rows_that_all_stand_alone_fix_nothing() -> None:
    table = owned(np.arange(len(PEOPLE)))
    assert people_notes(table, ["sex"]) == []


def test_an_attribute_that_hardly_varies_is_fixed_by_chance() -> None:
    table = owned(PEOPLE).assign(sex="f")
    assert people_notes(table, ["sex"]) == []


def told(column: pd.Series, kind: str, target: np.ndarray) -> list[str]:
    kinds = {"x": ColumnKind("x", kind)}  # type: ignore[arg-type]
    return [note.what for note in input_notes(pd.DataFrame({"x": column}), kinds, ["x"], target)]


def test_a_column_that_determines_the_target_is_named() -> None:
    target = RNG.integers(0, 2, 500)
    asked = ["whether column x is the answer itself"]
    assert told(pd.Series(np.array(["refused", "granted"])[target]), "categorical", target) == asked
    assert told(pd.Series(np.array(["a", "b", "c", "d"])[2 * target + RNG.integers(0, 2, 500)]), "categorical", target) == asked
    assert told(pd.Series(target + RNG.uniform(0, 0.9, 500)), "numeric", target) == asked
    assert told(pd.Series(target + RNG.normal(0, 0.5, 500)), "numeric", target) == []
    nearly = target.copy()
    nearly[0] = 1 - nearly[0]
    assert told(pd.Series(nearly.astype(str)), "categorical", target) == []


@pytest.mark.parametrize(("mark", "word"), [(999999.0, "999999"), (-1.0, "-1"), (-99.0, "-99"), (999.0, "999")])
def test_a_number_that_stands_for_nothing_is_named(mark: float, word: str) -> None:
    values = np.where(RNG.random(2000) < 0.05, mark, RNG.integers(0, 90, 2000).astype(float))
    assert stand_in(pd.Series(values)) == word
    assert told(pd.Series(values), "numeric", RNG.integers(0, 2, 2000)) == [f"whether {word} in column x stands for a missing value"]


@pytest.mark.parametrize("mark", [99.0, 1000.0, 1.5, 9.0], ids=["next to others", "a round number", "a fraction", "one digit"])
def test_ordinary_largest_values_are_left_alone(mark: float) -> None:
    values = np.where(RNG.random(2000) < 0.05, mark, RNG.integers(0, int(min(mark, 90)) + 1, 2000).astype(float))
    assert stand_in(pd.Series(values)) is None


def test_a_few_rows_are_not_told() -> None:
    values = np.r_[np.full(10, 999999.0), RNG.integers(0, 90, 500)]
    assert stand_in(pd.Series(values)) is None


def test_the_plan_names_them(tmp_path: Path) -> None:
    table = owned(PEOPLE).assign(
        pay=RNG.normal(0, 1, 600), seen=np.where(RNG.random(600) < 0.1, 99999, RNG.integers(0, 50, 600)), good=RNG.integers(0, 2, 600)
    )
    table["file"] = np.array(["r", "g"])[table["good"]]
    table.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "r.yaml").write_text(
        "name: t\ndata: {path: t.csv, target: good, protected: [sex], exclude: [sex, id]}\nregimes: [real]\nmodel: {kind: mlp}\n",
        encoding="utf-8",
    )
    notes = [f"{note.what}: {note.why}" for note in load_dataset(load_recipe(tmp_path / "r.yaml"), tmp_path).notes]
    for words in ("data.group: id", "column file is the answer itself", "99999 in column seen"):
        assert sum(words in note for note in notes) == 1
