"""Drafts of the output gap, of the same gap within true labels, of the placebos' gap, and of the task."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from proxyaudit.channels.outputs.selection import selection
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.facts import Facts, Run
from proxyaudit.estimates.ledger import UNIT_GAP, Draft, Drafts, shows_sign
from proxyaudit.stats.group_gaps import NOT_FLAT, LargestGap, auroc, gap_in, gaps_within_label, largest_gap, surely_flat, weighted_sum
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
                draft = Draft("expressed", attribute.name, "placebo", None, context, measure="gap", unit=UNIT_GAP, decides=False)
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
    base = Draft("expressed", attribute.name, run.regime, None, "gap", measure="gap", margin=margin, unit=UNIT_GAP, method=METHOD)
    # A reference has numbers, never a verdict.
    base = replace(base, can_be_absent=True, decides=not run.is_reference)
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
    outcome = facts.classes[1] if len(facts.classes) == 2 else facts.classes[found.column]
    group = f"{names[found.high]} minus {names[found.low]}, predicted '{outcome}'"
    gap = replace(base, measured=found.measured, interval=found.interval, group=group, n=int(attribute.known.sum()))
    extras = {"pair": (found.low, found.high), "column": found.column}
    gap = replace(gap, present_p=found.present_p, absent_p=found.absent_p, extras=extras)
    out.add(gap)
    out.add(_within(facts, attribute, run, gap, found))


def _within(facts: Facts, attribute: Attribute, run: Run, gap: Draft, found: LargestGap) -> Draft:
    """The same gap among rows of one true label; its p-values say whether the label explains the gap (METHOD, section 3)."""
    groups, _ = attribute.groups()
    base = Draft("expressed", attribute.name, run.regime, None, "gap within label", gap.group, unit=UNIT_GAP, decides=False)
    method = "the same gap among rows of one true label, labels weighted as in the audit rows"
    base = replace(base, measure="gap_within_label", method=method)
    low, high, column = found.low, found.high, found.column
    asked = (groups, facts.labels_n, low, high, column, facts.clusters_n, FEWEST_IN_LABEL)
    gaps = gaps_within_label(run.outputs, *asked, run.places)
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
    labels, classes = facts.labels_n, len(facts.classes)
    values = []
    for outputs in run.outputs:
        columns = [(outputs[:, 0], labels == 1)] if classes == 2 else [(outputs[:, k], labels == k) for k in range(classes)]
        values.append(float(np.mean([auroc(scores, positive) for scores, positive in columns])))
    measured = Measured(np.array(values), np.zeros(len(labels)), facts.clusters_n, places=run.places)
    draft = Draft("task", "", run.regime, measure="auroc", unit="AUROC of the target on the audit rows", method="rank statistic")
    return replace(draft, decides=False, measured=measured, n=len(labels))


def _add_repetitions(out: Drafts, run: Run) -> None:
    outputs = run.outputs
    if len(outputs) > 1:
        same = sum(np.array_equal(outputs[a], outputs[b]) for a in range(len(outputs)) for b in range(a))
        detail = "two repetitions are identical and count as one" if same else "all repetitions differ"
        out.control("repetition", "task", None, run.regime, None, detail, identical_pairs=float(same))
