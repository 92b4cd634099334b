"""Drafts decided by planting: the linear, non-linear and conditional tests over the models of a regime."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from proxyaudit.arrays import Ints, Places
from proxyaudit.channels.closed import ASKED_ONCE
from proxyaudit.channels.leak.record import TRACE, LeakTest, SiteRecord
from proxyaudit.data.public_counts import share_words
from proxyaudit.estimates.ledger import Draft
from proxyaudit.estimates.questions import LINEAR_READER
from proxyaudit.probes.dropped_axes import dropped_axes_reason
from proxyaudit.stats.components import Spread
from proxyaudit.stats.intervals import FEWEST_FOR_NEXT, Interval, Measured, crossed_interval, in_every_seed, over_seeds, p_above, p_below
from proxyaudit.stats.laws import normal_quantile, normal_tail, t_quantile
from proxyaudit.stats.p_values import FOUND, PRESENT_AT, permutation_p

SURELY = 0.01  # level at which a reader's gain counts as more than noise
_DOUBTFUL = 1e-3  # p-value of presence from which on Holm's correction may turn it
TOGETHER = "rows seem to belong together: name the group (one person's, household's or series' rows count as one, not as many)"
LEVELS = "single values of it show a trace (one value, a narrow range, even or odd): ask that as a yes-or-no column of its own"
RESTS_ON_NEIGHBOURS = 0.45  # share of a score from which on it may be that of rows of one person; of a plain leak it is .15 to .4


def planted_draft(
    base: Draft, records: Sequence[SiteRecord], test: str, clusters_n: Ints, places: Places = (), *, probed: bool = True
) -> Draft:
    """Fill a draft from one planted test of each model.

    Presence: above the plants at the margin in every model, beyond the permutations, and helpful on rows that the reader did not
    see. Absence: below the plants in every model, the plants themselves found, and no stronger reader with a trace. Of numbers that decide
    nothing the linear probe is not asked (``probed``).
    """
    if not records:
        return replace(base, reason="the training or capture of this regime failed")
    found = [record.tests[test] for record in records if test in record.tests]
    if any(record.silent for record in records) or any(one.silent for one in found):
        return _silent(base, records, clusters_n)
    asked = [one for one in found if one.reason != ASKED_ONCE]
    if 0 < len(asked) < len(found) == len(records) and not any(record.reason for record in records):
        kept = [place for place, record in enumerate(records) if record.tests[test].reason != ASKED_ONCE]
        where = tuple(places[place] for place in kept) if places else ()
        draft = planted_draft(base, [records[place] for place in kept], test, clusters_n, where, probed=False)
        draft = replace(draft, can_be_absent=False, reason=ASKED_ONCE)
        return replace(draft, null_rejected=False, null_reason=ASKED_ONCE)
    missing = [why for why in (*(record.reason for record in records), *(one.reason for one in found)) if why]
    if missing or len(found) < len(records):
        return replace(base, reason=missing[0] if missing else "not measured")
    draft = _of_score(base, found, clusters_n, places)
    draft = replace(draft, n=records[0].n)
    if test.startswith(("beyond", "levels")):
        rows = min(one.rows for one in found if one.rows is not None)
        draft = replace(draft, extras={**draft.extras, "rows": rows})
    hints = dropped_axes_reason([record.dropped_p for record in records]), _of_levels(records, test, base.margin)
    for why in (_left_out(found, base.margin, records[0].n), *hints):
        if why is not None:
            draft = replace(draft, can_be_absent=False, reason=why)
    if found[0].bins is not None:
        draft = _with_readers(draft, found, clusters_n, places)
    elif probed:
        draft = _with_probe(draft, found, clusters_n, places)
    counted = [record.agreement.counted for record in records if record.agreement is not None and record.agreement.together]
    return _ungrouped(draft, found, max(counted)) if counted else draft


def _ungrouped(draft: Draft, found: Sequence[LeakTest], counted: float) -> Draft:
    """No absence where rows seem to belong together that count as separate, and no presence that rests on such rows.

    Where so many rows count as one, scores of labels without a leak scatter by as many times as much.
    """
    draft = replace(draft, can_be_absent=False, reason=TOGETHER)
    sure = min(1.0, 2 * max(normal_tail(-normal_quantile(one.p_present) / counted) for one in found))
    if sure <= PRESENT_AT and all(one.near is not None and one.near < RESTS_ON_NEIGHBOURS for one in found):
        return replace(draft, present_p=sure)
    return replace(draft, null_rejected=False, null_reason=TOGETHER)


def _of_score(base: Draft, found: Sequence[LeakTest], clusters_n: Ints, places: Places) -> Draft:
    """What the scores say by themselves, among the plants and the permutations."""
    beyond_null = permutation_p(sum(one.score for one in found), np.sum([one.null for one in found], axis=0)) <= PRESENT_AT
    raws = [one.best_raw for one in found]
    limits = [one.detection_limit for one in found if one.detection_limit is not None]
    needed = [one.rows_needed for one in found if one.rows_needed is not None]
    areas = [one.auroc for one in found if one.auroc is not None]
    weakest = min(one.found_twice for one in found)
    failed = f"the positive control failed: of plants at twice the margin only {weakest:.0%} are found here"
    null_reason = base.null_reason
    if not beyond_null:
        null_reason = "above the plants at the margin, but no more than permuted labels"
    elif min(raws) <= 0:
        null_reason = "above the plants at the margin, but no reader could use it on rows it had not seen"
    return replace(
        base,
        measured=over_seeds([one.measured(clusters_n) for one in found], places),
        interval=calibrated_interval(found, places),
        another=calibrated_interval(found, places, another=True) if len({one.leak for one in found}) >= FEWEST_FOR_NEXT else None,
        calibrated=True,
        raw=float(np.mean(raws)),
        auroc=float(np.mean(areas)) if len(areas) == len(found) else None,
        null_high=float(np.mean([one.null_high for one in found])),
        # Twice, as the interval is of two sides: present only where its lower end lies above the margin.
        present_p=min(1.0, 2 * max(one.p_present for one in found)),
        absent_p=max(one.p_absent for one in found),
        null_rejected=beyond_null and min(raws) > 0,
        null_reason=null_reason,
        can_be_absent=weakest >= FOUND,
        reason=base.reason if weakest >= FOUND else failed,
        bound=max(one.bound for one in found),
        detection_limit=max(limits) if len(limits) == len(found) else None,
        extras={**base.extras, "rows_needed": max(needed) if len(needed) == len(found) else None, "found": weakest},
    )


def _left_out(found: Sequence[LeakTest], margin: float, n: int) -> str | None:
    left_out = max(one.left_out for one in found)
    if left_out <= margin:
        return None
    share = share_words(left_out * n, n)
    return f"{share} of the rows lie in groups of what is conditioned on that are too small to ask, so absence is not claimed"


def _of_levels(records: Sequence[SiteRecord], test: str, margin: float) -> str | None:
    """Why a number is not absent: its single values show something in some model, or this is one question of many."""
    if test.startswith("beyond"):
        return None
    # Outputs are told by their plain tests alone, so the screen bars these too.
    screened = [record.tests.get("quarters nonlinear" if test.endswith("nonlinear") else "quarters") for record in records]
    shown = any(one is not None and one.levels is not None and one.levels.tells(margin) for one in screened)
    return LEVELS if shown or test.startswith("levels") else None


def _silent(base: Draft, records: Sequence[SiteRecord], clusters_n: Ints) -> Draft:
    """A site that is constant in some model: nothing can be read from it there, which is a measured zero."""
    if not all(record.silent or any(test.silent for test in record.tests.values()) for record in records):
        return replace(base, reason="the site is constant in some models and not in others")
    nothing = Measured(np.zeros(len(records)), np.zeros(len(clusters_n)), clusters_n)
    draft = replace(base, measured=nothing, interval=Interval(0.0, 0.0, 0.0, 0.0, 1.0), n=records[0].n)
    return replace(draft, present_p=1.0, absent_p=0.0, bound=0.0, can_be_absent=True, reason="the site is constant")


def calibrated_interval(tests: Sequence[LeakTest], places: Places = (), *, another: bool = False) -> Interval:
    """Interval of the mean calibrated leak over seeds, or of ``another`` model's leak.

    The rows' errors are taken as wholly shared, the spread over seeds is added.
    """
    leaks = np.array([test.leak for test in tests])
    value = float(leaks.mean())
    below = value - float(np.mean([test.low for test in tests]))
    above = float(np.mean([test.high for test in tests])) - value
    between, spread, df = Spread.of(leaks, places), 0.0, 1.0
    if between is not None:
        variance, df = (between.of_next if another else between.of_mean)({})
        spread = float(t_quantile(0.975, df)) * float(np.sqrt(variance))
    low, high = max(0.0, value - float(np.hypot(below, spread))), min(1.0, value + float(np.hypot(above, spread)))
    return Interval(value, low, high, max(high - low, 1e-12) / (2 * 1.96), max(df, 1.0))


def _with_readers(draft: Draft, tests: Sequence[LeakTest], clusters_n: Ints, places: Places) -> Draft:
    """Let the non-linear readers show presence, or speak against absence."""
    best: tuple[float, str, Measured] | None = None
    objections = []
    for readers in zip(*(test.readers for test in tests), strict=True):
        name, count = readers[0].name, len(tests[0].readers)
        skipped = next((reader.skipped for reader in readers if reader.skipped), None)
        if skipped:
            objections.append(f"the reader '{name}' did not run ({skipped}), so absence is not claimed")
            continue
        known = [(one.gain, one.influence_n) for one in readers if one.gain is not None and one.influence_n is not None]
        singles = [Measured(np.array([gain]), influence_n, clusters_n) for gain, influence_n in known]
        p = min(1.0, count * in_every_seed(singles, draft.margin))
        if best is None or p < best[0]:
            best = p, name, over_seeds(singles, places)
        if any(m.value > TRACE * draft.margin and p_above(m, 0.0) * count <= SURELY for m in singles):
            objections.append(f"a stronger reader ('{name}') finds a trace, so absence is not claimed")
        elif any(p_below(m, draft.margin) > PRESENT_AT for m in singles):
            objections.append(f"a stronger reader ('{name}') cannot rule it out, so absence is not claimed")
    if any(test.bins is not None and test.bins.p <= SURELY and test.bins.share > TRACE * draft.margin for test in tests):
        objections.append("bins of a single unit show a trace, so absence is not claimed")
    draft = _either_way(draft, best)
    return replace(draft, can_be_absent=False, reason=objections[0]) if objections and draft.can_be_absent else draft


def _with_probe(draft: Draft, tests: Sequence[LeakTest], clusters_n: Ints, places: Places) -> Draft:
    """Let the cross-fitted linear probe show presence where the score does not surely: of what few rows hold it is moved less than most.

    What the probe gains on rows that it did not see is a lower bound of the leak. It never speaks against absence.
    """
    known = [(one.gain, one.influence_n) for test in tests for one in test.probe]
    singles = [
        Measured(np.array([gain]), influence_n, clusters_n) for gain, influence_n in known if gain is not None and influence_n is not None
    ]
    by_score = draft.present_p if draft.null_rejected and draft.present_p is not None else 1.0
    excluded = draft.bound is not None and draft.margin is not None and draft.bound <= draft.margin
    if len(singles) < len(tests) or by_score <= _DOUBTFUL or excluded:
        return draft
    p = in_every_seed(singles, draft.margin)
    return _either_way(draft, (p, LINEAR_READER, over_seeds(singles, places))) if 2 * p <= PRESENT_AT else draft


def _either_way(draft: Draft, best: tuple[float, str, Measured] | None) -> Draft:
    """Two ways to show presence, the score (whose p-value is doubled already) and the best reader: twice the smaller p-value."""
    by_score = float(draft.present_p if draft.present_p is not None else 1.0) if draft.null_rejected else 1.0
    if best is None or 2 * best[0] >= by_score:
        return draft
    p, name, gain = best
    if 2 * p > PRESENT_AT:
        return replace(draft, present_p=by_score)
    method = f"{draft.method}; shown by the reader '{name}': its gain on unseen rows, a lower bound"
    shown = replace(draft, measured=gain, interval=crossed_interval(gain), another=None, calibrated=False, shown_by=name, method=method)
    return replace(shown, null_rejected=True, present_p=min(1.0, 2 * p))
