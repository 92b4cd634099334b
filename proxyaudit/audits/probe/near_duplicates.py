"""Rows that repeat one another: whether they are copies of one person or a profile that several people share.

Copies are joined into one cluster. But if different people share a profile (an embedded zip code), whoever knows it can look the
attribute up, which no reader would see. Where copies agree in an attribute more than chance, absence is therefore not claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from proxyaudit.arrays import Ints
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.columns import labels
from proxyaudit.data.public_counts import count_words
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested

_NEAR = 0.01  # squared distance, as a share of that of two rows at random, below which rows count as copies
_TELLING_RANK = 8  # with fewer dimensions unrelated rows come that close as well
_LARGEST_CLUSTER = 0.1
_ROWS_AT_ONCE = 512
_FEWEST_PAIRS = 20
LOOKED_UP = (
    "rows that repeat one another agree in it, so absence is not claimed: if they are one person's, name the column that tells people "
    "apart as the group; if they are several people's, it can be looked up"
)
_SURELY = 0.01
_PERMUTATIONS = 499


def join_copies(acts: Sequence[NDArray[np.floating[Any]]], group: pd.Series[Any] | None, notes: list[NotTested]) -> tuple[Ints, Ints]:
    """Clusters ``(n,)`` of rows by ``group``, and with copies at a regime's first site ``(n, d)`` joined; ``notes`` takes what was done."""
    n = len(acts[0])
    pairs: list[tuple[Ints, Ints]] = []
    if group is not None:
        codes = pd.factorize(labels(group))[0]
        known = np.flatnonzero(codes >= 0)
        first = pd.Series(known).groupby(codes[known]).transform("first").to_numpy()
        pairs.append((known, first))
    apart = _components(pairs, n)
    near = [_near_copies(values) for values in acts]
    if any(len(one) for one, _ in near):
        joined = _components([*pairs, *near], n)
        largest = int(np.bincount(joined).max())
        if largest <= max(int(np.bincount(apart).max()), _LARGEST_CLUSTER * n):
            if len(np.unique(joined)) < len(np.unique(apart)):
                copies = len(np.unique(apart)) - len(np.unique(joined))
                why = f"{count_words(copies)} rows repeat others nearly exactly; copies were taken as belonging together"
                notes.append(NotTested(what="copies as separate people", why=why))
            return apart, joined
        why = "so many rows are alike that joining them would chain the table together; they count as separate people"
        notes.append(NotTested(what="copies of one person's row", why=why))
    return apart, apart


def _components(pairs: Sequence[tuple[Ints, Ints]], n: int) -> Ints:
    one = np.concatenate([np.arange(n), *(a for a, _ in pairs)])
    other = np.concatenate([np.arange(n), *(b for _, b in pairs)])
    graph = coo_matrix((np.ones(len(one), dtype=np.int8), (one, other)), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _near_copies(acts_nd: NDArray[np.floating[Any]]) -> tuple[Ints, Ints]:
    """Pairs of rows that lie much closer than chance would bring them, in whitened coordinates."""
    z = torch.as_tensor(whiten(acts_nd).z_nr.astype(np.float32))
    n, rank = z.shape
    if rank == 0 or rank >= n - 1:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    near = _NEAR if rank >= _TELLING_RANK else 1e-8
    length = (z**2).sum(1)
    found: list[NDArray[np.int64]] = []
    for start in range(0, n, _ROWS_AT_ONCE):
        block = z[start : start + _ROWS_AT_ONCE]
        distance = length[start : start + _ROWS_AT_ONCE, None] + length - 2 * block @ z.T
        # Rows of ordinary length only differ by a copy's noise; long ones are compared with their own length.
        scale = torch.minimum(length[start : start + _ROWS_AT_ONCE, None], length).clamp_min(0.1 * rank)
        pair = torch.nonzero(distance < 2 * near * scale)
        pair[:, 0] += start
        found.append(pair[pair[:, 0] < pair[:, 1]].numpy().astype(np.int64))
    pairs = np.concatenate(found)
    return pairs[:, 0], pairs[:, 1]


def looked_up(attribute: Attribute, apart_n: Ints, joined_n: Ints) -> bool:
    """Whether people whose rows repeat one another agree in the attribute (a number: in its quarters) more than chance."""
    people = np.unique(apart_n, return_index=True)[1]  # one row of each person
    codes = np.asarray(attribute.codes)[people].astype(np.float64)
    if attribute.kind == "continuous":
        codes = np.where(np.isfinite(codes), np.searchsorted(np.nanquantile(codes, (0.25, 0.5, 0.75)), codes), -1)
    known = codes >= 0
    profiles, values = np.unique(joined_n[people][known], return_inverse=True)[1], codes[known].astype(np.int64)
    shared = np.bincount(profiles)[profiles] > 1
    profiles, values = np.unique(profiles[shared], return_inverse=True)[1], values[shared]
    if len(values) < 2 * _FEWEST_PAIRS:
        return False
    sizes = np.bincount(profiles)
    weights = 1.0 / (sizes - 1)  # a profile counts by its people, not by its pairs

    def agreement(order: Ints) -> float:
        table = np.zeros((len(sizes), int(values.max()) + 1))
        np.add.at(table, (profiles, order), 1.0)
        return float((weights * ((table**2).sum(axis=1) - sizes)).sum())

    rng = stream(0, "copies")
    found = agreement(values)
    chance = np.array([agreement(rng.permutation(values)) for _ in range(_PERMUTATIONS)])
    return bool((1 + (chance >= found).sum()) / (_PERMUTATIONS + 1) <= _SURELY)
