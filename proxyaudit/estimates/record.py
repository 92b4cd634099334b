"""What one task measured of one model: numbers that JSON can hold, and arrays over rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

OUTPUT_SITE = "outputs"
INPUT_SITE = "inputs"


@dataclass(frozen=True)
class Measurement:
    """Numbers (JSON-able) and row influences of one (regime, seed)."""

    numbers: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)


def cell_key(attribute: str, site: str, what: str) -> str:
    """Key of an array within a measurement."""
    return f"{attribute}\x1f{site}\x1f{what}"
