"""Interchange interventions: do the outputs move when the attribute's coordinates are swapped?

For row i, ``tau_i`` is the mean output after swapping in the subspace coordinates of donors of the *other* group
minus that after donors of its *own* group, all donors sharing i's label, oriented from group 0 to group 1 (Geiger
et al. 2023; Vig et al. 2020 for the mediation view). Two disjoint halves of the donors give two independent copies:
the signed effect is ``|mean tau|``, the per-row effect ``sqrt(max(0, mean tau1 tau2))``, which also sees effects that
cancel over rows. Effects are measured on one part of the audit rows; of the other two parts each gives a subspace (LEACE)
to one donor half and a fresh probe to the other; the parts rotate. Two subspaces with independent errors matter: with one,
the errors of its direction are squared in the product, and a feature that the model ignores would seem used.
Random subspaces of equal rank stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyaudit.erasers.leace import LeaceEraser, fit_leace, random_subspace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Replay = Callable[[Floats, Ints], Floats]
"""Outputs ``(m, C)`` of rows ``(m,)`` after adding shifts ``(m, d)`` to the site's activations."""

DONORS = 8
FEWEST_DONORS = 8  # of each group and half within a label; below it the label is left out


@dataclass(frozen=True)
class Effect:
    """An interchange effect in output probability.

    Attributes:
        signed: Mean oriented change.
        product: Mean product of the two donor halves' changes.
        signed_influence_n: Influence of each row, as recipient and as donor, on ``signed``.
        product_influence_n: The same for ``product``.
        parts: ``(signed, product)`` on each part of the rows; each part had subspaces of its own.
    """

    signed: float
    product: float
    signed_influence_n: Floats
    product_influence_n: Floats
    parts: tuple[tuple[float, float], ...] = ()

    @property
    def size(self) -> float:
        """``max(|signed|, sqrt(max(0, product)))``."""
        return max(abs(self.signed), float(np.sqrt(max(0.0, self.product))))


@dataclass(frozen=True)
class InterchangeResult:
    """Effect of one attribute's subspace at one site of one model.

    Attributes:
        effect: The subspace's effect.
        random_sizes: Sizes of the effect of random subspaces of equal rank, shape ``(R,)``.
        null_sizes: Sizes under permutations of the attribute within the label, shape ``(P,)``.
        completeness: Share of the group difference that a fresh probe reads after the swap.
        selectivity: Change of a fresh probe of the label, as a share of the difference between labels.
        rank: Largest rank of the subspace over the rotations.
        rows: Rows that the effect was measured on.
    """

    effect: Effect
    random_sizes: Floats
    null_sizes: Floats
    completeness: float | None
    selectivity: float | None
    rank: int
    rows: int


@dataclass(frozen=True)
class _Donors:
    """Donors of each recipient: ``index[k, half, slot]`` with the first slots of the other group, the last of its own."""

    recipients: Ints
    index: Ints
    sign: Floats


def interchange(
    acts_nd: NDArray[np.floating],
    groups_n: Ints,
    concept_nk: Floats,
    labels_n: Ints,
    parts_n: Ints,
    replay: Replay,
    output: int,
    rng: np.random.Generator,
    *,
    donors: int = DONORS,
    randoms: int = 5,
    permutations: int = 199,
) -> InterchangeResult | None:
    """Measure the interchange effect of one attribute at one site.

    Args:
        acts_nd: Activations of the audit rows ``(n, d)``.
        groups_n: 0 or 1 for the two groups compared, -1 for rows left out.
        concept_nk: Columns the subspace is fitted to ``(n, k)``; rows with NaN are left out of the fit.
        labels_n: True label of each row; donors share it.
        parts_n: 0, 1 or 2.
        replay: The model from the site onward.
        output: Column of the outputs that is followed.
        rng: Source of randomness; equal streams give equal donors in every model read on the same rows.
        donors: Donors per group and half.
        randoms: Random subspaces.
        permutations: Permutations of the groups within the label.

    Returns:
        The result, or ``None`` where no label has enough donors of both groups.
    """
    n = len(acts_nd)
    acts = np.asarray(acts_nd, dtype=np.float64)
    plans = [
        (plan, part)
        for part, plan in ((part, _draw_donors(groups_n, labels_n, parts_n == part, donors, rng)) for part in range(3))
        if plan is not None
    ]
    if not plans:
        return None
    drawn = [plan for plan, _ in plans]
    known = np.isfinite(concept_nk).all(axis=1)
    fitted = [fit_leace(acts[known & (parts_n == part)], concept_nk[known & (parts_n == part)]) for part in range(3)]
    rank = max(eraser.rank for eraser in fitted)
    swapped = [_swap(acts, (fitted[(part + 1) % 3], fitted[(part + 2) % 3]), plan, replay, output) for plan, part in plans]
    effect = _effect(swapped, drawn, n)
    sizes = np.empty(randoms)
    for index in range(randoms):
        subspaces = [random_subspace(acts[parts_n == part], max(rank, 1), rng) for part in range(3)]
        sizes[index] = _effect(
            [_swap(acts, (subspaces[part], subspaces[part]), plan, replay, output) for plan, part in plans], drawn, n
        ).size
    null = np.array([_permuted_size(swapped, drawn, groups_n, labels_n, rng) for _ in range(permutations)])
    read = [
        _probe_readings(
            acts,
            fitted[(part + 1) % 3],
            plan,
            concept_nk,
            labels_n,
            groups_n,
            known & (parts_n == (part + 2) % 3),
            parts_n == (part + 2) % 3,
        )
        for plan, part in plans
    ]
    complete = [c for c, _ in read if c is not None]
    selective = [s for _, s in read if s is not None]
    return InterchangeResult(
        effect,
        sizes,
        null,
        float(np.mean(complete)) if complete else None,
        float(np.mean(selective)) if selective else None,
        rank,
        sum(len(plan.recipients) for plan in drawn),
    )


