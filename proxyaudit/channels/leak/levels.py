"""A number asked as one question about its values, where a bank of such questions shows something."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Ints
from proxyaudit.probes.deciding import planted_test
from proxyaudit.probes.first_order import first_order_gain
from proxyaudit.probes.folds import FEWEST_ROWS
from proxyaudit.probes.levels import Bank, telling_question
from proxyaudit.probes.planting import Target
from proxyaudit.probes.results import PlantedTest
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten

Streams = Callable[[str], np.random.Generator]


def halves(clusters_n: Ints, rng: np.random.Generator) -> Bools:
    """Rows ``(n,)`` of half of the clusters."""
    ids = np.unique(clusters_n, return_inverse=True)[1]
    return np.asarray((rng.permutation(int(ids.max()) + 1) % 2 == 0)[ids])


def best_question(
    acts_nd: NDArray[Any], bank: Bank, clusters_n: Ints | None, first_n: Bools, kind: str, margin: float, streams: Streams, folds_n: Ints
) -> tuple[PlantedTest, float] | None:
    """Test, on rows that are not ``first_n``, of the question that those rows answer best, and its gain there; ``None`` without one.

    Rows are those on which the number is known. Presence holds whatever was chosen, as other rows chose it; absence of one question says
    nothing of all others.
    """
    first, second = (None if clusters_n is None else clusters_n[some] for some in (first_n, ~first_n))
    answers = telling_question(ScoreStatistic(whiten(acts_nd[first_n]).rows, kind, first), bank, np.flatnonzero(first_n))
    if answers is None or np.bincount(answers[~first_n], minlength=2).min() < FEWEST_ROWS:
        return None
    statistic = ScoreStatistic(whiten(acts_nd[~first_n]).rows, kind, second)
    target = Target.of_codes(answers[~first_n], 2, second)
    return planted_test(statistic, target, margin, streams), first_order_gain(
        statistic, target, np.unique(folds_n[~first_n], return_inverse=True)[1].astype(np.int64)
    )
