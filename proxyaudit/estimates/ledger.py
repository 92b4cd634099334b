"""The ledger: estimates and controls with their ids, rounded and safe to publish."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.data.public_counts import SMALLEST_CELL as SMALLEST_CELL
from proxyaudit.data.public_counts import public_count
from proxyaudit.estimates.draft import LEVEL, Draft
from proxyaudit.estimates.record import Measurement
from proxyaudit.stats.intervals import distinct_seeds
from proxyaudit.types import Control, Estimate

UNIT_CLASSES = "fraction of log2 K, class-balanced"
UNIT_VALUES = "R squared"
UNIT_GAP = "difference in mean predicted probability"
UNIT_PROMPTS = "difference between groups in probability"
_SHARES = (UNIT_CLASSES, UNIT_VALUES, UNIT_GAP, UNIT_PROMPTS)


def significant(value: float | None, digits: int = 6) -> float | None:
    """Round to significant digits: what is below the noise of summation order has no place in evidence."""
    if value is None or not np.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


@dataclass(frozen=True)
class Run:
    """Measurements of one regime, one per seed that succeeded."""

    regime: str
    measured: tuple[Measurement, ...]
    failures: tuple[str, ...] = ()

    @property
    def outputs(self) -> list[Floats]:
        """Outputs of each seed's model, each ``(n, C)``."""
        return [m.arrays["outputs"] for m in self.measured]


@dataclass
class Ledger:
    """Collects estimates and controls and gives them ids in a fixed order."""

    estimates: list[Estimate] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    cells: dict[str, Draft] = field(default_factory=dict)

    def add(self, cell: Draft, *, value: float | None = None) -> str:
        """Publish a cell; returns its id."""
        identifier = f"E{len(self.estimates) + 1}"
        measured, interval = cell.measured, cell.interval
        # No share can exceed one: with few seeds a t interval would.
        low, high = (
            (max(interval.low, -1.0), min(interval.high, 1.0))
            if interval and cell.unit in _SHARES
            else ((interval.low, interval.high) if interval else (None, None))
        )
        self.estimates.append(
            Estimate(
                id=identifier,
                channel=cell.channel,
                attribute=cell.attribute or None,
                regime=cell.regime,
                site=cell.site,
                group=cell.group,
                context=cell.context,
                state=cell.state,
                p_present=significant(cell.present_p) if cell.decides else None,
                p_absent=significant(cell.absent_p) if cell.decides and cell.can_be_absent else None,
                beyond_null=bool(cell.null_rejected) if cell.decides and cell.state is not None and cell.present_p is not None else None,
                value=significant(_shown(cell, measured.value if measured is not None else value)),
                low=significant(low),
                high=significant(high),
                raw=significant(cell.raw),
                level=LEVEL,
                unit=cell.unit,
                auroc=significant(cell.auroc),
                n=(public_count(cell.n) or None) if cell.n is not None else None,
                seeds=len(distinct_seeds(measured.seed_values)) if measured is not None else None,
                seed_values=tuple(float(significant(float(v)) or 0.0) for v in measured.seed_values) if measured is not None else (),
                margin=cell.margin if cell.decides else None,
                detection_limit=significant(cell.detection_limit),
                null_high=significant(cell.null_high),
                method=cell.method,
                reason=cell.reason,
            )
        )
        self.cells[identifier] = cell
        return identifier

    def control(
        self, kind: str, channel: str, attribute: str | None, regime: str, site: str | None, passed: bool | None, detail: str
    ) -> str:
        """Record a control; returns its id."""
        identifier = f"C{len(self.controls) + 1}"
        self.controls.append(
            Control(id=identifier, kind=kind, channel=channel, attribute=attribute, regime=regime, site=site, passed=passed, detail=detail)
        )
        return identifier

    def find(self, channel: str, attribute: str | None, regime: str, **where: str | None) -> Estimate | None:
        """First estimate with these coordinates."""
        for estimate in self.estimates:
            if (estimate.channel, estimate.attribute, estimate.regime) == (channel, attribute, regime) and all(
                getattr(estimate, key) == wanted for key, wanted in where.items()
            ):
                return estimate
        return None

    def draft_of(self, estimate: Estimate) -> Draft:
        """The cell behind an estimate."""
        return self.cells[estimate.id]


def _shown(cell: Draft, value: float | None) -> float | None:
    """A calibrated leak below zero is shown as zero, the nearest leak that there is."""
    return max(value, 0.0) if value is not None and cell.calibrated else value
