"""Drafts: numbers on their way to publication; collected, rounded, decided and numbered."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from proxyaudit.data.attributes import Attribute
from proxyaudit.data.columns import NOT_SEEN
from proxyaudit.data.public_counts import public_count
from proxyaudit.estimates import rounding
from proxyaudit.estimates.few_people import coarseness
from proxyaudit.estimates.remedies import TOO_NEAR, remedy_of
from proxyaudit.estimates.rounding import Grid
from proxyaudit.estimates.states import NO_ROLES, Outcome, adjusted_p, decide_outcomes, passes, state_of
from proxyaudit.estimates.task import UNIT_GAP
from proxyaudit.stats.intervals import LEVEL, Interval, Measured, distinct_seeds, next_interval, parts_of_variance
from proxyaudit.types import Control, Estimate, Remedy, Role, State

NEGATIVE_FAILED: Final = "the negative control failed: a permuted attribute was found here too"
UNSTABLE: Final = "the trained models differ: some lie above the margin and some below, and a claim is about every one of them"
TURNED: Final = "the gap has turned its direction"
UNIT_CLASSES = "fraction of log2 K, class-balanced"
UNIT_VALUES = "R squared"
UNIT_PROMPTS = "difference between groups in probability"
UNIT_RATE = "rate, share of the group's rows"
UNIT_RATES = "difference between groups in rate"
UNIT_RATIO = "ratio of rates"
UNIT_DISTANCE = "distance between distributions, largest difference of cumulative shares"
# No share can exceed one: with few seeds a t interval would.
_LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    **dict.fromkeys((UNIT_CLASSES, UNIT_VALUES, UNIT_GAP, UNIT_PROMPTS, UNIT_RATES), (-1.0, 1.0)),
    **dict.fromkeys((UNIT_RATE, UNIT_DISTANCE), (0.0, 1.0)),
    UNIT_RATIO: (0.0, float("inf")),
}
NO_LOOKS: Final[Mapping[str, int]] = MappingProxyType({})
_IDENTITY = ("channel", "measure", "regime", "reference_for", "site", "subject", "group", "context")
_OF_PAIRS = ("change", "origin")  # numbers of two kinds of training: no single model has one
_AS_THEY_ARE = (*_IDENTITY, "unit", "shown_by", "method", "reason")


@dataclass(frozen=True)
class Draft:
    """A number on its way to a state.

    ``present_p`` and ``absent_p`` are the margin tests; ``null_rejected`` is the permutation null where the channel
    has one. ``can_be_absent`` is false where this version has no test of absence that could be relied on. ``remedy`` is what would settle
    it, where the channel knows that better than its figures do.
    """

    channel: str
    attribute: str
    regime: str
    site: str | None = None
    context: str | None = None
    group: str | None = None
    measure: str = ""
    subject: str | None = None
    reference_for: str | None = None
    shown_by: str | None = None
    measured: Measured | None = None
    value: float | None = None
    seed_values: Sequence[float] | None = None
    seeds: int | None = None
    shows_p: bool = False
    interval: Interval | None = None
    another: Interval | None = None  # where one more model may lie, where ``measured`` does not tell it
    margin: float = 0.0
    unit: str = ""
    method: str = ""
    present_p: float | None = None
    absent_p: float | None = None
    null_rejected: bool = True
    null_reason: str = "above the margin, but not beyond its null (permutations, or random subspaces)"
    can_be_absent: bool = False
    decides: bool = True
    marks: tuple[float, ...] = ()  # values beside zero and the margin on whose sides something is decided
    coarse: float = 0.0  # digits finer than this would tell of people, whatever the influences say
    raw: float | None = None
    auroc: float | None = None
    null_high: float | None = None
    bound: float | None = None
    detection_limit: float | None = None
    calibrated: bool = False
    n: int | None = None
    reason: str | None = None
    remedy: Remedy | None = None
    state: State | None = None
    extras: dict[str, Any] = field(default_factory=dict)


def reason_of(draft: Draft, outcome: Outcome, remedy: Remedy | None, rows: int | None) -> str | None:
    """Why a number is unknown; ``None`` where nothing is to be said. What would settle it stands in fields of its own."""
    if outcome in ("present", "absent"):
        return None
    fixed: dict[Outcome, str] = {"blocked": NEGATIVE_FAILED, "within its null": draft.null_reason, "unstable": UNSTABLE}
    if outcome in fixed:
        return fixed[outcome]
    if outcome in ("unsure", "corrected"):
        several = draft.measured is not None and len(draft.measured.seed_values) > 1
        where = "on average, but not surely in every trained model" if several else "but not surely"
        where = where if outcome == "unsure" else "here, but not after the correction for looking at many numbers"
        why = f"above the margin {where}" if where.startswith(("on", "here")) else f"above the margin, {where}"
    elif draft.reason or outcome != "between":
        return draft.reason or "not measured"
    elif remedy == "rows" and rows is not None:
        return f"too few audit rows to tell: about {rows:,} would show absence where there is none"
    else:
        why = "between the tests of presence and absence"
    return f"{why}, and {TOO_NEAR}" if remedy == "nothing" and draft.remedy is None else why


def unit_of(attribute: Attribute) -> str:
    """Unit of an attribute's leak."""
    return UNIT_VALUES if attribute.classes == 0 else UNIT_CLASSES


