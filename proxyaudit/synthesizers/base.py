"""What a synthesizer plugin is (scikit-learn's conventions, seeds that are asked for and obeyed)."""

from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import pandas as pd

_Maker = TypeVar("_Maker", bound=Callable[..., Any])
_UNKNOWN = 0.5  # where a plugin does not say


@runtime_checkable
class Synthesizer(Protocol):
    """Makes synthetic rows that look like the rows it was fitted on.

    An entry point of the group ``proxyaudit.synthesizers`` names a function of ``epochs: int | None`` and ``seed: int`` that gives it. Fits
    and draws are functions of rows and seeds alone and leave no trace in global random states. What it takes is said with :func:`costs`.
    """

    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn from real rows: int64 or float64 numbers and text categories, missing values as NaN."""

    def sample(self, n: int, seed: int) -> pd.DataFrame:
        """Return ``n`` new rows with the columns that ``fit`` saw; another seed gives other rows."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings as given."""


def costs(seconds: float, *, epochs: int | None = None) -> Callable[[_Maker], _Maker]:
    """Say what an entry point's synthesizer takes on one core for 1,000 rows: in all, or where it has ``epochs`` by default, for each."""

    def mark(make: _Maker) -> _Maker:
        make.cost = (seconds, epochs)  # type: ignore[attr-defined]
        return make

    return mark


def seconds_of(make: Callable[..., Any], epochs: int | None) -> float:
    """Seconds on one core for 1,000 rows, with so many epochs or the synthesizer's own number."""
    seconds, usual = getattr(make, "cost", (_UNKNOWN, 10))
    return float(seconds if usual is None else seconds * (epochs or usual))
