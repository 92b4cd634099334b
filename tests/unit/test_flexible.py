"""Flexible readers: what they find, what they must not find, budget, rare classes, groups, same seed same bits."""

import warnings

import numpy as np
import pytest
import torch

import proxyaudit.probes.flexible as flexible
from proxyaudit.probes.flexible import READERS, flexible_gains
from proxyaudit.probes.flexible_readers import cost_mlp, cost_neighbours, cost_trees, grow_trees
from proxyaudit.probes.folds import assign_folds
from proxyaudit.probes.logistic import fit_logistic
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import Measured, p_above

MARGIN = 0.10


def offset_of(z, codes, classes, folds, ridge=0.1):
    """Out-of-fold log-probabilities of a class-balanced linear reader, or ridge predictions."""
    count = folds.max() + 1
    if not classes:
        out = np.zeros((len(z), 1))
        for o in range(count):
            train = z[folds != o]
            slope = np.linalg.solve(train.T @ train + ridge * len(train) * np.eye(z.shape[1]), train.T @ codes[folds != o])
            out[folds == o, 0] = z[folds == o] @ slope
        return out
    weights = np.stack(
        [np.where(folds != o, 1 / np.bincount(codes[folds != o], minlength=classes)[codes], 0) for o in range(count)], axis=1
    )
    one_hot = torch.as_tensor((codes[:, None] == np.arange(classes))[:, :, None].repeat(count, 2).astype(np.float64))
    fit = fit_logistic(
        torch.as_tensor(z), one_hot, torch.as_tensor(weights / weights.sum(axis=0)), torch.full((count,), ridge, dtype=torch.float64)
    )
    return torch.log_softmax(fit.logits(torch.as_tensor(z)), dim=1).numpy()[np.arange(len(z)), :, folds]


def read(x, codes, classes=2, clusters=None, seed=0, **options):
    clusters = np.arange(len(x)) if clusters is None else clusters
    z = whiten(x).z_nr
    folds = assign_folds(clusters, stream(seed, "folds"))
    asked = (z, codes, classes, folds, offset_of(z, codes, classes, folds))
    gains = flexible_gains(*asked, seed=seed, units_nd=whiten(x).x_nd, **{"budget": 1e6, **options})
    return {gain.name: gain for gain in gains}


def p_value(gain, clusters=None):
    clusters = np.arange(len(gain.influence_n)) if clusters is None else clusters
    return p_above(Measured(np.array([gain.gain]), gain.influence_n, clusters), MARGIN)


def xor(rng):
    x = rng.normal(size=(2000, 16))
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64)


def variance(rng):
    codes = rng.integers(0, 2, 3000)
    return rng.normal(size=(3000, 16)) * np.where(codes, 1.6, 1)[:, None], codes


def parity(rng):
    x = rng.normal(size=(4000, 4))
    return x, (x[:, 0] * x[:, 1] * x[:, 2] > 0).astype(np.int64)


def rings(rng):
    codes, angle = rng.integers(0, 2, 2000), rng.uniform(0, 2 * np.pi, 2000)
    radius = 1 + codes + 0.15 * rng.normal(size=2000)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]), codes


def gated(rng):
    """A rectified layer with mixed units, one of which tells the attribute by being on or off."""
    x = np.maximum(rng.normal(size=(3000, 16)) @ rng.normal(size=(16, 16)) / 4, 0)
    return x, ((x[:, 3] > 0) ^ (rng.random(3000) < 0.2)).astype(np.int64)


def windowed(rng):
    x = rng.normal(size=(3000, 16)) @ rng.normal(size=(16, 16)) / 4
    inside = (np.abs(x[:, 5]) > 0.3 * x[:, 5].std()) & (np.abs(x[:, 5]) < x[:, 5].std())
    return x, (inside ^ (rng.random(3000) < 0.15)).astype(np.int64)


