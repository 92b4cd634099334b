"""Small measured numbers."""

from __future__ import annotations

import numpy as np

from proxyaudit.stats.intervals import Measured


def steady(value: float, rows: int = 200, sd: float = 1e-4) -> Measured:
    """One number of two models that agree, with a small row error."""
    influence = np.where(np.arange(rows) % 2, sd, -sd) / np.sqrt(rows)
    return Measured(np.array([value, value]), influence, np.arange(rows))
