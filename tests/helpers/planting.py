"""Plants along directions of which each is asked once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Singles
from proxyaudit.probes.planting import Planter, Plants


def planted(planter: Planter, scores: Singles, leaks_p: Floats, even_p: NDArray[np.bool_] | None = None) -> Plants:
    """Plants along scores ``(n, P)``, or ``(n, K, P)`` for several classes, each with its own leak."""
    return planter.plant(planter.planting(scores), np.arange(scores.shape[-1]), leaks_p, even_p)
