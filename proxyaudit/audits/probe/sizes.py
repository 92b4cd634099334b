"""What a probe takes before it starts: rows that fit, memory and minutes, from shapes alone.

Measuring a site needs its rows several times over in double precision, and the products of its dimensions. Constants were measured
(``python -m tests.studies activations``) and hold for one process; seconds are those of one core.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxyaudit.activations.layouts import Layout

MEMORY: Final = 3.0  # gigabytes that one measurement may take where nothing is said
GIGA: Final = 1e9
_BASE: Final = 0.55e9  # the program and its libraries
_PER_NUMBER: Final = 64.0  # bytes for each number of a site: it is held in single precision and, whitened, in double several times
_PER_PRODUCT: Final = 40.0  # bytes for each pair of dimensions
_FEWEST: Final = 1000  # rows that are kept whatever the memory: fewer decide nothing
_PASS: Final = 2.5e-10  # seconds for each row and pair of dimensions, of finding axes and coordinates
_AXES: Final = 2.5e-10  # seconds for each triple of dimensions
_ASKED: Final = 3.0e-7  # seconds for each number of a site and attribute
_CELL: Final = 3.0  # seconds of each attribute at each site, however few rows there are
_READ: Final = 3e-9  # seconds for each byte on disk, with its digest


@dataclass(frozen=True)
class Size:
    """How large an audit of stored activations is."""

    stored_rows: int
    rows: int  # that are kept, by memory
    sites: int  # of all regimes
    dimensions: int  # of the widest site
    bytes: int  # on disk
    memory: float  # gigabytes of one process that measures, at most
    budget: float  # gigabytes that it may take
    minutes: float  # on one core
    workers: int  # processes whose measurements fit into the budget at a time

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return dict(vars(self))


def size_of(layouts: Mapping[str, Layout], rows: int, attributes: int, budget: float | None) -> Size:
    """The size of an audit of so many attributes over so many ``rows`` of labels."""
    sites = [(len(site), site.shape[-1], site.bytes) for layout in layouts.values() for site in layout.sites.values()]
    return size_of_shapes([d for _, d, _ in sites], rows, attributes, sum(b for _, _, b in sites), budget, len(layouts))


def size_of_shapes(dimensions: Sequence[int], rows: int, attributes: int, stored: int, budget: float | None, regimes: int = 1) -> Size:
    """The same from the dimensions of every site and the bytes on disk."""
    allowed, widest = MEMORY if budget is None else budget, max(dimensions, default=1)
    per_number = max(_PER_NUMBER, 16.0 + 12.0 * regimes)  # regimes are compared with one another at one site
    # More dimensions than rows give products of rows.
    fits = int((allowed * GIGA - _BASE - _PER_PRODUCT * widest**2) / (per_number * widest))
    kept = min(rows, max(fits, _FEWEST))
    memory = (_BASE + per_number * kept * widest + _PER_PRODUCT * widest**2) / GIGA
    whitenings = sum(_whitening(kept, d) * (3 if place < regimes else 1) for place, d in enumerate(dimensions))
    asked = sum((_CELL + _ASKED * kept * d) * attributes for d in dimensions)
    seconds = whitenings + asked + _READ * stored
    workers = max(1, int((allowed * GIGA - _BASE) / (memory * GIGA)))
    return Size(rows, kept, len(dimensions), widest, stored, round(memory, 2), allowed, round(seconds / 60, 1), workers)


def _whitening(rows: int, dimensions: int) -> float:
    return _PASS * rows * dimensions**2 + _AXES * dimensions**3
