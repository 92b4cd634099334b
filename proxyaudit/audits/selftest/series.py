"""Scans of planted series: how far ahead of the outputs a warning comes, and how often a clean series gets one.

The audit proper is left out: a signature needs the reference models and their rows alone, and is made here as a run makes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from proxyaudit.activations.capture import capture
from proxyaudit.audits.scan.inputs import Known, read_inputs
from proxyaudit.audits.scan.models import Use, read_checkpoint, read_references
from proxyaudit.audits.scan.run import scan
from proxyaudit.channels.signatures.make import ReferenceModel
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.quantise import quantise
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.signatures import signatures_of_models
from proxyaudit.planted.models import ATTRIBUTE
from proxyaudit.planted.series import make_series

AHEAD = 2


@dataclass(frozen=True)
class Followed:
    """One series, scanned checkpoint by checkpoint.

    Attributes:
        entered: First checkpoint whose true leak exceeds the margin; ``None`` in a clean series.
        shown: First checkpoint whose output gap reaches the margin; ``None`` if none does.
        answers: Exit code of every scan.
        leaks: Leak along the signature at every checkpoint.
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
    """Make a series in a folder and scan all of its checkpoints.

    Args:
        folder: Where to write it.
        seed: Root of the series.
        clean: Whether the attribute stays out.
        inputs: ``fresh`` (the attribute is known) or ``unlabelled``.
        sizes: Passed on to the series.
    """
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
