"""What a synthesizer plugin is: scikit-learn's conventions, and seeds that are asked for and obeyed."""

from __future__ import annotations

from typing import Any, Protocol, Self, runtime_checkable

import pandas as pd

__all__ = ["Synthesizer"]


@runtime_checkable
class Synthesizer(Protocol):
    """Makes synthetic rows that look like the rows it was fitted on.

    An entry point of the group ``proxyaudit.synthesizers`` names a function that takes
    ``epochs: int | None`` and ``seed: int`` and returns such an object. Fitting and sampling are
    functions of the rows and the seeds alone, and leave no trace in global random states.
    """

    def fit(self, frame: pd.DataFrame) -> Self:
        """Learn from real rows: int64 or float64 numbers and text categories, missing values as NaN."""
        ...

    def sample(self, n: int, seed: int) -> pd.DataFrame:
        """Return ``n`` new rows with the columns that ``fit`` saw; another seed gives other rows."""
        ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings as given."""
        ...
