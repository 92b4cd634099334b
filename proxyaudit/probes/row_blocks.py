"""Whitened rows a block at a time: the coordinates of :func:`proxyaudit.probes.whitening.whiten`, in a fraction of its memory."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Singles
from proxyaudit.probes import whitening

ROWS_AT_ONCE = 1024
_COLUMNS_AT_ONCE = 32


def in_blocks(values_nd: NDArray[Any]) -> Iterator[tuple[slice, NDArray[Any]]]:
    """A thousand rows at a time, and where they stand."""
    for start in range(0, len(values_nd), ROWS_AT_ONCE):
        yield slice(start, start + ROWS_AT_ONCE), values_nd[start : start + ROWS_AT_ONCE]


class WhitenedRows:
    """Whitened coordinates of activations ``(n, d)`` on the axes of ``whiten``, computed anew for each block of rows.

    Sums are taken in another order, so coordinates agree to rounding, not to the bit. Where a few long rows hold most of an axis's spread
    the axes need all rows at once, and ``whiten`` itself is used.
    """

    def __init__(self, acts_nd: NDArray[Any]) -> None:
        """Find the axes, in a few passes over the rows; their values must be finite."""
        self.acts, self.n = acts_nd, len(acts_nd)
        self.whole: Floats | None = None  # all coordinates, where the axes need all rows at once
        self._standardise()
        moving = int(self.moving.sum())
        self.axes = np.zeros((moving, 0))  # of hardly any spread, free of the large ones
        self.large, self.beside = self.axes, np.zeros((0, 0))
        if not moving:
            return
        values, vectors = np.linalg.eigh(_sum(x.T @ x for _, x in self._standardised()) / self.n)
        large = values > whitening.RELATIVE_TOLERANCE * values[-1]
        self.large = vectors[:, large] / np.sqrt(values[large])
        if self._is_long_tailed():
            self.whole = whitening.whiten(acts_nd).z_nr
        elif not large.all() and self.large.shape[1] < self.n - 1:
            self._add_small(vectors[:, ~large], float(values[-1]))

    @property
    def rank(self) -> int:
        """Number of coordinates."""
        return self.axes.shape[1] + self.large.shape[1] if self.whole is None else self.whole.shape[1]

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Coordinates of some rows at a time, and where they stand."""
        if self.whole is not None:
            yield from in_blocks(self.whole)
            return
        for place, x in self._standardised():
            z = x @ self.large
            yield place, np.concatenate([x @ self.axes - z @ self.beside, z], axis=1) if self.axes.shape[1] else z

    def lengths(self) -> Floats:
        """Squared lengths ``(n,)``."""
        return np.concatenate([(z**2).sum(axis=1) for _, z in self.blocks()])

    def singles(self) -> Singles:
        """All coordinates ``(n, r)`` in single precision."""
        found = np.empty((self.n, self.rank), dtype=np.float32)
        for place, z in self.blocks():
            found[place] = z
        return found

    def _standardise(self) -> None:
        """Find the columns that vary, and what they are centred and scaled by."""
        self.first = np.asarray(self.acts[0], dtype=np.float64)
        self.largest: Floats = np.zeros(self.acts.shape[1])
        for _, block in in_blocks(self.acts):
            np.maximum(self.largest, np.abs(np.asarray(block, dtype=np.float64) - self.first).max(axis=0), out=self.largest)
        self.moving: Bools = self.largest > 0
        self.mean, self.spread = np.zeros(int(self.moving.sum())), np.ones(int(self.moving.sum()))
        self.mean = _sum(x.sum(axis=0) for _, x in self._standardised()) / self.n
        self.spread = np.sqrt(_sum((x**2).sum(axis=0) for _, x in self._standardised()) / self.n)

    def _standardised(self) -> Iterator[tuple[slice, Floats]]:
        for place, block in in_blocks(self.acts):
            centred = (np.asarray(block, dtype=np.float64) - self.first)[:, self.moving] / self.largest[self.moving]
            yield place, (centred - self.mean) / self.spread

    def _parts(self) -> Iterator[NDArray[Any]]:
        """Columns that vary, some at a time."""
        moving = np.flatnonzero(self.moving)
        for start in range(0, len(moving), _COLUMNS_AT_ONCE):
            yield self.acts[:, moving[start : start + _COLUMNS_AT_ONCE]]

    def _is_long_tailed(self) -> bool:
        """Whether rows have axes on which a few long ones hold most of the spread: then ``whiten`` adds coordinates for the others."""
        rare = np.concatenate([whitening.rare_units(np.asarray(part, dtype=np.float64)) for part in self._parts()])
        usual = self.large
        if rare.any():
            crossed = _sum((x @ self.large).T @ x[:, rare] for _, x in self._standardised()) / self.n
            usual = self.large @ whitening.without_rare(np.eye(len(crossed)), len(crossed) * crossed)
        rank = usual.shape[1]
        if rank == 0 or rank >= self.n - 1:
            return False
        lengths = np.concatenate([((x @ usual) ** 2).sum(axis=1) for _, x in self._standardised()])
        if whitening._beyond(lengths, rank) < 1 - whitening._HELD:
            return False
        mean = _sum(whitening.shortened(x @ usual).sum(axis=0) for _, x in self._standardised()) / self.n
        shortened = (whitening.shortened(x @ usual) - mean for _, x in self._standardised())
        return bool(np.linalg.eigvalsh(_sum(q.T @ q for q in shortened) / self.n)[0] <= whitening._HELD)

    def _add_small(self, small_dm: Floats, largest: float) -> None:
        """Add those small axes that stand out from the rounding of the stored format."""
        bits = max(whitening.mantissa_bits(block[:, self.moving]) for _, block in in_blocks(self.acts))
        computed = (whitening._COMPUTED if bits <= 23 else whitening._COMPUTED_DOUBLE) * np.sqrt(largest)
        crossed = _sum((x @ self.large).T @ (x @ small_dm) for _, x in self._standardised()) / self.n
        rests = (x @ small_dm - (x @ self.large) @ crossed for _, x in self._standardised())
        values, vectors = np.linalg.eigh(_sum(rest.T @ rest for rest in rests) / self.n)
        spread = np.sqrt(np.maximum(values, 0.0))
        found = spread > (computed if bits <= 23 else 0.0)
        axes = small_dm @ vectors[:, found]
        rounding = np.concatenate([whitening.rounding_variance(part, bits) for part in self._parts()])
        noise = np.sqrt((axes**2 * (rounding / (self.spread * self.largest[self.moving]) ** 2)[:, None]).sum(axis=0))
        most = max(whitening._ROUNDED, whitening._ROUNDED_PER_DIMENSION * np.cbrt(len(axes)))
        told = spread[found] > np.maximum(computed, most * noise)
        turned = vectors[:, found][:, told] / spread[found][told]
        self.axes, self.beside = small_dm @ turned, crossed @ turned


def _sum(parts: Iterator[NDArray[Any]]) -> Floats:
    """Sum of arrays of one shape."""
    total: Floats = np.asarray(next(parts), dtype=np.float64)
    for part in parts:
        total = total + part
    return total


class LargeRows(WhitenedRows):
    """The same in single precision's memory, whatever the rows: where a few long rows hold most of an axis's spread that is told only."""

    def _is_long_tailed(self) -> bool:
        return False

    def is_long_tailed(self, lengths_n: Floats) -> bool:
        """Whether few rows, by their squared lengths, hold most of the spread: the others have no coordinates of their own here."""
        usual = 0 < self.rank < self.n - 1
        return bool(usual and whitening._beyond(lengths_n, self.rank) >= 1 - whitening._HELD)

    def standardised_in_place(self, acts_nd: Singles) -> Singles:
        """The standardised units that vary ``(n, d')``, put where the activations were."""
        out = acts_nd[:, : int(self.moving.sum())]
        for place, x in self._standardised():
            out[place] = x
        return out
