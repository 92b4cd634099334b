"""What probes find, as frozen records that need no engine to be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.stats.score_law import Reading

_SURELY_TOLD = 6.0  # standard scores; the largest of several hundred tests by chance lies near four
LEAST_EXCESS, _SURE = 0.08, 4.0  # agreement of neighbours that counts, and its size in standard errors
LEAST_OF_SEVERAL, _SURE_OF_SEVERAL = 0.06, 5.0
NEAR_ROWS = 6  # that are asked together, beside the nearest alone: of loose likeness any one of them may be a stranger's
_LEAST_OF_FEW = 0.5  # of few rows, where what a few categories tell is explained worst


@dataclass(frozen=True)
class PlantedTest:
    """What the inverted test of an attribute says; as it stands, that nothing could be asked.

    ``influence_n`` is each row's on the calibrated leak, scaled to its whole sampling variance; the reading is not recorded.
    """

    reason: str | None = None
    score: float = 0.0
    p_present: float = 1.0  # of "at most the margin": along the direction that makes a score as large most probable
    p_absent: float = 1.0  # of "at least the margin": along the direction that makes a score as small most probable
    families: Mapping[str, float] = field(default_factory=dict)  # p_absent along the simulated directions of each family, and an even one
    leak: float = 0.0  # calibrated along the attribute's own direction, with its 95 % interval
    low: float = 0.0
    high: float = 1.0
    bound: float = 1.0  # smallest leak that is certified absent at level .01: p_absent <= .01 exactly where it does not exceed the margin
    detection_limit: float | None = None  # smallest leak that 95 % of plants show beyond the null; None if not even the strongest do
    null_high: float = 0.0  # 95th percentile of the null, as a leak
    found_once: float = 0.0  # share of plants at the margin that exceed it, along the least favourable direction
    found_twice: float = 0.0  # the same at twice the margin
    rows_needed: int | None = None  # with which an absent attribute would be called absent in 95 % of cases
    influence_n: Floats = field(default_factory=lambda: np.zeros(0), metadata={"key": "influence"})
    null: Floats = field(default_factory=lambda: np.zeros(0))  # statistics under permuted labels (or turned signs), (R,)
    reading: Reading | None = field(default=None, metadata={"key": None})  # of other attributes' scores, along an even direction


@dataclass(frozen=True)
class Gain:
    """What one reader finds beyond everything linear.

    The gain is class-balanced V-information above that of the best linear reader, as a fraction of log2 K (R squared if continuous).
    """

    name: str
    gain: float | None = None
    influence_n: Floats | None = field(default=None, metadata={"key": "influence"})  # of each row on the gain; zero for rows not scored
    auroc: float | None = None  # offset included (mean of one against the rest); None if continuous
    skipped: str | None = None  # why the reader did not run, so that all else is None: that says nothing about absence


@dataclass(frozen=True)
class BinnedTrace:
    """What bins of the most telling unit show beyond everything linear: tail probability, and share of variance beyond chance."""

    p: float
    share: float


@dataclass(frozen=True)
class LevelTrace:
    """What questions about single values of a number show: standard scores found and by chance at most, and share of variance."""

    found: float
    chance: float
    share: float

    def tells(self, margin: float) -> bool:
        """Whether it is surely there, and more than half of what a leak of the margin would tell."""
        return self.found > max(_SURELY_TOLD, self.chance) and self.share > margin / 2


@dataclass(frozen=True)
class Effort:
    """How easily a linear reader gets an attribute out; ``None``, or no shots, where it could not be measured."""

    shots: tuple[tuple[int, float, float], ...] = ()  # labelled rows, and the leak and the AUROC that a reader of so many reaches
    saved: float | None = None  # share of the labels' own code that the activations save
    rows: int | None = None  # whose labels were coded
    accuracy: float | None = None  # class-balanced
    control: float | None = None  # the same on random labels by group


@dataclass(frozen=True)
class Agreement:
    """How much more a row agrees with its nearest neighbour in an attribute than with farther ones, as a share of the attribute's variance.

    Beside it the error of that, the share that a smooth reader explains which was fitted without a row's neighbours, and the same
    agreement with several near ones.
    """

    excess: float
    error: float
    smooth: float
    several: float = 0.0
    several_error: float = 1.0
    few: bool = False  # rows

    @property
    def counted(self) -> float:
        """How many rows count as one, by how alike the nearest are: the design effect that rows which belong together have (Kish 1965)."""
        return 1 + max(self.excess, NEAR_ROWS * self.several, 0.0)

    @property
    def together(self) -> bool:
        """Whether rows seem to belong together: the nearest surely tell more than all that varies smoothly."""
        least, of_several = (_LEAST_OF_FEW, _LEAST_OF_FEW) if self.few else (LEAST_EXCESS, LEAST_OF_SEVERAL)
        one = self.excess > max(least, self.smooth, _SURE * self.error)
        return one or self.several > max(of_several, self.smooth, _SURE_OF_SEVERAL * self.several_error)
