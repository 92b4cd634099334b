"""What is measured of proxies: in a table, and in one model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxyaudit.arrays import Floats
from proxyaudit.causal.proxy_use import Attribution, Number, Reach
from proxyaudit.data.text_features import overlap_words
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.not_tested import overlap_question
from proxyaudit.estimates.record import Shelf
from proxyaudit.types import NotTested


def label(unit: tuple[str, ...]) -> str:
    """A proxy's name, or both of a pair."""
    return " + ".join(unit)


@dataclass(frozen=True)
class Carried:
    """A share of an attribute, its variance, its place under the null, and on the audit rows the influence ``(n,)`` of each."""

    value: float
    variance: float
    p: float
    null_high: float
    influence_n: Floats | None = None


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
    """What a proxy or pair does to the followed output; ``reason`` says why a number is missing."""

    moved: Number  # mean absolute change of the output
    total: Number | None = None  # the part of the groups' difference that enters by it
    through: Number | None = None  # what of that runs through the attribute's subspace
    random: tuple[float, ...] = ()  # sizes of that for random subspaces of equal rank
    reach: Reach | None = None  # what of it reaches the groups; the channel of use reads these two. None of legitimate columns
    around: Reach | None = None  # what of that does not run through the attribute's subspace
    reason: str | None = None


@dataclass(frozen=True)
class Attributions:
    """What feeds the sensitive direction and the output, on ``rows`` rows; or why that is not known."""

    rows: int = 0
    names: tuple[str, ...] = ()
    direction: Attribution | None = None
    output: Attribution | None = None
    reason: str | None = None
    of: str = ""  # of trees, whose paths were attributed: what of the output they add up to


@dataclass(frozen=True)
class UseRecord:
    """What proxies do in one model, asked for one attribute at one site on ``rows`` rows."""

    site: str
    rows: int
    units: Mapping[str, UnitUse]
    attribution: Attributions | None = None
    together: UnitUse | None = None  # all columns that carry the attribute given another row's values at once


@dataclass(frozen=True)
class VerbatimOverlap:
    """Texts that hold a long run of words of a real training text: of ``made`` ones, and of the ``audit`` texts, which nobody copied."""

    copied: int
    made: int
    audit_copied: int
    audit: int


TABLES = Shelf("association", TableRecord)
USES = Shelf("proxy use", UseRecord)
OVERLAPS = Shelf("verbatim overlap", VerbatimOverlap)


def overlap_notes(runs: Sequence[Run]) -> list[NotTested]:
    """How much of real texts stands word for word in those of a synthetic regime: of its repetitions the one that repeats most."""
    notes = []
    for run in runs:
        found = [one for one in map(OVERLAPS.find, run.measured) if one is not None]
        if found:
            why = overlap_words(**vars(max(found, key=lambda one: one.copied)))
            notes.append(NotTested(what=overlap_question(run.regime), why=why))
    return notes
