"""Donors of interchange interventions, and the null of an effect: the same swaps with groups permuted within the label."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from proxyaudit.arrays import Floats, Ints

DONORS = 8
FINE_DONORS = 24  # where absence is asked: the product of two halves has the donors' own scatter in it
_NULL_FLOATS = 2**22  # of permuted groups held at once
TOO_FEW = "no label has enough rows of both groups"
FEWEST_DONORS = 8  # of each group and half within a label; below it the label is left out


@dataclass(frozen=True)
class Donors:
    """Donors of each recipient: ``index[k, half, slot]`` with the first slots of the other group, the last of its own."""

    recipients: Ints
    index: Ints
    sign: Floats


def draw_donors(groups_n: Ints, labels_n: Ints, rows_n: NDArray[np.bool_], donors: int, rng: np.random.Generator) -> Donors | None:
    """Donors for every row of ``rows_n`` whose label has enough of both groups, from two disjoint halves."""
    recipients: list[Ints] = []
    indices: list[Ints] = []
    for label in np.unique(labels_n[rows_n]):
        pools = [rng.permutation(np.flatnonzero(rows_n & (labels_n == label) & (groups_n == g))) for g in (0, 1)]
        if min(len(pool) for pool in pools) < 2 * FEWEST_DONORS:
            continue
        halves = [[pool[: len(pool) // 2], pool[len(pool) // 2 :]] for pool in pools]
        for group in (0, 1):
            rows = np.sort(pools[group])
            drawn = np.empty((len(rows), 2, 2 * donors), dtype=np.int64)
            for half in (0, 1):
                drawn[:, half, :donors] = rng.choice(halves[1 - group][half], (len(rows), donors))
                drawn[:, half, donors:] = rng.choice(halves[group][half], (len(rows), donors))
            recipients.append(rows)
            indices.append(drawn)
    if not recipients:
        return None
    rows = np.concatenate(recipients)
    return Donors(rows, np.concatenate(indices), np.where(groups_n[rows] == 0, 1.0, -1.0))


def null_sizes(
    swapped: list[Floats], plans: list[Donors], groups_n: Ints, labels_n: Ints, permutations: int, rng: np.random.Generator
) -> Floats:
    """Sizes of the effect with groups permuted within the label: two sparse products give the sums of both groups for all permutations."""
    sizes = np.zeros(permutations)
    involved = [np.unique(plan.recipients) for plan in plans]
    strata = [rows[labels_n[rows] == label] for rows in involved for label in np.unique(labels_n[rows])]
    wheres = [
        [_incidence(plan.index[:, half], outputs[:, half], len(groups_n)) for half in (0, 1)]
        for outputs, plan in zip(swapped, plans, strict=True)
    ]
    block = max(1, min(permutations, _NULL_FLOATS // max(len(groups_n), 1)))
    for start in range(0, permutations, block):
        width = min(block, permutations - start)
        permuted = np.repeat((groups_n == 1).astype(np.float64)[:, None], width, axis=1)
        for column in range(width):
            for rows in strata:
                permuted[rows, column] = rng.permutation(permuted[rows, column])
        signed, product, count = np.zeros(width), np.zeros(width), np.zeros(width)
        for outputs, halves in zip(swapped, wheres, strict=True):
            taus, usable = [], np.ones((len(outputs), width), dtype=bool)
            for half, (given, drawn) in enumerate(halves):
                ones, first = drawn @ permuted, given @ permuted
                rest = outputs.shape[2] - ones
                usable &= (ones > 0) & (rest > 0)
                taus.append(first / np.maximum(ones, 1) - (outputs[:, half].sum(axis=1)[:, None] - first) / np.maximum(rest, 1))
            signed += ((taus[0] + taus[1]) * usable).sum(axis=0) / 2
            product += (taus[0] * taus[1] * usable).sum(axis=0)
            count += usable.sum(axis=0)
        known = np.maximum(count, 1)
        sizes[start : start + width] = np.maximum(np.abs(signed / known), np.sqrt(np.maximum(0.0, product / known)))
    return sizes


def _incidence(index_ks: Ints, outputs_ks: Floats, n: int) -> tuple[csr_array, csr_array]:
    """Sparse ``(k, n)`` arrays that sum the outputs and the numbers of a row's donors."""
    ends = np.arange(0, index_ks.size + 1, index_ks.shape[1])
    given, drawn = (
        csr_array((data.ravel(), index_ks.ravel(), ends), shape=(len(index_ks), n)) for data in (outputs_ks, np.ones_like(outputs_ks))
    )
    return given, drawn
