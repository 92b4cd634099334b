"""Interchange interventions: do the outputs move when the attribute's coordinates are swapped?

For row i, ``tau_i`` is the mean output with the subspace coordinates of donors of the *other* group minus that with donors of its *own*,
oriented from group 0 to group 1 (Geiger et al. 2023; Vig et al. 2020). Two disjoint halves of the donors give two copies: the signed effect
is ``|mean tau|``, the per-row effect ``sqrt(max(0, mean tau1 tau2))``, which also sees effects that cancel over rows. Of three parts of the
rows one is measured; each of the others gives a subspace to one donor half, and the parts rotate. With one subspace its errors would be
squared in the product, and a feature that the model ignores would seem used. Donors come from the measured part and the one that had no
say in the half's subspace. The null of an effect are the same swaps with groups permuted.

What decides has one stratum: asked within the true label, a model that ignores the attribute seems to use it wherever labels depend on it
(the label is a collider).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints, Places
from proxyaudit.erasers.leace import LeaceEraser, fit_leace, random_subspace
from proxyaudit.later import Later
from proxyaudit.stats.intervals import ALONE, Measured, SharedSpreads, over_seeds, p_below

sparse = Later("scipy.sparse")  # slow to load, and needless for commands that read evidence
DONORS = 8
FINE_DONORS = 24  # where absence is asked: the product of two halves has the donors' own scatter in it
_NULL_FLOATS, _SWAP_FLOATS = 2**22, 2**21  # of permuted groups held at once, and of shifts run at once
TOO_FEW = "there are too few rows of both groups"
FEWEST_DONORS = 8  # of each group and half within a stratum; below it the stratum is left out

Replay = Callable[[Floats, Ints], Floats]
"""Outputs ``(m, C)`` of rows ``(m,)`` after adding shifts ``(m, d)`` to the site's activations."""
ReplayOf = Callable[[LeaceEraser], Replay]
RandomOf = Callable[[int, int, Generator], LeaceEraser]
"""A random subspace for a part of the rows, of a rank."""


@dataclass(frozen=True)
class Donors:
    """Donors of each recipient: ``index[k, half, slot]`` with the first slots of the other group, the last of its own.

    Where rows stand ``beside`` the recipients', every second slot is filled from them.
    """

    recipients: Ints
    index: Ints
    sign: Floats