@dataclass
class Drafts:
    """What a channel has to say: numbers and checks of the instrument, in the order of publication."""

    numbers: list[Draft] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)  # their ids are given at publication

    def add(self, draft: Draft, *, value: float | None = None) -> None:
        """Take a number; ``value`` for one that has no row influences."""
        self.numbers.append(draft if value is None else replace(draft, value=value))

    def control(
        self, kind: str, channel: str, attribute: str | None, regime: str, site: str | None, detail: str, **figures: float | None
    ) -> None:
        """Take a check of the instrument with the figures that its outcome follows from."""
        what: dict[str, Any] = {"kind": kind, "channel": channel, "attribute": attribute, "regime": regime, "site": site, "detail": detail}
        rounded = rounding.figures_of(figures)
        self.controls.append(Control(id="", **what, passed=passes(kind, rounded), figures=rounded))

    def extend(self, others: Iterable["Drafts"]) -> "Drafts":
        """Take what others have to say; returns itself."""
        for other in others:
            self.numbers += other.numbers
            self.controls += other.controls
        return self


@dataclass
class Ledger:
    """Published numbers and controls with their ids, and the draft behind each number."""

    estimates: list[Estimate] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    drafts: dict[str, Draft] = field(default_factory=dict)

    def publish(self, drafts: Drafts) -> None:
        """Number, round and keep decided drafts."""
        for draft in drafts.numbers:
            identifier = f"E{len(self.estimates) + 1}"
            self.estimates.append(published(draft, identifier))
            self.drafts[identifier] = draft
        for control in drafts.controls:
            self.controls.append(control.model_copy(update={"id": f"C{len(self.controls) + 1}"}))


def decide_ledger(
    drafts: Drafts, no_absence: Collection[str] = (), roles: Mapping[str, Role] = NO_ROLES, looks: Mapping[str, int] = NO_LOOKS
) -> Ledger:
    """Publish drafts with their states, which follow from what is published.

    In regimes whose audit rows the encoder could not see (``no_absence``) nothing is called absent. By the ``roles`` of the attributes goes
    the correction for looking at many numbers, by the ``looks`` that are planned of a regime that for looking at one more than once.
    """
    ledger = Ledger()
    numbers = [_spent(_barred(d) if d.regime in no_absence else d, looks.get(d.regime, 1)) for d in drafts.numbers]
    ledger.publish(Drafts(numbers, drafts.controls))
    outcomes, adjusted = decide_outcomes(ledger.estimates, ledger.controls, roles), adjusted_p(ledger.estimates, roles)
    for place, estimate in enumerate(ledger.estimates):
        draft = ledger.drafts[estimate.id]
        if draft.state is None and (outcome := outcomes.get(estimate.id)) is not None:
            state = state_of(outcome)
            told: tuple[Remedy | None, int | None] = (None, None)
            if state == "unknown":
                parts = parts_of_variance(draft.measured) if draft.measured is not None and draft.measured.places else None
                given = draft.remedy, draft.extras.get("rows_needed"), parts
                told = remedy_of(estimate, outcome, adjusted.get(estimate.id, 1.0), *given)
            decided = {"state": state, "reason": reason_of(draft, outcome, *told), "remedy": told[0], "rows_needed": told[1]}
            ledger.estimates[place] = estimate.model_copy(update=decided)
    return ledger


def _spent(draft: Draft, looks: int) -> Draft:
    """Absence of a mean over models is tested at every look, so its p-value is multiplied by their number.

    What is claimed of every single model needs no such price: each further model can only raise its p-value.
    """
    if looks == 1 or draft.absent_p is None or not draft.decides or "leak" in draft.measure:
        return draft
    method = f"{draft.method}; {looks} looks are planned, so the p-value of absence is times {looks}"
    return replace(draft, absent_p=min(1.0, looks * draft.absent_p), method=method)


