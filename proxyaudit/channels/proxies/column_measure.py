"""Columns of a table as proxies: swapped between rows, all their encoded inputs together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations.capture import capture
from proxyaudit.activations.replay import Replay, replayer
from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.causal.attribution import Attribution, attribute_direction, attribute_output
from proxyaudit.causal.proxy_use import Swapped, draw_swaps, swap_columns
from proxyaudit.channels.base import ModelView
from proxyaudit.data.attributes import Followed
from proxyaudit.models.base import TabularModule, TrainedModel
from proxyaudit.seeding import stream

MOST_SWAPPED_ROWS, FEWEST_SWAPPED_ROWS = 4000, 200
_FORWARD_ROWS, _ATTENTION_ROWS = 600_000, 30_000  # rows run through the model for all columns of one model


class ColumnSwaps:
    """Columns given another row's value; the same rows and donors serve every model. See ``measure.Intervention``."""

    sign = 1.0
    most_attributed = 256

    def __init__(self, view: ModelView, units: int) -> None:
        self.view, self.site = view, view.model.verdict_sites[-1]
        sources = view.dataset.encoder.sources
        self.inputs = {name: [i for i, source in enumerate(sources) if source == name] for name in view.proxies.columns}
        self.swaps = draw_swaps(len(view.x), _rows_swapped(view.model, units), stream(view.recipe.seed, "proxy swaps"))
        self.replay: Replay | None = replayer(view.model, view.x, self.site)

    def swapped(self, unit: tuple[str, ...]) -> Swapped:
        """What swapping a column or pair changes."""

        def forward(x_mp: Singles) -> tuple[Floats, NDArray[np.floating]]:
            after = capture(self.view.model, x_mp)
            return after.outputs, after.acts[self.site]

        before = self.view.captured
        columns = [place for name in unit for place in self.inputs[name]]
        return swap_columns(self.view.x, columns, self.swaps, forward, (before.outputs, before.acts[self.site]))

    def attributions(self, rows: Ints, direction_d: Floats, followed: Followed) -> tuple[Sequence[str], Attribution, Attribution]:
        """Integrated gradients of the probe's logit and of the output's log-odds, by column."""
        model, x, groups, sources = self.view.model, self.view.x[rows], followed.groups_n[rows], list(self.inputs.values())
        inside = attribute_direction(model, x, self.site, direction_d, groups, sources)
        outside = attribute_output(model, x, followed.output, groups, sources)
        return list(self.inputs), inside, outside


def _rows_swapped(model: TrainedModel, units: int) -> int:
    slow = isinstance(model.module, TabularModule) and model.module.batch_limit is not None
    affordable = (_ATTENTION_ROWS if slow else _FORWARD_ROWS) // (4 * max(units, 1))
    return max(FEWEST_SWAPPED_ROWS, min(MOST_SWAPPED_ROWS, affordable))
