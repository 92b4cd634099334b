"""Categories and missing values as libraries of trees know them: trained here, or read from a file that names its categories."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from proxyaudit.activations.capture import capture
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.described_encoder import describe_encoder, encoder_again
from proxyaudit.data.encoding import Encoder, FeatureColumn, fit_encoder
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights, save_weights
from proxyaudit.models.kinds.random_forest import RandomForestSpec
from proxyaudit.models.training import train_model, untrained_model
from proxyaudit.models.tree_files import with_room
from proxyaudit.models.trees import TreeEnsemble
from proxyaudit.recipe.recipe import Recipe, SitesSpec, parse_recipe
from tests.unit.test_models_trees import BOOSTING, CATBOOST, LIGHTGBM, XGBOOST, named, with_library

FEATURES = (FeatureColumn("age", "numeric"), FeatureColumn("job", "categorical"), FeatureColumn("town", "numeric"))
COLUMNS = ["age", "job", "town"]
JOBS = list("pqrstuv")
SPECS = [BOOSTING, XGBOOST, LIGHTGBM, CATBOOST]
CASES = [named(spec) for spec in SPECS]


def frame(n: int = 600, seed: int = 0) -> pd.DataFrame:
    """A number with gaps, words with gaps, and numbers that are names of towns."""
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"age": rng.normal(40, 9, n).round(1), "job": rng.choice(JOBS, n), "town": rng.integers(0, 30, n).astype(float)})
    score = (rows.age > 42) * 1.5 + rows.job.isin(["p", "r", "u"]) * 2 - (rows.town % 3 == 1) * 2
    rows["y"] = (score + rng.logistic(size=n) > 1.2).astype(int)
    rows["sex"] = rng.choice(["f", "m"], n)
    rows.loc[rng.random(n) < 0.1, "age"] = np.nan
    rows.loc[rng.random(n) < 0.1, "job"] = None
    return rows


def arrays(n_classes: int = 2, seed: int = 0) -> tuple[Any, Any, Any]:
    """The same as codes, labels of so many classes, and weights of which some are zero."""
    rows = frame(seed=seed)
    encoder = fit_encoder(rows, FEATURES, "standard", native=True)
    rng = np.random.default_rng([seed, 1])
    labels = (rows.y + (rng.random(len(rows)) < 0.3)).clip(upper=n_classes - 1).to_numpy(np.int64)
    x = encoder.transform(rows)
    x[:, 2] = rows.town  # the towns are codes as well
    return x, labels, np.r_[np.zeros(9), np.ones(len(rows) - 9)].astype(np.float32)


def native(spec: Any, n_classes: int = 2, seed: int = 0) -> tuple[TrainedModel, Any]:
    asked = spec.model_copy(update={"codes": (1, 2)})
    model = build_model(asked, SitesSpec(verdict=("margins",)), n_inputs=3, n_classes=n_classes, base=Path(), seed=seed)
    return model, asked


def test_natively_a_model_reads_a_column_for_each_feature_and_readers_still_read_numbers() -> None:
    rows = frame()
    encoder, plain = (fit_encoder(rows, FEATURES, "standard", native=own) for own in (True, False))
    assert (encoder.columns, encoder.native, plain.native) == (tuple(COLUMNS), True, False)
    assert encoder.categories == {1: "job"}
    x = encoder.transform(rows)
    assert x.shape == (len(rows), 3)
    assert np.array_equal(np.isnan(x[:, 0]), rows.age.isna())
    assert np.array_equal(np.isnan(x[:, 1]), rows.job.isna())
    assert [JOBS[int(code)] for code in x[rows.job.notna(), 1]] == rows.job.dropna().tolist()
    assert np.array_equal(encoder.features(rows), plain.transform(rows))
    assert len(encoder.feature_sources) == encoder.features(rows).shape[1]
    strange = rows.assign(job="never seen")
    assert np.isnan(encoder.transform(strange)[:, 1]).all()
    raw = fit_encoder(rows, FEATURES, "none", native=True).transform(rows)
    assert np.array_equal(raw[:, 0], rows.age.to_numpy(np.float32), equal_nan=True)
    with pytest.raises(InputError, match="is no number"):
        fit_encoder(rows, FEATURES, "none")


def test_an_encoder_is_kept_with_its_codes_but_for_names_that_few_rows_have() -> None:
    rows = frame()
    rows.loc[:3, "job"] = "rare"
    encoder = fit_encoder(rows, FEATURES, "none", native=True).with_codes((None, ("v", "rare", "p", "q"), (7.0, 3.0)))
    told = describe_encoder(encoder)
    assert told[1]["codes"] == ["v", "", "p", "q"]
    again = encoder_again(told, rows)
    known = rows[rows.job != "rare"]
    assert np.array_equal(again.transform(known), encoder.transform(known), equal_nan=True)
    assert set(np.unique(encoder.transform(rows)[:, 2][rows.town.isin([3, 7])])) == {0, 1}
    with pytest.raises(ValueError, match="in no known way"):
        encoder_again([{**told[0], "native": "otherwise"}], rows)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("spec", CASES)
def test_outputs_are_the_librarys_own_and_margins_add_up_with_categories_and_gaps(
    spec: Any, n_classes: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model, asked = native(spec, n_classes)
    monkeypatch.setattr("tests.unit.test_models_trees.trained", lambda *_: train_model(model, *arrays(n_classes), asked, 0))
    found, grown = with_library(spec, n_classes, monkeypatch)
    assert isinstance(found.module, TreeEnsemble)
    assert bool(found.module.trees.by_category.any())
    x = arrays(n_classes, seed=1)[0]
    x[:20, 2] = np.nan
    expected, captured = grown.predict(x), capture(found, x)
    assert np.abs(captured.outputs - (expected[:, 1:] if n_classes == 2 else expected)).max() < 1e-6
    sums = captured.acts["margins"].reshape(len(x), -1, found.module.head.columns).sum(axis=1, dtype=np.float64)
    logs = np.log(expected)
    raw = sums + found.module.head.baseline.detach().numpy()
    wanted = logs[:, 1:] - logs[:, :1] if n_classes == 2 else logs - logs.mean(axis=1, keepdims=True)
    assert np.abs((raw if n_classes == 2 else raw - raw.mean(axis=1, keepdims=True)) - wanted).max() < 1e-5
    save_weights(found, tmp_path / "w.safetensors")
    again = load_weights(native(spec, n_classes, seed=4)[0], tmp_path / "w.safetensors", what="weights")
    assert np.array_equal(capture(again, x).outputs, captured.outputs)


@pytest.mark.parametrize("spec", CASES)
def test_random_trees_split_by_categories_and_gaps_and_count_their_rows(spec: Any) -> None:
    model, asked = native(spec)
    x = arrays()[0]
    trees = untrained_model(model, lambda: x, asked, 0).module
    assert isinstance(trees, TreeEnsemble)
    assert bool(trees.trees.by_category.any())
    assert bool(trees.trees.missing_left.any())
    reached = trees.trees.leaves(__import__("torch").tensor(x)).numpy()
    for tree in range(3):
        rows = np.bincount(reached[:, tree], minlength=trees.trees.left.shape[1])
        leaf = trees.trees.left[tree].numpy() == np.arange(len(rows))
        assert np.array_equal(rows[leaf & (rows > 0)], trees.trees.cover[tree].numpy()[leaf & (rows > 0)])
        assert rows[leaf].sum() == len(x)


def test_weights_that_were_kept_before_trees_knew_of_gaps_are_still_read(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    from tests.unit.test_models_trees import build, rows, trained

    model, x = trained(BOOSTING), rows(2, seed=1)[0]
    save_weights(model, tmp_path / "w.safetensors")
    kept = load_file(tmp_path / "w.safetensors")
    save_file({name: value for name, value in kept.items() if name not in model.module.optional}, tmp_path / "old.safetensors")
    again = load_weights(build(BOOSTING, seed=3), tmp_path / "old.safetensors", what="weights")
    assert np.array_equal(capture(again, x).outputs, capture(model, x).outputs)


# ---- files -------------------------------------------------------------------------------------------------------------------------


def outside(kind: str, folder: Path, rows: pd.DataFrame, name: str = "model") -> tuple[Path, Any]:
    """A model as a user trains it on words and gaps, and saves it; numbers that are names are numbers to it."""
    x = rows[COLUMNS].assign(job=pd.Categorical(rows.job))
    if kind == "xgboost":
        from xgboost import XGBClassifier

        model = XGBClassifier(n_estimators=6, max_depth=3, enable_categorical=True, n_jobs=1).fit(x, rows.y)
        model.save_model(path := folder / f"{name}.ubj")
    elif kind == "lightgbm":
        from lightgbm import LGBMClassifier

        model = LGBMClassifier(n_estimators=6, num_leaves=6, min_data_per_group=5, n_jobs=1, verbose=-1).fit(x, rows.y)
        model.booster_.save_model(path := folder / f"{name}.txt")
    elif kind == "catboost":
        from catboost import CatBoostClassifier

        x = rows[COLUMNS].assign(job=rows.job.fillna("none"))
        model = CatBoostClassifier(
            iterations=9, depth=3, one_hot_max_size=20, thread_count=1, allow_writing_files=False, logging_level="Silent"
        )
        model.fit(x, rows.y, cat_features=["job"]).save_model(str(path := folder / f"{name}.cbm"))
    else:
        import skops.io
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(max_iter=6, categorical_features="from_dtype").fit(x, rows.y)
        skops.io.dump(model, path := folder / f"{name}.skops")
    return path, model


def recipe(kind: str, folder: Path, rows: pd.DataFrame, *names: str, **model: Any) -> Recipe:
    rows.to_csv(folder / "rows.csv", index=False)
    data = {"path": "rows.csv", "target": "y", "protected": ["sex"], "exclude": ["sex"], "encode": "none"}
    regimes = [{"name": f"vendor{i}", "checkpoints": [name]} for i, name in enumerate(names)]
    trusted = {
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "functools.partial",
        "sklearn.utils.validation.check_array",
    }
    model = {"trusted": sorted(trusted)} | model if kind == "gradient_boosting" else model
    return parse_recipe({"name": "t", "data": data, "regimes": regimes, "model": {"kind": kind, **model}})


FILES = [
    pytest.param(kind, marks=pytest.mark.skipif(find_spec(library) is None, reason=f"the extra 'trees' is not installed ({library})"))
    for kind, library in (("gradient_boosting", "skops"), ("xgboost", "xgboost"), ("lightgbm", "lightgbm"), ("catboost", "catboost"))
]


def ready(asked: Recipe, folder: Path) -> tuple[Recipe, Dataset]:
    return with_room(asked, folder, load_dataset(asked, folder))[:2]


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_knows_words_is_fed_its_own_codes_whatever_the_order_of_the_table(kind: str, tmp_path: Path) -> None:
    rows = frame()
    if kind == "catboost":
        rows["job"] = rows.job.fillna("none")
    train = rows[rows.job != "q"]  # a category that the model never saw
    path, model = outside(kind, tmp_path, train)
    asked, dataset = ready(recipe(kind, tmp_path, rows, path.name), tmp_path)
    assert asked.model.codes == (1,)  # type: ignore[attr-defined]
    assert isinstance(dataset.encoder, Encoder)
    empty = build_model(asked.model, SitesSpec(verdict=("margins",)), n_inputs=3, n_classes=2, base=tmp_path, seed=0)
    found = load_weights(empty, path, what="checkpoint")
    given = dataset.audit[COLUMNS]
    known = given if kind == "catboost" else given.assign(job=pd.Categorical(given.job, categories=sorted(set(train.job.dropna()))))
    known = known.astype({"age": "float32", "town": "float32"})
    expected = model.predict_proba(known)[:, 1]
    assert len(np.unique(expected)) > 5
    assert np.abs(capture(found, dataset.encoder.transform(dataset.audit)).outputs[:, 0] - expected).max() < 1e-6
    assert ("job" in {one.column for one in dataset.unseen}) == (kind != "catboost")


@pytest.mark.parametrize("kind", FILES[1:3])
def test_words_that_a_file_does_not_know_and_files_that_differ_are_said(kind: str, tmp_path: Path) -> None:
    rows = frame()
    path, _ = outside(kind, tmp_path, rows)
    other, _ = outside(kind, tmp_path, rows[rows.job != "q"], "other")
    with pytest.raises(InputError, match="has other categories in 'job' than another model"):
        ready(recipe(kind, tmp_path, rows, path.name, other.name), tmp_path)
    with pytest.raises(InputError, match="hardly holds a category that the given models know"):
        ready(recipe(kind, tmp_path, rows.assign(job=rows.job + "!"), path.name), tmp_path)
    with pytest.raises(InputError, match=r"'encoding: one_hot'|is no number"):
        ready(recipe(kind, tmp_path, rows, path.name, encoding="one_hot"), tmp_path)
    plain, _ = outside(kind, tmp_path, rows.assign(job=rows.town.astype(int)), "plain")
    with pytest.raises(InputError, match=r"reads numbers in column 'job', which holds words|hardly holds a category"):
        ready(recipe(kind, tmp_path, rows, plain.name), tmp_path)


@pytest.mark.skipif(find_spec("catboost") is None, reason="the extra 'trees' is not installed (catboost)")
def test_averages_of_the_target_are_refused_by_name(tmp_path: Path) -> None:
    from catboost import CatBoostClassifier

    rows = frame()
    rows["job"] = rows.job.fillna("none")
    own = {"iterations": 9, "depth": 3, "thread_count": 1, "allow_writing_files": False, "logging_level": "Silent"}
    CatBoostClassifier(**own).fit(rows[COLUMNS], rows.y, cat_features=["job"]).save_model(str(tmp_path / "m.cbm"))
    with pytest.raises(InputError, match=r"splits by averages of the target.*one_hot_max_size"):
        ready(recipe("catboost", tmp_path, rows, "m.cbm"), tmp_path)


def test_forests_read_a_column_for_each_category() -> None:
    assert not RandomForestSpec(kind="random_forest").native
    document = {"name": "t", "data": {"path": "t.csv", "target": "y", "protected": ["sex"]}, "regimes": ["real"]}
    with pytest.raises(InputError, match="one_hot"):
        parse_recipe({**document, "model": {"kind": "random_forest", "encoding": "native"}})
    spec = parse_recipe({**document, "model": {"kind": "gradient_boosting", "encoding": "one_hot"}}).model
    assert (spec.native, spec.input_encoding) == (False, "one_hot")
    assert replace(fit_encoder(frame(), FEATURES, "standard")).columns[1] == "age=(missing)"
