"""How many distinct rows a table would have if equal rows were people alike: rows redrawn with the same pairwise dependences."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from proxyaudit.arrays import Ints
from proxyaudit.data.columns import labels


def redraw_rows(frame: pd.DataFrame, columns: list[str], distinct: int, rng: np.random.Generator) -> pd.DataFrame:
    """Redraw rows from a tree of pairwise dependences, each column's values kept as they are.

    Columns that hang together (a precinct and its neighborhoods) make rows coincide by themselves, so they may not be shuffled apart.
    The tree is that of largest mutual information (Chow & Liu 1968). Pairs that nearly tell rows apart are no part of it: their
    dependence may be the copying itself.

    Args:
        frame: ``(n, >= p)`` the rows, in an order that does not depend on the file's.
        columns: The ``p`` columns to redraw.
        distinct: Number of distinct rows of the table.
        rng: Randomness.

    Returns:
        A ``(n, p)`` frame.
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
