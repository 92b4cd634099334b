"""Holm's correction."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from proxyaudit.seeding import stream
from proxyaudit.stats.p_values import holm, permutation_p, tail_probability


def test_holm_by_hand():
    assert np.allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_monotone_and_never_smaller(p_values):
    adjusted = holm(p_values)
    assert (adjusted >= np.asarray(p_values) - 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p_values, kind="stable")]) >= 0).all()
    assert adjusted.max() <= 1


def test_tail_probability_is_uniform_under_the_null_and_small_outside():
    rng = stream(0, "tail")
    null = rng.chisquare(20, size=2000)
    p = np.array([tail_probability(value, null) for value in rng.chisquare(20, size=2000)])
    assert abs((p < 0.05).mean() - 0.05) < 0.02
    assert tail_probability(100.0, null) < 1e-8 < permutation_p(100.0, null)
