"""Which real rows train and which audit: clusters that stay whole, and splits that row order cannot change."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from proxyaudit.arrays import Ints
from proxyaudit.data.columns import labels
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
    """Rows that belong together."""

    ids: Ints  # dense cluster number of each row, numbered by content and not by place in the file
    copies: bool  # whether equal rows were taken for copies of one person and so joined
    repeated: bool  # whether the table has equal rows at all

    def of(self, rows: Ints) -> Ints:
        """Return dense cluster numbers of some of the rows."""
        return np.unique(self.ids[rows], return_inverse=True)[1].astype(np.int64)


def find_clusters(frame: pd.DataFrame, columns: list[str], group: pd.Series[Any] | None, *, texts: bool = False) -> Clusters:
    """Find rows that belong together: one ``group`` value, or copies of one another.

    Equal rows are copies where rows can tell people apart: at least half of the rows are distinct, or
    some column has half as many distinct values as there are distinct rows; or where there are less than half as many
    distinct rows as there would be if columns hung together in pairs only. In a table of a few coarse
    columns equal rows are simply people alike, and joining them would leave a handful of clusters. Nor are rows
    joined where that would chain more than a tenth of the table into one cluster. Of ``texts``, one that a tenth of the rows share is a
    phrase that everybody uses: its rows stay apart, and all other equal texts are joined. Rows with a missing group belong to nobody else.
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


def redraw_rows(frame: pd.DataFrame, columns: list[str], distinct: int, rng: np.random.Generator) -> pd.DataFrame:
    """Redraw rows from a tree of pairwise dependences, each column's values kept as they are.

    Columns that hang together (a precinct and its neighborhoods) make rows coincide by themselves, so they may not be shuffled apart.
    The tree is that of largest mutual information (Chow & Liu 1968). Pairs that nearly tell rows apart are no part of it: their
    dependence may be the copying itself. Rows come in an order that does not depend on the file's; ``distinct`` of them are distinct.
    """
    codes = {name: pd.factorize(labels(frame[name]).fillna(""))[0].astype(np.int64) for name in columns}
    n, p = len(frame), len(columns)
    rows, heads, weights = [], [], []
    for left, right in combinations(range(p), 2):
        shared = _shared_information(codes[columns[left]], codes[columns[right]], most_pairs=distinct / 2)
        if shared > 0:
            rows.append(left)
            heads.append(right)
            weights.append(-shared)
    tree = minimum_spanning_tree(coo_matrix((weights, (rows, heads)), shape=(p, p)))
    tree = tree + tree.T
    # Row of the original that each redrawn cell is taken from.
    taken: dict[int, Ints] = {}
    for root in range(p):
        if root in taken:
            continue
        order, parents = breadth_first_order(tree, root, directed=False)
        for column in order:
            if column == root:
                taken[column] = rng.permutation(n)
                continue
            parent = codes[columns[parents[column]]]
            drawn = parent[taken[parents[column]]]
            source = np.lexsort((rng.random(n), parent))
            place = np.lexsort((rng.random(n), drawn))
            taken[column] = np.empty(n, dtype=np.int64)
            taken[column][place] = source
    return pd.DataFrame({name: frame[name].to_numpy()[taken[number]] for number, name in enumerate(columns)})


def _shared_information(left: Ints, right: Ints, most_pairs: float) -> float:
    """Mutual information of two coded columns in nats (Miller & Madow's correction); 0 where their pairs are too many to be estimated."""
    n, k_right = len(left), int(right.max()) + 1
    counts = np.unique(left * k_right + right, return_counts=True)[1]
    if len(counts) > max(most_pairs, left.max() + 1, k_right):  # one that is nested in the other hangs together by its meaning
        return 0.0
    left_counts, right_counts = np.bincount(left), np.bincount(right)
    surplus = len(counts) - len(left_counts) - len(right_counts) + 1
    return _entropy(left_counts, n) + _entropy(right_counts, n) - _entropy(counts, n) - surplus / (2 * n)


def _entropy(counts: Ints, n: int) -> float:
    share = counts[counts > 0] / n
    return float(-(share * np.log(share)).sum())
