"""Planting: labels carry exactly the leak and the base rates they were planted with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.spike_in import FAMILIES, balanced_leak, directions, plant_at_leak, plant_classes, plant_values


@settings(max_examples=25, deadline=None)
@given(st.floats(0.005, 0.8), st.floats(0.02, 0.98))
def test_binary_plants_have_the_wanted_leak_and_rate(leak, rate):
    score = stream(0, "score").normal(size=4000)
    plant = plant_at_leak(np.column_stack([np.zeros(4000), score]), np.array([1 - rate, rate]), leak)
    assert plant is not None
    assert plant.leak == pytest.approx(leak, abs=2e-4)
    assert plant.probabilities_nk.mean(axis=0)[1] == pytest.approx(rate, abs=1e-6)


def test_leak_does_not_move_with_the_base_rate_alone():
    """Class-conditional distributions fixed, base rate varied: the balanced leak stays, the plain one does not."""
    grid = np.linspace(-6, 6, 4001)
    densities = [np.exp(-((grid - shift) ** 2) / 2) for shift in (0.0, 1.0)]
    balanced, plain = [], []
    for rate in (0.5, 0.05):
        mixture = (1 - rate) * densities[0] + rate * densities[1]
        posterior = rate * densities[1] / mixture
        # Weighted rows stand for the density: repeat by sampling proportional to the mixture.
        rows = np.repeat(posterior, np.round(2e5 * mixture / mixture.sum()).astype(int))
        balanced.append(balanced_leak(np.column_stack([1 - rows, rows]), np.array([1 - rate, rate])))
        entropy = -(rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate))
        plain.append(1 + (rows * np.log2(rows) + (1 - rows) * np.log2(1 - rows)).mean() / entropy)
    assert balanced[0] == pytest.approx(balanced[1], abs=2e-3)
    assert abs(plain[0] - plain[1]) > 0.02


def test_direction_with_two_values_cannot_carry_everything():
    score = (stream(0, "binary").random(2000) < 0.3).astype(float)
    score = (score - score.mean()) / score.std()
    assert plant_at_leak(np.column_stack([np.zeros(2000), score]), np.array([0.5, 0.5]), 0.9) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_plants_classes_with_their_rates(family):
    rng = stream(0, "families", family)
    whitened = whiten(rng.normal(size=(5000, 12)) @ rng.normal(size=(12, 12)))
    rates = np.array([0.6, 0.3, 0.1])
    codes = plant_classes(whitened.z_nr, whitened.x_nd, family, rates, 0.1, rng)
    assert codes is not None
    assert np.allclose(np.bincount(codes, minlength=3) / 5000, rates, atol=0.03)


def test_values_have_the_wanted_r_squared():
    rng = stream(0, "values")
    whitened = whiten(rng.normal(size=(20000, 5)))
    values = plant_values(whitened.z_nr, whitened.x_nd, "high", 0.3, rng)
    assert np.corrcoef(values, whitened.z_nr[:, -1])[0, 1] ** 2 == pytest.approx(0.3, abs=0.02)


def test_unknown_family_is_refused():
    with pytest.raises(ValueError, match="unknown family"):
        directions(np.zeros((3, 2)), np.zeros((3, 2)), "sideways", 1, stream(0))
