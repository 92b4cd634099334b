"""An interchange effect over the models of a regime, as a draft."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.estimates.draft import Draft
from proxyaudit.stats.intervals import Measured, absent_everywhere, crossed_interval, in_every_seed, over_seeds


def effect_draft(
    base: Draft, per_seed: Sequence[dict[str, Any]], arrays: Sequence[dict[str, NDArray[Any]]], key: str, clusters_n: Ints
) -> Draft:
    """Fill a cell with an interchange effect: ``max(|mean tau|, sqrt(mean tau1 tau2))`` minus that of random subspaces.

    The branch (``signed`` or ``per-row``) is taken on the mean over seeds.
    """
    signed = np.array([cell["signed"] for cell in per_seed])
    root = float(np.sqrt(max(0.0, float(np.mean([cell["product"] for cell in per_seed])))))
    branch = "signed" if abs(signed.mean()) >= root else "per-row"
    sign = 1.0 if signed.mean() >= 0 else -1.0
    singles, random = [], []
    for cell, a in zip(per_seed, arrays, strict=True):
        random.append(float(np.mean(cell["random"])) if cell["random"] else 0.0)
        size, influence = sign * cell["signed"], sign * a[key + "signed"]
        if branch == "per-row":
            size = float(np.sqrt(max(0.0, cell["product"])))
            influence = a[key + "product"] / (2 * max(size, root / 2))
        # Each part of the audit rows had subspaces of its own: how much the parts differ is the error of the directions,
        # which no row influence carries. A feature that the head ignores would seem used without it.
        parts = [sign * one if branch == "signed" else float(np.sqrt(max(0.0, other))) for one, other in cell["parts"]]
        extra = float(np.var(parts, ddof=1)) / len(parts) if len(parts) > 1 else float("inf")
        singles.append(Measured(np.array([size - random[-1]]), influence, clusters_n, extra, float(max(len(parts) - 1, 1))))
    measured = over_seeds(singles)
    # Where no model exceeds the margin no null was needed.
    nulls = [cell["null"] for cell in per_seed]
    null_high = float(np.quantile(np.mean(nulls, axis=0), 0.95)) if all(nulls) else None
    return replace(
        base,
        measured=measured,
        interval=crossed_interval(measured),
        context=branch,
        present_p=in_every_seed(singles, base.margin),
        absent_p=absent_everywhere(measured, singles, base.margin),
        null_rejected=null_high is not None and measured.value + float(np.mean(random)) > null_high,
        null_high=null_high,
        n=per_seed[0]["n"],
    )
