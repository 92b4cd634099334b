"""What is fixed about proxies before anything is measured, and whose rows are whose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.arrays import Ints
from proxyaudit.causal.columns import ColumnCells
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.text_features import Habit


@dataclass(frozen=True)
class Discovered:
    """A column that became a probe target of its own."""

    name: str
    of: str
    association: float


@dataclass(frozen=True)
class ProxyPlan:
    """What is fixed about proxies before anything is measured.

    Attributes:
        columns: Inputs that are followed, the strongest carriers first.
        pairs: For each protected attribute the pairs that tell more than the better of the two, which comes first.
        cells: The cells of each column.
        discovered: Columns that became probe targets.
        habits: Of texts, the words and habits of style that stand where a table has columns, by name.
    """

    columns: tuple[str, ...]
    pairs: dict[str, tuple[tuple[str, str], ...]]
    cells: dict[str, ColumnCells]
    discovered: tuple[Discovered, ...]
    habits: Mapping[str, Habit] = field(default_factory=dict)

    def units(self, attribute: str) -> list[tuple[str, ...]]:
        """Columns, then pairs, that are asked about one attribute."""
        return [*((name,) for name in self.columns), *self.pairs.get(attribute, ())]

    def describe(self) -> dict[str, Any]:
        """What stands in the plan."""
        found = [{"name": d.name, "of": d.of, "association": float(f"{d.association:.3g}")} for d in self.discovered]
        described = {
            "columns": list(self.columns),
            "pairs": {name: [list(pair) for pair in pairs] for name, pairs in self.pairs.items()},
            "discovered": found,
        }
        return described | ({"of": "texts"} if self.habits else {})


def label(unit: tuple[str, ...]) -> str:
    """A column's name, or both of a pair."""
    return " + ".join(unit)


def people(dataset: Dataset, frame: pd.DataFrame) -> Ints:
    """Rows that are one person's (``data.group``), else each its own; shape ``(n,)``.

    Equal rows are not one person here. In a table of a few coarse columns nearly every row has its like, and folds that keep equal rows
    together ask of each cell what was left out of it: the strongest proxy then tells less than nothing. The reader of a column
    has only the column's cells to remember, no rows.
    """
    if dataset.group is None or dataset.group not in frame:
        return np.arange(len(frame))
    return np.asarray(pd.factorize(frame[dataset.group], use_na_sentinel=False)[0], dtype=np.int64)
