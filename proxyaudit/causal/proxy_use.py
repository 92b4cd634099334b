"""What the outputs owe to single input columns, and how much of it runs through the attribute's subspace.

A column's value is replaced by that of another row drawn at random (Datta et al. 2016; Datta et al. 2017, arXiv 1707.08120). The mean
change with donors of group 1 minus that with donors of group 0 is the part of the groups' difference that enters by this column; what is
gone of it when the row keeps its own LEACE coordinates runs through the sensitive direction. A swapped row need not be one that occurs:
the numbers are about the model, not about people. A feature of a text is left out instead: every row is then its own donor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.causal.interchange import Replay
from proxyaudit.erasers.leace import LeaceEraser

Forward = Callable[[Singles], tuple[Floats, NDArray[np.floating]]]
"""Outputs ``(m, C)`` and activations ``(m, d)`` at the site, of encoded rows ``(m, p)``."""

DONORS = 4
MOST_SWAPPED_ROWS, FEWEST_SWAPPED_ROWS = 4000, 200
_FORWARD_ROWS, _ATTENTION_ROWS = 600_000, 30_000  # rows run through the model for all columns of one model
FEWEST_DONORS = 30  # rows of each group that give their value; below it nothing is said of the groups
SAME_OUTPUT = 1e-3  # the site's activations alone must give the outputs again to this


def swapped_rows(units: int, *, slow: bool = False) -> int:
    """Rows that each of so many columns and pairs is swapped on, with so many donors each."""
    affordable = (_ATTENTION_ROWS if slow else _FORWARD_ROWS) // (DONORS * max(units, 1))
    return max(FEWEST_SWAPPED_ROWS, min(MOST_SWAPPED_ROWS, affordable))


@dataclass(frozen=True)
class Swaps:
    """Who gives to whom: ``donors_ms[i, s]`` to ``rows_m[i]``, once in each slot; in a removal each row is its own donor."""

    rows_m: Ints
    donors_ms: Ints


@dataclass(frozen=True)
class Swapped:
    """What swapping some columns does to one model."""

    change_msc: Floats  # change of each output, shape ``(m, S, C)``
    moved_msd: Singles  # change of the site's activations, shape ``(m, S, d)``


@dataclass(frozen=True)
class Number:
    """A mean over swaps with the influence of every row of the table on it, shape ``(n,)``."""

    value: float
    influence_n: Floats

    def times(self, factor: float) -> Self:
        """A multiple of it."""
        return type(self)(factor * self.value, factor * self.influence_n)


@dataclass(frozen=True)
class Reach:
    """What of a column's exchange reaches the groups: association times influence, whichever way rows are moved."""

    signed: Number  # change with donors of group 1 minus change with donors of group 0
    product: Number | None = None  # mean over rows of the product of two such changes by disjoint donors; ``None`` of removals


@dataclass(frozen=True)
class Path:
    """The effect of a column between the groups on one output, split at the attribute's subspace."""

    total: Reach
    through: Number  # the part of ``total.signed`` that is gone when the subspace is held fixed
    around: Reach  # what is left then
    random: tuple[float, ...]  # sizes of ``through`` for random subspaces of equal rank


@dataclass(frozen=True)
class Attribution:
    """How a scalar's difference between two groups is split over columns or tokens, see ``causal.attribution``."""

    columns: Floats  # part of each column, in the order given; shape ``(columns,)``
    difference: float  # the difference itself, in standard deviations of the scalar
    incomplete: float  # error of completeness of that difference, in standard deviations


def draw_swaps(n: int, most: int, rng: np.random.Generator, slots: int = DONORS) -> Swaps:
    """Draw recipients, at most ``most`` of ``n`` rows, and their donors among them; ``ValueError`` where there are too few rows."""
    rows = np.sort(rng.permutation(n)[:most])
    if len(rows) <= slots:
        raise ValueError(f"{len(rows)} rows cannot give {slots} donors each")
    order = rng.permutation(len(rows))
    donors = np.empty((len(rows), slots), dtype=np.int64)
    for slot, shift in enumerate(rng.choice(np.arange(1, len(rows)), slots, replace=False)):
        donors[order, slot] = rows[np.roll(order, shift)]
    return Swaps(rows.astype(np.int64), donors)


def draw_removals(n: int, most: int, rng: np.random.Generator) -> Swaps:
    """Draw the rows that something is removed from, at most ``most`` of ``n``."""
    rows = np.sort(rng.permutation(n)[:most]).astype(np.int64)
    return Swaps(rows, rows[:, None])


def swap_columns(
    x_np: Singles, inputs: Sequence[int], swaps: Swaps, forward: Forward, before: tuple[Floats, NDArray[np.floating]]
) -> Swapped:
    """Replace some encoded inputs by the donors' and run the model; ``before`` is what ``forward`` gives for all ``n`` rows."""
    columns = np.asarray(inputs, dtype=np.int64)
    outputs, acts = before[0][swaps.rows_m], before[1][swaps.rows_m]
    slots = swaps.donors_ms.shape[1]
    change = np.empty((len(swaps.rows_m), slots, outputs.shape[1]))
    moved = np.empty((len(swaps.rows_m), slots, acts.shape[1]), dtype=np.float32)
    for slot in range(slots):
        x = x_np[swaps.rows_m].copy()
        x[:, columns] = x_np[swaps.donors_ms[:, slot]][:, columns]
        after = forward(x)
        change[:, slot], moved[:, slot] = after[0] - outputs, after[1] - acts
    return Swapped(change, moved)


