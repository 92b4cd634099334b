"""Circuits in transformers whose weights are set by hand: the planted head and units are confirmed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from planted_circuits import confirmed, exchanged, held_out, plant

from proxyaudit.types import Estimate


def share(estimates: list[Estimate], measure: str) -> Estimate:
    return next(e for e in estimates if e.channel == "circuit_share" and e.measure == measure)


@pytest.mark.parametrize(("kind", "seed"), [("bert", 3), ("gpt2", 1)])
def test_the_planted_head_and_units_are_confirmed_and_nothing_else(tmp_path: Path, kind: str, seed: int) -> None:
    world = plant(kind, tmp_path, seed, n=400)
    found, truth = exchanged(world, texts=48), world.truth
    assert confirmed(found, "head") == truth.heads
    assert confirmed(found, "unit") == truth.single_units
    assert {site for site, _ in confirmed(found, "units")} == {f"layer{truth.units[0]}"}
    members = {(e.site, str(e.subject).partition(" ")[0]) for e in found if e.measure == "member"}
    assert members == {(f"layer{truth.head[0]}", "head"), (f"layer{truth.units[0]}", "MLP")}
    assert share(found, "circuit").low > 0.9
    assert share(found, "without").high < 0.05
    assert share(found, "circuit_random").high < 0.05
    # The head acts through the units alone, and they straight on the classifier.
    edges = {(e.site, e.subject): e.value for e in found if e.measure == "edge" and e.channel == "circuit"}
    (head,), (units,) = truth.heads, confirmed(found, "units")
    assert abs(edges[head]) < 0.1 < edges[units]
    off = {e.site: e for e in found if e.channel == "circuit_switched_off" and (e.site, e.subject) in truth.heads}
    assert off[f"layer{truth.head[0]}"].low > 0.3


def test_where_the_units_are_not_read_no_part_is_confirmed_and_there_is_no_circuit(tmp_path: Path) -> None:
    world = plant("bert", tmp_path, 3, n=400, circuit=False)
    found = exchanged(world, texts=48)
    assert confirmed(found, "head", "units", "unit", "mlp", "attention") == set()
    (circuit,) = [e for e in found if e.measure == "circuit"]
    assert circuit.value is None
    assert "the effect of the whole model is " in (circuit.reason or "")


@pytest.mark.study
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_in_nineteen_of_twenty_planted_models_exactly_the_planted_parts_are_confirmed(tmp_path: Path, kind: str) -> None:
    right, covered = 0, {"circuit": 0, "without": 0}
    for seed in range(20):
        world = plant(kind, tmp_path / str(seed), seed)
        found, truth = exchanged(world, seed=seed, texts=64), world.truth
        ours = (confirmed(found, "head"), confirmed(found, "unit"), {site for site, _ in confirmed(found, "units")})
        right += ours == (truth.heads, truth.single_units, {f"layer{truth.units[0]}"})
        for measure, value in held_out(world, found).items():
            e = share(found, measure)
            covered[measure] += e.low - 5e-4 <= value <= e.high + 5e-4  # the digits that are published
    assert right >= 19, right
    assert min(covered.values()) >= 17, covered


@pytest.mark.study
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_of_twenty_models_that_do_not_read_the_units_none_has_a_confirmed_head_or_unit(tmp_path: Path, kind: str) -> None:
    wrong = 0
    for seed in range(20):
        world = plant(kind, tmp_path / str(seed), seed, circuit=False)
        wrong += bool(confirmed(exchanged(world, seed=seed, texts=64), "head", "units", "unit"))
    assert wrong <= 1
