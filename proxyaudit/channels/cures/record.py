"""What is measured at one site of a model that was trained on altered rows."""

from dataclasses import dataclass, field

from proxyaudit.arrays import Floats
from proxyaudit.estimates.record import Shelf


@dataclass(frozen=True)
class CuredSite:
    """Calibrated leak and prominence of the attribute with their row influences; ``None`` where they could not be measured."""

    leak: float | None = None
    prominence: float | None = None
    leak_n: Floats | None = field(default=None, repr=False)
    prominence_n: Floats | None = field(default=None, repr=False)


CURED_SITES = Shelf("cured", CuredSite)
