"""Circuits: the greedy search, groups of units, what switching off does, what is published, and what a recipe may ask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from proxyaudit.causal.circuits import ranked_groups, smallest_circuit, switched_off
from proxyaudit.causal.interchange import Effect
from proxyaudit.channels.circuits.estimate import NOT_BEYOND, NOT_SURE, NOT_TRAINED, NOT_WHOLE, ONE_OF_SEVERAL, SMALL, follow_up
from proxyaudit.channels.circuits.record import CIRCUITS, Circuit, CircuitsRecord, Exchanged, PartName
from proxyaudit.data.attributes import Attribute, Followed
from proxyaudit.errors import InputError
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.recipe.circuits import CircuitsSpec, circuits_of
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.types import Estimate
from tests.helpers.views import facts_of

N = 60


def effect(signed: float, noise: float = 0.002, seed: int = 0) -> Effect:
    influence = np.random.default_rng(seed).normal(size=N) * noise / np.sqrt(N)
    return Effect(signed, signed**2, influence, 2 * signed * influence)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_smallest_circuit_holds_every_part_that_is_needed_and_no_other(sign: float) -> None:
    def carried(kept: Sequence[int]) -> float:  # 2 feeds 5: neither does anything without the other; 7 adds a little
        return sign * (0.4 * ({2, 5} <= set(kept)) + 0.05 * (7 in kept))

    order = [5, 3, 2, 7, *(part for part in range(20) if part not in (5, 3, 2, 7))]
    assert smallest_circuit(carried, effect(sign * 0.45), order, 0.8) == [5, 2]
    assert smallest_circuit(carried, effect(sign * 0.45), order, 0.95) == [5, 2, 7]


def test_a_circuit_may_be_empty_and_may_not_be_half_of_the_model() -> None:
    assert smallest_circuit(lambda kept: 0.4, effect(0.4), list(range(8)), 0.8) == []
    spread = smallest_circuit(lambda kept: 0.05 * len(kept), effect(0.4), list(range(8)), 0.8)
    assert spread == "no set of at most half of the parts carries most of the effect"
    assert "not clearly different from zero" in str(smallest_circuit(lambda kept: 0.0, effect(0.001), [0, 1], 0.8))


def test_units_are_ranked_into_groups_of_rising_size() -> None:
    scores = np.zeros(100)
    scores[[90, 7, 3, 50, 12]] = [5, 4, 3, 2, 1]
    groups = ranked_groups(scores)
    assert [len(group) for group in groups] == [4, 12, 48, 36]
    assert groups[0] == [3, 7, 50, 90]
    assert 12 in groups[1]
    assert sorted(unit for group in groups for unit in group) == list(range(100))
    assert [len(group) for group in ranked_groups(np.ones(3))] == [3]


def test_switching_off_tells_by_how_much_the_gap_within_labels_falls() -> None:
    rng = np.random.default_rng(0)
    groups, labels = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    clean = 0.3 + 0.2 * groups + 0.3 * labels + rng.normal(size=400) * 0.05
    off = clean - 0.15 * groups
    found = switched_off(clean, off, groups, labels, np.ones(400, dtype=bool), 8)
    assert found is not None
    assert found.value == pytest.approx(0.15)
    assert abs(found.influence_n.sum()) < 1e-9
    assert switched_off(clean, off, groups, labels, np.arange(400) < 10, 8) is None


PARTS = [("layer1", "head", "head 2"), ("layer0", "head", "head 0"), ("layer1", "units", "MLP units 3, 4, 5 and 9")]


def record(signed: Sequence[float], *, random: float = 0.0, own_random: float = 0.0, whole: float = 0.3) -> CircuitsRecord:
    tried = tuple(
        Exchanged(PartName(*name), effect(value, seed=at), effect(own_random) if name[1] == "units" else None, value, "gradient")
        for at, (name, value) in enumerate(zip(PARTS, signed, strict=True))
    )
    controls = (Exchanged(PartName("layer0", "head", "head 3"), effect(random, seed=7), by="random"),)
    circuit = Circuit((PartName(*PARTS[0]),), effect(0.28, seed=3), effect(0.02, seed=4), effect(0.0, seed=5), effect(0.01, seed=6))
    return CircuitsRecord(40, effect(whole, seed=9), tried, controls, parts=20, circuit=circuit)


def published(records: Sequence[CircuitsRecord], untrained: CircuitsRecord | None = None) -> list[Estimate]:
    attribute = Attribute("sex", "protected", "binary", ("f", "m"), np.arange(N) % 2)
    followed = {"sex": Followed(np.arange(N) % 2, ("f", "m"), 0)}
    measured = []
    for one in (*records, *([untrained] if untrained is not None else [])):
        measured.append(Measurement())
        CIRCUITS.write(measured[-1], one, "sex")
    runs = [Run("real", tuple(measured[: len(records)]))]
    if untrained is not None:
        runs.append(Run("untrained", (measured[-1],), is_reference=True))
    ledger = Ledger()
    ledger.publish(follow_up(facts_of((attribute,), tuple(runs), followed), ledger))
    return ledger.estimates


def reasons(estimates: list[Estimate]) -> list[str | None]:
    return [
        next(e.reason for e in estimates if (e.channel, e.site, e.subject, e.measure) == ("circuit", site, name, kind))
        for site, kind, name in PARTS
    ]


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"signed": (0.2, 0.0, 0.1)}, [None, NOT_SURE, None]),
        ({"signed": (0.2, 0.1, 0.1), "random": 0.15}, [None, NOT_BEYOND, None]),
        ({"signed": (0.2, 0.1, 0.1), "own_random": 0.15}, [None, None, NOT_BEYOND]),
        ({"signed": (0.2, 0.012, 0.1)}, [None, SMALL, None]),
        ({"signed": (0.2, 0.1, 0.1), "whole": 0.0}, [NOT_WHOLE] * 3),
        ({"signed": (0.2, 0.1, 0.1), "whole": 0.015}, [NOT_WHOLE] * 3),  # sure, and below the margin of an effect
    ],
)
def test_a_part_is_confirmed_beyond_every_control_and_the_reason_is_said_otherwise(asked: dict, wanted: list[str | None]) -> None:
    assert reasons(published([record(**asked)])) == wanted


def test_the_untrained_model_and_a_second_one_are_controls() -> None:
    beside = published([record((0.2, 0.1, 0.1))], record((0.0, 0.12, 0.0)))
    assert reasons(beside) == [None, NOT_TRAINED, None]
    assert {e.regime for e in beside} == {"real"}
    fewer = record((0.2, 0.1, 0.1))
    fewer = CircuitsRecord(**{**vars(fewer), "tried": fewer.tried[:1]})
    assert reasons(published([record((0.2, 0.1, 0.1)), fewer])) == [None, ONE_OF_SEVERAL, ONE_OF_SEVERAL]
    turned = published([record((0.2, 0.1, 0.1)), record((-0.2, 0.1, 0.1))])
    assert reasons(turned)[0] is not None


def test_the_circuit_is_published_with_what_it_carries_and_what_is_left() -> None:
    found = {(e.channel, e.measure): e for e in published([record((0.2, 0.0, 0.1))])}
    assert found["circuit", "member"].subject == "head 2"
    carried, left = found["circuit_share", "circuit"], found["circuit_share", "without"]
    assert carried.subject == left.subject == "1 of 20 parts"
    assert carried.low < 0.28 / 0.3 < carried.high
    assert left.low < 0.02 / 0.3 < left.high
    assert found["circuit", "circuit_random"].value == pytest.approx(0.0, abs=1e-3)


def test_why_nothing_was_exchanged_and_why_there_is_no_circuit_is_said() -> None:
    (only,) = published([CircuitsRecord(reason="there are too few rows of both groups")])
    assert (only.measure, only.reason) == ("whole", "there are too few rows of both groups")
    none = CircuitsRecord(**{**vars(record((0.2, 0.1, 0.1))), "circuit": None, "no_circuit": "it is spread out"})
    assert next(e.reason for e in published([none]) if e.measure == "circuit") == "no circuit: it is spread out"


@pytest.mark.parametrize(
    ("asked", "effort", "repetition", "found"),
    [
        (None, "standard", 0, False),
        (None, "everything", 3, True),
        (True, "standard", 0, True),
        (True, "standard", 1, False),
        (True, "everything", 1, True),
        (False, "everything", 0, False),
        (CircuitsSpec(share=0.6), "decide", 0, True),
    ],
)
def test_circuits_are_looked_for_where_they_are_asked_for(asked, effort, repetition, found) -> None:
    spec = circuits_of(asked, effort, repetition)
    assert (spec is not None) == found
    if isinstance(asked, CircuitsSpec):
        assert spec == asked


TEXT = {
    "name": "t",
    "data": {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"]},
    "regimes": ["real"],
    "model": {"kind": "huggingface", "path": "m"},
}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"circuits": {"share": 0.3}}, "share"),
        ({"circuits": {"shares": 0.8}}, "shares"),
        ({"circuits": {"texts": 3}}, "texts"),
        ({"circuits": "yes"}, "circuits"),
        ({"circuits": True, "model": {"kind": "mlp"}, "data": {"path": "t.csv", "target": "y", "protected": ["sex"]}}, "kind huggingface"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_line(given: dict, said: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_recipe({**TEXT, **given})
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_key_is_part_of_the_published_recipe() -> None:
    assert parse_recipe({**TEXT, "circuits": {"share": 0.9}}).published()["circuits"]["share"] == 0.9
    assert "circuits" not in parse_recipe(TEXT).published()
