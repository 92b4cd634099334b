"""What may stand in for an attribute and is followed through a run, fixed before anything is measured; and whose rows are whose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.arrays import Ints
from proxyaudit.causal.columns import ColumnCells
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.text import lines_of
from proxyaudit.data.text_features import TextFeature, feature_table


@dataclass(frozen=True)
class Discovered:
    """A column that became a probe target of its own."""

    name: str
    of: str
    association: float


@dataclass(frozen=True)
class Proxy:
    """What may stand in for an attribute: a column of a table, or a feature of texts."""

    cells: ColumnCells  # what a reader of its values may tell apart; they bear its name
    feature: TextFeature | None = None  # of texts, what is counted in them and can be left out

    @property
    def name(self) -> str:
        """Its name in plans and evidence."""
        return self.cells.name


@dataclass(frozen=True)
class ProxyPlan:
    """What is fixed about proxies before anything is measured; of ``pairs``, which tell more than the better of both, that comes first."""

    proxies: tuple[Proxy, ...]  # those that are followed, the strongest carriers first
    pairs: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    discovered: tuple[Discovered, ...] = ()  # columns that became probe targets
    text: str | None = None  # the column of texts that they are features of; ``None`` where they are columns themselves

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the proxies."""
        return tuple(proxy.name for proxy in self.proxies)

    @cached_property
    def by_name(self) -> dict[str, Proxy]:
        """The proxies by name."""
        return {proxy.name: proxy for proxy in self.proxies}

    def units(self, attribute: str) -> list[tuple[str, ...]]:
        """Single proxies, then pairs, that are asked about one attribute."""
        return [*((name,) for name in self.columns), *self.pairs.get(attribute, ())]

    def with_values(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The same rows with a column of values for each proxy."""
        if self.text is None:
            return frame
        features = [proxy.feature for proxy in self.proxies if proxy.feature is not None]
        return pd.concat([frame.reset_index(drop=True), feature_table(features, lines_of(frame[self.text]))], axis=1)

    def codes(self, name: str, frame: pd.DataFrame, *, coarse: bool = False) -> Ints:
        """Cell of each row of :meth:`with_values`, shape ``(n,)``."""
        return self.by_name[name].cells.codes(frame[name], coarse=coarse)

    def describe(self) -> dict[str, Any]:
        """What stands in the plan."""
        found = [{"name": d.name, "of": d.of, "association": round(d.association, 3)} for d in self.discovered]
        pairs = {name: [list(pair) for pair in pairs] for name, pairs in self.pairs.items()}
        described = {"columns": list(self.columns), "pairs": pairs, "discovered": found}
        return described if self.text is None else {**described, "of": "texts"}


def people(dataset: Dataset, frame: pd.DataFrame, otherwise: str | None = None) -> Ints:
    """Rows that are one person's (``data.group``), else those alike in the column ``otherwise``, else each its own; shape ``(n,)``.

    Equal rows are not one person here: folds that keep them together would ask of each cell of a coarse table what was left out of it.
    """
    column = dataset.group if dataset.group is not None and dataset.group in frame else otherwise
    if column is None:
        return np.arange(len(frame))
    return np.asarray(pd.factorize(frame[column], use_na_sentinel=False)[0], dtype=np.int64)
