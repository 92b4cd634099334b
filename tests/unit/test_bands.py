"""Numbers in bands: what a band is called, that missing values stay missing, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.data.attributes import code_as
from proxyaudit.data.columns import OTHER, Bands, ColumnKind, coerce
from proxyaudit.data.dataset import Dataset, conform, load_dataset
from proxyaudit.data.releases import load_releases
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import Recipe, load_recipe, parse_recipe

EDGES = [9, 30, 60]


def table(n: int = 800, **more: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age = rng.integers(1, 80, n).astype(float)
    age[::40] = np.nan
    return pd.DataFrame({"age": age, "x": rng.normal(size=n).round(6), "y": rng.choice(["no", "yes"], n)} | more)


def recipe_for(folder: Path, frame: pd.DataFrame, regimes: list[Any] | None = None, **data: Any) -> Recipe:
    frame.to_csv(folder / "t.csv", index=False)
    spec = {"path": "t.csv", "target": "y", "protected": ["age"], "bands": {"age": EDGES}} | data
    return parse_recipe({"name": "t", "data": spec, "regimes": regimes or ["real"], "model": {"kind": "mlp"}})


def load(folder: Path, frame: pd.DataFrame, **data: Any) -> Dataset:
    return load_dataset(recipe_for(folder, frame, **data), folder)


@pytest.mark.parametrize(
    ("edges", "whole", "levels"),
    [
        ((30.0,), True, ("under 30", "30 and over")),
        ((30.0, 40.0), True, ("under 30", "30 to 39", "40 and over")),
        ((30.0, 40.0), False, ("under 30", "30 to under 40", "40 and over")),
        ((1.0, 2.0, 2.5), True, ("under 1", "1 to under 2", "2 to under 2.5", "2.5 and over")),
        ((1.0, 2.0, 4.0), True, ("under 1", "1", "2 to 3", "4 and over")),
        ((-10.0, 0.0, 1e6), True, ("under -10", "-10 to -1", "0 to 999999", "1000000 and over")),
    ],
)
def test_names_of_bands(edges: tuple[float, ...], whole: bool, levels: tuple[str, ...]) -> None:
    assert Bands.of(edges, whole=whole).levels == levels


def test_a_number_belongs_to_the_band_that_begins_with_it() -> None:
    kind = ColumnKind("age", "categorical", bands=Bands.of((30.0, 40.0), whole=True))
    for column in (pd.Series([29, 30, 39.5, 40, None]), pd.Series(["29", " 30", "39.5", "40 and over", ""])):
        assert coerce(column, kind, where="t").fillna("none").tolist() == ["under 30", "30 to 39", "30 to 39", "40 and over", "none"]
    with pytest.raises(InputError, match="should hold numbers"):
        coerce(pd.Series(["29", "young"]), kind, where="t")


def test_a_protected_number_becomes_groups_in_their_order(tmp_path: Path) -> None:
    frame = table()
    data = load(tmp_path, frame)
    (age,) = data.attributes
    assert (age.kind, age.levels) == ("multiclass", ("under 9", "9 to 29", "30 to 59", "60 and over"))
    assert [f.name for f in data.features] == ["x"]
    by_x = frame.set_index("x")["age"]
    truth = by_x[data.audit["x"]].to_numpy()
    expected = np.where(np.isnan(truth), -1, np.digitize(truth, EDGES))
    assert np.array_equal(age.codes, expected)
    assert (age.codes == -1).any()
    assert any(note.what == "age: rows where it is missing" for note in data.notes)
    assert set(data.train["age"].dropna()) == set(age.levels)


def test_small_bands_are_rare_levels(tmp_path: Path) -> None:
    frame = table()
    few = load(tmp_path, frame, bands={"age": [3, 30, 79]})
    assert few.attributes[0].levels == ("3 to 29", "30 to 78")
    assert any(note.what == "age: rare levels" for note in few.notes)
    pooled = load(tmp_path, frame, bands={"age": [4, 30, 76]})
    assert pooled.attributes[0].levels == ("4 to 29", "30 to 75", OTHER)


def test_other_tables_come_as_numbers_or_in_bands(tmp_path: Path) -> None:
    frame = table()
    regimes = ["real", {"synthetic": {"name": "vendor", "path": "r.csv"}}, {"synthetic": {"name": "banded", "path": "b.csv"}}]
    release = table()
    release.to_csv(tmp_path / "r.csv", index=False)
    data = load(tmp_path, frame)
    kind = next(kind for kind in data.kinds if kind.name == "age")
    release.assign(age=coerce(release["age"], kind, where="r")).to_csv(tmp_path / "b.csv", index=False)
    rows = load_releases(recipe_for(tmp_path, frame, regimes), data, tmp_path, [])
    pd.testing.assert_frame_equal(rows["vendor"], rows["banded"])
    synthetic = conform(data, rows["vendor"], ("age", "x", "y"), where="s", days=True)
    assert np.array_equal(code_as(data.attributes[0], synthetic["age"], where="s") == -1, release["age"].isna())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"bands": {"age": [30, 30]}}, "rising numbers"),
        ({"bands": {"age": []}}, "at least 1 item"),
        ({"bands": {"age": ["30"]}}, "valid number"),
        ({"bands": {"age": [float("inf")]}}, "finite"),
        ({"bands": {"aeg": [30]}}, "did you mean 'age'"),
        ({"bands": {"x": [0]}}, "no protected column"),
        ({"exclude": []}, "the model reads 'age'"),
        ({"protected": ["y2"], "bands": {"y2": [1]}}, "holds no plain numbers"),
        ({"bands": {"age": [200]}}, "one value only"),
    ],
)
def test_wrong_bands_are_refused_in_one_line(tmp_path: Path, data: dict[str, Any], message: str) -> None:
    frame = table(y2=np.random.default_rng(1).choice(["a", "b"], 800))
    with pytest.raises(InputError, match=message):
        load(tmp_path, frame, **data)


def test_bands_can_be_overridden_from_the_command_line(tmp_path: Path) -> None:
    recipe_for(tmp_path, table())
    (tmp_path / "r.yaml").write_text("{name: t, data: {path: t.csv, target: y, protected: [age]}, regimes: [real], model: {kind: mlp}}")
    recipe = load_recipe(tmp_path / "r.yaml", ("data.bands={age: [30]}",))
    assert recipe.data.bands == {"age": (30.0,)}
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
