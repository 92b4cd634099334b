"""Measure what could carry a use that swaps at the verdict sites miss; what bars absence for it stands in ``absence``.

Those follow the mean, for the pair of groups and the output whose true labels differ most. Use would escape that goes past the sites,
that raises some rows and lowers others by as much, that acts where gradients do not point, or on another level or through another class.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.activations.capture import Captured
from proxyaudit.activations.replay import outputs_with
from proxyaudit.arrays import Floats, Ints
from proxyaudit.causal.alignment import DifferentiableSite
from proxyaudit.causal.interchange import FINE_DONORS, Replay, Setting, absent_p, with_donors
from proxyaudit.causal.learned import Learned, learn_parts, swap_read_downstream
from proxyaudit.channels.use.record import Guards, OtherQuestions
from proxyaudit.data.attributes import Attribute, cut_number
from proxyaudit.data.dataset import Dataset
from proxyaudit.erasers.leace import LeaceEraser, whitening_pair
from proxyaudit.models.base import TrainedModel
from proxyaudit.seeding import stream

SURELY = 4.5  # standard errors: some thousand comparisons are looked at
FEWEST = 30  # rows of a group within a half
_FOLLOWED_ROWS = 512
_UNREAD_ROWS = 1000  # of each part
MOST_ASKED = 24  # pairs of a group and an output; beyond it absence is not claimed


def measure_guards(model: TrainedModel, captured: Captured, x_np: NDArray[np.float32], dataset: Dataset, root: int) -> Guards:
    """Measure the guards of one model."""
    # Token numbers of a text say nothing by being above or below their mean.
    columns: list[NDArray[Any]] = [] if dataset.text is not None else [x_np]
    for site in model.verdict_sites:
        acts = np.asarray(captured.acts[site], dtype=np.float64)
        mean, to_white, _ = whitening_pair(acts)
        columns.append((acts - mean) @ to_white)
    moderators = np.concatenate(columns, axis=1)
    moderated = {a.name: moderated_gap(captured.outputs, _indicators(a), moderators) for a in dataset.attributes}
    return Guards(outputs_past(model, captured, x_np, root), moderated)


def outputs_past(model: TrainedModel, captured: Captured, x_np: NDArray[np.float32], root: int) -> float:
    """Largest change of an output when other rows run with the verdict sites set to these rows' values; 0 where all follows from them."""
    if len(model.verdict_sites) == 1 and model.taps[model.verdict_sites[0]].tail == "method":
        return 0.0  # the package's own architectures run what follows the site from its value alone; of a user's head that is only likely
    rng = stream(root, "past the sites")
    rows = rng.permutation(len(x_np))[:_FOLLOWED_ROWS]
    others = rows[rng.permutation(len(rows))]
    values = {site: np.asarray(captured.acts[site], dtype=np.float64)[rows] for site in model.verdict_sites}
    maps = {site: (np.eye(one.shape[1]), np.eye(one.shape[1]), one) for site, one in values.items()}
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
    """Root mean square change of the output when all that gradients call unread (steps, saturated units) is swapped with other rows'."""
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


def level_codes(attribute: Attribute) -> Ints:
    """Level of each row, or quarter of a number; -1 where the attribute is missing."""
    codes, known = np.asarray(attribute.codes), attribute.known
    levels = np.full(len(codes), -1, dtype=np.int64)
    levels[known] = codes[known] if attribute.classes else cut_number(codes[known])
    return levels


def other_questions(attribute: Attribute, groups_n: Ints, output: int, outputs: int) -> list[tuple[Ints, int]]:
    """Groups (0, 1 or -1) and output of each question beside the followed one: every level, or quarter of a number, against all others."""
    levels = level_codes(attribute)
    named = [level for level in np.unique(levels) if level >= 0]
    asked = [groups_n] if len(named) == 2 else [np.where(levels < 0, -1, (levels == level).astype(np.int64)) for level in named]
    found = [(groups, column) for groups in asked for column in range(outputs)]
    return [(groups, column) for groups, column in found if groups is not groups_n or column != output]


def others_absent(
    setting: Setting,
    questions: Sequence[tuple[Ints, int]],
    fitted: list[LeaceEraser],
    replay: Replay,
    site_of: Callable[[int], DifferentiableSite],
    margin: float,
    clusters_n: Ints,
    rng: np.random.Generator,
) -> OtherQuestions:
    """Largest p-value of "the effect is below the margin" over the questions; 1 where one cannot be asked. ``fitted`` holds all levels."""
    if len(questions) > MOST_ASKED:
        return OtherQuestions(1.0, len(questions))
    largest = 0.0
    for groups, output in questions:
        fine = with_donors(replace(setting, groups_n=groups), FINE_DONORS, rng)
        if len(fine.plans) < len(setting.plans):
            return OtherQuestions(1.0, len(questions))
        found = learn_parts(fine, site_of(output), fitted, margin, rng, free=False)
        for swap in swap_read_downstream(fine, found, lambda _: replay, output, rng):
            largest = max(largest, absent_p([swap.effect], clusters_n, margin))
    return OtherQuestions(largest, len(questions))
