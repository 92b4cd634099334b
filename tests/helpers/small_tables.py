"""Small tables of people, written and loaded as a recipe would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.recipe.recipe import Recipe, parse_recipe


def people(n: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    frame = pd.DataFrame({"x": rng.normal(size=n).round(6), "job": rng.choice(["clerk", "nurse", "cook"], n), "sex": sex})
    return frame.assign(help=rng.choice(["None", "some", "much"], n, p=[0.6, 0.2, 0.2]), y=rng.choice(["no", "yes"], n))


def write(frame: pd.DataFrame, path: Path) -> str:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    return path.name


def recipe_of(path: str, data: dict[str, Any] | None = None, regimes: list[Any] | None = None, **more: Any) -> Recipe:
    spec = {"path": path, "target": "y", "protected": ["sex"], "discover": 0} | (data or {})
    return parse_recipe({"name": "t", "data": spec, "regimes": regimes or ["real"], "model": {"kind": "mlp"}} | more)


def load(folder: Path, frame: pd.DataFrame, data: dict[str, Any] | None = None, name: str = "t.csv", **more: Any) -> Dataset:
    return load_dataset(recipe_of(write(frame, folder / name), data, **more), folder)
