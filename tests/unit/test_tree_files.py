"""Model files of the libraries of trees: trained outside, read as data; what is none or does not fit is refused in words."""

from __future__ import annotations

import json
import pickle
import re
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tree_models import COLUMNS, TRUSTED, needs, outside, table

from proxyaudit.activations.capture import capture
from proxyaudit.data.dataset import load_dataset
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights, save_weights
from proxyaudit.models.kinds import model_kind
from proxyaudit.models.tree_files import _check_classes, with_room
from proxyaudit.models.tree_nodes import Ensemble, Tree
from proxyaudit.recipe.recipe import Recipe, SitesSpec, parse_recipe

LIBRARIES = ("xgboost", "lightgbm", "catboost", "skops")


def recipe(kind: str, folder: Path, *names: str, classes: int = 2, encode: str = "none", **model: Any) -> Recipe:
    table(classes).to_csv(folder / "rows.csv", index=False)
    data = {"path": "rows.csv", "target": "y", "protected": ["sex"], "encode": encode}
    regimes = [{"name": f"vendor{i}", "checkpoints": [name]} for i, name in enumerate(names)]
    if kind in ("gradient_boosting", "random_forest"):
        model = {"trusted": TRUSTED} | model
    return parse_recipe({"name": "t", "data": data, "regimes": regimes or ["real"], "model": {"kind": kind, **model}})


def ready(asked: Recipe, folder: Path) -> Recipe:
    return with_room(asked, folder, load_dataset(asked, folder))[0]


def loaded(asked: Recipe, folder: Path, path: Path, classes: int = 2) -> TrainedModel:
    sized = ready(asked, folder)
    empty = build_model(sized.model, SitesSpec(verdict=("margins",)), n_inputs=4, n_classes=classes, base=folder, seed=0)
    return load_weights(empty, path, what="checkpoint of regime 'vendor0'")


CASES: list[Any] = [
    pytest.param(kind, more, classes, id=f"{kind}-{classes}-{'-'.join(map(str, more.values()))}", marks=needs(library))
    for kind, library, settings in (
        ("xgboost", "xgboost", [{"suffix": "json"}, {"booster": "dart", "rate_drop": 0.4}, {"num_parallel_tree": 3, "subsample": 0.5}]),
        ("lightgbm", "lightgbm", [{"boosting_type": "dart"}, {"n_estimators": 150, "num_leaves": 40}]),
        ("catboost", "catboost", [{"iterations": 130, "depth": 6}]),
        ("gradient_boosting", "skops", [{}]),
        ("random_forest", "skops", [{}, {"name": "ExtraTreesClassifier"}]),
    )
    for more in settings
    for classes in (2, 3)
]


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize(("kind", "more", "classes"), CASES)
def test_a_file_gives_the_librarys_own_outputs_and_is_kept_like_any_other(
    kind: str, more: dict[str, Any], classes: int, tmp_path: Path
) -> None:
    path, model = outside(kind, tmp_path, classes, **dict(more))
    asked = recipe(kind, tmp_path, path.name, classes=classes)
    found = loaded(asked, tmp_path, path, classes)
    x = table(classes)[list(COLUMNS)].to_numpy(np.float32)
    x = np.concatenate([x, x + np.random.default_rng(1).normal(0, 1, x.shape).astype(np.float32)])
    expected = model.predict_proba(x)
    captured = capture(found, x)
    assert np.abs(captured.outputs - (expected[:, 1:] if classes == 2 else expected)).max() < 1e-6
    if kind != "random_forest":
        columns = 1 if classes == 2 else classes
        raw = (
            captured.acts["margins"].reshape(len(x), -1, columns).sum(axis=1, dtype=np.float64)
            + found.module.head.baseline.detach().numpy()
        )
        logs = np.log(expected)
        logs = logs[:, 1:] - logs[:, :1] if classes == 2 else logs - logs.mean(axis=1, keepdims=True)
        assert np.abs((raw if classes == 2 else raw - raw.mean(axis=1, keepdims=True)) - logs).max() < 1e-5
    assert found.details["origin"] == "checkpoint"
    save_weights(found, tmp_path / "kept.safetensors")
    assert np.array_equal(capture(loaded(asked, tmp_path, tmp_path / "kept.safetensors", classes), x).outputs, captured.outputs)


