"""Directions that labels rule out: hardly ever the one that they follow, nearly always those that they do not."""

import numpy as np
import pytest

from proxyaudit.probes.planting import Planter, Target, own_direction
from proxyaudit.probes.ruled_out import LEANINGS, followed, leaning, ruled_out_at
from proxyaudit.probes.score import ScoreStatistic, indicator_columns
from proxyaudit.probes.whitening import whiten, whiten_within
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import free_of_linear
from proxyaudit.stats.laws import normal_tail
from proxyaudit.stats.score_law import BARS
from tests.helpers.planting import planted

N, D = 3000, 12
MARGINS = {"linear": 0.02, "nonlinear": 0.10}
BAR = BARS[0]
SPENT = 4 * normal_tail(BAR)


def rectified(seed, n=N, d=D):
    """Units that are on for some rows only."""
    rng = stream(seed, "rectified")
    return np.maximum(rng.standard_normal((n, d // 2)) @ rng.standard_normal((d // 2, d)) + rng.uniform(-3, 0, d), 0)


def planter_of(seed, channel, rate=0.5, clusters=None):
    rows = whiten(rectified(seed)).rows
    codes = (stream(seed, "codes").random(N) < rate).astype(np.int64)
    return Planter(ScoreStatistic(rows, channel), Target.of_codes(codes, 2, clusters), 499, lambda purpose: stream(seed, purpose))


def steep(rows, channel):
    """Units of the heaviest tails, and products of others: those of the heaviest carry no leak of the margin."""
    x = rows.x_nd[:, np.argsort(-(rows.x_nd**4).mean(axis=0))]
    return x[:, :3].copy() if channel == "linear" else free_of_linear(rows, x[:, -3:] * x[:, -6:-3])


def observed(planter, labels):
    prepared = [planter.statistic.prepare(column) for column in indicator_columns(labels[:, None], planter.target.classes)]
    return prepared, sum(
        w * float(planter.statistic.of_prepared(e).scores_m[0]) for w, e in zip(planter.target.weights, prepared, strict=True)
    )


@pytest.mark.parametrize("channel", ["linear", "nonlinear"])
@pytest.mark.parametrize("rate", [0.5, 0.06])
def test_labels_hardly_ever_rule_out_the_direction_that_they_were_planted_along(channel, rate):
    planter = planter_of(0, channel, rate)
    plants = planted(planter, steep(planter.rows, channel), np.full(3, MARGINS[channel]))
    rng, wrong, asked, depths = stream(0, "draws"), 0, 0, []
    for index in np.flatnonzero(plants.carried):
        for _ in range(150):
            labels = (rng.random(N) < plants.probabilities_knp[1, :, index]).astype(np.int64)
            _, match = planter.law_of(plants, *observed(planter, labels))
            wrong += int(ruled_out_at(match, planter.law, np.array(["heavy"] * 3))[index] > BAR)
            depths.append((match.told[index] - match.expected[index]) / match.error[index])
            asked += 1
    assert asked
    assert wrong <= 3 + SPENT * asked
    # What planted labels tell along their direction has the mean and the scatter that it is held to have.
    assert abs(np.mean(depths)) < 0.25
    assert 0.85 < np.std(depths) < 1.15


@pytest.mark.parametrize("channel", ["linear", "nonlinear"])
def test_labels_that_follow_nothing_rule_out_what_would_be_seen(channel):
    planter = planter_of(1, channel)
    plants = planted(planter, steep(planter.rows, channel), np.full(3, 2 * MARGINS[channel]))
    labels = stream(1, "nothing").permutation(planter.target.labels_n)
    _, match = planter.law_of(plants, *observed(planter, labels))
    assert (ruled_out_at(match, planter.law, np.array(["unit"] * 3))[plants.carried] > BAR).all()
    # Even directions stand for many others, which labels may follow.
    assert (ruled_out_at(match, planter.law, np.array(["isotropic", "own", "one stratum"])) == -np.inf).all()


def test_labels_that_tell_much_besides_rule_a_direction_out():
    planter = planter_of(2, "linear")
    heavy = steep(planter.rows, "linear")
    strong = planted(planter, heavy, np.full(3, 0.25))
    labels = (stream(2, "draw").random(N) < strong.probabilities_knp[1, :, 0]).astype(np.int64)
    _, match = planter.law_of(planted(planter, heavy, np.full(3, 0.02)), *observed(planter, labels))
    ruled_out = ruled_out_at(match, planter.law, np.array(["unit"] * 3)) > BAR
    assert not ruled_out[0]  # stronger along it than the leak that is asked: the score itself says so
    assert ruled_out[1:].all()


@pytest.mark.parametrize("channel", ["linear", "nonlinear"])
def test_members_that_labels_follow_are_found_though_nobody_listed_them(channel):
    planter = planter_of(3, channel)
    heavy = steep(planter.rows, channel)
    plants = planted(planter, heavy, np.full(3, 2 * MARGINS[channel]))
    labels = (stream(3, "draw").random(N) < plants.probabilities_knp[1, :, 0]).astype(np.int64)
    prepared, _ = observed(planter, labels)
    found, names = followed(planter.statistic, prepared, planter.target)
    assert found.shape == (N, len(names))
    assert np.abs(heavy[:, 0] @ found / N).max() > 0.95


def test_within_strata_no_member_is_sought():
    rows, order = whiten_within(rectified(4), np.arange(N) % 3)
    target = Target.of_codes(np.arange(N)[order] % 2, 2, None, np.arange(N)[order] % 3)
    statistic = ScoreStatistic(rows, "linear")
    prepared = [statistic.prepare(column) for column in indicator_columns(target.labels_n[:, None], 2)]
    assert followed(statistic, prepared, target)[1] == ()


@pytest.mark.parametrize("classes", [2, 4])
def test_leanings_lie_between_a_direction_and_the_one_that_labels_follow(classes):
    rows = whiten(rectified(5)).rows
    statistic, labels = ScoreStatistic(rows, "linear"), stream(5, "labels").integers(0, classes, N)
    target = Target.of_codes(labels, classes)
    prepared = [statistic.prepare(column) for column in indicator_columns(labels[:, None], classes)]
    unit = rows.x_nd[:, :2]
    pattern = np.array([1.0, -1.0, 1.0, -1.0], dtype=np.float32)
    asked = unit if classes == 2 else unit[:, None] * pattern[None, :, None]
    between = leaning(statistic, prepared, target, asked)
    assert between.shape == (*asked.shape[:-1], 2 * len(LEANINGS))
    first = between[..., : len(LEANINGS)] if classes == 2 else between[:, 0, : len(LEANINGS)]
    np.testing.assert_allclose(unit[:, 0] @ first / N, LEANINGS, atol=1e-3)
    if classes == 4:
        np.testing.assert_allclose(between[:, 1], -between[:, 0], atol=1e-5)


def test_where_there_is_one_direction_nothing_lies_beside_it():
    rows = whiten(stream(6, "acts").standard_normal((N, 1))).rows
    statistic, labels = ScoreStatistic(rows, "linear"), stream(6, "labels").integers(0, 3, N)
    prepared = [statistic.prepare(column) for column in indicator_columns(labels[:, None], 3)]
    asked = rows.x_nd[:, None] * np.array([1.0, -1.0, 0.5], dtype=np.float32)[None, :, None]
    between = leaning(statistic, prepared, Target.of_codes(labels, 3), asked)
    for index in range(between.shape[-1]):
        np.testing.assert_allclose(between[..., index], asked[..., 0], atol=1e-4)


def test_labels_freed_of_everything_linear_have_no_direction_of_their_own():
    rng = stream(6, "acts")
    acts, labels = rng.standard_normal((N, D)), rng.integers(0, 2, N)
    e = labels - labels.mean()
    cleaned = acts - np.outer(e, np.linalg.lstsq(np.column_stack([np.ones(N), e]), acts, rcond=None)[0][1])
    rows = whiten(cleaned).rows
    statistic, target = ScoreStatistic(rows, "linear"), Target.of_codes(labels, 2)
    prepared = [statistic.prepare(column) for column in indicator_columns(labels[:, None], 2)]
    assert own_direction(statistic, prepared, target, stream(6, "halves")) is None
