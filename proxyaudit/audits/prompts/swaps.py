"""Interchange in a causal model: does moving a name to the other group's place move what the model says next?

The direction of a group difference is the difference of the groups' mean residual streams over *other* names: three folds of names, each
measured with the direction of the two others. A prompt's coordinate is replaced by the mean coordinate of the fold's names of the
other group in the same sentence, and by that of the other names of its own group; the difference of the followed shares, oriented from
the low to the high group, is tau (Geiger et al. 2023; Vig et al. 2020). Random directions come from how names differ *within* groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from proxyaudit.arrays import Floats, Ints
from proxyaudit.estimates.record import Measurement, read_record, write_record
from proxyaudit.language.causal_model import CausalModel
from proxyaudit.language.swapping import Placed, read, swap
from proxyaudit.stats.group_gaps import crossed_gap
from proxyaudit.stats.intervals import Measured

_SWAPS = "swaps"
FOLDS = 3
RANDOMS = 199
FEWEST_IN_FOLD = 2  # of each group: a recipient needs another name of its own group


@dataclass(frozen=True)
class SwapResult:
    """Effect of the group direction at one layer, oriented from group ``low`` to ``high``; its rows are names."""

    low: int
    high: int
    layer: int
    measured: Measured
    first_order: float
    random_high: float  # 95th percentile of the absolute effects of random directions
    prompts: int  # number of swapped prompts


@dataclass(frozen=True)
class SwapRecord:
    """Every pair of groups at every layer, and the templates that cannot be followed by one token."""

    results: tuple[SwapResult, ...] = ()
    left_out: tuple[str, ...] = field(default=(), metadata={"key": "left out"})


def write_swaps(out: Measurement, record: SwapRecord) -> None:
    """Keep what swaps do."""
    out.numbers[_SWAPS] = write_record(record, out.arrays, _SWAPS)


def read_swaps(measured: Measurement) -> SwapRecord:
    """What :func:`write_swaps` kept."""
    return read_record(SwapRecord, measured.numbers.get(_SWAPS, {}), measured.arrays, _SWAPS)


def measure_swaps(
    model: CausalModel,
    placed: Sequence[Placed],
    shape: tuple[int, int, int],
    groups_n: Ints,
    low: int,
    high: int,
    layers: Sequence[int],
    rng: np.random.Generator,
) -> list[SwapResult]:
    """Swap the direction between two groups at each layer, prompts a grid (templates, contexts, names); empty where names are too few."""
    fold_n = _folds(groups_n, low, high, rng)
    if fold_n is None:
        return []
    reading = read(model, placed, layers)
    used = np.flatnonzero((groups_n == low) | (groups_n == high))
    at = np.arange(len(placed)).reshape(shape)[:, :, used]
    results = []
    for layer in layers:
        acts, gradients = (values[layer][at.ravel()].reshape(*at.shape, 2, -1) for values in reading)
        group_of, folds = groups_n[used], fold_n[used]
        other, own, randoms = np.zeros_like(acts), np.zeros_like(acts), np.zeros((RANDOMS, *at.shape))
        for fold in range(FOLDS):
            inside, fit = np.flatnonzero(folds == fold), folds != fold
            fitted = acts[:, :, fit] - acts[:, :, fit].mean(axis=2, keepdims=True)
            means_n = fitted.mean(axis=(0, 1))  # of each name, (names, 2, d)
            directions = _between(means_n, group_of[fit], low, high)
            gaps, stays = _moves(acts[:, :, inside], group_of[inside], directions)
            other[:, :, inside], own[:, :, inside] = gaps, stays
            for number in range(RANDOMS):
                noise = _within(means_n, group_of[fit], rng)
                to, back = _moves(acts[:, :, inside], group_of[inside], noise)
                randoms[number][:, :, inside] = (gradients[:, :, inside] * (to - back)).sum(axis=(-1, -2))
        sign = np.where(group_of == low, 1.0, -1.0)
        moved = [_swapped(model, placed, layer, at, shifts) for shifts in (other, own)]
        tau = sign * (moved[0] - moved[1])
        first = sign * (gradients * (other - own)).sum(axis=(-1, -2))
        measured = _measured(tau, folds, groups_n, low, high, used)
        # Random directions are taken to first order, scaled up where the swap itself does more than its own first order says.
        linear = abs(float(first.mean()))
        scale = max(1.0, abs(measured.value) / linear) if linear > 0 else 1.0
        random_high = float(np.quantile(np.abs((sign * randoms).mean(axis=(1, 2, 3))), 0.95)) * scale
        results.append(SwapResult(low, high, layer, measured, float(first.mean()), random_high, int(at.size)))
    return results


def _swapped(model: CausalModel, placed: Sequence[Placed], layer: int, at: Ints, shifts: Floats) -> Floats:
    return swap(model, [placed[row] for row in at.ravel().tolist()], layer, shifts.reshape(at.size, 2, -1)).reshape(at.shape)


def _folds(groups_n: Ints, low: int, high: int, rng: np.random.Generator) -> Ints | None:
    """Fold of each name, both groups spread evenly; -1 for other groups."""
    folds = np.full(len(groups_n), -1)
    for group in (low, high):
        inside = rng.permutation(np.flatnonzero(groups_n == group))
        if len(inside) < FOLDS * FEWEST_IN_FOLD:
            return None
        folds[inside] = np.arange(len(inside)) % FOLDS
    return folds


def _between(means_n2d: Floats, groups_n: Ints, low: int, high: int) -> Floats:
    """Unit vector from one group's mean to the other's at each position, ``(2, d)``."""
    return _unit(means_n2d[groups_n == high].mean(axis=0) - means_n2d[groups_n == low].mean(axis=0))


def _within(means_n2d: Floats, groups_n: Ints, rng: np.random.Generator) -> Floats:
    """A random mixture of how names differ from the mean of their group."""
    centred = means_n2d.copy()
    for group in np.unique(groups_n):
        centred[groups_n == group] -= centred[groups_n == group].mean(axis=0)
    return _unit(np.tensordot(rng.normal(size=len(centred)), centred, axes=1))


def _unit(vectors_2d: Floats) -> Floats:
    length = np.linalg.norm(vectors_2d, axis=-1, keepdims=True)
    return np.asarray(np.divide(vectors_2d, length, out=np.zeros_like(vectors_2d), where=length > 0))


def _moves(acts: Floats, groups_n: Ints, directions_2d: Floats) -> tuple[Floats, Floats]:
    """Shifts ``(t, c, n, 2, d)`` to the mean coordinate of the other group's names, and of the own group's other names."""
    coordinates = (acts * directions_2d).sum(axis=-1)  # (t, c, n, 2)
    other, own = np.empty_like(coordinates), np.empty_like(coordinates)
    for group in np.unique(groups_n):
        inside, outside = np.flatnonzero(groups_n == group), np.flatnonzero(groups_n != group)
        other[:, :, inside] = coordinates[:, :, outside].mean(axis=2, keepdims=True)
        total = coordinates[:, :, inside].sum(axis=2, keepdims=True)
        own[:, :, inside] = (total - coordinates[:, :, inside]) / (len(inside) - 1)
    to_other, to_own = ((wanted - coordinates)[..., None] * directions_2d for wanted in (other, own))
    return to_other, to_own


def _measured(tau_tcn: Floats, folds_n: Ints, groups_n: Ints, low: int, high: int, used: Ints) -> Measured:
    """Mean effect with the scatter of names, of templates, and of the folds, each of which had a direction of its own."""
    y_tn = tau_tcn.mean(axis=1)
    value = float(np.mean([y_tn[:, groups_n[used] == group].mean() for group in (low, high)]))
    # Each group's mean is half the effect: the difference between one group and the mirrored other has the same error.
    mirrored = np.where(groups_n[used] == high, y_tn, -y_tn) / 2
    spread = crossed_gap(mirrored, groups_n[used], low, high)
    influence = np.zeros(len(groups_n))
    influence[used] = spread.influence_n
    parts = np.array([y_tn[:, folds_n == fold].mean() for fold in range(FOLDS)])
    extra = spread.extra + float(parts.var(ddof=1)) / FOLDS
    return Measured(np.array([value]), influence, np.arange(len(groups_n)), extra, min(spread.extra_df, float(FOLDS - 1)), spread.row_df)
