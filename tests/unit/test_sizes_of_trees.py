"""Models that no machine could train are refused while the recipe is read, before a plan is sealed that no run can keep to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from proxyaudit.errors import InputError
from proxyaudit.limits import raised
from proxyaudit.probes.first_order import first_order_gain
from proxyaudit.probes.planting import Target
from proxyaudit.probes.score import ScoreStatistic
from proxyaudit.probes.whitening import whiten
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.seeding import stream

HUGE = (
    {"kind": "random_forest", "n_estimators": 999_999_999},
    {"kind": "gradient_boosting", "max_iter": 20_000, "max_leaf_nodes": 4096},
    {"kind": "catboost", "iterations": 999_999_999},
)


def recipe(model: dict[str, Any]) -> Any:
    return parse_recipe({"name": "t", "data": {"path": "d.csv", "target": "y", "protected": ["sex"]}, "regimes": ["real"], "model": model})


@pytest.mark.parametrize("model", HUGE)
def test_more_leaves_than_a_machine_can_grow_are_refused(model: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="leaves are too many"):
        recipe(model)


def test_forests_of_usual_sizes_are_trained_and_the_limit_can_be_raised() -> None:
    recipe({"kind": "random_forest", "n_estimators": 500, "max_leaf_nodes": 4096})
    with raised(20):
        recipe(HUGE[1])


def test_a_network_that_normalises_over_rows_needs_two_of_them() -> None:
    with pytest.raises(InputError, match="batch_size should be at least 2"):
        recipe({"kind": "resnet", "blocks": 1, "width": 4, "batch_size": 1})


@pytest.mark.parametrize("channel", ["linear", "nonlinear"])
@pytest.mark.parametrize("classes", [2, 3, 0])
def test_a_score_of_nothing_gains_nothing(channel: str, classes: int) -> None:
    rng = stream(0, "nothing", channel, classes)
    rows = whiten(np.repeat(rng.integers(0, 2, 90)[:, None], 2, axis=1).astype(np.float32)).rows
    labels = rng.normal(size=90) if classes == 0 else rng.permutation(np.arange(90) % classes)
    target = Target.of_values(labels) if classes == 0 else Target.of_codes(labels, classes)
    gain = first_order_gain(ScoreStatistic(rows, channel), target, np.arange(90) % 5)
    assert np.isfinite(gain)
