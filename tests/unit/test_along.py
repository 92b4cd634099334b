"""One number per row: correlations as leaks, maps that hold on other rows, and what tails and clusters do to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from proxyaudit.probes.attribute_direction import (
    correlation,
    correlation_curve,
    discriminants,
    explained,
    independent_rows,
    predict,
    predict_apart,
    read_correlations,
    readout,
    without_tails,
)


def gaussian_leak(shift: float) -> float:
    """V-information of two balanced classes whose unit Gaussians lie ``shift`` apart, by quadrature."""

    def lost(z: float) -> float:
        return float(norm.pdf(z, shift / 2) * np.log2(1 + np.exp(-shift * z)))

    return 1 - quad(lost, -12, 12)[0]


def test_the_curve_gives_the_leak_of_shifted_gaussians() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40_000)
    for shift in (0.35, 0.7, 1.2, 2.0):
        score = rng.normal(size=len(labels)) + shift * labels
        curve = correlation_curve(score, 0.5, 0.02)
        assert curve.leak(np.array(correlation(labels.astype(float), score))) == pytest.approx(gaussian_leak(shift), rel=0.1)


def test_the_curve_does_not_depend_on_scale_and_knows_the_margin() -> None:
    score = np.random.default_rng(0).normal(size=3000)
    one, other = correlation_curve(score, 0.2, 0.02), correlation_curve(5 - 3 * score, 0.2, 0.02)
    assert one.at_margin == pytest.approx(other.at_margin, rel=1e-2)
    assert one.leak(np.array(one.at_margin)) == pytest.approx(0.02, rel=1e-2)
    number = correlation_curve(score, None, 0.02)
    assert number.leak(np.array(0.3)) == pytest.approx(0.09)


def test_a_constant_score_tells_nothing() -> None:
    curve = correlation_curve(np.ones(100), 0.5, 0.02)
    found = read_correlations(np.array([0.0]), 100, curve)
    assert curve.at_margin is None
    assert (found.leak[0], found.p_above[0], found.p_below[0], found.high[0]) == (0, 1, 1, 1)


def test_p_values_hold_under_the_null_and_at_the_margin() -> None:
    rng = np.random.default_rng(1)
    n, score = 1500, rng.normal(size=1500)
    curve = correlation_curve(score, 0.3, 0.02)
    null = np.array([correlation((rng.random(n) < 0.3).astype(float), score) for _ in range(1000)])
    found = read_correlations(null, n, curve)
    assert (found.p_null <= 0.05).mean() == pytest.approx(0.05, abs=0.025)
    assert (read_correlations(null, n, curve, sides=2).p_null <= 0.05).mean() == pytest.approx(0.05, abs=0.025)
    assert (found.leak >= 0.02).mean() < 0.001
    # Noise of placebos, where it is larger, takes the place of the rows'.
    wider = read_correlations(2 * null, n, curve, placebos=True)
    assert (wider.p_null <= 0.05).mean() == pytest.approx(0.05, abs=0.025)
    at = curve.at_margin + rng.normal(size=2000) / np.sqrt(n)
    assert (read_correlations(at, n, curve).p_above <= 0.05).mean() == pytest.approx(0.05, abs=0.03)
    assert (read_correlations(at, n, curve).p_below <= 0.05).mean() == pytest.approx(0.05, abs=0.03)


def test_the_estimate_lies_in_its_interval_and_grows_with_the_correlation() -> None:
    curve = correlation_curve(np.random.default_rng(0).normal(size=800), 0.5, 0.02)
    found = read_correlations(np.linspace(-0.3, 0.7, 50), 500, curve)
    assert ((found.low <= found.leak) & (found.leak <= found.high)).all()
    assert (np.diff(found.leak) >= 0).all()
    assert found.leak[0] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_rows_of_a_cluster_count_once(times: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, z = rng.normal(size=200), rng.normal(size=200)
    clusters = np.arange(200)
    once = independent_rows(a, z, clusters)
    again = independent_rows(np.repeat(a, times), np.repeat(z, times), np.repeat(clusters, times))
    assert once == 200
    assert again == pytest.approx(200, rel=1e-6)


def test_predictions_are_of_rows_that_were_not_fitted() -> None:
    rng = np.random.default_rng(0)
    acts, noise = rng.normal(size=(300, 60)), rng.normal(size=(300, 4))
    folds = np.arange(300) % 4
    assert explained(noise, predict_apart(acts, noise, folds)) < 0.02
    wanted = acts @ rng.normal(size=(60, 2))
    assert explained(wanted, predict_apart(acts, wanted, folds)) > 0.98
    moved = wanted.copy()
    moved[0] += 100
    # What a row holds itself has no part in its own prediction.
    assert np.allclose(predict_apart(acts, moved, folds)[folds == 0], predict_apart(acts, wanted, folds)[folds == 0])


def test_an_axis_of_small_variance_is_not_lost() -> None:
    rng = np.random.default_rng(0)
    first, small = rng.normal(size=2000), rng.normal(size=2000)
    acts = np.column_stack([first, first + 1e-3 * small])
    folds = np.arange(2000) % 4
    assert explained(small[:, None], predict_apart(acts, small[:, None], folds)) > 0.99
    direction = discriminants(acts, (small > 0).astype(float)[:, None])[:, 0]
    assert abs(correlation(acts @ direction, small)) > 0.99


def test_a_unit_that_wakes_up_on_other_rows_does_no_harm() -> None:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=1000)
    silent = np.zeros(1000)
    silent[3] = 1e-3
    fitted, wanted = np.column_stack([signal, silent]), (signal + rng.normal(size=1000))[:, None]
    loud = np.column_stack([rng.normal(size=500), rng.normal(size=500)])
    found = predict(fitted, wanted, loud)
    assert found.max() <= wanted.max()
    assert found.min() >= wanted.min()
    assert abs(correlation(found[:, 0], loud[:, 0])) > 0.7


def test_tails_cannot_carry_a_correlation() -> None:
    rng = np.random.default_rng(0)
    score, labels = rng.normal(size=1000), np.zeros(1000)
    labels[:300] = 1
    score[0] = 1000
    assert np.abs(without_tails(score)).max() < 4
    assert np.allclose(without_tails(np.column_stack([score, score]))[:, 1], without_tails(score))


def test_a_readout_finds_the_mixture() -> None:
    rng = np.random.default_rng(0)
    acts, weights = rng.normal(size=(500, 7)), rng.normal(size=(7, 3))
    assert np.allclose(readout(acts, acts @ weights + 4), weights)
    acts[:, 6] = 0  # a silent unit has no part in it
    assert np.allclose(readout(acts, acts[:, :2])[6], 0)
