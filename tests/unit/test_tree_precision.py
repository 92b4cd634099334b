"""Numbers that a library compares in double precision reach its trees on the same side of every split, or are refused in one line."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tree_models import TRUSTED

from proxyaudit.activations.capture import capture
from proxyaudit.audits.scan.inputs import Inputs
from proxyaudit.audits.scan.inputs import _checkpoint as scanned
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.encoding import Encoder
from proxyaudit.data.precision import in_single
from proxyaudit.errors import InputError
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.tree_files import with_room
from proxyaudit.recipe.recipe import Recipe, SitesSpec, parse_recipe

COLUMNS = ["x", "z"]
LIBRARIES = [
    pytest.param(kind, marks=pytest.mark.skipif(find_spec(library) is None, reason=f"the extra 'trees' is not installed ({library})"))
    for kind, library in (("lightgbm", "lightgbm"), ("gradient_boosting", "skops"))
]


def seen(kind: str) -> tuple[Any, Any]:
    """Numbers of training, and those of the audit, which lie on splits half-way between two of training."""
    if kind == "decimals":
        return np.arange(40, 44, 0.2).round(1), np.arange(40, 44, 0.1).round(1)
    if kind == "cents":
        return 2e6 + np.arange(20) * 0.75, 2e6 + np.arange(0, 15, 0.25)
    if kind == "numbers past 2^24":
        return 20_000_000 + np.arange(0, 160, 8), 20_000_000 + np.arange(160)
    return 1_700_000_000 + np.arange(0, 200, 10), 1_700_000_000 + np.arange(200)  # seconds since 1970


def rows(of: Any, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = np.r_[of, rng.choice(of, 400)]
    y = (np.searchsorted(np.unique(of), x) // 2 % 2) ^ (rng.random(len(x)) < 0.1)
    return pd.DataFrame({"x": x, "z": rng.normal(size=len(x)).round(3), "sex": rng.choice(["f", "m"], len(x)), "y": y.astype(int)})


def outside(kind: str, folder: Path, train: pd.DataFrame) -> tuple[Path, Any]:
    x = train[COLUMNS].to_numpy(np.float64)
    if kind == "lightgbm":
        from lightgbm import LGBMClassifier

        model = LGBMClassifier(n_estimators=5, min_child_samples=5, n_jobs=1, verbose=-1).fit(x, train.y)
        model.booster_.save_model(path := folder / "model.txt")
    else:
        import skops.io
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=5).fit(x, train.y)
        skops.io.dump(model, path := folder / "model.skops")
    return path, model


def ready(kind: str, folder: Path, table: pd.DataFrame, path: Path, **model: Any) -> tuple[Recipe, Dataset]:
    table.to_csv(folder / "rows.csv", index=False)
    data = {"path": "rows.csv", "target": "y", "protected": ["sex"], "exclude": ["sex"], "encode": "none"}
    model = {"kind": kind, **({"trusted": TRUSTED} if kind == "gradient_boosting" else {}), **model}
    asked = parse_recipe({"name": "t", "data": data, "regimes": [{"name": "vendor", "checkpoints": [path.name]}], "model": model})
    return with_room(asked, folder, load_dataset(asked, folder))[:2]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", ["decimals", "cents", "numbers past 2^24"])
@pytest.mark.parametrize("encoding", ["native", "one_hot"])
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_outputs_are_the_librarys_own_for_numbers_that_single_precision_rounds(
    library: str, kind: str, encoding: str, tmp_path: Path
) -> None:
    train, audit = (rows(of, seed) for seed, of in enumerate(seen(kind)))
    path, model = outside(library, tmp_path, train)
    asked, dataset = ready(library, tmp_path, audit, path, encoding=encoding)
    empty = build_model(asked.model, SitesSpec(verdict=("margins",)), n_inputs=2, n_classes=2, base=tmp_path, seed=0)
    found = load_weights(empty, path, what="checkpoint")
    table = dataset.audit[COLUMNS].to_numpy(np.float64)
    expected, rounded = (model.predict_proba(x)[:, 1] for x in (table, table.astype(np.float32).astype(np.float64)))
    assert np.abs(capture(found, dataset.encoder.transform(dataset.audit)).outputs[:, 0] - expected).max() < 1e-6
    assert kind == "cents" or np.abs(expected - rounded).max() > 1e-3  # rounding alone would tell another model


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", ["decimals", "cents", "numbers past 2^24"])
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_a_scanned_file_gets_the_same_numbers(library: str, kind: str, tmp_path: Path) -> None:
    train, audit = (rows(of, seed) for seed, of in enumerate(seen(kind)))
    path, model = outside(library, tmp_path, train)
    asked, dataset = ready(library, tmp_path, audit, path)
    assert isinstance(dataset.encoder, Encoder)
    blank = dataset.encoder.with_splits([()] * len(dataset.encoder.parts))  # of a run that knows other files
    known: Any = SimpleNamespace(
        recipe=asked, base=tmp_path, signatures=SimpleNamespace(document=SimpleNamespace(references=(), classes=2))
    )
    found, own = scanned(known, path, Inputs(dataset.audit, blank, dataset.clusters, {}))
    expected = model.predict_proba(dataset.audit[COLUMNS].to_numpy(np.float64))[:, 1]
    assert np.abs(capture(found, own.table()).outputs[:, 0] - expected).max() < 1e-6


@pytest.mark.parametrize("library", LIBRARIES)
def test_splits_that_are_finer_than_single_precision_are_refused_in_one_line(library: str, tmp_path: Path) -> None:
    train, audit = (rows(of, seed) for seed, of in enumerate(seen("seconds")))
    path, _ = outside(library, tmp_path, train)
    with pytest.raises(InputError, match=r"splits column 'x' between numbers that single precision.*days since a date") as caught:
        ready(library, tmp_path, audit, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e12])
def test_numbers_stay_on_their_side_of_every_split(size: float) -> None:
    rng = np.random.default_rng(0)
    values = np.r_[rng.normal(size=500) * size, np.nan, np.inf, -np.inf]
    splits = np.sort(np.r_[rng.choice(values[:500], 50), np.nextafter(rng.choice(values[:500], 50), rng.choice([-np.inf, np.inf], 50))])
    found = in_single(values, tuple(splits[::3].tolist()), "x")
    assert found.dtype == np.float32
    assert np.array_equal(np.isnan(found), np.isnan(values))
    known = ~np.isnan(values)
    assert np.array_equal(found[known, None] <= splits[::3].astype(np.float64), values[known, None] <= splits[::3])
    assert np.allclose(found[:500], values[:500], rtol=1e-6)
    assert np.array_equal(in_single(values, (), "x")[known], values[known].astype(np.float32))
