"""Rows of great length and rare units: they take no power from the quadratic test, and hide nothing."""

from __future__ import annotations

import numpy as np
import pytest

from proxyaudit.probes.deciding import planted_test
from proxyaudit.probes.planting import Target
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import bound, product_coordinates, shortened, whiten
from proxyaudit.seeding import stream

N = 4000


def rectified(name, dead=(0.03, 0.01, 0.002)):
    """Units of a rectified layer, a few of them nearly dead."""
    acts = stream(0, name).normal(size=(N, 10)) @ stream(1, name).normal(size=(10, 12))
    for unit, share in enumerate(dead):
        acts[:, unit] -= np.quantile(acts[:, unit], 1 - share)
    return np.maximum(acts, 0.0)


def nonlinear(acts, codes, classes=2):
    statistic = ScoreStatistic(whiten(acts).rows, "nonlinear")
    return planted_test(statistic, Target.of_codes(codes, classes), 0.1, lambda purpose: stream(0, "tame", purpose), permutations=199)


@pytest.mark.long
@pytest.mark.parametrize("classes", [2, 4])
def test_random_labels_beside_nearly_dead_units_are_absent(classes):
    for seed in range(2):
        found = nonlinear(rectified(f"net {seed}"), stream(seed, "coin").integers(0, classes, N), classes)
        assert found.p_absent <= 0.01
        assert min(found.found_once, found.found_twice) >= 0.9


def length_of(acts):
    length = (whiten(acts).z_nr ** 2).sum(axis=1)
    return length > np.median(length)


def product_of(acts):
    z = whiten(acts).z_nr
    return (z[:, -1] * z[:, -2]) > 0


@pytest.mark.parametrize("tell", [length_of, product_of])
def test_what_sits_in_length_or_products_is_found(tell):
    acts = rectified("leaks")
    noise = stream(2, "noise").random(N) < 0.1
    assert nonlinear(acts, (np.asarray(tell(acts)) ^ noise).astype(np.int64)).p_present <= 0.01


def test_gaussian_rows_stay_as_they_are():
    assert product_coordinates(stream(3, "even").normal(size=(N, 12)), np.zeros((N, 0))) is None
    assert whiten(stream(3, "even").normal(size=(N, 12))).rows.q_nk is None


def test_shortening_is_radial_and_rotates_with_the_rows():
    z = stream(4, "tails").standard_t(2, size=(500, 5))
    turn = np.linalg.qr(stream(5, "turn").normal(size=(5, 5)))[0]
    np.testing.assert_allclose(shortened(z @ turn), shortened(z) @ turn, atol=1e-10)
    assert np.sqrt((shortened(z) ** 2).sum(axis=1)).max() <= bound(5) + 1e-9
