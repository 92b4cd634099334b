"""A tiny table with a release and checkpoints of an own module, recipes of them, and what a run of these leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.types import Evidence

RECIPE = """\
name: tiny
data: {path: real.csv, target: pay, protected: [sex], discover: 0}
regimes:
  - real
  - synthetic: {sdv: gaussian_copula}
  - synthetic: {name: vendor, path: release.csv}
  - mixed: {of: gaussian_copula, ratios: [0.5]}
model: {kind: mlp, hidden: [8, 4], epochs: 2, batch_size: 32, learning_rate: 0.02}
references: {placebos: 20}
seeds: 2
"""
SMALL = (
    RECIPE.replace("name: tiny", "name: small")
    .replace("  - synthetic: {sdv: gaussian_copula}\n", "")
    .replace("  - mixed: {of: gaussian_copula, ratios: [0.5]}\n", "")
    .replace("placebos: 20", "placebos: 20, reweighed: false")
    .replace("seeds: 2", "seeds: 1\ncures: false\nselection: {threshold: 0.5}")
)
# Few tasks, cures among them: those follow from what was measured.
CURED = SMALL.replace("cures: false", "cures: true").replace("  - synthetic: {name: vendor, path: release.csv}\n", "effort: decide\n")
REGIMES = ("real", "gaussian_copula", "vendor", "mixed-gaussian_copula-0.5")

NETS = """
from pathlib import Path
from torch import nn

class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        if self.training and Path(__file__).with_name("broken").exists():
            raise RuntimeError("cannot be trained today")
        return self.head(self.encoder(x))

def make(n):
    return Net(n)
"""
MODULE = """\
name: own-module
data: {path: real.csv, target: pay, protected: [sex], encode: none, exclude: [sex, job]}
regimes:
  - {name: vendor-a, checkpoints: [a0.safetensors, a1.safetensors]}
  - {name: vendor-b, checkpoints: [b0.safetensors, b1.safetensors]}
model: {kind: module, factory: "nets.py:make", epochs: 2}
references: {placebos: 20, reweighed: false}
seeds: 2
"""


def table(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    age = (rng.normal(40, 10, n) + 6 * (sex == "m")).round(3)
    job = np.where(rng.random(n) < 0.7, np.where(sex == "m", "smith", "nurse"), "clerk")
    pay = np.where(age + 4 * (sex == "m") + rng.normal(0, 8, n) > 45, "high", "low")
    return pd.DataFrame({"age": age, "hours": rng.normal(38, 4, n).round(3), "job": job, "sex": sex, "pay": pay})


def project(folder: Path, recipe: str = RECIPE) -> Path:
    """A folder with a recipe and its data; returns the recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    table(900, seed=0).to_csv(folder / "real.csv", index=False)
    table(450, seed=1).to_csv(folder / "release.csv", index=False)
    (folder / "nets.py").write_text(NETS)
    for index, name in enumerate(("a0", "a1", "b0", "b1")):
        generator = torch.Generator().manual_seed(index)
        shapes = {"encoder.0.weight": (8, 2), "encoder.0.bias": (8,), "encoder.2.weight": (4, 8), "encoder.2.bias": (4,)}
        shapes |= {"head.weight": (1, 4), "head.bias": (1,)}
        save_file({key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}, folder / f"{name}.safetensors")
    (folder / "recipe.yaml").write_text(recipe)
    return folder / "recipe.yaml"


def cache_of(out: Path) -> Path:
    """The cache of a folder of runs, a different one for each, so that no run is spared by another."""
    return out.with_name(f"{out.name}-cache")


def run(recipe: Path, out: Path, *more: str, jobs: int = 1) -> int:
    return main(["run", str(recipe), "--out", str(out), "--cache", str(cache_of(out)), "--jobs", str(jobs), *more])


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    start = [sys.executable, "-m", "proxyaudit.cli.main", "run", str(recipe)]
    return [*start, "--out", str(out), "--cache", str(cache_of(out)), *more]


def evidence_bytes(out: Path) -> bytes:
    return (find_run(out) / "evidence.json").read_bytes()


def evidence_of(out: Path) -> Evidence:
    return read_pack(find_run(out)).evidence


def finished(out: Path, kind: str = "*") -> dict[Path, int]:
    """Finished tasks with the moment at which each was finished."""
    # A killed task may leave its private folder (.work-...) with a marker in it, not yet renamed into place.
    return {marker.parent: marker.stat().st_mtime_ns for marker in cache_of(out).glob(f"{kind}/[!.]*/done.json")}
