"""Decide on use: effects of LEACE and learned subspaces at each verdict site and at all of them jointly, over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints
from proxyaudit.channels.leak.planted import faint_reason
from proxyaudit.channels.use.effect import effect_draft
from proxyaudit.channels.use.guards import guard_barring_absence
from proxyaudit.estimates.controls import add_random_subspaces
from proxyaudit.estimates.draft import ABSENT_AT, Draft
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import UNIT_GAP, Drafts
from proxyaudit.estimates.record import cell_key
from proxyaudit.probes.crossfit import auroc
from proxyaudit.stats.group_gaps import gap_in
from proxyaudit.stats.intervals import Measured, absent_everywhere, crossed_interval, fieller_ratio, over_seeds

JOINT = "verdict sites jointly"
ANY_LABEL = "any label"
_UNREAD_SHARE = 0.5  # of the margin: directions without a gradient must not move the outputs by more
MOST_DIMENSIONS = 0.1  # of the rows a subspace is fitted on; beyond it a head that ignores the attribute can seem to use it
METHODS = {
    "leace": "interchange of the LEACE subspace, donors share the label; minus random subspaces of equal rank; "
    "absence by what of it the rest of the model reads",
    "learned": "interchange of the learned subspace of highest effect (DAS, linear), in bands of what the rest of the model reads; "
    "donors share the label; minus random subspaces of equal rank where above the margin",
    "free": "interchange of the learned subspace of highest effect, directions that the rest of the model does not read included: "
    "what exceeds the readable part is a dormant pathway, not use",
}
_TOO_WIDE = "too many dimensions for the rows to tell the attribute's direction from noise: more audit rows would settle it"


def estimate(facts: Facts) -> Drafts:
    """Effects of every attribute in every regime, the numbers beside them, and their controls."""
    out, untrained = Drafts(), facts.run("untrained")
    for run in facts.runs:
        for attribute in facts.attributes:
            followed = facts.followed[attribute.name]
            low, high = followed.names
            base = Draft("used", attribute.name, run.regime, group=f"{low} to {high}", margin=facts.margins.effect, unit=UNIT_GAP)
            for draft in use_drafts(base, run, untrained, facts.verdict_sites, facts.clusters_n, carriers_of(facts, attribute.name)):
                if run.is_reference:
                    draft = replace(draft, decides=False, reason=None if draft.measured is not None else draft.reason)
                out.add(draft)
            if run.measured and not run.is_reference:
                positive = facts.positive(attribute.name)
                add_use_beside(out, base, run, facts.verdict_sites, followed.groups_n, followed.output, positive, facts.clusters_n)
            for site in facts.verdict_sites:
                add_random_subspaces(out, run, attribute, site, facts.margins.effect)
            add_use_controls(out, run, untrained, attribute.name, facts.verdict_sites)
    return out


def carriers_of(facts: Facts, attribute: str) -> list[str]:
    """Inputs that carry more of the attribute than the leak's margin."""
    found = facts.inputs.numbers.get("association", {}).get(attribute, {}).get("units", {})
    return [name for name, one in found.items() if "gain" not in one and one.get("association", {}).get("value", 0.0) > facts.margins.leak]


def single_absent_p(numbers: Mapping[str, Any], arrays: Mapping[str, Floats], key: str, clusters_n: Ints, margin: float) -> float:
    """p-value of "the effect is below the margin" in one model."""
    return absent_p([numbers], [arrays], key, clusters_n, margin)


def absent_p(
    per_seed: Sequence[Mapping[str, Any]], arrays: Sequence[Mapping[str, Floats]], key: str, clusters_n: Ints, margin: float
) -> float:
    """p-value of "below the margin": the signed effect and the product of the donor halves, in the mean and in every model.

    The product is tested on its own scale (below the squared margin): the root of a number near zero has no standard error
    worth the name. Random subspaces are not subtracted. The directions' error is what two subspaces differ by on the same rows.
    """
    found = []
    for what, which, limit in (("signed", 0, margin), ("product", 1, margin**2)):
        singles = []
        for numbers, kept in zip(per_seed, arrays, strict=True):
            apart = np.array([part[which] for part in numbers["spread"]])
            # Each part has two of three directions, each direction serves two parts: the mean has a sixth of the squared difference.
            extra = float((apart**2).mean()) / (2 * len(apart)) if len(apart) > 1 else float("inf")
            value = np.array([numbers[what]])
            singles.append(Measured(value, np.asarray(kept[key + what]), clusters_n, extra, float(max(len(apart) - 1, 1))))
        mean = over_seeds(singles)
        if what == "signed":
            mean, singles = mean.oriented(), [single.oriented() for single in singles]
        found.append(absent_everywhere(mean, singles, limit))
    return max(found)


