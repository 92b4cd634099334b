"""Association of columns and pairs with an attribute, on tables whose answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from proxyaudit.causal.columns import pair_codes, settle_cells
from proxyaudit.causal.proxies import Target, associate, pair_gain, pair_trace
from proxyaudit.probes.folds import TooFewRowsError, assign_folds
from proxyaudit.seeding import stream

N = 3000

NONE = np.zeros(0, dtype=np.int64)


def target(labels, classes, clusters=None):
    clusters = np.arange(len(labels)) if clusters is None else clusters
    return Target(labels, classes, assign_folds(clusters, stream(0, "folds")), clusters)


def cells(values, kind="numeric", coarse=False):
    column = pd.Series(values, name="column")
    return settle_cells(column, kind).codes(column, coarse=coarse)


def pair(first, second):
    return pair_codes(cells(first), cells(second, coarse=True))


@pytest.fixture
def draw():
    return stream(0, "proxies")


def test_a_column_that_is_the_attribute_carries_all_of_it(draw):
    sex = draw.integers(0, 2, N)
    names = np.where(sex == 1, "husband", "wife")
    found = associate(cells(names, "categorical"), target(sex, 2), draw, 99)
    assert found.value > 0.99
    assert found.p < 1e-6


def test_a_known_table_gives_its_information(draw):
    """P(A | column) is .9 and .1 in equal halves: the information is 1 - H(.9)."""
    column = draw.integers(0, 2, 20_000)
    sex = (draw.random(20_000) < np.where(column == 1, 0.9, 0.1)).astype(int)
    entropy = -(0.9 * np.log2(0.9) + 0.1 * np.log2(0.1))
    assert associate(cells(column), target(sex, 2)).value == pytest.approx(1 - entropy, abs=0.015)


def test_the_base_rate_alone_does_not_move_it(draw):
    sex = draw.integers(0, 2, 40_000)
    column = draw.normal(size=40_000) + sex
    kept = (sex == 0) | (draw.random(40_000) < 0.15)
    values = [associate(cells(column[rows]), target(sex[rows], 2)).value for rows in (np.ones(40_000, dtype=bool), kept)]
    assert values[0] == pytest.approx(values[1], abs=0.02)


def test_a_non_linear_number_and_a_column_of_many_levels_are_read(draw):
    age = draw.normal(size=N)
    middle = (np.abs(age) < 0.7).astype(int)
    assert associate(cells(age), target(middle, 2)).value > 0.6
    streets = draw.integers(0, 150, N)
    group = (draw.random(N) < np.where(streets % 3 == 0, 0.85, 0.15)).astype(int)
    assert associate(cells(streets.astype(str), "categorical"), target(group, 2), draw, 49).p < 0.001


def test_several_classes_and_numbers_as_attributes(draw):
    region = draw.integers(0, 3, N)
    assert associate(cells(np.where(region == 2, 1, 0)), target(region, 3)).value == pytest.approx(
        2 / 3 / np.log2(3) + (1 - 1 / np.log2(3)) / 3, abs=0.12
    )
    age = draw.normal(size=N)
    found = associate(cells(age + draw.normal(size=N)), target(age, 0), draw, 99)
    assert found.value == pytest.approx(0.5, abs=0.05)
    assert found.p < 1e-6


def test_columns_that_tell_nothing_are_rarely_called_telling():
    """Without a null, or with rows scored that were learnt from, all of these would stand out."""
    found = []
    for index in range(30):
        rng = stream(0, "null", index)
        column, labels = rng.integers(0, 60, 900).astype(str), rng.integers(0, 3, 900)
        found.append(associate(cells(column, "categorical"), target(labels, 3), rng, 39))
    assert sum(one.p <= 0.05 for one in found) <= 5
    assert max(one.value for one in found) < 0.02


def test_rows_that_belong_together_count_once():
    """An attribute and a column that are constant within 40 clusters, independent of each other."""
    low = 0
    for index in range(20):
        rng = stream(0, "clusters", index)
        clusters = np.repeat(np.arange(40), 50)
        labels, column = rng.integers(0, 2, 40)[clusters], rng.normal(size=40)[clusters]
        try:
            low += associate(cells(column), target(labels, 2, clusters), rng, 99).p <= 0.05
        except TooFewRowsError:
            continue
    assert low <= 4


def test_the_interval_covers(draw):
    truth = associate(*_shifted(stream(0, "truth"), 60_000)).value
    covered = 0
    for index in range(40):
        found = associate(*_shifted(stream(0, "cover", index), 1500))
        covered += abs(found.value - truth) <= 1.96 * np.sqrt((found.influence_n**2).sum()) + 0.006
    assert covered >= 35


def _shifted(rng, n):
    sex = rng.integers(0, 2, n)
    return cells(rng.normal(size=n) + sex), target(sex, 2)


def test_a_pair_that_tells_only_together(draw):
    """XOR of two signs: each column alone tells nothing, the pair nearly all."""
    first, second = draw.normal(size=N), draw.normal(size=N)
    sex = ((first > 0) ^ (second > 0)).astype(int)
    assert max(associate(cells(column), target(sex, 2)).value for column in (first, second)) < 0.02
    both, gain = pair_gain(*pair(first, second), target(sex, 2), draw, 99)
    assert both.value > 0.3
    assert gain.value == pytest.approx(both.value, abs=0.02)
    assert gain.p < 1e-4
    noise = draw.normal(size=N)
    traces = [pair_trace(*pair(first, other), sex, 2) for other in (second, noise)]
    assert traces[0] > 20 > 5 > abs(traces[1])


def test_a_pair_gains_nothing_by_a_copy_or_by_noise(draw):
    sex = draw.integers(0, 2, N)
    first = draw.normal(size=N) + 2 * sex
    for other in (first * 3 + 1, draw.normal(size=N)):
        _, gain = pair_gain(*pair(first, other), target(sex, 2), draw, 49)
        assert gain.value < 0.01
        assert gain.p > 0.01


def test_a_pair_tells_a_number_together(draw):
    first, second = draw.normal(size=N), draw.normal(size=N)
    both, gain = pair_gain(*pair(first, second), target(first * second, 0), draw, 49)
    assert both.value > 0.5
    assert gain.p < 1e-4
    assert pair_trace(*pair(first, second), first * second, 0) > 20


def test_too_rare_a_class_gives_no_number(draw):
    with pytest.raises(TooFewRowsError):
        associate(cells(draw.normal(size=N)), target((np.arange(N) < 3).astype(int), 2))


def test_cells_of_other_tables_missing_values_and_levels_never_seen():
    settled = settle_cells(pd.Series(["a"] * 9 + ["b"] * 9 + ["rare"], name="x"), "categorical")
    assert settled.codes(pd.Series(["b", "new", None, "rare", "a"])).tolist() == [1, 2, 3, 2, 0]
    number = settle_cells(pd.Series([1.0, 2.0, 2.0, 3.0], name="x"), "numeric")
    assert number.codes(pd.Series([0.0, 1.5, 2.0, 99.0, np.nan])).tolist() == [0, 1, 1, 2, 3]
    heavy = settle_cells(pd.Series([0.0] * 900 + list(range(1, 101)), name="x"), "numeric")
    assert len(set(heavy.codes(pd.Series(range(101))))) > 8


def test_cells_of_a_pair_are_those_that_occur_in_their_order() -> None:
    rng = np.random.default_rng(0)
    for first, second in [(rng.integers(0, 200, 500), rng.integers(0, 7, 500)), (np.array([4, 4]), np.array([0, 0])), (NONE, NONE)]:
        width = int(second.max()) + 1 if len(second) else 1
        cells, codes = np.unique(first * width + second, return_inverse=True)
        assert [part.tolist() for part in pair_codes(first, second)] == [codes.tolist(), (cells // width).tolist()]
