"""Circuits: the smallest set of parts that carries most of an effect, found greedily (Wang et al. 2023, arXiv 2211.00593).

A set carries what is left of the effect when every part outside it is held at what the recipient's own text gives, while those inside
compute freely. Parts are ranked by attribution patching (Syed et al. 2023, arXiv 2310.10348), the shortest prefix that carries enough is
found by bisection, and then each of its members is left out in turn, the weakest first (after Conmy et al. 2023, arXiv 2304.14997).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.causal.interchange import Effect
from proxyaudit.causal.localisation import smallest_set

MOST_PRUNED = 32  # members of a prefix that are left out in turn
GROUP_SIZES = (4, 12, 48)  # of the groups of an MLP's units, by rank; the last group takes the rest


@dataclass(frozen=True)
class Switched:
    """What switching a part off does to the difference between the groups within labels, with each row's influence."""

    value: float
    influence_n: Floats


def smallest_circuit(signed_of: Callable[[Sequence[int]], float], whole: Effect, order: Sequence[int], share: float) -> list[int] | str:
    """The smallest circuit that a greedy search finds, or why there is none.

    Args:
        signed_of: Signed effect that a set of parts carries, on the rows of ``whole``.
        whole: What all parts carry.
        order: Parts, the most promising first.
        share: Of the signed effect that the circuit must carry.
    """
    sign = 1.0 if whole.signed >= 0 else -1.0
    size = smallest_set(lambda count: signed_of(order[:count]), whole, len(order), share)
    if isinstance(size, str):
        return size.replace("the whole place", "the whole model")
    kept = list(order[:size])
    for part in reversed(order[:size][-MOST_PRUNED:]):
        rest = [one for one in kept if one != part]
        if sign * signed_of(rest) >= share * abs(whole.signed):
            kept = rest
    return kept


def ranked_groups(scores: Floats) -> list[list[int]]:
    """Units by falling score, in groups of rising size; of equals the lower number first."""
    order = sorted(range(len(scores)), key=lambda unit: (-float(f"{scores[unit]:.6g}"), unit))
    groups, start = [], 0
    for size in (*GROUP_SIZES, len(order)):
        if start < len(order):
            groups.append(sorted(order[start : start + size]))
            start += size
    return groups


def switched_off(clean_n: Floats, off_n: Floats, groups_n: Ints, labels_n: Ints, rows_n: Bools, fewest: int) -> Switched | None:
    """By how much the difference between the groups within labels falls when a part is switched off; ``None`` with too few rows.

    Args:
        clean_n: The followed output of each row.
        off_n: The same with the part switched off.
        groups_n: 0 or 1 for the groups compared, -1 for other rows.
        labels_n: True label of each row.
        rows_n: Rows that are used.
        fewest: Rows of each group that a label needs.
    """
    change, value, influence, total = clean_n - off_n, 0.0, np.zeros(len(clean_n)), 0
    strata = []
    for label in np.unique(labels_n[rows_n]):
        inside = [rows_n & (labels_n == label) & (groups_n == group) for group in (0, 1)]
        if min(int(rows.sum()) for rows in inside) >= fewest:
            strata.append(inside)
            total += sum(int(rows.sum()) for rows in inside)
    for inside in strata:
        weight = sum(int(rows.sum()) for rows in inside) / total
        for rows, sign in zip(inside, (-1.0, 1.0), strict=True):
            mean = float(change[rows].mean())
            value += weight * sign * mean
            influence[rows] += weight * sign * (change[rows] - mean) / int(rows.sum())
    return Switched(value, influence) if strata else None
