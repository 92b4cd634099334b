"""Crossed intervals: coverage, pairing, identical repetitions, Fieller's ratio."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import Measured, crossed_interval, fieller_ratio, p_above, p_below, row_variance


def simulate(rng, seeds=5, rows=400, row_sd=1.0, seed_sd=0.05, mean=0.0):
    """Rows crossed with seeds: a row effect shared by all seeds, a seed effect shared by all rows."""
    row = rng.normal(size=rows) * row_sd
    values = mean + row.mean() + rng.normal(size=seeds) * seed_sd
    return Measured(values, (row - row.mean()) / rows, np.arange(rows))


def test_crossed_interval_covers_and_the_nested_one_does_not():
    rng = stream(0, "coverage")
    hits = nested = 0
    for _ in range(1000):
        measured = simulate(rng, row_sd=2.0, seed_sd=0.05)
        interval = crossed_interval(measured)
        hits += interval.low <= 0 <= interval.high
        # The naive rule: seeds as if they were the whole story.
        half = 2.776 * measured.seed_values.std(ddof=1) / np.sqrt(5)
        nested += abs(measured.value) <= half
    assert hits >= 930
    assert nested < 800


def test_clusters_count_once():
    rng = stream(0, "clusters")
    row = rng.normal(size=100)
    copied = np.repeat(row, 4)
    as_rows = Measured(np.array([row.mean()]), (copied - row.mean()) / 400, np.arange(400))
    as_clusters = Measured(np.array([row.mean()]), (copied - row.mean()) / 400, np.repeat(np.arange(100), 4))
    truth = crossed_interval(Measured(np.array([row.mean()]), (row - row.mean()) / 100, np.arange(100)))
    assert crossed_interval(as_clusters).se == pytest.approx(truth.se, rel=1e-9)
    assert crossed_interval(as_rows).se < 0.6 * truth.se


def test_identical_repetitions_count_as_one():
    influence = np.array([0.01, -0.01, 0.02, -0.02])
    five = crossed_interval(Measured(np.full(5, 0.3), influence, np.arange(4)))
    one = crossed_interval(Measured(np.array([0.3]), influence, np.arange(4)))
    assert (five.se, five.df) == (one.se, one.df)


def test_one_cluster_gives_no_interval():
    measured = Measured(np.array([0.3]), np.array([0.1, -0.1]), np.zeros(2, dtype=np.int64))
    assert row_variance(measured.influence_n, measured.clusters_n)[0] == float("inf")
    assert p_above(measured, 0.0) == p_below(measured, 1.0) == 1.0


def test_paired_difference_drops_what_rows_share():
    rng = stream(0, "paired")
    row = rng.normal(size=500)
    a = Measured(np.array([0.30, 0.31, 0.29]), (row - row.mean()) / 500, np.arange(500))
    b = Measured(np.array([0.20, 0.21, 0.19]), (row - row.mean()) / 500, np.arange(500))
    difference = a - b
    assert difference.value == pytest.approx(0.1)
    assert crossed_interval(difference).se < 1e-9 < crossed_interval(a).se


@given(hnp.arrays(np.float64, 5, elements=st.floats(-1, 1)), st.floats(0.5, 0.999))
def test_estimate_lies_inside_its_interval(values, level):
    interval = crossed_interval(Measured(values, np.linspace(-0.01, 0.01, 50), np.arange(50)), level)
    assert interval.low <= interval.value <= interval.high


def test_fieller_covers_the_ratio():
    rng = stream(0, "fieller")
    hits = total = 0
    for _ in range(400):
        rows = rng.normal(size=(2, 300))
        top = Measured(np.array([0.5 + rows[0].mean() * 0.5]), (rows[0] - rows[0].mean()) * 0.5 / 300, np.arange(300))
        bottom = Measured(np.array([1.0 + rows[1].mean()]), (rows[1] - rows[1].mean()) / 300, np.arange(300))
        interval = fieller_ratio(top, bottom)
        total += 1
        hits += interval is not None and interval.low <= 0.5 <= interval.high
    assert hits / total >= 0.92


def test_fieller_is_unbounded_when_the_denominator_may_be_zero():
    noise = np.linspace(-1, 1, 100)
    assert (
        fieller_ratio(Measured(np.array([1.0]), noise, np.arange(100)), Measured(np.array([0.01]), noise[::-1].copy(), np.arange(100)))
        is None
    )
