"""Decide on use: effects of LEACE and learned subspaces at each verdict site and at all of them jointly, over seeds.

Controls, and what could have escaped the swaps, never claim use: each only makes absence unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from proxyaudit.arrays import Floats, Ints, Places
from proxyaudit.causal.interchange import InterchangeResult, absent_p, over_models
from proxyaudit.causal.interchange import measured as measured_effect
from proxyaudit.channels.use import record
from proxyaudit.channels.use.carriers import Carrier, add_carriers, barring, carriers_of, explain, shared_by_exchanges
from proxyaudit.channels.use.record import JOINT, all_of, first_reason, learned_swaps, uses_at
from proxyaudit.data.attributes import Followed
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import Draft, Drafts
from proxyaudit.estimates.states import LEAST_FOUND
from proxyaudit.estimates.task import task_score, yardstick
from proxyaudit.probes.dropped_axes import dropped_axes_reason
from proxyaudit.stats.group_gaps import gap_in
from proxyaudit.stats.intervals import ALONE, Measured, SharedSpreads, crossed_interval, fieller_ratio, in_every_seed, over_seeds
from proxyaudit.stats.p_values import ABSENT_AT, PRESENT_AT

_Swaps = Sequence[InterchangeResult]
_LEACE = (
    "interchange of the LEACE subspace, donors of any label; minus random subspaces of equal rank; "
    "absence by what of it the rest of the model reads"
)
_LEARNED = (
    "interchange of the learned subspace of highest effect (DAS, linear), in bands of what the rest of the model reads; "
    "donors of any label; minus random subspaces of equal rank where above the margin"
)
_WITHIN = (
    "interchange of the LEACE subspace fitted within the true label, donors share the label; where labels depend on the attribute, models "
    "that ignore it show such an effect too, so this speaks to the basis of a use and not to whether there is one"
)
_ONE_MODEL = "on average the effect lies below the margin, but one of the models may have as much: more seeds or audit rows would settle it"
_RELAYED = "no more than what an untrained network of this shape relays of its inputs"
_FAILED = "the training or capture of this regime failed"
_FREE = (
    "interchange of the learned subspace of highest effect, directions that the rest of the model does not read included: "
    "what exceeds the readable part is a dormant pathway, not use"
)
_MEDIATION = "one minus the output gap with the LEACE subspace set to its mean, over the gap as it is; Fieller"
_TOWARDS = "share of the other attribute's difference between groups that a fresh probe reads in what the swap moved"
_SELECTIVITY = "change of a fresh probe of the label, share of the difference between labels"
_COMPLETENESS = "share of the group difference that a fresh probe reads after the swap"
_SHOWN = 6
SAME_OUTPUT = 1e-3  # largest change of a probability that counts as none
TOO_WIDE = "too many dimensions for the rows to tell the attribute's direction from noise: more audit rows would settle it"
_UNREAD_SHARE = 0.5  # of the margin: directions without a gradient must not move the outputs by more


def estimate(facts: Facts) -> Drafts:
    """Effects of every attribute in every regime, the numbers beside them, and their controls."""
    out, untrained = Drafts(), facts.run("untrained")
    names = [attribute.name for attribute in facts.not_crossed]
    shared = _shared_by_effects(facts.trained, names, facts.verdict_sites, facts.clusters_n)
    exchanges = shared_by_exchanges(facts.trained, names, facts.clusters_n)
    for run in facts.runs:
        for attribute in facts.attributes:
            name, followed = attribute.name, facts.followed[attribute.name]
            low, high = followed.names
            base = Draft("used", name, run.regime, group=f"{low} to {high}", margin=facts.margins.effect, unit=facts.gap_unit)
            carrying = carriers_of(run, name, record.carriers(facts.inputs, name, facts.margins.leak), exchanges)
            for draft in use_drafts(base, run, untrained, facts.verdict_sites, facts.clusters_n, carrying, shared):
                if run.is_reference:
                    draft = replace(draft, decides=False, reason=None if draft.measured is not None else draft.reason)
                out.add(draft)
            if run.measured and not run.is_reference:
                add_use_beside(out, base, run, facts, followed)
                add_carriers(out, base, carrying, facts.clusters_n)
            add_use_controls(out, run, untrained, name, facts.verdict_sites, facts.margins.effect)
    return out


def _shared_by_effects(runs: Sequence[Run], attributes: Sequence[str], sites: Sequence[str], clusters_n: Ints) -> SharedSpreads:
    """What effects have in common of the variance between models, over regimes of trained models, attributes, sites and subspaces."""
    effects = []
    for run in runs:
        for uses in (uses_at(run, name, site) for name in attributes for site in sites):
            for swaps in (all_of(use.leace for use in uses), learned_swaps(uses)):
                if len(swaps) == len(run.measured):
                    effects.append(over_models([swap.effect for swap in swaps], clusters_n, run.places))
    return SharedSpreads.of(effects)


def use_drafts(
    base: Draft,
    run: Run,
    untrained: Run | None,
    sites: Sequence[str],
    clusters_n: Ints,
    carrying: Sequence[Carrier] = (),
    shared: SharedSpreads = ALONE,
) -> list[Draft]:
    """Drafts of use at every verdict site and, of several, jointly; ``carrying`` are input columns that carry the attribute.

    ``shared`` is what effects in this audit have in common of the variance between models.
    """
    base = replace(base, measure="effect")
    if not run.measured:
        return [replace(base, site=site, reason=_FAILED) for site in sites]
    acting, idle = barring(carrying, clusters_n, base.margin), explain(carrying, clusters_n, base.margin)
    barred = {site: acting or absence_barred(run, base.attribute, site, base.margin, idle=idle) for site in sites}
    drafts = []
    for site in sites:
        drafts += _at(replace(base, site=site), run, untrained, site, barred[site], clusters_n, shared)
    if len(sites) > 1:
        together = first_reason(barred.values()) or joint_barred(run, base.attribute, sites)
        joint = replace(base, subject="joint", context="joint: " + " + ".join(sites))
        drafts += _at(joint, run, untrained, JOINT, together, clusters_n, shared)
    return drafts


def _at(
    base: Draft, run: Run, untrained: Run | None, site: str, barred: str | None, clusters_n: Ints, shared: SharedSpreads
) -> list[Draft]:
    """LEACE and learned subspaces at one site, or at all of them jointly."""
    base = replace(base, method=_LEACE)
    uses = uses_at(run, base.attribute, site)
    missing = first_reason(use.reason for use in uses)
    if missing is not None:
        return [replace(base, reason=missing)]
    wide = site != JOINT and is_too_wide(run, base.attribute, site)
    why = first_reason(use.learned.reason for use in uses if use.learned)
    # Measured where the learned effect is below the margin; where it is not, absence is out of the question.
    read = [] if why is not None else all_of(use.learned.read_downstream if use.learned else None for use in uses)

    def draft_of(start: Draft, swaps: _Swaps, asked: _Swaps) -> Draft:
        p = absent_p([swap.effect for swap in asked], clusters_n, base.margin, shared, run.places) if asked else None
        why = barred
        if len(asked) > 1 and any(absent_p([swap.effect], clusters_n, base.margin) > PRESENT_AT for swap in asked):
            why = why or _ONE_MODEL
        draft = replace(_claimed(start, swaps, clusters_n, shared, run.places), absent_p=p, can_be_absent=why is None, reason=why)
        return replace(draft, null_rejected=False, null_reason=TOO_WIDE) if wide else draft

    leace = draft_of(base, all_of(use.leace for use in uses), read)
    context = f"{base.context}, learned" if base.context else "learned"
    learned = replace(base, measure="learned_effect", method=_LEARNED, context=context)
    if why is not None:
        return [leace, replace(learned, reason=why)]
    swaps = learned_swaps(uses)
    found = draft_of(learned, swaps, swaps if read else [])
    relayed = untrained_sizes(base.regime, untrained, base.attribute, site)
    if relayed and min(swap.effect.size for swap in swaps) <= max(relayed):
        found = replace(found, null_rejected=False, null_reason=_RELAYED)
    return [leace, found]


def _claimed(base: Draft, swaps: _Swaps, clusters_n: Ints, shared: SharedSpreads, places: Places) -> Draft:
    """An effect as it may be claimed: beyond random subspaces."""
    draft = effect_draft(base, swaps, clusters_n, shared, places)
    draft = replace(draft, context=f"{base.context}: {draft.context}" if base.context else draft.context)
    random = [float(size) for swap in swaps for size in swap.random_sizes]
    if random and float(np.quantile(random, 0.95)) >= float(np.mean([swap.effect.size for swap in swaps])):
        # Any subspace of this rank does as much: the effect is not the attribute's own.
        draft = replace(draft, null_rejected=False)
    return draft


def effect_draft(base: Draft, swaps: _Swaps, clusters_n: Ints, shared: SharedSpreads = ALONE, places: Places = ()) -> Draft:
    """Fill a draft with an interchange effect, the larger of signed and per-row in the mean over seeds, minus that of random subspaces."""
    effects = [swap.effect for swap in swaps]
    signed = float(np.mean([effect.signed for effect in effects]))
    root = float(np.sqrt(max(0.0, float(np.mean([effect.product for effect in effects])))))
    branch = "signed" if abs(signed) >= root else "per-row"
    sign = 1.0 if signed >= 0 else -1.0
    random = [float(np.mean(swap.random_sizes)) if len(swap.random_sizes) else 0.0 for swap in swaps]
    singles = []
    for effect, beside in zip(effects, random, strict=True):
        one = measured_effect(effect, clusters_n, product=branch == "per-row")
        size, slope = sign * effect.signed, sign
        if branch == "per-row":
            size = float(np.sqrt(max(0.0, effect.product)))
            slope = 1 / (2 * max(size, root / 2)) if root else 0.0
        singles.append(replace(one, seed_values=np.array([size - beside]), influence_n=slope * one.influence_n, extra=slope**2 * one.extra))
    measured = shared.signed.applied(over_seeds(singles, places), root**2)
    # Where no model exceeds the margin no null was needed.
    nulls = [swap.null_sizes for swap in swaps]
    null_high = float(np.quantile(np.mean(nulls, axis=0), 0.95)) if all(len(null) for null in nulls) else None
    rejected = null_high is not None and measured.value + float(np.mean(random)) > null_high
    draft = replace(base, measured=measured, interval=crossed_interval(measured), context=branch, n=swaps[0].rows)
    draft = replace(draft, null_rejected=rejected, null_high=null_high)
    return replace(
        draft, present_p=in_every_seed(singles, base.margin), absent_p=absent_p(effects, clusters_n, base.margin, shared, places)
    )


def add_use_beside(out: Drafts, base: Draft, run: Run, facts: Facts, followed: Followed) -> None:
    """Add the numbers beside the effects."""
    sites, clusters_n = facts.verdict_sites, facts.clusters_n
    for site in (*sites, *((JOINT,) if len(sites) > 1 else ())):
        uses = uses_at(run, base.attribute, site)
        if not uses or first_reason(use.reason for use in uses):
            continue
        draft = replace(base, site=None if site == JOINT else site, decides=False)
        joint = site == JOINT
        _add_readings(out, draft, all_of(use.leace for use in uses), joint=joint, learned=False)
        _add_readings(out, draft, learned_swaps(uses), joint=joint, learned=True)
        free = [use.learned.free for use in uses if use.learned is not None and use.learned.free is not None]
        if free:  # of the models that were asked
            found = effect_draft(replace(draft, method=_FREE, measure="learned_effect_unread"), free, clusters_n, ALONE, run.places)
            context = f"learned, unread directions included: {found.context}"
            out.add(replace(found, context=context, present_p=None, absent_p=None))
        within = all_of(use.within_label for use in uses)
        if within:
            start = replace(draft, method=_WITHIN, measure="effect_within_label", shows_p=True)
            found = effect_draft(start, within, clusters_n, ALONE, run.places)
            subject = "joint" if joint else None
            out.add(replace(found, subject=subject, context=f"within label{', joint' if joint else ''}: {found.context}"))
        erased = all_of(use.erased_n for use in uses)
        if erased:
            _add_erased(out, draft, run, erased, facts, followed)


def _add_readings(out: Drafts, draft: Draft, swaps: _Swaps, *, joint: bool, learned: bool) -> None:
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


def _add_erased(out: Drafts, draft: Draft, run: Run, erased: Sequence[Floats], facts: Facts, followed: Followed) -> None:
    """Amnesic effects (Elazar et al. 2021) and the share of the gap that flows through the subspace."""
    groups_n, clusters_n, places, by = followed.groups_n, facts.clusters_n, run.places, yardstick(facts.task)
    outputs, truth = [o[:, followed.output] for o in run.outputs], facts.truth_nc[:, [followed.output]]
    before, after = (over_seeds([gap_in(o[:, None], groups_n, 0, 1, 0, clusters_n) for o in many], places) for many in (outputs, erased))
    amnesic = replace(draft, channel="amnesic", method="LEACE subspace of other rows set to its mean")
    gap = replace(amnesic, measure="gap_after_erasing", context="output gap after erasing")
    out.add(replace(gap, measured=after, interval=crossed_interval(after)))
    told = [[task_score(one[:, None], truth, facts.task)[0] for one in many] for many in (outputs, erased)]
    task = np.array(told[1]) - np.array(told[0])
    change = Measured(task, np.zeros(len(clusters_n)), clusters_n, places=places)
    context = f"change of the task's {by.word} by erasing"
    out.add(replace(amnesic, measure=f"{by.measure}_change", context=context, unit=by.unit.partition(" of the target")[0], measured=change))
    mediation = replace(draft, channel="mediation", measure="share_of_gap", unit="ratio", method=_MEDIATION)
    mediation = replace(mediation, context="share of the output gap through the subspace")
    share = fieller_ratio(before - after, before)
    if share is None:
        out.add(replace(mediation, reason="the gap is not clearly different from zero, so it has no share"))
    else:
        out.add(replace(mediation, interval=share), value=share.value)


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


def add_use_controls(out: Drafts, run: Run, untrained: Run | None, attribute: str, sites: Sequence[str], margin: float) -> None:
    """Add the controls of use of one attribute in one regime: random subspaces of equal rank, planted effects, untrained models."""
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
            detail = f"learned subspace: smallest effect {size:.3f}; largest in untrained models {most:.3f}"
            figures = {"smallest": size, "largest_untrained": most}
            out.control("untrained", "used", attribute, run.regime, site, detail, **figures)


def _add_random_subspaces(out: Drafts, run: Run, attribute: str, site: str, margin: float) -> None:
    """Whether the effect, or else the margin, exceeds what random subspaces of equal rank do."""
    swaps = [use.leace for use in uses_at(run, attribute, site) if use.leace is not None]
    if not swaps:
        return
    size = float(np.mean([swap.effect.size for swap in swaps]))
    high = float(np.quantile(np.concatenate([swap.random_sizes for swap in swaps]), 0.95))
    detail = f"effect {size:.3f}; 95th percentile of random subspaces of equal rank {high:.3f}"
    figures = {"effect": size, "random_high": high, "margin": margin}
    out.control("random_subspace", "used", attribute, run.regime, site, detail, **figures)


def absence_barred(run: Run, attribute: str, site: str, margin: float, *, idle: bool) -> str | None:
    """Why absence of use cannot be claimed at a site, whatever the effects; ``None`` if it can.

    ``idle`` says that no exchange of what carries the attribute reaches the groups.
    """
    uses = uses_at(run, attribute, site)
    barred = first_reason(use.reason for use in uses)
    if barred is None and is_too_wide(run, attribute, site):
        barred = TOO_WIDE
    barred = barred or dropped_axes_reason([record.axes_at(m, attribute, site).dropped_p for m in run.measured])
    if barred is not None:
        return barred
    for m, use in zip(run.measured, uses, strict=True):
        if use.learned is None or use.learned.reason:
            return f"absence of use needs the learned subspace: {use.learned.reason if use.learned else 'none was learned'}"
        if (barred := guard_barring_absence(record.GUARDS.find(m), attribute, margin, idle=idle)) is not None:
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
    rows = min(use.leace.rows if use.leace else 0 for use in uses_at(run, attribute, site))
    return dimensions > record.MOST_DIMENSIONS * rows / 3


def joint_barred(run: Run, attribute: str, sites: Sequence[str]) -> str | None:
    """Why absence cannot be claimed of several sites together: other groups and outputs are asked of each alone. Else ``None``."""
    if any(use.others is not None and use.others.asked for site in sites for use in uses_at(run, attribute, site)):
        return "of several verdict sites together only one pair of groups and one output were followed"
    return None


def guard_barring_absence(guards: record.Guards | None, attribute: str, margin: float, *, idle: bool = False) -> str | None:
    """Why absence of use cannot be claimed of a model for what could escape the interventions; ``None`` if nothing could."""
    if guards is None:
        return "what could escape the interventions was not measured"
    if guards.past_sites > SAME_OUTPUT:
        return "something reaches the outputs past the verdict sites: name sites that everything goes through"
    # A direction inside can mix the attribute with what the model rightly reads; idle carriers say that this is all.
    moderated = max(guards.moderated[attribute], 0.0 if idle else guards.inside.get(attribute, 0.0))
    if moderated > margin:
        return (
            f"the output gap differs between halves of the rows by {2 * moderated:.2f}: a use that raises some people and lowers others "
            "is not ruled out; a verdict site where it has not yet been added up would settle it"
        )
    return None
