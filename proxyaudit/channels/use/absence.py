"""Controls of use, and what bars the claim that an attribute is not used: none of it claims use, each only makes absence unknown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from proxyaudit.channels.use import record
from proxyaudit.estimates.draft import ABSENT_AT
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Drafts
from proxyaudit.estimates.states import LEAST_FOUND
from proxyaudit.probes.dropped_axes import dropped_axes_reason

_SHOWN = 6
SAME_OUTPUT = 1e-3  # largest change of a probability that counts as none
TOO_WIDE = "too many dimensions for the rows to tell the attribute's direction from noise: more audit rows would settle it"
_UNREAD_SHARE = 0.5  # of the margin: directions without a gradient must not move the outputs by more


@dataclass(frozen=True)
class PlantedOutcome:
    """Whether planted effects were found in every model that they were planted in."""

    passed: bool  # none was called absent, and more than half of each was found
    detail: str  # the figures, for people
    least_found: float | None = None  # smallest share found of a planted effect
    least_absent_p: float | None = None  # smallest p-value of absence of one


def planted_control(uses: Sequence[record.SiteUse]) -> PlantedOutcome | None:
    """The positive control of absence over the models of a regime; ``None`` where nothing was planted."""
    planted = [use.planted for use in uses if use.planted is not None]
    if not planted:
        return None
    reason = record.first_reason(one.reason for one in planted)
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
    return [swap.effect.size for swap in record.learned_swaps(record.uses_at(untrained, attribute, site))]


def add_use_controls(out: Drafts, run: Run, untrained: Run | None, attribute: str, sites: Sequence[str], margin: float) -> None:
    """Add the controls of use of one attribute in one regime: random subspaces of equal rank, planted effects, untrained models."""
    for site in sites:
        _add_random_subspaces(out, run, attribute, site, margin)
    for site in sites:
        uses = record.uses_at(run, attribute, site)
        found = planted_control(uses)
        if found is not None:
            figures = {"least_found": found.least_found, "least_absent_p": found.least_absent_p}
            out.control("positive", "used", attribute, run.regime, site, found.detail, **figures)
        swaps, relayed = record.learned_swaps(uses), untrained_sizes(run.regime, untrained, attribute, site)
        if relayed and any(len(swap.random_sizes) for swap in swaps):
            size, most = min(swap.effect.size for swap in swaps), max(relayed)
            detail = f"learned subspace: smallest effect {size:.4f}; largest in untrained models {most:.4f}"
            figures = {"smallest": size, "largest_untrained": most}
            out.control("untrained", "used", attribute, run.regime, site, detail, **figures)


def _add_random_subspaces(out: Drafts, run: Run, attribute: str, site: str, margin: float) -> None:
    """Whether the effect, or else the margin, exceeds what random subspaces of equal rank do."""
    swaps = [use.leace for use in record.uses_at(run, attribute, site) if use.leace is not None]
    if not swaps:
        return
    size = float(np.mean([swap.effect.size for swap in swaps]))
    high = float(np.quantile(np.concatenate([swap.random_sizes for swap in swaps]), 0.95))
    detail = f"effect {size:.4f}; 95th percentile of random subspaces of equal rank {high:.4f}"
    figures = {"effect": size, "random_high": high, "margin": margin}
    out.control("random_subspace", "used", attribute, run.regime, site, detail, **figures)


def acting_carrier(run: Run, attribute: str, names: Sequence[str], margin: float) -> str | None:
    """Why a column that carries the attribute and moves the outputs, whichever way, bars absence (means may cancel), or ``None``."""
    for m in run.measured:
        sizes = record.influence_of_columns(m, attribute)
        for name in names:
            if (size := sizes.get(name, 0.0)) > margin:
                return f"“{name}” carries the attribute and moves the outputs by {size:.2f}; that it cancels between groups is no absence"
    return None


def absence_barred(run: Run, attribute: str, site: str, margin: float) -> str | None:
    """Why absence of use cannot be claimed at a site, whatever the effects; ``None`` if it can."""
    uses = record.uses_at(run, attribute, site)
    barred = record.first_reason(use.reason for use in uses)
    if barred is None and is_too_wide(run, attribute, site):
        barred = TOO_WIDE
    barred = barred or dropped_axes_reason([record.axes_at(m, attribute, site).dropped_p for m in run.measured])
    if barred is not None:
        return barred
    for m, use in zip(run.measured, uses, strict=True):
        if use.learned is None or use.learned.reason:
            return f"absence of use needs the learned subspace: {use.learned.reason if use.learned else 'none was learned'}"
        if (barred := guard_barring_absence(record.GUARDS.find(m), attribute, margin)) is not None:
            return barred
        if use.learned.unread > _UNREAD_SHARE * margin:
            return "directions without a gradient at the audit rows move the outputs (steps, saturated units): they were not searched"
    if any(use.planted is None for use in uses):
        # An effect above the margin in some model: the control was not needed, and absence is out of the question.
        return None
    for use in uses:
        if use.others is not None and use.others.p > ABSENT_AT:
            return "of other groups or outputs than those followed an effect of the margin is not ruled out"
        if use.planted is not None and use.planted.reason:
            return f"the positive control of absence could not be run: {use.planted.reason}"
    control = planted_control(uses)
    if control is not None and control.passed:
        return None
    return f"the positive control of absence failed ({control.detail if control else ''}): more audit rows would settle it"


def is_too_wide(run: Run, attribute: str, site: str) -> bool:
    """Whether a subspace was fitted on too few rows for the site's dimensions."""
    dimensions = max(record.axes_at(m, attribute, site).rank or 0 for m in run.measured)
    rows = min(use.leace.rows if use.leace else 0 for use in record.uses_at(run, attribute, site))
    return dimensions > record.MOST_DIMENSIONS * rows / 3


def joint_barred(run: Run, attribute: str, sites: Sequence[str]) -> str | None:
    """Why absence cannot be claimed of several sites together: other groups and outputs are asked of each alone. Else ``None``."""
    if any(use.others is not None and use.others.asked for site in sites for use in record.uses_at(run, attribute, site)):
        return "of several verdict sites together only one pair of groups and one output were followed"
    return None


def guard_barring_absence(guards: record.Guards | None, attribute: str, margin: float) -> str | None:
    """Why absence of use cannot be claimed of a model for what could escape the interventions; ``None`` if nothing could."""
    if guards is None:
        return "what could escape the interventions was not measured"
    if guards.past_sites > SAME_OUTPUT:
        return "something reaches the outputs past the verdict sites: name sites that everything goes through"
    moderated = guards.moderated[attribute]
    if moderated > margin:
        return (
            f"the output gap differs between halves of the rows by {2 * moderated:.2f}: a use that raises some people and lowers others "
            "is not ruled out; a verdict site where it has not yet been added up would settle it"
        )
    return None
