"""Rows that the encoder cannot see: other spellings are united, gaps and strangers noted, barred or refused, in every table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.data.columns import coerce, infer_kind
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.described_encoder import describe_encoder, encoder_again
from proxyaudit.data.encoding import FeatureColumn, check_seen, fit_encoder
from proxyaudit.errors import InputError
from proxyaudit.pipeline.plan import prepare
from proxyaudit.recipe.recipe import Recipe, parse_recipe
from proxyaudit.types import Estimate, Evidence, RunInfo
from proxyaudit.verification.checks import state_problems


def table(n: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    frame = pd.DataFrame(
        {"x": rng.normal(size=n).round(6), "job": np.where(rng.random(n) < 0.8, np.where(sex == "f", "care", "build"), "other")}
    )
    frame["member"], frame["z"] = rng.choice(["true", "false"], n), rng.normal(size=n).round(6)
    return frame.assign(sex=sex, y=rng.choice(["no", "yes"], n))


def recipe_for(folder: Path, real: pd.DataFrame, holdout: pd.DataFrame | None = None, release: pd.DataFrame | None = None) -> Recipe:
    real.to_csv(folder / "real.csv", index=False)
    data: dict[str, Any] = {"path": "real.csv", "target": "y", "protected": ["sex"], "discover": 0}
    regimes: list[Any] = ["real"]
    if holdout is not None:
        holdout.to_csv(folder / "hold.csv", index=False)
        data["holdout"] = "hold.csv"
    if release is not None:
        release.to_csv(folder / "vendor.csv", index=False)
        regimes += [{"synthetic": {"name": "vendor", "path": "vendor.csv"}}, {"mixed": {"of": "vendor", "ratios": [0.5]}}]
    return parse_recipe({"name": "t", "data": data, "regimes": regimes, "model": {"kind": "mlp"}})


def load(folder: Path, holdout: pd.DataFrame, real: pd.DataFrame | None = None) -> Dataset:
    return load_dataset(recipe_for(folder, table() if real is None else real, holdout), folder)


def held(**columns: Any) -> pd.DataFrame:
    frame = table(400, seed=1)
    return frame.assign(**{name: change(frame[name]) for name, change in columns.items()})


def partly(column: pd.Series, share: float, value: Any) -> pd.Series:
    return column.where(np.arange(len(column)) >= share * len(column), value)


@pytest.mark.parametrize(
    "change",
    [
        {"job": lambda c: c.str.title()},
        {"job": lambda c: c.str.upper()},
        {"job": lambda c: partly(c, 0.5, "CARE")},
        {"job": lambda c: " " + c + "  "},
        {"member": lambda c: c.str.title()},
        {"member": lambda c: c == "true"},
        {"member": lambda c: c.map({"true": "1", "false": "0"})},
        {"member": lambda c: c.map({"true": "Yes", "false": "NO"})},
        {"sex": lambda c: c.str.upper(), "y": lambda c: c.str.title()},
    ],
)
def test_other_spellings_are_read_as_the_real_table_writes_them(tmp_path: Path, change: dict[str, Any]) -> None:
    changed = held(**change)
    data, plain = load(tmp_path, changed), held(**{name: lambda c: c for name in change})
    same = load(tmp_path, plain.assign(job=changed["job"].str.strip().str.lower()))
    np.testing.assert_array_equal(data.encoder.transform(data.audit), same.encoder.transform(same.audit))
    np.testing.assert_array_equal(data.target_codes(data.audit), same.target_codes(same.audit))
    np.testing.assert_array_equal(data.attributes[0].codes, same.attributes[0].codes)
    assert data.unseen == ()
    spelt = [note for note in data.notes if "spellings of column" in note.what]
    # Blanks around a value are stripped wherever they stand; nothing is said of them.
    assert {note.what.split()[-2] for note in spelt} == ({*change} if not changed["job"].str.startswith(" ").any() else set())
    assert all(note.what.startswith("data.holdout") for note in spelt)


def test_one_table_with_several_spellings_has_one_level_for_each(tmp_path: Path) -> None:
    real = table().assign(
        sex=lambda f: partly(f["sex"], 0.2, "F"), y=lambda f: partly(f["y"], 0.1, "Yes "), job=lambda f: partly(f["job"], 0.1, "home  care")
    )
    real.loc[60:100, "job"] = "Home Care"
    data = load_dataset(recipe_for(tmp_path, real), tmp_path)
    assert data.attributes[0].levels == ("f", "m")
    assert data.classes == ("no", "yes")
    assert [name for name in data.encoder.columns if "ome" in name] == ["job=home  care"]
    assert {note.what.split()[-2] for note in data.notes if "real rows: spellings" in note.what} == {"sex", "y", "job"}


def test_a_positive_class_may_be_named_in_any_of_its_spellings(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path, table())
    for positive in ("no", "No", " NO"):
        asked = recipe.model_copy(update={"data": recipe.data.model_copy(update={"target_positive": positive})})
        assert load_dataset(asked, tmp_path).classes == ("yes", "no")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"job": lambda c: None}, ("column 'job' has no values", "100%")),
        ({"x": lambda c: None}, ("column 'x' has no values",)),
        ({"job": lambda c: partly(c, 0.9, None)}, ("column 'job' lacks most of its values", "90%")),
        ({"job": lambda c: "job " + c}, ("column 'job' shares no value with the real table", "'job care'", "'care'")),
        (
            {"member": lambda c: c.map({"true": "2", "false": "3"})},
            ("column 'member' shares no value with the real table", "'2'", "'true'"),
        ),
        ({"job": lambda c: partly(c, 0.85, "nurse")}, ("column 'job' holds mostly values that no real training row has", "'nurse'")),
    ],
)
def test_a_column_that_can_hardly_be_seen_is_refused(tmp_path: Path, change: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, held(**change))
    for word in (*words, "data.holdout", "hold.csv", "exclude the column"):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("people", "named"),
    [(lambda i: i, True), (lambda i: i // 10, True), (lambda i: i // 50, False), (lambda i: 0, False)],
    ids=["a row each", "ten rows each", "fifty rows each", "one person"],
)
@pytest.mark.parametrize("fault", ["values alone", "another fault beside it"])
def test_a_stranger_is_named_where_eleven_people_have_it(tmp_path: Path, people: Callable[[int], int], named: bool, fault: str) -> None:
    real, strange = (frame.assign(who=[people(i) for i in range(len(frame))]) for frame in (table(), held(job=lambda c: "lodger")))
    real["who"] = [f"r{i // 2}" for i in range(len(real))]
    held_out = strange if fault == "values alone" else strange.drop(columns="x")
    recipe = recipe_for(tmp_path, real, held_out)
    asked = recipe.model_copy(update={"data": recipe.data.model_copy(update={"group": "who"})})
    with pytest.raises(InputError) as caught:
        load_dataset(asked, tmp_path)
    assert "shares no value with the real table" in str(caught.value) or not named
    assert ("lodger" in str(caught.value)) == named


def test_rare_strangers_are_not_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, held(job=lambda c: pd.Series([f"person {k}" for k in range(len(c))])))
    assert "person" not in str(caught.value)


@pytest.mark.parametrize("value", [None, "nurse", "n/k"])
@pytest.mark.parametrize(("share", "noted", "barred"), [(0.005, False, False), (0.1, True, False), (0.3, True, True), (0.75, True, True)])
def test_shares_decide_between_silence_a_note_and_no_absence(tmp_path: Path, value: Any, share: float, noted: bool, barred: bool) -> None:
    recipe = recipe_for(tmp_path, table(), held(job=lambda c: partly(c, share, value)))
    prepared = prepare(recipe, tmp_path)
    told = [note for note in prepared.plan.notes if "values of column job" in note["what"]]
    assert bool(told) == noted
    assert all(("absence is not claimed" in note["why"]) == barred for note in told)
    # References follow the rows as well: whatever rests on them is barred.
    assert prepared.plan.no_absence == (["real", "untrained", "reweighed"] if barred else [])


def test_what_training_lacks_as_often_is_seen(tmp_path: Path) -> None:
    real = table().assign(job=lambda f: partly(f["job"], 0.9, None))
    data = load(tmp_path, held(job=lambda c: partly(c, 0.9, None)), real)
    assert data.unseen == ()
    assert load(tmp_path, held(x=lambda c: partly(c, 0.25, None)), table().assign(x=lambda f: partly(f["x"], 0.1, None))).unseen[
        0
    ].share == pytest.approx(0.15, abs=0.02)


def test_a_release_bars_its_own_regimes_only(tmp_path: Path) -> None:
    release = held(job=lambda c: partly(c, 0.4, "nurse"), member=lambda c: c.str.upper())
    plan = prepare(recipe_for(tmp_path, table(), table(400, seed=2), release), tmp_path).plan
    assert plan.no_absence == ["vendor", "mixed-vendor-0.5"]
    whats = [note["what"] for note in plan.notes]
    assert "release vendor: values of column job that the model cannot see" in whats
    assert "release vendor: spellings of column member apart" in whats


def test_an_encoder_made_again_sees_as_much() -> None:
    rare = pd.Series([*["a"] * 300, *["b"] * 300, *[f"r{k}" for k in range(150)], *[np.nan] * 250], name="c", dtype=object)
    frame = pd.DataFrame({"c": rare, "x": np.where(np.arange(1000) < 300, np.nan, np.arange(1000.0))})
    first = fit_encoder(frame, (FeatureColumn("c", "categorical"), FeatureColumn("x", "numeric")), "standard")
    again = encoder_again(describe_encoder(first), frame)
    assert check_seen(first, frame, table="rows", where="") == check_seen(again, frame, table="rows", where="") == ()
    strange = frame.assign(c=frame["c"].where(np.arange(1000) >= 600, "zz"), x=np.where(np.arange(1000) < 700, np.nan, np.arange(1000.0)))
    for encoder in (first, again):
        assert [(f.column, round(f.share, 1), f.bars_absence) for f in check_seen(encoder, strange, table="rows", where="")] == [
            ("c", 0.6, True),
            ("x", 0.4, True),
        ]
    # Signatures of before do not say what was usual, so nothing is counted that may have been.
    old = [{key: value for key, value in part.items() if key not in ("missing", "rare")} for part in describe_encoder(first)]
    assert check_seen(encoder_again(old, strange), strange, table="rows", where="") == ()


def test_truth_values_of_any_file_are_one() -> None:
    kind = infer_kind(pd.Series([True, False, True], name="m"), where="")
    for written in (["true", "FALSE", "True"], [" True", "false", "true "], [True, False, True]):
        assert coerce(pd.Series(written, name="m"), kind, where="").tolist() == ["True", "False", "True"]


def test_verify_denies_absence_where_the_plan_bars_it() -> None:
    numbers = {"p_present": 1.0, "p_absent": 0.001, "value": 0.0, "margin": 0.02}
    cells = tuple(
        Estimate(id=f"E{k}", channel="linear", attribute="sex", regime=regime, site="s", state="absent", **numbers)
        for k, regime in enumerate(("real", "vendor"))
    )
    info = RunInfo(id="a" * 12, name="t", status="complete", plan_digest="d", versions={}, seed=0)
    evidence = Evidence(run=info, findings=(), estimates=cells, controls=(), not_tested=())
    assert state_problems(evidence, {"leak": 0.02}) == []
    (problem,) = state_problems(evidence, {"leak": 0.02}, ["vendor"])
    assert "E1 is absent in 'vendor'" in problem
