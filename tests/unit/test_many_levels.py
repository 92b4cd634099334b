"""Proxies of many levels are read on part of the rows; whoever is protected on all of them."""

from __future__ import annotations

import numpy as np
import pytest

from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.record import SITE_LEAKS
from proxyaudit.channels.leak.site_probe import ProbedArrays, Probing
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.many_levels import fewer_rows_notes, most_rows, on_fewer_rows
from proxyaudit.estimates.record import Measurement
from proxyaudit.recipe.recipe import Margins


def attribute(role: str, levels: int, n: int, seed: int = 0) -> Attribute:
    codes = np.random.default_rng(seed).integers(0, levels, n)
    return Attribute("area", role, "multiclass" if levels > 2 else "binary", tuple(f"a{k:02d}" for k in range(levels)), codes)


@pytest.mark.parametrize(
    ("role", "levels", "n"), [("protected", 30, 40_000), ("proxy", 2, 90_000), ("proxy", 30, 4000), ("proxy", 5, 24_000)]
)
def test_who_is_read_on_all_rows(role: str, levels: int, n: int) -> None:
    one = attribute(role, levels, n)
    assert on_fewer_rows(one, np.arange(n), 0) is one
    assert not fewer_rows_notes([one])


@pytest.mark.parametrize("levels", [8, 12, 30])
def test_rows_times_levels_are_bounded(levels: int) -> None:
    one = attribute("proxy", levels, 40_000)
    fewer = on_fewer_rows(one, np.arange(40_000), 7)
    assert int(fewer.known.sum()) == most_rows(one) == 120_000 // levels
    kept = fewer.codes >= 0
    assert (fewer.codes[kept] == one.codes[kept]).all()
    again = on_fewer_rows(one, np.arange(40_000), 7)
    assert (again.codes == fewer.codes).all()
    assert (on_fewer_rows(one, np.arange(40_000), 8).codes != fewer.codes).any()
    assert f"{levels} levels" in fewer_rows_notes([one])[0].why


def test_a_rare_level_keeps_its_rows() -> None:
    codes = np.random.default_rng(1).choice(10, 60_000, p=[0.001, *[0.111] * 9])
    one = Attribute("area", "proxy", "multiclass", tuple("abcdefghij"), codes)
    fewer = on_fewer_rows(one, np.arange(60_000), 0)
    assert 20 <= (fewer.codes == 0).sum() < (codes == 0).sum()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_level_of_a_cluster_that_was_not_drawn_is_not_lost(seed: int) -> None:
    clusters = np.repeat(np.arange(40), 1000)
    one = Attribute("area", "proxy", "multiclass", tuple(f"a{k:02d}" for k in range(40)), clusters.copy())  # a level for each cluster
    assert (on_fewer_rows(one, clusters, seed).codes == one.codes).all()


def test_whole_clusters_are_kept() -> None:
    clusters = np.repeat(np.arange(10_000), 4)
    fewer = on_fewer_rows(attribute("proxy", 20, 40_000), clusters, 0)
    assert set(np.bincount(clusters[fewer.known])) <= {0, 4}


@pytest.mark.long
def test_a_strong_leak_is_found_and_counts_its_rows() -> None:
    n, levels = 16_000, 12
    one = attribute("proxy", levels, n)
    acts = np.random.default_rng(2).normal(size=(n, 6)).astype(np.float32)
    acts[:, :4] += np.random.default_rng(3).normal(size=(levels, 4))[one.codes]
    out = Measurement()
    probing = Probing(0, Margins(), 199, nonlinear=False)
    measure_site(acts, ProbedArrays((one,), np.arange(n)), probing, site="h", placebos={}, out=out)
    record = SITE_LEAKS.read(out, "area", "h")
    assert record.n == 10_000
    assert record.tests["linear"].p_present < 0.001
    assert len(record.tests["linear"].influence_n) == n
