"""Planting: labels carry exactly the leak and the base rates they were planted with."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyaudit.seeding import stream
from proxyaudit.stats import plant_solver
from proxyaudit.stats.plant_solver import is_carried
from proxyaudit.stats.spike_in import Plant, Prior, plant_at_leak, plant_values, planted_probabilities, plants_at_leak


def balanced_leak(probabilities_nk, prior):
    """Class-balanced V-information of labels with known probabilities, as a fraction of ``log2 K``."""
    k = prior.classes
    shifted = probabilities_nk / np.exp(prior.log_nk)
    mass = shifted / (k * len(shifted))
    shifted = shifted / shifted.sum(axis=1, keepdims=True)
    return float(1 + (mass * np.log2(np.clip(shifted, 1e-300, None))).sum() / np.log2(k))


def leak_by_hand(p_nk, strata_n=None):
    """The definition, row by row and class by class, with the plant's own rates; the mean over strata, where every class has equal mass."""
    n, k = p_nk.shape
    if strata_n is not None:
        return sum((strata_n == s).mean() * leak_by_hand(p_nk[strata_n == s]) for s in np.unique(strata_n))
    rates = p_nk.mean(axis=0)
    shifted = np.maximum(p_nk, 1e-300) / rates
    shifted = shifted / shifted.sum(axis=1, keepdims=True)
    return 1 + sum(p_nk[i, c] / (n * k * rates[c]) * np.log2(shifted[i, c]) for i in range(n) for c in range(k)) / np.log2(k)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.005, 0.8), st.floats(0.02, 0.98), st.sampled_from(["normal", "skewed"]))
def test_binary_plants_have_the_wanted_leak_and_rate(leak, rate, shape):
    score = stream(0, "score").normal(size=2000)
    score = score if shape == "normal" else np.exp(score / 2)
    score = (score - score.mean()) / score.std()
    plant = plant_at_leak(score, Prior.of_rates(np.array([1 - rate, rate]), 2000), leak)
    assert plant is not None
    p = plant.probabilities_nk.astype(np.float64)
    assert plant.leak == pytest.approx(leak, rel=2e-3)
    assert leak_by_hand(p / p.sum(axis=1, keepdims=True)) == pytest.approx(leak, rel=5e-3, abs=2e-5)
    assert p[:, 1].mean() == pytest.approx(rate, abs=2e-4 * min(rate, 1 - rate))


@settings(max_examples=10, deadline=None)
@given(st.floats(0.01, 0.5), st.integers(3, 5), st.integers(0, 5))
def test_plants_of_several_classes_have_the_wanted_leak_and_rates(leak, classes, seed):
    rng = stream(seed, "several")
    rates = rng.dirichlet(np.full(classes, 5.0)) * 0.9 + 0.1 / classes
    plant = plant_at_leak(rng.normal(size=(1500, classes)), Prior.of_rates(rates, 1500), leak)
    assert plant is not None
    assert leak_by_hand(plant.probabilities_nk) == pytest.approx(leak, rel=5e-3)
    assert np.allclose(plant.probabilities_nk.mean(axis=0), rates, rtol=2e-3)


@pytest.mark.parametrize("classes", [2, 3])
def test_within_strata_the_leak_is_what_is_added_to_the_prior_and_rates_hold_in_each(classes):
    rng = stream(0, "strata", classes)
    strata = rng.integers(0, 3, 1500)
    table = np.array([[0.8, 0.15, 0.05], [0.3, 0.5, 0.2], [0.1, 0.3, 0.6]])[:, :classes]
    table = table / table.sum(axis=1, keepdims=True)
    codes = (rng.random(1500)[:, None] > np.cumsum(table, axis=1)[strata, :-1]).sum(axis=1)
    prior = Prior.of_codes(codes, classes, strata)
    plant = plant_at_leak(rng.normal(size=1500 if classes == 2 else (1500, classes)), prior, 0.05)
    assert plant is not None
    p = plant.probabilities_nk.astype(np.float64)
    known = np.exp(prior.log_nk)
    assert leak_by_hand(p, strata) == pytest.approx(0.05, rel=0.01)
    # What the strata alone tell is more than the margin; it does not count.
    assert leak_by_hand(p) > 0.1
    for s in range(3):
        assert np.allclose(p[strata == s].mean(axis=0), known[strata == s][0], atol=1e-3)
        assert np.allclose(known[strata == s][0], np.bincount(codes[strata == s], minlength=classes) / (strata == s).sum(), atol=3e-3)


