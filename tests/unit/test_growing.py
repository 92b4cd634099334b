"""More trees on frozen ones: what their leaves tell comes back, also where they say the same or only together; nothing else does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proxyaudit.causal.growing import LOOKS, Grower
from proxyaudit.causal.relearning import Problem, draw_rows, make_rotations
from proxyaudit.models.trees import TreeEnsemble
from tests.unit.test_models_trees import BOOSTING, CASES, rows, trained

ROWS, LEARNT = 1800, 256


def brought(ranks: Any, labels: Any, classes: int) -> list[float]:
    """Leak that more trees bring of some labels, in each rotation."""
    rng = np.random.default_rng(0)
    rotations = make_rotations(np.arange(len(labels)) % 3, np.ones(len(labels), dtype=bool), rng)
    problems = [Problem(labels, draw_rows(labels, one.learn, classes, rng)[:LEARNT], i) for i, one in enumerate(rotations)]
    found = Grower(ranks, ranks.max(axis=0) + 1).solve(problems, rotations, classes)
    assert all(np.array_equal(one.rows, rotation.score) for one, rotation in zip(found, rotations, strict=True))
    return [one.leak for one in found]


@pytest.fixture(scope="module")
def ranks() -> Any:
    """Which of four leaves rows reach in five trees."""
    return np.random.default_rng(1).integers(0, 4, (ROWS, 5))


def test_what_one_leaf_tells_or_two_trees_only_together_comes_back_and_noise_does_not(ranks: Any) -> None:
    rng = np.random.default_rng(2)
    alone, upto = (ranks[:, 2] == 1).astype(np.int64), (ranks[:, 3] <= 1).astype(np.int64)
    together = (ranks[:, 0] == 2).astype(np.int64) ^ upto
    assert min(brought(ranks, alone, 2)) > 0.9
    assert min(brought(ranks, upto, 2)) > 0.9
    assert min(brought(ranks, together, 2)) > 0.5
    assert max(map(abs, brought(ranks, rng.integers(0, 2, ROWS), 2))) < 0.05
    noisy = np.where(rng.random(ROWS) < 0.25, 1 - alone, alone)
    assert 0.05 < min(brought(ranks, noisy, 2)) < 0.4


def test_several_classes_and_numbers_come_back(ranks: Any) -> None:
    assert min(brought(ranks, np.minimum(ranks[:, 1], 2), 3)) > 0.9
    numbers = ranks[:, 4] + np.random.default_rng(3).normal(0, 0.5, ROWS)
    assert min(brought(ranks, numbers, 0)) > 0.6
    assert max(map(abs, brought(ranks, np.random.default_rng(4).normal(size=ROWS), 0))) < 0.05


def test_problems_that_advance_together_come_to_the_same_as_alone(ranks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = (ranks[:, 2] == 1).astype(np.int64)
    together = brought(ranks, labels, 2)
    monkeypatch.setattr("proxyaudit.causal.growing._MOST_FLOATS", 1)
    assert brought(ranks, labels, 2) == together
    assert Grower(ranks, np.full(5, 4)).cost(LEARNT) > LOOKS[-1]


@pytest.mark.parametrize("spec", CASES)
def test_ranks_are_leaves_in_the_order_of_what_they_say(spec: Any) -> None:
    model, x = trained(spec), rows(2, seed=1)[0]
    assert isinstance(model.module, TreeEnsemble)
    found, leaves = model.module.ranks(x)
    margins = model.module.trees(__import__("torch").tensor(x)).detach().numpy()[:, : len(leaves)]
    assert found.shape == margins.shape
    for tree, size in enumerate(leaves):
        assert sorted(set(found[:, tree])) == list(range(size))
        order = np.argsort(found[:, tree], kind="stable")
        assert (np.diff(margins[order, tree]) >= 0).all()


def test_a_trees_own_target_comes_back_from_its_leaves() -> None:
    model = trained(BOOSTING)
    x, y, _ = rows(2, n=ROWS, seed=3)
    assert isinstance(model.module, TreeEnsemble)
    assert min(brought(model.module.ranks(x)[0], y, 2)) > 0.15
