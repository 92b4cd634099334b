"""Score statistics: equal to the double loop they stand for, and still where a class has another covariance."""

import numpy as np
import pytest

from proxyaudit.api import probe
from proxyaudit.probes.score import ScoreStatistic, flipped, permuted, standardise
from proxyaudit.probes.whitening import whiten, whiten_within
from proxyaudit.seeding import stream

CHANNELS = ("linear", "nonlinear")


def acts_of(n, d, name="acts"):
    rng = stream(0, name, n, d)
    return rng.normal(size=(n, d)) ** 3 @ rng.normal(size=(d, d))


def likeness_by_hand(rows, block, channel):
    """How much rows ``(n, n)`` of a block have of one another's labels."""
    factors = rows if channel == "linear" else rows.factors
    inner = next(one for one in factors.blocks if one.rows == block.rows)
    z = factors.z_nr[block.rows, : inner.rank].astype(np.float64)
    n, width = z.shape
    if channel == "linear" or width * (width + 1) >= n:
        return (z @ z.T) ** (1 if channel == "linear" else 2)
    pairs = [(i, j) for i in range(width) for j in range(i, width)]
    products = np.column_stack([z[:, i] * z[:, j] * (1.0 if i == j else np.sqrt(2)) for i, j in pairs])
    design = np.column_stack([np.ones(n), rows.z_nr[block.rows, : block.rank]])
    left = products - design @ np.linalg.lstsq(design, products, rcond=None)[0]
    moments = left.T @ left / n
    usual = np.trace(moments) / len(moments)
    ridge = usual * max(2 * (len(moments) / n) ** 2, 1e-3)
    return left @ np.linalg.inv(moments + ridge * np.eye(len(moments))) @ left.T * (usual + ridge)


def by_hand(rows, e_n, channel, clusters_n=None):
    """sum over pairs i != j of one block, and of two clusters, of e_i e_j times their likeness, over n."""
    total = 0.0
    for block in rows.blocks:
        kernel, e = likeness_by_hand(rows, block, channel), e_n[block.rows].astype(np.float64)
        alone = np.arange(len(e)) if clusters_n is None else clusters_n[block.rows]
        total += float((np.outer(e, e) * kernel)[alone[:, None] != alone].sum()) / len(e)
    return total


def residual_by_hand(rows, a_n):
    """Standardised labels, freed of everything linear within each block, standardised again."""
    e = a_n.astype(np.float64)
    out = np.zeros_like(e)
    for block in rows.blocks:
        design = np.column_stack([np.ones(block.rows.stop - block.rows.start), rows.z_nr[block.rows, : block.rank]])
        out[block.rows] = e[block.rows] - design @ np.linalg.lstsq(design, e[block.rows], rcond=None)[0]
    return out / np.sqrt((out**2).mean())


def centred_by_hand(rows, a_n):
    out = a_n.astype(np.float64)
    for block in rows.blocks:
        out[block.rows] -= out[block.rows].mean()
    return out / np.sqrt((out**2).mean())


