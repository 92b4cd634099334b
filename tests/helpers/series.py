"""Planted series of checkpoints: a fine-tuning run in which a carrier of the attribute grows inside first and reaches the outputs later.

One coordinate of the last representation is ``g`` parts carrier and ``sqrt(1 - g**2)`` parts noise, and the head reads it with a gain of
its own. ``g`` rises from a chosen checkpoint on, the gain three later, while the bases drift at random. In a clean series ``g`` stays 0.
``follow`` scans a series: the audit proper is left out, since a signature needs the reference models and their rows alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from proxyaudit.activations.capture import capture
from proxyaudit.arrays import Floats
from proxyaudit.audits.scan.inputs import Known, read_inputs
from proxyaudit.audits.scan.models import Use, read_checkpoint, read_references
from proxyaudit.audits.scan.run import scan
from proxyaudit.channels.signatures import ReferenceModel
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.quantise import quantise
from proxyaudit.pipeline.facts import signatures_of_models
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.planted.construction import Rng
from proxyaudit.planted.models import ATTRIBUTE, INPUTS, TARGET, WIDTH, Basis, Draft, Weights, pass_on, selection, single, write_models
from proxyaudit.seeding import stream

AHEAD = 2
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


@dataclass(frozen=True)
class Followed:
    """One series, scanned checkpoint by checkpoint.

    Attributes:
        entered: First checkpoint whose true leak exceeds the margin; ``None`` in a clean series.
        shown: First checkpoint whose output gap reaches the margin; ``None`` if none does.
        answers: Exit code of every scan.
        held_out: Held-out contexts above the margin, and held-out contexts asked, at every checkpoint.
        placebo_alarms: Placebos that raised an alarm, and placebos, over all scans.
    """

    entered: int | None
    shown: int | None
    answers: tuple[int, ...]
    leaks: tuple[float, ...]
    held_out: tuple[tuple[int, int], ...]
    placebo_alarms: tuple[int, int]

    @property
    def warned(self) -> int | None:
        """First checkpoint with an alarm."""
        return next((step for step, code in enumerate(self.answers) if code == 1), None)

    @property
    def ahead(self) -> bool:
        """Whether the alarm came at least two checkpoints before the output gap."""
        return self.warned is not None and self.shown is not None and self.warned <= self.shown - AHEAD


def known_of(recipe: Path) -> Known:
    """Signatures of a recipe whose regimes are checkpoints, without its audit."""
    prepared = prepare_file(recipe)
    models = []
    for regime in prepared.regimes:
        x = prepared.audit_inputs(regime)
        for seed, path in enumerate((regime if regime.quantise is None else prepared.regime(str(regime.of))).checkpoints):
            model = load_weights(prepared.build(seed), path, what="a reference")
            captured = capture(model if regime.quantise is None else quantise(model, regime.quantise), x)
            used = (regime.erase, regime.scrub, regime.quantise)
            models.append(ReferenceModel(regime.name, seed, captured.acts, captured.outputs, load_file(path), *used))
    signatures = signatures_of_models(prepared, models, {})
    return Known(signatures, prepared.recipe, prepared.base, (prepared.recipe.name, prepared.plan.run_id))


def follow(folder: Path, *, seed: int, clean: bool, inputs: str = "fresh", **sizes: int) -> Followed:
    """Make a series in a folder and scan all of its checkpoints on ``inputs``: ``fresh`` (the attribute is known) or ``unlabelled``."""
    series = make_series(seed=seed, clean=clean, **sizes)
    known = known_of(series.write(folder))
    rows = read_inputs(known, folder / f"{inputs}.parquet")
    references = read_references(known, rows)
    group = (series.fresh[ATTRIBUTE] == "b").to_numpy()
    answers, leaks, held, gaps, alarms, placebos = [], [], [], [], 0, 0
    for step in range(len(series.steps)):
        scanned = read_checkpoint(known, folder / f"step{step}.safetensors", rows, references)
        document = scan(known, scanned)
        found = document["attributes"][0]
        answers.append(int(document["exit_code"]))
        leaks.append(float(found["leak"]))
        held.append((int(found["held_out_above"]), int(found["held_out"])))
        outputs = scanned.models[Use()].outputs[:, 0]
        gaps.append(abs(float(outputs[group].mean() - outputs[~group].mean())))
        alarms, placebos = alarms + document["false_alarms"]["alarms"], placebos + document["false_alarms"]["placebos"]
    margin = known.recipe.margins.gap
    shown = next((step for step, gap in enumerate(gaps) if gap >= margin), None)
    return Followed(series.entered, shown, tuple(answers), tuple(leaks), tuple(held), (alarms, placebos))


def summary(planted: Sequence[Followed], clean: Sequence[Followed]) -> dict[str, float]:
    """The counts that matter over many series."""

    def total(series: Iterable[Followed], place: int) -> int:
        return sum(found.placebo_alarms[place] for found in series)

    leads = [found.shown - found.warned for found in planted if found.shown is not None and found.warned is not None]
    return {
        "planted": len(planted),
        "ahead": sum(found.ahead for found in planted),
        "mean_lead": float(np.mean(leads)) if leads else 0.0,
        "clean": len(clean),
        "clean_alarmed": sum(found.warned is not None for found in clean),
        "placebo_alarms": total((*planted, *clean), 0),
        "placebos": total((*planted, *clean), 1),
    }
