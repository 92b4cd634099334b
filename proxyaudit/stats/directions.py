"""Directions to plant along: several families, since no one of them is least favourable."""

from dataclasses import dataclass

import numpy as np

from proxyaudit.arrays import Ints, Singles

LINEAR_FAMILIES = ("isotropic", "unit", "low", "high")
QUADRATIC_FAMILIES = ("isotropic", "unit", "heavy", "low", "high", "norm")
_LEAST_FREE = 1e-2
_SAME = 1 - 1e-5  # cosine
_SEARCHED_UNITS = 128
_UNITS_AT_ONCE, _ROWS_AT_ONCE = 512, 8192
_SEARCH_STARTS = 32
_SEARCH_STEPS = 6
_EVEN, _UNITS, _EXTREMES, _STRATA = 24, 64, 8, 12  # directions of a family that are asked


@dataclass(frozen=True)
class Block:
    """Rows of one stratum."""

    rows: slice
    rank: int  # how many of the leading columns of ``z`` are theirs
    factors: int | None = None  # the same of ``q``


@dataclass(frozen=True)
class Rows:
    """Whitened rows, stratum by stratum; one block where nothing is conditioned on."""

    z_nr: Singles  # whitened within each block, columns from the lowest to the highest variance, zeros beyond a block's rank
    x_nd: Singles  # units, standardised within each block
    blocks: tuple[Block, ...]
    q_nk: Singles | None = None  # coordinates whose products are formed, where they are not ``z`` itself

    @property
    def factors(self) -> "Rows":
        """The rows in the coordinates whose products a quadratic statistic and its plants form."""
        if self.q_nk is None:
            return self
        return Rows(self.q_nk, self.x_nd, tuple(Block(b.rows, b.rank if b.factors is None else b.factors) for b in self.blocks))

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.z_nr)

    @property
    def rank(self) -> int:
        """Largest rank of a block."""
        return max(block.rank for block in self.blocks)

    def residual(self, columns_nm: Singles) -> Singles:
        """Part of each column that no linear reader of its block can reach, not rescaled; ``(n, m)``."""
        out = np.empty_like(columns_nm)
        for block in self.blocks:
            z, part = self.z_nr[block.rows, : block.rank], columns_nm[block.rows]
            part = part - part.mean(axis=0)
            out[block.rows] = part - z @ ((z.T @ part) / np.float32(len(z)))
        return out


def standardised(rows: Rows, scores_nm: Singles) -> Singles:
    """Scores centred and scaled within each block; columns that do not vary in a block are zero there."""
    out = np.zeros_like(scores_nm)
    for block in rows.blocks:
        part = scores_nm[block.rows] - scores_nm[block.rows].mean(axis=0)
        scale = np.sqrt((part**2).mean(axis=0))
        np.divide(part, scale, out=out[block.rows], where=scale > 1e-6)
    return out


def isotropic(rows: Rows, count: int, rng: np.random.Generator) -> Singles:
    """Scores ``(n, count)`` along even random directions: random combinations of rows, so that rotating activations changes nothing."""
    weights = rng.standard_normal((rows.n, count), dtype=np.float32)
    out = np.empty((rows.n, count), dtype=np.float32)
    for block in rows.blocks:
        z = rows.z_nr[block.rows, : block.rank]
        out[block.rows] = z @ (z.T @ weights[block.rows])
    return standardised(rows, out)


def units(rows: Rows, count: int, rng: np.random.Generator) -> Singles:
    """Scores of single original units with random signs, shape ``(n, count)``."""
    chosen = rng.integers(0, rows.x_nd.shape[1], count)
    return rows.x_nd[:, chosen] * _signs(count, rng)


def extreme_axis(rows: Rows, family: str) -> Singles:
    """The eigenvector of lowest (``low``) or highest (``high``) variance, shape ``(n, 1)``."""
    one = np.zeros((rows.n, 1), dtype=np.float32)
    for block in rows.blocks:
        if block.rank == 0:
            continue
        one[block.rows, 0] = rows.z_nr[block.rows, 0 if family == "low" else block.rank - 1]
    return one


def extreme(rows: Rows, family: str, count: int, rng: np.random.Generator) -> Singles:
    """An extreme axis with random signs, shape ``(n, count)``."""
    return extreme_axis(rows, family) * _signs(count, rng)


def linear_directions(rows: Rows, family: str, count: int, rng: np.random.Generator) -> Singles:
    """Scores of a family that needs no search, shape ``(n, count)``."""
    if family == "isotropic":
        return isotropic(rows, count, rng)
    if family == "unit":
        return units(rows, count, rng)
    if family in ("low", "high"):
        return extreme(rows, family, count, rng)
    raise ValueError(f"unknown family {family!r}")


def _signs(count: int, rng: np.random.Generator) -> Singles:
    return (rng.integers(0, 2, count) * 2 - 1).astype(np.float32)


def distinct(scores_nm: Singles) -> Ints:
    """The columns that repeat none before them, the other way round included: a site of one unit has one direction only."""
    scale = np.sqrt(np.einsum("nm,nm->m", scores_nm, scores_nm))
    alike = np.abs(scores_nm.T @ scores_nm) >= _SAME * np.outer(scale, scale)
    return np.flatnonzero(~np.triu(alike, 1).any(axis=0))


