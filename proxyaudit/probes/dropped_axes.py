"""Whether axes that whitening drops, of so little variance, tell an attribute all the same: then it is not called absent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from proxyaudit.arrays import Floats

TELLS = 1e-4  # p-value from which on dropped axes are said to tell the attribute
_MOST_AXES = 200
_ROWS_PER_AXIS = 5


def dropped_axes_p(dropped_nm: Floats, labels_n: NDArray[np.generic], classes: int) -> float | None:
    """p-value of "the dropped axes do not tell the attribute": an F-test on the axes and their squares, Bonferroni over classes.

    ``None`` where nothing was dropped or too few rows are left to tell. Rounding errors have no mean that differs between groups.
    """
    n = len(labels_n)
    if n < 2 * _ROWS_PER_AXIS:
        return None
    axes = dropped_nm[:, np.ptp(dropped_nm, axis=0) > 0][:, -min(_MOST_AXES, n // (2 * _ROWS_PER_AXIS)) :]
    if not axes.shape[1]:
        return None
    design = np.linalg.qr(np.column_stack([np.ones(n), axes, axes**2]))[0]
    told_n = labels_n[:, None] if classes == 0 else labels_n[:, None] == np.arange(1 if classes == 2 else classes)
    targets = told_n.astype(np.float64)
    targets -= targets.mean(axis=0)
    total, told = (targets**2).sum(axis=0), ((design.T @ targets) ** 2).sum(axis=0)
    used, left = design.shape[1] - 1, n - design.shape[1]
    ratio = (told / used) / np.maximum((total - told) / left, np.finfo(np.float64).tiny)
    asked = total > 0
    return float(min(1.0, asked.sum() * stats.f.sf(ratio[asked], used, left).min())) if asked.any() else None


def dropped_axes_reason(p_values: Sequence[float | None]) -> str | None:
    """Why absence cannot be claimed where dropped axes tell the attribute in some model; ``None`` where they do not."""
    found = [p for p in p_values if p is not None]
    if not found or min(found) > TELLS:
        return None
    return "units that are equal to six digits differ by what tells the attribute: too faint for the readers, and not absent"