def test_a_class_that_a_stratum_lacks_is_rare_there_and_not_impossible():
    strata, codes = np.repeat([0, 1], 50), np.repeat([0, 1, 0, 1], [50, 0, 25, 25])
    prior = Prior.of_codes(codes, 2, strata)
    assert 0 < np.exp(prior.log_nk[0, 1]) < 0.01
    assert np.isfinite(prior.log_nk).all()


def test_leak_does_not_move_with_the_base_rate_alone():
    """Class-conditional distributions fixed, base rate varied: the balanced leak stays, the plain one does not."""
    grid = np.linspace(-6, 6, 4001)
    densities = [np.exp(-((grid - shift) ** 2) / 2) for shift in (0.0, 1.0)]
    balanced, plain = [], []
    for rate in (0.5, 0.05):
        mixture = (1 - rate) * densities[0] + rate * densities[1]
        posterior = rate * densities[1] / mixture
        # Rows stand for the density: repeated in proportion to the mixture.
        rows = np.repeat(posterior, np.round(2e5 * mixture / mixture.sum()).astype(int))
        balanced.append(balanced_leak(np.column_stack([1 - rows, rows]), Prior.of_rates(np.array([1 - rate, rate]), len(rows))))
        entropy = -(rate * np.log2(rate) + (1 - rate) * np.log2(1 - rate))
        plain.append(1 + (rows * np.log2(rows) + (1 - rows) * np.log2(1 - rows)).mean() / entropy)
    assert balanced[0] == pytest.approx(balanced[1], abs=2e-3)
    assert abs(plain[0] - plain[1]) > 0.02


def test_what_no_slope_can_reach_is_none():
    score = (stream(0, "binary").random(2000) < 0.3).astype(float)
    score = (score - score.mean()) / score.std()
    even = Prior.of_rates(np.array([0.5, 0.5]), 2000)
    assert plant_at_leak(score, even, 0.9) is None
    assert plant_at_leak(np.zeros(2000), even, 0.02) is None
    assert plant_at_leak(np.zeros((2000, 3)), Prior.of_rates(np.full(3, 1 / 3), 2000), 0.02) is None


@pytest.mark.parametrize("rates", [(0.95, 0.05), (0.1, 0.9), (0.9, 0.07, 0.03)])
@pytest.mark.parametrize("leak", [0.005, 0.02])
def test_small_leaks_at_uneven_rates_are_planted_along_every_direction(rates, leak):
    """With the rates solved too loosely a third of the directions were given up, and with them whole families."""
    scores = stream(0, "uneven").normal(size=(1500, 60) if len(rates) == 2 else (1500, len(rates), 60))
    plants = plants_at_leak(scores, Prior.of_rates(np.array(rates), 1500), leak)
    assert all(plant is not None and plant.leak == pytest.approx(leak, rel=2e-3) for plant in plants)


def test_many_plants_equal_single_ones_and_go_on_after_one_that_fails():
    rng = stream(0, "many")
    scores = rng.normal(size=(1000, 4))
    scores[:, 1] = 0
    prior = Prior.of_rates(np.array([0.7, 0.3]), 1000)
    many = plants_at_leak(scores, prior, 0.05)
    assert [plant is None for plant in many] == [False, True, False, False]
    for column in (0, 2, 3):
        single = plant_at_leak(scores[:, column], prior, 0.05)
        assert np.allclose(many[column].probabilities_nk, single.probabilities_nk, atol=2e-3)


@pytest.mark.parametrize("classes", [2, 4])
def test_drawn_labels_follow_the_probabilities(classes):
    rng = stream(0, "draws", classes)
    p = rng.dirichlet(np.ones(classes), size=20)
    labels = Plant(p, 0.1).draw_many(4000, rng)
    assert labels.shape == (20, 4000)
    assert labels.min() >= 0
    for k in range(classes):
        assert np.abs((labels == k).mean(axis=1) - p[:, k]).max() < 5 * 0.5 / np.sqrt(4000)
    assert Plant(p, 0.1).draw(rng).shape == (20,)


@pytest.mark.parametrize("wanted", [0.0, 0.3, 1.0])
def test_values_have_the_wanted_r_squared(wanted):
    rng = stream(0, "values")
    score, noise = rng.normal(size=(2, 20000))
    values = plant_values(score, noise, wanted)
    assert np.corrcoef(values, score)[0, 1] ** 2 == pytest.approx(wanted, abs=0.02)
    assert values.std() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("n", [6000, 60000])
