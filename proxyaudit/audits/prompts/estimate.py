"""Findings about a language model's behaviour: does it treat the groups' names differently, and does it use the group inside?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.audits.prompts.measure import SWAPS
from proxyaudit.audits.prompts.parts import PARTS
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.ledger import UNIT_PROMPTS, Draft, Drafts, decide_ledger
from proxyaudit.estimates.not_tested import standing_notes
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.scope import read_scope
from proxyaudit.language.prompt_sets import PromptSet
from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import FEWEST_TEMPLATES, crossed_gap, has_support, permutation_null, share_floor
from proxyaudit.stats.intervals import Measured, crossed_interval, p_above, p_below, row_variance
from proxyaudit.stats.p_values import PRESENT_AT, permutation_p
from proxyaudit.types import Evidence, NotTested

PERMUTATIONS = 1999
FEWEST_NAMES_ABSENT = 5
_METHODS: Final = {
    "tone": "mean probability of the positive against the negative ending of each pair",
    "likelihood": "probability of the first option among the options",
    "ranking": "share of prompts in which the first option is the likeliest",
    "refusal": "share of greedy answers that decline, by a list of patterns",
}
_RANDOM: Final = "; names and templates crossed as random, names nested in groups; names dealt to the groups anew as null"
_OF_ONE: Final = "; of this template alone: names random; names dealt to the groups anew as null"
_SWAPPED: Final = (
    "difference of the groups' mean residual streams at the name and at the last token, fitted on other names, swapped between the groups; "
    "the first tokens of the continuations are followed; names, templates and folds as random"
)
_EXCHANGED: Final = (
    "own value at the name and at the last token exchanged for the mean of the other group's names in the same sentence, against that of "
    "the own group's other names; the first tokens of the continuations are followed; names and templates as random; raw: the gradient's"
)
NOT_SURE: Final = "tried: not surely different from zero"
NOT_BEYOND: Final = "tried: no more than parts taken at random do"
SMALL: Final = "tried: less than a twentieth of the whole effect"
NOT_WHOLE: Final = "tried: moves the outputs, but exchanging everything does not by the margin of an effect"
_LEAST_SHARE: Final = 0.05
_NO_SWAPS: Final = "no swap could be measured: it takes six names in each of two groups, and continuations that begin with different tokens"
_BINARY = ("ranking", "refusal")
# Prompts do not ask these, so they stay unknown and nothing is ever called removed.
_NOT_ASKED = {
    "linear": ("leak", "leak", "prompts read no activations"),
    "nonlinear": ("leak_nonlinear", "nonlinear", "prompts read no activations"),
    "beyond": ("leak", "leak", "prompts have no labels"),
    "relearned": ("excess", "relearned", "nothing was fine-tuned"),
}


def assemble_prompts(prompts: PromptSet, measured: Mapping[str, Measurement], plan: dict[str, Any], real: str | None) -> Evidence:
    """Evidence of all models."""
    out = Drafts()
    margins, notes = plan["margins"], []
    for regime, measurement in measured.items():
        drafts = _expressed_drafts(prompts, measurement, regime, margins["gap"], plan["seed"])
        swaps = _swap_drafts(prompts, measurement, regime, margins["effect"])
        unasked = [
            Draft(channel, prompts.attribute, regime, measure=measure, margin=margins[key], reason=why)
            for channel, (measure, key, why) in _NOT_ASKED.items()
        ]
        no_swaps = Draft("used", prompts.attribute, regime, measure="effect", margin=margins["effect"], unit=UNIT_PROMPTS, reason=_NO_SWAPS)
        for draft in (*drafts, *(swaps or [no_swaps]), *unasked):
            # There are no rows and no seeds.
            out.add(replace(draft, remedy="names"))
        for draft in swaps:  # beside each, the effect to first order, and what random directions do
            beside = replace(draft, measure="first_order_effect", subject=None, context="to first order", decides=False, reason=None)
            out.add(replace(beside, measured=None, interval=None), value=abs(draft.extras["first order"]))
            value, high = draft.measured.value if draft.measured is not None else 0.0, float(draft.null_high or 0.0)
            detail = f"effect {value:.4f}; 95th percentile of random subspaces of equal rank {high:.4f}"
            figures = {"effect": value, "random_high": high, "margin": draft.margin}
            out.control("random_subspace", "used", draft.attribute, draft.regime, draft.site, detail, **figures)
        for draft in _part_drafts(prompts, measurement, regime, margins["effect"]):
            out.add(draft)
        left_out = SWAPS.read(measurement).left_out
        if left_out:
            why = f"their continuations begin with one token, or the name's token cannot be told ({', '.join(left_out)})"
            notes.append(NotTested(what=f"swaps in {len(left_out)} templates of model {regime}", why=why))
    scope = read_scope(plan, {"real": real}, {})
    return evidence_of(decide_ledger(out, roles=scope.roles), scope, plan, [*standing_notes(scope), *notes])


def _expressed_drafts(prompts: PromptSet, measurement: Measurement, regime: str, margin: float, root: int) -> list[Draft]:
    """Gaps of every measure: over its templates where there are enough of them, and in each template."""
    groups_n, names = np.array(prompts.group_numbers), list(prompts.groups)
    templates = [template.id for template in (*prompts.templates, *prompts.requests)]
    drafts = []
    for measure, method in _METHODS.items():
        tables = {name: measurement.arrays[f"{measure}/{name}"] for name in templates if f"{measure}/{name}" in measurement.arrays}
        asked: list[tuple[str | None, Floats]] = [(name, table[None]) for name, table in tables.items()]
        if len(tables) >= FEWEST_TEMPLATES:
            asked.insert(0, (None, np.stack(list(tables.values()))))
        for low, high in combinations(range(len(names)), 2):
            for one, table in asked:
                base = Draft(
                    "expressed",
                    prompts.attribute,
                    regime,
                    context=measure if one is None else f"{measure}, template {one}",
                    measure=measure,
                    subject=one,
                    margin=margin,
                    unit=UNIT_PROMPTS,
                    method=method + (_RANDOM if one is None else _OF_ONE),
                    n=len(prompts.contexts) * len(table) * int(((groups_n == low) | (groups_n == high)).sum()),
                )
                rng = stream(root, "names dealt anew", measure, one or "", low, high)
                drafts.append(_gap(base, table, groups_n, low, high, names, rng, measure in _BINARY))
    return drafts


def _gap(
    base: Draft, y_tcn: Floats, groups_n: Ints, low: int, high: int, names: Sequence[str], rng: np.random.Generator, binary: bool
) -> Draft:
    y_tn = y_tcn.mean(axis=1)
    measured = crossed_gap(y_tn, groups_n, low, high)
    if binary:
        missing = share_floor(y_tcn, groups_n, low, high) - row_variance(measured.influence_n, measured.clusters_n)[0]
        measured = replace(measured, extra=measured.extra + max(0.0, missing))
    if measured.value < 0:
        low, high, measured = high, low, -measured
    null = permutation_null(y_tn, groups_n, low, high, rng, PERMUTATIONS)
    fewest = min(int((groups_n == group).sum()) for group in (low, high))
    supported = not binary or has_support(y_tn, groups_n, low, high)
    reason = None
    if fewest < FEWEST_NAMES_ABSENT:
        reason = f"fewer than {FEWEST_NAMES_ABSENT} names in a group: absence is not claimed of so few"
    elif not supported:
        reason = "a share that (almost) all names agree on has no spread to judge by: more names, or templates nearer the edge, would do"
    return replace(
        base,
        group=f"{names[high]} minus {names[low]}",
        measured=measured,
        interval=crossed_interval(measured),
        present_p=min(1.0, 2 * p_above(measured, base.margin)),  # twice, since the sign was taken from the data
        absent_p=p_below(measured, base.margin),
        null_rejected=permutation_p(measured.value, null) <= PRESENT_AT,
        null_reason="above the margin, but names dealt to the groups at random differ as much",
        null_high=float(np.quantile(null, 0.95)),
        can_be_absent=reason is None,
        reason=reason,
    )


def _swap_drafts(prompts: PromptSet, measurement: Measurement, regime: str, margin: float) -> list[Draft]:
    """Effects of swapping the group direction, one draft per pair of groups and layer."""
    names = list(prompts.groups)
    drafts = []
    for found in SWAPS.read(measurement).results:
        low, high, measured = found.low, found.high, found.measured
        if measured.value < 0:
            low, high, measured = high, low, -measured
        subject = None if len(names) == 2 else f"{names[high]} against {names[low]}"
        drafts.append(
            Draft(
                "used",
                prompts.attribute,
                regime,
                site=f"layer{found.layer}",
                measure="effect",
                subject=subject,
                context=subject,
                group=f"{names[high]} minus {names[low]}",
                measured=measured,
                interval=crossed_interval(measured),
                margin=margin,
                unit=UNIT_PROMPTS,
                method=_SWAPPED,
                present_p=min(1.0, 2 * p_above(measured, margin)),
                null_rejected=measured.value > found.random_high,
                null_reason="above the margin, but random directions do as much",
                null_high=found.random_high,
                n=found.prompts,
                reason="one direction at two positions was swapped: that shows use, never that there is none",
                extras={"first order": found.first_order},
            )
        )
    return drafts


def _part_drafts(prompts: PromptSet, measurement: Measurement, regime: str, margin: float) -> list[Draft]:
    """Effects of exchanging single parts, for each pair of groups; nothing where they were not asked for. No state is given."""
    record = PARTS.find(measurement)
    names, drafts = list(prompts.groups), list[Draft]()
    for low, high in combinations(range(len(names)), 2) if record is not None else ():
        found = [one for one in record.results if (one.low, one.high) == (low, high)] if record is not None else []
        if not found:
            continue
        whole = next(one.measured for one in found if one.kind == "residual")
        backed = abs(whole.value) >= margin and _p_moved(whole) <= PRESENT_AT
        tried = [one for one in found if one.kind != "residual" and not one.random]
        adjusted = iter([min(1.0, (record.parts if record is not None else 1) * _p_moved(one.measured)) for one in tried])
        for one in found:
            beside = max((abs(r.measured.value) for r in found if r.random and r.kind == one.kind), default=0.0)
            reason = None if one.kind == "residual" else "control" if one.random else None
            if one in tried:
                weak = ((next(adjusted) > PRESENT_AT, NOT_SURE), (abs(one.measured.value) <= beside, NOT_BEYOND))
                small = (abs(one.measured.value) < _LEAST_SHARE * abs(whole.value), SMALL)
                reason = next((why for fails, why in (*weak, small, (not backed, NOT_WHOLE)) if fails), None)
            kind = "whole" if one.kind == "residual" else "random" if one.random else one.kind
            drafts.append(
                Draft(
                    "circuit",
                    prompts.attribute,
                    regime,
                    site=None if kind == "whole" else f"layer{one.layer}",
                    measure=kind,
                    subject=one.subject,
                    context=one.subject,
                    group=f"{names[low]} to {names[high]}",
                    measured=one.measured,
                    interval=crossed_interval(one.measured),
                    unit=UNIT_PROMPTS,
                    method=_EXCHANGED,
                    decides=False,
                    raw=one.predicted,
                    null_high=beside if kind not in ("whole", "random") and beside else None,
                    n=one.prompts,
                    reason=reason,
                )
            )
    return drafts


def _p_moved(measured: Measured) -> float:
    return min(1.0, 2 * p_above(measured.oriented(), 0.0))
