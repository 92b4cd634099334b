"""What relearning measures of one attribute in one model."""

from dataclasses import dataclass, field

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.estimates.record import Shelf

ROWS = 256  # the deciding number of labelled rows
PERCENTILE = 0.95  # of the placebos, which what comes back must exceed


@dataclass(frozen=True)
class CurvePoint:
    """What a way of fine-tuning reaches with ``m`` rows: the leak of each draw."""

    mode: str
    m: int
    leaks: tuple[float, ...]


@dataclass(frozen=True)
class PlantLevel:
    """Labels planted on the block's input at one leak: what fine-tuning brought of each, and what a plain probe of the input read."""

    leak: float
    brought: tuple[float, ...]
    read: tuple[float, ...]


@dataclass(frozen=True)
class Relearned:
    """One attribute in one model."""

    reason: str | None = None  # why nothing was measured
    applies: bool = True  # false where the model has no weights before its head at all
    draws: tuple[float, ...] = ()  # leak that each draw of the deciding number of rows brings
    influence_n: Floats | None = field(default=None, repr=False)  # influence of each audit row on their mean
    n: int = 0  # rows that it was measured on
    row_floor: float = 0.0  # variance for each unit of leak that these rows give at least
    block: str = ""  # what was trained again, in words
    curve: tuple[CurvePoint, ...] = ()  # other numbers of rows and ways of fine-tuning
    part: str = "last block"  # the same in two words
    placebos: tuple[float, ...] = ()  # what comes back of each placebo attribute
    plants: tuple[PlantLevel, ...] = ()  # what comes back of what is known to be there, by rising leak

    @property
    def value(self) -> float:
        """Mean leak over the draws."""
        return float(np.mean(self.draws))


RELEARNED = Shelf("relearned", Relearned)
