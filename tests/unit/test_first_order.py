"""The first-order reader: positive on rows it has not seen where there is something, not where there is nothing."""

import numpy as np
import pytest

from proxyaudit.planted import make_world
from proxyaudit.probes.first_order import first_order_gain
from proxyaudit.probes.folds import assign_folds
from proxyaudit.probes.planting import Target
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten, whiten_within
from proxyaudit.seeding import stream


def gain(acts, labels, *, classes=2, strata=None, clusters=None, seed=0):
    order, dense = np.arange(len(labels)), None
    rows = whiten(acts).rows
    if strata is not None:
        rows, order = whiten_within(acts, strata)
        dense = np.unique(strata[order], return_inverse=True)[1]
    target = Target.of_values(labels[order]) if classes == 0 else Target.of_codes(labels[order], classes, None, dense)
    folds = assign_folds(np.arange(len(labels)) if clusters is None else clusters, stream(seed, "folds"))
    return first_order_gain(ScoreStatistic(rows, "linear"), target, folds[order])


def labels_of(world):
    return np.unique(world.labels_n, return_inverse=True)[1] if world.labels_n.dtype.kind == "U" else world.labels_n


@pytest.mark.parametrize(("kind", "classes"), [("linear", 2), ("rare", 2), ("multiclass", 4), ("continuous", 0)])
def test_gain_is_near_the_leak_and_not_above_it(kind, classes):
    gains = []
    for seed in range(5):
        world = make_world(kind, n=3000, d=12, leak=0.15, rng=stream(seed, kind))
        gains.append(gain(world.acts_nd, labels_of(world), classes=classes, seed=seed))
    assert min(gains) > 0.05
    assert np.mean(gains) < 0.165


@pytest.mark.parametrize(("kind", "classes"), [("absent", 2), ("absent_multiclass", 4), ("absent_continuous", 0)])
def test_nothing_gives_nothing(kind, classes):
    gains = []
    for seed in range(8):
        world = make_world(kind, n=1000, d=40, leak=0, rng=stream(seed, kind))
        gains.append(gain(world.acts_nd, labels_of(world), classes=classes, seed=seed))
    assert max(gains) < 0.01
    # Positive by chance in some draws, never in nearly all.
    assert np.mean(np.array(gains) > 1e-6) <= 0.75


def test_gain_counts_beyond_the_strata_only():
    rng = stream(0, "beyond")
    strata = rng.integers(0, 2, 2000)
    codes = (rng.random(2000) < np.where(strata, 0.85, 0.15)).astype(np.int64)
    acts = rng.normal(size=(2000, 8))
    acts[:, 0] += 2 * strata
    assert gain(acts, codes) > 0.1
    assert gain(acts, codes, strata=strata) < 0.01


def test_exclusive_or_with_the_label_is_seen_within_the_label():
    for seed in range(3):
        world = make_world("conditional_xor", n=2000, d=12, leak=0.08, rng=stream(seed, "xor"))
        strata = (world.condition_n == "yes").astype(np.int64)
        assert gain(world.acts_nd, labels_of(world), seed=seed) < 0.01
        assert gain(world.acts_nd, labels_of(world), strata=strata, seed=seed) > 0.03


def test_folds_must_hold_people_together_to_be_honest():
    """Only the person links rows and attribute."""
    rng = stream(0, "persons")
    person = np.repeat(np.arange(150), 6)
    codes = rng.integers(0, 2, 150)[person]
    acts = rng.normal(size=(150, 40))[person] + 0.05 * rng.normal(size=(900, 40))
    assert gain(acts, codes, clusters=person) < 0.02 < gain(acts, codes)


def test_a_class_that_a_stratum_or_training_part_lacks_is_no_crash():
    rng = stream(0, "lacks")
    strata = np.repeat([0, 1], 100)
    codes = np.where(strata == 0, rng.integers(0, 2, 200), 0)
    assert np.isfinite(gain(rng.normal(size=(200, 5)), codes, strata=strata))
    few = np.zeros(200, dtype=np.int64)
    few[:2] = 1
    assert np.isfinite(gain(rng.normal(size=(200, 5)), few))


def test_a_number_that_the_site_holds_exactly_leaves_nothing_beyond_it():
    acts = stream(0, "exact").normal(size=(600, 4))
    strata = np.arange(600) % 2
    rows, order = whiten_within(acts, strata)
    target = Target.of_values(acts[order, 0])
    statistic = ScoreStatistic(rows, "nonlinear")
    assert not statistic.prepare(np.asarray(target.labels_n, dtype=np.float32)[:, None]).any()
    assert first_order_gain(statistic, target, order % 5) == 0.0
