"""Training: AdamW, weighted cross-entropy (of numbers, squared error), early stopping on a part of the given training rows."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from proxyaudit.adam import Adam
from proxyaudit.errors import InputError, ProxyauditError, TaskError, safe_line
from proxyaudit.models.base import TabularModule, TrainedModel, batch_rows, copy_module, deterministic, inference, seeded
from proxyaudit.models.huggingface import adapters
from proxyaudit.models.kinds import model_kind
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.text import TextClassifier, placed
from proxyaudit.recipe.models import KindSpec, TrainingSpec
from proxyaudit.seeding import integer_seed, stream

_EVAL_ROWS = 8192


def train_model(
    model: TrainedModel, x: NDArray[np.float32], y: NDArray[Any], weight: NDArray[np.float32], spec: KindSpec, seed: int
) -> TrainedModel:
    """Train a copy of ``model``; the argument itself is not changed. What follows is true of networks; other kinds have their own trainer.

    The loss of a batch is the mean of weight x cross-entropy, weights scaled to mean 1 over the training part (a weight of 2 is two rows).
    With ``spec.patience`` a stratified ``validation_share`` of rows is held out and the best epoch's weights are kept; without, all rows
    train and the last weights are kept. Deterministic for one seed and one number of torch threads (the caller sets the threads).

    ``x`` is the encoded table ``(n, p)``, ``y`` class codes ``(n,)`` in 0..K-1 (or numbers, standardised) and ``weight`` non-negative
    ``(n,)``. The ``details`` gain ``epochs_run``, ``best_epoch`` (1-based), ``training_loss``, ``validation_loss`` (None without a
    validation part), ``training_rows`` and ``validation_rows``. Raises ``InputError``: values that cannot be trained on (NaN, weights that
    are negative or all zero); ``TaskError``: the loss became NaN or infinite, or a user's module failed in training mode.
    """
    x, y, weight = _checked(x, y, weight, model, gaps=spec.native)
    weight = _class_weighted(y, weight, model.n_classes) if spec.class_weight == "balanced" else weight
    own = model_kind(spec).trainer
    if own is not None:
        return _by_its_kind(own, model, x, y, weight, spec, seed)
    assert isinstance(spec, TrainingSpec)
    train_rows, validation_rows = _split(y if model.task == "classes" else np.zeros(len(y)), spec, seed)
    scale = float(weight[train_rows].mean())
    if scale <= 0:
        raise InputError("all training weights are zero", mend="check the reweighing")
    module = copy_module(model.module)
    tuned: AbstractContextManager[None] = nullcontext()
    if isinstance(module, TextClassifier) and isinstance(spec, HuggingFaceSpec) and spec.tune == "lora":
        tuned = adapters(module, spec)
    parts = (train_rows, validation_rows)
    fit, held = ((torch.tensor(x[rows]), torch.tensor(y[rows]), torch.tensor(weight[rows] / scale)) for rows in parts)
    try:
        with deterministic(), seeded(integer_seed(seed, "dropout")), tuned, placed(module):
            details = _fit(replace(model, module=module), fit, held, spec, integer_seed(seed, "batches"))
    except ProxyauditError:
        raise
    except Exception as error:
        raise TaskError(f"training failed: {safe_line(error)[:300]}") from error
    module.eval()
    rows = {"training_rows": len(train_rows), "validation_rows": len(validation_rows)}
    return replace(model, module=module, details={**model.details, **details, **rows, "origin": "trained"})


def untrained_model(model: TrainedModel, x: Callable[[], NDArray[np.float32]], spec: KindSpec, seed: int) -> TrainedModel:
    """The model before training: as built, or made from real rows ``x()`` where its kind says so."""
    own = model_kind(spec).untrained
    if own is None:
        return model
    found: TrainedModel = resolve_name(own)(model, x(), spec, seed)
    return found


def _by_its_kind(own: str, model: TrainedModel, *given: Any) -> TrainedModel:
    try:
        trained: TrainedModel = resolve_name(own)(model, *given)
    except ProxyauditError:
        raise
    except Exception as error:
        raise TaskError(f"training failed: {safe_line(error)[:300]}") from error
    return trained


def _fit(model: TrainedModel, fit: tuple[Tensor, ...], held: tuple[Tensor, ...], spec: TrainingSpec, seed: int) -> dict[str, Any]:
    (x, y, weight), module = fit, model.module
    optimizer = _optimizer(module, spec)
    generator = torch.Generator().manual_seed(seed)
    best_loss, best_epoch, best_state, epoch, train_loss = math.inf, 0, None, 0, math.nan
    for epoch in range(1, spec.epochs + 1):
        module.train()
        total = torch.zeros((), dtype=torch.float64)
        for rows in _batches(len(x), spec.batch_size, generator):
            loss = (_losses(module(x[rows]), y[rows], model) * weight[rows]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach() * len(rows)
        train_loss = float(total) / len(x)
        if not math.isfinite(train_loss):
            raise TaskError(f"training diverged in epoch {epoch}: the loss is {train_loss}; lower model.learning_rate")
        if not len(held[0]):
            continue
        held_loss = _held_loss(model, held)
        if not math.isfinite(held_loss):
            raise TaskError(f"training diverged in epoch {epoch}: the validation loss is {held_loss}; lower model.learning_rate")
        if held_loss < best_loss:
            best_loss, best_epoch = held_loss, epoch
            best_state = {name: value.detach().clone() for name, value in module.state_dict().items() if isinstance(value, Tensor)}
        elif spec.patience is not None and epoch - best_epoch >= spec.patience:
            break
    told = {"epochs_run": epoch, "best_epoch": epoch, "training_loss": train_loss, "validation_loss": None}
    if best_state is None:
        return told
    module.load_state_dict(best_state, strict=False)
    return {**told, "best_epoch": best_epoch, "validation_loss": best_loss}


def _losses(raw: Any, y: Tensor, model: TrainedModel) -> Tensor:
    """Cross-entropy per row in nats, of labels their mean; of a number the squared error."""
    logits = model.logits(raw, len(y))
    if model.task == "number":
        return (logits[:, 0] - y.to(logits.dtype)) ** 2
    if model.task == "labels":
        return functional.binary_cross_entropy_with_logits(logits, y.to(logits.dtype), reduction="none").mean(dim=1)
    if model.n_classes == 2:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], y.to(logits.dtype), reduction="none")
    return functional.cross_entropy(logits, y, reduction="none")


def _held_loss(model: TrainedModel, held: tuple[Tensor, ...]) -> float:
    (x, y, weight), module = held, model.module
    size = batch_rows(module, _EVAL_ROWS)
    total = 0.0
    with inference(module):
        for i in range(0, len(x), size):
            losses = _losses(module(x[i : i + size]), y[i : i + size], model)
            total += float((losses * weight[i : i + size]).sum(dtype=torch.float64))
    mass = float(weight.sum(dtype=torch.float64))
    return total / mass if mass > 0 else total


def _batches(n: int, size: int, generator: torch.Generator) -> list[Tensor]:
    """Shuffled row indices; a last batch of one row joins the one before it (batch normalisation needs two)."""
    parts = list(torch.split(torch.randperm(n, generator=generator), size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _optimizer(module: nn.Module, spec: TrainingSpec) -> Adam:
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    if not named:
        raise InputError("the model has no parameter that can be trained", mend="leave requires_grad on, or list checkpoints")
    spared = module.undecayed() if isinstance(module, TabularModule) else set()
    groups = [
        {"params": [p for name, p in named if name not in spared], "weight_decay": spec.weight_decay},
        {"params": [p for name, p in named if name in spared], "weight_decay": 0.0},
    ]
    return Adam([g for g in groups if g["params"]], lr=spec.learning_rate, decoupled=True)


def _split(y: NDArray[Any], spec: TrainingSpec, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows for training and for validation, stratified by class (a number is one); every class keeps at least one training row."""
    everything = np.arange(len(y), dtype=np.int64)
    if spec.patience is None:
        return everything, everything[:0]
    rng = stream(seed, "validation")
    held = np.zeros(len(y), dtype=bool)
    for level in np.unique(y):
        rows = rng.permutation(np.flatnonzero(y == level))
        wanted = max(1, round(spec.validation_share * len(rows)))
        held[rows[: min(wanted, len(rows) - 1)]] = True
    return everything[~held], everything[held]


