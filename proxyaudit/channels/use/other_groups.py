"""Absence of use asked of all groups and all outputs: an intervention follows one pair of groups in one output, and claims it for all.

The pair and the output that are followed are those whose true labels differ most. A model may act on another level of the attribute, on
another part of a number's range, or through another class. Only what could be called absent is asked about these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from proxyaudit.arrays import Ints
from proxyaudit.causal.alignment import DifferentiableSite
from proxyaudit.causal.donors import FINE_DONORS
from proxyaudit.causal.interchange import Replay, Setting, interchange, with_donors
from proxyaudit.causal.learned import learn_parts, subspaces_read_downstream
from proxyaudit.channels.use.effect import absent_p
from proxyaudit.channels.use.record import OtherQuestions
from proxyaudit.data.attributes import Attribute, cut_number
from proxyaudit.erasers.leace import LeaceEraser

MOST_ASKED = 24  # pairs of a group and an output; beyond it absence is not claimed


def level_codes(attribute: Attribute) -> Ints:
    """Level of each row, or quarter of a number; -1 where the attribute is missing."""
    codes, known = np.asarray(attribute.codes), attribute.known
    levels = np.full(len(codes), -1, dtype=np.int64)
    levels[known] = codes[known] if attribute.classes else cut_number(codes[known])
    return levels


def other_questions(attribute: Attribute, groups_n: Ints, output: int, outputs: int) -> list[tuple[Ints, int]]:
    """Groups and outputs beside those that are followed: every level, or quarter of a number, against all others, in every output.

    Of ``outputs`` columns (one for two classes), each question has groups (0, 1 or -1) and a column; none for two levels and two classes.
    """
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
    """Largest p-value of "the effect is below the margin" over the questions, by what LEACE and learned subspaces hold of what is read.

    ``fitted`` is the LEACE subspace of each part, which holds all levels. The p-value is 1 where a question cannot be asked.
    """
    if len(questions) > MOST_ASKED:
        return OtherQuestions(1.0, len(questions))
    largest = 0.0
    for groups, output in questions:
        fine = with_donors(replace(setting, groups_n=groups), FINE_DONORS, rng)
        if len(fine.plans) < len(setting.plans):
            return OtherQuestions(1.0, len(questions))
        found = learn_parts(fine, site_of(output), fitted, margin, rng, free=False)
        for subspaces in subspaces_read_downstream(found):
            effect = interchange(fine, subspaces, lambda _: replay, output, rng, randoms=0, permutations=0, spread=True).effect
            largest = max(largest, absent_p([effect], clusters_n, margin))
    return OtherQuestions(largest, len(questions))
