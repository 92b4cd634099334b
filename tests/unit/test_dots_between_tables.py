"""A column that one table writes 12.345 and another 12345 is not read as two sizes: it is refused, with the line that mends it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from proxyaudit.data.dataset import load_dataset
from proxyaudit.errors import InputError
from proxyaudit.pipeline.plan import prepare
from proxyaudit.recipe.recipe import parse_recipe

BASE = {"target": "y", "protected": ["sex"], "discover": 0}


def table(n: int, seed: int, *, fractions: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"sex": rng.choice(["f", "m"], n), "income": rng.integers(10000, 90000, n), "age": rng.integers(18, 80, n)})
    frame = frame.assign(z=rng.normal(size=n).round(2)) if fractions else frame
    return frame.assign(y=rng.choice(["no", "yes"], n))


def dots(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(income=[f"{value:,}".replace(",", ".") for value in frame["income"]])


def refused(folder: Path, data: dict[str, object], regimes: list[object] | None = None) -> InputError:
    recipe = parse_recipe({"name": "t", "data": BASE | data, "regimes": regimes or ["real"], "model": {"kind": "mlp"}})
    with pytest.raises(InputError) as error:
        prepare(recipe, folder)
    return error.value


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_dots_of_a_holdout_are_refused_and_the_line_mends_them(tmp_path: Path, kind: str) -> None:
    real, hold = table(600, 1), dots(table(400, 2))
    real.to_csv(tmp_path / "real.csv", index=False)
    hold.to_csv(tmp_path / "hold.csv", index=False)
    hold.to_parquet(tmp_path / "hold.parquet")
    error = refused(tmp_path, {"path": "real.csv", "holdout": f"hold.{kind}"})
    assert "data.holdout: column 'income' is written with a dot before the last three digits" in error.what
    assert "the column of the real table holds whole numbers a thousand times as large" in error.what
    assert ("or say so: " in error.mend) == (kind == "csv")  # parquet has no format
    if kind == "csv":
        line = yaml.safe_load(error.mend.split("or say so: ")[1])["data"]
        data = BASE | {"path": "real.csv", "holdout": "hold.csv"} | line
        found = load_dataset(parse_recipe({"name": "t", "data": data, "regimes": ["real"], "model": {"kind": "mlp"}}), tmp_path)
        assert found.audit["income"].min() >= 10000
        assert found.unseen == ()


def test_no_line_is_given_that_would_misread_another_column(tmp_path: Path) -> None:
    table(600, 1, fractions=True).to_csv(tmp_path / "real.csv", index=False)
    dots(table(400, 2, fractions=True)).to_csv(tmp_path / "hold.csv", index=False)
    error = refused(tmp_path, {"path": "real.csv", "holdout": "hold.csv"})
    assert error.mend == "write it without dots (12345) in data.holdout"


def test_dots_of_the_real_table_or_a_release_are_refused_alike(tmp_path: Path) -> None:
    dots(table(600, 1)).to_csv(tmp_path / "dotted.csv", index=False)
    table(400, 2).to_csv(tmp_path / "plain.csv", index=False)
    error = refused(tmp_path, {"path": "dotted.csv", "holdout": "plain.csv"})
    assert error.what.startswith("the real table: column 'income'")
    for path, other, whose in (("plain", "dotted", "release v"), ("dotted", "plain", "the real table")):
        regimes: list[object] = [{"synthetic": {"name": "v", "path": f"{other}.csv"}}]
        error = refused(tmp_path, {"path": f"{path}.csv"}, regimes)
        assert error.what.startswith(f"{whose}: column 'income'")
        assert f"{'synthetic' if whose == 'release v' else 'data'}: {{format: " in error.mend


def test_tables_written_alike_and_other_decimals_are_read_as_before(tmp_path: Path) -> None:
    for number, (change, other) in enumerate(
        [
            (dots, dots),
            (lambda f: f.assign(income=f["income"] / 1000), dots),
            (lambda f: f, lambda f: f.assign(age=[f"{age}.000" for age in f["age"]])),
        ]
    ):
        change(table(600, 1)).to_csv(tmp_path / "real.csv", index=False)
        other(table(400, 2)).to_csv(tmp_path / "hold.csv", index=False)
        data = BASE | {"path": "real.csv", "holdout": "hold.csv"}
        found = load_dataset(parse_recipe({"name": f"t{number}", "data": data, "regimes": ["real"], "model": {"kind": "mlp"}}), tmp_path)
        assert found.unseen == ()
