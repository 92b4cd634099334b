"""Integrated gradients of the sensitive direction and of the output: exact on linear models, complete on others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from proxyaudit.causal.attribution import attribute_columns
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.recipe.recipe import SitesSpec
from proxyaudit.seeding import stream

SOURCES = [[0, 1], [2], [3]]  # the first column has two encoded inputs


@pytest.fixture
def rows():
    rng = stream(0, "attribution")
    groups = rng.integers(0, 2, 400)
    x = rng.normal(size=(400, 4)).astype(np.float32)
    x[:, 0] += 2 * groups
    x[:, 2] += groups
    return x, groups


def model(classes=2) -> TrainedModel:
    return build_model(MlpSpec(kind="mlp", hidden=(8, 6)), SitesSpec(), n_inputs=4, n_classes=classes, base=None, seed=3)


def test_a_linear_output_is_split_as_its_weights_say(rows):
    x, groups = rows
    linear = torch.nn.Linear(4, 1)
    with torch.no_grad():
        linear.weight[:] = torch.tensor([[1.0, 0.0, -2.0, 0.0]])
    found = attribute_columns(TrainedModel(linear, 2, (), (), {}), x, groups, SOURCES, 0)
    scalar = x[:, 0] - 2 * x[:, 2]
    gaps = [(x[groups == 1, c].mean() - x[groups == 0, c].mean()) / scalar.std() for c in (0, 2)]
    assert found.columns == pytest.approx([gaps[0], -2 * gaps[1], 0], abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_attributions_are_complete_and_name_the_column_that_feeds_the_direction(rows, classes):
    x, groups = rows
    net = model(classes)
    with torch.no_grad():
        net.module.get_submodule("hidden1")[0].weight[:, 2:] = 0  # the first column alone is read
    direction = stream(0, "direction").normal(size=6)
    inside = attribute_columns(net, x, groups, SOURCES, ("penultimate", direction))
    for found in (inside, attribute_columns(net, x, groups, SOURCES, 0)):
        assert found.incomplete < 0.02
        assert found.columns.sum() == pytest.approx(found.difference, abs=0.02)
        assert abs(found.columns[0]) > 0.02
        assert (found.columns[1:] == 0).all()


def test_the_model_and_the_settings_are_left_as_they_were(rows):
    x, groups = rows
    net = model()
    before = {name: value.clone() for name, value in net.module.state_dict().items()}
    first, second = (attribute_columns(net, x, groups, SOURCES, 0) for _ in range(2))
    assert np.array_equal(first.columns, second.columns)
    assert all(torch.equal(value, before[name]) for name, value in net.module.state_dict().items())
    assert all(not hooked._forward_hooks and not hooked._forward_pre_hooks for hooked in net.module.modules())
    assert all(parameter.grad is None for parameter in net.module.parameters())
    assert not torch.are_deterministic_algorithms_enabled()
