"""What localisation tries in one model, and what that did."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from proxyaudit.causal.interchange import Effect
from proxyaudit.estimates.record import Shelf


@dataclass(frozen=True)
class Part:
    """A part, or several together, whose own value was interchanged."""

    name: str
    effect: Effect  # what the interchange did
    predicted: float | None = None  # what the gradient predicts of it, signed; ``None`` where nothing was predicted
    predicted_per_row: float | None = None  # the same per row
    by: str | None = None  # why it was tried: ``gradient``, ``difference`` or ``random``


@dataclass(frozen=True)
class PartSet:
    """The smallest set of parts that carries most of the effect, beside as many at random."""

    size: int
    names: tuple[str, ...]
    together: Part
    random: Part


@dataclass(frozen=True)
class Search:
    """What was tried inside a location."""

    tried: tuple[Part, ...]  # parts tried, by what they did on the screening rows
    random: tuple[Part, ...]
    parts: int
    moving: int  # number of those that take more than one value
    left: int  # number of those that move and were not tried
    left_largest: float  # what the gradient predicts at most of any of them, per row
    carriers: PartSet | None = None  # the smallest set of parts that carries most of the effect
    no_carriers: str | None = None  # why there is none


@dataclass(frozen=True)
class LocationRecord:
    """One location of a model, whole and searched, or why not."""

    kind: str
    skipped: str | None = None
    whole: Part | None = None
    search: Search | None = None
    search_skipped: str | None = None


@dataclass(frozen=True)
class LocalisationRecord:
    """What was localised of one attribute in one model, on ``rows`` recipients; or why nothing was."""

    rows: int = 0
    locations: Mapping[str, LocationRecord] = field(default_factory=dict)
    no_gradient: str | None = None
    reason: str | None = None


LOCALISATIONS = Shelf("localisation", LocalisationRecord)
