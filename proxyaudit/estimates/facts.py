"""What a run measured, frozen and typed: all that estimates are made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Places
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.data.cures import Cure
from proxyaudit.estimates.few_people import hide_few
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.task import UNIT_GAP, task_score, unit_for
from proxyaudit.recipe.recipe import Margins
from proxyaudit.recipe.selection import Selection
from proxyaudit.stats.intervals import Measured
from proxyaudit.types import AUDITED, Task


@dataclass(frozen=True)
class Run:
    """Measurements of one regime, one per repetition that succeeded."""

    regime: str
    measured: tuple[Measurement, ...]
    failures: tuple[str, ...] = ()  # one line for each repetition that failed
    kind: str = ""  # how its training data came about
    is_reference: bool = False  # it is there to compare with and gets no verdict
    places: Places = ()  # table and model of each repetition that was measured, where repetitions have an order of their own
    seeds: tuple[int, ...] = ()  # numbers of the repetitions that were measured, where they are known

    @property
    def outputs(self) -> list[Floats]:
        """Outputs of each repetition's model, each ``(n, C)``."""
        return [m.arrays["outputs"] for m in self.measured]

    @property
    def whole(self) -> int:
        """How many repetitions, from the first on, were measured before one failed: those after it stand at other places than theirs."""
        seeds = self.seeds or range(len(self.measured))
        return next((place for place, seed in enumerate(seeds) if seed != place), len(self.measured))


def without_few(runs: Sequence[Run], clusters_n: Ints) -> tuple[Run, ...]:
    """The runs with outputs of which no two models' differ by few people alone."""
    shown = iter(hide_few([outputs for run in runs for outputs in run.outputs], clusters_n))
    made = []
    for run in runs:
        measured = tuple(Measurement(one.numbers, {**one.arrays, "outputs": next(shown)}) for one in run.measured)
        made.append(replace(run, measured=measured))
    return tuple(made)


@dataclass(frozen=True)
class Cured:
    """What a cure did: a measurement of each repetition that was trained on a regime's altered rows, the first ones in order."""

    regime: str
    cure: Cure
    measured: tuple[Measurement, ...]


@dataclass(frozen=True)
class Facts:
    """Everything that one run measured, and on whom: the ``n`` audit rows."""

    attributes: tuple[Attribute, ...]  # protected ones and proxies, on the audit rows
    clusters_n: Ints
    people_n: Ints  # person, or cluster, of each row, for what is counted by people
    sites: tuple[str, ...]  # every profiled site, in order
    verdict_sites: tuple[str, ...]
    margins: Margins
    runs: tuple[Run, ...]  # the regimes in order, references among them
    inputs: Measurement = field(default_factory=Measurement)  # what was measured of the model's inputs
    labels_n: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # true labels
    classes: tuple[str, ...] = ()  # names of the labels; of a number those of its bands
    outcomes: tuple[str, ...] = ()  # what each output speaks of; of classes they tell it
    task: Task = "classes"  # what models predict
    scale: tuple[float, float] | None = None  # mean and standard deviation of a number that they predict
    true_nc: Floats | None = None  # of a number or several labels, what outputs would be if models knew it; of classes the labels tell it
    followed: Mapping[str, Followed] = field(default_factory=dict)  # what interventions compare, by attribute
    unprofiled: tuple[str, ...] = ()  # parts of the model that no profiled site covers
    placebos: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # placebo labels (n, count) of each attribute
    pairs: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)  # columns that were asked together, by attribute
    text: bool = False  # whether the model reads texts
    bare: bool = False  # whether activations alone were given: no model, so no inputs and no outputs
    real: str | None = "real"  # the regime that the others are compared with
    untrained: str | None = "untrained"  # the one that was not trained
    beyond: str = "the label"  # what the conditional tests condition on; empty where they were not asked
    doubts: Mapping[str, str] = field(default_factory=dict)  # attributes whose absence is not claimed, each with the reason
    cured: tuple[Cured, ...] = ()  # cures that were tried
    selection: Selection | None = None  # who counts as selected, where it was declared
    no_absence: tuple[str, ...] = ()  # regimes whose audit rows the encoder could not see well enough to call anything absent

    @property
    def truth_nc(self) -> Floats:
        """What each output would be if models knew the target, ``(n, C)``."""
        if self.true_nc is not None:
            return self.true_nc
        known = self.labels_n[:, None] == np.arange(len(self.classes))
        return np.asarray(known[:, 1:] if len(self.classes) == 2 else known, dtype=np.float64)

    @property
    def gap_unit(self) -> str:
        """The unit of differences of outputs."""
        return unit_for(UNIT_GAP, self.task)

    def outcome(self, column: int) -> str:
        """What an output speaks of."""
        named = self.outcomes or (self.classes[1:] if len(self.classes) == 2 else self.classes)
        return named[column]

    def score(self, outputs_nc: Floats) -> Measured:
        """How well a model does its task."""
        value, influence = task_score(outputs_nc, self.truth_nc, self.task)
        return Measured(np.array([value]), influence, self.clusters_n)

    @property
    def protected(self) -> tuple[Attribute, ...]:
        """The protected attributes."""
        return tuple(a for a in self.attributes if a.role == "protected")

    @property
    def audited(self) -> tuple[Attribute, ...]:
        """The protected attributes and their intersections."""
        return tuple(a for a in self.attributes if a.role in AUDITED)

    @property
    def not_crossed(self) -> tuple[Attribute, ...]:
        """All attributes but intersections: what they lend one another must not depend on which intersections are asked."""
        return tuple(a for a in self.attributes if a.role != "intersection")

    @property
    def trained(self) -> tuple[Run, ...]:
        """Runs whose models were trained and measured: all but the untrained reference."""
        return tuple(run for run in self.runs if run.measured and run.regime != "untrained")

    def whole(self, regime: str) -> int:
        """:attr:`Run.whole` of a regime."""
        run = self.run(regime)
        return 0 if run is None else run.whole

    def run(self, regime: str) -> Run | None:
        """The run of a regime, if there is one."""
        return next((run for run in self.runs if run.regime == regime), None)
