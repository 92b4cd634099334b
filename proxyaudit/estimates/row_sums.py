"""What an auditor keeps of the rows behind deciding numbers, so that another run on the same rows can be compared in pairs.

Two numbers measured on the same rows err together, and their difference is surer than two separate intervals say. What is needed is
the covariance of their row influences, and the rows themselves must not be kept. So each number keeps ten signed sums of its
influences over all clusters, with signs that every run draws alike: ``mean_k (a_k - b_k)**2`` estimates the row variance of
``a - b`` without bias, with ten degrees of freedom. Were the rows of two runs not the same after all, the cross term would vanish and
the estimate would be that of separate samples.

They are no part of a pack: the sums of two numbers together are twenty equations, from which whoever knows the outputs solves for people.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.questions import deciding_names
from proxyaudit.estimates.rounding import significant
from proxyaudit.estimates.training import PROMINENCE
from proxyaudit.secret import keyed
from proxyaudit.seeding import stream
from proxyaudit.stats.components import REPETITIONS, Spread
from proxyaudit.stats.intervals import Measured, cluster_sums, row_variance

SUMS = SMALLEST_CELL - 1
UNBOUNDED = 1e9  # degrees of freedom of what is known
UNKNOWN = 2.0
ROUNDING = 1e-12


def row_parts(ledger: Ledger, places_n: Ints | None = None) -> dict[str, NDArray[Any]]:
    """Arrays for the deciding numbers of a run and its prominence; ``places_n``: the order that other audits of the rows share.

    Returns:
        ``row_parts.ids`` (number of each estimate), ``row_parts.sums`` ``(m, 10)``, ``row_parts.spread`` ``(m, 4)``: row variance and its
        degrees of freedom, variance that rows do not carry and its degrees of freedom. Where tables were crossed with models, also
        ``row_parts.between`` ``(m, 2)``: variance that repetitions bring to the mean, and its degrees of freedom, 0 where they are their
        own. Empty where no number was decided.
    """
    ids, sums, spread, between = [], [], [], []
    for estimate in ledger.estimates:
        cell = ledger.drafts[estimate.id]
        decides = estimate.channel in deciding_names() and estimate.state is not None
        compared = (estimate.channel, estimate.measure) == (PROMINENCE, "units") and estimate.p_present is not None
        if cell.measured is None or not (decides or compared):
            continue
        ids.append(int(estimate.id[1:]))
        kept = _spread(cell.measured)
        known = max(kept[0], kept[2]) < UNKNOWN
        signed = signed_sums(cell.measured, places_n) if known else np.zeros(SUMS)
        sums.append([significant(float(value)) or 0.0 for value in signed])
        spread.append([significant(value) or 0.0 for value in kept])
        between.append([significant(value) or 0.0 for value in _between(cell.measured)])
    if not ids:
        return {}
    found = {"row_parts.ids": np.array(ids, dtype=np.int64), "row_parts.sums": np.array(sums), "row_parts.spread": np.array(spread)}
    return {**found, "row_parts.between": np.array(between)} if np.any(between) else found


def signed_sums(measured: Measured, places_n: Ints | None = None) -> Floats:
    """Ten sums of the row influences with random signs of their clusters, shape ``(10,)``; the same signs in every run."""
    sums = cluster_sums(measured.influence_n, in_order(measured.clusters_n, places_n))
    # No matrix product: its rounding depends on the number of threads. What is below that is nothing.
    signed = (sums[:, None] * _signs(len(sums))).sum(axis=0)
    return np.asarray(np.where(np.abs(signed) < ROUNDING, 0.0, signed))


@lru_cache(maxsize=4)
def _signs(clusters: int) -> Floats:
    signs: Floats = stream(0, "row parts").choice(np.array([-1.0, 1.0]), size=(clusters, SUMS))
    return signs


def _spread(measured: Measured) -> tuple[float, float, float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        rows, clusters = row_variance(measured.influence_n, measured.clusters_n)
    df = max(min(float(clusters - 1), measured.row_df), 1.0)
    return (_variance(rows), df, _variance(measured.extra), min(max(measured.extra_df, 1.0), UNBOUNDED))


def _between(measured: Measured) -> tuple[float, float]:
    """What tables and models bring to the mean of a crossed number; nothing where its repetitions tell that themselves."""
    spread = Spread.of(measured.seed_values, measured.places)
    return (0.0, 0.0) if spread is None or REPETITIONS in spread.squares else spread.of_mean({})


def _variance(value: float) -> float:
    """The variance of a share, which is at most one; two says that it is not known (infinite, or divided by nearly nothing)."""
    return value if value <= 1 else UNKNOWN


def in_order(clusters_n: Ints, places_n: Ints | None = None) -> Ints:
    """Clusters numbered by the first of their rows in an order that audits share, so that two audits number the same clusters alike."""
    places_n = np.arange(len(clusters_n)) if places_n is None else places_n
    inverse = np.unique(clusters_n, return_inverse=True)[1]
    first = np.full(int(inverse.max(initial=-1)) + 1, len(clusters_n), dtype=np.int64)
    np.minimum.at(first, inverse, places_n)
    numbers = np.empty(len(first), dtype=np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))
    return numbers[inverse]


def rows_digest(clusters_n: Ints, *parts: str | bytes) -> str:
    """Digest by which an auditor sees that two runs measured the same rows in the same order, and that tells others nothing of them.

    ``parts`` are what the rows hold: a digest of the table, or the coded attributes.
    """
    return keyed("audit rows", in_order(clusters_n).tobytes(), *parts)
