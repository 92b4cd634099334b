"""Codelength, few-shot curve and selectivity: truth, nulls, rare classes, types, same seed same numbers."""

import numpy as np
import pytest

from proxyaudit.probes.effort import few_shot_curve, measure_effort, online_codelength, selectivity
from proxyaudit.probes.folds import TooFewRowsError
from proxyaudit.probes.results import Effort
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream


def world(strength, n=3000, d=16, name="effort"):
    rng = stream(0, name, strength, d)
    z = whiten(rng.normal(size=(n, d))).z_nr
    return z, (rng.random(n) < 1 / (1 + np.exp(-strength * z[:, 0]))).astype(np.int64), np.arange(n)


def test_codelength_falls_with_what_the_rows_tell():
    weak, middle, strong = (online_codelength(z, codes, 2, ids, seed=0) for z, codes, ids in map(world, (0.0, 2.0, 8.0)))
    assert strong.bits < middle.bits < weak.bits
    assert 0.97 < weak.rows / weak.bits < 1.01
    assert middle.rows / middle.bits > 1.2
    assert weak.rows == 3000
    assert weak.bits > weak.label_bits - 1
    # The true conditional entropy is a lower bound in expectation.
    z, codes, _ = world(2.0)
    p = 1 / (1 + np.exp(-2 * z[:, 0]))
    entropy = -(codes * np.log2(p) + (1 - codes) * np.log2(1 - p)).sum()
    assert entropy < middle.bits < 1.15 * entropy


def test_codelength_of_a_rare_class_shows_how_little_the_rows_add():
    rng = stream(0, "rare")
    z, codes = whiten(rng.normal(size=(3000, 8))).z_nr, (rng.random(3000) < 0.02).astype(np.int64)
    found = online_codelength(z, codes, 2, np.arange(3000), seed=0)
    assert found.rows / found.bits > 5
    assert 0.98 < found.bits / found.label_bits < 1.4


def test_blocks_end_between_clusters():
    """A label that is constant within clusters, with rows that name the cluster: only a split inside clusters could read it."""
    rng = stream(0, "blocks")
    clusters = np.repeat(np.arange(100), 20)
    z = whiten(rng.normal(size=(100, 60))[clusters] + 0.05 * rng.normal(size=(2000, 60))).z_nr
    codes = rng.integers(0, 2, 100)[clusters]
    assert online_codelength(z, codes, 2, clusters, seed=0).bits > 2000
    assert online_codelength(z, codes, 2, np.arange(2000), seed=0).bits < 2000 / 1.5


def test_few_shot_curve_rises_only_where_there_is_something_to_read():
    curve, flat = (few_shot_curve(z, codes, 2, ids, seed=0) for z, codes, ids in map(world, (4.0, 0.0)))
    assert curve.sizes == (16, 32, 64, 128, 256, 512, 1024)
    assert list(curve.leaks) == sorted(curve.leaks)
    assert curve.aurocs[-1] > 0.88 > curve.aurocs[0] > 0.6
    assert curve.held_out == 1000
    assert max(flat.leaks) < 0.01
    assert all(abs(area - 0.5) < 0.05 for area in flat.aurocs)


def test_few_shot_curve_stops_where_the_rare_class_ends():
    rng = stream(0, "few rare")
    z, codes = whiten(rng.normal(size=(3000, 8))).z_nr, (rng.random(3000) < 0.02).astype(np.int64)
    curve = few_shot_curve(z, codes, 2, np.arange(3000), seed=0)
    assert curve.sizes[0] == 16
    assert 32 <= curve.sizes[-1] <= 64
    codes = np.zeros(3000, dtype=np.int64)
    codes[:4] = 1
    with pytest.raises(TooFewRowsError, match="fewer than"):
        few_shot_curve(z, codes, 2, np.arange(3000), seed=0)


def test_selectivity_is_zero_where_the_reader_only_remembers_types():
    rng = stream(0, "types")
    types = rng.integers(0, 60, 3000)
    z = whiten(rng.normal(size=(60, 80))[types] + 0.2 * rng.normal(size=(3000, 80))).z_nr
    remembered = selectivity(z, rng.integers(0, 2, 60)[types], 2, types, seed=0)
    assert remembered.accuracy > 0.95
    assert abs(remembered.accuracy - remembered.control) < 0.05
    assert remembered.repeated > 0.99


def test_selectivity_of_a_feature_is_accuracy_beyond_chance_where_no_type_repeats():
    z, codes, ids = world(4.0)
    found = selectivity(z, codes, 2, ids, seed=0)
    assert found.accuracy > 0.8
    assert found.control == pytest.approx(0.5, abs=0.03)
    assert found.repeated == 0


@pytest.mark.parametrize("measure", [online_codelength, few_shot_curve, selectivity])
def test_several_classes_missing_labels_and_determinism(measure):
    rng = stream(0, "several")
    z = whiten(rng.normal(size=(2500, 6))).z_nr
    codes = np.digitize(z[:, 0], [-0.5, 0.5]).astype(np.int64)
    codes[rng.random(2500) < 0.1] = -1
    ids = rng.integers(0, 900, 2500)
    first = measure(z, codes, 3, ids, seed=3)
    assert first == measure(z, codes, 3, ids, seed=3)
    assert first != measure(z, codes, 3, ids, seed=4)


@pytest.mark.parametrize("measure", [online_codelength, few_shot_curve, selectivity])
def test_what_cannot_be_measured_has_a_reason(measure):
    z, codes, ids = world(1.0, n=60, d=2)
    one = np.zeros(60, dtype=np.int64)
    for labels, classes, why in ((z[:, 0], 0, "continuous"), (np.full(60, -1), 2, "no row"), (one, 2, "fewer than")):
        with pytest.raises(TooFewRowsError, match=why):
            measure(z, labels, classes, ids, seed=0)
    if measure is online_codelength:
        assert measure(z, codes, 2, one, seed=0).rows == 60
    else:  # one cluster leaves no other rows to score
        with pytest.raises(TooFewRowsError, match="a class has"):
            measure(z, codes, 2, one, seed=0)


@pytest.mark.parametrize("measure", [online_codelength, few_shot_curve, selectivity])
def test_rows_are_bounded(measure):
    z, codes, ids = world(2.0)
    found = measure(z, codes, 2, ids, seed=0, max_rows=500)
    if measure is online_codelength:
        assert found.rows == 500


def test_what_too_few_rows_tell_is_left_out():
    z, codes, ids = world(4.0, n=3000, d=8)
    found = measure_effort(z, codes, 2, ids, 0)
    assert [m for m, _, _ in found.shots] == [16, 64, 256, 1024]
    assert found.saved > 0.1
    assert found.rows == 3000
    assert found.accuracy is found.control is None  # no type repeats
    assert measure_effort(z[:40], codes[:40] * 0, 2, ids[:40], 0) == Effort()
