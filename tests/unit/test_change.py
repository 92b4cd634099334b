"""Change words, and the guard that keeps "used" from being claimed where directions cannot be told from noise."""

import numpy as np
import pytest
from leak_records import leak_facts

from proxyaudit.channels.leak.estimate import estimate as leak_estimate
from proxyaudit.data.attributes import MAX_LEVELS, Attribute
from proxyaudit.data.columns import OTHER
from proxyaudit.estimates.draft import Draft
from proxyaudit.estimates.findings import compare
from proxyaudit.stats.intervals import Measured


def cell(values, state="present", sd=0.004):
    influence = np.where(np.arange(400) % 2, 1, -1) * sd / 20
    return Draft("expressed", "a", "g", measured=Measured(np.asarray(values), influence, np.arange(400)), margin=0.05, state=state)


@pytest.mark.parametrize(
    ("mine", "real", "word"),
    [
        ([0.199, 0.200, 0.198], [0.170, 0.171, 0.169], "amplified"),  # surely larger, though its ratio lies within [.8, 1.25]
        ([0.171, 0.169, 0.170], [0.170, 0.171, 0.169], "unchanged"),
        ([0.150, 0.151, 0.149], [0.170, 0.171, 0.169], "unchanged"),  # smaller, but no success to report
        ([0.040, 0.041, 0.039], [0.170, 0.171, 0.169], "reduced"),
        ([0.10, 0.30, 0.17], [0.170, 0.171, 0.169], "unknown"),
        ([-0.170, -0.171, -0.169], [0.170, 0.171, 0.169], "reduced"),  # signed: a gap turned round is not a gap kept
    ],
)
def test_change_words(mine, real, word):
    assert compare(cell(mine), cell(real))[0] == word


def test_noise_is_neither_amplified_nor_reduced():
    assert compare(cell([0.12, 0.121, 0.119], "unknown"), cell([0.02, 0.021, 0.019], "unknown"))[0] == "unknown"


@pytest.mark.parametrize(("levels", "claimed"), [(5, True), (MAX_LEVELS, False)])
def test_a_run_claims_no_absence_of_levels_that_were_taken_together(levels, claimed):
    names = (*(f"l{k:02d}" for k in range(levels - 1)), OTHER)
    attribute = Attribute("a", "protected", "multiclass", names, np.arange(400) % levels)
    (found,) = [draft for draft in leak_estimate(leak_facts(attribute)).numbers if draft.channel == "nonlinear"]
    assert found.can_be_absent is claimed
    assert claimed or "taken together" in str(found.reason)
