"""Traps of METHOD section 7 that concern probes: the naive rule falls into each, the audit does not."""

import numpy as np
import pytest
from scipy.optimize import brentq

from proxyaudit.channels.leak.planted import planted_draft
from proxyaudit.channels.leak.record import SiteRecord
from proxyaudit.estimates.ledger import Draft
from proxyaudit.planted import make_world
from proxyaudit.planted.construction import shift_leak
from proxyaudit.probes.crossfit import cross_fit_classes
from proxyaudit.probes.deciding import planted_test
from proxyaudit.probes.folds import assign_folds
from proxyaudit.probes.planting import Target
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.p_values import FOUND
from tests.helpers.deciding import decide_drafts

MARGIN = 0.02


def planted(acts, codes, seed=0, channel="linear", margin=MARGIN):
    statistic = ScoreStatistic(whiten(acts).rows, channel)
    return planted_test(statistic, Target.of_codes(codes, 2), margin, lambda purpose: stream(seed, "trap", purpose), permutations=199)


def codes_of(world):
    return (world.labels_n == "b").astype(np.int64)


def certified(test):
    """The audit's rule of absence, positive control included."""
    return test.p_absent <= 0.01 and min(test.found.values()) >= FOUND


@pytest.mark.long
def test_1_under_power_reads_as_clean_to_a_confidence_bound_only():
    """A true leak of twice the margin, 5 rows for each dimension: cross-fitting sees nothing, with a narrow interval."""
    naive, ours = 0, 0
    for seed in range(8):
        world = make_world("linear", n=700, d=128, leak=0.044, rng=stream(seed, "trap 1"))
        codes = codes_of(world)
        score = cross_fit_classes(whiten(world.acts_nd).z_nr, codes, 2, assign_folds(np.arange(700), stream(seed, "folds")))
        naive += score.leak + 1.645 * np.sqrt((score.influence_n**2).sum()) < MARGIN
        ours += certified(planted(world.acts_nd, codes, seed))
    assert naive >= 3
    assert ours == 0


@pytest.mark.long
def test_2_sparse_leaks_at_the_margin_are_not_called_absent_though_even_plants_alone_would_more_often():
    even, ours = [], []
    for seed in range(10):
        world = make_world("sparse_unit", n=3000, d=32, leak=MARGIN, rng=stream(seed, "trap 2"))
        found = planted(world.acts_nd, codes_of(world), seed)
        even.append(found.families["isotropic"])
        ours.append(found.p_absent)
    assert sum(p <= 0.1 for p in even) >= 2
    assert sum(p <= 0.01 for p in ours) == 0
    assert sum(p <= 0.05 for p in ours) < sum(p <= 0.05 for p in even)


@pytest.mark.parametrize("kind", ["xor", "variance"])
def test_5_what_a_linear_reader_cannot_see_the_quadratic_score_does(kind):
    for seed in range(2):
        world = make_world(kind, n=2500, d=12, leak=0.4, rng=stream(seed, "trap 5", kind))
        codes = codes_of(world)
        score = cross_fit_classes(whiten(world.acts_nd).z_nr, codes, 2, assign_folds(np.arange(2500), stream(seed, "folds")))
        assert score.auroc < 0.55  # with nothing linear there, cross-fitting falls below one half
        assert planted(world.acts_nd, codes, seed).p_absent <= 0.02
        assert planted(world.acts_nd, codes, seed, "nonlinear", 0.1).p_present <= 0.01


def test_5_faint_non_linear_leaks_in_many_dimensions_are_not_certified_absent():
    for seed in range(2):
        world = make_world("xor", n=1200, d=96, leak=0.1, rng=stream(seed, "faint"))
        found = planted(world.acts_nd, codes_of(world), seed, "nonlinear", 0.1)
        assert not certified(found)


@pytest.mark.long
@pytest.mark.parametrize("leak", [0.0, 0.1])
def test_7_the_base_rate_alone_moves_no_calibrated_linear_leak(leak):
    """Activations given the class stay as they are, only P(A) changes."""
    leaks, plain = [], []
    for rate in (0.5, 0.2, 0.08):
        rng = stream(3, "trap 7")
        codes = (rng.random(4000) < rate).astype(np.int64)
        acts = rng.normal(size=(4000, 12))
        acts[:, 0] += (brentq(lambda shift: shift_leak(shift) - leak, 1e-6, 10) if leak else 0.0) * codes
        found = planted(acts, codes)
        leaks.append(found.leak)
        half = 1.5 * max((found.high - found.low) / 2, 0.005)
        assert abs(found.leak - leak) < 1.5 * half
        score = cross_fit_classes(whiten(acts).z_nr, codes, 2, assign_folds(np.arange(4000), rng))
        # What a classifier without balancing has to gain, in bits: this does shrink with the rate.
        entropy = -(rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate))
        plain.append(score.unweighted * entropy)
    if leak:
        assert max(leaks) / min(leaks) < 1.5
        assert plain[0] / plain[2] > 1.8


@pytest.mark.long
def test_7_the_base_rate_alone_moves_no_calibrated_non_linear_leak():
    """A leak of .13 in the variance of one unit, at two rates."""
    for seed in range(2):
        found = []
        for rate in (0.5, 0.2):
            rng = stream(seed, "trap 7 nonlinear")
            codes = (rng.random(3000) < rate).astype(np.int64)
            acts = rng.normal(size=(3000, 6))
            acts[:, 0] *= np.where(codes, 2.0, 1.0)
            found.append(planted(acts, codes, channel="nonlinear", margin=0.1))
        one, two = found
        assert min(one.p_absent, two.p_absent) > 0.5
        assert max(one.low, two.low) <= min(one.high, two.high) + 0.03


@pytest.mark.long
def test_7_calibrated_non_linear_leaks_are_the_true_ones():
    """Class variances 1 and 4 along one unit leak .134, at any rate; off the curve of even directions it would read up to twice that."""
    held = 0
    for seed in range(2):
        for rate in (0.5, 0.2):
            rng = stream(seed, "true nonlinear")
            codes = (rng.random(3000) < rate).astype(np.int64)
            acts = rng.normal(size=(3000, 6))
            acts[:, 0] *= np.where(codes, 2.0, 1.0)
            found = planted(acts, codes, channel="nonlinear", margin=0.1)
            held += found.low <= 0.134 <= found.high
    assert held == 4


def test_12_missing_support_is_unknown_with_the_reason():
    """A class that is nearly gone: an incomplete metric would look perfect."""
    record = SiteRecord(n=300, rank=4, reason="a class has fewer than 3 rows in a training part")
    base = Draft("linear", "a", "real", "l", margin=MARGIN)
    (cell,) = decide_drafts([planted_draft(base, [record], "linear", np.arange(300))])
    assert cell.state == "unknown"
    assert "fewer than 3 rows" in cell.reason
    (none,) = decide_drafts([planted_draft(base, [], "linear", np.arange(300))])
    assert none.state == "unknown"
