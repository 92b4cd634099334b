"""Building: seeds, sites of the package's own architectures, and globs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from proxyaudit.activations.capture import capture
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.ft_transformer import FtTransformerSpec
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.kinds.resnet import ResnetSpec
from proxyaudit.recipe.models import ModelSpec
from proxyaudit.recipe.recipe import SitesSpec

SPECS: list[ModelSpec] = [
    MlpSpec(kind="mlp", hidden=(8, 6, 5)),
    ResnetSpec(kind="resnet", blocks=2, width=8),
    FtTransformerSpec(kind="ft_transformer", blocks=2, width=8, heads=2),
]
KINDS = [spec.kind for spec in SPECS]


def build(spec: ModelSpec, seed: int = 0, n_classes: int = 2, sites: SitesSpec | None = None, n_inputs: int = 4) -> TrainedModel:
    return build_model(spec, sites or SitesSpec(), n_inputs=n_inputs, n_classes=n_classes, base=Path(), seed=seed)


def weights(model: TrainedModel) -> np.ndarray:
    return torch.cat([p.detach().ravel() for p in model.module.parameters()]).numpy()


@pytest.mark.parametrize("spec", SPECS, ids=KINDS)
def test_weights_are_a_function_of_the_seed_alone(spec: ModelSpec) -> None:
    first = weights(build(spec, seed=1))
    torch.rand(7)  # what happened before must not matter
    assert np.array_equal(first, weights(build(spec, seed=1)))
    assert not np.array_equal(first, weights(build(spec, seed=2)))


@pytest.mark.parametrize("spec", SPECS, ids=KINDS)
def test_building_leaves_the_global_states_as_found(spec: ModelSpec) -> None:
    before = torch.random.get_rng_state().clone(), np.random.get_state()[1].copy()  # noqa: NPY002
    build(spec)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (SPECS[0], ("hidden1", "hidden2", "penultimate")),
        (MlpSpec(kind="mlp", hidden=(3,)), ("penultimate",)),
        (SPECS[1], ("block1", "block2", "penultimate")),
        (SPECS[2], ("block1", "block2", "penultimate")),
    ],
)
def test_all_names_every_hidden_block(spec: ModelSpec, expected: tuple[str, ...]) -> None:
    model = build(spec)
    assert model.sites == expected
    assert model.verdict_sites == ("penultimate",)
    assert not model.module.training


def test_globs_give_forward_order_and_no_doubles() -> None:
    sites = SitesSpec(verdict=("penultimate", "hidden3", "hidden1"), profile=("hidden2", "hidden*"))
    model = build(SPECS[0], sites=sites)
    assert model.sites == ("hidden1", "hidden2", "penultimate")
    assert model.verdict_sites == ("hidden1", "penultimate")


def test_verdict_sites_are_always_profiled() -> None:
    assert build(SPECS[0], sites=SitesSpec(verdict=("hidden1",), profile=("hidden2",))).sites == ("hidden1", "hidden2")


def test_glob_without_match_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"site 'hiden2' matches nothing.*sites\.profile.*hidden2"):
        build(SPECS[0], sites=SitesSpec(profile=("hiden2",)))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("spec", SPECS, ids=KINDS)
def test_outputs_are_probabilities(spec: ModelSpec, n_classes: int) -> None:
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    outputs = capture(build(spec, n_classes=n_classes), x).outputs
    assert outputs.shape == (9, 1 if n_classes == 2 else 3)
    assert outputs.dtype == np.float64
    assert ((outputs > 0) & (outputs < 1)).all()
    if n_classes == 3:
        np.testing.assert_allclose(outputs.sum(axis=1), 1)


def test_mlp_sites_are_the_values_after_the_relu() -> None:
    model = build(MlpSpec(kind="mlp", hidden=(8, 6)))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    state = {name: value.numpy().astype(np.float64) for name, value in model.module.state_dict().items()}
    first = np.maximum(x @ state["hidden1.0.weight"].T + state["hidden1.0.bias"], 0)
    second = np.maximum(first @ state["hidden2.0.weight"].T + state["hidden2.0.bias"], 0)
    logit = second @ state["head.weight"].T + state["head.bias"]
    captured = capture(model, x)
    np.testing.assert_allclose(captured.acts["hidden1"], first, atol=1e-6)
    np.testing.assert_allclose(captured.acts["penultimate"], second, atol=1e-6)
    np.testing.assert_allclose(captured.outputs, 1 / (1 + np.exp(-logit)), atol=1e-6)


def test_a_model_needs_inputs_and_classes() -> None:
    with pytest.raises(ValueError, match="something to predict"):
        build(SPECS[0], n_classes=0)
    assert build(SPECS[0], n_classes=1).task == "number"
    with pytest.raises(ValueError, match="input column"):
        build(SPECS[0], n_inputs=0)


def test_attention_batches_are_bounded() -> None:
    wide = build(SPECS[2], n_inputs=600)
    limit = wide.module.batch_limit
    assert isinstance(limit, int)
    assert limit * 2 * 601**2 <= 2**24 or limit == 16
    x = np.random.default_rng(0).normal(size=(limit + 3, 600)).astype(np.float32)
    assert len(capture(replace(wide, sites=("penultimate",)), x).outputs) == limit + 3
