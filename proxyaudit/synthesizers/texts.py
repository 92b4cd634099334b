"""What synthesizers of texts share."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from proxyaudit.arrays import Bools, Ints
from proxyaudit.errors import TaskError
from proxyaudit.seeding import stream

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
