"""What a run measured, frozen and typed: all that estimates are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.estimates.record import Measurement
from proxyaudit.recipe.recipe import Margins


@dataclass(frozen=True)
class Run:
    """Measurements of one regime, one per repetition that succeeded.

    Attributes:
        regime: Name of the regime.
        measured: What was measured of each model.
        failures: One line for each repetition that failed.
        kind: How its training data came about.
        is_reference: Whether it is there to compare with and gets no verdict.
    """

    regime: str
    measured: tuple[Measurement, ...]
    failures: tuple[str, ...] = ()
    kind: str = ""
    is_reference: bool = False

    @property
    def outputs(self) -> list[Floats]:
        """Outputs of each repetition's model, each ``(n, C)``."""
        return [m.arrays["outputs"] for m in self.measured]


@dataclass(frozen=True)
class Facts:
    """Everything that one run measured, and on whom.

    Attributes:
        attributes: Protected attributes and proxies on the audit rows.
        clusters_n: Cluster of each audit row.
        people_n: Person, or cluster, of each audit row, for what is counted by people.
        labels_n: True label of each audit row.
        classes: Names of the labels.
        followed: What interventions compare, by attribute.
        sites: Every profiled site, in order.
        verdict_sites: Those that a verdict is read at.
        unprofiled: Parts of the model that no profiled site covers.
        margins: Amounts that matter.
        runs: The regimes in order, references among them.
        inputs: What was measured of the model's inputs.
        placebos: Placebo labels ``(n, count)`` of each attribute.
        pairs: Pairs of columns that were asked together, by attribute.
        columns: Names of the input columns.
        text: Whether the model reads texts.
        bare: Whether activations alone were given: no model, so no inputs and no outputs.
        beyond: What the conditional tests condition on; empty where they were not asked.
        doubts: Attributes whose absence is not claimed, each with the reason.
        no_absence: Regimes whose audit rows the encoder could not see well enough to call anything absent.
    """

    attributes: tuple[Attribute, ...]
    clusters_n: Ints
    people_n: Ints
    labels_n: Ints
    classes: tuple[str, ...]
    followed: Mapping[str, Followed]
    sites: tuple[str, ...]
    verdict_sites: tuple[str, ...]
    unprofiled: tuple[str, ...]
    margins: Margins
    runs: tuple[Run, ...]
    inputs: Measurement
    placebos: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    pairs: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    text: bool = False
    bare: bool = False
    beyond: str = "the label"
    doubts: Mapping[str, str] = field(default_factory=dict)
    no_absence: tuple[str, ...] = ()

    @property
    def protected(self) -> tuple[Attribute, ...]:
        """The protected attributes."""
        return tuple(a for a in self.attributes if a.role == "protected")

    @property
    def audited(self) -> tuple[Run, ...]:
        """Regimes that get verdicts."""
        return tuple(run for run in self.runs if not run.is_reference)

    def run(self, regime: str) -> Run | None:
        """The run of a regime, if there is one."""
        return next((run for run in self.runs if run.regime == regime), None)

    def positive(self, attribute: str) -> NDArray[np.bool_]:
        """Rows whose true label is the one that the followed output stands for, shape ``(n,)``."""
        return np.asarray(self.labels_n == (1 if len(self.classes) == 2 else self.followed[attribute].output))
