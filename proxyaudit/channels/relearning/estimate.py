"""Decide the channel ``relearned`` over seeds, and report the curve, the references and the control beside it.

The number is what fine-tuning the last block on 256 rows brings of the attribute, minus the larger of two references: the same recipe on
the untrained model, and the 95th percentile of the placebos in the same model. Present: above the margin over *both*, in every
model (an intersection-union test). Absent: within the margin of *one* of them, in the mean and in every model (twice the
smaller p-value), and the positive control passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.channels.relearning.measure import ROWS, SITE
from proxyaudit.estimates.draft import FOUND, Draft
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.ledger import UNIT_CLASSES, UNIT_VALUES, Drafts
from proxyaudit.estimates.record import Measurement, cell_key
from proxyaudit.models.base import PENULTIMATE
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import Measured, absent_everywhere, crossed_interval, in_every_seed, over_seeds

CHANNEL = "relearned"
CONTEXT = f"last block, {ROWS} rows: excess over untrained and placebos"
METHOD = (
    f"last block trained again with a fresh head on {ROWS} real rows (Deeb & Roger 2024), measured on rows of another part; minus the same "
    "of the untrained model or of the 95th percentile of placebos, whichever is larger"
)
_PERCENTILE = 0.95
_RESAMPLES = 400


def estimate(facts: Facts) -> Drafts:
    """What comes back of every attribute in every regime, its curve, references and control."""
    out, untrained = Drafts(), facts.run("untrained")
    before = untrained.measured if untrained else ()
    for run in facts.runs:
        for attribute in facts.attributes:
            unit = UNIT_VALUES if attribute.classes == 0 else UNIT_CLASSES
            base = Draft(CHANNEL, attribute.name, run.regime, PENULTIMATE, unit=unit)
            draft = None
            if not run.is_reference:
                asked = replace(base, context=CONTEXT, margin=facts.margins.relearned, method=METHOD)
                draft = relearned_draft(asked, run.measured, before, facts.clusters_n)
                out.add(draft)
            if run.measured:
                add_relearning(out, draft, run.measured, base, facts.clusters_n)
    return out


def relearned_draft(base: Draft, measured: Sequence[Measurement], untrained: Sequence[Measurement], clusters_n: Ints) -> Draft:
    """Fill a cell with the deciding excess.

    Args:
        base: The cell with its names, margin and unit.
        measured: The regime's measurements, one for each seed.
        untrained: Those of the untrained models.
        clusters_n: Cluster id of each audit row.
    """
    own, before = _numbers(base.attribute, measured), _numbers(base.attribute, untrained)
    if any(not numbers.get("applies", True) for numbers in own):
        return replace(base, decides=False, state="not_applicable", reason=own[0]["reason"])
    missing = [numbers["reason"] for numbers in (*own, *before) if numbers["reason"]]
    if missing or not own:
        return replace(base, reason=missing[0] if missing else "the training or capture of this regime failed")
    if not before or any(not numbers.get("placebos") for numbers in own):
        return replace(base, reason="there is no untrained model or no placebo to compare with, so what comes back proves nothing")
    mine = [_reached(numbers, m, base, clusters_n) for numbers, m in zip(own, measured, strict=True)]
    theirs = [_reached(numbers, m, base, clusters_n) for numbers, m in zip(before, untrained, strict=True)]
    references = theirs if len(theirs) == len(mine) else [over_seeds(theirs)] * len(mine)
    over_untrained = [a - b for a, b in zip(mine, references, strict=True)]
    percentiles = [_percentile(np.array(numbers["placebos"]), base.attribute) for numbers in own]
    over_placebos = [
        replace(a, seed_values=a.seed_values - q, extra=a.extra + variance, extra_df=min(a.extra_df, len(numbers["placebos"]) - 1))
        for a, (q, variance), numbers in zip(mine, percentiles, own, strict=True)
    ]
    both = (over_untrained, over_placebos)
    means = [over_seeds(singles) for singles in both]
    deciding = min(means, key=lambda m: m.value)
    cell = replace(
        base,
        measured=deciding,
        interval=crossed_interval(deciding),
        raw=float(np.mean([m.value for m in mine])),
        null_high=float(np.mean([max(r.value, q) for r, (q, _) in zip(references, percentiles, strict=True)])),
        present_p=max(in_every_seed(singles, base.margin) for singles in both),
        absent_p=min(1.0, 2 * min(absent_everywhere(mean, singles, base.margin) for mean, singles in zip(means, both, strict=True))),
        n=own[0]["n"],
    )
    found = [_control(numbers, max(r.value, q), base.margin) for numbers, r, (q, _) in zip(own, references, percentiles, strict=True)]
    cell.extras["control"] = found
    failed = next((why for passed, _, why, _ in found if not passed), None)
    return replace(cell, can_be_absent=failed is None, reason=failed)


def _numbers(attribute: str, measured: Sequence[Measurement]) -> list[dict[str, Any]]:
    return [m.numbers["relearned"][attribute] for m in measured]


def _reached(numbers: dict[str, Any], m: Measurement, base: Draft, clusters_n: Ints) -> Measured:
    """What fine-tuning brought in one model: its variance over rows, over draws of what it learnt from, and at least that of the margin."""
    influence = m.arrays[cell_key(base.attribute, SITE, "influence")]
    draws = np.array(numbers["draws"])
    rows = float((influence**2).sum())
    extra = float(draws.var(ddof=1)) / len(draws) + max(0.0, base.margin * numbers["row_floor"] - rows)
    return Measured(np.array([numbers["value"]]), influence, clusters_n, extra, len(draws) - 1.0)


def _percentile(values_m: NDArray[np.float64], attribute: str) -> tuple[float, float]:
    """95th percentile of the placebos and its bootstrap variance."""
    rng = stream(0, "placebo percentile", attribute)
    drawn = values_m[rng.integers(0, len(values_m), (_RESAMPLES, len(values_m)))]
    return float(np.quantile(values_m, _PERCENTILE)), float(np.quantile(drawn, _PERCENTILE, axis=1).var())


def _control(numbers: dict[str, Any], threshold: float, margin: float) -> tuple[bool, str, str, float | None]:
    """Whether fine-tuning brings back labels planted on the block's input, as much of them as counts.

    The weakest level is taken at which a plain reader of the block's input, given the same rows, gets twice the margin above the
    references of most plants; fine-tuning must get the margin above them.
    """
    for level in numbers.get("plants", []):
        if float(np.mean(np.array(level["read"]) >= threshold + 2 * margin)) >= FOUND:
            share = float(np.mean(np.array(level["brought"]) >= threshold + margin))
            detail = f"planted leak {level['leak']:.2f} on the block's input: found in {share:.0%} of plants"
            why = (
                f"the positive control failed: fine-tuning brings back only {share:.0%} of features that a reader of the block's input gets"
            )
            return share >= FOUND, detail, why, share
    why = f"the positive control could not be run: no planted feature stands out from what {ROWS} rows bring of any attribute"
    return False, "no planted leak stands out from the references", why, None


def add_relearning(out: Drafts, cell: Draft | None, measured: Sequence[Measurement], base: Draft, clusters_n: Ints) -> None:
    """Report the curve of a regime, the placebos' percentile and the positive control.

    Args:
        out: Takes the estimates.
        cell: The deciding cell; ``None`` for a reference.
        measured: The regime's measurements.
        base: Names and unit.
        clusters_n: Cluster id of each audit row.
    """
    own = _numbers(base.attribute, measured)
    if not own or any(numbers["reason"] for numbers in own):
        return
    base = replace(base, channel=CHANNEL, decides=False, margin=0.0, method=f"{own[0]['block']}; mean over draws of rows")
    for mode, m in [(point["mode"], point["m"]) for point in own[0]["curve"]]:
        leaks = [np.array(p["leaks"]) for numbers in own for p in numbers["curve"] if (p["mode"], p["m"]) == (mode, m)]
        singles = [_over_draws(v, clusters_n) for v in leaks]
        mean = over_seeds(singles)
        out.add(replace(base, context=f"{mode}, {m} rows", measured=mean, interval=crossed_interval(mean), n=own[0]["n"]))
    if own[0].get("placebos"):
        values = [_percentile(np.array(numbers["placebos"]), base.attribute)[0] for numbers in own]
        context = f"{base.regime}: 95th percentile of {len(own[0]['placebos'])} placebos, last block, {ROWS} rows"
        out.add(replace(base, regime="placebo", context=context, method="label-planted on the inputs"), value=float(np.mean(values)))
    if cell is not None and "control" in cell.extras:
        worst = next((found for found in cell.extras["control"] if not found[0]), cell.extras["control"][0])
        out.control("positive", CHANNEL, base.attribute, base.regime, base.site, worst[1], found=worst[3])


def _over_draws(leaks: NDArray[np.float64], clusters_n: Ints) -> Measured:
    """Mean over draws of the rows that were learnt from; rows that are measured add nothing to its interval."""
    variance = float(leaks.var(ddof=1)) / len(leaks)
    return Measured(np.array([leaks.mean()]), np.zeros(len(clusters_n)), clusters_n, variance, len(leaks) - 1.0)
