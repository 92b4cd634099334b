"""Rows that belong together though nobody said so: named where neighbours show it, and nowhere else."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest

import proxyaudit as pa
from proxyaudit.audits.probe import run as pipeline
from proxyaudit.channels.leak.guards import SiteGuards
from proxyaudit.channels.leak.planted import RESTS_ON_NEIGHBOURS, TOGETHER, planted_draft
from proxyaudit.channels.leak.record import LeakTest, SiteRecord
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.estimates.ledger import Draft
from proxyaudit.planted import make_world
from proxyaudit.probes.belonging import agreement, find_neighbours
from proxyaudit.probes.planting import Target
from proxyaudit.probes.results import Agreement
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream


def people(sizes, noise, d=16, seed=0):
    """Rows of people around each one's own place, with an attribute that goes with the person and with nothing else."""
    rng = stream(seed, "people", str(noise), d)
    person = np.repeat(np.arange(len(sizes)), sizes)
    acts = rng.normal(size=(len(sizes), d))[person] + noise * rng.normal(size=(len(person), d))
    return acts.astype(np.float32), rng.integers(0, 2, len(sizes))[person], person


def series(correlation, d=16, n=2400, stretch=60):
    """One person's rows in time, and a state that lasts for a while."""
    rng = stream(0, "series", str(correlation))
    acts = np.zeros((n, d))
    for t in range(1, n):
        acts[t] = correlation * acts[t - 1] + np.sqrt(1 - correlation**2) * rng.normal(size=d)
    return acts.astype(np.float32), np.repeat(rng.integers(0, 2, n // stretch), stretch), None


def households():
    return people(stream(0, "households").integers(2, 5, 700), 0.3)


def asked(acts, codes, classes=2):
    neighbours = find_neighbours(whiten(acts).z_nr, None)
    assert neighbours is not None
    return agreement(neighbours, codes, classes)


@pytest.mark.parametrize(
    "make",
    [
        lambda: people([8] * 300, 0.3),
        lambda: people([8] * 300, 1.0),
        lambda: people([8] * 300, 1.0, d=48),
        lambda: people([24] * 100, 0.3),
        lambda: people([6] * 120, 0.3),
        lambda: people([24] * 100, 1.0),
        lambda: people([10] * 60, 0.3),
        lambda: people([10] * 30, 0.3, d=8),
        lambda: people([20] * 100, 1.0, d=12),
        households,
        lambda: series(0.9),
        lambda: series(0.98),
    ],
)
def test_rows_that_belong_together_are_seen(make):
    acts, codes, _ = make()
    assert asked(acts, codes).together


def guards_of(acts, codes):
    guards = SiteGuards(whiten(acts), codes, 2, None, {})
    return guards, guards.agreement()


@pytest.mark.parametrize(("sizes", "d"), [([2] * 400, 40), ([4] * 250, 32), ([8] * 150, 12)])
def test_rows_that_repeat_one_another_and_were_not_joined_are_seen(sizes, d):
    acts, codes, _ = people(sizes, 0.0, d=d)
    guards, found = guards_of(acts, codes)
    assert found.together
    statistic, target = ScoreStatistic(whiten(acts).rows, "linear"), Target.of_codes(codes, 2)
    score = float(statistic.of_labels(codes[:, None], 2, target.weights)[0])
    assert guards.near(statistic, target, score) >= RESTS_ON_NEIGHBOURS
    assert not guards_of(acts, stream(1, "coin").permutation(codes))[1].together


@pytest.mark.parametrize("bits", [5, 6, 8])
def test_units_of_few_values_are_no_copies_of_people(bits):
    acts = stream(9, "bits", bits).integers(0, 2, (1500, bits)).astype(np.float32)
    coin = stream(10, "coin").integers(0, 2, len(acts))
    assert not guards_of(acts, coin)[1].together
    assert not guards_of(acts, (acts[:, 0] + acts[:, 1] + stream(11, "n").normal(size=len(acts)) > 1).astype(int))[1].together


def test_several_classes_and_numbers_that_go_with_the_person():
    acts, _, person = people([8] * 300, 0.3)
    rng = stream(1, "values")
    assert asked(acts, rng.integers(0, 4, 300)[person], 4).together
    assert asked(acts, rng.normal(size=300)[person], 0).together


def blobs(count, spread):
    rng = stream(2, "blobs", count)
    which = rng.integers(0, count, 2000)
    return rng.normal(size=(count, 12))[which] + spread * rng.normal(size=(2000, 12)), rng.integers(0, 2, count)[which]


def plain(tell):
    acts = stream(3, "plain").normal(size=(2000, 12))
    return acts, np.asarray(tell(acts)).astype(int)


def one_hot():
    rng = stream(4, "levels")
    acts = np.concatenate([*(np.eye(k)[rng.integers(0, k, 2000)] for k in (3, 4, 5, 6)), rng.normal(size=(2000, 2))], axis=1)
    return acts, rng.integers(0, 2, 2000)


def rectified():
    acts = np.maximum(stream(5, "in").normal(size=(2000, 10)) @ stream(6, "w").normal(size=(10, 24)) - 1, 0)
    return acts, (acts[:, 0] + acts[:, 1] > 1).astype(int)


def sharp():
    """A class of much narrower values in few dimensions: hardly a quadratic function, and no sign of people."""
    rng = stream(0, "sharp")
    codes = rng.integers(0, 2, 600)
    acts = rng.normal(size=(600, 6))
    acts[:, 0] *= np.where(codes == 1, 2.2, 0.6)
    return acts @ rng.normal(size=(6, 4)), codes


def jobs_and_towns():
    """Few people whose job nearly tells the attribute, as hidden units show it."""
    rng = stream(0, "jobs")
    codes, job, town = rng.integers(0, 2, 500), rng.integers(0, 4, 500), rng.integers(0, 3, 500)
    job = np.where(rng.random(500) < 0.65, codes, job)
    acts = np.concatenate([np.eye(4)[job], np.eye(3)[town], rng.normal(size=(500, 2)) + 0.7 * codes[:, None]], axis=1)
    return np.maximum(acts @ rng.normal(size=(9, 8)), 0), codes


def few_rows(kind, n, d, leak):
    world = make_world(kind, n=n, d=d, leak=leak, rng=stream(0, "few rows", kind, n))
    return world.acts_nd, (world.labels_n == "b").astype(int)


@pytest.mark.parametrize(
    "make",
    [
        lambda: few_rows("xor", 600, 16, 0.4),
        lambda: few_rows("variance", 400, 8, 0.4),
        lambda: few_rows("norm", 828, 32, 0.55),
        lambda: few_rows("linear", 350, 16, 0.6),
        sharp,
        jobs_and_towns,
        lambda: few_rows("absent", 300, 8, 0.0),
        lambda: blobs(4, 0.3),
        lambda: blobs(10, 0.5),
        lambda: plain(lambda x: stream(7, "coin").integers(0, 2, len(x))),
        lambda: plain(lambda x: x[:, 0] > 0),
        lambda: plain(lambda x: x[:, 0] + stream(8, "noise").normal(size=len(x)) > 0),
        lambda: plain(lambda x: x[:, 0] * x[:, 1] > 0),
        lambda: plain(lambda x: (x**2).sum(axis=1) > 12),
        one_hot,
        rectified,
    ],
)
def test_rows_that_stand_alone_are_left_alone(make):
    acts, codes = make()
    assert not asked(acts, codes).together


def test_named_groups_are_no_neighbours():
    acts, codes, person = people([8] * 300, 0.3)
    neighbours = find_neighbours(whiten(acts).z_nr, person)
    assert neighbours is not None
    assert not (person[neighbours.near_qk()] == person[neighbours.rows_q][:, None]).any()
    assert not agreement(neighbours, codes, 2).together


@pytest.mark.parametrize("asked_first", [(), (64, 128), (1000, 1), (300, 700, 1003)])
def test_neighbours_do_not_hang_on_who_asked_before(asked_first):
    z = whiten(people([8] * 200, 0.3)[0]).z_nr
    one, other = find_neighbours(z, None), find_neighbours(z, None)
    assert one is not None
    assert other is not None
    for stop in asked_first:
        assert len(one.near_qk(stop)) == stop
    assert np.array_equal(one.near_qk(), other.near_qk())
    assert one.near_qk().shape == (len(z), one.count)


def test_few_rows_or_dimensions_are_not_asked():
    assert find_neighbours(np.zeros((400, 3)), None) is None
    assert find_neighbours(stream(0, "few").normal(size=(200, 8)), None) is None


@pytest.mark.parametrize("make", [lambda: people([8] * 240, 0.3, d=32), lambda: people([10] * 60, 0.3), lambda: series(0.95)])
def test_an_attribute_of_people_is_neither_exposed_nor_removed(make, monkeypatch):
    monkeypatch.setattr(pipeline, "Probing", partial(Probing, readers=("quadratic",)))
    acts, codes, _ = make()
    audit = pa.probe({"m": {"s": acts}}, pd.DataFrame({"a": codes}), attributes=["a"], jobs=1)
    assert audit.pack.evidence.findings[0].verdict == "inconclusive"
    assert any(estimate.reason == TOGETHER for estimate in audit.pack.evidence.estimates)


def test_rows_that_repeat_one_another_at_a_later_site_expose_nobody(monkeypatch):
    monkeypatch.setattr(pipeline, "Probing", partial(Probing, readers=("quadratic",)))
    acts, codes, _ = people([4] * 200, 0.0, d=40)
    sites = {"first": stream(12, "first").normal(size=(len(acts), 6)), "second": acts}
    audit = pa.probe({"m": sites}, pd.DataFrame({"a": codes}), attributes=["a"], jobs=1)
    finding = audit.pack.evidence.findings[0]
    assert (finding.verdict, finding.at_least) == ("inconclusive", None)
    assert any(estimate.reason == TOGETHER for estimate in audit.pack.evidence.estimates)


@pytest.mark.parametrize(("near", "barred"), [(None, True), (1.0, True), (RESTS_ON_NEIGHBOURS - 0.1, False)])
def test_only_presence_that_rests_on_neighbours_is_barred(near, barred):
    test = LeakTest(
        score=50.0, p_present=0.001, leak=0.1, raw=0.1, null=np.zeros(99), influence_n=np.zeros(4), found_once=1, found_twice=1, near=near
    )
    record = SiteRecord(4, 4, agreement=Agreement(0.5, 0.02, 0.0), tests={"linear": test})
    draft = planted_draft(Draft("linear", "a", "real", "l", margin=0.02), [record], "linear", np.arange(4))
    assert not draft.can_be_absent
    assert (draft.null_rejected, draft.reason) == (not barred, TOGETHER)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_a_coin_of_people_with_two_rows_each_is_not_exposed(seed):
    """Pairs hold a small share of the score, but every other pair of rows counts four times."""
    rng = stream(seed, "two rows each")
    acts = np.repeat(rng.normal(size=(700, 40)), 2, axis=0) + 0.5 * rng.normal(size=(1400, 40))
    coin = np.repeat(rng.integers(0, 2, 700), 2)
    found = pa.probe({"real": {"layer": acts.astype("float32")}}, pd.DataFrame({"coin": coin.astype(str)}), attributes=["coin"])
    assert found.findings.iloc[0].verdict == "inconclusive"