def use_drafts(
    base: Draft, run: Run, untrained: Run | None, sites: Sequence[str], clusters_n: Ints, carriers: Sequence[str] = ()
) -> list[Draft]:
    """Cells of the ``used`` channel: LEACE and learned subspaces at every verdict site and, of several, jointly.

    Args:
        base: Attribute, regime, margin, unit and groups.
        run: The models.
        untrained: Models with their initial weights, which relay what their inputs carry.
        sites: Verdict sites.
        clusters_n: Cluster of each row.
        carriers: Inputs that carry more of the attribute than the leak's margin.
    """
    if not run.measured:
        return [replace(base, site=site, reason="the training or capture of this regime failed") for site in sites]
    acting = acting_carrier(run, base.attribute, carriers, base.margin)
    failed = {site: acting or absence_barred(run, base.attribute, site, base.margin) for site in sites}
    cells = []
    for site in sites:
        cells += _at(replace(base, site=site), run, untrained, site, failed[site], clusters_n)
    if len(sites) > 1:
        barred = next((reason for reason in failed.values() if reason), None) or joint_barred(run, base.attribute, sites)
        cells += _at(replace(base, context="joint: " + " + ".join(sites)), run, untrained, JOINT, barred, clusters_n)
    return cells


def _at(base: Draft, run: Run, untrained: Run | None, site: str, barred: str | None, clusters_n: Ints) -> list[Draft]:
    per_seed = [m.numbers["interchange"][base.attribute][site] for m in run.measured]
    missing = [cell["reason"] for cell in per_seed if cell["reason"]]
    if missing:
        return [replace(base, method=METHODS["leace"], reason=missing[0])]
    arrays, key = [m.arrays for m in run.measured], cell_key(base.attribute, site, "")
    wide = site != JOINT and _too_wide(run, base.attribute, site)

    def draft_of(numbers: Sequence[dict[str, Any]], prefix: str, method: str, read: Sequence[dict[str, Any]]) -> Draft:
        cell = effect_draft(replace(base, method=METHODS[method]), numbers, arrays, key + prefix, clusters_n)
        parts = [part for part in (base.context, "learned" if method == "learned" else None) if part]
        cell = replace(
            cell,
            context=f"{', '.join(parts)}: {cell.context}" if parts else cell.context,
            absent_p=absent_p(read, arrays, key + (prefix or "read "), clusters_n, base.margin) if read else None,
            can_be_absent=barred is None,
            reason=barred,
            n=numbers[0]["n"],
        )
        beside = [one[ANY_LABEL] for one in numbers if ANY_LABEL in one]
        if len(beside) == len(numbers):
            # Present only where donors of any label show it too: within labels a fair model can seem to use the attribute.
            other = effect_draft(replace(base, method=METHODS[method]), beside, arrays, f"{key}{prefix}{ANY_LABEL} ", clusters_n)
            found = [p for p in (cell.present_p, other.present_p) if p is not None]
            cell = replace(cell, present_p=max(found) if found else None, null_rejected=cell.null_rejected and other.null_rejected)
        random = [size for one in numbers for size in one["random"]]
        if random and float(np.quantile(random, 0.95)) >= float(np.mean(_sizes(numbers))):
            # Any subspace of this rank does as much: the effect is not the attribute's own.
            cell = replace(cell, null_rejected=False)
        return replace(cell, null_rejected=False, null_reason=_TOO_WIDE) if wide else cell

    learned = [cell["learned"] for cell in per_seed]
    reasons = [cell["reason"] for cell in learned if cell["reason"]]
    # Measured where the learned effect is below the margin; where it is not, absence is out of the question.
    read = [] if reasons or any("read" not in cell for cell in learned) else [cell["read"] for cell in learned]
    cells = [draft_of(per_seed, "", "leace", read)]
    if reasons:
        return [cells[0], replace(base, method=METHODS["learned"], context="learned", reason=reasons[0])]
    found = draft_of(learned, "learned ", "learned", learned if read else [])
    relayed = untrained_sizes(base, untrained, site)
    if relayed and min(_sizes(learned)) <= max(relayed):
        found = replace(found, null_rejected=False, null_reason="no more than what an untrained network of this shape relays of its inputs")
    return [*cells, found]


def untrained_sizes(base: Draft, untrained: Run | None, site: str) -> list[float]:
    """The learned subspace's effect in each untrained model; none for the untrained models themselves."""
    if untrained is None or untrained.regime == base.regime:
        return []
    cells = [m.numbers["interchange"][base.attribute][site] for m in untrained.measured]
    return _sizes([cell["learned"] for cell in cells if not cell["reason"] and not cell["learned"]["reason"]])


def _sizes(numbers: Sequence[Mapping[str, Any]]) -> list[float]:
    return [max(abs(one["signed"]), float(max(0.0, one["product"]) ** 0.5)) for one in numbers]


