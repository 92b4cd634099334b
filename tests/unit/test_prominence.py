"""Prominence against the plain formula, by chance, under what must not matter, and its row influences."""

import numpy as np
import pytest

from proxyaudit.probes.prominence import Units
from proxyaudit.seeding import stream

N, D = 400, 6


def plain(acts, groups, *, standardise):
    """The definition, written down once more: mean adjusted share of standardised units, or of the total variance."""
    z = acts - acts.mean(axis=0)
    z = z[:, z.std(axis=0) > 1e-9]
    z = z / z.std(axis=0) if standardise else z
    names = np.unique(groups)
    between = sum((groups == g).sum() * z[groups == g].mean(axis=0) ** 2 for g in names)
    total = (z**2).sum(axis=0)
    share = between / total if standardise else np.array([between.sum() / total.sum()])
    return float(np.mean((share * (len(z) - 1) - (len(names) - 1)) / (len(z) - len(names))))


def world(seed=0, classes=2, shift=0.5):
    rng = stream(seed, "prominence")
    codes = rng.integers(0, classes, N)
    acts = rng.normal(size=(N, D)) @ rng.normal(size=(D, D)) + shift * np.outer(codes, rng.normal(size=D))
    return acts * rng.uniform(0.1, 30, D), codes


def both(acts, values, classes=2, clusters=None):
    found = Units(acts, np.arange(len(acts)) if clusters is None else clusters).measure(values, classes)
    return np.array([found.units.value, found.total.value])


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_it_is_the_plain_formula(classes):
    acts, codes = world(classes=classes)
    wanted = [plain(acts, codes, standardise=True), plain(acts, codes, standardise=False)]
    assert both(acts, codes, classes) == pytest.approx(wanted, rel=1e-9)
    assert Units(acts, np.arange(N)).values(np.stack([codes, codes], axis=1), classes) == pytest.approx([wanted[0]] * 2)


def test_of_a_number_it_is_the_mean_adjusted_r_squared():
    acts, codes = world()
    number = codes + stream(1, "n").normal(size=N)
    r2 = np.corrcoef(np.c_[acts, number].T)[-1, :-1] ** 2
    adjusted = 1 - (1 - r2) * (N - 1) / (N - 2)
    weights = acts.var(axis=0) / acts.var(axis=0).sum()
    assert both(acts, number, 0) == pytest.approx([adjusted.mean(), weights @ adjusted])


@pytest.mark.parametrize("values", ["codes", "number"])
def test_what_must_not_matter_does_not(values):
    acts, codes = world()
    rng, classes = stream(2, "turns"), 2 if values == "codes" else 0
    label = codes if classes else codes + rng.normal(size=N)
    plainly, turned = both(acts, label, classes), np.linalg.qr(rng.normal(size=(D, D)))[0]
    order = rng.permutation(N)
    same = [
        both(acts[order], label[order], classes),
        both(np.c_[acts, np.full((N, 2), 7.3)], label, classes),
        both(np.c_[acts, acts], label, classes),
        both(acts, 1 - label if classes else 3 - 2 * label, classes),
    ]
    for other in same:
        assert other == pytest.approx(plainly, rel=1e-9)
    assert both(acts * 10.0 ** rng.integers(-9, 9, D), label, classes)[0] == pytest.approx(plainly[0], rel=1e-9)
    assert both(acts @ turned, label, classes)[1] == pytest.approx(plainly[1], rel=1e-9)
    # And each of the two does change where the other does not, or there would be no need for both.
    assert abs(both(acts @ turned, label, classes)[0] - plainly[0]) > 1e-4
    assert abs(both(acts * np.r_[100, np.ones(D - 1)], label, classes)[1] - plainly[1]) > 1e-4


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("classes", [2, 4, 0])
def test_chance_gives_nothing_also_where_rows_belong_together(grouped, classes):
    rng, found = stream(3, "chance", classes), []
    for _ in range(400):
        people = np.repeat(np.arange(60), 5) if grouped else np.arange(300)
        mine = rng.integers(0, classes, people.max() + 1) if classes else rng.normal(size=people.max() + 1)
        acts = rng.normal(size=(300, D)) + (2 * rng.normal(size=(people.max() + 1, D)))[people]
        found.append(both(acts, mine[people], classes, people))
    mean, se = np.mean(found, axis=0), np.std(found, axis=0) / 20
    assert (np.abs(mean) < 4 * se).all()
    assert (se < 0.004).all()


@pytest.mark.parametrize("classes", [2, 3, 0])
def test_influences_are_what_leaving_rows_out_does(classes):
    acts, codes = world(classes=max(classes, 2))
    label = codes if classes else codes + stream(4, "n").normal(size=N)
    found = Units(acts, np.arange(N)).measure(label, classes)
    whole = np.array([found.units.value, found.total.value])
    rows = np.arange(0, N, 8)
    left_out = np.array([both(np.delete(acts, i, 0), np.delete(label, i), classes) for i in rows])
    for share, moved in zip((found.units, found.total), ((whole - left_out) * (N - 1) / N).T, strict=True):
        assert np.corrcoef(share.influence_n[rows], moved)[0, 1] > 0.995
        assert share.influence_n[rows].std() == pytest.approx(moved.std(), rel=0.05)


def test_too_little_to_tell_is_none():
    acts, codes = world()
    assert Units(acts, np.arange(N)).measure(np.zeros(N, dtype=int), 2) is None
    assert Units(np.ones((N, 3)), np.arange(N)).measure(codes, 2) is None
    assert Units(acts, np.arange(N) // 50).measure(codes, 2) is None
    assert np.isnan(Units(np.ones((N, 3)), np.arange(N)).values(codes[:, None], 2)).all()
