"""Holm's correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxyaudit.seeding import stream
from proxyaudit.stats.p_values import exceeded_by_few, holm, permutation_p, tail_probability


def test_holm_by_hand():
    assert np.allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_monotone_and_never_smaller(p_values):
    adjusted = holm(p_values)
    assert (adjusted >= np.asarray(p_values) - 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()
    assert adjusted.max() <= 1


@pytest.mark.long
def test_tail_probability_is_uniform_under_the_null_and_small_outside():
    rng = stream(0, "tail")
    null = rng.chisquare(20, size=2000)
    p = np.array([tail_probability(value, null) for value in rng.chisquare(20, size=2000)])
    assert abs((p < 0.05).mean() - 0.05) < 0.02
    assert tail_probability(100.0, null) < 1e-8 < permutation_p(100.0, null)


@pytest.mark.parametrize("count", [19, 20, 30, 39, 40, 60, 100])
def test_of_placebos_and_one_more_like_them_at_most_one_in_twenty_is_singled_out(count):
    # Each of count + 1 values of one kind is as likely to be the further one: leaving each out in turn is the whole distribution.
    values = np.sort(stream(0, "placebos", count).normal(size=count + 1))
    above = [value > exceeded_by_few(np.delete(values, place)) for place, value in enumerate(values)]
    assert 0 < np.mean(above) <= 0.05


def test_of_fewer_than_nineteen_placebos_the_largest_counts():
    assert exceeded_by_few([3.0, 1.0, 2.0]) == 3.0
