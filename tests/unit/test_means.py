"""Means of few models: how often they are called absent at the margin, and how often their intervals hold the truth."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from proxyaudit.seeding import stream
from proxyaudit.stats.components import REPETITIONS
from proxyaudit.stats.intervals import Measured, SharedSpread, crossed_interval, p_below
from proxyaudit.stats.p_values import ABSENT_AT
from proxyaudit.stats.pools import ALIKE, SIZE, Pool

MARGIN, ROWS, AUDITS = 0.05, 40, 1500
GRID = tuple(product(range(2), range(3)))


def number(rng: np.random.Generator, sd: float, shape: tuple[int, int], rows: float, truth: float = MARGIN) -> Measured:
    """A number in so many tables and models, which differ by ``sd``, on rows that err by ``rows``."""
    row, (tables, models) = rng.normal(size=ROWS) * rows * np.sqrt(ROWS), shape
    y = truth + row.mean() + rng.normal(size=(tables, 1)) * (sd if tables > 1 else 0) + rng.normal(size=(1, models)) * sd
    return Measured(y.ravel(), (row - row.mean()) / ROWS, np.arange(ROWS), places=GRID if tables > 1 else ())


@pytest.mark.long
@pytest.mark.parametrize(
    ("shape", "rows"), [((1, 2), 0.004), ((1, 3), 0.003), ((1, 3), 0.0001), ((2, 3), 0.004)], ids=["two", "three", "models alone", "tables"]
)
def test_at_the_margin_a_mean_is_seldom_called_absent(shape: tuple[int, int], rows: float) -> None:
    """Satterthwaite's degrees of freedom of rows and two or three repetitions: .049 and .024 at level .01."""
    rng = stream(0, "means", *shape, rows)
    absent = sum(p_below(number(rng, 0.015, shape, rows), MARGIN) <= ABSENT_AT for _ in range(AUDITS))
    assert absent <= 24  # 15 at most, four standard errors would be 31


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 4, 30])
def test_other_numbers_never_make_absence_of_one_that_varies_more(times: int) -> None:
    rng, absent, hits = stream(0, "odd", times), 0, 0
    for _ in range(500):
        numbers = [number(rng, 0.005 * factor, (1, 3), 0.0005) for factor in (times, *[1] * 7)]
        odd = SharedSpread.of((one, 0.0) for one in numbers).applied(numbers[0])
        interval = crossed_interval(odd)
        absent += p_below(odd, MARGIN) <= ABSENT_AT
        hits += interval.low <= MARGIN <= interval.high
    assert absent <= 12
    assert hits >= 435  # that one varies four times as much is seldom seen in three models, so less is held


def test_two_models_of_numbers_nothing_like_each_other() -> None:
    rng, hits = stream(0, "unlike"), 0
    for _ in range(200):
        numbers = [number(rng, 0.01 * float(np.exp(rng.normal())), (1, 2), 0.002) for _ in range(8)]
        shared = SharedSpread.of((one, 0.0) for one in numbers)
        intervals = [crossed_interval(shared.applied(one)) for one in numbers]
        hits += sum(interval.low <= MARGIN <= interval.high for interval in intervals)
    assert hits >= 0.93 * 1600


@pytest.mark.parametrize("models", [2, 3, 5])
def test_what_is_called_absent_has_its_interval_below_the_margin(models: int) -> None:
    rng, seen = stream(0, "consistent", models), 0
    for _ in range(60):
        one = number(rng, 0.004, (1, models), 0.002, truth=0.02)
        wide = replace(one, prior={REPETITIONS: (float(rng.uniform(0, 3e-4)), 8.0)})
        if p_below(wide, MARGIN) <= ABSENT_AT:
            seen += 1
            assert crossed_interval(wide).high < MARGIN
        assert p_below(wide, MARGIN) >= p_below(wide, 2 * MARGIN)
        assert p_below(wide, 0.0) >= 0.5
    assert seen > 0 or models == 2


def test_a_small_square_does_not_vouch_for_itself() -> None:
    squares = [((1.0, 2.0), 1.0)] * 5
    pool = Pool.of([*squares, ((1e-6, 2.0), 1.0)])
    whole = Pool.of(squares)
    assert pool is None or whole is not None
    near = Pool.of([*squares, ((0.2, 2.0), 1.0)])
    assert near is not None
    assert whole is not None
    # What the five say of the sixth does not depend on the sixth; it only makes them somewhat less sure.
    assert near.told((0.2, 2.0), 1.0)[0] == pytest.approx(whole.told((0.0, 2.0), 1.0)[0], rel=0.15)


def test_the_unit_that_fits_is_taken_and_the_wider_where_both_do() -> None:
    sizes = np.array([0.001, 0.005, 0.02, 0.1, 0.4, 1.0])
    in_proportion = Pool.of([((float(0.04 * size), 2.0), float(size)) for size in sizes])
    alike = Pool.of([((0.001, 2.0), float(size)) for size in sizes])
    assert in_proportion is not None
    assert alike is not None
    assert set(in_proportion.fits) == {SIZE}
    assert set(alike.fits) == {ALIKE}
    both = Pool.of([((0.001 * float(step), 2.0), 0.05) for step in (1, 2, 1, 2, 1, 2)])
    assert both is not None
    small, large = (both.told((0.001, 2.0), scale)[0] for scale in (0.01, 0.5))
    assert small < large
    assert small == pytest.approx(both.told((0.001, 2.0), 0.02)[0])
    assert both.told((0.001, 1.0), 0.05)[1] == 1.0
