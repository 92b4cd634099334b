"""Words that stand among numbers: the refusal names them with their rows, and its line of the recipe works when it is pasted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from small_tables import load, people, recipe_of, write

from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.releases import load_releases
from proxyaudit.errors import InputError
from proxyaudit.recipe.tables import MISSING_WORDS, missing_line

LINE = re.compile(r"values: \{missing: \[.*?\]\}")


def commas(frame: pd.DataFrame, words: dict[str, int]) -> pd.DataFrame:
    """People with a wage of decimal commas, the first of which are words."""
    told = [word for word, rows in words.items() for _ in range(rows)]
    wage = [f"{1000 + 7 * k},{k % 100:02d}" for k in range(len(frame))]
    return frame.assign(wage=[*told, *wage[len(told) :]])


def write_german(frame: pd.DataFrame, path: Path) -> str:
    frame.to_csv(path, sep=";", index=False)
    return path.name


def german(folder: Path, frame: pd.DataFrame, asked: dict[str, Any] | None = None, **more: Any) -> Dataset:
    return load_dataset(recipe_of(write_german(frame, folder / "t.csv"), asked, **more), folder)


def refusal(folder: Path, frame: pd.DataFrame, asked: dict[str, Any] | None = None, **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        german(folder, frame, asked, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def pasted(line: str) -> dict[str, Any]:
    found = set(LINE.findall(line))
    assert len(found) == 1, line
    return dict(yaml.safe_load(found.pop()))


def rows_missing(data: Dataset, column: str) -> int:
    return int(pd.concat([data.train, data.audit])[column].isna().sum())


@pytest.mark.parametrize("words", [{"k.A.": 30}, {"?": 1}, {'"so": [x]': 12, "weiß  nicht": 11, "-": 40, "n.b.": 5, "#": 2}])
def test_words_among_decimal_commas_are_named_and_the_line_mends_them(tmp_path: Path, words: dict[str, int]) -> None:
    line = refusal(tmp_path, commas(people(), words))
    often = sorted(words, key=lambda word: -words[word])
    for word in often[:3]:
        assert f"'{' '.join(word.split())}' ({words[word]} row" in line
    assert ("and 2 more" in line) == (len(words) == 5)
    assert "commas" not in line
    assert "list the column in data.exclude" in line
    data = german(tmp_path, commas(people(), words), **pasted(line))
    assert {feature.name: feature.kind for feature in data.features}["wage"] == "numeric"
    assert rows_missing(data, "wage") == sum(words.values())


def test_one_line_names_the_words_of_all_columns_and_keeps_the_usual_ones(tmp_path: Path) -> None:
    frame = commas(people(), {"k.A.": 30, "NA": 9})
    frame["debt"] = ["offen"] * 20 + [f"{k % 290}" for k in range(580)]
    frame["job"] = ["NA"] * 50 + list(frame["job"][50:])
    said = pasted(refusal(tmp_path, frame))
    assert said["values"]["missing"] == [*MISSING_WORDS[1:], "k.A.", "offen"]
    data = german(tmp_path, frame, **said)
    assert [rows_missing(data, name) for name in ("wage", "debt", "job")] == [39, 20, 50]


def test_a_word_of_few_rows_may_be_a_name_and_is_told_by_its_row(tmp_path: Path) -> None:
    frame = commas(people(), {"k.A.": 30, "Ada Smith": 2, "Bo": 1})
    line = refusal(tmp_path, frame)
    assert "'k.A.' (30 rows), others in 3 rows, first in row 31" in line
    assert "with the others added: values: {missing: [" in line
    frame = commas(people(), {"Ada Smith": 1})
    alone = refusal(tmp_path, frame)
    assert "some in 1 row, first in row 1" in alone
    assert "Smith" not in line + alone
    assert "Bo" not in line


def test_a_list_of_ones_own_does_not_turn_na_among_decimal_commas_into_a_word(tmp_path: Path) -> None:
    own = {"values": {"missing": ["k.A."]}}
    data = german(tmp_path, commas(people(), {"k.A.": 30, "NA": 9}), **own)
    assert rows_missing(data, "wage") == 39
    assert pasted(refusal(tmp_path, commas(people(), {"k.A.": 30, "offen": 19}), **own))["values"]["missing"] == ["k.A.", "offen"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"target": "wage", "task": "regression"}, "target 'wage' should hold numbers"),
        ({"target": "wage", "target_threshold": "median"}, "target 'wage' should hold numbers"),
        ({"target": "wage"}, "target 'wage' should hold numbers"),
        ({"protected": ["sex", "wage"], "bands": {"wage": [2000, 3000]}}, "column 'wage' should hold numbers"),
    ],
)
def test_targets_and_bands_name_them_too(tmp_path: Path, asked: dict[str, Any], words: str) -> None:
    line = refusal(tmp_path, commas(people(), {"k.A.": 30}), asked)
    assert words in line
    assert "'k.A.' (30 rows)" in line
    assert pasted(line)["values"]["missing"][-1] == "k.A."


def test_joined_tables_and_releases_name_them_too(tmp_path: Path) -> None:
    write_german(pd.DataFrame({"key": range(600), "price": ["offen"] * 20 + [f"{k},25" for k in range(580)]}), tmp_path / "j.csv")
    joined = {"join": [{"path": "j.csv", "key": "key", "columns": {"price": ["sum"]}}]}
    assert "'offen' (20 rows)" in refusal(tmp_path, people().assign(key=range(600)), joined)
    write_german(commas(people(400, 2), {"k.A.": 25}), tmp_path / "v.csv")
    regimes = ["real", {"synthetic": {"name": "v", "path": "v.csv"}}]
    frame = commas(people(), {"offen": 30})
    own = {"values": {"missing": ["offen"]}}
    recipe = recipe_of(write_german(frame, tmp_path / "t.csv"), None, regimes, **own)
    with pytest.raises(InputError) as caught:
        load_releases(recipe, load_dataset(recipe, tmp_path), tmp_path, [])
    line = str(caught.value)
    assert "v.csv" in line
    assert "row 1" in line
    assert "'k.A.' (25 rows)" in line
    assert pasted(line)["values"]["missing"] == ["offen", "k.A."]
    recipe = recipe_of("t.csv", None, regimes, **pasted(line))
    assert load_releases(recipe, load_dataset(recipe, tmp_path), tmp_path, [])["v"]["wage"].isna().sum() == 25


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_level_that_stands_among_numbers_elsewhere_is_noted(tmp_path: Path, name: str) -> None:
    frame = people().assign(wage=["k.A."] * 30 + [f"{k}.5" for k in range(570)])
    frame["job"] = np.where(np.arange(600) < 60, "K.A.", frame["job"])
    data = load(tmp_path, frame, {"exclude": ["sex", "wage"]}, name)
    (note,) = [note for note in data.notes if "K.A." in note.what]
    assert "read as a value in column job (at least 60 rows)" in note.why
    again = load(tmp_path, frame, {"exclude": ["sex", "wage"]}, name, **pasted(note.why))
    assert rows_missing(again, "job") == 60


def test_a_word_of_a_few_people_is_in_no_note(tmp_path: Path) -> None:
    frame = people().assign(wage=["Smith"] * 3 + [f"{k}.5" for k in range(597)])
    frame["job"] = np.where(np.arange(600) < 60, "Smith", frame["job"])
    write(frame, tmp_path / "t.csv")
    assert not [note for note in load(tmp_path, frame, {"exclude": ["sex", "wage"]}).notes if "Smith" in note.what + note.why]


def test_a_line_has_each_word_once_and_reads_as_yaml() -> None:
    odd = ['a"b', "c\\d", "e: {f}", "NA ", "k.A.", "K.A."]
    assert yaml.safe_load(missing_line(odd, ["", "na"]))["values"]["missing"] == ["na", *odd[:3], "k.A."]
