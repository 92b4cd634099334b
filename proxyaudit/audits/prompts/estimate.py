"""Numbers about a language model's prompts, on their way to states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats
from proxyaudit.estimates.draft import PRESENT_AT, Draft
from proxyaudit.estimates.ledger import UNIT_PROMPTS
from proxyaudit.estimates.record import Measurement
from proxyaudit.language.prompt_sets import PromptSet
from proxyaudit.seeding import stream
from proxyaudit.stats.crossed import FEWEST_TEMPLATES, crossed_gap, has_support, permutation_null, share_floor
from proxyaudit.stats.intervals import Measured, crossed_interval, p_above, p_below, row_variance
from proxyaudit.stats.nulls import permutation_p

__all__ = ["expressed_drafts", "swap_drafts"]


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
_BINARY = ("ranking", "refusal")


def expressed_drafts(prompts: PromptSet, measurement: Measurement, regime: str, margin: float, root: int) -> list[Draft]:
    """Gaps of every measure: over its templates where there are enough of them, and in each template."""
    groups_n = np.array(prompts.group_numbers)
    names = list(prompts.groups)
    by_measure: dict[str, dict[str, Floats]] = {}
    order = {template.id: place for place, template in enumerate((*prompts.templates, *prompts.requests))}
    for key in sorted(measurement.arrays, key=lambda name: order.get(name.partition("/")[2], -1)):
        measure, _, template = key.partition("/")
        if measure in _METHODS:
            by_measure.setdefault(measure, {})[template] = measurement.arrays[key]
    cells = []
    for measure in [name for name in _METHODS if name in by_measure]:
        tables = by_measure[measure]
        y_tcn = np.stack(list(tables.values()))
        asked: list[tuple[str | None, Floats]] = [(None, y_tcn)] if len(y_tcn) >= FEWEST_TEMPLATES else []
        asked += [(name, y_tcn[place : place + 1]) for place, name in enumerate(tables)]
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
                    method=_METHODS[measure] + (_RANDOM if one is None else _OF_ONE),
                    n=len(prompts.contexts) * len(table) * int(((groups_n == low) | (groups_n == high)).sum()),
                )
                rng = stream(root, "names dealt anew", measure, one or "", low, high)
                cells.append(_gap(base, table, groups_n, low, high, names, rng, binary=measure in _BINARY))
    return cells


def _gap(
    base: Draft,
    y_tcn: Floats,
    groups_n: NDArray[np.int64],
    low: int,
    high: int,
    names: Sequence[str],
    rng: np.random.Generator,
    *,
    binary: bool,
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


def swap_drafts(prompts: PromptSet, measurement: Measurement, regime: str, margin: float) -> list[Draft]:
    """Effects of swapping the group direction, one cell per pair of groups and layer."""
    names = list(prompts.groups)
    cells = []
    for found in measurement.numbers.get("swaps", {}).get("cells", []):
        influence = measurement.arrays[found["key"]]
        measured = Measured(
            np.array([found["value"]]), influence, np.arange(len(influence)), found["extra"], found["extra_df"], found["row_df"]
        )
        low, high = found["low"], found["high"]
        if measured.value < 0:
            low, high, measured = high, low, -measured
        cells.append(
            Draft(
                "used",
                prompts.attribute,
                regime,
                site=f"layer{found['layer']}",
                context=None if len(names) == 2 else f"{names[high]} against {names[low]}",
                measure="effect",
                subject=None if len(names) == 2 else f"{names[high]} against {names[low]}",
                group=f"{names[high]} minus {names[low]}",
                measured=measured,
                interval=crossed_interval(measured),
                margin=margin,
                unit=UNIT_PROMPTS,
                method=_SWAPPED,
                present_p=min(1.0, 2 * p_above(measured, margin)),
                null_rejected=measured.value > found["random high"],
                null_reason="above the margin, but random directions do as much",
                null_high=found["random high"],
                n=found["prompts"],
                reason="one direction at two positions was swapped: that shows use, never that there is none",
                extras={"first order": found["first order"]},
            )
        )
    return cells
