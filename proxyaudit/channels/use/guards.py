"""Measure what could carry a use that swaps at the verdict sites miss.

Subspaces are swapped at the verdict sites and followed in the mean. Use that goes past those sites, that raises some rows and lowers
others by as much, or that acts where gradients at the data do not point would escape. What bars absence for it stands in ``absence``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations.capture import Captured
from proxyaudit.activations.replay import outputs_with
from proxyaudit.arrays import Floats
from proxyaudit.causal.interchange import Replay, Setting
from proxyaudit.causal.learned import Learned
from proxyaudit.channels.use.other_groups import level_codes
from proxyaudit.channels.use.record import Guards
from proxyaudit.data.dataset import Attribute, Dataset
from proxyaudit.erasers.leace import whitening_pair
from proxyaudit.models.base import TrainedModel
from proxyaudit.seeding import stream

SURELY = 4.5  # standard errors: some thousand comparisons are looked at
FEWEST = 30  # rows of a group within a half
_FOLLOWED_ROWS = 512
_UNREAD_ROWS = 1000  # of each part


def measure_guards(model: TrainedModel, captured: Captured, x_np: NDArray[np.float32], dataset: Dataset, root: int) -> Guards:
    """Measure the guards of one model."""
    sites = model.verdict_sites
    coordinates = [_whitened(captured.acts[site]) for site in sites]
    # Token numbers of a text say nothing by being above or below their mean.
    moderators = np.concatenate([*([] if dataset.text is not None else [x_np]), *coordinates], axis=1)
    moderated = {a.name: moderated_gap(captured.outputs, _indicators(a), moderators) for a in dataset.attributes}
    return Guards(outputs_past(model, captured, x_np, root), moderated)


def outputs_past(model: TrainedModel, captured: Captured, x_np: NDArray[np.float32], root: int) -> float:
    """Largest change of an output when other rows are run with the verdict sites set to the values of these.

    Zero where the outputs follow from the verdict sites alone.
    """
    if len(model.verdict_sites) == 1 and model.taps[model.verdict_sites[0]].tail == "method":
        return 0.0  # the package's own architectures run what follows the site from its value alone; of a user's head that is only likely
    rng = stream(root, "past the sites")
    rows = rng.permutation(len(x_np))[:_FOLLOWED_ROWS]
    others = rows[rng.permutation(len(rows))]
    maps = {}
    for site in model.verdict_sites:
        values = np.asarray(captured.acts[site], dtype=np.float64)[rows]
        whole = np.eye(values.shape[1])
        maps[site] = (whole, whole, values)
    return float(np.abs(outputs_with(model, x_np[others], maps) - captured.outputs[rows]).max())


def moderated_gap(outputs_nc: Floats, groups_nk: Floats, moderators_nm: NDArray[Any]) -> float:
    """Largest sure half-difference of the output gap between the upper and the lower half of any moderator; 0 where none is sure.

    Use whose gaps cancel over all rows shows as gaps that differ between halves of the rows. Each column of ``groups_nk`` marks a group,
    which is compared with all other rows; NaN rows are left out. Moderators are cut at their mean.
    """
    upper = (moderators_nm > moderators_nm.mean(axis=0)).astype(np.float64)
    largest = 0.0
    for group in groups_nk.T:
        known = np.isfinite(group)
        inside, half = group[known] > 0, upper[known]
        for output in outputs_nc[known].T:
            sums = [np.stack([side * 1.0, side * output, side * output**2], axis=1) for side in (inside, ~inside)]
            up, total = [half.T @ part for part in sums], [part.sum(axis=0) for part in sums]
            gap, variance = np.zeros((2, half.shape[1])), np.zeros((2, half.shape[1]))
            enough = np.ones(half.shape[1], dtype=bool)
            for index in (0, 1):  # the upper half, the lower half
                for sign, one, whole in ((1, up[0], total[0]), (-1, up[1], total[1])):
                    n, s, q = (one if index == 0 else whole - one).T
                    enough &= n >= FEWEST
                    mean = s / np.maximum(n, 1)
                    gap[index] += sign * mean
                    variance[index] += np.maximum(q / np.maximum(n, 1) - mean**2, 0) / np.maximum(n, 1)
            difference = np.abs(gap[0] - gap[1]) / 2
            sure = enough & (difference > SURELY * np.sqrt(variance.sum(axis=0)) / 2)
            largest = max(largest, float(difference[sure].max(initial=0.0)))
    return largest


def unread_effect(setting: Setting, found: Sequence[Learned], replay: Replay, output: int, rng: np.random.Generator) -> float:
    """Root mean square change of the followed output when all that gradients call unread is swapped with any other row's.

    A step or a saturated unit has no gradient at any row and acts all the same.
    """
    squares = []
    for part, one in enumerate(found):
        if one.unread.rank == 0:
            continue
        rows = np.flatnonzero(setting.parts_n == (part + 1) % 3)
        rows = rows[rng.permutation(len(rows))[:_UNREAD_ROWS]]
        coordinates = one.unread.coordinates(setting.acts_nd[rows])
        change = coordinates[rng.permutation(len(rows))] - coordinates
        moved = replay(one.unread.shift(change), rows)[:, output] - replay(np.zeros_like(setting.acts_nd[rows]), rows)[:, output]
        squares.append(float((moved**2).mean()))
    return float(np.sqrt(np.mean(squares))) if squares else 0.0


def _indicators(attribute: Attribute) -> Floats:
    """Columns that compare each level (one of two) with all others; NaN where the attribute is missing."""
    codes = level_codes(attribute)
    highest = int(codes.max())
    levels = np.array([1]) if highest == 1 else np.arange(highest + 1)
    return np.where(codes[:, None] < 0, np.nan, (codes[:, None] == levels).astype(np.float64))


def _whitened(acts_nd: NDArray[Any]) -> Floats:
    acts = np.asarray(acts_nd, dtype=np.float64)
    mean, to_white, _ = whitening_pair(acts)
    return np.asarray((acts - mean) @ to_white)
