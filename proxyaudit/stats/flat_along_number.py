"""Whether outputs are flat along a number: gaps between its halves miss a use that is alike for low and high values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxyaudit.arrays import Floats

NOT_FLAT = (
    "the outputs differ along this number, cut finely, by as much as the margin or these rows cannot tell: its halves alone prove nothing"
)
BINS, ROWS_PER_BIN = 64, 40
_SURELY = 2.33  # standard errors: one in a hundred


def spread_along(output_n: Floats, values_n: Floats, bins: int = BINS) -> tuple[float, float]:
    """Variance of an output's means over quantile bins (40 rows at least) of a number, free of the rows' noise, and its standard error."""
    bins = max(2, min(bins, len(values_n) // ROWS_PER_BIN))
    edges = np.unique(np.quantile(values_n, np.linspace(0, 1, bins + 1)[1:-1]))
    codes = np.unique(np.searchsorted(edges, values_n, side="left"), return_inverse=True)[1]
    counts = np.bincount(codes).astype(np.float64)
    means = np.bincount(codes, weights=output_n) / counts
    n, k = len(output_n), len(counts)
    if n <= k:
        return float("nan"), float("nan")
    noise = float(((output_n - means[codes]) ** 2).sum() / (n - k))
    between = float((counts * (means - output_n.mean()) ** 2).sum() / n)
    value = between - (k - 1) * noise / n
    # Of the sum of squares: its own scatter, and its cross term with what is there.
    return value, float(np.sqrt(2 * (k - 1) * noise**2 + 4 * n * max(between, 0.0) * noise) / n)


def surely_flat(outputs: Sequence[Floats], values_n: Floats, margin: float) -> bool:
    """Whether every output ``(n, C)`` of every model surely differs by less than the margin (root mean square) along the number."""
    known = np.isfinite(values_n)
    for outputs_nc in outputs:
        for output in outputs_nc[known].T:
            value, error = spread_along(output, values_n[known])
            if not value + _SURELY * error < margin**2:
                return False
    return True