@needs("xgboost")
def test_training_that_was_stopped_early_counts_up_to_the_best_iteration(tmp_path: Path) -> None:
    from xgboost import XGBClassifier

    rows = table()
    x = rows[list(COLUMNS)].to_numpy(np.float32)
    model = XGBClassifier(n_estimators=60, learning_rate=0.5, early_stopping_rounds=5, n_jobs=1)
    model.fit(x[:300], rows.y[:300], eval_set=[(x[300:], rows.y[300:])], verbose=False)
    assert model.best_iteration < 40
    model.save_model(tmp_path / "model.json")
    found = loaded(recipe("xgboost", tmp_path, "model.json"), tmp_path, tmp_path / "model.json")
    assert np.abs(capture(found, x).outputs[:, 0] - model.predict_proba(x)[:, 1]).max() < 1e-6


@needs("lightgbm")
def test_room_is_made_for_the_largest_file_and_written_into_the_recipe(tmp_path: Path) -> None:
    outside("lightgbm", tmp_path, n_estimators=7)[0].rename(tmp_path / "small.txt")
    outside("lightgbm", tmp_path, n_estimators=130, num_leaves=35)
    asked = recipe("lightgbm", tmp_path, "small.txt", "model.txt")
    assert "room" not in asked.published()["model"]
    sized = ready(asked, tmp_path)
    assert sized.model.size[0] == 130  # type: ignore[attr-defined]
    assert sized.published()["model"]["room"][0] == 130
    assert ready(sized, tmp_path) == sized
    assert ready(recipe("lightgbm", tmp_path, "small.txt"), tmp_path).model.size == (7, 6)  # type: ignore[attr-defined]
    document = recipe("lightgbm", tmp_path, "small.txt").model_dump(exclude_none=True)
    both = parse_recipe({**document, "regimes": [*document["regimes"], "real"]})
    assert ready(both, tmp_path).model.size == both.model.own_size == (100, 31)  # type: ignore[attr-defined]
    empty = build_model(asked.model, SitesSpec(verdict=("margins",)), n_inputs=4, n_classes=2, base=tmp_path, seed=0)
    with pytest.raises(InputError, match=r"130 trees of up to [0-9]+ leaves, more than the run's models"):
        load_weights(empty, tmp_path / "model.txt", what="the model")


def refused(asked: Recipe, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        ready(asked, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "library"), [("xgboost", "xgboost"), ("lightgbm", "lightgbm"), ("catboost", "catboost"), ("random_forest", "skops")]
)
def test_files_that_are_none_and_pickles_are_refused_in_one_line(kind: str, library: str, tmp_path: Path) -> None:
    if find_spec(library) is None:
        pytest.skip(f"the extra 'trees' is not installed ({library})")
    for name in ("m.pkl", "m.joblib", "m.model"):
        (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
        assert "can run code and is not read" in refused(recipe(kind, tmp_path, name), tmp_path)
    for content in (b"", b"hello", b"{", b"{L", b"tree\nversion=v4\n", b"CBM1\x00\x00", b"PK\x03\x04", b"\xff" * 400):
        (tmp_path / "m.bin").write_bytes(content)
        said = refused(recipe(kind, tmp_path, "m.bin"), tmp_path)
        assert "save it" in said
    path = outside(kind, tmp_path)[0]
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for share in (0.2, 0.6):
        path.write_bytes(whole[: int(len(whole) * share)])
        assert "checkpoint of regime 'vendor0'" in refused(recipe(kind, tmp_path, path.name), tmp_path)
    for _ in range(8):
        spoilt = bytearray(whole)
        for place in rng.integers(0, len(whole), 6):
            spoilt[place] = rng.integers(0, 256)
        path.write_bytes(bytes(spoilt))
        with suppress(InputError):  # or its change does no harm
            ready(recipe(kind, tmp_path, path.name), tmp_path)


def without_sizes(text: str) -> str:
    """A file of LightGBM that does not say how long its trees are, which a change would belie."""
    return re.sub(r"(?m)^tree_sizes=.*\n", "", text, count=1)


@needs("lightgbm")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("left_child=1", "left_child=0", "reached twice"),
        ("left_child=1", "left_child=99", "leads nowhere"),
        ("split_feature=0", "split_feature=44", "a column that the model does not have"),
        ("leaf_value=", "leaf_value=nan ", "another number of nodes"),
        ("num_leaves=", "num_leaves=9", "another number of nodes"),
    ],
)
def test_trees_in_which_a_row_could_get_lost_are_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = outside("lightgbm", tmp_path)[0]
    text = without_sizes(path.read_text())
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert said in refused(recipe("lightgbm", tmp_path, path.name), tmp_path)


