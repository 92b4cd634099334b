"""Which way rows go at the splits of trees, and at which leaves they end.

In numpy, whose picks of single elements are several times as fast as torch's: swapping columns walks millions of rows through a model.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints

_BITS = 64  # of a word of codes


class Walk:
    """Rows ``(n, p)`` in double precision before ``g`` trees of ``m`` nodes, given by the arrays of :class:`Nodes` by their names."""

    def __init__(self, parts: Mapping[str, NDArray[Any]], x_np: Floats) -> None:
        self.trees, self.nodes = parts["left"].shape
        self.rows, self.inputs = x_np.shape
        flat = {name: np.ascontiguousarray(parts[name]).reshape(-1) for name in ("feature", "threshold", "missing_left", "by_category")}
        self.feature, self.threshold, self.missing_left, self.by_category = flat.values()
        self.first = np.arange(self.trees, dtype=np.int64) * self.nodes
        left, right = ((parts[name] + self.first[:, None]).reshape(-1) for name in ("left", "right"))
        self.child, self.is_leaf = np.stack([right, left], axis=1).reshape(-1), left == np.arange(len(left))  # a leaf is its own child
        self.values = np.ascontiguousarray(x_np, dtype=np.float64).reshape(-1)
        self.gaps = bool(np.isnan(self.values).any())
        words = parts["sets"].shape[2]
        self.sets = bool(words and self.by_category.any())
        if self.sets:
            # One place more for what is no known code: it goes where missing values go.
            self.codes = np.clip(np.nan_to_num(self.values, nan=-1, posinf=-1, neginf=-1), -1, _BITS * words).astype(np.int64)
            self.codes[self.codes < 0] = _BITS * words
            bits = np.unpackbits(np.ascontiguousarray(parts["sets"], dtype="<i8").view(np.uint8), axis=2, bitorder="little")
            self.width = _BITS * words + 1
            self.to_left = np.append(bits.reshape(-1, _BITS * words).astype(bool), self.missing_left[:, None], axis=1).reshape(-1)

    def goes_left(self, row_k: Ints, place_k: Ints) -> Bools:
        """Whether rows go left at nodes that are counted through all trees."""
        cell = self.feature.take(place_k)
        cell += row_k * self.inputs
        value = self.values.take(cell)
        found = value <= self.threshold.take(place_k)
        if self.gaps:
            missing = np.flatnonzero(np.isnan(value))
            found[missing] = self.missing_left.take(place_k.take(missing))
        if self.sets:
            asks = np.flatnonzero(self.by_category.take(place_k))
            found[asks] = self.to_left.take(place_k.take(asks) * self.width + self.codes.take(cell.take(asks)))
        return found

    def leaves(self) -> Ints:
        """The node ``(n, g)`` at which each row ends in each tree."""
        end = np.tile(self.first, self.rows)
        on_its_way, place, row = np.arange(len(end)), end.copy(), np.repeat(np.arange(self.rows), self.trees)
        while True:
            going = np.flatnonzero(~self.is_leaf.take(place))
            if not len(going):
                return np.asarray(end.reshape(self.rows, self.trees) - self.first)
            on_its_way, place, row = on_its_way.take(going), place.take(going), row.take(going)
            place = self.child.take(2 * place + self.goes_left(row, place))
            end[on_its_way] = place