def draw_donors(
    groups_n: Ints, strata_n: Ints, rows_n: Bools, donors: int, rng: Generator, beside: tuple[Bools, Bools] | None = None
) -> Donors | None:
    """Donors for every row of ``rows_n`` whose stratum has enough of both groups, from two disjoint halves.

    Every second of the (even number of) ``donors`` comes from rows ``beside`` them, others for each half: a mean over more rows has less
    scatter.
    """
    recipients: list[Ints] = []
    indices: list[Ints] = []
    for stratum in np.unique(strata_n[rows_n]):
        inside = [(strata_n == stratum) & (groups_n == g) for g in (0, 1)]
        pools = [rng.permutation(np.flatnonzero(rows_n & own)) for own in inside]
        if min(len(pool) for pool in pools) < 2 * FEWEST_DONORS:
            continue
        halves = [[pool[: len(pool) // 2], pool[len(pool) // 2 :]] for pool in pools]
        others = [[np.flatnonzero(rows & own) for rows in beside or ()] for own in inside]
        for group in (0, 1):
            rows = np.sort(pools[group])
            drawn = np.empty((len(rows), 2, 2, donors), dtype=np.int64)
            for half in (0, 1):
                for side, of in enumerate((1 - group, group)):
                    drawn[:, half, side] = rng.choice(halves[of][half], (len(rows), donors))
                    if beside is not None and len(others[of][half]) >= FEWEST_DONORS:
                        drawn[:, half, side, 1::2] = rng.choice(others[of][half], (len(rows), donors // 2))
            recipients.append(rows)
            indices.append(drawn.reshape(len(rows), 2, 2 * donors))
    if not recipients:
        return None
    rows = np.concatenate(recipients)
    return Donors(rows, np.concatenate(indices), np.where(groups_n[rows] == 0, 1.0, -1.0))


def null_sizes(swapped: list[Floats], plans: list[Donors], groups_n: Ints, cells_n: Ints, permutations: int, rng: Generator) -> Floats:
    """Sizes of the effect with groups permuted within cells (a part's strata), by two sparse products for all permutations."""
    sizes = np.zeros(permutations)
    known = np.flatnonzero(groups_n >= 0)
    strata = [known[cells_n[known] == cell] for cell in np.unique(cells_n[known])]
    wheres = [
        [_incidence(plan.index[:, half], outputs[:, half], len(groups_n)) for half in (0, 1)]
        for outputs, plan in zip(swapped, plans, strict=True)
    ]
    block = max(1, min(permutations, _NULL_FLOATS // max(len(groups_n), 1)))
    for start in range(0, permutations, block):
        width = min(block, permutations - start)
        permuted = np.repeat((groups_n == 1).astype(np.float64)[:, None], width, axis=1)
        for column in range(width):
            for inside in strata:
                permuted[inside, column] = rng.permutation(permuted[inside, column])
        signed, product, count = np.zeros(width), np.zeros(width), np.zeros(width)
        for outputs, halves in zip(swapped, wheres, strict=True):
            taus, usable = [], np.ones((len(outputs), width), dtype=bool)
            for half, (given, drawn) in enumerate(halves):
                ones, first = drawn @ permuted, given @ permuted
                rest = outputs.shape[2] - ones
                usable &= (ones > 0) & (rest > 0)
                taus.append(first / np.maximum(ones, 1) - (outputs[:, half].sum(axis=1)[:, None] - first) / np.maximum(rest, 1))
            signed += ((taus[0] + taus[1]) * usable).sum(axis=0) / 2
            product += (taus[0] * taus[1] * usable).sum(axis=0)
            count += usable.sum(axis=0)
        rows = np.maximum(count, 1)
        sizes[start : start + width] = np.maximum(np.abs(signed / rows), np.sqrt(np.maximum(0.0, product / rows)))
    return sizes


def _incidence(index_ks: Ints, outputs_ks: Floats, n: int) -> tuple[Any, Any]:
    """Sparse ``(k, n)`` arrays that sum the outputs and the numbers of a row's donors."""
    ends, places = np.arange(0, index_ks.size + 1, index_ks.shape[1]), index_ks.ravel()
    shape = (len(index_ks), n)
    given = sparse.csr_array((outputs_ks.ravel(), places, ends), shape=shape)
    drawn = sparse.csr_array((np.ones(index_ks.size), places, ends), shape=shape)
    return given, drawn


@dataclass(frozen=True)
class Effect:
    """An interchange effect in output probability; ``spread``: by part, how far the two subspaces disagree on the same donors."""

    signed: float  # mean oriented change
    product: float  # mean product of the two donor halves' changes
    signed_influence_n: Floats  # influence of each row, as recipient and as donor, on ``signed``
    product_influence_n: Floats  # the same for ``product``
    spread: tuple[tuple[float, float], ...] = ()

    @property
    def size(self) -> float:
        """``max(|signed|, sqrt(max(0, product)))``."""
        return max(abs(self.signed), float(np.sqrt(max(0.0, self.product))))


@dataclass(frozen=True)
class InterchangeResult:
    """Effect of one attribute's subspace at one site; ``others`` is what a fresh probe reads of other attributes' difference, by name."""

    effect: Effect
    random_sizes: Floats  # sizes of the effect of random subspaces of equal rank, shape ``(R,)``
    null_sizes: Floats  # sizes under permutations of the attribute, shape ``(P,)``; none where none was asked for
    completeness: float | None  # share of the group difference that a fresh probe reads after the swap
    selectivity: float | None  # change of a fresh probe of the label, as a share of the difference between labels
    rank: int  # largest rank of the subspace over the rotations
    rows: int  # rows that the effect was measured on
    others: Mapping[str, float] = field(default_factory=dict)


_Plans = tuple[tuple[int, Donors], ...]


@dataclass(frozen=True)
class Setting:
    """The rows of one question and the donors drawn for it; every subspace measured in it meets the same donors."""

    acts_nd: Floats  # activations ``(n, d)``
    groups_n: Ints  # 0 or 1 for the two groups compared, -1 for rows left out
    concept_nk: Floats  # columns the subspace is fitted to; rows with NaN are left out of the fit
    labels_n: Ints  # true label of each row: a fresh probe of it tells how selective a swap is
    strata_n: Ints  # recipients and donors share theirs, and subspaces are fitted within them: one for all rows, or the true label
    parts_n: Ints  # 0, 1 or 2
    plans: _Plans  # the parts that have enough donors, with their donors

    @property
    def known_n(self) -> Bools:
        """Rows whose attribute is known."""
        return np.asarray(np.isfinite(self.concept_nk).all(axis=1))

    @property
    def rows(self) -> int:
        """Rows that effects are measured on."""
        return sum(len(plan.recipients) for _, plan in self.plans)


def set_up(
    acts_nd: NDArray[np.floating],
    groups_n: Ints,
    concept_nk: Floats,
    labels_n: Ints,
    parts_n: Ints,
    rng: Generator,
    *,
    within_label: bool = False,
) -> Setting | None:
    """Draw the donors, of any label or ``within_label``; ``None`` where there are too few rows of both groups."""
    strata = labels_n if within_label else np.zeros_like(parts_n)
    asked = Setting(np.asarray(acts_nd, dtype=np.float64), groups_n, concept_nk, labels_n, strata, parts_n, ())
    drawn = with_donors(asked, DONORS, rng)
    return drawn if drawn.plans else None


def with_donors(setting: Setting, donors: int, rng: Generator) -> Setting:
    """The same question with other donors; parts with too few rows of both groups are left out."""
    parts, drawn = [setting.parts_n == part for part in range(3)], []
    for part in range(3):
        # Half 0 gets the subspace of the next part, half 1 that of the one after: each takes donors from the other one.
        beside = parts[(part + 2) % 3], parts[(part + 1) % 3]
        drawn.append((part, draw_donors(setting.groups_n, setting.strata_n, parts[part], donors, rng, beside)))
    return replace(setting, plans=tuple((part, plan) for part, plan in drawn if plan is not None))


def fit_parts(setting: Setting) -> list[LeaceEraser]:
    """A LEACE subspace from each part of the rows, fitted within strata."""
    known = setting.known_n
    return [fit_within(setting, setting.acts_nd, known & (setting.parts_n == part)) for part in range(3)]


def fit_within(setting: Setting, acts_nd: Floats, rows_n: Bools) -> LeaceEraser:
    """A LEACE subspace of some activations, from some of the rows: activations and attribute centred within strata."""
    acts, concept, strata = acts_nd[rows_n], setting.concept_nk[rows_n], setting.strata_n[rows_n]
    several = np.unique(strata)
    if len(several) > 1:
        acts, concept = acts.copy(), concept.copy()
        for stratum in several:
            inside = strata == stratum
            acts[inside] -= acts[inside].mean(axis=0)
            concept[inside] -= concept[inside].mean(axis=0)
    return fit_leace(acts, concept)


def interchange(
    setting: Setting,
    fitted: Sequence[LeaceEraser],
    replay_of: ReplayOf,
    output: int,
    rng: Generator,
    *,
    randoms: int = 5,
    permutations: int = 199,
    above: float = 0.0,
    random_of: RandomOf | None = None,
) -> InterchangeResult:
    """Measure the effect of given subspaces.

    Of the subspaces in ``fitted``, one from each part of the rows, each serves the other two parts, one donor half each. ``replay_of``
    gives the model from the site onward for a subspace, since joint interventions must know what they set. ``random_of(part, rank, rng)``
    makes a random subspace, by default in a random whitened direction. Only an effect that lies ``above`` some size is held against
    permutations.
    """
    drawn, n = [plan for _, plan in setting.plans], len(setting.acts_nd)
    rank = max(eraser.rank for eraser in fitted)

    def swapped_by(subspaces: Callable[[int], tuple[LeaceEraser, LeaceEraser]], plans: _Plans = setting.plans) -> list[Floats]:
        return [_swap(setting.acts_nd, subspaces(part), plan, replay_of, output) for part, plan in plans]

    def random(part: int, rank: int, rng: Generator) -> LeaceEraser:
        return random_subspace(setting.acts_nd[setting.parts_n == part], rank, rng)

    swapped = swapped_by(lambda part: (fitted[(part + 1) % 3], fitted[(part + 2) % 3]))
    effect = _effect(swapped, drawn, n)
    if effect.size > 0:
        # By the measured part's own rows alone: those beside them had a say in the other subspace.
        near = tuple((part, replace(plan, index=plan.index[:, :, 0::2])) for part, plan in setting.plans)
        turned = swapped_by(lambda part: (fitted[(part + 2) % 3], fitted[(part + 1) % 3]), near)
        effect = replace(effect, spread=_spread([outputs[..., 0::2] for outputs in swapped], turned, drawn))
    sizes = np.empty(randoms)
    for index in range(randoms):
        subspaces = [(random_of or random)(part, max(rank, 1), rng) for part in range(3)]
        pairs = [(subspace, subspace) for subspace in subspaces]
        sizes[index] = _effect(swapped_by(pairs.__getitem__), drawn, n).size
    cells = 3 * np.unique(setting.strata_n, return_inverse=True)[1] + setting.parts_n
    null = null_sizes(swapped, drawn, setting.groups_n, cells, permutations if effect.size > above else 0, rng)
    read = [probe_readings(setting, fitted[(part + 1) % 3], plan, (part + 2) % 3) for part, plan in setting.plans]
    known = ([share for share in shares if share is not None] for shares in zip(*read, strict=True))
    complete, selective = (float(np.mean(shares)) if shares else None for shares in known)
    return InterchangeResult(effect, sizes, null, complete, selective, rank, setting.rows)


def _swap(acts_nd: Floats, erasers: tuple[LeaceEraser, LeaceEraser], plan: Donors, replay_of: ReplayOf, output: int) -> Floats:
    """Outputs after each swap, shape ``(rows, 2, slots)``; each donor half has its own subspace."""
    rows, halves, slots = plan.index.shape
    result = np.empty((rows, halves, slots))
    at_once = max(1, _SWAP_FLOATS // max(rows * acts_nd.shape[1], 1))
    for half, eraser in enumerate(erasers):
        coordinates, replay = eraser.coordinates(acts_nd), replay_of(eraser)
        for start in range(0, slots, at_once):
            index = plan.index[:, half, start : start + at_once]
            change = (coordinates[index] - coordinates[plan.recipients][:, None]).reshape(index.size, eraser.rank)
            moved = replay(eraser.shift(change), np.repeat(plan.recipients, index.shape[1]))[:, output]
            result[:, half, start : start + at_once] = moved.reshape(index.shape)
    return result


def _effect(swapped: list[Floats], plans: list[Donors], n: int) -> Effect:
    rows = sum(len(plan.recipients) for plan in plans)
    taus = [_tau(outputs) * plan.sign[:, None] for outputs, plan in zip(swapped, plans, strict=True)]
    signed = float(sum(tau.mean(axis=1).sum() for tau in taus) / rows)
    product = float(sum((tau[:, 0] * tau[:, 1]).sum() for tau in taus) / rows)
    signed_influence, product_influence = np.zeros(n), np.zeros(n)
    for outputs, plan, tau in zip(swapped, plans, taus, strict=True):
        np.add.at(signed_influence, plan.recipients, (tau.mean(axis=1) - signed) / rows)
        np.add.at(product_influence, plan.recipients, (tau[:, 0] * tau[:, 1] - product) / rows)
        donors = outputs.shape[2] // 2
        # A donor serves many recipients: what it adds beyond its slot's mean is its own influence.
        other, own = outputs[..., :donors], outputs[..., donors:]
        beyond = np.concatenate([other - other.mean(axis=2, keepdims=True), -(own - own.mean(axis=2, keepdims=True))], axis=2)
        beyond *= plan.sign[:, None, None] / (donors * rows)
        np.add.at(signed_influence, plan.index, beyond / 2)
        np.add.at(product_influence, plan.index, beyond * tau[:, ::-1, None])
    return Effect(signed, product, signed_influence, product_influence)


def _spread(swapped: list[Floats], turned: list[Floats], plans: list[Donors]) -> tuple[tuple[float, float], ...]:
    """Differences between the two subspaces of each part, both halves of donors given to each."""
    found = []
    for straight, other, plan in zip(swapped, turned, plans, strict=True):
        a, b = (_tau(outputs) * plan.sign[:, None] for outputs in (straight, other))
        first, second = np.stack([a[:, 0], b[:, 1]]), np.stack([b[:, 0], a[:, 1]])
        found.append((float(first.mean() - second.mean()), float((first[0] * first[1]).mean() - (second[0] * second[1]).mean())))
    return tuple(found)


def _tau(outputs: Floats) -> Floats:
    donors = outputs.shape[2] // 2
    return np.asarray(outputs[..., :donors].mean(axis=2) - outputs[..., donors:].mean(axis=2))


def moved_by(setting: Setting, eraser: LeaceEraser, plan: Donors) -> Floats:
    """What one swap does to the activations of each recipient, oriented from group 0 to group 1, shape ``(rows, d)``."""
    coordinates = eraser.coordinates(setting.acts_nd)
    change = coordinates[plan.index[:, 0, 0]] - coordinates[plan.index[:, 0, -1]]
    return np.asarray(eraser.shift(change) * plan.sign[:, None])


def share_read(moved_md: Floats, acts_nd: Floats, concept_nk: Floats, groups_n: Ints) -> float | None:
    """Share of the groups' difference that a fresh LEACE probe, on rows new to subspace and effect, reads in what was moved."""
    probe = fit_leace(acts_nd, concept_nk)
    inside = [groups_n == g for g in (0, 1)]
    if not probe.rank or not all(rows.any() for rows in inside):
        return None
    read = acts_nd @ probe.read_dr
    axis = read[inside[1]].mean(axis=0) - read[inside[0]].mean(axis=0)
    spread = float(axis @ axis)
    return float((moved_md @ probe.read_dr).mean(axis=0) @ axis / spread) if spread > 0 else None


def probe_readings(setting: Setting, eraser: LeaceEraser, plan: Donors, fresh: int) -> tuple[float | None, float | None]:
    """Completeness and selectivity of the swap, read by probes fitted on a part the eraser did not see."""
    if eraser.rank == 0:
        return None, None
    moved = moved_by(setting, eraser, plan)
    rows = setting.parts_n == fresh
    known = rows & setting.known_n
    complete = share_read(moved, setting.acts_nd[known], setting.concept_nk[known], setting.groups_n[known])
    top = (setting.labels_n[rows] == setting.labels_n.max()).astype(np.int64)
    selective = share_read(moved, setting.acts_nd[rows], top.astype(np.float64)[:, None], top)
    return complete, None if selective is None else abs(selective)


def measured(effect: Effect, clusters_n: Ints, *, product: bool) -> Measured:
    """The signed effect, or the product of the donor halves, with the errors of rows and of directions.

    A subspace's error, which no row influence carries, is what two of them differ by on the same rows and donors. Such differences have no
    mean, so each is a degree of freedom; a part meets two of three subspaces, each subspace serves two parts, and the mean over parts has a
    sixth of their mean square.
    """
    apart = np.array([part[int(product)] for part in effect.spread])
    value, influence = (effect.product, effect.product_influence_n) if product else (effect.signed, effect.signed_influence_n)
    extra = float((apart**2).mean()) / 6 if len(apart) else 0.0
    return Measured(np.array([value]), influence, clusters_n, extra, float(max(len(apart), 1)))


def over_models(effects: Sequence[Effect], clusters_n: Ints, places: Places = ()) -> tuple[Measured, Measured]:
    """The signed effect and the product of the donor halves, in the mean over models."""
    signed, product = (over_seeds([measured(effect, clusters_n, product=w) for effect in effects], places) for w in (False, True))
    return signed, product


def absent_p(effects: Sequence[Effect], clusters_n: Ints, margin: float, shared: SharedSpreads = ALONE, places: Places = ()) -> float:
    """p-value of "below the margin" of the signed effect and of the product of the donor halves (on its own scale), over models.

    Random subspaces are not subtracted.
    """
    signed, product = shared.applied(*over_models(effects, clusters_n, places))
    return max(p_below(signed.oriented(), margin), p_below(product, margin**2))
