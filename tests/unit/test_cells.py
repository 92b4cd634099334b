"""Cells: when a number is called present, absent or unknown, and the noise that must not pass for presence."""

import numpy as np
import pytest

from proxyaudit.causal.interchange import Effect, InterchangeResult
from proxyaudit.channels.use.estimate import effect_draft
from proxyaudit.data.public_counts import SMALLEST_CELL, public_count
from proxyaudit.estimates.ledger import NEGATIVE_FAILED, UNSTABLE, Draft, Drafts
from proxyaudit.estimates.rounding import significant
from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import largest_gap
from proxyaudit.stats.intervals import Measured, in_every_seed
from tests.helpers.deciding import decide_drafts


def measured(values, sd=0.001, n=400):
    row = stream(0, "row", n).normal(size=n) * sd
    return Measured(np.asarray(values, dtype=float), (row - row.mean()) / np.sqrt(n), np.arange(n))


def cell(values, margin=0.02, p=1e-6, **more):
    return Draft("linear", "a", "real", "penultimate", measured=measured(values), margin=margin, present_p=p, absent_p=1.0, **more)


def gap(outputs, groups, count, clusters=None):
    clusters = np.arange(len(groups)) if clusters is None else clusters
    return largest_gap([outputs[:, None]], groups, count, clusters, 0.05, 0.95)


def test_present_needs_the_margin_the_correction_the_null_and_the_negative_control():
    assert decide_drafts([cell([0.1, 0.11])])[0].state == "present"
    assert decide_drafts([cell([0.1, 0.11], p=0.04), cell([0.1, 0.11], p=0.04)])[0].state == "unknown"
    assert decide_drafts([cell([0.1, 0.11], null_rejected=False)])[0].state == "unknown"
    checks = Drafts()
    for p in (1e-6, 0.3):
        checks.control("negative", "linear", "a", "real", "penultimate", "", p=p)
    failed, passed = checks.controls
    (blocked,) = decide_drafts([cell([0.1, 0.11])], [failed])
    assert (blocked.state, blocked.reason) == ("unknown", NEGATIVE_FAILED)
    assert decide_drafts([cell([0.1, 0.11])], [passed])[0].state == "present"


def test_one_model_above_the_margin_is_unstable():
    assert decide_drafts([cell([0.01, 0.05], p=0.9)])[0].reason == UNSTABLE


def test_absence_is_only_called_where_it_is_tested():
    low = {"values": [0.001, 0.002], "p": 1.0}
    assert decide_drafts([cell(**low)])[0].state == "unknown"
    tested = Draft(
        "expressed", "a", "real", measured=measured([0.001, 0.002]), margin=0.05, present_p=1.0, absent_p=1e-5, can_be_absent=True
    )
    assert decide_drafts([tested])[0].state == "absent"


def test_a_reference_gets_no_state():
    assert decide_drafts([cell([0.5, 0.5], decides=False)])[0].state is None


def test_every_model_must_show_it():
    assert in_every_seed([measured([0.1]), measured([0.019])], 0.02) > 0.5
    assert in_every_seed([measured([0.1]), measured([0.09])], 0.02) < 1e-6


def false_gaps(groups_of, repetitions):
    """Share of noise worlds in which a gap is called present after a correction for eight cells."""
    hits = 0
    for index in range(repetitions):
        rng = stream(0, "false gaps", index)
        groups = groups_of(rng)
        # Confident outputs with few positives: a small group may hold none of them.
        outputs = np.where(rng.random(len(groups)) < 0.12, 0.95, 0.03) + 0.01 * rng.random(len(groups))
        hits += gap(outputs, groups, groups.max() + 1).present_p * 8 <= 0.05
    return hits / repetitions


@pytest.mark.long
@pytest.mark.parametrize("repetitions", [60, pytest.param(150, marks=pytest.mark.study)])
def test_rare_groups_without_a_positive_do_not_pass_for_a_gap(repetitions):
    """Sample variance alone called .12 of these present: a group without spread looks certain."""
    assert false_gaps(lambda rng: np.concatenate([np.repeat(np.arange(1, 12), 35), np.zeros(1000, dtype=np.int64)]), repetitions) <= 0.03


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_group_of_few_clusters_does_not_pass_for_a_gap(count):
    """Whole hospitals differ by chance; a group that is one hospital has no variance of its own at all."""
    hits = 0
    for index in range(100):
        rng = stream(0, "hospitals", count, index)
        clusters = np.repeat(np.arange(60), 20)
        outputs = 1 / (1 + np.exp(-(rng.normal(size=60)[clusters] + rng.normal(size=1200))))
        hits += gap(outputs, (clusters < count).astype(np.int64), 2, clusters).present_p * 8 <= 0.05
    assert hits <= 5


def test_a_true_gap_is_found_and_described():
    rng = stream(0, "true gap")
    groups = rng.integers(0, 2, 2000)
    found = gap(np.clip(rng.beta(2, 5, 2000) + 0.15 * (groups == 0), 0, 1), groups, 2)
    assert found.present_p < 1e-6
    assert (found.low, found.high) == (1, 0)
    assert found.measured.value == pytest.approx(0.15, abs=0.03)


def test_subspaces_that_disagree_make_an_effect_uncertain():
    def p_of(*apart):
        effect = Effect(0.06, 0.0, np.zeros(90), np.zeros(90), tuple((signed, 0.0) for signed in apart))
        swap = InterchangeResult(effect, np.zeros(1), np.full(20, 0.001), None, None, 1, 90)
        return effect_draft(Draft("used", "a", "real", "penultimate", margin=0.02), [swap], np.arange(90)).present_p

    assert p_of(0.001, -0.002, 0.001) < 0.01
    assert p_of(0.2, -0.1, 0.05) > 0.1


def test_published_counts_hide_small_differences():
    counts = {public_count(n) for n in (*range(1200), 6237, 6242)}
    assert not {abs(a - b) for a in counts for b in counts} & set(range(1, SMALLEST_CELL))
    assert public_count(6242) == 6240


def test_rounding_keeps_six_digits_and_no_infinity():
    assert significant(0.123456789) == 0.123457
    assert significant(float("inf")) is None
