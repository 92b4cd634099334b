"""What is measured of one attribute at one site of one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement, cell_key, read_record, write_record
from proxyaudit.probes.results import BinnedTrace, Effort, Gain, PlantedTest
from proxyaudit.stats.intervals import Measured

SITES, ERASER = "cells", "eraser"


@dataclass(frozen=True)
class LeakTest(PlantedTest):
    """A planted test, and what was measured beside it.

    Attributes:
        silent: Whether the site is constant, or constant within what is conditioned on: a measured zero.
        raw: Gain of a linear reader on unseen rows, without calibration; ``unweighted`` the same without reweighing the classes.
        placebos: Calibrated leak of each placebo attribute.
        negative: Tail probability of a permuted attribute.
        rows: Rows that were asked, where they are not all.
        left_out: Share of rows in strata too small to ask.
        control: Leak that random features of what is conditioned on show.
    """

    silent: bool = False
    raw: float | None = None
    unweighted: float | None = None
    auroc: float | None = None
    placebos: tuple[float, ...] = ()
    negative: float | None = None
    rows: int | None = None
    left_out: float = 0.0
    control: float | None = None
    bins: BinnedTrace | None = None
    readers: tuple[Gain, ...] = ()

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
    """All tests of one attribute at one site of one model.

    Attributes:
        n: Rows on which the attribute is known.
        rank: Dimensions of the site, ``constant`` units and ``dropped`` axes of little variance left out.
        dropped_p: p-value of "the dropped axes do not tell the attribute".
        reason: Why nothing could be tested.
        silent: Whether the site is constant: nothing can be read from it, which is a measured zero.
        tests: By name: ``linear``, ``nonlinear``, ``beyond``, ``beyond nonlinear``, ``quarters``, ``quarters nonlinear``.
    """

    n: int
    rank: int
    constant: int = 0
    dropped: int = 0
    dropped_p: float | None = None
    reason: str | None = None
    silent: bool = False
    tests: Mapping[str, LeakTest] = field(default_factory=dict)
    effort: Effort | None = None

    @property
    def linear(self) -> LeakTest | None:
        """The linear test."""
        return self.tests.get("linear")


def write_site(out: Measurement, attribute: str, site: str, record: SiteRecord) -> None:
    """Put a record among a model's measurements."""
    numbers = write_record(record, out.arrays, cell_key(attribute, site, ""))
    out.numbers.setdefault(SITES, {}).setdefault(attribute, {})[site] = numbers


def read_site(measured: Measurement, attribute: str, site: str) -> SiteRecord:
    """The record of an attribute at a site."""
    return read_record(SiteRecord, measured.numbers[SITES][attribute][site], measured.arrays, cell_key(attribute, site, ""))


def holds_site(measured: Measurement, attributes: Sequence[Attribute], site: str) -> bool:
    """Whether the records of these attributes at a site are there."""
    found = measured.numbers.get(SITES, {})
    return all(site in found.get(attribute.name, {}) for attribute in attributes)


def merge_sites(out: Measurement, found: Measurement) -> None:
    """Put the records of other sites of the same model among its measurements."""
    for attribute, sites in found.numbers[SITES].items():
        out.numbers.setdefault(SITES, {}).setdefault(attribute, {}).update(sites)
    out.arrays.update(found.arrays)


@dataclass(frozen=True)
class Erasure:
    """Leak of a planted attribute on fresh rows ``before`` and ``after`` it is erased."""

    before: float
    after: float


def write_eraser(out: Measurement, found: Mapping[str, Erasure | None]) -> None:
    """Put the check of the eraser at each site among a model's measurements."""
    out.numbers[ERASER] = {site: None if one is None else write_record(one) for site, one in found.items()}


def read_eraser(measured: Measurement, site: str) -> Erasure | None:
    """The check of the eraser at a site."""
    found = measured.numbers.get(ERASER, {}).get(site)
    return None if found is None else read_record(Erasure, found)