def _class_weighted(y: NDArray[np.int64], weight: NDArray[np.float32], n_classes: int) -> NDArray[np.float32]:
    """Scale weights so that every class that occurs carries the same total."""
    mass = np.bincount(y, weights=weight.astype(np.float64), minlength=n_classes)
    factor = np.divide(mass.sum(), mass * np.count_nonzero(mass), out=np.zeros_like(mass), where=mass > 0)
    return np.asarray(weight * factor[y], dtype=np.float32)


def _checked(
    x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any], model: TrainedModel, *, gaps: bool
) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.float32]]:
    kind = np.int64 if model.task == "classes" else np.float64
    x, y, weight = np.asarray(x, dtype=np.float32), np.asarray(y, dtype=kind), np.asarray(weight, dtype=np.float32)
    if x.ndim != 2 or y.shape != ((len(x), model.n_classes) if model.task == "labels" else (len(x),)) or weight.shape != (len(x),):
        raise ValueError(f"x {x.shape}, y {y.shape} and weight {weight.shape} do not belong together")
    if len(x) < 2:
        raise InputError(f"{len(x)} training rows are too few", mend="give at least two")
    if np.isinf(x).any() or (np.isnan(x).any() and not gaps):
        raise InputError("the encoded training table holds NaN or infinite values", mend="check the columns' values")
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise InputError("training weights must be finite and not negative", mend="check the reweighing")
    if model.task == "classes" and (y.min() < 0 or y.max() >= model.n_classes):
        raise ValueError("class codes must lie in 0..n_classes-1")
    return x, y, weight
