"""Which rows were audited, as a digest that two plans can compare and that says nothing about the rows."""

from __future__ import annotations

import hashlib

import numpy as np

from proxyaudit.arrays import Ints


def in_order(clusters_n: Ints, places_n: Ints | None = None) -> Ints:
    """Clusters numbered by the first of their rows, so that two audits number the same clusters alike.

    Args:
        clusters_n: Cluster of each row.
        places_n: Place of each row in an order that both audits share; the order given if left out.
    """
    places_n = np.arange(len(clusters_n)) if places_n is None else places_n
    inverse = np.unique(clusters_n, return_inverse=True)[1]
    first = np.full(int(inverse.max(initial=-1)) + 1, len(clusters_n), dtype=np.int64)
    np.minimum.at(first, inverse, places_n)
    numbers = np.empty(len(first), dtype=np.int64)
    numbers[np.argsort(first)] = np.arange(len(first))
    return numbers[inverse]


def rows_digest(clusters_n: Ints, *parts: str | bytes) -> str:
    """Digest by which two runs see that they measured the same rows in the same order.

    Args:
        clusters_n: Cluster of each row.
        parts: What the rows hold: a digest of the table, or the coded attributes.
    """
    found = hashlib.sha256(in_order(clusters_n).tobytes())
    for part in parts:
        found.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return found.hexdigest()
