import numpy as np
import pytest

from proxyaudit.probes.deciding import own_directions, planted_test, score_ratio
from proxyaudit.probes.planting import Target
from proxyaudit.probes.score import ScoreStatistic, indicator_columns
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream


def world(rate, clusters=None, n=3000, seed=0):
    """Class variances 1 and 4 along one of six units."""
    rng = stream(seed, "own direction")
    codes = (rng.random(n) < rate).astype(np.int64)
    if clusters is not None:
        codes = codes[clusters]
    acts = rng.normal(size=(n, 6))
    acts[:, 0] *= np.where(codes, 2.0, 1.0)
    return acts, codes


def prepared(acts, codes):
    statistic = ScoreStatistic(whiten(acts).rows, "nonlinear")
    return statistic, [statistic.prepare(column) for column in indicator_columns(codes[:, None], 2)]


def test_the_direction_is_the_one_that_tells():
    acts, codes = world(0.5)
    statistic, columns = prepared(acts, codes)
    found = own_directions(statistic, columns, None, stream(1, "halves"))
    assert found.shape == (3000, 1)
    assert np.corrcoef(found[:, 0], acts[:, 0] ** 2)[0, 1] > 0.8


def test_rows_of_a_cluster_never_read_themselves():
    """With copies in both halves the direction would hold each row's own label, also where there is nothing to read."""
    clusters = np.repeat(np.arange(300), 4)
    rng = stream(2, "copies")
    acts = rng.normal(size=(300, 12))[clusters] + 1e-3 * rng.normal(size=(1200, 12))
    codes = rng.integers(0, 2, 300)[clusters]
    statistic, columns = prepared(acts, codes)
    whole = own_directions(statistic, columns, clusters, stream(1, "halves"))
    split = own_directions(statistic, columns, None, stream(1, "halves"))
    assert abs(np.corrcoef(whole[:, 0], codes)[0, 1]) < 0.15
    assert np.corrcoef(split[:, 0], codes)[0, 1] > 0.3


@pytest.mark.parametrize(("rate", "low", "high"), [(0.5, 1.15, 1.6), (0.2, 1.5, 2.5)])
def test_a_square_of_a_heavy_tailed_unit_moves_the_score_more(rate, low, high):
    acts, codes = world(rate)
    statistic, columns = prepared(acts, codes)
    target = Target.of_codes(codes, 2)
    test = planted_test(statistic, target, 0.1, lambda purpose: stream(0, purpose), plants=49, permutations=199)
    own = own_directions(statistic, columns, None, stream(1, "halves"))
    assert low < score_ratio(statistic, own, target.prior, target.weights, test.curve, test.score) < high


def test_numbers_and_several_classes_have_a_ratio_too():
    rng = stream(3, "numbers")
    acts = rng.normal(size=(2000, 5))
    values = acts[:, 0] ** 2 + 2 * rng.normal(size=2000)
    statistic = ScoreStatistic(whiten(acts).rows, "nonlinear")
    for target in (Target.of_values(values), Target.of_codes(np.digitize(values, np.quantile(values, [0.3, 0.8])), 3)):
        columns = [statistic.prepare(column) for column in indicator_columns(target.labels_n[:, None], target.classes)]
        test = planted_test(statistic, target, 0.1, lambda purpose: stream(0, purpose), plants=19, permutations=99)
        own = own_directions(statistic, columns, None, stream(1, "halves"))
        assert 0.7 < score_ratio(statistic, own, target.prior, target.weights, test.curve, test.score) < 1.5


@pytest.mark.parametrize(("on_in", "rate"), [(1, 0.02), (0, 0.1)])
def test_a_unit_that_one_class_alone_switches_on_is_read_right(on_in, rate):
    """Off the even curve, a class of 2 % that alone has the unit on reads ten times too high, one of 90 % three times too low."""
    rng = stream(4, "switch", on_in)
    codes = (rng.random(12000) < rate).astype(np.int64)
    share = 0.06 if on_in else 0.085
    on = (codes == on_in) & (rng.random(12000) < share)
    acts = rng.normal(size=(12000, 12))
    acts[:, 0] = 0
    acts[on, 0] = 1.0
    within = np.array([on[codes == 0].mean(), on[codes == 1].mean()])
    p = np.stack([1 - within, within], axis=1)
    truth = float(np.nansum(0.5 * p * np.log2(np.where(p > 0, p, 1.0) / p.mean(axis=0))))
    statistic = ScoreStatistic(whiten(acts).rows, "linear")
    test = planted_test(statistic, Target.of_codes(codes, 2), 0.02, lambda purpose: stream(0, purpose), plants=49, permutations=199)
    assert test.low <= truth <= 1.15 * test.high  # noise in the direction still pulls a low reading towards the even one
    even = test.curve.calibrate(test.score)[0]
    assert abs(np.log(even / truth)) > 1.5 * abs(np.log(test.leak / truth))


def test_two_models_that_differ_a_little_read_differently():
    """A reading that came from a grid would make different models look like one."""
    acts, codes = world(0.5)
    found = set()
    for step in range(4):
        moved = acts + 1e-3 * step * stream(step, "step").normal(size=acts.shape)
        statistic = ScoreStatistic(whiten(moved).rows, "linear")
        shifted = np.where(stream(9, "shift").random(3000) < 0.6, codes, (acts[:, 1] > 0).astype(np.int64))
        test = planted_test(statistic, Target.of_codes(shifted, 2), 0.02, lambda purpose: stream(0, purpose), plants=9, permutations=99)
        found.add(test.leak)
    assert len(found) == 4
    assert max(found) / min(found) < 1.01