def influence(change_ms: Floats, swaps: Swaps, n: int) -> Number:
    """Mean absolute change of one output, with the influence of recipients and donors."""
    size = np.abs(change_ms)
    return _mean(size, np.full(size.shape, 1 / size.size), np.zeros(size.shape, dtype=np.int64), swaps, n)


def oriented(change_ms: Floats, swaps: Swaps, groups_n: Ints) -> Number | None:
    """Mean change with donors of group 1 minus that with donors of group 0; ``None`` where a group has too few donors."""
    groups = groups_n[swaps.donors_ms]
    givers = [len(np.unique(swaps.donors_ms[groups == g])) for g in (0, 1)]
    if min(givers) < FEWEST_DONORS:
        return None
    weights = np.where(groups == 1, 1 / max(int((groups == 1).sum()), 1), np.where(groups == 0, -1 / max(int((groups == 0).sum()), 1), 0.0))
    return _mean(change_ms, weights, groups, swaps, len(groups_n))


def reach(change_ms: Floats, swaps: Swaps, groups_n: Ints) -> Reach | None:
    """How far a change of one output reaches the groups; ``None`` where a group has too few donors."""
    signed = oriented(change_ms, swaps, groups_n)
    return None if signed is None else Reach(signed, _product(change_ms, swaps, groups_n))


def _product(change_ms: Floats, swaps: Swaps, groups_n: Ints) -> Number | None:
    """Mean over rows of the product of two changes between the groups, each from donors of its own.

    Donors are drawn whatever their group: ``w (change - the row's other changes)``, with ``w`` one over the share of group 1 or minus one
    over that of group 0, has the row's change between the groups as its mean.
    """
    m, slots = change_ms.shape
    if slots < 2:
        return None
    groups = groups_n[swaps.donors_ms]
    shares = [max(float((groups == g).mean()), 1e-12) for g in (0, 1)]
    weights = np.where(groups == 1, 1 / shares[1], np.where(groups == 0, -1 / shares[0], 0.0))
    rest = (change_ms.sum(axis=1, keepdims=True) - change_ms) / (slots - 1)
    each = weights * (change_ms - rest) / np.sqrt(1 + 1 / (slots - 1) ** 2)
    partner = (each.sum(axis=1, keepdims=True) - each) / (slots - 1)
    product_m = (each * partner).mean(axis=1)
    value, influence = float(product_m.mean()), np.zeros(len(groups_n))
    np.add.at(influence, swaps.rows_m, (product_m - value) / m)
    beyond = np.zeros_like(each)
    for group in (0, 1):
        inside = groups == group
        beyond[inside] = each[inside] - each[inside].mean()
    # A donor serves a row in each slot: what it adds beyond its group's mean is its own influence.
    np.add.at(influence, swaps.donors_ms, 2 * beyond * partner / (m * slots))
    return Number(value, influence)


def path(
    swapped: Swapped,
    swaps: Swaps,
    groups_n: Ints,
    output: int,
    parts_n: Ints,
    erasers: Sequence[LeaceEraser],
    randoms: Sequence[Sequence[LeaceEraser]],
    replay: Replay,
) -> Path | None:
    """Split a column's effect between the groups into what runs through a subspace and what goes around it.

    ``erasers`` and ``randoms`` serve the rows of each part. ``None`` where donors are too few, or more than the site makes the outputs.
    """
    total = reach(swapped.change_msc[:, :, output], swaps, groups_n)
    if total is None:
        return None
    free = _replayed(swapped.moved_msd, swaps, output, replay)
    own = replay(np.zeros((len(swaps.rows_m), swapped.moved_msd.shape[2])), swaps.rows_m)[:, output]
    if float(np.abs(free - own[:, None] - swapped.change_msc[:, :, output]).max()) > SAME_OUTPUT:
        return None

    def held(subspaces: Sequence[LeaceEraser]) -> Floats:
        moved = swapped.moved_msd.astype(np.float64)
        for part, eraser in enumerate(subspaces):
            mine = parts_n[swaps.rows_m] == part
            moved[mine] -= eraser.shift(moved[mine] @ eraser.read_dr)
        return _replayed(moved, swaps, output, replay)

    around = held(erasers)
    left = reach(around - own[:, None], swaps, groups_n)
    through, *beside = (oriented(free - one, swaps, groups_n) for one in (around, *map(held, randoms)))
    assert left is not None  # the same donors as for the total
    assert through is not None
    return Path(total, through, left, tuple(abs(one.value) for one in beside if one is not None))


def _replayed(moved_msd: NDArray[np.floating], swaps: Swaps, output: int, replay: Replay) -> Floats:
    """One output after each change of the site's activations, shape ``(m, S)``."""
    slots = range(moved_msd.shape[1])
    return np.stack([replay(moved_msd[:, slot].astype(np.float64), swaps.rows_m)[:, output] for slot in slots], axis=1)


def _mean(values_ms: Floats, weights_ms: Floats, groups_ms: Ints, swaps: Swaps, n: int) -> Number:
    """A weighted sum over swaps; each value's distance from its group's mean counts for the recipient and for the donor."""
    value = float((weights_ms * values_ms).sum())
    beyond = np.zeros_like(values_ms)
    for group in np.unique(groups_ms[weights_ms != 0]):
        inside = groups_ms == group
        beyond[inside] = weights_ms[inside] * (values_ms[inside] - values_ms[inside].mean())
    spread = np.zeros(n)
    np.add.at(spread, swaps.rows_m, beyond.sum(axis=1))
    given = swaps.donors_ms != swaps.rows_m[:, None]
    np.add.at(spread, swaps.donors_ms[given], beyond[given])
    return Number(value, spread)
