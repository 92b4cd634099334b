import numpy as np
import pytest

from proxyaudit.probes.deciding import Target, planted_test
from proxyaudit.probes.own_direction import cross_fitted_directions, score_ratio
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
    found = cross_fitted_directions(statistic, columns, None, stream(1, "halves"))
    assert found.shape == (3000, 1)
    assert np.corrcoef(found[:, 0], acts[:, 0] ** 2)[0, 1] > 0.8


def test_rows_of_a_cluster_never_read_themselves():
    """With copies in both halves the direction would hold each row's own label, also where there is nothing to read."""
    clusters = np.repeat(np.arange(300), 4)
    rng = stream(2, "copies")
    acts = rng.normal(size=(300, 12))[clusters] + 1e-3 * rng.normal(size=(1200, 12))
    codes = rng.integers(0, 2, 300)[clusters]
    statistic, columns = prepared(acts, codes)
    whole = cross_fitted_directions(statistic, columns, clusters, stream(1, "halves"))
    split = cross_fitted_directions(statistic, columns, None, stream(1, "halves"))
    assert abs(np.corrcoef(whole[:, 0], codes)[0, 1]) < 0.15
    assert np.corrcoef(split[:, 0], codes)[0, 1] > 0.3


@pytest.mark.parametrize(("rate", "low", "high"), [(0.5, 1.15, 1.6), (0.2, 1.5, 2.5)])
def test_a_square_of_a_heavy_tailed_unit_moves_the_score_more(rate, low, high):
    acts, codes = world(rate)
    statistic, columns = prepared(acts, codes)
    target = Target.of_codes(codes, 2)
    test = planted_test(statistic, target, 0.1, lambda purpose: stream(0, purpose), plants=49, permutations=199)
    own = cross_fitted_directions(statistic, columns, None, stream(1, "halves"))
    assert low < score_ratio(statistic, own, target.prior, target.weights, test.curve, test.score) < high


def test_numbers_and_several_classes_have_a_ratio_too():
    rng = stream(3, "numbers")
    acts = rng.normal(size=(2000, 5))
    values = acts[:, 0] ** 2 + 2 * rng.normal(size=2000)
    statistic = ScoreStatistic(whiten(acts).rows, "nonlinear")
    for target in (Target.of_values(values), Target.of_codes(np.digitize(values, np.quantile(values, [0.3, 0.8])), 3)):
        columns = [statistic.prepare(column) for column in indicator_columns(target.labels_n[:, None], target.classes)]
        test = planted_test(statistic, target, 0.1, lambda purpose: stream(0, purpose), plants=19, permutations=99)
        own = cross_fitted_directions(statistic, columns, None, stream(1, "halves"))
        assert 0.7 < score_ratio(statistic, own, target.prior, target.weights, test.curve, test.score) < 1.5
