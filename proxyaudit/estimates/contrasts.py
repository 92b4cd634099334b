"""Contrasts: how a number of a regime stands to real training, and to what no training and no attribute would give.

Made from row influences before anything is concluded, and published, so that whoever holds the pack alone can check the words.
"""

from __future__ import annotations

from dataclasses import replace

from proxyaudit.estimates.draft import TURNED, Draft
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.ledger import Drafts, Ledger
from proxyaudit.estimates.numbers import Numbers, What
from proxyaudit.estimates.scope import Scope
from proxyaudit.stats.group_gaps import gap_in
from proxyaudit.stats.intervals import Interval, Measured, crossed_interval, distinct_seeds, fieller_ratio, over_seeds
from proxyaudit.types import Estimate

_PAIRED = "paired on the same rows"


def contrasts(ledger: Ledger, scope: Scope, facts: Facts | None = None) -> Drafts:
    """Differences and ratios to real training, and what exceeds the untrained model and the placebos.

    Where models were trained (``facts``), a gap is compared between the groups that differ in real training.
    """
    numbers, out = Numbers(ledger.estimates, scope), Drafts()
    for attribute in scope.roles:
        for regime in scope.regimes:
            _add_changes(out, ledger, numbers, facts, attribute, regime)
            if scope.surface == "outputs":
                _add_origins(out, ledger, numbers, attribute, regime)
    return out


def _add_changes(out: Drafts, ledger: Ledger, numbers: Numbers, facts: Facts | None, attribute: str, regime: str) -> None:
    whats: tuple[What, What] = ("encoding", "use")
    for what in whats:
        pair = numbers.compared(attribute, regime, what)
        if pair is None:
            continue
        mine, theirs = pair
        draft, real = ledger.draft_of(mine), ledger.draft_of(theirs)
        if draft.measured is None or real.measured is None:
            continue
        top, bottom, turned = draft.measured, real.measured, False
        if numbers.scope.surface == "prompts" and mine.group != theirs.group:
            # Each gap was turned to be positive; compared, both must run the same way.
            top = -top
        if facts is not None and mine.measure == "gap":
            top = _gap_of_pair(facts, attribute, regime, real)
            turned = crossed_interval(top).high < 0 and mine.state == "present"
        if facts is not None and not turned and min(len(distinct_seeds(m.seed_values)) for m in (top, bottom)) < 2:
            # One model on a side: what differs may be nothing but its initial weights.
            continue
        _add_change(out, numbers.scope, what, (draft, top), (real, bottom), turned)


def _add_change(out: Drafts, scope: Scope, what: What, mine: tuple[Draft, Measured], real: tuple[Draft, Measured], turned: bool) -> None:
    (draft, top), (theirs, bottom) = mine, real
    said, group, subject, method = "real training", draft.group, None, _PAIRED
    if scope.surface == "prompts":
        said, group, subject, method = f"{scope.real}", theirs.group, draft.context, draft.method
    about = f"{what}: {subject}, " if subject else f"{what}: "
    base = Draft("", draft.attribute, draft.regime, draft.site, group=group, subject=subject, unit=draft.unit, decides=False, n=draft.n)
    difference = top - bottom
    shown = replace(base, channel="change", measure=f"{what}_difference", context=f"{about}difference to {said}", method=method)
    if turned:
        shown = replace(shown, measure="use_difference_turned", reason=TURNED)
    out.add(replace(shown, measured=difference, interval=crossed_interval(difference)))
    ratio = None if turned else ratio_to(top, bottom, theirs.margin)
    if ratio is not None:
        kept = replace(
            base, channel="retention", measure=f"{what}_ratio", context=f"{about}ratio to {said}", unit="ratio", method="Fieller"
        )
        out.add(replace(kept, interval=ratio), value=ratio.value)


def ratio_to(mine: Measured, real: Measured, margin: float) -> Interval | None:
    """Fieller's interval of the ratio to real training, where the lower bound of real training exceeds the margin."""
    return fieller_ratio(mine, real) if crossed_interval(real).low > margin else None


def _gap_of_pair(facts: Facts, attribute: str, regime: str, real: Draft) -> Measured:
    """The signed gap between the groups that real training's gap is about, in the same output: a gap turned round is no gap kept."""
    groups, _ = next(a for a in facts.attributes if a.name == attribute).groups()
    low, high = real.extras["pair"]
    run = facts.run(regime)
    outputs = run.outputs if run else []
    return over_seeds([gap_in(one, groups, low, high, real.extras["column"], facts.clusters_n) for one in outputs])


def _add_origins(out: Drafts, ledger: Ledger, numbers: Numbers, attribute: str, regime: str) -> None:
    """What exceeds the untrained model, and the 95th percentile of what models relay of attributes planted on their inputs."""
    states = numbers.states(attribute, regime)
    if states["linear"] == "present":
        _add_origin(out, ledger, numbers, "encoding", numbers.strongest_linear(attribute, regime))
    if states["expressed"] == "present":
        _add_origin(out, ledger, numbers, "use", numbers.gap(attribute, regime))


def _add_origin(out: Drafts, ledger: Ledger, numbers: Numbers, what: What, estimate: Estimate | None) -> None:
    draft = ledger.draft_of(estimate) if estimate else None
    if estimate is None or draft is None or draft.measured is None:
        return
    where = {"site": estimate.site, "measure": estimate.measure}
    untrained = numbers.find(estimate.channel, estimate.attribute, "untrained", **where)
    placebos = numbers.find(estimate.channel, estimate.attribute, "placebo", reference_for=estimate.regime, **where)
    base = Draft("origin", draft.attribute, draft.regime, draft.site, group=draft.group, unit=draft.unit, decides=False, n=draft.n)
    base, mine = replace(base, margin=draft.margin), draft.measured.oriented()
    before = ledger.draft_of(untrained).measured if untrained else None
    if before is not None:
        difference = mine - before.oriented()
        shown = replace(base, measure=f"{what}_above_untrained", context=f"{what}: above the untrained model", method=_PAIRED)
        out.add(replace(shown, measured=difference, interval=crossed_interval(difference)))
    if placebos is not None and placebos.value is not None:
        own, relayed = crossed_interval(mine), placebos.value
        interval = Interval(own.value - relayed, own.low - relayed, own.high - relayed, own.se, own.df)
        shown = replace(base, measure=f"{what}_above_placebos", context=f"{what}: above the placebos' 95th percentile")
        method = "what the model relays of attributes planted on the inputs is taken as known"
        out.add(replace(shown, interval=interval, method=method), value=interval.value)