def _barred(draft: Draft) -> Draft:
    asked = draft.decides and draft.state is None and draft.measured is not None
    return replace(draft, can_be_absent=False, reason=NOT_SEEN) if asked else draft


def shows_sign(draft: Draft) -> bool:
    """Whether the published digits of a measured number tell on which side of zero it lies."""
    fine = rounding.step_of(draft.unit, draft.margin or None)
    return draft.measured is not None and bool(Grid(rounding.coarser(fine, coarseness(draft.measured))).nearest(draft.measured.value))


def published(draft: Draft, identifier: str) -> Estimate:
    """A draft as it stands in the evidence: identity in fields, numbers rounded, counts safe to publish."""
    measured, interval, another = draft.measured, draft.interval, draft.another
    low, high = _ends(interval, draft.unit)
    if interval is not None and measured is not None and not draft.calibrated and draft.channel not in _OF_PAIRS:
        another = next_interval(measured)
    value = measured.value if measured is not None else draft.value
    seeds = draft.seed_values if draft.seed_values is not None else measured.seed_values if measured is not None else ()
    counted = len(distinct_seeds(np.asarray(seeds))) if measured is not None else len(seeds) or None
    shows, can_be_absent = draft.decides or draft.shows_p, draft.shows_p or draft.can_be_absent
    margin, n = draft.margin if shows else None, (public_count(draft.n) or None) if draft.n is not None else None
    fine = step = rounding.step_of(draft.unit, margin)
    if measured is not None and draft.unit != UNIT_PROMPTS:  # names in prompts are no people
        step = rounding.coarser(fine, coarseness(measured))
    step = max(step, rounding.coarser(fine, draft.coarse))
    decisive = (*draft.marks, draft.margin, -draft.margin) if draft.margin else draft.marks
    # Where few people carry it, its side of zero would tell of them.
    single, plain = Grid(step, [mark for mark in decisive if mark], fine), Grid(step)
    ends = replace(single, marks=(*decisive, 0.0)) if step == fine else single
    repetitions = [single.nearest(float(v)) or 0.0 for v in seeds]
    if step > fine and repetitions:
        value = float(np.mean(repetitions))
    # A calibrated leak below zero is shown as zero, the nearest leak that there is.
    shown = Grid(fine, decisive).nearest(max(value, 0.0) if value is not None and draft.calibrated else value)
    if len(repetitions) == 1 and step == fine and shown is not None and not draft.calibrated:
        repetitions = [shown]  # one number is rounded in one way
    same: dict[str, Any] = {name: getattr(draft, name) for name in _AS_THEY_ARE}
    return Estimate(
        **same,
        id=identifier,
        attribute=draft.attribute or None,
        # What decides is unknown until it is decided.
        state=draft.state or ("unknown" if draft.decides else None),
        p_present=rounding.p_value(draft.present_p, roughly=step > fine) if shows else None,
        p_absent=rounding.p_value(draft.absent_p, roughly=step > fine) if shows and can_be_absent else None,
        beyond_null=bool(draft.null_rejected) if draft.decides and draft.present_p is not None else None,
        value=shown,
        low=ends.below(low),
        high=ends.above(high),
        next_model=_rounded_ends(another, draft.unit, ends),
        raw=plain.nearest(draft.raw),
        auroc=Grid(rounding.area_step(n)).nearest(draft.auroc),
        level=LEVEL,
        n=n,
        seeds=draft.seeds if draft.seeds is not None else counted,
        seed_values=tuple(repetitions),
        margin=margin,
        # Where absence may not be claimed (values unseen, a reader that objects), nothing is certified absent either.
        bound=rounding.bound(draft.bound, step, margin) if can_be_absent else None,
        detection_limit=plain.above(draft.detection_limit),
        null_high=plain.nearest(draft.null_high),
    )


def _ends(interval: Interval | None, unit: str) -> tuple[float | None, float | None]:
    if interval is None:
        return None, None
    least, most = _LIMITS.get(unit, (-float("inf"), float("inf")))
    return max(interval.low, least), min(interval.high, most)


def _rounded_ends(interval: Interval | None, unit: str, ends: Grid) -> tuple[float, float] | None:
    low, high = _ends(interval, unit)
    low, high = ends.below(low), ends.above(high)
    return None if low is None or high is None else (low, high)