@needs("lightgbm")
def test_a_leaf_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = outside("lightgbm", tmp_path)[0]
    lines = without_sizes(path.read_text()).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("leaf_value="))
    lines[place] = "leaf_value=nan" + lines[place][lines[place].index(" ") :]
    path.write_text("\n".join(lines) + "\n")
    assert "no numbers" in refused(recipe("lightgbm", tmp_path, path.name), tmp_path)


@needs("lightgbm")
def test_columns_that_are_not_those_of_the_model_are_said(tmp_path: Path) -> None:
    path = outside("lightgbm", tmp_path, frame=True)[0]
    asked = recipe("lightgbm", tmp_path, path.name)
    notes = with_room(asked, tmp_path, load_dataset(asked, tmp_path))[2]  # LightGBM writes 'hours per week' with strokes
    assert ["(0 is 0, 1 is 1)" in note.why for note in notes] == [True]
    assert "'encode: none' under data" in refused(recipe("lightgbm", tmp_path, path.name, encode="standard"), tmp_path)
    asked = recipe("lightgbm", tmp_path, path.name)
    rows = pd.read_csv(tmp_path / "rows.csv")
    rows[["hours per week", "age", "x2", "x3", "sex", "y"]].to_csv(tmp_path / "rows.csv", index=False)
    assert "wants its columns in another order: column 1 is 'age' there and 'hours per week' in the table" in refused(asked, tmp_path)
    rows.rename(columns={"x2": "other"}).to_csv(tmp_path / "rows.csv", index=False)
    assert "was trained on other columns: column 3 is 'x2' there and 'other' in the table" in refused(asked, tmp_path)
    rows.drop(columns="x3").to_csv(tmp_path / "rows.csv", index=False)
    assert "reads 4 columns, and the table has 3: age, hours per week, x2" in refused(asked, tmp_path)


