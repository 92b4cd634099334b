"""What bars absence, or presence, at a site: what no reader is given, and rows that belong together though nobody said so."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.channels.leak.record import TRACE
from proxyaudit.probes.belonging import Neighbours, agreement, find_neighbours, near_share, with_copies
from proxyaudit.probes.dropped_axes import dropped_axes_p, unseen_features
from proxyaudit.probes.planting import Target
from proxyaudit.probes.results import Agreement
from proxyaudit.probes.score import ScoreStatistic, indicator_columns
from proxyaudit.probes.whitening import Whitened


class SiteGuards:
    """Guards of one attribute at one site; ``memo`` holds what attributes share that are known on the same rows."""

    def __init__(self, white: Whitened, labels_n: NDArray[Any], classes: int, groups_n: Ints | None, memo: dict[str, Any]) -> None:
        self.white, self.labels, self.classes, self.groups, self.memo = white, labels_n, classes, groups_n, memo
        self.found: Agreement | None = None
        self.neighbours: Neighbours | None = None

    def unseen(self, acts_nd: NDArray[Any], margin: float) -> float | None:
        """p-value of "what no reader is given does not tell the attribute"."""
        if "unseen" not in self.memo:
            self.memo["unseen"] = unseen_features(acts_nd, self.white)
        return dropped_axes_p(self.memo["unseen"], self.white.z_nr, self.labels, self.classes, self.groups, TRACE * margin)

    def agreement(self) -> Agreement | None:
        """Agreement of near neighbours; ``None`` where rows or dimensions are too few."""
        if "neighbours" not in self.memo:
            self.memo["neighbours"] = find_neighbours(self.white.z_nr, self.groups)
        self.neighbours = self.memo["neighbours"]
        self.found = None if self.neighbours is None else agreement(self.neighbours, self.labels, self.classes)
        if self.neighbours is not None and self.found is not None and self.neighbours.copies and not self.found.together:
            # What repeats at this site may differ at the one where copies were joined, or repeat too often to be joined.
            if "copies too" not in self.memo:
                self.memo["copies too"] = with_copies(self.neighbours)
            repeated = self.memo["copies too"]
            if (found := agreement(repeated, self.labels, self.classes)).together:
                self.neighbours, self.found = repeated, found
        return self.found

    def near(self, statistic: ScoreStatistic, target: Target, score: float) -> float | None:
        """Share of a score that near neighbours hold, where all rows were asked and seem to belong together."""
        if self.found is None or self.neighbours is None or not self.found.together or statistic.rows.n < len(self.labels):
            return None
        columns = [statistic.prepare(column) for column in indicator_columns(np.asarray(target.labels_n)[:, None], target.classes)]
        return near_share(statistic, columns, target.weights, self.neighbours, score)
