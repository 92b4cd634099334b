"""Messages about a holdout or release name the table, the cause and a line that works when pasted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from proxyaudit.data.dataset import load_dataset
from proxyaudit.data.faults import Faults, pasted
from proxyaudit.errors import InputError
from proxyaudit.pipeline.plan import prepare
from proxyaudit.recipe.recipe import Recipe, parse_recipe


def recipe(data: dict[str, Any], regimes: list[Any] | None = None) -> Recipe:
    data = {"path": "real.csv", "target": "y", "protected": ["sex"], "discover": 0} | data
    return parse_recipe({"name": "t", "data": data, "regimes": regimes or ["real"], "model": {"kind": "mlp"}})


def table(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"sex": rng.choice(["f", "m"], n), "x": rng.normal(size=n).round(6), "y": rng.choice(["no", "yes"], n)})


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("nein", "ja"), "shares no class with the real table (it writes 'ja', 'nein'; the real table 'no', 'yes')"),
        (("no", "ja"), "holds classes that no real row has (it writes 'ja', 'no'; the real table 'no', 'yes')"),
        ((1, 2), "holds classes that no real row has (it writes '2', 'yes'; the real table 'no', 'yes')"),
    ],
)
def test_classes_of_a_holdout_that_are_spelt_otherwise(tmp_path: Path, words: tuple[Any, Any], what: str) -> None:
    table(600, 1).to_csv(tmp_path / "real.csv", index=False)
    table(400, 2).assign(y=lambda f: f["y"].map(dict(zip(("no", "yes"), words, strict=True)))).to_csv(tmp_path / "hold.csv", index=False)
    with pytest.raises(InputError) as error:
        load_dataset(recipe({"holdout": "hold.csv"}), tmp_path)
    assert error.value.what == f"data.holdout: target 'y' {what}"
    assert error.value.where.endswith("hold.csv")
    assert error.value.mend.startswith("spell its classes as the real table does")


def test_names_in_a_line_to_paste_are_read_as_these_names() -> None:
    names = [
        "sex",
        "no",
        "null",
        "1",
        "1e5",
        "note, free: yes",
        "a]b",
        "# x",
        "- y",
        "~",
        "2026-01-31",
        "Größe",
        'q"r',
        "true",
        "first name",
        " z",
    ]
    faults = Faults("data", "real.csv")
    for name in names[1:]:
        with faults.gathering(name):
            raise InputError(f"column '{name}' is odd")
    with pytest.raises(InputError) as error:
        faults.settle(["sex"])
    assert yaml.safe_load(error.value.mend.split("out: ")[1]) == {"data": {"exclude": names}}
    assert pasted(["sex", "zip code"]) == "[sex, zip code]"


@pytest.mark.parametrize("where", ["holdout", "release"])
def test_a_table_with_one_row_for_each_person_has_the_mean_of_it(tmp_path: Path, where: str) -> None:
    rng = np.random.default_rng(3)
    person = table(500, 1).assign(pid=[f"p{k}" for k in range(500)]).drop(columns="x")
    visits = pd.concat([person.assign(day=day, income=rng.normal(30, 5, 500).round(3)) for day in range(3)], ignore_index=True)
    visits.to_csv(tmp_path / "real.csv", index=False)
    once = table(400, 2).assign(pid=[f"h{k}" for k in range(400)], day=1, income=rng.normal(30, 5, 400).round(3)).drop(columns="x")
    once.to_csv(tmp_path / "other.csv", index=False)
    data = {"group": "pid", "order": "day"}
    if where == "release":
        prepare(recipe(data, [{"synthetic": {"name": "v", "path": "other.csv"}}]), tmp_path)
        return
    found = load_dataset(recipe(data | {"holdout": "other.csv"}), tmp_path)
    np.testing.assert_array_equal(found.audit["mean of income"], found.audit["income"])
