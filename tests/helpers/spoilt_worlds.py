"""A sound recipe with its files in one folder, for a case to spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NETS = """
from torch import nn

def make(n):
    return nn.Sequential(nn.Linear(n, 4), nn.ReLU(), nn.Linear(4, 1))

def wide(n):
    return nn.Sequential(nn.Linear(n, 5), nn.ReLU(), nn.Linear(5, 1))

def raises(n):
    raise RuntimeError("no such luck\\nat all")

def leaves(n):
    raise SystemExit(3)

def nothing(n):
    return None

number = 3
"""


def table(n: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    age = rng.normal(40, 10, n).round(3) + 2 * (sex == "m")
    job = rng.choice(["clerk", "cook", "smith"], n)
    pay = np.where(age + rng.normal(0, 10, n) > 40, "high", "low")
    return pd.DataFrame({"age": age, "hours": rng.normal(38, 4, n).round(3), "job": job, "sex": sex, "pay": pay})


class World:
    """A sound recipe with its files in one folder, for a case to spoil."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = table()
        self.table.to_csv(folder / "real.csv", index=False)
        table(seed=1).to_csv(folder / "release.csv", index=False)
        (folder / "nets.py").write_text(NETS)
        self.data: dict[str, Any] = {"path": "real.csv", "target": "pay", "protected": ["sex"]}
        self.regimes: list[Any] = ["real"]
        self.recipe: dict[str, Any] = {
            "name": "spoilt",
            "data": self.data,
            "regimes": self.regimes,
            "model": {"kind": "mlp", "hidden": [8, 4], "epochs": 2},
            "seeds": 2,
            "references": {"placebos": 20},
        }

    def write(self, frame: pd.DataFrame, name: str = "real.csv") -> None:
        frame.to_csv(self.folder / name, index=False)

    def release(self, frame: pd.DataFrame | None = None, *, path: str = "release.csv") -> None:
        if frame is not None:
            self.write(frame, "release.csv")
        self.regimes.append({"synthetic": {"name": "vendor", "path": path}})

    def module(self, function: str = "make", file: str = "nets.py") -> None:
        self.recipe["model"] = {"kind": "module", "factory": f"{file}:{function}", "epochs": 2}

    def checkpoint(self, make: Callable[[Path], object] | None, name: str = "b0.safetensors") -> None:
        self.module()
        if make is not None:
            make(self.folder / name)
        self.regimes[:] = [{"name": "vendor", "checkpoints": [name]}]
