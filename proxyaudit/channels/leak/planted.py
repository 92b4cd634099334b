"""Cells decided by planting: the linear, non-linear and conditional channels over the models of a regime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from proxyaudit.arrays import Ints
from proxyaudit.data.public_counts import share_words
from proxyaudit.estimates.draft import FOUND, PRESENT_AT, Draft
from proxyaudit.probes.dropped_axes import faint_reason
from proxyaudit.stats.intervals import Interval, Measured, crossed_interval, distinct_seeds, in_every_seed, over_seeds, p_above, p_below
from proxyaudit.stats.nulls import permutation_p

SURELY = 0.01  # level at which a reader's gain counts as more than noise
TRACE = 0.2  # share of the margin from which on such a gain speaks against absence


def planted_draft(
    base: Draft, per_seed: Sequence[dict[str, Any]], arrays: Sequence[dict[str, NDArray[Any]]], key: str, channel: str, clusters_n: Ints
) -> Draft:
    """Fill a cell from planted tests of one channel.

    Presence: above the plants at the margin in every model, beyond the permutations, and helpful on rows that the reader did not
    see. Absence: below the plants in every model, the plants themselves found, and no stronger reader with a trace.

    Args:
        base: The cell with its names, margin and unit.
        per_seed: The measured numbers of each seed, as :func:`proxyaudit.channels.leak.site.measure_site` leaves them.
        arrays: The measured arrays of each seed.
        key: Prefix of the arrays' keys.
        channel: Which of the cell's tests: ``linear``, ``nonlinear``, ``beyond``, ``beyond nonlinear``, ``quarters`` or
            ``quarters nonlinear``.
        clusters_n: Cluster id of each audit row.
    """
    if not per_seed:
        return replace(base, reason="the training or capture of this regime failed")
    if any(cell.get("silent") or cell.get(channel, {}).get("silent") for cell in per_seed):
        return _silent(base, per_seed, clusters_n)
    tests = [cell.get(channel) for cell in per_seed]
    missing = [cell["reason"] for cell in per_seed if cell["reason"]] + [test["reason"] for test in tests if test and test["reason"]]
    if missing or any(test is None for test in tests):
        return replace(base, reason=missing[0] if missing else "not measured")
    found = [test for test in tests if test is not None]
    singles = [
        Measured(np.array([test["leak"]]), a[f"{key}{channel} influence"], clusters_n) for test, a in zip(found, arrays, strict=True)
    ]
    null = np.sum([a[f"{key}{channel} null"] for a in arrays], axis=0)
    beyond_null = permutation_p(sum(test["score"] for test in found), null) <= PRESENT_AT
    raws = [float(test["raw"]) if "raw" in test else max((r["gain"] or 0.0 for r in test["readers"]), default=0.0) for test in found]
    limits = [test["detection_limit"] for test in found]
    needed = [test["rows_needed"] for test in found]
    weakest = min(min(test["found"].values()) for test in found)
    areas = [test.get("auroc") for test in found]
    measured = over_seeds(singles)
    cell = replace(
        base,
        measured=measured,
        interval=calibrated_interval(found),
        calibrated=True,
        raw=float(np.mean(raws)),
        auroc=float(np.mean([float(area) for area in areas if area is not None])) if all(area is not None for area in areas) else None,
        null_high=float(np.mean([test["null_high"] for test in found])),
        present_p=max(test["p_present"] for test in found),
        absent_p=max(test["p_absent"] for test in found),
        null_rejected=beyond_null and min(raws) > 0,
        null_reason=base.null_reason if beyond_null else "above the plants at the margin, but no more than permuted labels",
        can_be_absent=weakest >= FOUND,
        detection_limit=None if any(limit is None for limit in limits) else max(limits),
        n=per_seed[0]["n"],
        extras={**base.extras, "rows_needed": None if any(n is None for n in needed) else max(needed), "found": weakest},
    )
    if beyond_null and min(raws) <= 0:
        cell = replace(cell, null_reason="above the plants at the margin, but no reader could use it on rows it had not seen")
    if weakest < FOUND:
        cell = replace(cell, reason=f"the positive control failed: of plants at the margin only {weakest:.0%} are found here")
    left_out = max(test.get("left_out", 0.0) for test in found)
    if left_out > base.margin:
        share = share_words(left_out * per_seed[0]["n"], per_seed[0]["n"])
        why = f"{share} of the rows lie in groups of what is conditioned on that are too small to ask, so absence is not claimed"
        cell = replace(cell, can_be_absent=False, reason=why)
    if faint_reason([cell.get("faint") for cell in per_seed]) is not None:
        cell = replace(cell, can_be_absent=False, reason=faint_reason([cell.get("faint") for cell in per_seed]))
    if channel.startswith("beyond"):
        cell.extras["rows"] = min(test["rows"] for test in found)
    return _with_readers(cell, found, arrays, key, clusters_n) if "readers" in found[0] else cell


def _silent(base: Draft, per_seed: Sequence[dict[str, Any]], clusters_n: Ints) -> Draft:
    """A site that is constant in some model: nothing can be read from it there, which is a measured zero."""
    if not all(cell.get("silent") or any(isinstance(v, dict) and v.get("silent") for v in cell.values()) for cell in per_seed):
        return replace(base, reason="the site is constant in some models and not in others")
    measured = Measured(np.zeros(len(per_seed)), np.zeros(len(clusters_n)), clusters_n)
    zero = Interval(0.0, 0.0, 0.0, 0.0, 1.0)
    return replace(
        base,
        measured=measured,
        interval=zero,
        present_p=1.0,
        absent_p=0.0,
        can_be_absent=True,
        n=per_seed[0]["n"],
        reason="the site is constant",
    )


def calibrated_interval(tests: Sequence[dict[str, Any]], level: float = 0.95) -> Interval:
    """Interval of the mean calibrated leak over seeds.

    The rows are the same for all models and their errors are taken as wholly shared, so that part does not shrink
    with the number of seeds; the spread over seeds is added with Student's t.
    """
    leaks = np.array([test["leak"] for test in tests])
    value = float(leaks.mean())
    below = value - float(np.mean([min(test["low"], max(test["leak"], 0.0)) for test in tests]))
    above = float(np.mean([test["high"] for test in tests])) - value
    distinct = distinct_seeds(leaks)
    spread = 0.0
    if len(distinct) > 1:
        spread = float(stats.t.ppf(0.5 + level / 2, len(distinct) - 1)) * float(distinct.std(ddof=1)) / float(np.sqrt(len(distinct)))
    low = max(0.0, value - float(np.hypot(below, spread)))
    high = max(0.0, value + float(np.hypot(above, spread)))
    return Interval(value, low, high, max(high - low, 1e-12) / (2 * 1.96), max(len(distinct) - 1.0, 1.0))


def _with_readers(
    cell: Draft, tests: Sequence[dict[str, Any]], arrays: Sequence[dict[str, NDArray[Any]]], key: str, clusters_n: Ints
) -> Draft:
    """Let the non-linear readers show presence, or speak against absence."""
    names = [reader["name"] for reader in tests[0]["readers"]]
    best: tuple[float, str, Measured] | None = None
    objection = None
    for index, name in enumerate(names):
        readers = [test["readers"][index] for test in tests]
        skipped = next((reader["skipped"] for reader in readers if reader["skipped"]), None)
        if skipped:
            objection = objection or f"the reader '{name}' did not run ({skipped}), so absence is not claimed"
            continue
        singles = [
            Measured(np.array([reader["gain"]]), a[f"{key}{name} influence"], clusters_n) for reader, a in zip(readers, arrays, strict=True)
        ]
        p = min(1.0, len(names) * in_every_seed(singles, cell.margin))
        if best is None or p < best[0]:
            best = (p, name, over_seeds(singles))
        trace = any(m.value > TRACE * cell.margin and p_above(m, 0.0) * len(names) <= SURELY for m in singles)
        wide = any(p_below(m, cell.margin) > PRESENT_AT for m in singles)
        if trace or wide:
            why = "finds a trace" if trace else "cannot rule it out"
            objection = objection or f"a stronger reader ('{name}') {why}, so absence is not claimed"
    if any(test["bins"]["p"] <= SURELY and test["bins"]["share"] > TRACE * cell.margin for test in tests):
        objection = objection or "bins of a single unit show a trace, so absence is not claimed"
    by_score = float(cell.present_p if cell.present_p is not None else 1.0)
    if not cell.null_rejected:
        by_score = 1.0
    # Two ways to show presence: twice the smaller p-value.
    if best is not None and best[0] < by_score:
        _, name, gain = best
        cell = (
            replace(
                cell,
                measured=gain,
                interval=crossed_interval(gain),
                calibrated=False,
                null_rejected=True,
                method=f"{cell.method}; shown by the reader '{name}': its gain on unseen rows, a lower bound",
                present_p=min(1.0, 2 * best[0]),
            )
            if best[0] * 2 <= PRESENT_AT
            else replace(cell, present_p=min(1.0, 2 * by_score))
        )
    else:
        cell = replace(cell, present_p=min(1.0, 2 * by_score) if cell.null_rejected else cell.present_p)
    if objection is not None and cell.can_be_absent:
        cell = replace(cell, can_be_absent=False, reason=objection)
    return cell
