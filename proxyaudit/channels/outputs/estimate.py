"""Drafts of the output gap, of the same gap within true labels, of the placebos' gap, and of the task."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.channels.outputs.selection import selection
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import UNIT_DISTANCE, Draft, Drafts, shows_sign
from proxyaudit.estimates.task import unit_for, yardstick
from proxyaudit.stats.group_gaps import NOT_FLAT, LargestGap, distance_in, gap_in, gaps_within_label, largest_gap, surely_flat, weighted_sum
from proxyaudit.stats.intervals import LEVEL, Measured, SharedSpread, crossed_interval, over_seeds, p_above, p_below
from proxyaudit.stats.p_values import exceeded_by_few

FEWEST_IN_LABEL = 30
METHOD = "largest difference in mean predicted probability over pairs of groups; simultaneous interval"


def estimate(facts: Facts) -> Drafts:
    """Gaps of every attribute, and the task, in every regime."""
    out, shared = Drafts(), SharedSpread.of((gap, 0.0) for gap in _gaps(facts))
    for run in facts.runs:
        for attribute in facts.attributes:
            _add_gap(out, facts, attribute, run, shared)
            size = placebo_gap(facts, attribute, run)
            if size is not None:
                context = f"{run.regime}: 95th percentile of placebos, gap"
                draft = Draft("expressed", attribute.name, "placebo", None, context, measure="gap", unit=facts.gap_unit, decides=False)
                out.add(replace(draft, reference_for=run.regime, method="label-planted on the inputs"), value=size)
        if run.measured:
            out.add(_task(facts, run))
            _add_repetitions(out, run)
    return out.extend([selection(facts)])


def _gaps(facts: Facts) -> Iterator[Measured]:
    """Gaps between neighbouring groups of every attribute in every regime of trained models."""
    for run in facts.trained:
        for attribute in facts.not_crossed:
            groups, names = attribute.groups()
            for low in range(len(names) - 1):
                for column in range(run.outputs[0].shape[1]):
                    singles = [gap_in(one, groups, low, low + 1, column, facts.clusters_n) for one in run.outputs]
                    yield over_seeds(singles, run.places)


def _add_gap(out: Drafts, facts: Facts, attribute: Attribute, run: Run, shared: SharedSpread) -> None:
    margin = facts.margins.gap
    base = Draft("expressed", attribute.name, run.regime, None, "gap", measure="gap", margin=margin, unit=facts.gap_unit)
    # A reference has numbers, never a verdict.
    base = replace(base, can_be_absent=True, decides=not run.is_reference, method=unit_for(METHOD, facts.task))
    if not run.measured:
        out.add(replace(base, reason=None if run.is_reference else "the training or capture of this regime failed"))
        return
    groups, names = attribute.groups()
    found = largest_gap(run.outputs, groups, len(names), facts.clusters_n, margin, LEVEL, shared, run.places)
    if attribute.classes == 0 and not surely_flat(run.outputs, np.asarray(attribute.codes, dtype=np.float64), margin):
        # Halves of a number can agree where its quarters do not.
        base = replace(base, can_be_absent=False, reason=NOT_FLAT)
    if not shows_sign(replace(base, measured=found.measured)):
        found = found.in_order()
    group = f"{names[found.high]} minus {names[found.low]}, predicted '{facts.outcome(found.column)}'"
    gap = replace(base, measured=found.measured, interval=found.interval, group=group, n=int(attribute.known.sum()))
    extras = {"pair": (found.low, found.high), "column": found.column}
    gap = replace(gap, present_p=found.present_p, absent_p=found.absent_p, extras=extras)
    out.add(gap)
    out.add(_within(facts, attribute, run, gap, found))
    if facts.task == "number":
        out.add(_distance(facts, groups, run, gap, found))
    if facts.task == "labels":
        _add_labels(out, facts, attribute, run, base, shared)


def _add_labels(out: Drafts, facts: Facts, attribute: Attribute, run: Run, base: Draft, shared: SharedSpread) -> None:
    """The gap of each label; all of their intervals hold together, as that of the largest does."""
    groups, names = attribute.groups()
    count = run.outputs[0].shape[1]
    method = f"{METHOD}, over all {count} labels"
    for column in range(count):
        own, level = [outputs[:, [column]] for outputs in run.outputs], 1 - (1 - LEVEL) / count
        found = largest_gap(own, groups, len(names), facts.clusters_n, facts.margins.gap, level, shared, run.places)
        label = facts.outcome(column)
        about = replace(base, measure="gap_of_label", subject=label, context=f"gap of label {label}", margin=0.0, method=method)
        about = replace(about, decides=False, can_be_absent=False, reason=None, n=int(attribute.known.sum()))
        said = f"{names[found.high]} minus {names[found.low]}, predicted '{label}'"
        out.add(replace(about, measured=found.measured, interval=found.interval, group=said))


def _distance(facts: Facts, groups_n: Ints, run: Run, gap: Draft, found: LargestGap) -> Draft:
    """How far the two groups' predictions lie apart as distributions, whatever their means."""
    singles = [distance_in(outputs[:, 0], groups_n, found.low, found.high, facts.clusters_n) for outputs in run.outputs]
    measured = over_seeds([one for one, _ in singles], run.places)
    method = "largest difference of the groups' shares below a value (Kolmogorov-Smirnov), mean over models; null: equal distributions"
    base = replace(gap, measure="distance", context="distance of distributions", unit=UNIT_DISTANCE, margin=0.0, method=method, extras={})
    base = replace(base, decides=False, present_p=None, absent_p=None, can_be_absent=False, reason=None)
    return replace(base, measured=measured, interval=crossed_interval(measured), null_high=max(null for _, null in singles))


