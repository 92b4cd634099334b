"""Every fault of a table is in one message, with the line of the recipe that mends each."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_tables import load, people, recipe_of, write

from proxyaudit.data.dataset import load_dataset
from proxyaudit.data.releases import load_releases
from proxyaudit.errors import InputError


def nine_faults(n: int = 600) -> pd.DataFrame:
    """Forty columns, nine of which cannot be used as they are."""
    frame = people(n).assign(**{f"c{k}": np.random.default_rng(k).normal(size=n).round(5) for k in range(26)})
    frame["endless"] = np.where(np.arange(n) < 3, np.inf, 1.5)
    frame["remark"] = [f"words on row {k}" for k in range(n)]
    frame["debt"] = [f"$ {k},000" for k in range(n)]
    frame["price"] = [f"{1 + k % 9},{k % 500:03d}" for k in range(n)]
    frame["seen"] = [f"{1 + k % 28}.{1 + k % 12}.20{k % 25:02d}" for k in range(n)]
    frame["person"] = [2**60 + k // 2 for k in range(n)]
    frame["age"] = [f"{k % 80}" if k % 7 else "not told" for k in range(n)]
    frame["race"] = "one"
    frame["huge"] = np.arange(n) * 1e300
    return frame


def test_nine_faults_of_forty_columns_are_one_message(tmp_path: Path) -> None:
    frame = nine_faults()
    assert frame.shape[1] == 40
    with pytest.raises(InputError) as caught:
        load(tmp_path, frame, {"protected": ["sex", "race"]})
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith("data: 9 faults:")
    for number, (name, found, mend) in enumerate(
        [
            ("endless", "3 infinite", "leave them empty"),
            ("remark", "free text", "data.exclude"),
            ("debt", "mixes numbers", "plain numbers"),
            ("price", "is 1,234 a thousand", 'format: {thousands: ","}'),
            ("seen", "dates that are not written as", "YYYY-MM-DD"),
            ("person", "identifier", "data.group"),
            ("age", "'not told' (86 rows)", '"#N/A", "not told"]}'),
            ("race", "one value only", "at least two groups"),
            ("huge", "beyond 2**53", "rescale"),
        ],
        1,
    ):
        part = line.partition(f"({number}) ")[2].partition(f"({number + 1}) ")[0]
        for words in (f"'{name}'", found, mend):
            assert words in part
    assert "data: {exclude: [sex, race, endless, remark, debt, price, seen, person, age, huge]}" in line
    assert "words on" not in line  # no value of a row
    left = dict.fromkeys(("endless", "remark", "debt", "price", "seen", "person", "age", "huge"))
    assert load(tmp_path, frame.assign(race=frame["job"]), {"protected": ["sex", "race"], "exclude": ["sex", "race", *left]})


def test_faults_of_names_and_roles_are_in_the_same_message(tmp_path: Path) -> None:
    frame = nine_faults()[["x", "sex", "y", "endless", "debt"]]
    text = frame.to_csv(index=False).replace("x,sex,y", "x,x,y").replace("endless", "")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        load_dataset(recipe_of("t.csv", {"proxies": ["z"], "legitimate": ["deb"]}), tmp_path)
    for words in (
        "column 4 has no name",
        "two columns are named 'x'",
        "'sex' (protected)",
        "'z' (proxy)",
        "'deb' (legitimate)",
        "'debt' mix",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize("table", ["holdout", "release"])
def test_every_fault_of_a_holdout_or_release_is_in_one_message(tmp_path: Path, table: str) -> None:
    rng = np.random.default_rng(0)
    real = people().assign(day="2020-01-02", age=rng.integers(18, 80, 600), z=rng.normal(size=600), w=rng.normal(size=600))
    real.loc[:99, "day"] = "2021-05-05"
    other = real.sample(400, random_state=1).drop(columns="w")
    other = other.assign(day="5. May", age="old", z=np.inf, job="job " + other["job"], help=None)
    write(other, tmp_path / "o.csv")
    regimes = ["real", *([{"synthetic": {"name": "v", "path": "o.csv"}}] if table == "release" else [])]
    recipe = recipe_of(write(real, tmp_path / "t.csv"), {"holdout": "o.csv"} if table == "holdout" else None, regimes)
    with pytest.raises(InputError) as caught:
        load_releases(recipe, load_dataset(recipe, tmp_path), tmp_path, [])
    line = str(caught.value)
    assert "6 faults" in line
    for name in ("w", "day", "age", "z", "job", "help"):
        assert f"'{name}'" in line
    assert "o.csv" in line
    assert line.count(os.fspath(tmp_path)) == 1


def test_nested_columns_are_among_the_faults(tmp_path: Path) -> None:
    frame = people().assign(who=np.arange(600), z=[[1, 2]] * 600, e=np.inf)
    with pytest.raises(InputError, match=r"2 faults.*'z' holds nested values.*'e' holds 600 infinite"):
        load(tmp_path, frame, name="t.parquet")
