"""The standard curve: from a score back to the leak, with an interval that covers and limits that mean what they say."""

import numpy as np
import pytest

from proxyaudit.seeding import stream
from proxyaudit.stats.standard_curve import StandardCurve, fit_curve, tail_counts

LEAKS = np.array([0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32])


def true_curve(noise=8.0, signal=1500.0, steep=3.0):
    means = signal * LEAKS
    return StandardCurve(LEAKS, means, np.sqrt(noise**2 + steep * means))


def at(curve, leak):
    return np.interp(leak, curve.leaks, curve.means), np.interp(leak, curve.leaks, curve.sds)


def fitted(rng, curve, plants=50):
    return fit_curve(list(LEAKS), [rng.normal(m, s, 999 if not m else plants) for m, s in zip(curve.means, curve.sds, strict=True)])


def test_calibration_inverts_the_curve_between_and_beyond_its_points():
    curve = true_curve()
    for leak in (0.0, 0.013, 0.02, 0.1, 0.32):
        assert curve.calibrate(at(curve, leak)[0])[0] == pytest.approx(leak, abs=1e-9)
    assert curve.calibrate(1500 * 0.4)[0] == pytest.approx(0.4, abs=1e-6)
    assert curve.calibrate(1e9) == (1.0, 1.0, 1.0)
    # Below the mean of the null the leak is negative and says so; its interval is not.
    value, low, high = curve.calibrate(-10.0)
    assert value < 0
    assert low == 0 <= high


@pytest.mark.parametrize("leak", [0.0, 0.01, 0.05, 0.2])
def test_intervals_of_fitted_curves_cover(leak):
    rng, truth = stream(0, "coverage", leak), true_curve()
    covered = 0
    for _ in range(20):
        curve = fitted(rng, truth)
        for score in rng.normal(*at(truth, leak), 40):
            value, low, high = curve.calibrate(score)
            assert low <= max(value, 0) <= high + 1e-12
            covered += low <= leak <= high
    # 800 intervals at .95 with fitted curves: .93 is the promise, .91 leaves room for chance in 20 curves.
    assert covered / 800 > 0.91


def test_the_spread_at_weak_leaks_is_not_taken_from_strong_ones():
    """Spreads as measured at n = 3 000, d = 32: labels of strong plants are nearly certain, so their score varies less again."""
    leaks = [0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64]
    means, sds = [0, 41, 81, 160, 310, 584, 1041, 1631], [7.9, 14.8, 18.7, 24.5, 32.1, 37.6, 34.9, 26.4]
    rng = stream(0, "measured")
    curve = fit_curve(leaks, [rng.normal(m, s, 999 if not m else 200) for m, s in zip(means, sds, strict=True)])
    assert curve.sds[2] == pytest.approx(18.7, rel=0.15)
    assert curve.sds[3] == pytest.approx(24.5, rel=0.15)


def test_wider_level_gives_wider_intervals_and_more_noise_too():
    narrow, wide = true_curve().calibrate(60, 0.8), true_curve().calibrate(60, 0.99)
    noisy = true_curve(noise=20).calibrate(60, 0.8)
    assert wide[1] < narrow[1]
    assert narrow[2] < wide[2]
    assert noisy[2] - noisy[1] > narrow[2] - narrow[1]


def test_the_detection_limit_is_found_in_95_percent_and_no_smaller_leak_is():
    curve = true_curve()
    null_high = 1.645 * curve.sds[0]
    limit = curve.detection_limit(null_high)
    rng = stream(0, "limit")
    assert (rng.normal(*at(curve, limit), 20000) > null_high).mean() == pytest.approx(0.95, abs=0.01)
    assert (rng.normal(*at(curve, 0.8 * limit), 20000) > null_high).mean() < 0.92
    assert curve.detection_limit(1e9) is None


def test_means_are_made_increasing_and_equal_scores_do_not_crash():
    curve = fit_curve([0, 0.01, 0.02], [np.array([0.0, 1.0, 2.0]), np.array([5.0, 6.0, 7.0]), np.array([4.0, 5.0, 6.0])])
    assert (np.diff(curve.means) >= 0).all()
    flat = fit_curve([0, 0.01, 0.02], [np.zeros(5)] * 3)
    assert np.isfinite(flat.calibrate(0.0)).all()
    assert flat.detection_limit(0.0) is None or flat.detection_limit(0.0) >= 0


def test_rows_needed_follow_noise_signal_and_margin():
    def needed(margin=0.02, **curve):
        return true_curve(**curve).rows_needed(1000, margin)

    assert needed(noise=1.0) == 1000
    assert needed(noise=8.0) < needed(noise=16.0) < needed(noise=32.0)
    assert needed(noise=16.0, signal=3000) < needed(noise=16.0, signal=1500)
    assert needed(margin=0.04, noise=16.0) < needed(margin=0.02, noise=16.0)
    assert StandardCurve(LEAKS, np.zeros(7), np.ones(7)).rows_needed(1000, 0.02) is None


def test_the_rows_that_are_asked_for_do():
    """With that many rows the signal grows in proportion, the noise stays: absence is called in 95 % of cases."""
    curve = true_curve(noise=16.0)
    factor = curve.rows_needed(1000, 0.02) / 1000
    assert factor > 1.2
    rng = stream(0, "rows")

    def called(times):
        more = true_curve(noise=16.0, signal=1500 * times)
        mean, sd = at(more, 0.02)
        bar = np.quantile(rng.normal(mean, sd, 20000), 0.01)
        return (rng.normal(0, curve.sds[0], 20000) <= bar).mean()

    assert called(factor) == pytest.approx(0.95, abs=0.03)
    assert called(factor / 1.5) < 0.9


def test_tied_scores_count_on_both_sides():
    planted = np.full(199, 3.0)
    assert tail_counts(3.0, planted) == (1.0, 1.0)
    assert tail_counts(3.0 * (1 + 1e-9), planted) == (1.0, 1.0)
    above, below = tail_counts(0.0, np.concatenate([np.zeros(50), np.ones(149)]))
    assert (above, below) == (1.0, 51 / 200)


def test_counts_and_the_tail_beyond_them():
    planted = stream(0, "tail").normal(size=199)
    assert tail_counts(-10.0, planted) == (1.0, 1 / 200)
    near, far = tail_counts(planted.max() + 0.1, planted)[0], tail_counts(8.0, planted)[0]
    assert 0 < far < near <= 1 / 200
    # The tail is on the safe side of the true one.
    assert far > 1e-15
    assert tail_counts(4.0, planted)[0] > 3.2e-5


def test_the_tail_is_conservative_where_it_matters():
    """Sums of squares have heavier tails than a normal one; p-values below 1 / (R + 1) must not come too often."""
    rng = stream(0, "conservative")
    hits = sum(tail_counts(rng.chisquare(5), rng.chisquare(5, 199))[0] <= 1e-3 for _ in range(4000))
    # 4 expected at level .001, 12 has probability 5e-4.
    assert hits <= 12
