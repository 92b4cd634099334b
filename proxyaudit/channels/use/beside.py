"""Numbers beside the effects, on which no verdict rests: completeness, selectivity, unread directions, erasure and mediation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal.interchange import InterchangeResult
from proxyaudit.channels.use.effect import effect_draft
from proxyaudit.channels.use.record import JOINT, all_of, first_reason, learned_swaps, uses_at
from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Drafts
from proxyaudit.stats.group_gaps import gap_in
from proxyaudit.stats.intervals import Measured, crossed_interval, fieller_ratio, over_seeds
from proxyaudit.stats.ranks import auroc

_FREE = (
    "interchange of the learned subspace of highest effect, directions that the rest of the model does not read included: "
    "what exceeds the readable part is a dormant pathway, not use"
)
_MEDIATION = "one minus the output gap with the LEACE subspace set to its mean, over the gap as it is; Fieller"
_TOWARDS = "share of the other attribute's difference between groups that a fresh probe reads in what the swap moved"
_SELECTIVITY = "change of a fresh probe of the label, share of the difference between labels"
_COMPLETENESS = "share of the group difference that a fresh probe reads after the swap"


def add_use_beside(
    out: Drafts,
    base: Draft,
    run: Run,
    sites: Sequence[str],
    groups_n: Ints,
    output: int,
    positive_n: NDArray[np.bool_],
    clusters_n: Ints,
) -> None:
    """Add the numbers beside the effects.

    ``positive_n`` marks the rows whose true label is the one that the followed output stands for.
    """
    for site in (*sites, *((JOINT,) if len(sites) > 1 else ())):
        uses = uses_at(run, base.attribute, site)
        if not uses or first_reason(use.reason for use in uses):
            continue
        draft = replace(base, site=None if site == JOINT else site, decides=False)
        joint = site == JOINT
        _add_readings(out, draft, all_of(use.leace for use in uses), joint=joint, learned=False)
        _add_readings(out, draft, learned_swaps(uses), joint=joint, learned=True)
        free = all_of(use.learned.free if use.learned else None for use in uses)
        if free:
            found = effect_draft(replace(draft, method=_FREE, measure="learned_effect_unread"), free, clusters_n)
            context = f"learned, unread directions included: {found.context}"
            out.add(replace(found, context=context, present_p=None, absent_p=None))
        erased = all_of(use.erased_n for use in uses)
        if erased:
            _add_erased(out, draft, [o[:, output] for o in run.outputs], erased, groups_n, positive_n, clusters_n)


def _add_readings(out: Drafts, draft: Draft, swaps: Sequence[InterchangeResult], *, joint: bool, learned: bool) -> None:
    """What fresh probes read in what the swaps moved: of the attribute, of the label, and of other attributes."""
    said = [word for word, holds in (("joint", joint), ("learned", learned)) if holds]
    prefix = "learned_" if learned else ""

    def add(measure: str, method: str, values: Sequence[float | None], subject: str | None = None) -> None:
        kept = [value for value in values if value is not None]
        if not kept:
            return
        words = [*said, *([] if subject is None else [f"towards {subject}"])]
        named = replace(draft, channel=measure, measure=prefix + measure, subject=subject, context=", ".join(words) or None, method=method)
        out.add(replace(named, unit="ratio", margin=0.0, seed_values=kept), value=float(np.mean(kept)))

    add("completeness", _COMPLETENESS, [swap.completeness for swap in swaps])
    add("selectivity", _SELECTIVITY, [swap.selectivity for swap in swaps])
    for other in sorted({name for swap in swaps for name in swap.others}):
        add("selectivity", _TOWARDS, [swap.others.get(other) for swap in swaps], other)


def _add_erased(
    out: Drafts,
    draft: Draft,
    outputs: Sequence[Floats],
    erased: Sequence[Floats],
    groups_n: Ints,
    positive_n: NDArray[np.bool_],
    clusters_n: Ints,
) -> None:
    """Amnesic effects (Elazar et al. 2021) and the share of the gap that flows through the subspace."""
    before, after = (over_seeds([gap_in(o[:, None], groups_n, 0, 1, 0, clusters_n) for o in many]) for many in (outputs, erased))
    amnesic = replace(draft, channel="amnesic", method="LEACE subspace of other rows set to its mean")
    gap = replace(amnesic, measure="gap_after_erasing", context="output gap after erasing")
    out.add(replace(gap, measured=after, interval=crossed_interval(after)))
    task = np.array([auroc(e, positive_n) - auroc(o, positive_n) for o, e in zip(outputs, erased, strict=True)])
    change = Measured(task, np.zeros(len(clusters_n)), clusters_n)
    context = "change of the task's AUROC by erasing"
    out.add(replace(amnesic, measure="auroc_change", context=context, unit="AUROC", measured=change))
    mediation = replace(draft, channel="mediation", measure="share_of_gap", unit="ratio", method=_MEDIATION)
    mediation = replace(mediation, context="share of the output gap through the subspace")
    share = fieller_ratio(before - after, before)
    if share is None:
        out.add(replace(mediation, reason="the gap is not clearly different from zero, so it has no share"))
    else:
        out.add(replace(mediation, interval=share), value=share.value)