def _draw_donors(groups_n: Ints, labels_n: Ints, rows_n: NDArray[np.bool_], donors: int, rng: np.random.Generator) -> _Donors | None:
    recipients: list[Ints] = []
    indices: list[Ints] = []
    for label in np.unique(labels_n[rows_n]):
        pools = [rng.permutation(np.flatnonzero(rows_n & (labels_n == label) & (groups_n == g))) for g in (0, 1)]
        if min(len(pool) for pool in pools) < 2 * FEWEST_DONORS:
            continue
        halves = [[pool[: len(pool) // 2], pool[len(pool) // 2 :]] for pool in pools]
        for group in (0, 1):
            rows = np.sort(pools[group])
            drawn = np.empty((len(rows), 2, 2 * donors), dtype=np.int64)
            for half in (0, 1):
                drawn[:, half, :donors] = rng.choice(halves[1 - group][half], (len(rows), donors))
                drawn[:, half, donors:] = rng.choice(halves[group][half], (len(rows), donors))
            recipients.append(rows)
            indices.append(drawn)
    if not recipients:
        return None
    rows = np.concatenate(recipients)
    return _Donors(rows, np.concatenate(indices), np.where(groups_n[rows] == 0, 1.0, -1.0))


def _swap(acts_nd: Floats, erasers: tuple[LeaceEraser, LeaceEraser], plan: _Donors, replay: Replay, output: int) -> Floats:
    """Outputs after each swap, shape ``(rows, 2, slots)``; each donor half has its own subspace."""
    rows, halves, slots = plan.index.shape
    result = np.empty((rows, halves, slots))
    for half, eraser in enumerate(erasers):
        coordinates = eraser.coordinates(acts_nd)
        for slot in range(slots):
            change = coordinates[plan.index[:, half, slot]] - coordinates[plan.recipients]
            result[:, half, slot] = replay(eraser.shift(change), plan.recipients)[:, output]
    return result


def _effect(swapped: list[Floats], plans: list[_Donors], n: int) -> Effect:
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
    parts = tuple((float(tau.mean()), float((tau[:, 0] * tau[:, 1]).mean())) for tau in taus)
    return Effect(signed, product, signed_influence, product_influence, parts)


def _tau(outputs: Floats) -> Floats:
    donors = outputs.shape[2] // 2
    return np.asarray(outputs[..., :donors].mean(axis=2) - outputs[..., donors:].mean(axis=2))


def _permuted_size(swapped: list[Floats], plans: list[_Donors], groups_n: Ints, labels_n: Ints, rng: np.random.Generator) -> float:
    """Size of the effect with groups permuted within the label; the subspace saw none of these rows."""
    permuted = groups_n.copy()
    for plan in plans:
        involved = np.unique(plan.recipients)
        for label in np.unique(labels_n[involved]):
            rows = involved[labels_n[involved] == label]
            permuted[rows] = rng.permutation(groups_n[rows])
    signed, product, count = 0.0, 0.0, 0
    for outputs, plan in zip(swapped, plans, strict=True):
        other = permuted[plan.index] != permuted[plan.recipients][:, None, None]
        others, owns = other.sum(axis=2), (~other).sum(axis=2)
        usable = ((others > 0) & (owns > 0)).all(axis=1)
        tau = (np.where(other, outputs, 0).sum(axis=2) / np.maximum(others, 1)) - (
            np.where(other, 0, outputs).sum(axis=2) / np.maximum(owns, 1)
        )
        tau = (tau * np.where(permuted[plan.recipients] == 0, 1.0, -1.0)[:, None])[usable]
        signed += tau.mean(axis=1).sum()
        product += (tau[:, 0] * tau[:, 1]).sum()
        count += int(usable.sum())
    if not count:
        return 0.0
    return max(abs(signed / count), float(np.sqrt(max(0.0, product / count))))


def _probe_readings(
    acts_nd: Floats,
    eraser: LeaceEraser,
    plan: _Donors,
    concept_nk: Floats,
    labels_n: Ints,
    groups_n: Ints,
    known_n: NDArray[np.bool_],
    fresh_n: NDArray[np.bool_],
) -> tuple[float | None, float | None]:
    """Completeness and selectivity of the swap, read by probes fitted on rows the eraser did not see."""
    if eraser.rank == 0:
        return None, None
    coordinates = eraser.coordinates(acts_nd)
    change = coordinates[plan.index[:, 0, 0]] - coordinates[plan.index[:, 0, -1]]
    moved = eraser.shift(change) * plan.sign[:, None]
    group_probe = fit_leace(acts_nd[known_n], concept_nk[known_n])
    complete = None
    if group_probe.rank:
        read = acts_nd[fresh_n] @ group_probe.read_dr
        means = [read[groups_n[fresh_n] == g].mean(axis=0) for g in (0, 1)]
        axis = means[1] - means[0]
        spread = float(axis @ axis)
        complete = float((moved @ group_probe.read_dr).mean(axis=0) @ axis / spread) if spread > 0 else None
    label_probe = fit_leace(acts_nd[fresh_n], (labels_n[fresh_n] == labels_n.max()).astype(np.float64)[:, None])
    selective = None
    if label_probe.rank:
        read = acts_nd[fresh_n] @ label_probe.read_dr[:, 0]
        top = labels_n[fresh_n] == labels_n.max()
        difference = float(read[top].mean() - read[~top].mean())
        selective = float(np.abs((moved @ label_probe.read_dr[:, 0]).mean() / difference)) if difference else None
    return complete, selective