def shells(rng):
    x = rng.normal(size=(3000, 16))
    return x, (np.floor(4 * np.linalg.norm(whiten(x).z_nr, axis=1)) % 2).astype(np.int64)


@pytest.mark.long
@pytest.mark.parametrize("world", [gated, windowed, shells])
def test_trees_see_units_and_lengths_that_whitening_turns_away(world):
    (gain,) = read(*world(stream(0, world.__name__)), readers=("trees",)).values()
    assert p_above(Measured(np.array([gain.gain]), gain.influence_n, np.arange(3000)), 0.02) < 1e-3


@pytest.mark.long
@pytest.mark.parametrize(
    ("world", "finders"),
    [
        (xor, ("mlp",)),
        (variance, ("mlp", "trees")),
        (parity, ("trees", "neighbours")),
        (rings, ("mlp", "trees", "neighbours")),
    ],
)
def test_finds_what_no_linear_reader_can(world, finders):
    gains = read(*world(stream(0, world.__name__)), readers=finders)
    for gain in gains.values():
        assert p_value(gain) < 1e-4
        assert gain.gain > 0.3
        assert gain.auroc > 0.85
        assert gain.influence_n.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.long
@pytest.mark.parametrize("repeat", range(4))
def test_independent_labels_gain_nothing(repeat):
    rng = stream(repeat, "null")
    n, d = ((600, 8), (500, 80), (400, 3), (500, 20))[repeat]
    x = rng.normal(size=(n, d)) ** (3 if repeat == 3 else 1)
    for gain in read(x, rng.integers(0, 2, n), seed=repeat).values():
        assert gain.gain < 0.01
        assert p_value(gain) > 0.5


@pytest.mark.parametrize("d", [16, 200])
def test_a_linear_attribute_gains_nothing(d):
    rng = stream(0, "linear", d)
    x = rng.normal(size=(700, d))
    x[:, 0] *= 0.1
    codes = (rng.random(700) < 1 / (1 + np.exp(-40 * x[:, 0]))).astype(np.int64)
    for gain in read(x, codes).values():
        assert gain.auroc > 0.8
        assert gain.gain < 0.01
        assert p_value(gain) > 0.5


@pytest.mark.parametrize("sharp", [False, True])
def test_trees_that_beat_the_ridge_on_one_column_of_many_show_nothing_non_linear(sharp):
    """The naive rule, gain over the ridge alone, calls this linear attribute non-linear."""
    rng = stream(0, "one column", sharp)
    z = rng.normal(size=(1200, 200))
    codes = (z[:, 0] > 0 if sharp else rng.random(1200) < 1 / (1 + np.exp(-4 * z[:, 0]))).astype(np.int64)
    folds = assign_folds(np.arange(1200), rng)
    offset = offset_of(z, codes, 2, folds)
    problem = flexible._pose(z, codes, 2, folds, offset)
    found = flexible.blend(problem, grow_trees(problem, 0))
    naive, _ = flexible._gain(problem, found, (offset,))
    honest, influence = flexible._gain(problem, found, (offset, flexible.blend(problem, flexible._sparse(problem, z))))
    assert naive > MARGIN
    assert honest < (0.08 if sharp else 0.01)
    assert p_above(Measured(np.array([honest]), influence, np.arange(1200)), MARGIN) > 0.5


def test_an_overconfident_offset_is_no_gain():
    """Shrinking a bad offset is linear: the recalibrated offset does it too."""
    rng = stream(0, "overconfident")
    z, codes = whiten(rng.normal(size=(900, 5))).z_nr, rng.integers(0, 2, 900)
    folds = assign_folds(np.arange(900), rng)
    offset = np.column_stack([np.zeros(900), 5 * z[:, 0] + 2])
    for gain in flexible_gains(z, codes, 2, folds, offset, seed=0):
        assert gain.gain < 0.01


