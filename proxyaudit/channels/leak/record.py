"""What is measured of one attribute at one site of one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement, Shelf
from proxyaudit.probes.results import Agreement, BinnedTrace, Effort, Gain, LevelTrace, PlantedTest
from proxyaudit.stats.intervals import Measured

TRACE = 0.2  # share of the margin from which on a trace that decides nothing by itself speaks against absence


@dataclass(frozen=True)
class LeakTest(PlantedTest):
    """A planted test, and what was measured beside it."""

    silent: bool = False  # whether the site is constant, or constant within what is conditioned on: a measured zero
    raw: float | None = None  # gain of a linear reader on unseen rows, without calibration
    unweighted: float | None = None  # the same without reweighing the classes
    auroc: float | None = None
    placebos: tuple[float, ...] = ()  # calibrated leak of each placebo attribute
    negative: float | None = None  # tail probability of a permuted attribute
    rows: int | None = None  # rows that were asked, where they are not all
    left_out: float = 0.0  # share of rows in strata too small to ask
    control: float | None = None  # leak that random features of what is conditioned on show
    bins: BinnedTrace | None = None
    near: float | None = None  # share of the score that pairs of near neighbours hold, where rows seem to belong together
    readers: tuple[Gain, ...] = ()
    probe: tuple[Gain, ...] = ()  # of the linear test, what the cross-fitted probe gains on unseen rows
    levels: LevelTrace | None = None  # of a number, what single values show beyond this test; None where they were not asked

    @property
    def best_raw(self) -> float:
        """Gain on unseen rows: of the linear reader, or the largest of the others."""
        return self.raw if self.raw is not None else max((reader.gain or 0.0 for reader in self.readers), default=0.0)

    @property
    def asked(self) -> bool:
        """Whether anything was compared."""
        return len(self.null) > 0

    def measured(self, clusters_n: Ints) -> Measured:
        """The calibrated leak with its row influences."""
        return Measured(np.array([self.leak]), self.influence_n, clusters_n)


@dataclass(frozen=True)
class SiteRecord:
    """All tests of an attribute at one site of one model: ``linear``, ``beyond``, ``quarters``, ``levels``, and each non-linear."""

    n: int  # rows on which the attribute is known
    rank: int  # dimensions of the site
    constant: int = 0  # units that were left out, which are constant
    dropped: int = 0  # axes that were left out, which have little variance
    dropped_p: float | None = None  # p-value of "what no reader is given does not tell the attribute"
    agreement: Agreement | None = None  # of neighbours; None where it was not asked or rows are too few
    reason: str | None = None  # why nothing could be tested
    silent: bool = False  # whether the site is constant: nothing can be read from it, which is a measured zero
    tests: Mapping[str, LeakTest] = field(default_factory=dict)
    effort: Effort | None = None

    @property
    def linear(self) -> LeakTest | None:
        """The linear test."""
        return self.tests.get("linear")


SITE_LEAKS = Shelf("cells", SiteRecord)


def holds_site(measured: Measurement, attributes: Sequence[Attribute], site: str) -> bool:
    """Whether the records of these attributes at a site are there."""
    found = measured.numbers.get(SITE_LEAKS.name, {})
    return all(site in found.get(attribute.name, {}) for attribute in attributes)


def merge_sites(out: Measurement, found: Measurement) -> None:
    """Put the records of other sites of the same model among its measurements."""
    for attribute, sites in found.numbers[SITE_LEAKS.name].items():
        out.numbers.setdefault(SITE_LEAKS.name, {}).setdefault(attribute, {}).update(sites)
    out.arrays.update(found.arrays)


@dataclass(frozen=True)
class Erasure:
    """Leak of a planted attribute on fresh rows ``before`` and ``after`` it is erased."""

    before: float
    after: float


ERASURES = Shelf("eraser", Erasure)
