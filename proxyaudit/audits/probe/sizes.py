"""What a probe takes before it starts: rows that fit, memory and minutes, from shapes alone.

Measuring a site needs its rows several times over in double precision, and the products of its dimensions. Constants were measured
(``python -m tests.studies activations``) and hold for one process; seconds are those of one core.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from proxyaudit.activations.layouts import Layout

MEMORY: Final = 3.0  # gigabytes that an audit may take where nothing is said
GIGA: Final = 1e9
_BASE: Final = 0.55e9  # the program and its libraries
_ALL_TESTS: Final = 130.0  # bytes for each number of a site that is asked everything: rows are held in several coordinates
_WIDE: Final = 95.0  # the same of a site of many dimensions, where neighbours of rows are not looked for
_MANY: Final = 2048
_LINEAR: Final = 8.0  # bytes for each number of a site that is asked linearly alone: coordinates and units in single precision
_PLANTS: Final = 24e3  # bytes for each row, of labels that are planted and permuted
_PRODUCTS: Final = 40.0  # bytes for each pair of dimensions
_FEWEST: Final = 1000  # rows that are kept whatever the memory: fewer decide nothing
_PASS: Final = 1.4e-10  # seconds for each row and pair of dimensions, of finding axes and coordinates
_AXES: Final = 1.6e-10  # seconds for each triple of dimensions
_PLANTED: Final = 1.2e-7  # seconds for each number of a site and attribute, of the linear test
_ASKED: Final = 3.5e-6  # the same of all tests
_CELL: Final = 3.0  # seconds of each attribute at each site, however few rows there are
_READ: Final = 3e-9  # seconds for each byte on disk, with its digest


@dataclass(frozen=True)
class Size:
    """How large an audit of stored activations is."""

    stored_rows: int
    rows: int  # that are kept, by memory
    fewer: int | None  # rows that all but the linear tests are asked on; None where these are all that are kept
    sites: int  # of all regimes
    dimensions: int  # of the widest site
    bytes: int  # on disk
    memory: float  # gigabytes of one process that measures, at most
    budget: float  # gigabytes that the audit may take
    minutes: float  # on one core
    workers: int  # processes whose measurements fit into the budget at a time

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return dict(vars(self))


def size_of(layouts: Mapping[str, Layout], rows: int, attributes: int, budget: float | None) -> Size:
    """The size of an audit of so many attributes over so many ``rows`` of labels."""
    sites = [(site.shape[-1], site.bytes) for layout in layouts.values() for site in layout.sites.values()]
    return size_of_shapes([d for d, _ in sites], rows, attributes, sum(b for _, b in sites), budget, len(layouts))


def size_of_shapes(dimensions: Sequence[int], rows: int, attributes: int, stored: int, budget: float | None, regimes: int = 1) -> Size:
    """The same from the dimensions of every site and the bytes on disk."""
    allowed, widest = MEMORY if budget is None else budget, max(dimensions, default=1)
    room = allowed * GIGA - _BASE
    everything = max(_WIDE if widest >= _MANY else _ALL_TESTS, 16.0 + 12.0 * regimes)  # regimes are compared with one another at one site
    products = _PRODUCTS * widest**2
    asked = max(int((room - products) / (everything * widest)), _FEWEST)
    kept, fewer = rows, None
    memory = everything * rows * widest + products
    if asked < rows:
        per_row = max(_LINEAR, 8.0 + 4.0 * regimes if regimes > 1 else 0.0) * widest + _PLANTS
        kept = min(rows, max(int(min(room / per_row, (room - products) / (4.0 * widest))), asked))
        fewer = asked if asked < kept else None
        memory = max(per_row * kept, 4.0 * widest * kept + products, everything * asked * widest + products)
    whitenings = sum(_whitening(kept, d) * (3 if place < regimes else 1) for place, d in enumerate(dimensions))
    tests = sum((_CELL + _PLANTED * kept * d + _ASKED * min(kept, asked) * d) * attributes for d in dimensions)
    seconds = whitenings + tests + _READ * stored
    workers = max(1, int(room / (memory + _BASE)))
    gigabytes = round((_BASE + memory) / GIGA, 2)
    return Size(rows, kept, fewer, len(dimensions), widest, stored, gigabytes, allowed, round(seconds / 60, 1), workers)


def _whitening(rows: int, dimensions: int) -> float:
    return _PASS * rows * dimensions**2 + _AXES * dimensions**3