@needs("catboost")
def test_classes_that_are_not_those_of_the_target_are_said(tmp_path: Path) -> None:
    from catboost import CatBoostClassifier

    rows = table()
    model = CatBoostClassifier(iterations=2, thread_count=1, allow_writing_files=False, logging_level="Silent")
    model.fit(rows[list(COLUMNS)].to_numpy(np.float32), rows.y.map({0: "no", 1: "yes"})).save_model(str(tmp_path / "model.cbm"))
    assert "calls its classes no, yes, and the target has 0, 1" in refused(recipe("catboost", tmp_path, "model.cbm"), tmp_path)
    asked = recipe("catboost", tmp_path, "model.cbm")
    rows.assign(y=rows.y.map({0: "no", 1: "yes"})).to_csv(tmp_path / "rows.csv", index=False)
    ready(asked, tmp_path)
    for names in (["0.0", "1.0"], ["False", "True"]):
        _check_classes(names, ["no", "yes"], "the model", "m")
    turned = asked.model_copy(update={"data": asked.data.model_copy(update={"target_positive": "no"})})
    assert "write 'target_positive: yes'" in refused(turned, tmp_path)


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        pytest.param("lightgbm", {"linear_tree": True}, "linear models in its leaves", marks=needs("lightgbm")),
        pytest.param("lightgbm", {"zero_as_missing": True}, "zeros for missing values", marks=needs("lightgbm")),
        pytest.param(
            "lightgbm", {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "is a forest", marks=needs("lightgbm")
        ),
        pytest.param("lightgbm", {"objective": "regression"}, "predicts a number, and the target has classes", marks=needs("lightgbm")),
        pytest.param("xgboost", {"booster": "gblinear"}, "has no trees", marks=needs("xgboost")),
        pytest.param("catboost", {"grow_policy": "Depthwise"}, "not symmetric", marks=needs("catboost")),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_audited_in_this_version_is_refused_by_name(kind: str, more: dict[str, Any], said: str, tmp_path: Path) -> None:
    path, _ = outside(kind, tmp_path, **more)
    assert said in refused(recipe(kind, tmp_path, path.name), tmp_path)


@needs("skops")
def test_types_that_skops_does_not_trust_are_shown_and_refused_unless_named(tmp_path: Path) -> None:
    import skops.io
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import FunctionTransformer

    path, model = outside("random_forest", tmp_path)
    said = refused(recipe("random_forest", tmp_path, path.name, trusted=[]), tmp_path)
    assert "does not trust: sklearn.tree._tree.Tree" in said
    assert "trusted: [sklearn.tree._tree.Tree]" in said
    ready(recipe("random_forest", tmp_path, path.name, trusted=["sklearn.tree._tree.Tree"]), tmp_path)
    assert "holds a RandomForestClassifier" in (said := refused(recipe("gradient_boosting", tmp_path, path.name), tmp_path))
    assert "write 'kind: random_forest'" in said
    model.note = FunctionTransformer(Path.exists)
    skops.io.dump(model, path)
    assert "types that are not loaded, since they could run code" in refused(recipe("random_forest", tmp_path, path.name), tmp_path)
    rows = table()
    skops.io.dump(LogisticRegression().fit(rows[["age"]], rows.y), path)
    assert "holds a LogisticRegression" in refused(recipe("random_forest", tmp_path, path.name), tmp_path)


@needs("lightgbm")
def test_a_library_that_is_not_there_is_said_only_where_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = outside("lightgbm", tmp_path)[0]
    monkeypatch.setitem(__import__("sys").modules, "lightgbm", None)
    ready(recipe("lightgbm", tmp_path, path.name), tmp_path)  # a text file needs no library
    said = refused(recipe("lightgbm", tmp_path), tmp_path)
    assert "needs the package lightgbm" in said
    assert "pip install '.[trees]'" in said


@pytest.mark.parametrize("kind", ["xgboost", "lightgbm", "catboost"])
def test_recipes_of_the_libraries_need_none_of_them(kind: str, tmp_path: Path) -> None:
    spec = recipe(kind, tmp_path).model
    assert spec.rounds == 100
    assert model_kind(spec).packages[0] == kind
    assert json.dumps(spec.model_dump())
    with pytest.raises(InputError, match="trees have none"):
        parse_recipe(
            {**recipe(kind, tmp_path).model_dump(exclude_none=True), "regimes": ["real", {"name": "s", "of": "real", "quantise": "int8"}]}
        )


@pytest.mark.parametrize(("widths", "said"), [((10**6,) * 40, "40 trees of up to 2 leaves for 1,000,001 classes"), ((3, 1), "damaged")])
def test_what_leaves_say_has_a_bound_too(widths: tuple[int, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros of as many classes as one likes take no room in a packed file."""
    none = np.full(1, -1, dtype=np.int64)
    trees = tuple(Tree(none, np.zeros(1), none, none, np.broadcast_to(np.zeros((1, 1)), (1, width)), np.ones(1)) for width in widths)
    monkeypatch.setattr("proxyaudit.models.libraries.xgboost.read", lambda spec, data: Ensemble(trees, np.zeros(widths[0]), 4, None))
    (tmp_path / "a.json").write_bytes(b"{}")
    assert said in refused(recipe("xgboost", tmp_path, "a.json"), tmp_path)


@pytest.mark.parametrize(
    ("theirs", "ours", "told"),
    [
        (
            [str(k) for k in range(12)],
            sorted(str(k) for k in range(12)),
            "in the order 0, 1, 2, 3, 4, 5, and the target in the order 0, 1, 10",
        ),
        ([], sorted(str(k) for k in range(12)), "sort as the model has them"),
        (["0", "1"], ["1", "0"], "write 'target_positive: 1'"),
        ([], ["1", "0"], "write 'target_positive: 1'"),
        (["False", "True"], ["True", "False"], "write 'target_positive: True'"),
        (["-1", "9", "19"], ["-1", "19", "9"], "sort as the model has them"),
        (["no", "yes"], ["yes", "no"], "write 'target_positive: yes'"),
        (["a", "b"], ["c", "d"], "calls its classes a, b, and the target has c, d"),
        (["1", "2"], ["a", "b"], "calls its classes"),
    ],
)
def test_classes_in_another_order_are_refused(theirs: list[str], ours: list[str], told: str) -> None:
    """What a model calls 2 was taken for the target's 10, which stands before it as text."""
    with pytest.raises(InputError, match=told):
        _check_classes(theirs, ours, "the model", "m")


@pytest.mark.parametrize("theirs", [[], ["0", "1", "2"], ["0.0", "1.0", "2.0"]])
@pytest.mark.parametrize("ours", [["0", "1", "2"], ["1", "2", "3"], ["high", "low", "no"]])
def test_classes_that_are_numbered_in_the_targets_order_are_taken(theirs: list[str], ours: list[str]) -> None:
    _check_classes(theirs, ours, "the model", "m")
