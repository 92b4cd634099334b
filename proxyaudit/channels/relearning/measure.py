"""Measure in one trained model whether a little fine-tuning brings each attribute back, with placebos and plants beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from proxyaudit.arrays import Floats
from proxyaudit.causal.growing import Grower
from proxyaudit.causal.relearning import SHORT, STEPS, Problem, Relearner, Relearnt, UntrainableError, draw_rows, make_rotations
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.placebos import plant_label
from proxyaudit.channels.relearning.record import PERCENTILE, RELEARNED, ROWS, CurvePoint, PlantLevel, Relearned
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import TabularModule
from proxyaudit.models.blocks import LastBlock, NoBlockError, last_block, whole_model
from proxyaudit.models.text import TextClassifier
from proxyaudit.models.trees import TreeEnsemble
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import Rows

CURVE = (16, 64, 256, 1024)
LAST, TREES, HEAD, WHOLE, TASK = "last block", "more trees", "head only", "whole model", "last block on the task, then a head"
MOST_PLACEBOS = 20  # each is as costly as the attribute
FEWEST = 10  # rows of each class in each part
PLANTS = 8
PLANT_FAMILIES = ("high", "unit")
MOST_WORK, MOST_SHORT_WORK = 4e10, 6e11  # operations for one attribute with all steps, and with few
TOO_LARGE = "the last block is too large to be trained again often enough for a control"


@dataclass(frozen=True)
class _Effort:
    """How much fine-tuning one attribute gets."""

    steps: tuple[int, ...]  # after how many steps it is looked at
    draws: int  # draws of the attribute's rows in each rotation
    turns: int  # rotations of each placebo
    planted: tuple[float, ...]  # leaks of the plants

    def problems(self, placebos: int) -> int:
        """Problems to be trained on the deciding number of rows."""
        return 3 * self.draws + self.turns * placebos + PLANTS * len(self.planted)


FULL = _Effort(STEPS, 2, 3, (0.15, 0.3, 0.5, 0.8))
LEAST = _Effort(SHORT, 1, 1, (0.3, 0.8))


def measure(view: ModelView, out: Measurement) -> None:
    """Relearn every attribute, of a reference by the last block alone; rows and plants do not depend on the model."""
    names = [attribute.name for attribute in view.dataset.attributes]
    module = view.model.module
    applies = not (isinstance(module, TabularModule) and module.no_block)  # where it does not, that is said whatever is closed
    closed = {name: why for name in names if applies and (why := view.why_closed(out, name, may_be_present=_may_be_present(view, name)))}
    asked = [name for name in names if name not in closed]
    for name, found in (_relearn(view, asked) if asked else {}).items():
        RELEARNED.write(out, found, name)
    for name, why in closed.items():
        RELEARNED.write(out, Relearned(reason=why), name)


def _may_be_present(view: ModelView, name: str) -> bool:
    """Whether the first repetition leaves presence open: in every model it must exceed the placebos by more than the margin."""
    before = None if view.first is None else RELEARNED.read(view.first, name)
    if before is None:
        return True
    return bool(before.placebos) and before.value - float(np.quantile(before.placebos, PERCENTILE)) > view.recipe.margins.relearned


def _relearn(view: ModelView, names: Sequence[str]) -> dict[str, Relearned]:
    try:
        block = last_block(view.model, view.x, view.captured.acts)
        # Of a transformer of texts the whole is too much to be trained again, again and again; trees before the new ones stay.
        once = isinstance(view.model.module, TextClassifier | TreeEnsemble)
        whole = whole_model(view.model, view.x) if view.decides and not once else None
    except NoBlockError as error:
        return dict.fromkeys(names, Relearned(reason=str(error), applies=error.applies))
    count = min(max((c.shape[1] for c in view.placebos.values()), default=0), MOST_PLACEBOS)
    if block.row_work is not None and 6 * block.row_work * ROWS * LEAST.steps[-1] * LEAST.problems(count) > MOST_SHORT_WORK:
        trained = isinstance(view.model.module, TextClassifier) and not view.recipe.model.given
        more = "; with 'model.head_hidden: [64]' it is the head's hidden layer" if trained else ""
        return dict.fromkeys(names, Relearned(reason=TOO_LARGE + more))
    rows, found = whiten(block.vectors()).rows, {}
    for attribute in (one for one in view.dataset.attributes if one.name in names):
        placebos = view.placebos.get(attribute.name) if view.decides else None
        try:
            few = None if placebos is None else placebos[:, :MOST_PLACEBOS]
            found[attribute.name] = _Attribute(view, attribute, block, rows, count).measure(few, whole)
        except UntrainableError as error:
            found[attribute.name] = Relearned(reason=str(error))
    return found


class _Attribute:
    """One attribute in one model, its last block, the block's whitened input, and the most placebos of any attribute."""

    def __init__(self, view: ModelView, attribute: Attribute, block: LastBlock, whitened: Rows, placebos: int) -> None:
        self.view, self.attribute, self.block, self.whitened, self.most_placebos = view, attribute, block, whitened, placebos
        self.classes, self.known = attribute.classes, attribute.known
        self.codes = np.asarray(attribute.codes)
        self.rotations = make_rotations(view.dataset.parts, self.known, self._stream("rows"))

    def _stream(self, *purpose: str | int) -> np.random.Generator:
        return stream(self.view.recipe.seed, "relearned", self.attribute.name, *purpose)

    def measure(self, placebos_nm: NDArray[Any] | None, whole: LastBlock | None) -> Relearned:
        reason = self._too_few()
        if reason is not None:
            return Relearned(reason=reason)
        block = self.block
        effort, relearner = FULL, self._learner(FULL.steps)
        # A reference is compared with models that have placebos: it gets the same effort.
        if relearner.cost(ROWS) * effort.problems(self.most_placebos) > MOST_WORK:
            effort, relearner = LEAST, self._learner(LEAST.steps)
            if relearner.cost(ROWS) * effort.problems(self.most_placebos) > MOST_SHORT_WORK:
                return Relearned(reason=TOO_LARGE)
        learnt = relearner.solve(self._own(ROWS, effort.draws), self.rotations, self.classes)
        influence, rows = self._influence(learnt)
        return Relearned(
            draws=_leaks(learnt),
            influence_n=influence,
            n=rows,
            row_floor=self._row_floor(rows),
            block=block.text,
            part=self.part,
            curve=self._curve(relearner, whole, effort.draws, learnt),
            placebos=() if placebos_nm is None else self._placebos(relearner, placebos_nm, effort.turns),
            plants=self._plants(relearner, effort.planted) if self.view.decides else (),
        )

    @property
    def part(self) -> str:
        """What is trained again, in two words."""
        return LAST if self.block.leaves is None else TREES

    def _learner(self, steps: tuple[int, ...]) -> Relearner | Grower:
        if self.block.leaves is not None:
            return Grower(*self.block.leaves)
        return Relearner(self.block.module, self.block.values, self.block.free, steps)

    def _too_few(self) -> str | None:
        smallest = min(len(r.learn) for r in self.rotations)
        if smallest < ROWS:
            return f"too few audit rows: {ROWS} to learn from in each of three parts, about {3 * ROWS} rows in all"
        if self.classes:
            parts = [rows for rotation in self.rotations for rows in (rotation.learn, rotation.choose, rotation.score)]
            fewest = min(int(np.bincount(self.codes[rows], minlength=self.classes).min()) for rows in parts)
            if fewest < FEWEST:
                return f"a group has fewer than {FEWEST} rows in one of the three parts"
        return None

    def _own(self, m: int, draws: int) -> list[Problem]:
        """The attribute itself: rows of each draw lie within each other as m grows, and are the same in every model."""
        return [
            Problem(self.codes, draw_rows(self.codes, rotation.learn, self.classes, self._stream("draw", index, draw))[:m], index)
            for index, rotation in enumerate(self.rotations)
            for draw in range(draws)
            if len(rotation.learn) >= m
        ]

    def _influence(self, learnt: Sequence[Relearnt]) -> tuple[Floats, int]:
        """Influence of every audit row on the mean leak, and how many rows were measured."""
        influence = np.zeros(len(self.codes))
        for one in learnt:
            influence[one.rows] += one.influence / len(learnt)
        return influence, len({int(row) for one in learnt for row in one.rows})

    def _row_floor(self, rows: int) -> float:
        """Variance of a leak of size one that these rows would give at least, per unit of leak; a silent reader has none of its own.

        Near a small leak g (nats) the gain of a row has variance 2 g, that of a squared correlation 4 of itself.
        """
        if self.classes == 0:
            return 4.0 / rows
        scored = np.flatnonzero(np.isin(np.arange(len(self.codes)), np.concatenate([r.score for r in self.rotations])))
        counts = np.bincount(self.codes[scored], minlength=self.classes)
        effective = 1 / float((1 / (self.classes**2 * counts)).sum())
        return 2.0 / (float(np.log(self.classes)) * effective)

    def _curve(
        self, relearner: Relearner | Grower, whole: LastBlock | None, draws: int, learnt: Sequence[Relearnt]
    ) -> tuple[CurvePoint, ...]:
        block = self.block
        points: list[CurvePoint] = []

        def add(mode: str, m: int, found: Sequence[Relearnt]) -> None:
            if found and len(found) % len(self.rotations) == 0:
                points.append(CurvePoint(mode, m, _leaks(found)))

        if not self.view.asks("variants"):
            add(self.part, ROWS, learnt)
            return tuple(points)
        frozen = Relearner(block.module, block.values, ())
        steps = relearner.steps if isinstance(relearner, Relearner) else ()
        everything = None if whole is None else Relearner(whole.module, whole.values, whole.free, steps)
        for m in CURVE:
            own = self._own(m, draws)
            if not own:
                continue
            add(self.part, m, learnt if m == ROWS else relearner.solve(own, self.rotations, self.classes))
            if everything is None:
                continue
            add(HEAD, m, frozen.solve(own, self.rotations, self.classes))
            single = self._own(m, 1)
            if m <= ROWS and everything.cost(m) * len(single) <= MOST_WORK:
                add(WHOLE, m, everything.solve(single, self.rotations, self.classes))
            if m <= ROWS:
                assert isinstance(relearner, Relearner)
                task = [Problem(self.view.labels_n, problem.rows, problem.rotation) for problem in single]
                add(TASK, m, relearner.solve(task, self.rotations, self.classes, probe=self.codes))
        return tuple(points)

    def _placebos(self, relearner: Relearner | Grower, placebos_nm: NDArray[Any], turns: int) -> tuple[float, ...]:
        """What fine-tuning brings of each placebo, mean over the rotations."""
        size = len(self.rotations)
        problems = []
        for number, column in enumerate(placebos_nm.T):
            for index in sorted((number + turn) % size for turn in range(turns)):
                rows = draw_rows(column, self.rotations[index].learn, self.classes, self._stream("placebo", number, index))
                problems.append(Problem(column, rows[:ROWS], index))
        learnt = relearner.solve(problems, self.rotations, self.classes)
        return tuple(float(np.mean(_leaks(learnt[start : start + turns]))) for start in range(0, len(learnt), turns))

    def _plants(self, relearner: Relearner | Grower, planted: Sequence[float]) -> tuple[PlantLevel, ...]:
        """Labels planted on the block's input: what fine-tuning brings of them, and what a plain probe of that input gets."""
        if self.whitened.rank == 0:
            return ()
        probe = Relearner(nn.Identity(), torch.as_tensor(self.block.vectors()), ())
        problems, owner = [], []
        for leak in planted:
            for number in range(PLANTS):
                rng = self._stream("plant", str(leak), number)
                families = (PLANT_FAMILIES[number % len(PLANT_FAMILIES)], "high", "isotropic")
                labels = plant_label(self.whitened, self.attribute, families, leak, rng)
                if labels is not None:
                    index = number % len(self.rotations)
                    problems.append(Problem(labels, draw_rows(labels, self.rotations[index].learn, self.classes, rng)[:ROWS], index))
                    owner.append(leak)
        if not problems:
            return ()
        brought, read = (one.solve(problems, self.rotations, self.classes) for one in (relearner, probe))
        levels = []
        for leak in sorted(set(owner)):
            inside = [place for place, of in enumerate(owner) if of == leak]
            levels.append(PlantLevel(leak, _leaks([brought[i] for i in inside]), _leaks([read[i] for i in inside])))
        return tuple(levels)


def _leaks(learnt: Sequence[Relearnt]) -> tuple[float, ...]:
    return tuple(one.leak for one in learnt)
