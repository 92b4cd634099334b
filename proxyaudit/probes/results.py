"""What probes find, as frozen records that need no engine to be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.stats.standard_curve import StandardCurve


def _empty() -> Floats:
    return np.zeros(0)


@dataclass(frozen=True)
class PlantedTest:
    """What the comparison of an attribute with plants says; as it stands, that nothing could be asked.

    Attributes:
        p_present: Largest over families of the share of plants at the margin that score as high.
        p_absent: Largest over families of the share that score as low.
        leak: Calibrated leak; ``low`` and ``high`` its 95 % interval.
        detection_limit: Smallest leak that 95 % of plants show beyond the null; ``None`` if not even the strongest do.
        null_high: 95th percentile of the null, as a leak.
        found_once: Share of plants at the margin (``found_twice``: at twice the margin) that exceed the null's 95th percentile.
        rows_needed: Rows with which an absent attribute would be called absent in 95 % of cases.
        influence_n: Influence of each row on the calibrated leak, scaled to its whole sampling variance.
        null: Statistics under permuted labels (or turned signs), shape ``(R,)``.
        curve: The standard curve; it is not recorded.
    """

    reason: str | None = None
    score: float = 0.0
    p_present: float = 1.0
    p_absent: float = 1.0
    families: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    leak: float = 0.0
    low: float = 0.0
    high: float = 0.0
    detection_limit: float | None = None
    null_high: float = 0.0
    found_once: float = 0.0
    found_twice: float = 0.0
    rows_needed: int | None = None
    influence_n: Floats = field(default_factory=_empty, metadata={"key": "influence"})
    null: Floats = field(default_factory=_empty)
    curve: StandardCurve | None = field(default=None, metadata={"key": None})


@dataclass(frozen=True)
class Gain:
    """What one reader finds beyond everything linear.

    Attributes:
        gain: Class-balanced V-information of the reader minus that of the best linear one, as a fraction of log2 K;
            difference in R squared for a continuous attribute.
        influence_n: Influence of each row on ``gain``; zero for rows not scored.
        auroc: Area under the ROC curve of the reader, offset included (mean of one against the rest); ``None`` if continuous.
        skipped: Why the reader did not run, so that all else is ``None``. A skipped reader says nothing about absence.
    """

    name: str
    gain: float | None = None
    influence_n: Floats | None = field(default=None, metadata={"key": "influence"})
    auroc: float | None = None
    skipped: str | None = None


@dataclass(frozen=True)
class BinnedTrace:
    """What bins of the most telling unit show beyond everything linear: tail probability, and share of variance beyond chance."""

    p: float
    share: float


@dataclass(frozen=True)
class Effort:
    """How easily a linear reader gets an attribute out; ``None``, or no shots, where it could not be measured.

    Attributes:
        shots: Labelled rows, and the leak and the AUROC that a reader of so many reaches.
        saved: Share of the labels' own code that the activations save; ``rows`` labels were coded.
        accuracy: Class-balanced accuracy on the attribute; ``control`` is that on random labels by group.
    """

    shots: tuple[tuple[int, float, float], ...] = ()
    saved: float | None = None
    rows: int | None = None
    accuracy: float | None = None
    control: float | None = None
