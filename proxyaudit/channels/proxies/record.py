"""What is measured of proxies: in a table, and in one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.data.verbatim_overlap import overlap_words
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.record import Measurement, cell_key, read_record, write_record
from proxyaudit.stats.intervals import Measured
from proxyaudit.types import NotTested

ASSOCIATION, USE, OVERLAP = "association", "proxy use", "verbatim overlap"
What = Literal["influence", "total", "through"]


def label(unit: tuple[str, ...]) -> str:
    """A proxy's name, or both of a pair."""
    return " + ".join(unit)


@dataclass(frozen=True)
class Carried:
    """A share of an attribute, its variance, and its place under the null."""

    value: float
    variance: float
    p: float
    null_high: float


@dataclass(frozen=True)
class UnitCarried:
    """What a proxy or pair carries; of a pair also what it adds to the better of the two. Or why that is not known."""

    association: Carried | None = None
    gain: Carried | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TableRecord:
    """What each proxy and pair carries of one attribute in a table of ``n`` rows where it is known."""

    units: Mapping[str, UnitCarried] = field(default_factory=dict)
    n: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class UnitUse:
    """What a proxy or pair does to the followed output, with the influence of every row ``(n,)`` on each number.

    Attributes:
        influence: Mean absolute change of the output.
        total: The part of the groups' difference that enters by it.
        through: What of that runs through the attribute's subspace.
        random: Sizes of that for random subspaces of equal rank.
        reason: Why a number is missing.
    """

    influence: float
    influence_n: Floats
    total: float | None = None
    total_n: Floats | None = None
    through: float | None = None
    through_n: Floats | None = None
    random: tuple[float, ...] = ()
    reason: str | None = None

    def measured(self, what: What, clusters_n: Ints) -> Measured | None:
        """One of its numbers with its uncertainty over rows."""
        value, influence_n = getattr(self, what), getattr(self, f"{what}_n")
        return None if value is None else Measured(np.array([value]), influence_n, clusters_n)


@dataclass(frozen=True)
class Split:
    """How a difference between the groups is split over inputs, in the order of their names; see ``causal.attribution``."""

    columns: tuple[float, ...]
    difference: float
    incomplete: float


@dataclass(frozen=True)
class Attributions:
    """What feeds the sensitive direction and the output, on ``rows`` rows; or why that is not known."""

    rows: int = 0
    names: tuple[str, ...] = ()
    direction: Split | None = None
    output: Split | None = None
    reason: str | None = None


@dataclass(frozen=True)
class UseRecord:
    """What proxies do in one model, asked for one attribute at one site on ``rows`` rows."""

    site: str
    rows: int
    units: Mapping[str, UnitUse]
    attribution: Attributions | None = None


@dataclass(frozen=True)
class VerbatimOverlap:
    """Texts that hold a long run of words of a real training text: of ``made`` ones, and of the ``audit`` texts, which nobody copied."""

    copied: int
    made: int
    audit_copied: int
    audit: int


def write_use(out: Measurement, attribute: str, record: UseRecord) -> None:
    """Keep what was measured of one attribute."""
    units = {name: write_record(unit, out.arrays, cell_key(attribute, name, "")) for name, unit in record.units.items()}
    rest = write_record(UseRecord(record.site, record.rows, {}, record.attribution))
    out.numbers.setdefault(USE, {})[attribute] = {**rest, "units": units}


def read_use(measured: Measurement, attribute: str) -> UseRecord:
    """What :func:`write_use` kept; units by name."""
    found = measured.numbers[USE][attribute]
    units = {}
    for name, numbers in sorted(found["units"].items()):
        units[name] = read_record(UnitUse, numbers, measured.arrays, cell_key(attribute, name, ""))
    rest = read_record(UseRecord, {**found, "units": {}})
    return UseRecord(rest.site, rest.rows, units, rest.attribution)


def read_table(measured: Measurement, attribute: str) -> TableRecord | None:
    """What the columns of a table carry of an attribute; ``None`` where there is no table."""
    return read_record(TableRecord, measured.numbers[ASSOCIATION][attribute]) if ASSOCIATION in measured.numbers else None


def overlap_notes(runs: Sequence[Run]) -> list[NotTested]:
    """How much of real texts stands word for word in those of a synthetic regime: of its repetitions the one that repeats most."""
    notes = []
    for run in runs:
        found = [read_record(VerbatimOverlap, m.numbers[OVERLAP]) for m in run.measured if OVERLAP in m.numbers]
        if found:
            why = overlap_words(**vars(max(found, key=lambda one: one.copied)))
            notes.append(NotTested(what=f"{run.regime} apart from passages of real texts", why=why))
    return notes
