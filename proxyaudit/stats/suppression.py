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
