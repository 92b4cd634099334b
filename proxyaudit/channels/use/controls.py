"""Controls of use: planted effects, untrained models and random subspaces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxyaudit.channels.use.record import SiteUse, first_reason, learned_swaps, uses_at
from proxyaudit.estimates.draft import ABSENT_AT
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.instrument import LEAST_FOUND
from proxyaudit.estimates.ledger import Drafts

_SHOWN = 6


@dataclass(frozen=True)
class PlantedOutcome:
    """Whether planted effects were found in every model that they were planted in."""

    passed: bool  # none was called absent, and more than half of each was found
    detail: str  # the figures, for people
    least_found: float | None = None  # smallest share found of a planted effect
    least_absent_p: float | None = None  # smallest p-value of absence of one


def planted_control(uses: Sequence[SiteUse]) -> PlantedOutcome | None:
    """The positive control of absence over the models of a regime; ``None`` where nothing was planted."""
    planted = [use.planted for use in uses if use.planted is not None]
    if not planted:
        return None
    reason = first_reason(one.reason for one in planted)
    if reason is not None:
        return PlantedOutcome(False, reason)
    sizes = [size for one in planted for size in one.sizes]
    if not sizes:
        return PlantedOutcome(True, "the site is constant: there is nothing to swap", 1.0, 1.0)
    shown = ", ".join(f"planted {one.truth:.3f}: LEACE {one.leace:.3f}, learned {one.learned:.3f}" for one in sizes[:_SHOWN])
    missed = [one for one in sizes if one.absent_p <= ABSENT_AT or max(one.leace, one.learned) <= LEAST_FOUND * one.truth]
    found = min(max(one.leace, one.learned) / one.truth if one.truth > 0 else 1.0 for one in sizes)
    return PlantedOutcome(not missed, shown, found, min(one.absent_p for one in sizes))


def untrained_sizes(regime: str, untrained: Run | None, attribute: str, site: str) -> list[float]:
    """The learned subspace's effect in each untrained model; none for the untrained models themselves."""
    if untrained is None or untrained.regime == regime:
        return []
    return [swap.effect.size for swap in learned_swaps(uses_at(untrained, attribute, site))]


def add_use_controls(
    out: Drafts, run: Run, untrained: Run | None, attribute: str, sites: Sequence[str], margin: float | None = None
) -> None:
    """Add the controls of use of one attribute in one regime: random subspaces of equal rank, planted effects, untrained models."""
    if margin is not None:
        for site in sites:
            _add_random_subspaces(out, run, attribute, site, margin)
    for site in sites:
        uses = uses_at(run, attribute, site)
        found = planted_control(uses)
        if found is not None:
            figures = {"least_found": found.least_found, "least_absent_p": found.least_absent_p}
            out.control("positive", "used", attribute, run.regime, site, found.detail, **figures)
        swaps, relayed = learned_swaps(uses), untrained_sizes(run.regime, untrained, attribute, site)
        if relayed and any(len(swap.random_sizes) for swap in swaps):
            size, most = min(swap.effect.size for swap in swaps), max(relayed)
            detail = f"learned subspace: smallest effect {size:.4f}; largest in untrained models {most:.4f}"
            figures = {"smallest": size, "largest_untrained": most}
            out.control("untrained", "used", attribute, run.regime, site, detail, **figures)


def _add_random_subspaces(out: Drafts, run: Run, attribute: str, site: str, margin: float) -> None:
    """Whether the effect, or else the margin, exceeds what random subspaces of equal rank do."""
    swaps = [use.leace for use in uses_at(run, attribute, site) if use.leace is not None]
    if not swaps:
        return
    size = float(np.mean([swap.effect.size for swap in swaps]))
    high = float(np.quantile(np.concatenate([swap.random_sizes for swap in swaps]), 0.95))
    detail = f"effect {size:.4f}; 95th percentile of random subspaces of equal rank {high:.4f}"
    figures = {"effect": size, "random_high": high, "margin": margin}
    out.control("random_subspace", "used", attribute, run.regime, site, detail, **figures)
