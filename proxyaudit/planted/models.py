"""Planted models: torch modules whose weights are set by construction, with rows to audit them on and the truth about both.

Several checkpoints are one construction in bases, scales and selections of unread coordinates of their own. Imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from safetensors.numpy import save_file

from proxyaudit.arrays import Floats
from proxyaudit.planted.construction import Rng, directions

Weights = dict[str, NDArray[np.float32]]
States = Mapping[str, str]

INPUTS = 28
WIDTH = 24  # as in nets.py
ROWS = 5600
AUDIT_SHARE = 0.75
REGIME = "planted"
NETS = "nets.py"
ATTRIBUTE, TARGET = "person_group", "outcome"
_SCALE_SPREAD = 0.3


@dataclass(frozen=True)
class Truth:
    """What a perfect audit says about a planted model."""

    verdict: str
    encoding: str
    use: tuple[str, ...]  # channels of use that are present, or ("none",)
    states: States  # true state of each channel that the construction settles; a channel left out may be either
    proxy: str | None = None  # to be named first among the proxies; None where no column both carries the attribute and acts
    alone: bool = True  # whether each verdict site by itself moves the outputs; false for redundant use, which only joint swaps find


@dataclass(frozen=True)
class PlantedModel:
    """A planted model with its rows."""

    kind: str
    table: pd.DataFrame  # numbers, the attribute (a or b) and the outcome (no or yes)
    factory: str  # a function in nets.py
    weights: tuple[Weights, ...]  # one checkpoint per seed
    verdict_sites: tuple[str, ...]
    profile_sites: tuple[str, ...]
    truth: Truth
    detail: str

    def write(self, folder: Path, *, seed: int = 0) -> Path:
        """Write table, factory, checkpoints and recipe into a folder; returns the recipe."""
        folder.mkdir(parents=True, exist_ok=True)
        self.table.to_csv(folder / "rows.csv", index=False)
        files = {f"model{index}.safetensors": weights for index, weights in enumerate(self.weights)}
        data = {"path": "rows.csv", "discover": 2 if self.truth.proxy else 0}
        sites = {"verdict": list(self.verdict_sites), "profile": list(self.profile_sites)}
        name = self.kind.replace("_", "-")
        recipe = {"name": name, "data": data, "sites": sites, "regimes": [{"name": REGIME, "checkpoints": list(files)}], "seed": seed}
        return write_models(folder, files, self.factory, recipe)


def write_models(folder: Path, files: Mapping[str, Weights], factory: str, recipe: Mapping[str, Any]) -> Path:
    """Write the architectures, checkpoints by file name, and the recipe with what all recipes of planted models say; returns the recipe."""
    (folder / NETS).write_bytes(Path(__file__).with_name(NETS).read_bytes())
    for name, weights in files.items():
        save_file(weights, folder / name)
    data = {"target": TARGET, "target_positive": "yes", "protected": [ATTRIBUTE], "encode": "none", "audit_share": AUDIT_SHARE}
    model, seeds = {"kind": "module", "factory": f"{NETS}:{factory}"}, len(recipe["regimes"][0]["checkpoints"])
    whole = {**recipe, "data": data | recipe["data"], "model": model, "references": {"reweighed": False}, "seeds": seeds}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(whole, sort_keys=False), encoding="utf-8")
    return path


@dataclass
class Draft:
    """Rows of a planted model in the making; columns by role, those not named in ``features`` are filled up with noise."""

    n: int
    rng: Rng
    group_n: NDArray[np.int64]
    features: dict[str, Floats] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    @classmethod
    def draw(cls, n: int, rng: Rng) -> "Draft":
        """Rows with a balanced attribute and nothing else."""
        return cls(n, rng, rng.permutation(np.arange(n) % 2))

    @property
    def side_n(self) -> Floats:
        """The attribute as -1 or 1."""
        return np.asarray(2.0 * self.group_n - 1)

    def add(self, role: str, values: Floats, *, name: str | None = None) -> Floats:
        """Add a column."""
        # Rounded as it will be written, so that the truth speaks of the very numbers that the model reads.
        self.features[role] = np.round(values, 6)
        if name is not None:
            self.names[role] = name
        return self.features[role]

    def shifted(self, shift: float) -> Floats:
        """Unit Gaussian whose mean is ``shift`` apart between the groups."""
        return np.asarray(self.rng.normal(size=self.n) + shift / 2 * self.side_n)

    def table(self, logit_n: Floats) -> tuple[pd.DataFrame, dict[str, int]]:
        """The table, columns in random order, and the place of every role's column."""
        for index in range(INPUTS - len(self.features)):
            self.add(f"noise{index}", self.rng.normal(size=self.n))
        roles = [list(self.features)[index] for index in self.rng.permutation(INPUTS)]
        columns = {self.names.get(role, f"x{place + 1}"): self.features[role] for place, role in enumerate(roles)}
        outcome = self.rng.random(self.n) < 1 / (1 + np.exp(-logit_n))
        table = pd.DataFrame(columns).assign(**{ATTRIBUTE: np.array(["a", "b"])[self.group_n], TARGET: np.where(outcome, "yes", "no")})
        return table, {role: place for place, role in enumerate(roles)}


