"""What activations tell of a number that neither its value nor its quarters show."""

from functools import partial

import numpy as np
import pandas as pd
import pytest

import proxyaudit as pa
from proxyaudit.audits.probe import run as pipeline
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.planted import make_world
from proxyaudit.probes.levels import level_trace, question_bank
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten
from proxyaudit.seeding import stream

N, D = 1200, 8


def plain(name):
    rng = stream(0, "levels", name)
    return rng, rng.normal(size=(N, D)), rng.integers(18, 78, N)


def shifted(tells, by=1.5):
    _, acts, age = plain("shifted")
    acts[:, 3] += by * tells(age)
    return acts, age


def days():
    rng, acts, _ = plain("days")
    day = rng.integers(0, 4000, N)
    acts[:, 1] += 2 * (day % 7 >= 5)
    return acts, day


def product():
    _, acts, age = plain("product")
    acts[:, 5] = np.abs(acts[:, 5]) * np.sign(acts[:, 6]) * (2 * (age % 2) - 1)
    return acts, age


def finding(acts, values, **more):
    table = pd.DataFrame({"a": values, **more})
    named = {"group": "person"} if more else {}
    audit = pa.probe({"m": {"s": acts.astype(np.float32)}}, table, attributes=["a"], jobs=1, **named)
    return audit.pack.evidence.findings[0], audit.pack.evidence


@pytest.fixture(autouse=True)
def one_reader(monkeypatch):
    monkeypatch.setattr(pipeline, "Probing", partial(Probing, readers=("quadratic",)))


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "verdict"),
    [
        (lambda: shifted(lambda age: age % 2), "exposed"),
        (lambda: shifted(lambda age: age == 40, by=6), "exposed"),
        (days, "exposed"),
        (product, "hidden"),
    ],
    ids=["even or odd", "one value", "weekend", "product"],
)
def test_a_question_about_the_value_is_found(make, verdict):
    found, evidence = finding(*make())
    assert found.verdict == verdict
    asked = [e for e in evidence.estimates if e.measure.startswith("leak_in_two_parts")]
    assert any(e.state == "present" for e in asked)
    assert "yes-or-no question" in found.sentence


@pytest.mark.long
@pytest.mark.parametrize("people", [False, True])
def test_numbers_that_nothing_tells_are_asked_no_further(people):
    rng, acts, age = plain("nothing")
    if people:
        person = np.repeat(np.arange(N // 2), 2)
        found, evidence = finding(acts, age[person], person=person)
    else:
        found, evidence = finding(acts, np.round(rng.lognormal(10, 1, N)))
        assert found.verdict == "removed"
    assert not any(e.measure.startswith("leak_in_two_parts") for e in evidence.estimates)
    assert not any("single values" in (e.reason or "") for e in evidence.estimates)


def test_absent_numbers_show_no_trace():
    for seed in range(6):
        rng = stream(seed, "absent levels")
        world = make_world("absent_continuous", n=int(rng.integers(300, 2000)), d=int(rng.choice([8, 16, 32])), leak=0, rng=rng)
        white = whiten(world.acts_nd)
        bank = question_bank(np.round(np.abs(np.asarray(world.labels_n, dtype=np.float64)) * 30))
        for kind, margin in (("linear", 0.02), ("nonlinear", 0.1)):
            trace = level_trace(ScoreStatistic(white.rows, kind), bank, None, rng)
            assert trace is None or not trace.tells(margin)


def test_a_leak_along_the_value_is_left_to_the_value():
    rng, acts, age = plain("along")
    acts[:, 2] += 0.1 * (age - age.mean())
    trace = level_trace(ScoreStatistic(whiten(acts).rows, "linear"), question_bank(age.astype(np.float64)), None, rng)
    assert trace is not None
    assert not trace.tells(0.02)
