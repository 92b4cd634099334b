"""What a test need not ask (decision 0056): the same is found without it, and what must be asked still is."""

import numpy as np
import pandas as pd
import pytest

import proxyaudit as pa
from proxyaudit.probes.asked_directions import asked_directions
from proxyaudit.probes.belonging import _undecided
from proxyaudit.probes.deciding import Inversion, _Known, planted_test, read_leak
from proxyaudit.probes.planting import Planter, Target
from proxyaudit.probes.score import ScoreStatistic, indicator_columns
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream
from proxyaudit.stats.directions import distinct, free_of_linear, isotropic
from proxyaudit.stats.score_law import ScoreLaw
from tests.helpers.planting import planted

MARGIN = 0.02


def streams(purpose):
    return stream(0, "asked once", purpose)


def of_labels(acts, labels, classes, channel="linear"):
    statistic = ScoreStatistic(whiten(acts).rows, channel)
    target = Target.of_codes(labels, classes) if classes else Target.of_values(labels)
    prepared = [statistic.prepare(column) for column in indicator_columns(labels[:, None], classes)]
    return statistic, target, prepared


def test_columns_that_repeat_one_another_are_one():
    one, other = stream(0, "columns").normal(size=(2, 500)).astype(np.float32)
    assert distinct(np.stack([one, -one, other, 3 * one, one + 0.1 * other], axis=1)).tolist() == [0, 2, 4]


@pytest.mark.parametrize(("channel", "tail"), [("linear", "normal"), ("linear", "exponential"), ("nonlinear", "normal")])
def test_a_site_of_one_dimension_has_one_direction(channel, tail):
    """Of long tails products are formed of shortened rows as well, so that there are several of them."""
    rng = stream(1, "one")
    labels = (rng.random(1500) < 0.2).astype(np.int64)
    statistic, target, prepared = of_labels(getattr(rng, f"standard_{tail}")(size=(1500, 1)), labels, 2, channel)
    asked = asked_directions(Planter(statistic, target, 99, streams), prepared, streams)
    assert len(asked.names) == 3  # both ways along it, and the attribute's own
    few = asked_directions(Planter(statistic, target, 99, streams), prepared, streams, many=False)
    assert few.names == ("isotropic", "own")


@pytest.mark.parametrize("classes", [2, 4, 0])
def test_the_leak_alone_is_that_of_the_whole_test(classes):
    rng = stream(2, "leaks")
    acts = np.maximum(rng.normal(size=(2500, 8)) - 0.3, 0)
    told = acts[:, 0] - acts[:, 0].mean()
    labels = told + rng.normal(size=2500) if classes == 0 else np.clip(np.round(1.5 + told + rng.normal(size=2500)), 0, classes - 1)
    labels = labels if classes == 0 else labels.astype(np.int64)
    statistic, target, _ = of_labels(acts, labels, classes)
    whole, alone = planted_test(statistic, target, MARGIN, streams), read_leak(statistic, target, MARGIN, streams)
    assert alone is not None
    assert whole.leak > 0.04
    assert alone[0] == pytest.approx(whole.leak, rel=0.02)
    assert np.corrcoef(alone[1], whole.influence_n)[0, 1] > 0.9999
    assert np.linalg.norm(alone[1]) == pytest.approx(np.linalg.norm(whole.influence_n), rel=0.05)


def test_the_leak_of_a_constant_site_cannot_be_asked():
    statistic, target, _ = of_labels(np.ones((300, 3)), stream(3, "coin").integers(0, 2, 300), 2)
    assert read_leak(statistic, target, MARGIN, streams) is None


def known(*, linear, told):
    """A direction 0 that carries less than .1, with what it tells instead, and a direction 1 that carries everything."""
    asked: list[tuple[int, float]] = []

    def solve(which, leaks):
        asked.extend(zip(which.tolist(), leaks.tolist(), strict=True))
        carried = (which == 1) | (leaks < 0.1)
        law = ScoreLaw(100 * leaks, 1 + leaks, 0 * leaks)
        return law, carried, np.where(carried, leaks, told), np.zeros(len(leaks))

    return _Known(solve, linear=linear), asked


@pytest.mark.parametrize(("linear", "told", "again"), [(True, 0.09, False), (False, 0.09, True), (True, 0.0, True)])
def test_what_a_direction_does_not_carry_is_asked_again_where_more_may_be_carried(linear, told, again):
    """Products may carry a larger leak where they carry no smaller one, and where none was found nothing is known."""
    found, asked = known(linear=linear, told=told)
    leaks = np.array([0.05, 0.12, 0.5, 0.7, 0.05, 0.12, 0.5, 0.7])
    law, carried, carries, _ = found.of(np.repeat([0, 1], 4), leaks)
    assert carried.tolist() == [True, False, False, False] + [True] * 4
    assert carries[4:].tolist() == leaks[4:].tolist()
    assert ((0, 0.7) in asked) == again
    assert len(asked) == len(set(asked))
    before = len(asked)
    assert found.of(np.repeat([0, 1], 4), leaks)[0].mean.tolist() == law.mean.tolist()
    assert len(asked) == before