def _too_wide(run: Run, attribute: str, site: str) -> bool:
    dimensions = max(m.numbers["cells"][attribute][site].get("rank", 0) for m in run.measured)
    rows = min(m.numbers["interchange"][attribute][site].get("n", 0) for m in run.measured)
    return bool(dimensions > MOST_DIMENSIONS * rows / 3)


def joint_barred(run: Run, attribute: str, sites: Sequence[str]) -> str | None:
    """Why absence cannot be claimed of several sites together: other groups and outputs are asked of each alone. Else ``None``."""
    cells = [m.numbers["interchange"][attribute][site] for m in run.measured for site in sites]
    if any(cell.get("other questions", {"asked": 0})["asked"] for cell in cells):
        return "of several verdict sites together only one pair of groups and one output were followed"
    return None


def acting_carrier(run: Run, attribute: str, carriers: Sequence[str], margin: float) -> str | None:
    """Why a column that carries the attribute and moves the outputs bars absence, whichever way it moves them; ``None`` if there is none.

    What raises some people and lowers others by as much cancels in every mean over a group, and not in this.
    """
    for m in run.measured:
        units = m.numbers.get("proxy use", {}).get(attribute, {}).get("units", {})
        for name in carriers:
            if units.get(name, {}).get("influence", 0.0) > margin:
                size = units[name]["influence"]
                return f"“{name}” carries the attribute and moves the outputs by {size:.2f}; that it cancels between groups is no absence"
    return None


def absence_barred(run: Run, attribute: str, site: str, margin: float) -> str | None:
    """Why absence of use cannot be claimed at a site, whatever the effects; ``None`` if it can."""
    cells = [m.numbers["interchange"][attribute][site] for m in run.measured]
    if any(cell["reason"] for cell in cells):
        return next(str(cell["reason"]) for cell in cells if cell["reason"])
    if _too_wide(run, attribute, site):
        return _TOO_WIDE
    if (faint := faint_reason([m.numbers["cells"][attribute][site] for m in run.measured])) is not None:
        return faint
    for m, cell in zip(run.measured, cells, strict=True):
        if cell["learned"]["reason"]:
            return f"absence of use needs the learned subspace: {cell['learned']['reason']}"
        if (barred := guard_barring_absence(m.numbers, attribute, margin)) is not None:
            return barred
        if cell["learned"].get("unread", 0.0) > _UNREAD_SHARE * margin:
            return "directions without a gradient at the audit rows move the outputs (steps, saturated units): they were not searched"
    if any("planted" not in cell for cell in cells):
        # An effect above the margin in some model: the control was not needed, and absence is out of the question.
        return None
    for cell in cells:
        if cell.get("other questions", {"p": 0.0})["p"] > ABSENT_AT:
            return "of other groups or outputs than those followed an effect of the margin is not ruled out"
        planted = cell["planted"]
        if planted["reason"]:
            return f"the positive control of absence could not be run: {planted['reason']}"
    missed, detail = planted_control(run, attribute, site) or (None, "")
    return None if missed == 0 else f"the positive control of absence failed ({detail}): more audit rows would settle it"


def planted_control(run: Run, attribute: str, site: str) -> tuple[float | None, str] | None:
    """Whether planted effects of once and twice the margin were found in every model that they were planted in.

    Returns:
        How many were missed (``None`` if it cannot be told) and the figures in words, or ``None`` where nothing was planted.
    """
    sizes = [one for m in run.measured for one in (m.numbers["interchange"][attribute][site].get("planted") or {}).get("sizes", [])]
    planted = [m for m in run.measured if "planted" in m.numbers["interchange"][attribute][site]]
    if not planted:
        return None
    reasons = [m.numbers["interchange"][attribute][site]["planted"]["reason"] for m in planted]
    if any(reasons):
        return None, str(next(reason for reason in reasons if reason))
    if not sizes:
        return 0.0, "the site is constant: there is nothing to swap"
    # Never called absent; and of twice the margin, more than half is found.
    missed = [one for one in sizes if one["absent_p"] <= 0.01 or max(one["leace"], one["learned"]) <= one["truth"] / 2]
    shown = ", ".join(f"planted {one['truth']:.3f}: LEACE {one['leace']:.3f}, learned {one['learned']:.3f}" for one in sizes[:6])
    return float(len(missed)), shown