def test_the_scale_of_log_probabilities_does_not_matter():
    rng = stream(0, "scale")
    x, codes = rings(rng)
    x, codes = x[:500], codes[:500]
    z, folds = whiten(x).z_nr, assign_folds(np.arange(500), rng)
    logits = np.column_stack([np.zeros(500), z[:, 0]])
    normal = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    a, b = (flexible_gains(z, codes, 2, folds, offset, seed=0, readers=("neighbours",))[0] for offset in (logits, normal))
    assert a.gain == pytest.approx(b.gain, abs=1e-6)


def test_same_seed_same_bits_other_seed_other_bits():
    x, codes = (part[:300] for part in rings(stream(0, "bits")))
    first, again = (read(x, codes) for _ in range(2))
    for name in READERS:
        assert first[name].gain == again[name].gain
        assert first[name].influence_n.tobytes() == again[name].influence_n.tobytes()
    z, folds = whiten(x).z_nr, assign_folds(np.arange(300), stream(0, "folds"))
    other = flexible_gains(z, codes, 2, folds, offset_of(z, codes, 2, folds), seed=1, readers=("mlp",))[0]
    assert other.gain != first["mlp"].gain


def test_no_reader_sees_a_label_of_the_scored_fold():
    """With the labels of one fold turned, the predictions on it stay; only what they are compared with changes."""
    rng = stream(0, "blind")
    x, codes = (part[:300] for part in rings(rng))
    z, folds = whiten(x).z_nr, assign_folds(np.arange(300), rng)
    offset = np.column_stack([np.zeros(300), z[:, 0]])
    turned = np.where(folds == 2, 1 - codes, codes)
    for read_one in (*(entry[0] for entry in flexible._READERS.values()), lambda problem, _: flexible._sparse(problem, z)):
        ways = []
        for labels in (codes, turned):
            problem = flexible._pose(z, labels, 2, folds, offset)
            directions = read_one(problem, 0)
            shadow = flexible._shadow(problem, directions)
            ways.append([flexible.blend(problem, d)[folds == 2] for d in (directions, shadow)])
        np.testing.assert_allclose(ways[0][0], ways[1][0], atol=1e-4)
        np.testing.assert_allclose(ways[0][1], ways[1][1], atol=1e-4)


def test_a_reader_beyond_the_budget_is_skipped_by_prediction():
    x, codes = (part[:300] for part in rings(stream(0, "budget")))
    prices = {"mlp": cost_mlp(300, 2, 2, 5), "trees": cost_trees(300, 2, 2, 5), "neighbours": cost_neighbours(300, 2, 2, 5)}
    gains = read(x, codes, budget=prices["neighbours"] * 1.5, readers=("mlp", "neighbours", "trees"))
    assert "predicted" in gains["mlp"].skipped
    assert gains["mlp"].gain is gains["mlp"].influence_n is gains["mlp"].auroc is None
    assert gains["neighbours"].skipped is None
    assert gains["trees"].skipped is not None
    assert list(gains) == ["mlp", "neighbours", "trees"]
    assert all(cost(8000, 768, 2, 5) > cost(2000, 64, 2, 5) for cost in (cost_mlp, cost_trees, cost_neighbours))


