"""Versions of one planted model, clean and with a planted regression: fine-tuned, rounded to int8, on another base, converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from safetensors.numpy import save_file

from proxyaudit.planted.model_worlds import make_planted_model
from proxyaudit.planted.models import ATTRIBUTE, AUDIT_SHARE, TARGET, WIDTH, PlantedModel
from proxyaudit.seeding import stream

Weights = dict[str, NDArray[np.float32]]

# Another architecture with names of its own: the same function class, one more layer, and a head without a bias.
OTHER_NETS = f"""
import torch
from torch import nn


class Tower(nn.Module):
    def __init__(self, n_inputs):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(n_inputs, 2 * n_inputs), nn.ReLU(), nn.Linear(2 * n_inputs, n_inputs))
        self.body = nn.Sequential(nn.Linear(n_inputs, 2 * n_inputs), nn.ReLU(), nn.Linear(2 * n_inputs, {WIDTH}))
        self.pooled = nn.Linear({WIDTH}, {WIDTH})
        self.classifier = nn.Linear({WIDTH}, 1, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.02)

    def forward(self, x):
        return self.classifier(self.pooled(self.body(self.stem(x))))


def make_tower(n_inputs):
    return Tower(n_inputs)
"""


def clean_model(seed: int, *, n: int, checkpoints: int = 1) -> PlantedModel:
    """The base: the last representation carries the group, the head does not read it."""
    return make_planted_model("head_null", seed=seed, n=n, checkpoints=checkpoints)


def representation(weights: Weights, x_nd: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the head reads, shape ``(n, WIDTH)``."""
    h = x_nd
    for block in ("block1", "block2"):
        h = np.maximum(h @ weights[f"{block}.0.weight"].T + weights[f"{block}.0.bias"], 0)
        h = h @ weights[f"{block}.2.weight"].T + weights[f"{block}.2.bias"]
    return np.asarray(h, dtype=np.float64)


def uses_the_group(model: PlantedModel, weights: Weights, gain: float = 1.2) -> Weights:
    """The same weights with a head that also reads the direction of the group."""
    table = model.table
    x = table.drop(columns=[ATTRIBUTE, TARGET]).to_numpy(float)
    side = np.where(table[ATTRIBUTE] == "b", 1.0, -1.0)
    h = representation(weights, x)
    h = h - h.mean(0)
    direction = np.linalg.lstsq(h, side, rcond=None)[0]
    direction *= gain / (h @ direction).std()
    return {**weights, "head.weight": (weights["head.weight"] + direction).astype(np.float32)}


def int8(weights: Weights) -> Weights:
    """Every matrix rounded to 8 bits for each output channel, and back."""
    rounded = {}
    for name, values in weights.items():
        scale = np.abs(values).max(axis=-1, keepdims=True) / 127 if values.ndim > 1 else np.ones(1)
        scale = np.where(scale == 0, 1, scale)
        rounded[name] = (np.round(values / scale) * scale).astype(np.float32) if values.ndim > 1 else values
    return rounded


def on_another_base(weights: Weights, rng: np.random.Generator) -> Weights:
    """The same function in the other architecture; its last layer before the head turns the representation."""
    turn = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    moved = {f"{new}.{rest}": weights[f"{old}.{rest}"] for old, new in (("block1", "stem"), ("block2", "body")) for rest in _PARTS}
    head = (weights["head.weight"] @ turn.T).astype(np.float32)
    return {
        **moved,
        "pooled.weight": turn.astype(np.float32),
        "pooled.bias": np.zeros(WIDTH, np.float32),
        "classifier.weight": np.ascontiguousarray(head),
    }


_PARTS = ("0.weight", "0.bias", "2.weight", "2.bias")


def write_versions(folder: Path, model: PlantedModel, versions: dict[str, list[Weights]], *, name: str = "base", seed: int = 0) -> Path:
    """Write a recipe whose regimes are versions of the planted model; returns the recipe."""
    recipe = model.write(folder, seed=seed)
    document: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    document |= {"name": name, "regimes": [], "seeds": max(map(len, versions.values()))}
    other = any("classifier.weight" in weights for many in versions.values() for weights in many)
    if other:
        (folder / "tower.py").write_text(OTHER_NETS, encoding="utf-8")
        document["model"] = {"kind": "module", "factory": "tower.py:make_tower"}
        document["sites"] = {"verdict": ["pooled"], "profile": ["stem", "pooled"]}
    assert document["data"]["audit_share"] == AUDIT_SHARE
    for regime, many in versions.items():
        files = [f"{regime}-{index}.safetensors" for index in range(len(many))]
        for file, weights in zip(files, many, strict=True):
            save_file(weights, folder / file)
        document["regimes"].append({"name": regime, "checkpoints": files})
    recipe.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return recipe


def rng_of(seed: int) -> np.random.Generator:
    """Source of what differs between bases."""
    return stream(seed, "another base")
