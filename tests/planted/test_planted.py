"""Planted worlds: independent readers find the stated leak where it is stated, and nothing elsewhere."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import PolynomialFeatures

from proxyaudit.planted import ABSENT, PRESENT, WORLDS, draw_world, make_world, sample_case
from proxyaudit.seeding import stream

NONLINEAR = ("xor", "variance", "norm", "leace_cleaned")
SIZES = {16, 32, 64, 128, 256, 384, 768}


def whiten(acts):
    x = acts.astype(float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    keep = values > 1e-9 * values.max()
    return x @ (vectors[:, keep] / np.sqrt(values[keep]))


def class_weights(labels):
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return 1 / (len(counts) * counts[codes])


def fitted_leak(features, labels):
    """Class-balanced leak that a logistic reader gets; many rows per parameter, so the same rows serve to score."""
    classes, codes = np.unique(labels, return_inverse=True)
    reader = LogisticRegression(C=1e5, class_weight="balanced", max_iter=5000).fit(features, labels)
    loss = -class_weights(labels) @ np.log2(reader.predict_proba(features)[np.arange(len(labels)), codes])
    return 1 - loss / np.log2(len(classes))


def table_leak(sides, labels):
    """Class-balanced leak of one binary feature."""
    weights = class_weights(labels)
    cells = np.array([[weights[(sides == side) & (labels == name)].sum() for name in ("a", "b")] for side in (False, True)])
    return 1 + (cells * np.log2(cells / cells.sum(axis=1, keepdims=True))).sum()


def product_of_two_directions(z, labels):
    """The product ``u v`` that differs most between the classes, from the eigenvectors ``(u + v)`` and ``(u - v)``."""
    is_b = labels == "b"
    _, vectors = np.linalg.eigh(z[is_b].T @ z[is_b] / is_b.sum() - z[~is_b].T @ z[~is_b] / (~is_b).sum())
    return (z @ vectors[:, -1]) ** 2 - (z @ vectors[:, 0]) ** 2


def held_out_auroc(features, labels, groups):
    rows = np.arange(len(labels)) if groups is None else groups
    first = rows % 2 == 0
    reader = LogisticRegression(max_iter=5000).fit(features[first], labels[first] == "b")
    return roc_auc_score(labels[~first] == "b", reader.decision_function(features[~first]))


@pytest.mark.parametrize(
    ("kind", "rate", "tolerance"),
    [
        ("linear", 0.5, 0.008),
        ("linear", 0.2, 0.008),
        ("rare", None, 0.02),
        ("low_variance", 0.5, 0.008),
        ("sparse_unit", 0.5, 0.008),
        ("sparse_unit", 0.2, 0.012),
        ("rotated_sparse", 0.3, 0.012),
        ("multiclass", None, 0.008),
        ("grouped", 0.5, 0.015),
        ("only_through_label", 0.5, 0.008),
        ("only_through_label", 0.3, 0.008),
    ],
)
def test_a_linear_reader_gets_the_stated_leak(kind, rate, tolerance):
    found = []
    for seed in range(2):
        world = make_world(kind, n=20_000, d=16, leak=0.1, rate=rate, rng=stream(seed, kind))
        assert (world.channel, world.expected, world.leak) == ("linear", "exposed", 0.1)
        found.append(fitted_leak(whiten(world.acts_nd), world.labels_n))
    # 16 parameters per class on the scoring rows add about d K / (2 n ln 2), .001 here.
    assert np.mean(found) == pytest.approx(0.1, abs=tolerance)


def test_a_continuous_attribute_has_the_stated_r_squared():
    world = make_world("continuous", n=20_000, d=16, leak=0.1, rng=stream(0, "c"))
    assert LinearRegression().fit(world.acts_nd, world.labels_n).score(world.acts_nd, world.labels_n) == pytest.approx(0.1, abs=0.015)


@pytest.mark.long
@pytest.mark.parametrize("kind", NONLINEAR)
@pytest.mark.parametrize("rate", [0.5, 0.25])
def test_nonlinear_worlds_leak_to_an_oracle_and_not_to_a_linear_reader(kind, rate):
    seen = set()
    for seed in range(4):
        world = make_world(kind, n=10_000, d=6, leak=0.25, rate=rate, rng=stream(seed, kind))
        assert (world.channel, world.expected) == ("nonlinear", "hidden")
        z = whiten(world.acts_nd)
        assert fitted_leak(z, world.labels_n) < 0.004
        assert abs(held_out_auroc(z, world.labels_n, None) - 0.5) < 0.03
        if "sign" in world.detail:
            # The directions are estimated, so rows close to the boundary may land on the wrong side of it.
            product = product_of_two_directions(z, world.labels_n)
            far = np.abs(product) > 0.3
            found = table_leak(product[far] > 0, world.labels_n[far])
        else:
            found = fitted_leak(PolynomialFeatures(2, include_bias=False).fit_transform(z), world.labels_n)
        seen.add(world.detail)
        assert found == pytest.approx(0.25, abs=0.03)
    assert len(seen) >= (2 if kind in ("xor", "leace_cleaned") else 1)


def test_nothing_linear_is_left_after_the_eraser():
    world = make_world("leace_cleaned", n=2000, d=64, leak=0.3, rng=stream(0, "erased"))
    z = whiten(world.acts_nd)
    is_b = world.labels_n == "b"
    assert z.shape[1] == 63
    assert np.abs(z[is_b].mean(axis=0) - z[~is_b].mean(axis=0)).max() < 1e-4


def test_conditional_xor_leaks_only_within_the_label():
    world = make_world("conditional_xor", n=20_000, d=16, leak=0.1, rate=0.3, rng=stream(0, "cx"))
    assert (world.channel, world.expected) == ("beyond", "hidden")
    z = whiten(world.acts_nd)
    assert fitted_leak(z, world.labels_n) < 0.003
    for value in ("no", "yes"):
        rows = world.condition_n == value
        assert fitted_leak(z[rows], world.labels_n[rows]) == pytest.approx(0.1, abs=0.02)


def test_only_through_label_leaks_nothing_within_the_label():
    world = make_world("only_through_label", n=20_000, d=16, leak=0.1, rng=stream(0, "otl"))
    z = whiten(world.acts_nd)
    for value in ("no", "yes"):
        rows = world.condition_n == value
        assert abs(held_out_auroc(z[rows], world.labels_n[rows], None) - 0.5) < 0.04


@pytest.mark.parametrize("kind", ABSENT)
def test_absent_worlds_tell_fresh_persons_apart_no_better_than_chance(kind):
    found = []
    for seed in range(4):
        world = make_world(kind, n=8000, d=16, leak=0.5, rng=stream(seed, kind))
        assert (world.channel, world.expected, world.leak) == ("none", "removed", 0.0)
        if kind == "absent_continuous":
            score = LinearRegression().fit(world.acts_nd, world.labels_n).score(world.acts_nd, world.labels_n)
            found.append(0.5 + score)
        elif kind != "few_rows":
            found.append(held_out_auroc(whiten(world.acts_nd), world.labels_n, world.groups_n))
        else:
            assert world.acts_nd.shape == (32, 16)
    assert not found or abs(np.mean(found) - 0.5) < 0.03


@pytest.mark.parametrize("kind", ["grouped", "absent_grouped", "absent_varying_groups"])
def test_rows_of_one_person_resemble_each_other(kind):
    world = make_world(kind, n=2000, d=32, leak=0.1, rng=stream(0, kind))
    distinct = [len(set(world.labels_n[world.groups_n == group])) for group in np.unique(world.groups_n)]
    assert (max(distinct) == 1) is (kind != "absent_varying_groups")
    assert np.bincount(world.groups_n).max() <= 10
    centres = np.array([world.acts_nd[world.groups_n == group].mean(axis=0) for group in range(world.groups_n.max() + 1)])
    within = (world.acts_nd - centres[world.groups_n]).var()
    assert within < (0.7 if kind == "absent_varying_groups" else 0.05) * (world.acts_nd - world.acts_nd.mean(axis=0)).var()
    assert len(np.unique(world.acts_nd, axis=0)) == 2000


def test_base_rates():
    share = {kind: np.mean(make_world(kind, n=9000, d=16, leak=0.05, rng=stream(0, kind)).labels_n == "b") for kind in ("linear", "rare")}
    assert share["linear"] == pytest.approx(0.5, abs=0.02)
    assert share["rare"] == pytest.approx(0.05, abs=0.01)
    for seed in range(5):
        assert 0.005 < np.mean(make_world("absent_rare", n=9000, d=16, leak=0, rng=stream(seed)).labels_n == "b") < 0.06
        shifted = np.mean(make_world("base_rate_shift", n=9000, d=16, leak=0, rng=stream(seed)).labels_n == "b")
        assert 0.02 < min(shifted, 1 - shifted) < 0.13


@pytest.mark.parametrize("kind", WORLDS)
def test_the_same_seed_gives_the_same_world(kind):
    first, second, other = (make_world(kind, n=400, d=16, leak=0.2, rng=stream(seed, "same")) for seed in (1, 1, 2))
    assert np.array_equal(first.acts_nd, second.acts_nd)
    assert np.array_equal(first.labels_n, second.labels_n)
    assert not np.array_equal(first.acts_nd, other.acts_nd)
    assert first.acts_nd.dtype == np.float32
    assert np.isfinite(first.acts_nd).all()
    assert len(first.labels_n) == len(first.acts_nd)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "linaer"}, "unknown world"),
        ({"leak": 1.2}, "between 0 and 1"),
        ({"leak": 0.0}, "between 0 and 1"),
        ({"rate": 1.0}, "rate must"),
        ({"d": 2}, "n >= 20 and d >= 4"),
        ({"kind": "sparse_unit", "n": 60, "leak": 0.02}, "cannot carry a leak of 0.02"),
        ({"kind": "only_through_label", "leak": 0.99}, "cannot carry a leak of 0.99"),
        ({"kind": "linear", "leak": 0.999}, "cannot carry a leak of 0.999"),
        ({"kind": "leace_cleaned", "d": 64}, "needs n >= 10 d"),
        ({"kind": "absent", "rate": 1e-6}, "fewer than 2"),
    ],
)
def test_what_cannot_be_built_says_so(arguments, words):
    with pytest.raises(ValueError, match=words):
        make_world(**({"kind": "linear", "n": 400, "d": 16, "leak": 0.1, "rng": stream(0)} | arguments))


def test_cases_cover_all_kinds_at_the_promised_leaks():
    rng = stream(0, "cases")
    assert set(PRESENT).isdisjoint(ABSENT)
    cases = [sample_case(rng, present=True) for _ in range(600)]
    assert {case["kind"] for case in cases} == set(PRESENT)
    assert {case["d"] for case in cases} == SIZES
    multiples = np.array([case["leak"] / (0.1 if case["kind"] in NONLINEAR else 0.02) for case in cases])
    assert multiples.min() >= 2
    assert max(case["leak"] for case in cases) <= 0.8
    assert np.mean(multiples < 4) == pytest.approx(0.5, abs=0.08)
    assert all(300 <= case["n"] <= 12_000 for case in cases)
    at_margin = [sample_case(rng, present=True, at_margin=True) for _ in range(50)]
    assert {case["leak"] for case in at_margin} == {0.02, 0.1}
    absent = [sample_case(rng, present=False) for _ in range(300)]
    assert {case["kind"] for case in absent} == set(ABSENT)
    assert {case["leak"] for case in absent} == {0.0}


def test_draws_skip_cases_that_cannot_be_built():
    rng = stream(0, "draws")
    for index in range(8):
        world = draw_world(rng, present=index % 2 == 0)
        assert (world.channel == "none") is (index % 2 == 1)
        assert world.acts_nd.shape[1] in SIZES
