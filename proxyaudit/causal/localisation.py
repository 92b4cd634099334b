"""Localisation: which units, heads or blocks carry the effect of an attribute on the outputs.

Screening is attribution patching (Nanda 2023; Syed et al. 2023, arXiv 2310.10348). A gradient is blind where the output is flat or where
two parts do the same thing, so a few parts are taken for their difference between the groups alone. What is predicted is then done: a row
gets the part's own value of donors of the other group, and of its own (two disjoint donor halves). No subspace is fitted, so no error of
a direction enters. Screening, ranking and the choice of a set use one third of the rows, the reported effects the other two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.causal.interchange import DONORS, FEWEST_DONORS, Donors, Effect, draw_donors

Units = Sequence[int] | None
"""Units of a place; ``None`` stands for all of them."""
Patch = Callable[[Ints, Ints, Units], Floats]
"""The followed output ``(m,)`` of recipients ``(m,)`` given some units of donors ``(m,)``."""

CARRIED = 0.8  # of the whole place's effect, for a set to carry it
_CLEAR = 3.0  # standard errors of the whole place's effect from zero before a set is looked for


@dataclass(frozen=True)
class Screened:
    """What the gradient predicts of an interchange of each part, and how far the groups differ there; arrays ``(parts,)``."""

    signed: Floats  # mean predicted change of the output from group 0 to group 1
    per_row: Floats  # root mean square of it over rows: what cancels over rows counts here. The ranking goes by it
    apart: Floats  # root mean square over a part's units of the difference between the groups within labels, in standard deviations
    moves: Bools  # whether the part takes more than one value

    def of(self, parts: slice) -> Self:
        """The same of some of the parts."""
        return type(self)(self.signed[parts], self.per_row[parts], self.apart[parts], self.moves[parts])


def differences(values: NDArray[np.floating], groups_n: Ints, labels_n: Ints) -> dict[int, Floats]:
    """Mean value of group 1 minus that of group 0 within each label that has enough rows of both; other rows are left out."""
    found = {}
    for label in np.unique(labels_n):
        inside = [(labels_n == label) & (groups_n == g) for g in (0, 1)]
        if min(int(rows.sum()) for rows in inside) >= 2 * FEWEST_DONORS:
            low, high = (values[rows].mean(axis=0, dtype=np.float64) for rows in inside)
            found[int(label)] = np.asarray(high - low)
    return found


def screen(
    values: NDArray[np.floating], gradients: Floats | None, rows_m: Ints, groups_n: Ints, labels_n: Ints, parts: Sequence[Units]
) -> Screened:
    """Screen the parts of a place: ``values`` are ``(n, d)`` or ``(n, tokens, d)``, ``gradients`` those of rows ``rows_m``, or ``None``."""
    apart = differences(values, groups_n, labels_n)
    width = values.shape[-1]
    used = np.isin(labels_n, list(apart)) & (groups_n >= 0)
    spread = _spread(values, groups_n, labels_n, list(apart))
    standard = np.zeros(width)
    for label, difference in apart.items():
        share = float((labels_n[used] == label).mean())
        scaled = np.divide(difference, spread, out=np.zeros_like(difference), where=spread > 0)
        standard += share * (scaled.reshape(-1, width) ** 2).mean(axis=0)
    moved = np.asarray((values[used] != values[used][:1]).any(axis=tuple(range(values.ndim - 1)))) if used.any() else np.zeros(width, bool)
    predicted = np.zeros((0, width))
    if gradients is not None:
        known = [(rows, apart[int(label)]) for label in apart if (rows := labels_n[rows_m] == label).any()]
        found = [(gradients[rows] * difference).reshape(int(rows.sum()), -1, width).sum(axis=1) for rows, difference in known]
        predicted = np.concatenate([predicted, *found])
    each = [slice(None) if units is None else list(units) for units in parts]
    sums = [predicted[:, units].sum(axis=1) for units in each]
    return Screened(
        np.array([float(one.mean()) if len(one) else 0.0 for one in sums]),
        np.array([float(np.sqrt((one**2).mean())) if len(one) else 0.0 for one in sums]),
        np.array([float(np.sqrt(standard[units].mean())) for units in each]),
        np.array([bool(moved[units].any()) for units in each]),
    )


def _spread(values: NDArray[np.floating], groups_n: Ints, labels_n: Ints, labels: Sequence[int]) -> Floats:
    """Standard deviation within groups and labels, shaped like one row's value."""
    total, count = np.zeros(values.shape[1:]), 0
    for label in labels:
        for group in (0, 1):
            rows = (labels_n == label) & (groups_n == group)
            total += values[rows].var(axis=0, dtype=np.float64) * int(rows.sum())
            count += int(rows.sum())
    return np.asarray(np.sqrt(total / max(count, 1)))


