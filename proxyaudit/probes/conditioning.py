"""Strata within which the conditional channel asks: rows alike in what is conditioned on.

Columns of few values give exact strata, a tree of the attribute on the columns others, within which what activations owe to the columns is
regressed out. Where random features of the columns then show something, the baseline was too weak.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Floats, Ints

FEWEST_IN_STRATUM = 30
MOST_DISTINCT = 12  # values of a column that are told apart exactly
_MOST_LEFT_OUT = 0.1
_MOST_LEAVES = 16
_RANDOM_FEATURES = 32


@dataclass(frozen=True)
class Strata:
    """Stratum of each row from 0 (-1 for rows of strata too small), and the columns as numbers ``(n, b)`` where strata are not exact."""

    codes_n: Ints
    features_nb: Floats | None = None

    def of_rows(self, chosen: NDArray[Any] | slice) -> Self:
        """The strata of chosen rows."""
        return type(self)(self.codes_n[chosen], None if self.features_nb is None else self.features_nb[chosen])

    def residual(self, acts_nd: Floats) -> Floats:
        """Activations without what is linear in the columns, stratum by stratum; unchanged where strata are exact."""
        if self.features_nb is None:
            return acts_nd
        out = np.array(acts_nd, dtype=np.float64)
        for stratum in np.unique(self.codes_n):
            inside = self.codes_n == stratum
            design = np.column_stack([np.ones(int(inside.sum())), self.features_nb[inside]])
            solution, *_ = np.linalg.lstsq(design, out[inside], rcond=1e-10)
            out[inside] -= design @ solution
        return out

    def random_features(self, rng: np.random.Generator) -> Floats | None:
        """Random non-linear features of the columns, shape ``(n, 32)``; ``None`` where strata are exact and none are needed."""
        if self.features_nb is None:
            return None
        weights = rng.normal(size=(self.features_nb.shape[1], _RANDOM_FEATURES))
        return np.asarray(np.maximum(self.features_nb @ weights + rng.normal(size=_RANDOM_FEATURES), 0.0))


def make_strata(columns: Sequence[NDArray[np.generic]], labels_n: NDArray[Any], classes: int) -> Strata:
    """Make strata of rows alike in ``columns``, each ``(n,)`` of numbers (NaN where missing) or text; labels are as in an attribute."""
    coded = [np.unique(column.astype(str), return_inverse=True)[1] for column in columns]
    if all(column.max() < MOST_DISTINCT or column_is_text(raw) for column, raw in zip(coded, columns, strict=True)):
        joint = np.unique(np.stack(coded, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
        large = np.bincount(joint) >= FEWEST_IN_STRATUM
        left_out = ~large[joint]
        if left_out.mean() <= _MOST_LEFT_OUT:
            return Strata(np.where(left_out, -1, joint).astype(np.int64))
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    features = _as_numbers(columns, coded)
    known = labels_n >= 0 if classes else np.isfinite(labels_n.astype(np.float64))
    fewest = max(2 * FEWEST_IN_STRATUM, len(labels_n) // 40)
    kind = DecisionTreeClassifier if classes else DecisionTreeRegressor
    tree = kind(max_leaf_nodes=_MOST_LEAVES, min_samples_leaf=fewest, random_state=0)
    tree.fit(features[known], labels_n[known])
    leaves = np.unique(tree.apply(features), return_inverse=True)[1]
    return Strata(leaves.astype(np.int64), features)


def column_is_text(column: NDArray[np.generic]) -> bool:
    """Whether a column holds categories rather than numbers."""
    return column.dtype.kind not in "iuf"


def _as_numbers(columns: Sequence[NDArray[np.generic]], coded: Sequence[Ints]) -> Floats:
    """Numbers standardised with missing values at the mean and marked, categories as indicators of their commoner levels."""
    parts: list[Floats] = []
    for raw, codes in zip(columns, coded, strict=True):
        if column_is_text(raw):
            common = np.argsort(-np.bincount(codes), kind="stable")[:20]
            parts.append((codes[:, None] == common).astype(np.float64))
            continue
        values = raw.astype(np.float64)
        missing = ~np.isfinite(values)
        values = np.where(missing, values[~missing].mean() if (~missing).any() else 0.0, values)
        spread = values.std()
        parts.append(np.column_stack([(values - values.mean()) / (spread if spread > 0 else 1.0), missing]))
    return np.concatenate(parts, axis=1)
