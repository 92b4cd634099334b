"""Training: determinism, early stopping, weights, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from proxyaudit.activations.capture import capture
from proxyaudit.errors import InputError, TaskError
from proxyaudit.models import training as training_module
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.ft_transformer import FtTransformerSpec
from proxyaudit.models.kinds.mlp import MlpSpec
from proxyaudit.models.kinds.resnet import ResnetSpec
from proxyaudit.models.training import train_model
from proxyaudit.recipe.models import ModelSpec
from proxyaudit.recipe.recipe import SitesSpec

SPECS: list[ModelSpec] = [
    MlpSpec(kind="mlp", hidden=(8, 4), dropout=0.2, epochs=2, batch_size=32),
    ResnetSpec(kind="resnet", blocks=1, width=8, epochs=2, batch_size=32),
    FtTransformerSpec(kind="ft_transformer", blocks=1, width=8, heads=2, epochs=2, batch_size=32),
]
KINDS = [spec.kind for spec in SPECS]


def table(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = (x[:, 0] + 0.5 * rng.normal(size=n) > 0).astype(np.int64)
    return x, y, np.ones(n, dtype=np.float32)


def mlp(**options: Any) -> MlpSpec:
    return MlpSpec(kind="mlp", **{"hidden": (8,), "batch_size": 32, "learning_rate": 0.01, **options})


def build(spec: ModelSpec, seed: int = 0, n_classes: int = 2) -> TrainedModel:
    return build_model(spec, SitesSpec(), n_inputs=4, n_classes=n_classes, base=Path(), seed=seed)


def weights(model: TrainedModel) -> np.ndarray:
    return torch.cat([p.detach().ravel() for p in model.module.parameters()]).numpy()


@pytest.mark.parametrize("spec", SPECS, ids=KINDS)
def test_one_seed_repeats_and_two_differ(spec: ModelSpec) -> None:
    start = build(spec)
    before, state = weights(start).copy(), torch.random.get_rng_state().clone()
    first = train_model(start, *table(), spec, 5)
    torch.rand(3)
    assert np.array_equal(weights(first), weights(train_model(start, *table(), spec, 5)))
    assert not np.array_equal(weights(first), weights(train_model(start, *table(), spec, 6)))
    assert np.array_equal(before, weights(start)), "the argument was changed"
    assert not np.array_equal(before, weights(first))
    assert not first.module.training
    torch.rand(3)
    train_model(start, *table(), spec, 5)
    assert not torch.are_deterministic_algorithms_enabled()
    assert state.numel() == torch.random.get_rng_state().numel()


def test_training_leaves_the_global_random_state() -> None:
    before = torch.random.get_rng_state().clone()
    train_model(build(SPECS[0]), *table(), SPECS[0], 1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_signal_is_learnt_for_two_and_three_classes() -> None:
    x, y, weight = table(600)
    outputs = capture(train_model(build(mlp(epochs=15)), x, y, weight, mlp(epochs=15), 0), x).outputs
    assert ((outputs[:, 0] > 0.5) == y).mean() > 0.8
    three = np.digitize(x[:, 1], [-0.5, 0.5]).astype(np.int64)
    outputs = capture(train_model(build(mlp(), n_classes=3), x, three, weight, mlp(epochs=20), 0), x).outputs
    assert (outputs.argmax(axis=1) == three).mean() > 0.8


def test_early_stopping_keeps_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([0.9, 0.5, 0.7, 0.8, 0.1])
    seen: list[np.ndarray] = []

    def scripted(model: TrainedModel, *_: object) -> float:
        seen.append(torch.cat([p.detach().ravel() for p in model.module.parameters()]).numpy().copy())
        return next(losses)

    monkeypatch.setattr(training_module, "_held_loss", scripted)
    spec = mlp(epochs=20, patience=2)
    trained = train_model(build(spec), *table(), spec, 0)
    assert (trained.details["epochs_run"], trained.details["best_epoch"], trained.details["validation_loss"]) == (4, 2, 0.5)
    assert np.array_equal(weights(trained), seen[1])
    assert not np.array_equal(seen[1], seen[3])


def test_validation_loss_is_that_of_the_kept_weights() -> None:
    x, y, weight = table(300)
    spec = mlp(epochs=30, patience=2, learning_rate=0.1)
    trained = train_model(build(spec), x, y, weight, spec, 3)
    _, held = training_module._split(y, spec, 3)
    p = capture(trained, x[held]).outputs[:, 0]
    loss = -np.where(y[held] == 1, np.log(p), np.log(1 - p)).mean()
    assert trained.details["validation_loss"] == pytest.approx(loss, abs=1e-5)
    assert trained.details["epochs_run"] < 30


def test_without_patience_nothing_is_held_out() -> None:
    spec = mlp(epochs=4, patience=None)
    details = train_model(build(spec), *table(), spec, 0).details
    assert (details["epochs_run"], details["validation_rows"], details["validation_loss"], details["training_rows"]) == (4, 0, None, 200)


def test_the_validation_part_is_stratified_and_disjoint() -> None:
    y = np.array([0] * 180 + [1] * 20 + [2])
    kept, held = training_module._split(y, mlp(validation_share=0.1), 4)
    assert sorted([*kept, *held]) == list(range(201))
    assert np.bincount(y[held]).tolist() == [18, 2], "the single row of class 2 must train"
    assert not np.array_equal(held, training_module._split(y, mlp(validation_share=0.1), 5)[1])


def test_balanced_classes_move_the_mean_prediction() -> None:
    x, _, weight = table(400)
    y = (np.random.default_rng(1).random(400) < 0.1).astype(np.int64)
    means = {}
    for mode in ("none", "balanced"):
        spec = mlp(epochs=15, patience=None, class_weight=mode, weight_decay=0.5)
        means[mode] = capture(train_model(build(spec), x, y, weight, spec, 0), x).outputs.mean()
    assert means["none"] < 0.25
    assert means["balanced"] > means["none"] + 0.15


def test_integer_weights_act_like_repeated_rows() -> None:
    x, y, _ = table(64)
    weight = np.random.default_rng(2).integers(0, 4, size=64)
    repeated = np.repeat(np.arange(64), weight)
    # One batch holds everything, so that both runs see the same gradients.
    spec = mlp(epochs=40, patience=None, batch_size=4096)
    a = train_model(build(spec), x, y, weight.astype(np.float32), spec, 0)
    b = train_model(build(spec), x[repeated], y[repeated], np.ones(len(repeated), dtype=np.float32), spec, 0)
    plain = train_model(build(spec), x, y, np.ones(64, dtype=np.float32), spec, 0)
    outputs = [capture(model, x).outputs for model in (a, b, plain)]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-3)
    assert np.abs(outputs[0] - outputs[2]).max() > 0.01


def test_scaling_all_weights_changes_nothing() -> None:
    x, y, weight = table()
    spec = mlp(epochs=3)
    a = train_model(build(spec), x, y, weight, spec, 0)
    assert np.array_equal(weights(a), weights(train_model(build(spec), x, y, 4 * weight, spec, 0)))


def test_a_last_batch_of_one_row_joins_the_one_before() -> None:
    sizes = [len(rows) for rows in training_module._batches(65, 32, torch.Generator().manual_seed(0))]
    assert sizes == [32, 33]
    spec = ResnetSpec(kind="resnet", blocks=1, width=8, epochs=1, batch_size=32, patience=None)
    train_model(build(spec), *table(65), spec, 0)  # batch normalisation refuses a batch of one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.full((200, 4), np.nan, dtype=np.float32)}, "NaN or infinite"),
        ({"weight": np.zeros(200, dtype=np.float32)}, "all training weights are zero"),
        ({"weight": np.full(200, -1, dtype=np.float32)}, "not negative"),
    ],
)
def test_bad_values_are_refused_in_one_line(change: dict[str, np.ndarray], message: str) -> None:
    x, y, weight = table()
    given = {"x": x, "y": y, "weight": weight, **change}
    with pytest.raises(InputError, match=message):
        train_model(build(SPECS[0]), given["x"], given["y"], given["weight"], SPECS[0], 0)


def test_shapes_and_codes_that_do_not_fit_are_programming_errors() -> None:
    x, y, weight = table()
    with pytest.raises(ValueError, match="do not belong together"):
        train_model(build(SPECS[0]), x, y[:-1], weight, SPECS[0], 0)
    with pytest.raises(ValueError, match="class codes"):
        train_model(build(SPECS[0]), x, y + 1, weight, SPECS[0], 0)
    with pytest.raises(InputError, match="too few"):
        train_model(build(SPECS[0]), x[:1], y[:1], weight[:1], SPECS[0], 0)


def test_divergence_is_a_task_error() -> None:
    x, y, weight = table()
    spec = mlp(epochs=5, learning_rate=1e30, hidden=(8, 8))
    with pytest.raises(TaskError, match="diverged in epoch"):
        train_model(build(spec), x * 1e30, y, weight, spec, 0)