@dataclass(frozen=True)
class Basis:
    """Named coordinates in a basis of their own: the site's value is ``write @ z``, and ``z = read @ value``."""

    write: Floats
    read: Floats

    @classmethod
    def random(cls, d: int, rng: Rng) -> "Basis":
        """A random rotation with unequal scales."""
        turn, scale = directions(d, d, rng), np.exp(rng.normal(0, _SCALE_SPREAD, d))
        return cls(turn * scale, (turn / scale).T)


def pass_on(map_oi: Floats, rng: Rng, prefix: str) -> Weights:
    """Weights of a block that computes exactly the linear map, shape ``(outputs, inputs)``: ``x = relu(x) - relu(-x)``."""
    turn = directions(map_oi.shape[1], map_oi.shape[1], rng)
    return block_weights(turn, map_oi @ turn.T, -map_oi @ turn.T, prefix)


def block_weights(hidden_ii: Floats, plus_oi: Floats, minus_oi: Floats, prefix: str) -> Weights:
    """Weights of a block that computes ``plus relu(hidden x) + minus relu(-hidden x)``."""
    first, second = np.concatenate([hidden_ii, -hidden_ii]), np.concatenate([plus_oi, minus_oi], axis=1)
    return _two_layers(prefix, first, np.zeros(len(first)), second, np.zeros(len(second)))


def _two_layers(prefix: str, first: Floats, bias: Floats, second: Floats, last_bias: Floats) -> Weights:
    """Weights of a linear layer, a ReLU and another linear layer."""
    arrays = {"0.weight": first, "0.bias": bias, "2.weight": second, "2.bias": last_bias}
    return {f"{prefix}.{name}": single(array) for name, array in arrays.items()}


def selection(order: list[str], keep: tuple[str, ...], drop: tuple[str, ...], rows: int, rng: Rng) -> Floats:
    """Orthonormal rows: the kept coordinates first, then random mixtures of those neither kept nor dropped."""
    chosen = np.zeros((rows, len(order)))
    chosen[np.arange(len(keep)), [order.index(role) for role in keep]] = 1
    rest = [index for index, role in enumerate(order) if role not in keep and role not in drop]
    chosen[len(keep) :, rest] = directions(len(rest), len(rest), rng)[: rows - len(keep)]
    return chosen


def gated_weights(value_d: Floats, gate_d: Floats | None, signal_d: Floats, gains: tuple[float, float], reach: float) -> Weights:
    """Weights of the nonlinear head: ``gain * gate * clip(value, -1, 1) + signal gain * signal``, the gate being -1 or 1.

    Without a gate it is always 1. A gate stays shut for values up to ``2 * reach - 1``.
    """
    shut = 0.0 if gate_d is None else reach
    gate = np.zeros_like(value_d) if gate_d is None else reach * gate_d
    # With the gate at -1 the first pair is shut, with the gate at 1 the second.
    first = np.stack([value_d + gate, value_d + gate, -value_d - gate, -value_d - gate, signal_d, -signal_d])
    bias = np.array([1 - shut, -1 - shut, 1 - shut, -1 - shut, 0, 0])
    second = np.array([1.0, -1, 1, -1, 0, 0]) * gains[0] + np.array([0, 0, 0, 0, 1.0, -1]) * gains[1]
    if gate_d is None:
        second[2:4] = 0
    return _two_layers("head", first, bias, second[None, :], np.array([-gains[0]]))


def single(array: Floats) -> NDArray[np.float32]:
    """The array as the checkpoints hold it."""
    return np.ascontiguousarray(array, dtype=np.float32)
