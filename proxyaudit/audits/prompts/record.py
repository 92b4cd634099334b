"""What swaps of names do inside one language model."""

from __future__ import annotations

from dataclasses import dataclass, field

from proxyaudit.estimates.record import Measurement, read_record, write_record
from proxyaudit.stats.intervals import Measured

_SWAPS = "swaps"


@dataclass(frozen=True)
class SwapResult:
    """Effect of the group direction at one layer, oriented from group ``low`` to ``high``; its rows are names."""

    low: int
    high: int
    layer: int
    measured: Measured
    first_order: float
    random_high: float  # 95th percentile of the absolute effects of random directions
    prompts: int  # number of swapped prompts


@dataclass(frozen=True)
class SwapRecord:
    """Every pair of groups at every layer, and the templates that cannot be followed by one token."""

    results: tuple[SwapResult, ...] = ()
    left_out: tuple[str, ...] = field(default=(), metadata={"key": "left out"})


def write_swaps(out: Measurement, record: SwapRecord) -> None:
    """Keep what swaps do."""
    out.numbers[_SWAPS] = write_record(record, out.arrays, _SWAPS)


def read_swaps(measured: Measurement) -> SwapRecord:
    """What :func:`write_swaps` kept."""
    return read_record(SwapRecord, measured.numbers.get(_SWAPS, {}), measured.arrays, _SWAPS)
