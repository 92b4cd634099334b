"""Variances between few repetitions: what numbers measured alike say of each other, and what they must not say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from proxyaudit.seeding import stream
from proxyaudit.stats.components import REPETITIONS
from proxyaudit.stats.intervals import UNSHARED, Measured, SharedSpread, crossed_interval
from proxyaudit.stats.pools import trigamma_inverse

pytestmark = pytest.mark.long

ROWS, ROW_ERROR = 400, 0.005


def audit(truth_g: np.ndarray, spread_g: np.ndarray, seeds: int, rng: np.random.Generator) -> list[Measured]:
    """Numbers on the same rows, each with its truth and its standard deviation between models."""
    found = []
    for truth, spread in zip(truth_g, spread_g, strict=True):
        row = rng.normal(size=ROWS) * ROW_ERROR * np.sqrt(ROWS)
        values = truth + row.mean() + rng.normal(size=seeds) * spread
        found.append(Measured(values, (row - row.mean()) / ROWS, np.arange(ROWS)))
    return found


def coverage(truth_g: np.ndarray, spread_g: np.ndarray, *, shared: bool, seeds: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Share of 95 % intervals that hold the truth, and their median width, of each number."""
    rng, hits, widths = stream(0, "shared spread"), [], []
    for _ in range(500):
        numbers = audit(truth_g, spread_g, seeds, rng)
        prior = SharedSpread.of((number, 0.0) for number in numbers) if shared else UNSHARED
        intervals = [crossed_interval(prior.applied(number)) for number in numbers]
        hits.append([i.low <= truth <= i.high for i, truth in zip(intervals, truth_g, strict=True)])
        widths.append([i.high - i.low for i in intervals])
    return np.mean(hits, axis=0), np.median(widths, axis=0)


def test_three_models_tell_more_where_other_numbers_speak_for_them() -> None:
    truth = np.r_[np.zeros(4), np.linspace(0.02, 0.2, 4)]
    spread = 0.3 * truth + 0.002
    alone, wide = coverage(truth, spread, shared=False, seeds=3)
    held, narrow = coverage(truth, spread, shared=True, seeds=3)
    assert min(held.mean(), alone.mean()) >= 0.93
    assert held.min() >= 0.92
    assert narrow[-1] < 0.8 * wide[-1]


def test_two_models_would_not_show_that_they_are_unlike_others() -> None:
    numbers = audit(np.full(8, 0.05), np.full(8, 0.01), 2, stream(3, "two"))
    prior = SharedSpread.of((number, 0.0) for number in numbers)
    assert [crossed_interval(prior.applied(number)) for number in numbers] == [crossed_interval(number) for number in numbers]


def test_one_number_unlike_the_others_keeps_its_own_spread() -> None:
    truth, spread = np.full(12, 0.03), np.r_[np.full(11, 0.001), 0.03]
    alone, _ = coverage(truth, spread, shared=False)
    held, _ = coverage(truth, spread, shared=True)
    assert held[-1] >= alone[-1] - 0.06
    odd = audit(truth, spread, 3, stream(1, "one off"))[-1]
    assert crossed_interval(replace(odd, prior={REPETITIONS: (1e-5, 8.0)})).se >= crossed_interval(odd).se - 1e-12


def test_a_number_that_surely_varies_more_than_the_others_is_judged_alone() -> None:
    odd = Measured(np.array([0.01, 0.03, 0.08]), np.zeros(4), np.arange(4))
    alone, like = crossed_interval(odd), odd.seed_values.var(ddof=1)
    for ratio, unlike in ((like / 2, False), (like / 6, False), (like / 20, True), (like / 900, True)):
        found = crossed_interval(replace(odd, prior={REPETITIONS: (float(ratio), 8.0)}))
        assert (found == alone) is unlike
        assert found.se >= alone.se * (1 - 1e-12)


def test_few_numbers_share_nothing() -> None:
    numbers = audit(np.full(3, 0.05), np.full(3, 0.01), 2, stream(2, "few"))
    assert SharedSpread.of((number, 0.0) for number in numbers) == UNSHARED
    single = Measured(np.array([0.05]), np.zeros(4), np.arange(4))
    assert SharedSpread.of([(single, 0.0)] * 10) == UNSHARED
    assert UNSHARED.applied(numbers[0]) is numbers[0]


@pytest.mark.parametrize("x", [0.05, 0.5, 4.0, 300.0])
def test_the_inverse_of_trigamma(x: float) -> None:
    assert trigamma_inverse(float(special.polygamma(1, x))) == pytest.approx(x, rel=1e-6)