@pytest.mark.long
@pytest.mark.parametrize("n", [3000, 150])
def test_a_rare_class_does_not_crash(n):
    rng = stream(0, "rare", n)
    codes = np.zeros(n, dtype=np.int64)
    codes[rng.permutation(n)[: n // 50]] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if n == 150:
            z, folds = whiten(rng.normal(size=(n, 4))).z_nr, np.arange(n) % 5
            gains = flexible_gains(z, codes, 2, folds, np.zeros((n, 2)), seed=0)
            assert all("fewer than 3 rows" in gain.skipped for gain in gains)
            return
        for gain in read(rng.normal(size=(n, 4)), codes).values():
            assert gain.gain < 0.01
            assert p_value(gain) > 0.5


@pytest.mark.long
def test_continuous_attributes_in_units_of_r_squared():
    rng = stream(0, "continuous")
    x = rng.normal(size=(1200, 3))
    found = read(x, 7 + 3 * (x[:, 0] + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=1200)), classes=0)
    for gain in found.values():
        assert 0.25 < gain.gain < 0.5
        assert p_value(gain) < 1e-3
        assert gain.auroc is None
    for values in (rng.normal(size=1200), x[:, 0] + rng.normal(size=1200)):
        assert all(gain.gain < 0.01 for gain in read(x, values, classes=0, readers=("mlp", "neighbours")).values())


def test_several_classes():
    rng = stream(0, "classes")
    x = rng.normal(size=(1200, 2))
    codes = np.digitize((x**2).sum(axis=1) + 0.2 * rng.normal(size=1200), [0.8, 2.2]).astype(np.int64)
    for gain in read(x, codes, classes=3).values():
        assert gain.gain > 0.4
        assert gain.auroc > 0.85
        assert p_value(gain) < 1e-6
    assert all(gain.gain < 0.01 for gain in read(x, rng.integers(0, 3, 1200), classes=3, readers=("mlp", "neighbours")).values())


def test_rows_of_one_cluster_do_not_teach_each_other():
    """Every cluster has its own place and a random label: within clusters it is read perfectly, across them not at all."""
    rng = stream(0, "clusters")
    clusters = np.repeat(np.arange(150), 5)
    x = rng.normal(size=(150, 4))[clusters] + 0.01 * rng.normal(size=(750, 4))
    codes = rng.integers(0, 2, 150)[clusters]
    for gain in read(x, codes, clusters=clusters).values():
        assert gain.gain < 0.02
        assert p_value(gain, clusters) > 0.5
    naive = read(x, codes, readers=("neighbours",))["neighbours"]
    assert naive.gain > 0.5


def test_rows_left_out_have_no_influence_and_no_say():
    rng = stream(0, "rows")
    x, codes = rings(rng)
    z, folds = whiten(x).z_nr, assign_folds(np.arange(2000), rng)
    rows = rng.random(2000) < 0.3
    offset = np.zeros((2000, 2))
    first = flexible_gains(z, codes, 2, folds, offset, seed=0, rows_n=rows, max_rows=700, readers=("neighbours",))[0]
    changed = np.where(rows, codes, -1)
    again = flexible_gains(z, changed, 2, folds, offset, seed=0, rows_n=rows, max_rows=700, readers=("neighbours",))[0]
    assert first.gain == again.gain > 0.5
    assert (first.influence_n[~rows] == 0).all()
    with pytest.raises(ValueError, match="rows_n"):
        flexible_gains(z, codes, 2, folds, offset, seed=0, max_rows=700)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds_n": np.arange(60) % 2}, "three folds"),
        ({"offset_nk": np.zeros((60, 3))}, "shape"),
        ({"codes_n": np.full(60, -1)}, "outside"),
        ({"offset_nk": np.full((60, 2), np.nan)}, "missing"),
        ({"readers": ("oracle",)}, "oracle"),
        ({"classes": 1}, "two classes"),
    ],
)
def test_bad_input_is_refused(change, message):
    rng = stream(0, "bad")
    given = {
        "z_nr": rng.normal(size=(60, 2)),
        "codes_n": np.arange(60) % 2,
        "classes": 2,
        "folds_n": np.arange(60) % 3,
        "offset_nk": np.zeros((60, 2)),
        "seed": 0,
    }
    with pytest.raises(ValueError, match=message):
        flexible_gains(**{**given, **change})


def test_a_site_without_columns_is_skipped_with_a_reason():
    gains = flexible_gains(np.zeros((60, 0)), np.arange(60) % 2, 2, np.arange(60) % 3, np.zeros((60, 2)), seed=0)
    assert all("no columns" in gain.skipped for gain in gains)
