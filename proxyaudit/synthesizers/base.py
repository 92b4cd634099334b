"""What a synthesizer plugin is (scikit-learn's conventions, seeds that are asked for and obeyed), and what those of texts share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from proxyaudit.arrays import Bools, Ints
from proxyaudit.errors import TaskError
from proxyaudit.seeding import stream

_Maker = TypeVar("_Maker", bound=Callable[..., Any])
_UNKNOWN = 0.5  # where a plugin does not say


@runtime_checkable
class Synthesizer(Protocol):
    """Makes synthetic rows that look like the rows it was fitted on.

    An entry point of the group ``proxyaudit.synthesizers`` names a function that takes
    ``epochs: int | None`` and ``seed: int`` and returns such an object. Fitting and sampling are
    functions of the rows and the seeds alone, and leave no trace in global random states. What it takes is said with :func:`costs`.
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


TRIES = 4  # a text may come out empty; it is drawn again with other numbers


class TextSynthesizer(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """One model of texts behind scikit-learn's conventions."""

    called: ClassVar[str]  # what messages call it
    more: ClassVar[str]  # what would make fewer of its texts come out empty
    text: str | None

    def _learn_from(self, frame: pd.DataFrame) -> Bools:
        """Keep the texts and what stands beside them; returns which rows hold a text."""
        column = self.text if self.text is not None else _longest(frame)
        if column is None or column not in frame.columns:
            raise TaskError(f"{self.called} found no text column to learn from")
        held = np.array([isinstance(text, str) and bool(text.strip()) for text in frame[column]], dtype=bool)
        if not held.any():
            raise TaskError(f"{self.called} found no texts to learn from")
        known = frame.loc[held].reset_index(drop=True)
        self.column_, self.columns_ = column, list(frame.columns)
        self.controls_, self.texts_ = known.drop(columns=column), known[column].tolist()
        return held

    def _drawn(self, n: int, seed: int) -> tuple[Ints, pd.DataFrame]:
        """Places of ``n`` real rows, drawn with replacement, and their other columns."""
        drawn = stream(seed, "controls").choice(len(self.controls_), size=n)
        return drawn, self.controls_.iloc[drawn].reset_index(drop=True)

    def _table(self, rows: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
        """Rows with their new texts, of which at most a tenth may be empty."""
        if sum(not text for text in texts) > len(texts) / 10:
            raise TaskError(f"{self.called} writes mostly empty texts; {self.more}")
        rows[self.column_] = [text or None for text in texts]
        return rows.loc[:, self.columns_]


def _longest(frame: pd.DataFrame) -> str | None:
    """The column of the longest strings."""
    strings = {str(name): [len(value) for value in frame[name] if isinstance(value, str)] for name in frame.columns}
    means = {name: float(np.mean(found)) for name, found in strings.items() if found}
    return max(means, key=lambda name: means[name]) if means else None