def heavy_tails(rows: Rows, rng: np.random.Generator) -> tuple[Singles, Singles]:
    """Units ``(n, m)``, each once: those of the heaviest tails, and some of the others where there are many.

    Beside them mixtures found from single rows by kurtosis ascent (FastICA; Hyvaerinen & Oja 1997).
    """
    # A part of the units at a time: of a wide site all of them at once would be its rows twice more.
    parts = np.array_split(rows.x_nd, max(1, rows.x_nd.shape[1] // _UNITS_AT_ONCE), axis=1)
    kurtosis = np.concatenate([(part**2 * part**2).mean(axis=0) for part in parts])
    order = np.argsort(-kurtosis, kind="stable")
    steepest = np.concatenate([order[:_SEARCHED_UNITS], rng.permutation(order[_SEARCHED_UNITS:])[:_UNITS]])
    largest = max(rows.blocks, key=lambda block: block.rows.stop - block.rows.start)
    z = rows.z_nr[largest.rows, : largest.rank]
    length = np.concatenate([(part**2).sum(axis=1) for part in np.array_split(z, max(1, len(z) // _ROWS_AT_ONCE))])
    starts = np.argsort(-length, kind="stable")[: 4 * _SEARCH_STARTS]
    u = z[np.sort(rng.choice(starts, min(_SEARCH_STARTS, len(starts)), replace=False))].T
    for _ in range(_SEARCH_STEPS):
        u = u / np.maximum(np.linalg.norm(u, axis=0), np.float32(1e-12))
        s = z @ u
        u = z.T @ (s * s * s) / np.float32(len(z)) - 3 * u
    searched = np.zeros((rows.n, u.shape[1]), dtype=np.float32)
    for block in rows.blocks:
        shared = min(block.rank, largest.rank)
        searched[block.rows] = rows.z_nr[block.rows, :shared] @ u[:shared]
    return rows.x_nd[:, np.sort(steepest)], standardised(rows, searched)


def quadratic(rows: Rows, family: str, count: int, rng: np.random.Generator) -> Singles:
    """Products and squares of directions of a family, free of everything linear; ``(n, count)``, zero where nothing is left."""
    inner = rows.factors
    if family == "heavy":
        kurtosis = (rows.x_nd**2 * rows.x_nd**2).mean(axis=0)
        raw = rows.x_nd[:, np.argsort(-kurtosis, kind="stable")[np.arange(count) % len(kurtosis)]] ** 2
    elif family == "norm":
        raw = np.repeat((rows.z_nr**2).sum(axis=1, dtype=np.float32)[:, None], 1, axis=1) * np.ones((1, count), dtype=np.float32)
    elif family in ("low", "high"):
        one, other = extreme(rows, family, count, rng), isotropic(inner, count, rng)
        raw = np.where(np.arange(count) % 2 == 0, one * one, one * other)
    else:
        make = isotropic if family == "isotropic" else units
        one, other = make(inner, count, rng), make(inner, count, rng)
        raw = np.where(np.arange(count) % 2 == 0, one * other, one * one)
    return free_of_linear(rows, raw.astype(np.float32))


def free_of_linear(rows: Rows, columns_nm: Singles) -> Singles:
    """Columns freed of everything linear, standardised; zero where nothing is left."""
    rest = rows.residual(standardised(rows, columns_nm))
    # What single precision leaves of a column that was linear all along is no direction.
    rest[:, np.sqrt((rest**2).mean(axis=0)) <= _LEAST_FREE] = 0.0
    return standardised(rows, rest)


def candidates(rows: Rows, channel: str, rng: np.random.Generator, share: float = 1.0) -> tuple[Singles, tuple[str, ...]]:
    """Directions ``(n, m)`` of all families, any of which may be the least or the most favourable, and the family of each.

    The first is even. A ``share`` below one asks fewer of each family. Within strata, even directions of single strata are among them.
    """

    def few(count: int) -> int:
        return max(1, round(share * count))

    linear = channel == "linear"
    if linear:
        single, searched = heavy_tails(rows, rng)
        some = rng.permutation(single.shape[1])[: few(single.shape[1] + _UNITS)]
        parts = {"isotropic": isotropic(rows, few(_EVEN), rng), "unit": single[:, np.sort(some)]}
        parts |= {family: extreme(rows, family, 1, rng) for family in ("low", "high")}
        parts["towards a row"] = searched[:, rng.permutation(searched.shape[1])[: few(searched.shape[1])]]
    else:
        counts = {"isotropic": few(_EVEN), "unit": few(_UNITS), "heavy": few(_EXTREMES), "low": few(_EXTREMES), "high": few(_EXTREMES)}
        parts = {family: quadratic(rows, family, count, rng) for family, count in (counts | {"norm": 1}).items()}
    if len(rows.blocks) > 1:
        even = parts["isotropic"][:, np.arange(min(len(rows.blocks), few(_STRATA))) % parts["isotropic"].shape[1]].copy()
        sizes = np.argsort([block.rows.start - block.rows.stop for block in rows.blocks], kind="stable")
        for column, block in enumerate(sizes[: even.shape[1]]):
            inside = np.zeros(rows.n, dtype=bool)
            inside[rows.blocks[block].rows] = True
            even[~inside, column] = 0.0
        parts["one stratum"] = even
    found = np.concatenate(list(parts.values()), axis=1)
    names = np.repeat(np.array(list(parts)), [part.shape[1] for part in parts.values()])
    moving = found.any(axis=0)
    return found[:, moving], tuple(str(name) for name in names[moving])