@pytest.mark.parametrize(
    "rates", [(0.01, 0.03, 0.1, 0.01, 0.85), (0.85, 0.01, 0.1, 0.03, 0.01), (0.01, 0.99), (0.99, 0.01), (0.02, 0.9, 0.08)]
)
def test_rare_classes_carry_plants_whatever_the_order_of_the_classes(n: int, rates: tuple[float, ...]) -> None:
    """The rounding of a large class, put on a rare one, passed for rates that were missed, and plants that exist were given up."""
    rng, classes = stream(0, "rare classes"), len(rates)
    score = rng.normal(size=(n, 6)).astype(np.float32)
    for which in range(classes if classes > 2 else 1):
        scores = score if classes == 2 else score[:, None, :] * np.eye(classes, dtype=np.float32)[which][None, :, None]
        p, found = planted_probabilities(scores, Prior.of_rates(np.array(rates), n), np.full(6, 0.02))
        assert is_carried(found, np.full(6, 0.02)).all()
        np.testing.assert_allclose(p.mean(axis=1, dtype=np.float64), np.repeat(np.array(rates)[:, None], 6, axis=1), rtol=1e-3)


@pytest.mark.parametrize(("n", "classes"), [(4000, 4), (20000, 3), (30000, 6)])
def test_nearly_even_classes_carry_plants_however_many_rows_are_summed(n, classes):
    """Single-precision sums of many nearly equal probabilities are off by more than the rates may be."""
    for seed in range(3):
        rng, leaks = stream(seed, "nearly even", n), np.array([5e-4, 0.004, 0.02])
        rates = np.bincount(rng.integers(0, classes, n), minlength=classes) / n
        _, found = planted_probabilities(rng.normal(size=(n, classes, 3)).astype(np.float32), Prior.of_rates(rates, n), leaks)
        assert is_carried(found, leaks).all()


@pytest.mark.parametrize("shape", ["normal", "rare", "heavy", "two values"])
@pytest.mark.parametrize(("classes", "strata"), [(2, 1), (2, 3), (4, 1), (4, 2)])
def test_plants_solved_on_nodes_first_are_those_that_all_rows_give(monkeypatch, shape, classes, strata):
    rng = stream(0, "nodes", shape, classes, strata)
    n, leaks = 3000, np.array([0.004, 0.02, 0.1, 0.3])
    score = {
        "normal": rng.normal(size=n),
        "rare": np.where(rng.random(n) < 0.04, np.abs(rng.normal(size=n)), 0.0),
        "heavy": rng.normal(size=n) ** 3,
        "two values": (rng.random(n) < 0.3).astype(float),
    }[shape]
    score = (score - score.mean()) / score.std()
    where = rng.integers(0, strata, n)
    codes = rng.choice(classes, n, p=rng.dirichlet(np.full(classes, 8.0)))
    prior = Prior.of_codes(codes, classes, where if strata > 1 else None)
    scores = np.repeat(score[:, None], 4, axis=1) if classes == 2 else score[:, None, None] * rng.normal(size=(1, classes, 4))
    p, found = planted_probabilities(scores, prior, leaks)
    monkeypatch.setattr(plant_solver, "_FEWEST_ROWS", 10**9)
    exact, reached = planted_probabilities(scores, prior, leaks)
    carried = is_carried(reached, leaks)
    assert carried.any()
    assert np.array_equal(is_carried(found, leaks), carried)
    # Both leaks are the wanted one within a thousandth.
    assert np.abs(p - exact)[..., carried].max() < 2e-3
    assert (found[~carried] >= 0.95 * reached[~carried]).all()


def test_solving_leaves_the_scores_as_they_are():
    score = stream(0, "kept").normal(size=(2000, 1)).astype(np.float32)
    before = score.copy()
    planted_probabilities(score, Prior.of_rates(np.array([0.5, 0.5]), 2000), np.array([0.05]))
    assert np.array_equal(score, before)


def test_where_no_slope_carries_a_leak_nothing_is_solved():
    # Both classes but one are told apart by nothing: of three, at most about a third of all there is can be told.
    scores = np.zeros((1500, 3, 2))
    scores[:, 0] = stream(0, "alike").normal(size=(1500, 2))
    p, found = planted_probabilities(scores, Prior.of_rates(np.full(3, 1 / 3), 1500), np.array([0.9, 0.95]))
    assert (found == 0).all()
    assert np.allclose(p, 1 / 3, atol=1e-6)
