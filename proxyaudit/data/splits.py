"""Which real rows train and which audit: clusters that stay whole, and splits that row order cannot change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.arrays import Ints
from proxyaudit.data.columns import labels
from proxyaudit.data.equal_rows import redraw_rows
from proxyaudit.seeding import stream

# Fewer distinct values than this cannot tell people apart, so equal rows are no sign of copying.
MIN_TELLING_VALUES = 30
MAX_JOINED_SHARE = 0.1


def row_hashes(frame: pd.DataFrame, columns: list[str]) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each row's values in ``columns``; 1 and 1.0 hash alike, missing equals missing."""
    plain = pd.DataFrame(index=frame.index)
    for number, name in enumerate(columns):
        column = frame[name]
        numeric = column.dtype.kind in "iuf"
        plain[number] = column.astype("float64") + 0.0 if numeric else column.astype(object).where(column.notna(), "")
    return np.asarray(pd.util.hash_pandas_object(plain, index=False), dtype=np.uint64)


@dataclass(frozen=True)
class Clusters:
    """Rows that belong together.

    Attributes:
        ids: ``(n,)`` dense cluster number of each row, numbered by content and not by place in the file.
        copies: whether equal rows were taken for copies of one person and so joined.
        repeated: whether the table has equal rows at all.
    """

    ids: Ints
    copies: bool
    repeated: bool

    def of(self, rows: Ints) -> Ints:
        """Return dense cluster numbers of some of the rows."""
        return np.unique(self.ids[rows], return_inverse=True)[1].astype(np.int64)


def find_clusters(frame: pd.DataFrame, columns: list[str], group: pd.Series[Any] | None, *, texts: bool = False) -> Clusters:
    """Find rows that belong together: one ``group`` value, or copies of one another.

    Equal rows are copies where rows can tell people apart: at least half of the rows are distinct, or
    some column has half as many distinct values as there are distinct rows; or where there are less than half as many
    distinct rows as there would be if columns hung together in pairs only. In a table of a few coarse
    columns equal rows are simply people alike, and joining them would leave a handful of clusters. Nor are rows
    joined where that would chain more than a tenth of the table into one cluster. A text that a tenth of the rows share is a phrase
    that everybody uses: its rows stay apart, and all other equal texts are joined.

    Args:
        frame: The real rows.
        columns: The columns that rows are compared on.
        group: ``(n,)`` group of each row; rows with a missing group belong to nobody else.
        texts: Whether rows are texts.
    """
    hashes = row_hashes(frame, columns)
    distinct = len(np.unique(hashes))
    widest = max(frame[name].nunique() for name in columns)
    copies = distinct >= len(frame) / 2 or (widest >= MIN_TELLING_VALUES and widest >= distinct / 2)
    if not copies:
        # Rows repeat far more often than values that meet by chance would: they were copied.
        rng = stream(0, "equal rows by chance")
        order = np.argsort(hashes, kind="stable")  # so that the order of the file has no say
        by_chance = redraw_rows(frame.iloc[order], columns, distinct, rng)
        copies = distinct < len(np.unique(row_hashes(by_chance, columns))) / 2
    order_keys, by_group = hashes, []
    if group is not None:
        text = labels(group)
        codes = pd.factorize(text)[0]
        alone = codes < 0
        by_group.append(np.where(alone, codes.max(initial=-1) + 1 + np.cumsum(alone), codes))
        order_keys = row_hashes(frame.assign(**{str(group.name): text}), [*columns, str(group.name)])
    ids = _join(by_group, len(frame))
    if copies:
        joined = _join([*by_group, _common_apart(hashes) if texts else hashes], len(frame))
        # Rows that are coarse because most of their values are missing coincide by chance and can chain the whole table together.
        if _largest(joined) > max(_largest(ids), len(frame) * MAX_JOINED_SHARE):
            copies = False
        else:
            ids = joined
    return Clusters(_number_by_content(ids, order_keys), bool(copies), distinct < len(frame))


def _common_apart(hashes_n: NDArray[np.uint64]) -> Ints:
    """Numbers of equal rows, each of those that more than a tenth of all rows equal a number of its own."""
    ids: Ints = np.unique(hashes_n, return_inverse=True)[1].astype(np.int64)
    sizes = np.bincount(ids)
    common = sizes[ids] > len(ids) * MAX_JOINED_SHARE
    return np.where(common, len(sizes) + np.arange(len(ids)), ids)


def _largest(ids: Ints) -> int:
    return int(np.bincount(ids).max())


def _join(parts: list[NDArray[Any]], n: int) -> Ints:
    """Connected components of rows that share a number in any of ``parts``."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not parts:
        return np.arange(n, dtype=np.int64)
    if len(parts) == 1:
        return np.unique(parts[0], return_inverse=True)[1].astype(np.int64)
    rows, nodes, size = [], [], n
    for part in parts:
        dense = np.unique(part, return_inverse=True)[1]
        rows.append(np.arange(n))
        nodes.append(size + dense)
        size += int(dense.max()) + 1
    row, node = np.concatenate(rows), np.concatenate(nodes)
    _, component = connected_components(coo_matrix((np.ones(len(row), dtype=np.int8), (row, node)), shape=(size, size)), directed=False)
    return np.unique(component[:n], return_inverse=True)[1].astype(np.int64)


def _number_by_content(ids: Ints, keys: NDArray[np.uint64]) -> Ints:
    """Renumber clusters in the order of their smallest row hash, so that the file's row order has no say."""
    smallest = np.full(int(ids.max()) + 1, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(smallest, ids, keys)
    sizes = np.bincount(ids)
    order = np.lexsort((sizes, smallest))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return rank[ids]


def _shuffled(ids: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    present, dense, sizes = np.unique(ids, return_inverse=True, return_counts=True)
    order = rng.permutation(len(present))
    return dense.astype(np.int64), order.astype(np.int64), sizes[order].astype(np.int64)


def take_rows(ids: Ints, limit: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose whole clusters at random, at most ``limit`` rows in all; returns an ``(n,)`` mask."""
    dense, order, sizes = _shuffled(ids, rng)
    return np.isin(dense, order[np.cumsum(sizes) <= limit])


def split_share(ids: Ints, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose whole clusters at random that hold about ``share`` of the rows; returns an ``(n,)`` mask."""
    dense, order, sizes = _shuffled(ids, rng)
    middle = np.cumsum(sizes) - sizes / 2
    return np.isin(dense, order[middle < share * len(ids)])


def split_thirds(ids: Ints, rng: np.random.Generator) -> Ints:
    """Deal whole clusters to parts 0, 1 and 2 of about equal size, large clusters first; returns ``(n,)`` parts."""
    dense, order, sizes = _shuffled(ids, rng)
    part_of = np.empty(len(order), dtype=np.int64)
    filled = [0, 0, 0]
    for position in np.argsort(-sizes, kind="stable"):
        smallest = filled.index(min(filled))
        part_of[order[position]] = smallest
        filled[smallest] += int(sizes[position])
    return part_of[dense]
