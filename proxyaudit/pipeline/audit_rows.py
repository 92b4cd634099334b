"""Which rows were audited, as a digest that two plans can compare and that says nothing about the rows."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def rows_digest(clusters_n: NDArray[np.int64], *parts: str | bytes) -> str:
    """Digest by which two runs see that they measured the same rows in the same order.

    Args:
        clusters_n: Cluster of each row.
        parts: What the rows hold: a digest of the table, or the coded attributes.
    """
    found = hashlib.sha256(np.ascontiguousarray(clusters_n, dtype=np.int64).tobytes())
    for part in parts:
        found.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return found.hexdigest()
