"""What fewer than eleven people carry is not told: the cell rule for numbers instead of counts.

Statistical offices suppress a total of which a few contributors make up most, since whoever knows those contributors learns them from the
total (the dominance rule). A number of an audit is such a total of row influences. A model can be made that acts on ten chosen people
alone; or two models, or two regimes of activations, that differ on ten people alone, so that the difference of their numbers is theirs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.public_counts import TIMES, heaviest
from proxyaudit.stats.intervals import Measured, cluster_sums

_HIDDEN = 0.1  # share of people and of rows, at most, that are given another model's values
_ALIKE = 0.1  # of the spread of all other rows, that two models differ by there, where they are one model but for few people


def coarseness(measured: Measured) -> float:
    """Below which the digits of a number would tell of single people; zero where eleven or more carry it."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = cluster_sums(measured.influence_n, measured.clusters_n)
        few = heaviest(sums**2)
    return TIMES * float(np.abs(sums[few]).max()) if len(few) else 0.0


def hide_few(arrays: Sequence[NDArray[Any]], clusters_n: Ints) -> list[NDArray[Any]]:
    """Outputs or activations ``(n, d)`` of several models on the same rows, none of which is an earlier one but for few people.

    Where ten people make up most of the squared difference to an earlier one, and everybody else gets nearly the same from both, the ten
    are given what the earlier one gives them. Never more than a tenth of people or rows: an audit is of the models that were handed in, and
    models that differ throughout are not made alike because a few people weigh most in their difference.
    """
    kept: list[NDArray[Any]] = []
    people = len(np.unique(clusters_n))
    for array in arrays:
        for before in kept:
            if before.shape != array.shape:
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                squares = ((array.astype(np.float64) - before) ** 2).sum(axis=1)
            few = heaviest(cluster_sums(squares, clusters_n))
            theirs = np.isin(clusters_n, few)
            if len(few) and max(len(few) / people, theirs.mean()) <= _HIDDEN and _alike(array[~theirs], squares[~theirs]):
                array = np.where(theirs[:, None], before, array)
        kept.append(array)
    return kept


def _alike(array_nd: NDArray[Any], squares_n: Floats) -> bool:
    """Whether rows differ by little, with these squared differences, beside how they differ among themselves."""
    with np.errstate(over="ignore", invalid="ignore"):
        spread = ((array_nd - array_nd.mean(axis=0, dtype=np.float64)) ** 2).sum()
    return bool(squares_n.sum() <= _ALIKE * spread)
