"""An interchange effect over the models of a regime: as a draft, and the p-value of its absence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.causal.interchange import Effect, InterchangeResult
from proxyaudit.estimates.draft import Draft
from proxyaudit.stats.intervals import Measured, absent_everywhere, crossed_interval, in_every_seed, over_seeds


def effect_draft(base: Draft, swaps: Sequence[InterchangeResult], clusters_n: Ints) -> Draft:
    """Fill a draft with an interchange effect, the larger of signed and per-row in the mean over seeds, minus that of random subspaces."""
    effects = [swap.effect for swap in swaps]
    signed = float(np.mean([effect.signed for effect in effects]))
    root = float(np.sqrt(max(0.0, float(np.mean([effect.product for effect in effects])))))
    branch = "signed" if abs(signed) >= root else "per-row"
    sign = 1.0 if signed >= 0 else -1.0
    random = [float(np.mean(swap.random_sizes)) if len(swap.random_sizes) else 0.0 for swap in swaps]
    singles = []
    for effect, beside in zip(effects, random, strict=True):
        size, influence = sign * effect.signed, sign * effect.signed_influence_n
        if branch == "per-row":
            size = float(np.sqrt(max(0.0, effect.product)))
            influence = effect.product_influence_n / (2 * max(size, root / 2))
        # Each part of the audit rows had subspaces of its own: how much the parts differ is the error of the directions,
        # which no row influence carries. A feature that the head ignores would seem used without it.
        parts = [sign * one if branch == "signed" else float(np.sqrt(max(0.0, other))) for one, other in effect.parts]
        extra = float(np.var(parts, ddof=1)) / len(parts) if len(parts) > 1 else float("inf")
        singles.append(Measured(np.array([size - beside]), influence, clusters_n, extra, float(max(len(parts) - 1, 1))))
    measured = over_seeds(singles)
    # Where no model exceeds the margin no null was needed.
    nulls = [swap.null_sizes for swap in swaps]
    null_high = float(np.quantile(np.mean(nulls, axis=0), 0.95)) if all(len(null) for null in nulls) else None
    return replace(
        base,
        measured=measured,
        interval=crossed_interval(measured),
        context=branch,
        present_p=in_every_seed(singles, base.margin),
        absent_p=absent_everywhere(measured, singles, base.margin),
        null_rejected=null_high is not None and measured.value + float(np.mean(random)) > null_high,
        null_high=null_high,
        n=swaps[0].rows,
    )


def absent_p(effects: Sequence[Effect], clusters_n: Ints, margin: float) -> float:
    """p-value of "below the margin": the signed effect and the product of the donor halves, in the mean and in every model.

    The product is tested on its own scale (below the squared margin): the root of a number near zero has no standard error
    worth the name. Random subspaces are not subtracted. The directions' error is what two subspaces differ by on the same rows.
    """
    found = []
    for which, limit in ((0, margin), (1, margin**2)):
        singles = []
        for effect in effects:
            apart = np.array([part[which] for part in effect.spread])
            # Each part has two of three directions, each direction serves two parts: the mean has a sixth of the squared difference.
            extra = float((apart**2).mean()) / (2 * len(apart)) if len(apart) > 1 else float("inf")
            value, influence = ((effect.signed, effect.signed_influence_n), (effect.product, effect.product_influence_n))[which]
            singles.append(Measured(np.array([value]), influence, clusters_n, extra, float(max(len(apart) - 1, 1))))
        mean = over_seeds(singles)
        if which == 0:
            mean, singles = mean.oriented(), [single.oriented() for single in singles]
        found.append(absent_everywhere(mean, singles, limit))
    return max(found)
