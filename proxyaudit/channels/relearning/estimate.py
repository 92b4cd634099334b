"""Decide the channel ``relearned`` over seeds, and report the curve, the references and the control beside it.

The number is what fine-tuning brings of the attribute minus the larger of two references: the same of the untrained model, and the 95th
percentile of the placebos. Present: above the margin over *both*, in every model (an intersection-union test). Absent: within the margin
of *one*, in the mean and in every model (twice the smaller p-value), and the positive control passed. Where the inputs tell an attribute
so well that no placebo tells as much, nothing is present, and absent is what comes back by less than the margin over nothing at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from proxyaudit.arrays import Ints, Places
from proxyaudit.channels.closed import ASKED_ONCE
from proxyaudit.channels.relearning.record import PERCENTILE, RELEARNED, ROWS, Relearned
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.ledger import Draft, Drafts, unit_of
from proxyaudit.estimates.record import Measurement
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import Measured, absent_everywhere, crossed_interval, in_every_seed, over_seeds
from proxyaudit.stats.p_values import FOUND
from proxyaudit.types import PENULTIMATE

CHANNEL = "relearned"
LAST = "last block"
CONTEXT = f"{LAST}, {ROWS} rows: excess over untrained and placebos"
METHOD = (
    f"last block trained again with a fresh head on {ROWS} real rows (Deeb & Roger 2024), measured on rows of another part; minus the same "
    "of the untrained model or of the 95th percentile of placebos, whichever is larger"
)
_GROWN = (
    f"more trees boosted on the leaves of those there are, which stay as they are, on {ROWS} real rows; measured on rows of another part; "
    "minus the same of the untrained trees or of the 95th percentile of placebos, whichever is larger"
)
_ALONE = "there is no placebo to compare with, so what comes back proves nothing, and that nothing does proves absence"
_RESAMPLES = 400


def estimate(facts: Facts) -> Drafts:
    """What comes back of every attribute in every regime, its curve, references and control."""
    out, untrained = Drafts(), facts.run("untrained")
    before = untrained.measured if untrained else ()
    for run in facts.runs:
        for attribute in facts.attributes:
            base = Draft(CHANNEL, attribute.name, run.regime, PENULTIMATE, unit=unit_of(attribute))
            draft = None
            if not run.is_reference:
                asked = replace(base, context=CONTEXT, margin=facts.margins.relearned, method=METHOD)
                draft = relearned_draft(asked, run.measured, before, facts.clusters_n, run.places)
                out.add(draft)
            if run.measured:
                add_relearning(out, draft, run.measured, base, facts.clusters_n)
    return out


def relearned_draft(
    base: Draft, measured: Sequence[Measurement], untrained: Sequence[Measurement], clusters_n: Ints, places: Places = ()
) -> Draft:
    """Fill a draft with the deciding excess."""
    base = replace(base, measure="excess")
    own, before = ([RELEARNED.read(m, base.attribute) for m in many] for many in (measured, untrained))
    if any(not one.applies for one in own):
        return replace(base, decides=False, state="not_applicable", reason=own[0].reason)
    if own and own[0].part != LAST:
        base = replace(base, context=CONTEXT.replace(LAST, own[0].part), method=_GROWN)
    asked = [m for m, one in zip(measured, own, strict=True) if one.reason != ASKED_ONCE]
    if 0 < len(asked) < len(own):
        where = tuple(place for place, one in zip(places, own, strict=False) if one.reason != ASKED_ONCE)
        draft = replace(relearned_draft(base, asked, untrained[: len(asked)], clusters_n, where), can_be_absent=False, reason=ASKED_ONCE)
        return replace(draft, null_rejected=False, null_reason=ASKED_ONCE)
    missing = next((one.reason for one in (*own, *before) if one.reason), None)
    if missing or not own:
        return replace(base, reason=missing or "the training or capture of this regime failed")
    if not before:
        return replace(base, reason="there is no untrained model to compare with, so what comes back proves nothing")
    if any(not one.placebos for one in own):
        return _by_itself(base, own, clusters_n, places)
    mine, theirs = ([_reached(one, base.margin, clusters_n) for one in many] for many in (own, before))
    references = _references(theirs, len(mine), places)
    over_untrained = [a - b for a, b in zip(mine, references, strict=True)]
    percentiles = [_percentile(one, base.attribute) for one in own]
    over_placebos = [
        replace(a, seed_values=a.seed_values - q, extra=a.extra + variance, extra_df=min(a.extra_df, len(one.placebos) - 1))
        for a, (q, variance), one in zip(mine, percentiles, own, strict=True)
    ]
    both = (over_untrained, over_placebos)
    means = [over_seeds(singles, places) for singles in both]
    deciding = min(means, key=lambda m: m.value)
    thresholds = [max(r.value, q) for r, (q, _) in zip(references, percentiles, strict=True)]
    controls = [_control(one, threshold, base.margin) for one, threshold in zip(own, thresholds, strict=True)]
    worst = next((control for control in controls if not control.passed), controls[0])
    present = max(in_every_seed(singles, base.margin) for singles in both)
    absent = min(1.0, 2 * min(absent_everywhere(mean, singles, base.margin) for mean, singles in zip(means, both, strict=True)))
    draft = replace(base, measured=deciding, interval=crossed_interval(deciding), present_p=present, absent_p=absent, n=own[0].n)
    draft = replace(draft, raw=float(np.mean([m.value for m in mine])), null_high=float(np.mean(thresholds)))
    extras, reason = {**base.extras, "control": worst}, None if worst.passed else worst.reason
    return replace(draft, can_be_absent=worst.passed, reason=reason, extras=extras)


def _by_itself(base: Draft, own: Sequence[Relearned], clusters_n: Ints, places: Places) -> Draft:
    """Where nothing is there to compare with: what comes back can be as good as nothing, and then exceeds no reference either."""
    mine = [_reached(one, base.margin, clusters_n) for one in own]
    mean, controls = over_seeds(mine, places), [_control(one, 0.0, base.margin) for one in own]
    worst = next((control for control in controls if not control.passed), controls[0])
    draft = replace(base, measured=mean, interval=crossed_interval(mean), n=own[0].n, raw=float(np.mean([m.value for m in mine])))
    draft = replace(draft, present_p=in_every_seed(mine, base.margin), absent_p=absent_everywhere(mean, mine, base.margin))
    draft = replace(
        draft, null_rejected=False, null_reason=_ALONE, method=f"{base.method}; {_ALONE}", extras={**base.extras, "control": worst}
    )
    return replace(draft, can_be_absent=worst.passed, reason=None if worst.passed else worst.reason)


def _references(theirs: Sequence[Measured], count: int, places: Places) -> Sequence[Measured]:
    """The untrained model of each repetition, or their mean where it is not known which that is."""
    if len({table for table, _ in places}) > 1 and len(theirs) > max(model for _, model in places):
        return [theirs[model] for _, model in places]
    return theirs if len(theirs) == count else [over_seeds(theirs)] * count


def _reached(found: Relearned, margin: float, clusters_n: Ints) -> Measured:
    """What fine-tuning brought in one model: its variance over rows, over draws of what it learnt from, and at least that of the margin."""
    assert found.influence_n is not None
    draws = np.array(found.draws)
    rows = float((found.influence_n**2).sum())
    extra = float(draws.var(ddof=1)) / len(draws) + max(0.0, margin * found.row_floor - rows)
    return Measured(np.array([found.value]), found.influence_n, clusters_n, extra, len(draws) - 1.0)


def _percentile(found: Relearned, attribute: str) -> tuple[float, float]:
    """95th percentile of the placebos and its bootstrap variance."""
    rng, values_m = stream(0, "placebo percentile", attribute), np.array(found.placebos)
    drawn = values_m[rng.integers(0, len(values_m), (_RESAMPLES, len(values_m)))]
    return float(np.quantile(values_m, PERCENTILE)), float(np.quantile(drawn, PERCENTILE, axis=1).var())


@dataclass(frozen=True)
class _Control:
    """Whether fine-tuning brings planted labels back: the leak they were planted at, and the share of plants that it found."""

    passed: bool
    detail: str
    reason: str
    leak: float | None = None
    share: float | None = None


def _control(found: Relearned, threshold: float, margin: float) -> _Control:
    """Whether fine-tuning brings back labels planted on the block's input, as much of them as counts.

    The weakest level is taken at which a plain probe of the block's input, given the same rows, gets twice the margin above the
    references of most plants; fine-tuning must get the margin above them.
    """
    for level in found.plants:
        if float(np.mean(np.array(level.read) >= threshold + 2 * margin)) >= FOUND:
            share = float(np.mean(np.array(level.brought) >= threshold + margin))
            detail = f"planted leak {level.leak:.2f} on the block's input: found in {share:.0%} of plants"
            only = f"fine-tuning brings back only {share:.0%} of features that a reader of the block's input gets"
            return _Control(share >= FOUND, detail, f"the positive control failed: {only}", level.leak, share)
    why = f"the positive control could not be run: no planted feature stands out from what {ROWS} rows bring of any attribute"
    return _Control(False, "no planted leak stands out from the references", why)


def add_relearning(out: Drafts, draft: Draft | None, measured: Sequence[Measurement], base: Draft, clusters_n: Ints) -> None:
    """Report the curve of a regime, the placebos' percentile and, if there is a deciding draft, the positive control."""
    own = [one for one in (RELEARNED.read(m, base.attribute) for m in measured) if one.reason != ASKED_ONCE]
    if not own or any(one.reason for one in own):
        return
    base = replace(base, channel=CHANNEL, measure="curve", decides=False, margin=0.0, method=f"{own[0].block}; mean over draws of rows")
    for mode, m in [(point.mode, point.m) for point in own[0].curve]:
        # Of the repetitions that were asked: each has the deciding point, others may be of the first alone.
        leaks = [np.array(point.leaks) for one in own for point in one.curve if (point.mode, point.m) == (mode, m)]
        # Over draws of the rows that were learnt from; rows that are measured add nothing to its interval.
        spread = [(v.mean(), float(v.var(ddof=1)) / len(v), len(v) - 1.0) for v in leaks]
        still = np.zeros(len(clusters_n))
        mean = over_seeds([Measured(np.array([value]), still, clusters_n, variance, df) for value, variance, df in spread])
        subject = f"{mode}, {m} rows"
        out.add(replace(base, subject=subject, context=subject, measured=mean, interval=crossed_interval(mean), n=own[0].n))
    if own[0].placebos:
        values = [_percentile(one, base.attribute)[0] for one in own]
        subject = f"{own[0].part}, {ROWS} rows"
        context = f"{base.regime}: 95th percentile of {len(own[0].placebos)} placebos, {subject}"
        reference = replace(base, regime="placebo", reference_for=base.regime, subject=subject, context=context)
        out.add(replace(reference, method="label-planted on the inputs"), value=float(np.mean(values)))
    control = None if draft is None else draft.extras.get("control")
    if isinstance(control, _Control):
        figures = {"leak": control.leak, "share": control.share}
        out.control("positive", CHANNEL, base.attribute, base.regime, base.site, control.detail, **figures)