def _within(facts: Facts, attribute: Attribute, run: Run, gap: Draft, found: LargestGap) -> Draft:
    """The same gap among rows of one true label; its p-values say whether the label explains the gap (METHOD, section 3)."""
    groups, _ = attribute.groups()
    base = Draft("expressed", attribute.name, run.regime, None, "gap within label", gap.group, unit=facts.gap_unit, decides=False)
    method = "the same gap among rows of one true label, labels weighted as in the audit rows"
    base = replace(base, measure="gap_within_label", method=method)
    low, high, column = found.low, found.high, found.column
    asked = (groups, facts.labels_n, low, high, column, facts.clusters_n, FEWEST_IN_LABEL)
    if facts.task == "number":
        method = "the same gap within bands of the target, what goes along with it in a band taken out, bands weighted as in the audit rows"
        base = replace(base, method=method)
    gaps = gaps_within_label(run.outputs, *asked, run.places, facts.truth_nc[:, column] if facts.task == "number" else None)
    if gaps is None:
        return replace(base, reason="a label has too few rows of one group")
    within, margin = weighted_sum(gaps), facts.margins.gap
    # What the basis rests on: a gap above the margin in some label, and within it in all.
    above = min(1.0, min(2 * len(gaps) * p_above(one.oriented(), margin) for _, one in gaps))
    below = max(p_below(one.oriented(), margin) for _, one in gaps)
    shown = replace(base, measured=within, interval=crossed_interval(within), margin=margin)
    return replace(shown, present_p=above, absent_p=below, shows_p=True)


def placebo_gap(facts: Facts, attribute: Attribute, run: Run) -> float | None:
    """95th percentile of the output gap over the attribute's placebos, mean over repetitions."""
    planted = facts.placebos.get(attribute.name)
    if planted is None or not run.measured:
        return None
    outputs = np.mean(run.outputs, axis=0)
    sizes = []
    for column in planted.T:
        codes = (column > np.median(column)).astype(np.int64) if attribute.classes == 0 else column
        means = [outputs[codes == k].mean(axis=0) for k in np.unique(codes)]
        sizes.append(float((np.max(means, axis=0) - np.min(means, axis=0)).max()))
    return exceeded_by_few(sizes)


def _task(facts: Facts, run: Run) -> Draft:
    by, scores, n = yardstick(facts.task), [facts.score(outputs) for outputs in run.outputs], len(facts.labels_n)
    draft = Draft("task", "", run.regime, measure=by.measure, unit=by.unit, decides=False, n=n)
    if facts.task == "number":
        measured = over_seeds(scores, run.places)
        method = "one minus the squared error over that of the mean"
        return replace(draft, measured=measured, interval=crossed_interval(measured), method=method)
    measured = Measured(np.array([one.value for one in scores]), np.zeros(n), facts.clusters_n, places=run.places)
    return replace(draft, measured=measured, method="rank statistic")


def _add_repetitions(out: Drafts, run: Run) -> None:
    outputs = run.outputs
    if len(outputs) > 1:
        same = sum(np.array_equal(outputs[a], outputs[b]) for a in range(len(outputs)) for b in range(a))
        detail = "two repetitions are identical and count as one" if same else "all repetitions differ"
        out.control("repetition", "task", None, run.regime, None, detail, identical_pairs=float(same))