def pick(screened: Screened, by_gradient: int, by_difference: int, at_random: int, rng: np.random.Generator) -> dict[int, str]:
    """Parts to be tried, and by what: ``gradient``, ``difference`` of the groups, or ``random`` among all others, as controls."""
    left, found = [int(part) for part in np.flatnonzero(screened.moves)], dict[int, str]()
    for by, score, count in (("gradient", screened.per_row, by_gradient), ("difference", screened.apart, by_difference)):
        # Rounded, so that ties and the noise of summation fall to the lower number.
        found |= dict.fromkeys(sorted(left, key=lambda part: (-float(f"{score[part]:.6g}"), part))[:count], by)
        left = [part for part in left if part not in found]
    controls = rng.permutation(np.array(left, dtype=np.int64))[:at_random]
    return found | {int(part): "random" for part in controls}


def draw_plan(
    groups_n: Ints, labels_n: Ints, rows_n: Bools, recipients: int, rng: np.random.Generator, donors: int = DONORS
) -> Donors | None:
    """Donors from all of ``rows_n``, for at most so many recipients; ``None`` where no label has enough of both groups."""
    plan = draw_donors(groups_n, labels_n, rows_n, donors, rng)
    if plan is None or len(plan.recipients) <= recipients:
        return plan
    kept = np.sort(rng.permutation(len(plan.recipients))[:recipients])
    return Donors(plan.recipients[kept], plan.index[kept], plan.sign[kept])


def patched_effect(patch: Patch, plan: Donors, units: Units, n: int) -> Effect:
    """Effect of interchanging some units of a place and nothing else."""
    rows, halves, slots = plan.index.shape
    outputs = patch(np.repeat(plan.recipients, halves * slots), plan.index.reshape(-1), units).reshape(rows, halves, slots)
    donors = slots // 2
    other, own = outputs[..., :donors], outputs[..., donors:]
    tau = (other.mean(axis=2) - own.mean(axis=2)) * plan.sign[:, None]
    signed, product = float(tau.mean()), float((tau[:, 0] * tau[:, 1]).mean())
    # A donor serves many recipients: what it adds beyond all that a recipient was given is its own influence. Both halves are exchanged
    # by one and the same patch, so the mean is over both; what it takes of the donors' variance is given back.
    centred = [(given - given.mean(axis=(1, 2), keepdims=True)) for given in (other, own)]
    returned = np.sqrt(halves * donors / (halves * donors - 1)) / (donors * rows)
    beyond = np.concatenate([centred[0], -centred[1]], axis=2) * plan.sign[:, None, None] * returned

    def influence(of_recipients: Floats, of_donors: Floats) -> Floats:
        at_donors = np.bincount(plan.index.reshape(-1), np.ravel(of_donors), n)
        return np.asarray(np.bincount(plan.recipients, of_recipients / rows, n) + at_donors, dtype=np.float64)

    signed_n = influence(tau.mean(axis=1) - signed, beyond / 2)
    return Effect(signed, product, signed_n, influence(tau[:, 0] * tau[:, 1] - product, beyond * tau[:, ::-1, None]))


def in_order(effects: Mapping[int, Effect], screened: Screened) -> list[int]:
    """Parts tried, by what their interchange did on the screening rows, then all others that move, by what the gradient predicts."""
    tried = sorted(effects, key=lambda part: (-float(f"{effects[part].size:.6g}"), part))
    rest = [int(part) for part in np.flatnonzero(screened.moves) if part not in effects]
    return [*tried, *sorted(rest, key=lambda part: (-float(f"{screened.per_row[part]:.6g}"), part))]


def in_direction(effects: Mapping[int, Effect], screened: Screened, sign: float) -> list[int]:
    """Parts by how far they move the output in one direction, as measured or predicted; of equals, those where the groups differ more."""
    towards = {int(part): sign * float(screened.signed[part]) for part in np.flatnonzero(screened.moves)}
    towards |= {part: sign * effect.signed for part, effect in effects.items()}
    return sorted(towards, key=lambda part: (-float(f"{towards[part]:.6g}"), -float(f"{screened.apart[part]:.6g}"), part))


def smallest_set(signed_of: Callable[[int], float], whole: Effect, count: int, share: float = CARRIED) -> int | str:
    """The smallest prefix of a ranking that carries a share of the whole place's signed effect, or why there is none.

    Found by doubling and bisection, so prefixes between those asked are taken to lie between them. A prefix of more than half of the
    parts is no localisation. ``signed_of`` gives the signed effect of the first so many of the ``count`` parts that move, on the rows of
    ``whole``.
    """
    error = float(np.sqrt((whole.signed_influence_n**2).sum()))
    if not abs(whole.signed) > _CLEAR * error:
        return "the effect of the whole place is not clearly different from zero"

    def carries(first: int) -> bool:
        return bool(signed_of(first) * np.sign(whole.signed) >= share * abs(whole.signed))

    most = count // 2
    low, high = 0, 1
    while high <= most and not carries(high):
        low, high = high, 2 * high
    if high > most:
        if low >= most or not carries(most):
            return "no set of at most half of the parts carries most of the effect"
        high = most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if carries(middle) else (middle, high)
    return high
