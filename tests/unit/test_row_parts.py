"""Signed sums of row influences: what an auditor keeps of the rows so that two runs can be compared in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.estimates.ledger import Draft, Drafts, Ledger
from proxyaudit.estimates.row_sums import row_parts, signed_sums
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import Measured, crossed_interval

ROWS = 600


def measured(value: float, noise_n: np.ndarray) -> Measured:
    return Measured(np.array([value]), (noise_n - noise_n.mean()) / len(noise_n), np.arange(len(noise_n)))


def test_signed_sums_give_the_variance_of_paired_differences_without_bias():
    rng = stream(0, "signed sums")
    ratios = []
    for _ in range(200):
        shared, own, other = rng.normal(size=(3, ROWS))
        a, b = measured(0.1, shared + 0.3 * own), measured(0.1, shared + 0.3 * other)
        truth = crossed_interval(a - b).se ** 2
        ratios.append(float(np.mean((signed_sums(a) - signed_sums(b)) ** 2)) / truth)
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)
    assert np.std(ratios) == pytest.approx((2 / 10) ** 0.5, rel=0.2)  # ten degrees of freedom, as said


def test_rows_that_belong_together_share_a_sign():
    noise = stream(0, "clusters").normal(size=300)
    single = Measured(np.zeros(1), noise, np.arange(300))
    doubled = Measured(np.zeros(1), np.repeat(noise / 2, 2), np.repeat(np.arange(300), 2))
    assert signed_sums(doubled) == pytest.approx(signed_sums(single))


def test_sums_are_kept_of_what_decides_alone():
    ledger = Ledger()
    noise = stream(0, "ledger").normal(size=ROWS)
    ledger.publish(Drafts([Draft("linear", "sex", "model", "penultimate", measured=measured(0.1, noise), margin=0.02, state="present")]))
    ledger.publish(Drafts([Draft("linear", "sex", "model", "penultimate", "unweighted", measured=measured(0.1, noise), decides=False)]))
    ledger.publish(Drafts([Draft("task", "", "model", measured=measured(0.1, noise), decides=False)]))
    kept = row_parts(ledger)
    assert kept["row_parts.ids"].tolist() == [1]
    assert kept["row_parts.sums"].shape == (1, SMALLEST_CELL - 1)
    assert kept["row_parts.spread"].shape == (1, 4)
    assert row_parts(Ledger()) == {}


def test_an_influence_divided_by_nearly_nothing_is_unknown_and_warns_of_nothing():
    ledger = Ledger()
    noise = stream(0, "huge").normal(size=ROWS)
    huge = Measured(np.array([0.0]), noise * 1e300, np.arange(ROWS))
    endless = Measured(np.array([0.0]), noise / ROWS, np.arange(ROWS), float("inf"))
    for number in (huge, endless):
        ledger.publish(Drafts([Draft("used", "sex", "model", "penultimate", measured=number, margin=0.02, state="unknown")]))
    kept = row_parts(ledger)
    assert not kept["row_parts.sums"].any()
    assert [float(kept["row_parts.spread"][0, 0]), float(kept["row_parts.spread"][1, 2])] == [2.0, 2.0]
    assert np.isfinite(kept["row_parts.spread"]).all()
