"""Differences between groups of names over templates, both taken as random: neither one name nor one template can carry a claim.

The table is ``y[t, n]``: what template t gives with name n, contexts averaged. The part of the variance that names and templates share is
counted in each: the interval is a little too wide, never too narrow.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.stats.group_gaps import gap_in
from proxyaudit.stats.intervals import Measured

FEWEST_TEMPLATES = 3
FEWEST_DEPARTING = 5  # names of each group; of fewer a share near 0 or 1 has no error worth the name


def crossed_gap(y_tn: Floats, groups_n: Ints, low: int, high: int) -> Measured:
    """Mean of group ``high`` minus that of group ``low``; its rows are names, the templates' variance comes as ``extra``.

    With one template the claim is about that template, and names alone are random.
    """
    names = gap_in(y_tn.mean(axis=0)[:, None], groups_n, low, high, 0, np.arange(y_tn.shape[1]))
    if len(y_tn) == 1:
        return names
    gaps = y_tn[:, groups_n == high].mean(axis=1) - y_tn[:, groups_n == low].mean(axis=1)
    extra = names.extra + float(gaps.var(ddof=1)) / len(gaps)
    return replace(names, extra=extra, extra_df=min(names.row_df, float(len(gaps) - 1)))


def share_floor(y_tcn: Floats, groups_n: Ints, low: int, high: int) -> float:
    """Least variance of a difference of shares of yes: one yes and one no are added to each template and context (Agresti & Coull 1998)."""
    total = 0.0
    for group in (low, high):
        inside = y_tcn[:, :, groups_n == group]
        n = inside.shape[2] + 2
        p = (inside.sum(axis=2) + 1) / n
        total += float((p * (1 - p) / n).sum()) / p.size**2
    return total


def permutation_null(y_tn: Floats, groups_n: Ints, low: int, high: int, rng: np.random.Generator, times: int) -> Floats:
    """Absolute differences with the names dealt to the two groups anew, shape ``(times,)``."""
    means_n = y_tn.mean(axis=0)
    values = np.concatenate([means_n[groups_n == low], means_n[groups_n == high]])
    size = int((groups_n == low).sum())
    order = rng.permuted(np.tile(np.arange(len(values)), (times, 1)), axis=1)
    dealt = values[order]
    return np.asarray(np.abs(dealt[:, size:].mean(axis=1) - dealt[:, :size].mean(axis=1)), dtype=np.float64)


def has_support(y_tn: Floats, groups_n: Ints, low: int, high: int) -> bool:
    """Whether enough names of each group depart from what most names give, in any template, for their spread to mean something."""
    departs = np.zeros(y_tn.shape[1], dtype=bool)
    for y_n in np.round(y_tn, 9):
        values, counts = np.unique(y_n, return_counts=True)
        departs |= y_n != values[counts.argmax()]
    return all(int(departs[groups_n == group].sum()) >= FEWEST_DEPARTING for group in (low, high))
