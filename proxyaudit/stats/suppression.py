"""Which cells of a finer grouping may not be told beside the totals that are (secondary suppression, Cox 1980).

Who is chosen of a group is the sum over its cells. If one cell is too small to be told, a single other number more or less would tell it
all the same: the total of its group less the other cells. So further cells are left out, until no sum of fewer than the smallest number of
people follows from what is told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from proxyaudit.arrays import Bools, Floats, Ints

_MOST_ATOMS = 12  # of which every sum is looked at; of more, nothing is told
_ZERO, _SAME = 1e-9, 1e-6


@dataclass(frozen=True)
class _Table:
    """Atoms, the smallest sets of rows that totals add up from: a cell, or what of it is in none, in one group of every total."""

    atom_n: Ints  # of each row
    cell_a: Ints  # of each atom, -1 where it is in none
    lines_la: Floats  # for each total that is told, the atoms in it
    chosen: Sequence[Bools]
    people_n: Ints
    smallest: int

    def is_few(self, atoms: Sequence[int]) -> bool:
        """Whether the number of people chosen of these atoms, or of those who are not, is too small to be told in some model."""
        inside = np.isin(self.atom_n, atoms)
        counts = (len(np.unique(self.people_n[inside & part])) for one in self.chosen for part in (one, ~one))
        return min(counts) < self.smallest


def few_cells(cells_n: Ints, chosen: Sequence[Bools], people_n: Ints, smallest: int) -> frozenset[int]:
    """Cells of which fewer people than may be told are chosen, or are not, in some model."""
    table = _table(cells_n, (), chosen, people_n, smallest)
    return frozenset(int(cell) for atom, cell in enumerate(table.cell_a) if cell >= 0 and table.is_few([atom]))


def hidden_cells(
    cells_n: Ints, totals: Sequence[Ints], chosen: Sequence[Bools], people_n: Ints, smallest: int
) -> tuple[frozenset[int], bool]:
    """Cells that may not be told, and whether rows in no cell are too few to be told.

    Args:
        cells_n: cell of each row, -1 for none.
        totals: groupings of the same rows whose every group is told, -1 for rows of none that is.
        chosen: who is chosen by each model, ``(n,)``.
        people_n: person behind each row.
        smallest: number of people that may be told.
    """
    table = _table(cells_n, totals, chosen, people_n, smallest)
    told = set(np.unique(table.cell_a[table.cell_a >= 0]).tolist())
    covered = table.lines_la.any(axis=0)
    open_: list[int] = [int(a) for a in np.arange(len(table.cell_a))[(table.cell_a < 0) & covered]]
    outside = any(table.is_few([atom]) for atom in open_)
    few = {cell for cell in told if table.is_few(np.flatnonzero(table.cell_a == cell).tolist())}
    hidden = set(few)
    while hidden or outside:
        atoms = sorted([*open_, *(int(a) for a in np.flatnonzero(np.isin(table.cell_a, list(hidden))))])
        if len(atoms) > _MOST_ATOMS:
            return frozenset(told), outside
        unsafe = next(_unsafe(table, atoms), None)
        if unsafe is None:
            break
        more = _next_cell(table, atoms, unsafe, cells_n)
        if more is None:
            return frozenset(told), outside
        hidden.add(more)
    return frozenset(hidden), outside


def _table(cells_n: Ints, totals: Sequence[Ints], chosen: Sequence[Bools], people_n: Ints, smallest: int) -> _Table:
    keys, atom_n = np.unique(np.column_stack([cells_n, *totals]), axis=0, return_inverse=True)
    lines = [keys[:, place] == code for place in range(1, keys.shape[1]) for code in np.unique(keys[:, place]) if code >= 0]
    lines_la = np.array(lines, dtype=np.float64).reshape(len(lines), len(keys))
    return _Table(atom_n.ravel().astype(np.int64), keys[:, 0], lines_la, chosen, people_n, smallest)


def _next_cell(table: _Table, atoms: Sequence[int], unsafe: Sequence[int], cells_n: Ints) -> int | None:
    """A told cell to leave out too: that which leaves the fewest totals with one untold atom, of these the one with the fewest rows."""
    untold = np.zeros(len(table.cell_a), dtype=bool)
    untold[list(atoms)] = True
    alone = table.lines_la[(table.lines_la @ untold) == 1]
    touched = alone if len(alone) else table.lines_la[table.lines_la[:, list(unsafe)].any(axis=1)]
    near = {int(a): float(count) for a, count in enumerate(touched.sum(axis=0)) if count and not untold[a] and table.cell_a[a] >= 0}
    if not near:
        return None
    return int(table.cell_a[min(near, key=lambda a: (-near[a], int((cells_n == table.cell_a[a]).sum()), a))])


def _unsafe(table: _Table, atoms: Sequence[int]) -> Iterator[list[int]]:
    """Sets of untold atoms whose sum is too small and follows from the totals less what is told, the smallest sets first."""
    span = np.zeros((0, len(atoms)))
    if len(table.lines_la):
        _, values, basis = np.linalg.svd(table.lines_la[:, atoms], full_matrices=False)
        span = basis[values > _ZERO]
    for size in range(1, len(atoms) + 1):
        for places in combinations(range(len(atoms)), size):
            one = np.zeros(len(atoms))
            one[list(places)] = 1.0
            if bool((np.abs(span.T @ (span @ one) - one) < _SAME).all()) and table.is_few([atoms[place] for place in places]):
                yield [atoms[place] for place in places]


_MOST_STEPS = 1_000  # of a search for differences; where it takes more, what could be one is not told


def hidden_beside(codes_n: Ints, told_n: Ints, chosen: Sequence[Bools], people_n: Ints, smallest: int) -> frozenset[int]:
    """Groups that may not be told beside those of another grouping that are: people under 40 and people of 30 to 65, say.

    Neither need be made of the other. Where sums of groups of both differ by fewer people than may be told, the groups of ``codes_n`` in
    that difference are left out. Both are -1 for rows of no group that is told.
    """
    hidden: set[int] = set()
    while found := _in_difference(np.where(np.isin(codes_n, list(hidden)), -1, codes_n), told_n, chosen, people_n, smallest):
        hidden |= found
    return frozenset(hidden)


def _in_difference(codes_n: Ints, told_n: Ints, chosen: Sequence[Bools], people_n: Ints, smallest: int) -> set[int]:
    """Groups of ``codes_n`` in some difference of sums that is too small; empty where there is none."""
    pairs, atom_n = np.unique(np.column_stack([codes_n, told_n]), axis=0, return_inverse=True)
    table = _Table(atom_n.ravel().astype(np.int64), pairs[:, 0], np.zeros((0, len(pairs))), chosen, people_n, smallest)
    places = [atom for atom, (own, other) in enumerate(pairs) if own >= 0 or other >= 0]
    for part in (part for one in chosen for part in (one, ~one)):
        counts = [len(np.unique(people_n[(table.atom_n == atom) & part])) for atom in range(len(pairs))]
        small = {atom for atom in places if counts[atom] < smallest}
        if small:
            search = _Differences([(atom, int(pairs[atom, 0]), int(pairs[atom, 1])) for atom in places], small, table)
            if found := search.found():
                return found
    return set()


class _Differences:
    """Whole numbers of times that each group is added, so that every atom is counted once or not at all, and none but small ones is."""

    def __init__(self, atoms: Sequence[tuple[int, int, int]], small: set[int], table: _Table) -> None:
        self.small, self.table, self.steps = small, table, 0
        self.near: dict[tuple[str, int], list[tuple[int, tuple[str, int] | None]]] = {}
        for atom, own, other in atoms:
            ends = [end for end in (("own", own), ("other", other)) if end[1] >= 0]
            for end in ends:
                self.near.setdefault(end, []).append((atom, next((one for one in ends if one != end), None)))

    def found(self) -> set[int]:
        """The groups of one's own in a sum that is too small."""
        left = set(self.near)
        while left:
            start = min(left, key=lambda end: (all(beside is not None for _, beside in self.near[end]), end))
            order = self._reached(start)
            left -= set(order)
            if not any(atom in self.small for end in order for atom, _ in self.near[end]):
                continue
            if (taken := self._tried(order, {}, 0)) is not None:
                return taken
        return set()

    def _reached(self, start: tuple[str, int]) -> list[tuple[str, int]]:
        order = [start]
        for end in order:
            order += [beside for _, beside in self.near[end] if beside is not None and beside not in order]
        return order

    def _tried(self, order: Sequence[tuple[str, int]], times: dict[tuple[str, int], int], place: int) -> set[int] | None:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            return {code for side, code in order if side == "own"}
        if place == len(order):
            atoms = [
                atom
                for end in order
                for atom, beside in self.near[end]
                if times[end] + times.get(beside or end, 0) * (beside is not None) == 1
            ]
            few = bool(atoms) and self.table.is_few(sorted(set(atoms)))
            return {code for side, code in order if side == "own" and times[side, code]} if few else None
        for value in self._values(order[place], times):
            if (taken := self._tried(order, {**times, order[place]: value}, place + 1)) is not None:
                return taken
        return None

    def _values(self, end: tuple[str, int], times: dict[tuple[str, int], int]) -> list[int]:
        """How often a group can be added, beside those whose number is settled."""
        allowed: set[int] | None = None
        for atom, beside in self.near[end]:
            if beside is None or beside in times:
                base = 0 if beside is None else -times[beside]
                fits = {base, base + 1} if atom in self.small else {base}
                allowed = fits if allowed is None else allowed & fits
        return sorted({0} if allowed is None else allowed, key=abs)
