"""Rows of activations that repeat one another, found without comparing all with all.

Rows that repeat one another are joined into one cluster as copies of one person. But if different people share a profile (an embedded zip
code), whoever knows it can look the attribute up, which no reader would see. Where copies agree in it more than chance, absence is
therefore not claimed.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations.stored import Stored
from proxyaudit.arrays import Ints, Singles
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.columns import Column
from proxyaudit.data.public_counts import count_words
from proxyaudit.data.splits import alike, connected, group_numbers
from proxyaudit.probes.row_blocks import LargeRows, WhitenedRows, in_blocks
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested

_NEAR = 0.01  # squared distance, as a share of that of two rows at random, below which rows count as copies
_TELLING_RANK = 8  # with fewer dimensions unrelated rows come that close as well
_SHORT = 0.1  # of the usual squared length, below which rows are compared with that length instead of their own
_LARGEST_CLUSTER = 0.1
_FEWEST_PAIRS = 20
LOOKED_UP = (
    "rows that repeat one another agree in it, so absence is not claimed: if they are one person's, name the column that tells people "
    "apart as the group; if they are several people's, it can be looked up"
)
_SURELY = 0.01
_PERMUTATIONS = 499

# Rows are sorted into buckets along a few random directions, again and again along others (Datar et al. 2004). A pair at the very limit of
# being copies shares a bucket with probability .92 for each direction, so that about one pair in ten thousand of these is missed; a pair
# half as far apart never is.
_WIDTH = 10.0  # of a bucket, in distances of rows at the limit
_TOGETHER = 0.4  # of unrelated rows at most, the share that falls into one bucket of a direction of width sqrt(2)
_SORTINGS = 24
_NEIGHBOURS = 64  # rows of one bucket that each is compared with, in the order of the first direction
_PAIRS_AT_ONCE = 2**14


def join_copies(acts: Sequence[Any], group: Column | None, notes: list[NotTested]) -> tuple[Ints, Ints]:
    """Clusters ``(n,)`` of rows by ``group``, and with copies at a first site (of ``acts``, each ``(n, d)``) joined; ``notes`` says so."""
    n, pairs = len(acts[0]), [] if group is None else [alike(group_numbers(group))]
    apart, joined = connected(n, pairs), connected(n, [*pairs, *(near_copies(values) for values in acts)])
    copies = int(apart.max()) - int(joined.max())
    if int(np.bincount(joined).max()) > max(int(np.bincount(apart).max()), _LARGEST_CLUSTER * n):
        why = "so many rows are alike that joining them would chain the table together; they count as separate people"
        notes.append(NotTested(what="copies of one person's row", why=why))
        return apart, apart
    if copies:
        why = f"{count_words(copies)} rows repeat others nearly exactly; copies were taken as belonging together"
        notes.append(NotTested(what="copies as separate people", why=why))
    return apart, joined


def near_copies(values_nd: Any) -> tuple[Ints, Ints]:
    """Pairs of rows that lie much closer than chance would bring them, in whitened coordinates; of many copies enough to connect them."""
    acts_nd = np.asarray(values_nd)
    rows = (LargeRows if isinstance(values_nd, Stored) else WhitenedRows)(acts_nd)
    if rows.rank == 0 or rows.rank >= rows.n - 1:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    z, same = rows.singles(), alike(_row_numbers(acts_nd))
    first = np.unique(same[1])  # of equal rows one is enough
    near = _NEAR if rows.rank >= _TELLING_RANK else 1e-8
    # Rows of ordinary length only differ by a copy's noise; long ones are compared with their own length.
    scale = np.maximum(np.concatenate([np.einsum("nr,nr->n", block, block) for _, block in in_blocks(z)]), _SHORT * rows.rank)
    found = [same]
    known = connected(len(z), found)
    for buckets, order in _sortings(z, scale, first, near):
        for left, right in _neighbours(buckets, order, known):
            distance = np.einsum("mr,mr->m", (apart := z[left] - z[right]), apart)
            close = distance < 2 * near * np.minimum(scale[left], scale[right])
            found.append((left[close], right[close]))
        known = connected(len(z), found)
    one, other = (np.concatenate(side) for side in zip(*found, strict=True))
    return one[one != other], other[one != other]


def _row_numbers(acts_nd: NDArray[np.floating[Any]]) -> Ints:
    """A number for each row, the same for rows that are equal."""
    numbers: dict[bytes, int] = {}
    digests = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in acts_nd)
    return np.array([numbers.setdefault(digest, len(numbers)) for digest in digests], dtype=np.int64)


def _sortings(z_nr: Singles, scale_n: Singles, first: Ints, near: float) -> Iterator[tuple[NDArray[np.uint64], Ints]]:
    """Buckets of the rows ``first`` along random directions, and the rows, ordered by bucket and within it by a direction; many times."""
    rng, rank, limit = stream(0, "near copies"), z_nr.shape[1], float(np.sqrt(2 * near))
    width = _WIDTH * limit
    directions = max(1, int(np.ceil(np.log(len(first)) / -np.log(min(_TOGETHER * width / np.sqrt(2), _TOGETHER)))))
    # On the sphere of their length (in the ball, if they are short) copies are at most as far apart as a share of it.
    radius = np.sqrt(scale_n / rank)
    for _ in range(_SORTINGS):
        turned = rng.normal(size=(rank, directions))
        turned /= np.linalg.norm(turned, axis=0)
        shifts, odd = rng.random(directions + 1), rng.integers(2**63, size=directions + 1, dtype=np.uint64) * 2 + 1
        place = np.empty((len(first), directions + 1))
        for part, rows in in_blocks(first):
            place[part, 1:] = (z_nr[rows] @ turned.astype(np.float32)) / radius[rows, None]
        place[:, 0] = np.log(radius[first])
        codes = np.floor(place / width + shifts).astype(np.int64).view(np.uint64)
        buckets = (codes * odd).sum(axis=1, dtype=np.uint64)
        order = np.lexsort((place[:, 1], buckets))
        yield buckets[order], first[order]


def _neighbours(buckets_m: NDArray[np.uint64], order_m: Ints, known_n: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of rows of one bucket that are near one another in its order and not connected already, some at a time."""
    for step in range(1, min(_NEIGHBOURS, len(order_m) - 1) + 1):
        together = np.flatnonzero(buckets_m[step:] == buckets_m[:-step])
        if not len(together):
            return
        left, right = order_m[together], order_m[together + step]
        new = known_n[left] != known_n[right]
        for start in range(0, int(new.sum()), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            yield left[new][part], right[new][part]


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
