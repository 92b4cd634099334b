"""Learned subspaces: the most causal linear subspace, and the part of it that what follows can read.

A subspace that is free to mix directions finds *dormant pathways* (Makelov et al. 2023): a direction that is never read carries the group
difference ``delta`` through the weights ``g`` of one that is. In whitened coordinates swapping along ``q`` moves the output by
``(q delta)(q g)``, up to ``(|delta||g| + delta g) / 2``, while the model itself moves by ``delta g``.

So directions that what follows hardly reads (by the mean outer product of gradients) are left out, and the others are cut into bands
whose sensitivities differ by at most a factor two. A subspace is learned in each band (LEACE's is cut alike), and all are swapped
together. Within a band a mixture cannot exceed what the attribute's own part does: ``|delta||g| / 2 <= |delta| min |g|``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.linalg import block_diag

from proxyaudit.arrays import Floats
from proxyaudit.causal.alignment import DifferentiableSite, Search
from proxyaudit.causal.interchange import Donors, InterchangeResult, ReplayOf, Setting, draw_donors, interchange
from proxyaudit.erasers.leace import LeaceEraser, whitening_pair

LEARNING_DONORS = 4
_GRADIENT_ROWS = 2000
_UNREAD = 0.1  # of the margin: what all directions left out may move the output by together, at one standard deviation
_BAND = 4.0  # ratio of mean squared gradients within a band
_RANDOM_STARTS = 2
_NOTHING = 1e-6  # share of a unit vector within a band that is rounding


@dataclass(frozen=True)
class Learned:
    """Subspaces learned on one part of the rows."""

    readable: LeaceEraser  # the counted one: within bands of equal sensitivity of what follows
    leace: LeaceEraser  # the readable part of the LEACE subspace: what of it lies in each band, all swapped together
    unread: LeaceEraser  # all that what follows does not read, by its gradients at the rows
    free: LeaceEraser | None  # the most causal one of all directions, dormant ones included; ``None`` if not asked for
    read_downstream: int  # dimensions that what follows reads


def learn_parts(
    setting: Setting,
    site: DifferentiableSite,
    leace: Sequence[LeaceEraser],
    margin: float,
    rng: np.random.Generator,
    *,
    free: bool = True,
    columns: Sequence[slice] = (),
) -> list[Learned]:
    """Learn on each part of the rows.

    ``free`` asks for the unrestricted subspace too. Where several sites stand side by side, ``columns`` are those of each: a subspace
    never mixes sites. Raises ``NoGradientError``: the output has no gradient.
    """
    return [_learn(setting, site, part, leace[part], margin, rng, free, columns or (slice(None),)) for part in range(3)]


def swap_read_downstream(
    fine: Setting, found: Sequence[Learned], replay_of: ReplayOf, output: int, rng: np.random.Generator
) -> list[InterchangeResult]:
    """Effects of what the rest of the model reads, learned, then of LEACE, as absence asks them; once where both are all of it."""
    same = all(one.readable.rank == one.leace.rank == one.read_downstream for one in found)
    each = [[one.readable for one in found], *([] if same else [[one.leace for one in found]])]
    return [interchange(fine, subspaces, replay_of, output, rng, randoms=0, permutations=0, spread=True) for subspaces in each]


def block_diagonal(subspaces: Sequence[LeaceEraser]) -> LeaceEraser:
    """Subspaces of sites that stand side by side, as one."""
    read, write = (block_diag(*(getattr(one, name) for one in subspaces)) for name in ("read_dr", "write_rd"))
    return LeaceEraser(np.concatenate([one.mean_d for one in subspaces]), read, write)


def sensitive_bands(gradients_mk: Floats, margin: float) -> list[Floats]:
    """Orthonormal bases of the directions that what follows reads, by falling sensitivity; all in whitened coordinates."""
    values, vectors = np.linalg.eigh(gradients_mk.T @ gradients_mk / max(len(gradients_mk), 1))
    values, vectors = np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1])
    left = values.sum() - np.concatenate([[0.0], np.cumsum(values)[:-1]])  # from each direction on
    kept = int((left > (_UNREAD * margin) ** 2).sum())
    bands, start = [], 0
    for index in range(1, kept + 1):
        if index == kept or values[index] < values[start] / _BAND:
            bands.append(vectors[:, start:index])
            start = index
    return bands


def _learn(
    setting: Setting,
    site: DifferentiableSite,
    part: int,
    leace: LeaceEraser,
    margin: float,
    rng: np.random.Generator,
    free: bool,
    columns: Sequence[slice],
) -> Learned:
    inside = setting.parts_n == part
    rank = max(leace.rank // len(columns), 1)
    pairs = [whitening_pair(setting.acts_nd[inside][:, own]) for own in columns]
    mean = np.concatenate([pair[0] for pair in pairs])
    to_white, from_white = (block_diag(*(pair[k] for pair in pairs)) for k in (1, 2))
    rows = np.flatnonzero(inside & (setting.groups_n >= 0))
    rows = np.sort(rng.permutation(rows)[:_GRADIENT_ROWS])
    gradients = site.gradients(rows, setting.acts_nd.shape[1]) @ from_white
    edges = np.cumsum([0, *(pair[1].shape[1] for pair in pairs)])
    bands = []
    for first, last in pairwise(edges):
        for band in sensitive_bands(gradients[:, first:last], margin):
            bands.append(np.zeros((int(edges[-1]), band.shape[1])))
            bands[-1][first:last] = band
    plan = draw_donors(setting.groups_n, setting.labels_n, inside, LEARNING_DONORS, rng)
    nothing = LeaceEraser(mean.copy(), np.zeros((len(mean), 0)), np.zeros((0, len(mean))))
    read = sum(band.shape[1] for band in bands)
    dimensions = to_white.shape[1]

    def of_basis(basis: Floats) -> LeaceEraser:
        return LeaceEraser(mean.copy(), to_white @ basis, (from_white @ basis).T.copy())

    unread = of_basis(_complement(bands, dimensions))
    if plan is None or not read:
        return Learned(nothing, nothing, unread, nothing if free else None, read)
    coordinates = (setting.acts_nd - mean) @ to_white
    difference = _difference(coordinates, plan)

    def subspace(blocks: Sequence[Floats], starts: Sequence[Floats]) -> LeaceEraser:
        return of_basis(Search(site, coordinates, from_white.T, blocks, plan, rng).learn(rank, starts))

    def padded(first: Floats) -> Floats:
        return np.concatenate([first[:, None], rng.normal(size=(dimensions, rank - 1)) / np.sqrt(dimensions)], axis=1)

    randoms = [rng.normal(size=(dimensions, rank)) / np.sqrt(dimensions) for _ in range(_RANDOM_STARTS)]
    readable = subspace(bands, [padded(difference), *randoms])
    seen = of_basis(_within(from_white.T @ leace.read_dr, bands))
    if not free:
        return Learned(readable, seen, unread, None, read)
    # The optimum in the small, once with the mean gradient and once with the direction that is read most.
    towards = [_unit(gradients.mean(axis=0)), bands[0][:, 0]]
    mixed = [padded(difference + (1.0 if difference @ g >= 0 else -1.0) * g) for g in towards]
    return Learned(readable, seen, unread, subspace([np.eye(dimensions)], mixed), read)


def _within(basis_kr: Floats, bands: Sequence[Floats]) -> Floats:
    """Orthonormal basis of the parts of a subspace that lie in each band."""
    found = [np.zeros((len(basis_kr), 0))]
    for band in bands:
        left, sizes, _ = np.linalg.svd(band.T @ basis_kr, full_matrices=False)
        found.append(band @ left[:, sizes > _NOTHING])
    return np.concatenate(found, axis=1)


def _complement(bands: Sequence[Floats], dimensions: int) -> Floats:
    """Orthonormal basis of all directions outside the bands."""
    if not bands:
        return np.eye(dimensions)
    inside = np.concatenate(bands, axis=1)
    return np.asarray(np.linalg.qr(inside, mode="complete")[0][:, inside.shape[1] :])


def _difference(coordinates_nk: Floats, plan: Donors) -> Floats:
    """Direction of the difference between groups within labels, in whitened coordinates."""
    slots = plan.index.shape[2] // 2
    other, own = (coordinates_nk[plan.index[:, :, half]].mean(axis=(1, 2)) for half in (slice(None, slots), slice(slots, None)))
    return _unit(((other - own) * plan.sign[:, None]).mean(axis=0))


def _unit(vector_k: Floats) -> Floats:
    length = float(np.linalg.norm(vector_k))
    return vector_k / length if length > 0 else vector_k
