"""Gaps between groups of names over templates: what one name or one template can and cannot claim."""

from __future__ import annotations

import numpy as np
import pytest

from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import crossed_gap, has_support, permutation_null, share_floor
from proxyaudit.stats.intervals import crossed_interval, p_above, p_below
from proxyaudit.stats.p_values import permutation_p

GROUPS = np.repeat([0, 1], 10)


def table(rng: np.random.Generator, *, gap: float, templates: int = 6, name: float = 0.05, slope: float = 0.05) -> np.ndarray:
    """Names and the templates' own gaps are random; the mean gap over both is ``gap``."""
    y = 0.5 + rng.normal(0, name, 20) + rng.normal(0, 0.02, (templates, 20))
    return y + (gap + rng.normal(0, slope, (templates, 1))) * GROUPS


def test_the_gap_is_the_difference_of_means() -> None:
    y = stream(0, "gap").random((4, 20))
    found = crossed_gap(y, GROUPS, 0, 1)
    assert found.value == pytest.approx(y[:, 10:].mean() - y[:, :10].mean())
    assert crossed_gap(y, GROUPS, 1, 0).value == pytest.approx(-found.value)
    three = np.where(np.arange(20) < 5, 2, GROUPS)
    assert crossed_gap(y, three, 0, 1).value == pytest.approx(y[:, 10:].mean() - y[:, 5:10].mean())


@pytest.mark.parametrize(("name", "slope"), [(0.05, 0.05), (0.1, 0.0), (0.0, 0.1)])
def test_intervals_cover_new_names_and_templates(name: float, slope: float) -> None:
    rng = stream(1, "cover", name, slope)
    inside = 0
    for _ in range(400):
        interval = crossed_interval(crossed_gap(table(rng, gap=0.1, name=name, slope=slope), GROUPS, 0, 1))
        inside += interval.low <= 0.1 <= interval.high
    assert inside >= 370  # 95 % of 400 are 380; by chance fewer than 367 in one of 1 000 trials


def test_false_presence_and_absence_at_the_margin() -> None:
    rng = stream(2, "margin")
    above = below = 0
    for _ in range(400):
        gap = crossed_gap(table(rng, gap=0.05), GROUPS, 0, 1)
        above += p_above(gap, 0.05) <= 0.05
        below += p_below(gap, 0.05) <= 0.01
    assert above <= 30
    assert below <= 10


def test_neither_one_name_nor_one_template_carries_a_claim() -> None:
    rng = stream(3, "outlier")
    quiet = table(rng, gap=0.0, name=0.01, slope=0.0)
    loud = quiet.copy()
    loud[:, 12] += 0.45  # one name of twenty, in every template
    assert crossed_gap(loud, GROUPS, 0, 1).value > 0.04
    assert p_above(crossed_gap(loud, GROUPS, 0, 1), 0.02) > 0.1
    odd = quiet.copy()
    odd[2] += 0.4 * GROUPS  # one template of six, for every name
    assert crossed_gap(odd, GROUPS, 0, 1).value > 0.05
    assert p_above(crossed_gap(odd, GROUPS, 0, 1), 0.02) > 0.1
    assert p_above(crossed_gap(odd[2:3], GROUPS, 0, 1), 0.05) < 1e-6  # of that template alone the claim stands


def test_names_dealt_anew() -> None:
    rng = stream(4, "null")
    null = permutation_null(table(rng, gap=0.0), GROUPS, 0, 1, rng, 999)
    assert null.shape == (999,)
    assert permutation_p(0.2, null) == 0.001
    assert permutation_p(0.0, null) == 1.0
    few = permutation_null(np.array([[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]), np.repeat([0, 1], 3), 0, 1, rng, 999)
    assert permutation_p(1.0, few) > 0.05  # three names against three can happen by chance


def test_support_takes_names_that_depart() -> None:
    y = np.full((2, 20), 1 / 3)
    assert not has_support(y, GROUPS, 0, 1)
    y[1, [0, 1, 2, 3, 4]] = 0.0
    assert not has_support(y, GROUPS, 0, 1)
    y[0, [10, 11, 12, 13, 14]] = 1.0
    assert has_support(y, GROUPS, 0, 1)


def test_names_that_all_agree_leave_some_doubt() -> None:
    y = np.zeros((1, 1, 20))
    y[:, :, 10:] = 1.0
    p = 1 / 12
    assert share_floor(y, GROUPS, 0, 1) == pytest.approx(2 * p * (1 - p) / 12)
    # Three contexts share the doubt, as if each had names of its own.
    assert share_floor(np.repeat(y, 3, axis=1), GROUPS, 0, 1) == pytest.approx(2 * p * (1 - p) / 12 / 3)
