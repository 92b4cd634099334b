"""What is measured of one model's use of the attributes: numbers and row influences, typed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from proxyaudit.arrays import Floats
from proxyaudit.causal.interchange import InterchangeResult
from proxyaudit.causal.proxy_use import Number, Reach
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.record import Measurement, Shelf, read_record

T = TypeVar("T")
JOINT = "verdict sites jointly"
MOST_DIMENSIONS = 0.1  # of the rows a subspace is fitted on; beyond it a head that ignores the attribute can seem to use it


@dataclass(frozen=True)
class LearnedUse:
    """What the learned subspaces of highest effect do; ``read_downstream`` only where it is asked for."""

    reason: str | None = None  # why none could be learned
    swap: InterchangeResult | None = None  # effect of what of it the rest of the model reads
    read_downstream: InterchangeResult | None = None
    free: InterchangeResult | None = None  # effect with directions that the rest of the model does not read
    unread: float = 0.0  # what directions without a gradient move the output by


@dataclass(frozen=True)
class PlantedEffect:
    """A planted effect, what LEACE and learned subspaces made of it, and the p-value of its absence."""

    times: float
    truth: float
    leace: float
    learned: float
    absent_p: float


@dataclass(frozen=True)
class PlantedEffects:
    """The positive control of absence; ``reason`` where nothing could be planted."""

    reason: str | None = None
    sizes: tuple[PlantedEffect, ...] = ()


@dataclass(frozen=True)
class OtherQuestions:
    """Largest p-value of absence over other groups and outputs than those followed, and how many were asked."""

    p: float
    asked: int


@dataclass(frozen=True)
class SiteUse:
    """One attribute at one verdict site, or at all of them jointly."""

    reason: str | None = None  # why nothing was measured
    leace: InterchangeResult | None = None  # effect of the LEACE subspace
    within_label: InterchangeResult | None = None  # the same asked within the true label, which decides nothing
    learned: LearnedUse | None = None  # learned subspaces
    planted: PlantedEffects | None = None  # positive control; only what could be called absent has one
    others: OtherQuestions | None = None  # other groups and outputs; only what could be called absent is asked about them
    erased_n: Floats | None = field(default=None, repr=False)  # the followed output of every row with the LEACE subspace set to its mean


@dataclass(frozen=True)
class Guards:
    """What could carry a use that swaps at the verdict sites miss."""

    past_sites: float  # largest change of an output that does not go through the verdict sites
    moderated: Mapping[str, float]  # by attribute, the largest sure half-difference of the output gap between halves of an input column
    inside: Mapping[str, float] = field(default_factory=dict)  # the same between halves of a direction of a verdict site


@dataclass(frozen=True)
class SiteAxes:
    """Of what was measured of leaks at a site: its dimensions, and the p-value of what the axes that whitening dropped tell."""

    rank: int | None = None
    dropped_p: float | None = None


@dataclass(frozen=True)
class ColumnUse:
    """Of what is measured of a column: how far exchanging it moves the followed output, and what of that reaches the groups."""

    moved: Number
    reach: Reach | None = None  # ``None`` of columns that the decision may use, and where it was not measured
    around: Reach | None = None  # what does not run through the attribute's subspace


@dataclass(frozen=True)
class ColumnUses:
    """Of what is measured of columns and features of texts: each alone, and all carriers together."""

    units: Mapping[str, ColumnUse] = field(default_factory=dict)
    together: ColumnUse | None = None


USES = Shelf("interchange", SiteUse)
COLUMNS = Shelf("proxy use", ColumnUses)
GUARDS = Shelf("use guards", Guards)


def uses_at(run: Run, attribute: str, site: str) -> list[SiteUse]:
    """What was measured of an attribute at a site, of every model of a regime."""
    return [USES.read(m, attribute, site) for m in run.measured]


def axes_at(m: Measurement, attribute: str, site: str) -> SiteAxes:
    """Dimensions of a site, as leaks were measured there."""
    return read_record(SiteAxes, m.numbers.get("cells", {}).get(attribute, {}).get(site, {}))


def carriers(inputs: Measurement, attribute: str, margin: float) -> list[str]:
    """Input columns that by themselves tell more than the margin of an attribute."""
    units = inputs.numbers.get("association", {}).get(attribute, {}).get("units", {})
    single = {name: unit["association"] for name, unit in units.items() if unit.get("association") and not unit.get("gain")}
    return [name for name, carried in single.items() if carried["value"] > margin]


def all_of(values: Iterable[T | None]) -> list[T]:
    """The values; none of them where one is missing."""
    found = list(values)
    kept = [value for value in found if value is not None]
    return kept if len(kept) == len(found) else []


def learned_swaps(uses: Iterable[SiteUse]) -> list[InterchangeResult]:
    """Effects of the learned subspaces of the models that have one."""
    return [use.learned.swap for use in uses if use.learned is not None and use.learned.swap is not None]


def first_reason(reasons: Iterable[str | None]) -> str | None:
    """The first reason that there is."""
    return next((reason for reason in reasons if reason), None)
