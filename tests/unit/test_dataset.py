"""Loading a whole data set: what holds for every split, and what is refused."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.releases import load_releases
from proxyaudit.data.splits import row_hashes
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import Recipe, parse_recipe


def table(n: int = 600, seed: int = 0, gaps: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n).round(6),
            "job": rng.choice(["clerk", "nurse", "cook"], n),
            "sex": sex,
            "town": rng.choice(["north", "south"], n),
            "y": rng.choice(["no", "yes"], n, p=[0.6, 0.4]),
            "person": np.arange(n) // 2,
        }
    )
    frame.loc[rng.choice(n, gaps, replace=False), "x"] = np.nan
    return frame


def recipe_for(
    folder: Path, frame: pd.DataFrame, data: dict[str, Any] | None = None, regimes: list[Any] | None = None, **more: Any
) -> Recipe:
    frame.to_csv(folder / "t.csv", index=False)
    spec = {"path": "t.csv", "target": "y", "protected": ["sex"], "proxies": ["town"], "group": "person"} | (data or {})
    return parse_recipe({"name": "t", "data": spec, "regimes": regimes or ["real"], "model": {"kind": "mlp"}} | more)


def load(folder: Path, frame: pd.DataFrame, data: dict[str, Any] | None = None, **more: Any) -> Dataset:
    return load_dataset(recipe_for(folder, frame, data, **more), folder)


def test_the_whole_dataset(tmp_path: Path) -> None:
    data = load(tmp_path, table())
    assert [f.name for f in data.features] == ["x", "job", "town"]
    assert data.classes == ("no", "yes")
    assert [(a.name, a.role, a.kind) for a in data.attributes] == [("sex", "protected", "binary"), ("town", "proxy", "binary")]
    assert len(data.train) + len(data.audit) == 600
    assert len(data.audit) == pytest.approx(300, abs=2)
    assert not set(data.train["person"]) & set(data.audit["person"])
    per_person = pd.DataFrame({"p": data.audit["person"], "part": data.parts, "c": data.clusters}).groupby("p").nunique()
    assert (per_person == 1).all(axis=None)
    assert np.bincount(data.parts).tolist() == [100, 100, 100]
    assert sorted(set(data.clusters)) == list(range(data.audit["person"].nunique()))
    assert set(data.hashes) == {"data", "split", "audit"}
    assert data.encoder.transform(data.audit).shape == (len(data.audit), len(data.encoder.columns))
    assert (data.target_codes(data.audit) == (data.audit["y"] == "yes")).all()
    assert not data.parts.flags.writeable
    assert data.notes == ()
    assert pickle.loads(pickle.dumps(data)).hashes == data.hashes


def test_same_seed_same_split_and_row_order_has_no_say(tmp_path: Path) -> None:
    frame = table()
    one, again = load(tmp_path, frame), load(tmp_path, frame)
    assert one.hashes == again.hashes
    other = load(tmp_path, frame, seed=1)
    assert one.hashes["split"] != other.hashes["split"]
    shuffled = load(tmp_path, frame.sample(frac=1, random_state=3))
    assert set(one.audit["person"]) == set(shuffled.audit["person"])
    part_of = [dict(zip(d.audit["person"], d.parts, strict=True)) for d in (one, shuffled)]
    assert part_of[0] == part_of[1]


def test_learnt_from_training_rows_only(tmp_path: Path) -> None:
    data = load(tmp_path, table(gaps=40))
    filled = data.train["x"].fillna(data.train["x"].median())
    x = data.encoder.transform(data.train)[:, 0]
    np.testing.assert_allclose(x, (filled - filled.mean()) / filled.std(ddof=0), rtol=1e-4, atol=1e-6)


def test_copies_never_straddle(tmp_path: Path) -> None:
    frame = pd.concat([table(300)] * 3, ignore_index=True)
    data = load(tmp_path, frame, {"group": None, "exclude": ["sex", "person"]})
    assert not set(data.train["x"].dropna()) & set(data.audit["x"].dropna())
    assert data.clusters.max() + 1 <= 150
    assert data.notes == ()


def test_coarse_tables_keep_people_apart_and_say_so(tmp_path: Path) -> None:
    frame = table()[["job", "sex", "town", "y"]]
    data = load(tmp_path, frame, {"group": None})
    assert len(set(data.clusters)) == len(data.audit)
    assert any("copies" in note.what for note in data.notes)


def test_max_rows_and_audit_share(tmp_path: Path) -> None:
    data = load(tmp_path, table(), {"max_rows": 400, "audit_share": 0.25})
    assert len(data.train) + len(data.audit) == 400
    assert len(data.audit) == pytest.approx(100, abs=2)
    assert any("max_rows" in note.why for note in data.notes)


def test_a_protected_input_is_allowed_when_the_recipe_says_so(tmp_path: Path) -> None:
    data = load(tmp_path, table(), {"exclude": []})
    assert "sex" in [f.name for f in data.features]
    assert "person" not in [f.name for f in data.features]


def test_holdout_rows_and_groups_leave_training(tmp_path: Path) -> None:
    frame = table()
    held = pd.concat([frame.iloc[:100], table(300, seed=9).assign(person=lambda f: f["person"] + 10_000)])
    held.to_csv(tmp_path / "h.csv", index=False)
    data = load(tmp_path, frame, {"holdout": "h.csv"})
    assert data.holdout
    assert len(data.audit) == 360  # of 200 people with two rows each 20 sit out
    assert len(data.train) == 500
    assert any("holdout" in note.what for note in data.notes)
    assert "holdout" in data.hashes


def test_holdout_that_is_the_file_itself_is_split(tmp_path: Path) -> None:
    data = load(tmp_path, table(), {"holdout": "t.csv"})
    assert data.holdout
    assert len(data.audit) == pytest.approx(300, abs=2)


def test_holdout_lacking_a_column(tmp_path: Path) -> None:
    table().drop(columns="town").to_csv(tmp_path / "h.csv", index=False)
    with pytest.raises(InputError, match="lacks the column 'town'"):
        load(tmp_path, table(), {"holdout": "h.csv"})


def test_unknown_makers_are_noted(tmp_path: Path) -> None:
    table(100).to_csv(tmp_path / "v.csv", index=False)
    data = load(tmp_path, table(), regimes=["real", {"synthetic": {"name": "vendor", "path": "v.csv"}}])
    assert [(n.what, n.why) for n in data.notes] == [
        (
            "whether the maker of release vendor had the audit rows",
            "it may have had them; name real rows that its maker never had under data.holdout to rule that out",
        )
    ]


def test_numeric_target_with_a_threshold(tmp_path: Path) -> None:
    frame = table().assign(y=lambda f: np.arange(len(f)) * 1.5)
    data = load(tmp_path, frame, {"target_threshold": "median"})
    # Nobody else has the median's number, so the threshold is the mean of those in the middle.
    values = np.sort(data.train["y"].to_numpy())
    spare = (len(values) - 11) // 2
    middle = float(values[spare : len(values) - spare].mean())
    assert abs((values > middle).mean() - 0.5) < 0.01
    assert data.classes == (f"<= {middle:g}", f"> {middle:g}")
    assert (data.target_codes(data.audit) == (data.audit["y"] > middle)).all()
    many = load(tmp_path, frame.assign(y=np.arange(len(frame)) % 3), {"target_threshold": "median"})
    assert many.classes == ("<= 1", "> 1")
    assert load(tmp_path, frame).read.task == "number"  # fractions are a number by themselves
    with pytest.raises(InputError, match="target_threshold: median"):
        load(tmp_path, frame.assign(y=np.arange(len(frame))))  # whole numbers may be codes


def test_positive_class_comes_last(tmp_path: Path) -> None:
    assert load(tmp_path, table(), {"target_positive": "no"}).classes == ("yes", "no")
    numeric = table().assign(y=lambda f: (f["y"] == "yes").astype(float))
    assert load(tmp_path, numeric, {"target_positive": "0"}).classes == ("1", "0")
    several = table().assign(y=lambda f: np.arange(len(f)) % 4)
    assert load(tmp_path, several).classes == ("0", "1", "2", "3")


def test_blanks_missing_targets_dates_and_constants(tmp_path: Path) -> None:
    frame = table().assign(flat=7, day=pd.date_range("2020-01-01", periods=600).strftime("%Y-%m-%d"))
    frame["y"] = " " + frame["y"] + " "
    frame["job"] = frame["job"] + "  "
    frame.loc[:9, "y"] = None
    data = load(tmp_path, frame)
    assert len(data.train) + len(data.audit) == 590
    assert data.classes == ("no", "yes")
    assert set(data.train["job"]) == {"clerk", "nurse", "cook"}
    kinds = {f.name: f.kind for f in data.features}
    assert kinds == {"x": "numeric", "job": "categorical", "town": "categorical", "day": "numeric"}
    assert {note.what for note in data.notes} == {"real rows without a target", "columns flat as inputs"}


def test_encode_none_keeps_columns_in_place(tmp_path: Path) -> None:
    frame = table().assign(flat=7.0).drop(columns="job")
    data = load(tmp_path, frame, {"encode": "none", "exclude": ["sex", "town"]})
    assert data.encoder.columns == ("x", "flat")
    np.testing.assert_array_equal(data.encoder.transform(data.audit)[:, 0], data.audit["x"].to_numpy(dtype=np.float32))


@pytest.mark.parametrize(
    ("changes", "data", "expected"),
    [
        ({"y": "no"}, {}, "one value only"),
        ({"y": None}, {}, "has no values"),
        ({"y": ["rare"] * 9 + ["no", "yes"] * 295 + ["no"]}, {}, "a class has fewer than 30"),
        ({"y": ["rare"] * 28 + ["no", "yes"] * 286}, {}, "class 'rare' has fewer than 30"),
        ({"y": [f"class {k % 30}" for k in range(600)]}, {}, "more than 20"),
        ({"sex": "f"}, {}, "protected column 'sex' has one value"),
        ({"sex": None}, {}, "protected column 'sex' has no values"),
        ({}, {"protected": ["sexx"]}, "column 'sexx' (protected) is missing ["),
        ({"x": [float("inf")] * 3 + [1.5] * 597}, {}, "'x' holds 3 infinite"),
        ({"x": [f"note {k}" for k in range(600)]}, {}, "identifier or free text"),
        ({"x": [2**60 + k // 2 for k in range(600)]}, {}, "identifier"),
        ({"x": [f"1,{k % 500:03d}" for k in range(600)]}, {}, "mixes numbers"),
        ({"x": 1.0, "job": "cook", "town": None}, {"proxies": []}, "every input column has one value"),
        ({}, {"exclude": ["x", "job", "town", "sex"]}, "no column is left"),
        ({"person": 1}, {}, "too few separate rows or groups"),
        ({"person": [0] * 500 + list(range(100))}, {}, "groups"),
        ({}, {"max_rows": 1}, "max_rows"),
        ({}, {"encode": "none"}, "'job' is no number"),
        ({"x": [1.5] * 599 + [None]}, {"encode": "none", "exclude": ["job", "sex", "town"]}, "fill them as the model had them in training"),
        (
            {"x": "2020-01-01", "job": [f"2020-01-{1 + k % 28:02d}" for k in range(600)]},
            {"encode": "none", "exclude": ["sex", "town"]},
            "date column",
        ),
        ({}, {"target_positive": "yess"}, "did you mean 'yes'"),
        ({}, {"target_threshold": 0.5}, "no number"),
        ({"y": [k % 3 for k in range(600)]}, {"target_positive": "1"}, "3 classes"),
        ({}, {"path": "../t.csv"}, "escapes"),
        ({}, {"path": "nothing.csv"}, "no such file"),
    ],
)
def test_faults_are_one_line(tmp_path: Path, changes: dict[str, Any], data: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        load(tmp_path, table().assign(**changes), data)
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.mend
    assert "note 1" not in line


def test_a_blind_synthesizer_cannot_feed_a_seeing_model(tmp_path: Path) -> None:
    regimes = ["real", {"synthetic": {"sdv": "tvae", "sees_protected": False}}]
    with pytest.raises(InputError, match="may not see it"):
        load(tmp_path, table(), {"exclude": []}, regimes=regimes)


def test_notes_hold_no_values_of_rows(tmp_path: Path) -> None:
    frame = table()
    frame.loc[:7, "job"] = "secret trade"
    frame.loc[:23, "sex"] = "secret sex"
    data = load(tmp_path, frame)
    published = " ".join(
        [n.what + n.why for n in data.notes] + list(data.encoder.columns) + [level for a in data.attributes for level in a.levels]
    )
    assert "secret" not in published
    assert any("sex" in note.what for note in data.notes)


def test_adult_as_the_quick_start_reads_it() -> None:
    recipe = parse_recipe({"name": "t", "data": {"card": "adult", "protected": ["sex"]}, "regimes": ["real"], "model": {"kind": "mlp"}})
    data = load_dataset(recipe, Path())
    assert len(data.train) + len(data.audit) == 48_842
    assert 75 <= len(data.encoder.columns) <= 100
    assert "sex" not in data.encoder.sources
    assert data.classes == ("<=50K", ">50K")
    sex = data.attributes[0]
    gap = np.diff([data.target_codes(data.audit)[sex.codes == code].mean() for code in (0, 1)])[0]
    assert gap == pytest.approx(0.195, abs=0.015)  # men .304, women .109
    compared = list(data.train.columns)
    assert not set(row_hashes(data.train, compared)) & set(row_hashes(data.audit, compared))


@pytest.mark.realdata
@pytest.mark.skipif("PROXYAUDIT_DATA_DIR" not in os.environ, reason="PROXYAUDIT_DATA_DIR is not set")
def test_the_third_partys_release() -> None:
    folder = Path(os.environ["PROXYAUDIT_DATA_DIR"]) / "adult_ctgan_pair"
    real = str(folder / "adults_control_real.csv.gz")
    release = {"synthetic": {"name": "ctgan-release", "path": str(folder / "adults_syn_ctgan.csv.gz")}}
    data = {"card": "adult_ctgan_pair", "path": real, "holdout": real, "protected": ["sex"]}
    recipe = parse_recipe({"name": "t", "data": data, "regimes": ["real", release], "model": {"kind": "mlp"}})
    dataset = load_dataset(recipe, Path())
    rows = load_releases(recipe, dataset, Path(), [])["ctgan-release"]
    assert len(rows) == 39_040
    y, men = dataset.target_codes(rows), rows["sex"] == "Male"
    assert y[men].mean() - y[~men].mean() == pytest.approx(0.26, abs=0.01)
