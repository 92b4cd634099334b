"""Training one model of a regime, or loading the one that a recipe names, and reading it on the audit rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.activations.capture import capture, write_activations
from proxyaudit.activations.frozen import Features, capture_head, completed, train_head
from proxyaudit.cache import ENCODE, SYNTHESIZE, TRAIN, Cache, Task
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.checkpoints import load_weights, save_weights
from proxyaudit.models.quantise import quantise
from proxyaudit.models.training import train_model, untrained_model
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.regimes import make_training_data
from proxyaudit.seeding import integer_seed, stream


def run(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    """Write the weights, what the model makes of the audit rows, and how it was trained."""
    features = read_features(task, cache)
    model, details = _trained(task, prepared, cache, features)
    save_weights(model, folder / "weights.safetensors")
    regime = prepared.regime(task.regime)
    if regime.quantise is not None:
        model = quantise(model, regime.quantise)
    captured = capture(model, prepared.audit_inputs(regime)) if features is None else capture_head(model, features.audit)
    write_activations(captured, folder / "activations.safetensors")
    (folder / "details.json").write_text(json.dumps(details, sort_keys=True, default=str), encoding="utf-8")


def _trained(task: Task, prepared: Prepared, cache: Cache, features: Features | None) -> tuple[TrainedModel, dict[str, Any]]:
    regime, recipe = prepared.regime(task.regime), prepared.recipe
    model = prepared.build_of(regime, task.seed)
    if regime.kind == "checkpoints" and not regime.checkpoints:
        return model, {}
    if regime.kind == "checkpoints":
        return load_weights(model, regime.checkpoints[task.seed], what=f"checkpoint of regime '{regime.name}'"), {}
    if regime.kind == "untrained":
        encoder, rows, number = prepared.dataset.encoder, prepared.dataset.train, prepared.place_of(regime, task.seed)[1]
        seed = integer_seed(recipe.seed, "model", number)
        return untrained_model(model, lambda: encoder.transform(rows), recipe.model, seed), {}
    if regime.kind == "quantised":
        original = cache.folder(TRAIN, dict(task.needs)[TRAIN]) / "weights.safetensors"
        return load_weights(model, original, what=f"weights of regime '{regime.of}'"), {}
    data = make_training_data(regime, prepared.dataset, made_tables(task, prepared, cache), prepared.size, row_stream(task, prepared))
    spec, seed = recipe.model, integer_seed(recipe.seed, "training", prepared.place_of(regime, task.seed)[1])
    if features is not None:
        trained = train_head(model, data, completed(features, model, data.x), spec, seed)
    else:
        trained = train_model(model, data.x, data.y, data.weight, spec, seed)
    return trained, {"rows": data.summary, "training": trained.details}


def made_tables(task: Task, prepared: Prepared, cache: Cache) -> dict[str, pd.DataFrame]:
    """The synthetic table or the release that a task's regime is trained on, by the name of its maker; empty for real rows."""
    regime = prepared.regime(task.regime)
    source = regime.of or regime.name
    tables = {source: prepared.releases[source]} if source in prepared.releases else {}
    for kind, digest in task.needs:
        if kind == SYNTHESIZE:
            tables[source] = pd.read_parquet(cache.folder(kind, digest) / "table.parquet")
    return tables


def row_stream(task: Task, prepared: Prepared) -> np.random.Generator:
    """What draws the training rows of a repetition."""
    # Scrubbed rows are the real ones, the same in the same order.
    drawn = "real" if prepared.regime(task.regime).kind == "scrubbed" else task.regime
    return stream(prepared.recipe.seed, "training rows", drawn, *prepared.repetitions.designs[task.regime].key(task.seed))


def read_features(task: Task, cache: Cache) -> Features | None:
    """What a frozen transformer made of the texts that a task needs, or ``None`` where it runs anew."""
    folders = [cache.folder(kind, digest) for kind, digest in task.needs if kind == ENCODE]
    return Features.read(folders) if folders else None
