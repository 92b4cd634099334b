"""Planted series of checkpoints: a fine-tuning run in which a carrier of the attribute grows inside first and reaches the outputs later.

One coordinate of the last representation is ``g`` parts carrier and ``sqrt(1 - g**2)`` parts noise, and the head reads it with a gain of
its own. ``g`` rises from a chosen checkpoint on, the gain three later, while the bases drift at random. In a clean series ``g`` stays 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Floats
from proxyaudit.planted.construction import Rng
from proxyaudit.planted.models import ATTRIBUTE, INPUTS, TARGET, WIDTH, Basis, Draft, Weights, pass_on, selection, single, write_models
from proxyaudit.seeding import stream

STEPS = 10
LEAD = 3
SERIES_ROWS = 6000
SCAN_ROWS = 3000
REGIME = "known"
_DRIFT = 0.03
_SHIFT = 1.0  # between the groups' means of the carrier, in its standard deviation
_AT_MARGIN = 0.34  # shift of a Gaussian coordinate that leaks about the margin of .02


@dataclass(frozen=True)
class Series:
    """A planted series with the reference models that were caught in the state before; ``fresh`` are rows of other people to scan with.

    ``coupling`` is ``g`` at each checkpoint, ``shift`` that between the groups' means of the coordinate, per unit of ``g``.
    """

    table: pd.DataFrame
    fresh: pd.DataFrame
    references: tuple[Weights, ...]
    steps: tuple[Weights, ...]
    coupling: NDArray[np.float64]
    gains: NDArray[np.float64]
    shift: float

    @property
    def entered(self) -> int | None:
        """First checkpoint whose coordinate leaks more than the margin; ``None`` in a clean series."""
        above = np.flatnonzero(self.coupling * self.shift > _AT_MARGIN)
        return int(above[0]) if len(above) else None

    def write(self, folder: Path, *, seed: int = 0, signatures: bool = True) -> Path:
        """Write tables, factory, checkpoints and the recipe of the reference run; returns the recipe."""
        folder.mkdir(parents=True, exist_ok=True)
        self.table.to_parquet(folder / "rows.parquet", index=False)
        self.fresh.to_parquet(folder / "fresh.parquet", index=False)
        self.fresh.drop(columns=[ATTRIBUTE, TARGET]).to_parquet(folder / "unlabelled.parquet", index=False)
        known = {f"known{index}.safetensors": weights for index, weights in enumerate(self.references)}
        steps = {f"step{index}.safetensors": weights for index, weights in enumerate(self.steps)}
        recipe = {
            "name": "series",
            "data": {"path": "rows.parquet", "discover": 0},
            "regimes": [{"name": REGIME, "checkpoints": list(known)}],
            "sites": {"verdict": ["penultimate"], "profile": ["penultimate"]},
            "seed": seed,
            "signatures": signatures,
        }
        return write_models(folder, known | steps, "make_linear_head", recipe)


def make_series(*, seed: int, clean: bool = False, references: int = 2, rows: int = SERIES_ROWS, scan_rows: int = SCAN_ROWS) -> Series:
    """Make a series; in a clean one the carrier stays out."""
    rng = stream(seed, "series")
    draft = Draft.draw(rows + scan_rows, rng)
    draft.add("carrier", draft.shifted(_SHIFT))
    draft.add("filler", rng.normal(size=draft.n))
    signal = draft.add("signal", rng.normal(size=draft.n))
    table, place = draft.table(float(rng.uniform(0.8, 1.2)) * signal)
    order = sorted(place, key=lambda role: place[role])
    coupling, gains = _growth(rng, clean=clean)
    made = [_weights(order, 0.95, float(rng.uniform(0.6, 0.9)), _Drift.start(order, rng), rng) for _ in range(references)]
    drift, steps = _Drift.start(order, rng), []
    for g, gain in zip(coupling, gains, strict=True):
        steps.append(_weights(order, float(g), float(gain), drift, rng))
        drift = drift.further(rng)
    fresh = table.iloc[rows:].reset_index(drop=True)
    return Series(table.iloc[:rows], fresh, tuple(made), tuple(steps), coupling, gains, _SHIFT)


def _growth(rng: Rng, *, clean: bool) -> tuple[Floats, Floats]:
    """Coupling and head gain of each checkpoint: the coupling crosses the margin at checkpoint 3 or 4, the gain wakes three later."""
    if clean:
        return np.zeros(STEPS), np.zeros(STEPS)
    crossing = int(rng.integers(3, 5))
    coupling = np.zeros(STEPS)
    coupling[crossing - 2 : crossing] = (0.1, 0.2)
    size = _AT_MARGIN / _SHIFT * rng.uniform(1.02, 1.15)
    for step in range(crossing, STEPS):
        coupling[step] = min(size, 0.95)
        size += rng.uniform(0.08, 0.14)
    gains = np.where(np.arange(STEPS) >= crossing + LEAD, 0.6 + 0.1 * np.arange(STEPS), 0.0)
    return coupling, gains


@dataclass(frozen=True)
class _Drift:
    """Bases and mixtures of a checkpoint, which the next one has nearly the same."""

    first: Basis
    second: Basis
    chosen: Floats

    @classmethod
    def start(cls, order: list[str], rng: Rng) -> _Drift:
        chosen = selection(order, ("signal",), ("carrier", "filler"), WIDTH - 1, rng)
        return cls(Basis.random(INPUTS, rng), Basis.random(WIDTH, rng), chosen)

    def further(self, rng: Rng) -> _Drift:
        """A small random step of everything that the network is made of."""
        moved = self.second.write + _DRIFT * rng.normal(size=(WIDTH, WIDTH))
        chosen = self.chosen.copy()
        unread = np.flatnonzero(np.abs(chosen[1:]).sum(axis=0))
        chosen[1:, unread] += _DRIFT * rng.normal(size=(WIDTH - 2, len(unread)))
        return _Drift(self.first, Basis(moved, np.asarray(np.linalg.inv(moved), dtype=np.float64)), chosen)


def _weights(order: list[str], g: float, gain: float, drift: _Drift, rng: Rng) -> Weights:
    """Weights of one checkpoint with coupling ``g``, whose head reads the coordinate with ``gain`` beside the signal."""
    coordinate = np.zeros((1, INPUTS))
    coordinate[0, order.index("carrier")] = g
    coordinate[0, order.index("filler")] = np.sqrt(1 - g**2)
    chosen = np.concatenate([drift.chosen, coordinate])
    head = drift.second.read[0] + gain * drift.second.read[WIDTH - 1]
    return {
        **pass_on(drift.first.write, rng, "block1"),
        **pass_on(drift.second.write @ chosen @ drift.first.read, rng, "block2"),
        "head.weight": single(head.reshape(1, WIDTH)),
        "head.bias": single(np.zeros(1)),
    }
