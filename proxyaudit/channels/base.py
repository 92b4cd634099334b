"""What every channel measures: one trained model on the audit rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from proxyaudit.activations.capture import Captured
from proxyaudit.arrays import Ints, Singles
from proxyaudit.channels.closed import ASKED_ONCE, STANDINGS, Standing
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.data.attributes import Followed
from proxyaudit.data.dataset import Dataset
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.base import TrainedModel
from proxyaudit.recipe.effort import SETTLED, measures
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.regimes import Regime

Placebos = Mapping[str, NDArray[Any]]
"""Placebo labels ``(n, count)`` by attribute."""
Remember = Callable[[Mapping[str, Any], Callable[[], Measurement]], Measurement]
"""Looks a measurement up by what identifies it, or makes it."""


@dataclass(frozen=True)
class ModelView:
    """One trained model as channels see it."""

    recipe: Recipe
    regime: Regime
    repetition: int  # which of the regime's models it is, from 0
    model: TrainedModel
    captured: Captured  # its activations and outputs on the audit rows
    x: Singles  # encoded inputs of the audit rows ``(n, p)``, as models of this regime meet them
    dataset: Dataset
    labels_n: Ints  # true labels of the audit rows
    placebos: Placebos
    followed: Mapping[str, Followed]  # groups and output that interventions compare, by attribute
    proxies: ProxyPlan  # columns or text features that are followed
    permutations: int  # size of the null
    rows_trained: int  # rows times epochs of its training: what a costly search may cost is bounded by it
    table: pd.DataFrame | None  # the training table of its own, where it has one: synthetic rows, a release, scrubbed texts
    forward: Callable[[Singles], Captured] | None  # for a frozen transformer: activations of other texts that it has read before
    frozen: bool  # whether a transformer was never trained, so that it does much the same in every repetition
    shared_sites: frozenset[str]  # sites whose activations are the same in other tasks; what is measured there is remembered
    remember: Remember
    first: Measurement | None = None  # what the regime's first repetition measured, where that says what is worth asking of this one

    @property
    def decides(self) -> bool:
        """Whether a verdict rests on it: a reference is only compared with, so less is asked of it."""
        return not self.regime.is_reference

    def asks(self, extra: str) -> bool:
        """Whether something that no verdict rests on is measured of it."""
        return self.decides and measures(self.recipe.effort, extra, self.repetition)

    def why_closed(self, out: Measurement, attribute: str, *, may_be_present: bool) -> str | None:
        """Why something that must be present, or absent, in every model need not be asked of this one; ``None`` where it must.

        ``out`` holds what was measured of its leaks; ``may_be_present`` says whether the first repetition leaves presence open.
        """
        if self.recipe.effort == "everything" or not self.decides:
            return None
        if (STANDINGS.find(out, attribute) or Standing()).settled:
            return SETTLED
        removable = self.first is None or (STANDINGS.find(self.first, attribute) or Standing()).removable
        return None if removable or may_be_present else ASKED_ONCE