# 90 rows of 3 columns go by features, of 12 by pairs of rows.
@pytest.mark.parametrize("d", [3, 12])
@pytest.mark.parametrize("strata", [False, True])
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("channel", CHANNELS)
def test_statistic_is_the_double_loop_over_pairs(channel, clustered, strata, d):
    acts, rng = acts_of(90, d), stream(0, "labels", d)
    rows = whiten_within(acts, rng.integers(0, 2, 90))[0] if strata else whiten(acts).rows
    clusters = rng.integers(0, 40, 90) if clustered else None
    statistic, prepare = ScoreStatistic(rows, channel, clusters), centred_by_hand if channel == "linear" else residual_by_hand
    for values, classes in ((rng.integers(0, 2, 90), 2), (rng.normal(size=90), 0)):
        expected = by_hand(rows, prepare(rows, values), channel, clusters)
        assert statistic.of_labels(values[:, None], classes)[0] == pytest.approx(expected, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("d", [3, 12])
@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("channel", CHANNELS)
def test_parts_of_rows_are_those_of_the_double_loop(channel, clustered, d):
    rows, rng = whiten(acts_of(90, d)).rows, stream(0, "labels", d)
    clusters = rng.integers(0, 40, 90) if clustered else np.arange(90)
    statistic = ScoreStatistic(rows, channel, clusters if clustered else None)
    e = statistic.prepare(rng.integers(0, 2, (90, 1)).astype(np.float32))
    kernel = likeness_by_hand(rows, rows.blocks[0], channel)
    others = kernel * (clusters[:, None] != clusters)
    expected = others @ e.astype(np.float64)
    scale = np.abs(expected).max()
    assert np.allclose(statistic.of_prepared(e).shares_n, 2 * (e * expected)[:, 0] / 90, atol=2e-3 * scale)
    assert np.allclose(statistic.directions(e), expected / 90, atol=2e-4 * scale)
    assert np.allclose(statistic.of_own(e), (kernel - others) @ e, atol=2e-3 * scale)
    near = rng.integers(0, 90, (7, 5))
    assert np.allclose(statistic.likeness(np.arange(7), near), np.take_along_axis(kernel[:7], near, axis=1), atol=2e-3 * scale)


def test_a_leak_along_any_product_moves_the_statistic_alike():
    """Of units of heavy tails: unwhitened, products of two of them move it many times as far as others do."""
    rng, n = stream(0, "tails"), 6000
    acts = rng.standard_t(5, size=(n, 5)) * np.array([1.0, 1, 1, 0.1, 10])
    rows = whiten(acts).rows
    x = rows.factors.z_nr
    products = np.column_stack([x[:, i] * x[:, j] for i in range(5) for j in range(i, 5)]).astype(np.float32)
    statistic = ScoreStatistic(rows, "nonlinear")
    moved = statistic.of_prepared(statistic.prepare(products)).scores_m
    assert moved.max() < 1.3 * moved.min()


def test_where_nothing_is_to_be_whitened_hardly_anything_is_lost(monkeypatch):
    """Of even rows: noise of the moments must not take the place of what is told."""
    n, d, told = 900, 20, {}
    for whitened in (True, False):
        monkeypatch.setattr(ScoreStatistic, "_few_features", lambda *_, of=whitened: of)
        rng = stream(0, "even")
        rows = whiten(rng.normal(size=(n, d))).rows
        statistic, z = ScoreStatistic(rows, "nonlinear"), rows.factors.z_nr
        e = statistic.prepare((z[:, :1] * z[:, 1:2]).astype(np.float32))
        null = statistic.of_prepared(flipped(None, n, 400, rng) * e).scores_m
        told[whitened] = statistic.of_prepared(e).scores_m[0] / null.std()
    assert told[True] > 0.85 * told[False]


def test_pairs_of_a_cluster_tell_nothing_of_others():
    """Labels that are one person's: whatever their rows share, turned signs and these give the same mean, zero."""
    rng = stream(0, "people")
    clusters = np.repeat(np.arange(100), 6)
    acts = rng.normal(size=(100, 5))[clusters] + 0.5 * rng.normal(size=(600, 5))
    labels = rng.integers(0, 2, 100)[clusters]
    for channel in CHANNELS:
        statistic = ScoreStatistic(whiten(acts).rows, channel, clusters)
        e = statistic.prepare(labels[:, None].astype(np.float32))
        null = statistic.of_prepared(flipped(clusters, 600, 800, rng) * e).scores_m
        assert abs(null.mean()) < 4.5 * null.std() / np.sqrt(800)
        with_own = ScoreStatistic(whiten(acts).rows, channel).of_prepared(flipped(clusters, 600, 800, rng) * e).scores_m
        assert with_own.mean() > 10 * null.std() / np.sqrt(800)


@pytest.mark.parametrize("channel", CHANNELS)
def test_bounded_memory_gives_the_same_numbers(channel):
    rows = whiten(acts_of(700, 40)).rows
    labels = stream(0, "labels").integers(0, 3, (700, 250))
    whole, bounded = ScoreStatistic(rows, channel), ScoreStatistic(rows, channel, memory_mb=1)
    assert np.allclose(whole.of_labels(labels, 3), bounded.of_labels(labels, 3), rtol=1e-4, atol=1e-2)
    assert whole.kept.keys() != bounded.kept.keys() or channel == "linear"
    e = whole.prepare((labels == 1).astype(np.float32))
    assert np.allclose(whole.of_prepared(e).shares_n, bounded.of_prepared(e).shares_n, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channel", CHANNELS)
def test_several_classes_sum_over_the_classes_against_the_rest(channel):
    statistic, codes = ScoreStatistic(whiten(acts_of(200, 4)).rows, channel), stream(0, "codes").integers(0, 4, (200, 3))
    singles = sum(statistic.of_labels(codes == k, 2) for k in range(4))
    assert np.allclose(statistic.of_labels(codes, 4), singles, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("channel", CHANNELS)
def test_rotation_row_order_and_label_names_do_not_matter(channel):
    acts, a = acts_of(300, 6), stream(0, "labels").integers(0, 2, 300)
    rng = stream(0, "turn")
    turn, order = np.linalg.qr(rng.normal(size=(6, 6)))[0], rng.permutation(300)
    reference = ScoreStatistic(whiten(acts).rows, channel).of_labels(a[:, None], 2)[0]
    for other, labels in ((acts @ turn * 3 + 1, a), (acts[order], a[order]), (acts, 1 - a)):
        found = ScoreStatistic(whiten(other).rows, channel).of_labels(labels[:, None], 2)[0]
        assert found == pytest.approx(reference, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_permutations_of_the_linear_statistic_centre_on_zero(classes):
    rng = stream(0, "null", classes)
    rows = whiten(acts_of(400, 8)).rows
    labels = rng.normal(size=400) if classes == 0 else rng.integers(0, classes, 400)
    null = ScoreStatistic(rows, "linear").of_labels(permuted(rows, labels, 800, rng), classes)
    # Labels drawn without replacement leave an expectation of rank / n for each class, next to nothing.
    assert abs(null.mean()) < 4.5 * null.std() / np.sqrt(800) + 8 * max(classes, 1) / 400


@pytest.mark.parametrize("channel", CHANNELS)
def test_turned_signs_centre_on_zero(channel):
    rows = whiten(acts_of(400, 8)).rows
    statistic = ScoreStatistic(rows, channel)
    e = statistic.prepare(stream(0, "labels").integers(0, 2, (400, 1)).astype(np.float32))
    null = statistic.of_prepared(flipped(None, 400, 800, stream(0)) * e).scores_m
    assert abs(null.mean()) < 4.5 * null.std() / np.sqrt(800)


def test_permutations_stay_within_their_block():
    strata = stream(0, "strata").integers(0, 3, 200)
    rows, order = whiten_within(acts_of(200, 3), strata)
    labels = strata[order] * 10 + stream(0, "labels").integers(0, 2, 200)
    columns = permuted(rows, labels, 5, stream(0))
    assert (columns // 10 == strata[order][:, None]).all()
    assert (np.sort(columns, axis=0) == np.sort(labels)[:, None]).all()
    assert (columns != labels[:, None]).any(axis=0).all()


def test_signs_are_constant_within_clusters_and_fair():
    clusters = stream(0, "clusters").integers(0, 40, 300) * 17
    signs = flipped(clusters, 300, 500, stream(0))
    assert set(np.unique(signs)) == {-1.0, 1.0}
    for cluster in np.unique(clusters):
        assert (signs[clusters == cluster] == signs[clusters == cluster][0]).all()
    firsts = np.stack([signs[clusters == c][0] for c in np.unique(clusters)])
    assert abs(firsts.mean()) < 5 / np.sqrt(firsts.size)
    alone = flipped(None, 300, 50, stream(0))
    assert abs(np.corrcoef(alone[:150].ravel(), alone[150:].ravel())[0, 1]) < 0.06


def test_columns_that_do_not_vary_become_zero():
    rows = whiten(acts_of(50, 3)).rows
    e = standardise(rows, np.column_stack([np.ones(50), np.arange(50)]).astype(np.float32))
    assert not e[:, 0].any()
    assert np.sqrt((e[:, 1] ** 2).mean()) == pytest.approx(1, abs=1e-5)
    assert ScoreStatistic(rows, "linear").of_labels(np.ones((50, 1)), 2)[0] == 0


def test_shares_are_the_derivative_of_the_score():
    """More weight on a row moves the score by its share: numerically, with a column scaled at one row."""
    rows, a = whiten(acts_of(60, 3)).rows, stream(0, "labels").integers(0, 2, 60)
    for channel in CHANNELS:
        statistic = ScoreStatistic(rows, channel)
        e = statistic.prepare(a[:, None].astype(np.float32))
        shares = statistic.of_prepared(e).shares_n
        for row in (0, 17, 59):
            up, down = e.copy(), e.copy()
            up[row] *= 1.05
            down[row] *= 0.95
            slope = (statistic.of_prepared(up).scores_m[0] - statistic.of_prepared(down).scores_m[0]) / 0.1
            assert slope == pytest.approx(shares[row], rel=0.02, abs=0.02)


def unequal(rng, n=1500, d=16):
    """A rare class of four times the variance and the same mean: no linear leak."""
    a = (rng.random(n) < 0.1).astype(np.int64)
    return rng.normal(size=(n, d)) * np.where(a, 2.0, 1.0)[:, None], a


def test_a_class_of_another_covariance_does_not_shift_the_statistic_but_the_naive_one():
    ours, naive = [], []
    for seed in range(40):
        acts, a = unequal(stream(seed, "unequal"))
        rows = whiten(acts).rows
        e = standardise(rows, a[:, None].astype(np.float32))
        ours.append(ScoreStatistic(rows, "linear").of_labels(a[:, None], 2)[0])
        naive.append(((rows.z_nr.T @ e) ** 2).sum() / len(a) - 16)
    # Under permuted labels both are centred on zero, with a standard deviation of sqrt(32).
    assert abs(np.mean(ours)) < 4 * np.std(ours) / np.sqrt(40)
    assert np.mean(naive) > 4 * np.sqrt(32)


def test_unknown_channel_is_refused():
    with pytest.raises(ValueError, match="sideways"):
        ScoreStatistic(whiten(acts_of(20, 2)).rows, "sideways")


def test_where_clusters_have_too_many_pairs_own_labels_alone_are_left_out(monkeypatch):
    monkeypatch.setattr("proxyaudit.probes.score._MOST_PAIRS", 10)
    rows, clusters = whiten(acts_of(90, 3)).rows, np.arange(90) // 3
    e = standardise(rows, stream(0, "labels").integers(0, 2, (90, 4)).astype(np.float32))
    alone, together = ScoreStatistic(rows, "linear"), ScoreStatistic(rows, "linear", clusters)
    assert np.array_equal(alone.of_prepared(e).scores_m, together.of_prepared(e).scores_m)


EVEN = np.where(np.arange(400) % 2, 1.0, -1.0)
FEW_VALUES = {
    "one even unit of two values": EVEN[:, None],
    "one uneven unit": (np.arange(400) % 3 == 0)[:, None] * 0.7,
    "levels": np.eye(4)[np.arange(400) % 4],
    "the same unit twice": np.stack([EVEN, EVEN], axis=1),
}


@pytest.mark.parametrize("name", FEW_VALUES)
def test_where_no_product_is_left_beside_what_is_linear_the_statistic_is_nothing(name):
    """Second moments of nothing have no factors: a site of one unit that is plus or minus one ended in an error."""
    statistic = ScoreStatistic(whiten(FEW_VALUES[name]).rows, "nonlinear")
    labels = stream(0, "labels").integers(0, 2, (400, 5))
    assert np.abs(statistic.of_labels(labels, 2)).max() < 1e-6
    assert np.abs(statistic.directions(statistic.prepare(labels.astype(np.float32)))).max() < 1e-6


@pytest.mark.parametrize("name", FEW_VALUES)
def test_a_probe_of_such_a_site_ends_in_words(name):
    labels = {"attribute": np.where(stream(1, "labels").integers(0, 2, 400), "a", "b")}
    evidence = probe({"model": {"site": FEW_VALUES[name]}}, labels, attributes="attribute", seed=0, jobs=1).pack.evidence
    assert evidence.findings[0].verdict in ("removed", "inconclusive")
