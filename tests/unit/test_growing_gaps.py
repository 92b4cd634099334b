"""A gap that seems to have grown, between one run and the next: no claim, and no all-clear."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxyaudit.comparison import compare_packs
from proxyaudit.comparison.outcomes import pair_outcome
from tests.unit.small_packs import estimate, finding, small_pack


@pytest.mark.parametrize(
    ("after", "p", "state", "outcome"),
    [(0.3, 0.08, "present", "cannot_tell"), (0.3, 0.3, "present", "no_change"), (0.2, 0.08, "present", "no_change")],
)
def test_a_gap_that_grew_much_with_little_doubt_among_the_gaps_is_no_all_clear(after, p, state, outcome):
    verdict, packs = finding("exposed"), (small_pack([estimate("expressed", v, state)], [finding("exposed")]) for v in (0.17, after))
    number = replace(compare_packs(*packs).numbers[0], word="not_seen", p_adjusted=0.3, p_gaps=p)
    assert pair_outcome(("sex", "protected", "model", "model"), verdict, verdict, [number], "trained").outcome == outcome


def test_of_gaps_alone_holm_corrects_for_the_gaps_alone():
    packs = [
        small_pack(
            [estimate("expressed", gap, "present", se=0.03), *(estimate("linear", 0.1, "present", site=f"s{i}") for i in range(9))],
            [finding("exposed")],
        )
        for gap in (0.2, 0.29)
    ]
    (gap,) = [n for n in compare_packs(*packs).numbers if n.channel == "expressed"]
    assert gap.p_gaps == gap.p
    assert gap.p_adjusted > gap.p
