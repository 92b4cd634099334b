"""A site that memory holds once only: the linear test on all rows says what it says elsewhere, everything else is asked on fewer."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from proxyaudit.channels.leak.large import fewer_rows, measure_large_site, whiten_large
from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.record import SITE_LEAKS
from proxyaudit.channels.leak.site_probe import FOUND_ALREADY, ProbedArrays, Probing
from proxyaudit.data.attributes import Attribute
from proxyaudit.estimates.record import Measurement
from proxyaudit.probes.whitening import whiten
from proxyaudit.recipe.effort import SETTLED_AT
from proxyaudit.recipe.recipe import Margins
from proxyaudit.seeding import stream

N, D, FEWER = 1200, 6, 500


def attributes(rng):
    told, free = rng.integers(0, 2, N), rng.integers(0, 3, N)
    number = np.where(rng.random(N) < 0.1, np.nan, rng.normal(size=N))
    made = Attribute("told", "protected", "binary", ("a", "b"), told), Attribute("free", "protected", "multiclass", ("a", "b", "c"), free)
    return *made, Attribute("number", "protected", "continuous", (), number)


@pytest.fixture(scope="module")
def measured():
    rng = stream(0, "large sites")
    found = attributes(rng)
    acts = rng.normal(size=(N, D)).astype(np.float32)
    acts[:, 0] += 1.2 * np.asarray(found[0].codes, dtype=np.float32)
    acts[:, 3] = 1.5  # constant
    rows = ProbedArrays(found, np.arange(N) // 2, FEWER)
    probing = Probing(0, Margins(), 99, readers=("quadratic",), unless_linear=SETTLED_AT, numbers_too=False)
    whole, large = Measurement(), Measurement()
    measure_site(acts, rows, probing, site="s", placebos={}, out=whole)
    few = measure_large_site(lambda place: acts[place], rows, probing, site="s", out=large)
    return rows, acts, {name.name: (SITE_LEAKS.read(whole, name.name, "s"), SITE_LEAKS.read(large, name.name, "s")) for name in found}, few


@pytest.mark.long
@pytest.mark.parametrize("name", ["told", "free", "number"])
def test_the_linear_test_is_that_of_all_rows(measured, name):
    whole, large = measured[2][name]
    assert (large.n, large.rank, large.constant) == (whole.n, whole.rank, whole.constant)
    assert large.linear.leak == pytest.approx(whole.linear.leak, abs=1e-3)
    assert large.linear.p_present == pytest.approx(whole.linear.p_present, abs=0.02)
    assert np.allclose(large.linear.influence_n, whole.linear.influence_n, atol=1e-4)
    assert large.linear.rows is None


@pytest.mark.long
def test_everything_else_is_asked_on_fewer_rows(measured):
    _, acts, found, (few, cut, place) = measured
    assert found["told"][1].tests["nonlinear"].reason == FOUND_ALREADY
    for name in ("free", "number"):
        test = found[name][1].tests["nonlinear"]
        assert test.asked
        assert 0 < test.rows <= FEWER
        assert set(np.flatnonzero(test.influence_n)) <= set(place)
    assert found["number"][1].tests["quarters"].rows <= FEWER
    assert len(few) == len(place) <= FEWER
    assert np.array_equal(few, acts[place])
    assert all(set(np.flatnonzero(one.known)) <= set(place) for one in cut)


def test_whole_clusters_are_drawn():
    clusters = np.repeat(np.arange(500), 3)
    some = fewer_rows(clusters, 400, 0)
    assert 390 < some.sum() <= 400
    assert set(np.bincount(clusters[some])) <= {0, 3}
    assert np.array_equal(some, fewer_rows(clusters, 400, 0))


def test_coordinates_are_those_of_exact_whitening():
    acts = stream(1, "large sites").normal(size=(400, 5)).astype(np.float32) @ np.diag([1, 1e3, 1e-3, 1, 1]).astype(np.float32)
    large, whole = whiten_large(acts.copy()), whiten(acts)
    assert np.allclose(large.x_nd, whole.x_nd, atol=1e-5)
    assert np.allclose(large.z_nr @ large.z_nr.T, whole.z_nr @ whole.z_nr.T, atol=1e-3)


def test_long_rows_that_hide_the_others_are_not_asked_in_this_way():
    acts = stream(2, "large sites").normal(size=(N, D)).astype(np.float32)
    acts[:6] *= 1e4
    assert whiten_large(acts.copy()) is None
    found = attributes(stream(2, "labels"))
    out, rows = Measurement(), ProbedArrays(found[:1], np.arange(N), FEWER)
    measure_large_site(lambda place: acts[place], rows, Probing(0, Margins(), 99, nonlinear=False), site="s", out=out)
    assert 0 < SITE_LEAKS.read(out, "told", "s").linear.rows <= FEWER


def test_a_constant_site_is_a_measured_zero():
    found = attributes(stream(3, "labels"))
    out, rows = Measurement(), ProbedArrays(found, np.arange(N), FEWER)
    measure_large_site(lambda place: np.ones((len(place), D), np.float32), rows, Probing(0, Margins(), 99), site="s", out=out)
    assert all(SITE_LEAKS.read(out, one.name, "s").silent for one in found)


def test_the_linear_test_takes_the_memory_that_a_plan_counts_on():
    n, d = 3000, 400
    rng = stream(4, "large sites")
    acts, codes = rng.normal(size=(n, d)).astype(np.float32), rng.integers(0, 2, n)
    acts[:, 0] += 0.8 * codes.astype(np.float32)
    rows = ProbedArrays((Attribute("told", "protected", "binary", ("a", "b"), codes),), np.arange(n), 100)
    tracemalloc.start()
    try:
        measure_large_site(
            lambda place: acts[place], rows, replace(Probing(0, Margins(), 199), nonlinear=False), site="s", out=Measurement()
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * n * d + 24e3 * n + 40 * d**2 + 30e6
