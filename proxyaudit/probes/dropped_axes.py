"""Whether what no reader is given tells an attribute all the same: then it is not called absent.

Axes that may be rounding noise, last digits of units, and units that hardly ever move are asked alone, in products with the units
and with one another. The statistic is the largest self-normalised sum over rows (de la Pena, Lai & Shao 2009), Bonferroni over all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints, Singles
from proxyaudit.later import Later
from proxyaudit.probes.last_digits import last_digits
from proxyaudit.probes.whitening import Whitened
from proxyaudit.seeding import stream

special = Later("scipy.special")  # slow to load, and needless for commands that read evidence

TELLS = 1e-4  # p-value from which on this is said to tell the attribute
_FEWEST_ROWS = 20
_CLIP = 4.0
_WORK = 2e9  # operations of the products of one attribute at one site; rows beyond it are left out
_MOST_TOGETHER = 256  # digits and axes that are asked in products with one another
_LAST = 2  # places of digits that are asked in products with one another
_EXAMINED = 64  # largest sums that clusters are counted for
_DROWNED = 1e-6  # of a unit's spread: what lies so near to zero is one value to readers
_DIGIT_ROWS = 4e7  # digits times rows that are held
_CHUNK = 512
_MOST_PRODUCTS = 2_500_000  # of finer digits with units; more of them would take seconds
_Pair = tuple[NDArray[np.number[Any]], Singles, Ints]  # columns, what they are multiplied with, and the rows that are asked


@dataclass(frozen=True)
class Unseen:
    """Features of rows that no reader is given, ``(n, m)``, centred and bounded, with zeros where a row has none."""

    alone_nm: NDArray[np.int8]  # finer digits: asked alone and in products with the units
    products_nm: Singles  # what is asked in products with one another too
    units_nd: Singles  # units that they are multiplied with


def unseen_features(acts_nd: NDArray[np.generic], white: Whitened) -> Unseen:
    """What no reader of a site is given, shared by all its attributes.

    Axes that may be rounding noise, rare units (presence, then size), what is told close to zero, and digits of every unit.
    """
    n = len(acts_nd)
    faint = np.clip(white.dropped_nm, -_CLIP, _CLIP).astype(np.float32)
    rare = _rare_units(white.x_nd[:, white.rare_d])
    digits: list[NDArray[np.int8]] = []
    last: list[NDArray[np.int8]] = []
    most = max(_LAST, int(_DIGIT_ROWS / max(n * int(white.moving_d.sum()), 1)))
    for place, signs in last_digits(np.asarray(acts_nd)[:, white.moving_d], most):
        (last if place < _LAST else digits).append(signs)
    together = [faint, rare, _near_zero(np.asarray(acts_nd)), *([np.stack(last, axis=1).astype(np.float32)] if last else [])]
    alone = np.stack(digits, axis=1) if digits else np.zeros((n, 0), dtype=np.int8)
    return Unseen(alone, np.concatenate(together, axis=1), np.clip(white.x_nd, -_CLIP, _CLIP).astype(np.float32))


def _rare_units(rare_nk: Floats) -> Singles:
    """Of units that are constant on nearly all rows: whether a row moves them, and how far among those that do."""
    from scipy.stats import rankdata  # slow to import, and needed where something is measured alone

    columns = []
    for unit in rare_nk.T:
        moves = unit != np.median(unit)
        columns.append((moves - moves.mean()).astype(np.float32))
        if len(np.unique(unit[moves])) > 1:
            columns.append(_among(moves, rankdata(unit[moves])))
    return np.stack(columns, axis=1) if columns else np.zeros((len(rare_nk), 0), dtype=np.float32)


def _near_zero(acts_nd: NDArray[np.generic]) -> Singles:
    """Of units with values that their spread drowns (signs of zeros too): their order. Floats tell apart as much there as anywhere."""
    from scipy.stats import rankdata

    columns = []
    for unit in acts_nd.T if acts_nd.dtype.kind == "f" else ():
        close = np.abs(unit) <= _DROWNED * float(np.std(unit, dtype=np.float64))
        below = np.signbit(unit[close])
        if int(close.sum()) < _FEWEST_ROWS or (below.all() == below.any() and len(np.unique(unit[close])) == 1):
            continue
        # A zero that is below comes before one that is above.
        columns.append(_among(close, rankdata(unit[close]) + rankdata(~below)))
    return np.stack(columns, axis=1) if columns else np.zeros((len(acts_nd), 0), dtype=np.float32)


def _among(rows_n: Bools, ranks_k: Floats) -> Singles:
    """Ranks of some rows between about -1 and 1, with zero for all others."""
    out = np.zeros(len(rows_n), dtype=np.float32)
    out[rows_n] = 2 * (ranks_k - ranks_k.mean()) / len(ranks_k)
    return out


def dropped_axes_p(
    unseen: Unseen, z_nr: Floats, labels_n: NDArray[np.generic], classes: int, clusters_n: Ints | None, trace: float
) -> float | None:
    """p-value of "what no reader is given does not tell the attribute"; one where it explains less than ``trace`` of the variance.

    ``None`` where there is nothing to ask or too few rows are left to tell.
    """
    n = len(labels_n)
    if not (unseen.alone_nm.shape[1] or unseen.products_nm.shape[1]) or n < _FEWEST_ROWS or z_nr.shape[1] >= n - 1:
        return None
    told = labels_n[:, None] == np.arange(1 if classes == 2 else classes) if classes else labels_n[:, None]
    e = np.asarray(told, dtype=np.float64)
    rates, spread = e.mean(axis=0), e.std(axis=0)
    e = e - rates
    e -= z_nr @ (z_nr.T @ e / n)
    varies = e.std(axis=0) > 1e-6 * np.maximum(spread, 1e-12)
    if not varies.any():
        return None
    e = (e[:, varies] / spread[varies]).astype(np.float32)
    # The same shift of a feature explains less of a rare class.
    traces = trace * (4 * rates * (1 - rates) if classes else np.ones(1))[varies]
    units = unseen.units_nd
    rows = _some_rows(n, unseen.products_nm.shape[1] * (units.shape[1] + 1) * e.shape[1], clusters_n)
    products, together = unseen.products_nm, unseen.products_nm[:, :_MOST_TOGETHER]
    itself = np.ones((n, 1), dtype=np.float32)
    digits = [unseen.alone_nm[:, start : start + _CHUNK] for start in range(0, unseen.alone_nm.shape[1], _CHUNK)]
    everyone = np.arange(n, dtype=np.int64)
    pairs: list[_Pair] = [(part, itself, everyone) for part in digits]
    pairs += [(products, itself, everyone), (products, units, rows), (together, together, rows)]
    # Asked apart, with a bound of its own: what the last digits tell must not have to be any plainer for it.
    finer = unseen.alone_nm[:, :: _stride(unseen.alone_nm.shape[1] * units.shape[1] * e.shape[1])]
    some = _some_rows(n, finer.shape[1] * units.shape[1] * e.shape[1], clusters_n)
    more: list[_Pair] = [(finer[:, start : start + _CHUNK], units, some) for start in range(0, finer.shape[1], _CHUNK)]
    return min(_smallest_p(asked, e, traces, clusters_n) for asked in (pairs, more))


def _stride(products: int) -> int:
    """Of very many digits every so many-th is asked in products."""
    return max(1, int(np.ceil(products / _MOST_PRODUCTS)))


def _smallest_p(pairs: Sequence[_Pair], e_nk: Singles, traces_k: Floats, clusters_n: Ints | None) -> float:
    """Smallest p-value of all products of columns of each pair, on its rows, with each label column; Bonferroni over all of them."""
    best = 0.0
    for one, other, part in pairs:
        groups = None if clusters_n is None else clusters_n[part]
        for column, least in zip(e_nk.T, traces_k, strict=True):
            best = max(best, _largest(one[part].astype(np.float32), other[part], column[part], groups, float(least)))
    asked = e_nk.shape[1] * sum(one.shape[1] * other.shape[1] for one, other, _ in pairs)
    return float(min(1.0, asked * float(special.chdtrc(1, best))))


def _some_rows(n: int, features: int, clusters_n: Ints | None) -> Ints:
    """Rows that the products can afford: whole clusters, drawn once for all sites and attributes."""
    most = max(1000, int(_WORK / max(4 * features, 1)))
    if n <= most:
        return np.arange(n)
    ids = np.arange(n) if clusters_n is None else np.unique(clusters_n, return_inverse=True)[1]
    order = stream(0, "unseen", n).permutation(int(ids.max()) + 1)
    return np.flatnonzero(np.isin(ids, order[np.cumsum(np.bincount(ids)[order]) <= most]))


def _largest(one_nm: Singles, other_nr: Singles, e_n: Singles, clusters_n: Ints | None, trace: float) -> float:
    """Largest squared self-normalised sum of ``one * other * e`` among the pairs that explain at least ``trace`` of the variance."""
    if not one_nm.shape[1] or not other_nr.shape[1]:
        return 0.0
    scaled = other_nr * e_n[:, None]
    sums = one_nm.T @ scaled
    squared = one_nm * one_nm
    share = sums**2 / np.maximum((squared.T @ (other_nr * other_nr)) * len(e_n), 1e-30)
    ratio = np.where(share >= trace, sums**2 / np.maximum(squared.T @ (scaled * scaled), 1e-30), 0.0).ravel()
    if clusters_n is None or not ratio.max():
        return float(ratio.max())
    top = np.argsort(-ratio)[:_EXAMINED]
    ids = np.unique(clusters_n, return_inverse=True)[1]
    best = 0.0
    for index in top[ratio[top] > 0]:
        row, column = divmod(int(index), other_nr.shape[1])
        by_cluster = np.bincount(ids, weights=(one_nm[:, row] * other_nr[:, column] * e_n).astype(np.float64))
        best = max(best, float(by_cluster.sum() ** 2 / max((by_cluster**2).sum(), 1e-30)))
    return best


def dropped_axes_reason(p_values: Sequence[float | None]) -> str | None:
    """Why absence cannot be claimed where what no reader is given tells the attribute in some model; ``None`` where it does not."""
    found = [p for p in p_values if p is not None]
    if not found or min(found) > TELLS:
        return None
    return "last digits of units, or units that hardly ever move, tell the attribute: too faint for the readers, and not absent"