def add_use_controls(out: Drafts, run: Run, untrained: Run | None, attribute: str, sites: Sequence[str]) -> None:
    """Write the controls of use into the ledger: planted effects and untrained models."""
    for site in sites:
        planted = planted_control(run, attribute, site)
        if planted is not None:
            out.control("positive", "used", attribute, run.regime, site, planted[1], missed=planted[0])
        cells = [m.numbers["interchange"][attribute][site] for m in run.measured]
        numbers = [cell["learned"] for cell in cells if not cell["reason"] and not cell["learned"]["reason"]]
        base = Draft("used", attribute, run.regime, site)
        relayed = untrained_sizes(base, untrained, site)
        if relayed and any(one["random"] for one in numbers):
            size = min(_sizes(numbers))
            detail = f"learned subspace: smallest effect {size:.4f}; largest in untrained models {max(relayed):.4f}"
            figures = {"smallest": size, "largest_untrained": max(relayed)}
            out.control("untrained", "used", attribute, run.regime, site, detail, **figures)


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
    """Numbers beside the effects; no verdict rests on them.

    Args:
        out: Where they go.
        base: Attribute, regime, groups.
        run: The models.
        sites: Verdict sites.
        groups_n: Groups compared.
        output: Output column followed.
        positive_n: Rows whose true label is the one that the followed output stands for.
        clusters_n: Cluster of each row.
    """
    for site in (*sites, *((JOINT,) if len(sites) > 1 else ())):
        cells = [m.numbers["interchange"][base.attribute][site] for m in run.measured]
        if not cells or any(cell["reason"] for cell in cells):
            continue
        place = replace(base, site=None if site == JOINT else site, decides=False)
        prefix = "joint, " if site == JOINT else ""
        kinds = {"": cells, "learned": [cell["learned"] for cell in cells if not cell["learned"]["reason"]]}
        for kind, numbers in kinds.items():
            _add_readings(out, place, (prefix + kind).removesuffix(", ") or None, numbers)
        free = [one["free"] for one in kinds["learned"] if "free" in one]
        if free and len(free) == len(cells):
            key = cell_key(base.attribute, site, "free ")
            cell = effect_draft(replace(place, method=METHODS["free"]), free, [m.arrays for m in run.measured], key, clusters_n)
            out.add(replace(cell, context=f"learned, unread directions included: {cell.context}", present_p=None, absent_p=None))
        if all(cell_key(base.attribute, site, "erased") in m.arrays for m in run.measured):
            erased = [m.arrays[cell_key(base.attribute, site, "erased")] for m in run.measured]
            _add_erased(out, place, [o[:, output] for o in run.outputs], erased, groups_n, positive_n, clusters_n)


def _add_readings(out: Drafts, place: Draft, context: str | None, numbers: Sequence[dict[str, Any]]) -> None:
    texts = {
        "completeness": "share of the group difference that a fresh probe reads after the swap",
        "selectivity": "change of a fresh probe of the label, share of the difference between labels",
    }
    for what, text in texts.items():
        _add_ratio(out, replace(place, channel=what, context=context, method=text), [one.get(what) for one in numbers])
    for other in sorted({name for one in numbers for name in one.get("others", {})}):
        text = "share of the other attribute's difference between groups that a fresh probe reads in what the swap moved"
        shown = f"{context}, towards {other}" if context else f"towards {other}"
        _add_ratio(out, replace(place, channel="selectivity", context=shown, method=text), [one["others"].get(other) for one in numbers])


def _add_ratio(out: Drafts, cell: Draft, found: Sequence[float | None]) -> None:
    values = [value for value in found if value is not None]
    if not values:
        return
    out.add(replace(cell, unit="ratio", margin=0.0, seed_values=values), value=float(np.mean(values)))


def _add_erased(
    out: Drafts,
    place: Draft,
    outputs: Sequence[Floats],
    erased: Sequence[Floats],
    groups_n: Ints,
    positive_n: NDArray[np.bool_],
    clusters_n: Ints,
) -> None:
    """Amnesic effects (Elazar et al. 2021) and the share of the gap that flows through the subspace."""
    before, after = (over_seeds([gap_in(o[:, None], groups_n, 0, 1, 0, clusters_n) for o in many]) for many in (outputs, erased))
    amnesic = replace(place, channel="amnesic", method="LEACE subspace of other rows set to its mean")
    out.add(replace(amnesic, context="output gap after erasing", measured=after, interval=crossed_interval(after)))
    task = np.array([auroc(e, positive_n) - auroc(o, positive_n) for o, e in zip(outputs, erased, strict=True)])
    change = Measured(task, np.zeros(len(clusters_n)), clusters_n)
    out.add(replace(amnesic, context="change of the task's AUROC by erasing", unit="AUROC", measured=change))
    share = fieller_ratio(before - after, before)
    method = "one minus the output gap with the LEACE subspace set to its mean, over the gap as it is; Fieller"
    cell = replace(place, channel="mediation", context="share of the output gap through the subspace", unit="ratio", method=method)
    if share is None:
        out.add(replace(cell, reason="the gap is not clearly different from zero, so it has no share"))
    else:
        out.add(replace(cell, interval=share), value=share.value)
