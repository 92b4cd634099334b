"""Models of trees as their users train and save them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

COLUMNS = ("age", "hours per week", "x2", "x3")
ROWS = 600
TRUSTED = ["sklearn.tree._tree.Tree", "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


def needs(*libraries: str) -> Any:
    lacking = [name for name in libraries if find_spec(name) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"the extra 'trees' is not installed ({', '.join(lacking)})")


def table(classes: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 4))
    x[:, 0], x[:, 3] = (x[:, 0] * 10 + 40).round(), x[:, 3] > 0.3
    x = x.astype(np.float32)
    score = x[:, 0] / 10 + x[:, 1] * x[:, 3] + rng.normal(0, 0.7, ROWS)
    y = np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))
    return pd.DataFrame({**{name: x[:, i] for i, name in enumerate(COLUMNS)}, "sex": rng.choice(["f", "m"], ROWS), "y": y})


def outside(kind: str, folder: Path, classes: int = 2, *, frame: bool = False, **more: Any) -> tuple[Path, Any]:
    """A model as a user trains and saves it, with the classifier that knows its probabilities."""
    rows = table(classes)
    x: Any = rows[list(COLUMNS)] if frame else rows[list(COLUMNS)].to_numpy(np.float32)
    model: Any
    if kind == "xgboost":
        from xgboost import XGBClassifier

        suffix = more.pop("suffix", "ubj")
        model = XGBClassifier(**{"n_estimators": 7, "max_depth": 3, "n_jobs": 1} | more).fit(x, rows.y)
        model.save_model(path := folder / f"model.{suffix}")
    elif kind == "lightgbm":
        from lightgbm import LGBMClassifier

        model = LGBMClassifier(**{"n_estimators": 7, "num_leaves": 6, "n_jobs": 1, "verbose": -1} | more).fit(x, rows.y)
        model.booster_.save_model(path := folder / "model.txt")
    elif kind == "catboost":
        from catboost import CatBoostClassifier

        fixed = {"thread_count": 1, "allow_writing_files": False, "logging_level": "Silent"}
        model = CatBoostClassifier(**{"iterations": 7, "depth": 3} | fixed | more).fit(x, rows.y)
        model.save_model(str(path := folder / "model.cbm"))
    else:
        import sklearn.ensemble
        import skops.io

        name = more.pop("name", {"gradient_boosting": "HistGradientBoostingClassifier", "random_forest": "RandomForestClassifier"}[kind])
        size = {"max_iter": 7} if name.startswith("Hist") else {"n_estimators": 7, "max_leaf_nodes": 30}
        model = getattr(sklearn.ensemble, name)(**size | {"random_state": 0} | more).fit(x, rows.y)
        skops.io.dump(model, path := folder / "model.skops")
    return path, model
