"""Measure in one trained model whether a little fine-tuning brings each attribute back, with placebos and plants beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from proxyaudit.arrays import Ints
from proxyaudit.causal.relearning import SHORT, STEPS, Problem, Relearner, Relearnt, UntrainableError, draw_rows, make_rotations
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.placebos import plant_label
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.dataset import Dataset
from proxyaudit.estimates.record import Measurement, cell_key
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.blocks import LastBlock, NoBlockError, last_block, whole_model
from proxyaudit.models.text import TextClassifier
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import Rows

SITE = "relearned"
ROWS = 256  # the deciding number of labelled rows
CURVE = (16, 64, 256, 1024)
LAST, HEAD, WHOLE, TASK = "last block", "head only", "whole model", "last block on the task, then a head"
FEWEST = 10  # rows of each class in each part
PLANTS = 8
PLANT_FAMILIES = ("high", "unit")
MOST_WORK, MOST_SHORT_WORK = 4e10, 6e11  # operations for one attribute with all steps, and with few


TOO_LARGE = "the last block is too large to be trained again often enough for a control"


@dataclass(frozen=True)
class _Effort:
    """How much fine-tuning one attribute gets.

    Attributes:
        steps: After how many steps it is looked at.
        draws: Draws of the attribute's rows in each rotation.
        turns: Rotations of each placebo.
        planted: Leaks of the plants.
    """

    steps: tuple[int, ...]
    draws: int
    turns: int
    planted: tuple[float, ...]

    def problems(self, placebos: int) -> int:
        """Problems to be trained on the deciding number of rows."""
        return 3 * self.draws + self.turns * placebos + (PLANTS * len(self.planted) if placebos else 0)


FULL = _Effort(STEPS, 2, 3, (0.15, 0.3, 0.5, 0.8))
LEAST = _Effort(SHORT, 1, 1, (0.3, 0.8))


@dataclass(frozen=True)
class _Setting:
    """What all attributes of one model share."""

    block: LastBlock
    rows: Rows
    labels_n: Ints
    dataset: Dataset
    root: int
    placebos: int


def measure_relearning(
    model: TrainedModel,
    x_np: NDArray[np.float32],
    dataset: Dataset,
    labels_n: Ints,
    placebos: dict[str, NDArray[Any]],
    *,
    root: int,
    reference: bool,
    out: Measurement,
    acts: Mapping[str, NDArray[np.float32]] | None = None,
) -> None:
    """Relearn every attribute; numbers go under ``relearned / attribute`` of ``out``, row influences under :func:`cell_key`.

    Args:
        model: The model.
        x_np: Encoded inputs of the audit rows.
        dataset: The data set.
        labels_n: True label of each audit row.
        placebos: Label columns ``(n, m)`` of placebo attributes, by attribute.
        root: Root seed; rows and plants do not depend on the model, so that models are compared on the same ones.
        reference: Whether the model is a reference: then the attribute alone is relearnt, by its last block.
        out: Takes the results.
        acts: Captured activations by site; a model of texts needs them.
    """
    found = out.numbers.setdefault("relearned", {})
    try:
        block = last_block(model, x_np, acts)
        # Of a transformer of texts the whole is too much to be trained again, again and again.
        whole = None if reference or isinstance(model.module, TextClassifier) else whole_model(model, x_np)
    except NoBlockError as error:
        found.update({a.name: {"reason": str(error), "applies": error.applies} for a in dataset.attributes})
        return
    count = max((c.shape[1] for c in placebos.values()), default=0)
    if block.row_work is not None and 6 * block.row_work * ROWS * LEAST.steps[-1] * LEAST.problems(count) > MOST_SHORT_WORK:
        found.update({a.name: {"reason": TOO_LARGE, "applies": True} for a in dataset.attributes})
        return
    setting = _Setting(block, whiten(block.vectors()).rows, labels_n, dataset, root, count)
    for attribute in dataset.attributes:
        planted = placebos.get(attribute.name)
        try:
            found[attribute.name] = _Attribute(setting, attribute).measure(None if reference else planted, whole, out)
        except UntrainableError as error:
            found[attribute.name] = {"reason": str(error), "applies": True}


class _Attribute:
    """One attribute in one model."""

    def __init__(self, setting: _Setting, attribute: Attribute) -> None:
        self.setting, self.attribute = setting, attribute
        self.classes, self.known = attribute.classes, attribute.known
        self.codes = np.asarray(attribute.codes)
        self.rotations = make_rotations(setting.dataset.parts, self.known, self._stream("rows"))

    def _stream(self, *purpose: str | int) -> np.random.Generator:
        return stream(self.setting.root, "relearned", self.attribute.name, *purpose)

    def measure(self, placebos_nm: NDArray[Any] | None, whole: LastBlock | None, out: Measurement) -> dict[str, Any]:
        """The attribute's numbers; its influences go into ``out``."""
        reason = self._too_few()
        if reason is not None:
            return {"reason": reason, "applies": True}
        block = self.setting.block
        effort, relearner = FULL, Relearner(block.module, block.values, block.free, FULL.steps)
        # A reference is compared with models that have placebos: it gets the same effort.
        if relearner.cost(ROWS) * effort.problems(self.setting.placebos) > MOST_WORK:
            effort, relearner = LEAST, Relearner(block.module, block.values, block.free, LEAST.steps)
            if relearner.cost(ROWS) * effort.problems(self.setting.placebos) > MOST_SHORT_WORK:
                return {"reason": TOO_LARGE, "applies": True}
        learnt = relearner.solve(self._own(ROWS, effort.draws), self.rotations, self.classes)
        influence, rows = self._influence(learnt)
        out.arrays[cell_key(self.attribute.name, SITE, "influence")] = influence
        numbers: dict[str, Any] = {
            "reason": None,
            "applies": True,
            "value": _mean(learnt),
            "draws": [one.leak for one in learnt],
            "n": rows,
            "row_floor": self._row_floor(influence, rows),
            "block": block.text,
            "steps": [one.steps for one in learnt],
        }
        numbers["curve"] = self._curve(relearner, whole, effort.draws, learnt)
        if placebos_nm is not None:
            numbers["placebos"] = self._placebos(relearner, placebos_nm, effort.turns)
            numbers["plants"] = self._plants(relearner, effort.planted)
        return numbers

    def _too_few(self) -> str | None:
        smallest = min(len(r.learn) for r in self.rotations)
        if smallest < ROWS:
            return f"too few audit rows: {ROWS} to learn from in each of three parts, about {3 * ROWS} rows in all, would settle it"
        if self.classes:
            parts = [rows for rotation in self.rotations for rows in (rotation.learn, rotation.choose, rotation.score)]
            fewest = min(int(np.bincount(self.codes[rows], minlength=self.classes).min()) for rows in parts)
            if fewest < FEWEST:
                return f"a group has fewer than {FEWEST} rows in one of the three parts: more audit rows of it would settle it"
        return None

    def _own(self, m: int, draws: int) -> list[Problem]:
        """The attribute itself: rows of each draw lie within each other as m grows, and are the same in every model."""
        return [
            Problem(self.codes, draw_rows(self.codes, rotation.learn, self.classes, self._stream("draw", index, draw))[:m], index)
            for index, rotation in enumerate(self.rotations)
            for draw in range(draws)
            if len(rotation.learn) >= m
        ]

    def _influence(self, learnt: Sequence[Relearnt]) -> tuple[NDArray[np.float64], int]:
        """Influence of every audit row on the mean leak, and how many rows were measured."""
        influence = np.zeros(len(self.codes))
        for one in learnt:
            influence[one.rows] += one.influence / len(learnt)
        return influence, len({int(row) for one in learnt for row in one.rows})

    def _row_floor(self, influence: NDArray[np.float64], rows: int) -> float:
        """Variance of a leak of size one that these rows would give at least, per unit of leak.

        A reader that stays silent has no variance of its own. Near a small leak g (nats) the gain of a row has variance 2 g, that of a
        squared correlation 4 of itself.
        """
        if self.classes == 0:
            return 4.0 / rows
        scored = np.flatnonzero(np.isin(np.arange(len(self.codes)), np.concatenate([r.score for r in self.rotations])))
        counts = np.bincount(self.codes[scored], minlength=self.classes)
        effective = 1 / float((1 / (self.classes**2 * counts)).sum())
        return 2.0 / (float(np.log(self.classes)) * effective)

    def _curve(self, relearner: Relearner, whole: LastBlock | None, draws: int, learnt: Sequence[Relearnt]) -> list[dict[str, Any]]:
        """What each way of fine-tuning reaches with m rows."""
        block, points = self.setting.block, []

        def add(mode: str, m: int, found: Sequence[Relearnt]) -> None:
            if found and len(found) % len(self.rotations) == 0:
                points.append({"mode": mode, "m": m, "leaks": [one.leak for one in found]})

        frozen = Relearner(block.module, block.values, ())
        everything = None if whole is None else Relearner(whole.module, whole.values, whole.free, relearner.steps)
        for m in CURVE:
            own = self._own(m, draws)
            if not own:
                continue
            add(LAST, m, learnt if m == ROWS else relearner.solve(own, self.rotations, self.classes))
            if everything is None:
                continue
            add(HEAD, m, frozen.solve(own, self.rotations, self.classes))
            single = self._own(m, 1)
            if m <= ROWS and everything.cost(m) * len(single) <= MOST_WORK:
                add(WHOLE, m, everything.solve(single, self.rotations, self.classes))
            if m <= ROWS:
                task = [Problem(self.setting.labels_n, problem.rows, problem.rotation) for problem in single]
                add(TASK, m, relearner.solve(task, self.rotations, self.classes, probe=self.codes))
        return points

    def _placebos(self, relearner: Relearner, placebos_nm: NDArray[Any], turns: int) -> list[float]:
        """What fine-tuning brings of each placebo, mean over the rotations."""
        size = len(self.rotations)
        problems = []
        for number, column in enumerate(placebos_nm.T):
            for index in sorted((number + turn) % size for turn in range(turns)):
                rows = draw_rows(column, self.rotations[index].learn, self.classes, self._stream("placebo", number, index))
                problems.append(Problem(column, rows[:ROWS], index))
        learnt = relearner.solve(problems, self.rotations, self.classes)
        return [_mean(learnt[start : start + turns]) for start in range(0, len(learnt), turns)]

    def _plants(self, relearner: Relearner, planted: Sequence[float]) -> list[dict[str, Any]]:
        """Labels planted on the block's input: what fine-tuning brings of them, and what a plain reader of that input gets."""
        reader = Relearner(nn.Identity(), torch.as_tensor(self.setting.block.vectors()), ())
        levels: list[dict[str, Any]] = []
        if self.setting.rows.rank == 0:
            return levels
        problems, owner = [], []
        for leak in planted:
            for number in range(PLANTS):
                rng = self._stream("plant", str(leak), number)
                labels = self._plant(PLANT_FAMILIES[number % len(PLANT_FAMILIES)], leak, rng)
                if labels is not None:
                    index = number % len(self.rotations)
                    problems.append(Problem(labels, draw_rows(labels, self.rotations[index].learn, self.classes, rng)[:ROWS], index))
                    owner.append(leak)
        if problems:
            brought, read = (one.solve(problems, self.rotations, self.classes) for one in (relearner, reader))
            for leak in sorted(set(owner)):
                inside = [place for place, of in enumerate(owner) if of == leak]
                levels.append({"leak": leak, "brought": [brought[i].leak for i in inside], "read": [read[i].leak for i in inside]})
        return levels

    def _plant(self, family: str, leak: float, rng: np.random.Generator) -> NDArray[Any] | None:
        for name in (family, "high", "isotropic"):
            labels = plant_label(self.setting.rows, self.attribute, name, leak, rng)
            if labels is not None:
                return labels
        return None


def _mean(learnt: Sequence[Relearnt]) -> float:
    return float(np.mean([one.leak for one in learnt]))


def measure(view: ModelView, out: Measurement) -> None:
    """Fine-tune on every attribute; results go into ``out``."""
    measure_relearning(
        view.model,
        view.x,
        view.dataset,
        view.labels_n,
        dict(view.placebos),
        root=view.recipe.seed,
        reference=not view.decides,
        out=out,
        acts=view.captured.acts,
    )