def test_a_near_leak_serves_and_the_margin_is_its_own():
    rng = stream(4, "screens")
    labels = (rng.random(1500) < 0.3).astype(np.int64)
    statistic, target, prepared = of_labels(rng.normal(size=(1500, 6)), labels, 2)
    inversion = Inversion(Planter(statistic, target, 199, streams), prepared, 10.0, MARGIN, streams, 0)
    near = inversion._laws_of_all(1.2 * MARGIN)
    own = inversion._laws_of_all(MARGIN)
    assert own[0].mean.max() < near[0].mean.max()
    assert inversion._laws_of_all(1.15 * MARGIN) is inversion._laws_of_all(1.2 * MARGIN)
    assert inversion._laws_of_all(2 * MARGIN)[0].mean.max() > near[0].mean.max()


@pytest.mark.parametrize(
    ("excess", "smooth", "more"),
    [(0.0, 0.0, False), (0.03, 0.0, False), (0.06, 0.0, True), (0.3, 0.0, True), (0.06, 0.4, False)],
)
def test_neighbours_are_asked_further_where_what_counts_is_within_reach(excess, smooth, more):
    rng = stream(5, "excess")
    several = rng.normal(scale=0.1, size=(1000, 20))
    several -= several.mean(axis=0)
    nearest = rng.normal(scale=0.5, size=(1000, 20))
    nearest -= nearest.mean(axis=0)
    nearest[:, 0] += excess
    assert _undecided([nearest, several, np.full(1000, 1 - smooth)]) == more


def rectified(n, d=8):
    rng = stream(6, "rectified")
    return np.maximum(rng.normal(size=(n, d)) - 0.8, 0)


def test_an_even_plant_carries_its_leak_in_what_is_not_linear():
    """Of labels of a rare class that follow a product closely, part is linear: what is left must be the leak that was asked for."""
    n, rate, leak = 6000, 0.03, 0.10
    labels = (stream(7, "rare").random(n) < rate).astype(np.int64)
    statistic, target, _ = of_labels(rectified(n), labels, 2, "nonlinear")
    planter, rows = Planter(statistic, target, 99, streams), statistic.rows
    z = isotropic(rows.factors, 6, stream(7, "directions"))
    scores = free_of_linear(rows, z[:, :3] * z[:, 3:])
    plain = planted(planter, scores, np.full(3, leak))
    assert not plain.carried.all()  # without it a test would have nothing that stands for others
    even = planted(planter, scores, np.full(3, leak), np.ones(3, dtype=bool))
    assert even.carried.all()
    share = (even.beyond[0] ** 2).sum(axis=0) / (even.excess[0] ** 2).sum(axis=0)
    p = even.probabilities_knp[1].astype(np.float64)
    rates = p.mean(axis=0)
    told = 0.5 * p / rates, 0.5 * (1 - p) / (1 - rates)
    mass = told[0] + told[1]
    entropy = -sum((part * np.log2(part / mass)).mean(axis=0) for part in told)
    assert (1 - entropy) * share == pytest.approx(np.full(3, leak), rel=0.02)
    some = planted(planter, scores, np.full(3, leak), np.array([True, False, True]))
    assert some.carried[[0, 2]].all()
    assert some.leaks_p[1] == plain.leaks_p[1]


@pytest.mark.long
@pytest.mark.parametrize("rate", [0.02, 0.03, 0.05])
def test_rare_classes_behind_rectifiers_are_absent_where_nothing_is_and_not_at_the_margin(rate):
    n, margin = 9000, 0.10
    rng = stream(8, "rare", round(1000 * rate))
    labels = (rng.random(n) < rate).astype(np.int64)
    statistic, target, _ = of_labels(rectified(n), labels, 2, "nonlinear")
    nothing = planted_test(statistic, target, margin, streams)
    assert nothing.reason is None
    assert nothing.p_absent < 0.05
    planter, rows = Planter(statistic, target, 99, streams), statistic.rows
    z = isotropic(rows.factors, 2, rng)
    even = planted(planter, free_of_linear(rows, z[:, :1] * z[:, 1:]), np.full(1, margin), np.ones(1, dtype=bool))
    assert even.carried.all()
    drawn = (rng.random(n) < even.probabilities_knp[1, :, 0]).astype(np.int64)
    assert planted_test(statistic, Target.of_codes(drawn, 2), margin, streams).p_absent > 0.01


def asked_of(labels, **more):
    rng = stream(9, "acts")
    found = rng.normal(size=(1200, 6))
    found[:, 0] += 1.5 * (np.asarray(labels["sex"]) == "f")
    audit = pa.probe({"real": {"layer": found.astype("float32")}}, pd.DataFrame(labels), attributes=["sex"], **more)
    assert audit.findings.iloc[0].verdict == "exposed"
    return audit.estimates.query("channel == 'nonlinear'").iloc[0]


@pytest.mark.long
def test_a_probe_asks_stronger_readers_where_they_may_change_something():
    rng = stream(10, "labels")
    sex, approved = rng.choice(["f", "m"], 1200), rng.choice(["no", "yes"], 1200)
    assert asked_of({"sex": sex}).reason == "a linear reader finds it here already; nothing more was asked at this site"
    conditioned = asked_of({"sex": sex, "approved": approved}, condition_on="approved")
    assert pd.notna(conditioned.value)
