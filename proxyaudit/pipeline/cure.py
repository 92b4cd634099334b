"""Trying one cure: a model is trained on altered rows of a repetition, or its own gets an eraser, and is read on the audit rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from proxyaudit.activations.capture import capture
from proxyaudit.activations.frozen import Features, capture_head, completed, train_head
from proxyaudit.cache import TRAIN, Cache, Task
from proxyaudit.causal.erase import erase, fit_rows
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.channels.trial import read_trial
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.cures import ERASER, Cure
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.training import train_model
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.train import made_tables, read_features, row_stream
from proxyaudit.regimes import draw_rows, encode_rows
from proxyaudit.seeding import integer_seed, stream


def altered_rows(task: Task, cure: Cure, prepared: Prepared, cache: Cache) -> pd.DataFrame:
    """The training rows of a repetition as its cure alters them, with all columns that the tables they come from share."""
    rows = _rows(task, prepared, cache)
    others = _rows(replace(task, regime=cure.source, needs=task.beside), prepared, cache) if cure.source else None
    rng = stream(prepared.recipe.seed, "cure", task.regime, cure.drawn_for, cure.name, task.seed)
    return cure.alter(rows, prepared.dataset.target_codes(rows), rng, others)


def run(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    """Keep the outputs of the model that the cure made, and what a linear reader gets at the verdict sites."""
    if task.cure is None:
        raise ValueError("the task names no cure")
    recipe, dataset, cure = prepared.recipe, prepared.dataset, task.cure
    attribute = next(a for a in dataset.attributes if a.name == cure.attribute)
    features = read_features(task, cache)
    if cure.alters_rows:
        model, met = _trained(task, cure, prepared, cache, features)
    else:
        model, met = _erased(task, attribute, prepared, cache), dataset.audit
    probing = Probing(recipe.seed, recipe.margins, prepared.plan.permutations, nonlinear=False)
    # The leak is costly: it is read of the cures that are confirmed, which have further repetitions, and always of what is to lower it.
    leaks = task.seed > 0 or not cure.alters_rows
    captured = capture(model, dataset.encoder.transform(met)) if features is None else capture_head(model, features.audit)
    read_trial(captured, dataset, attribute, prepared.outline.verdict_sites, probing, leaks=leaks).write(folder)


def _rows(task: Task, prepared: Prepared, cache: Cache) -> pd.DataFrame:
    regime = prepared.regime(task.regime)
    return draw_rows(regime, prepared.dataset, made_tables(task, prepared, cache), prepared.size, row_stream(task, prepared))[0]


def _trained(task: Task, cure: Cure, prepared: Prepared, cache: Cache, features: Features | None) -> tuple[TrainedModel, pd.DataFrame]:
    """A model of altered rows, and the audit rows as it meets them."""
    recipe, dataset, rows = prepared.recipe, prepared.dataset, altered_rows(task, cure, prepared, cache)
    rng = stream(recipe.seed, "cure order", task.regime, cure.name, task.seed)
    data = encode_rows(prepared.regime(task.regime), dataset, rows, rng, np.ones(len(rows)))
    # The same initial weights and batches as the model that is cured.
    number = prepared.place_of(task.regime, task.seed)[1]
    model, seed = prepared.build(number), integer_seed(recipe.seed, "training", number)
    if features is not None:
        # The model that was cured meets texts as people write them, whatever was done to those that it learnt from.
        return train_head(model, data, completed(features, model, data.x), recipe.model, seed), dataset.audit
    return train_model(model, data.x, data.y, data.weight, recipe.model, seed), cure.as_read(dataset.audit, rows)


def _erased(task: Task, attribute: Attribute, prepared: Prepared, cache: Cache) -> TrainedModel:
    """The very model that was trained with an eraser at the verdict sites, as 'proxyaudit mitigate' puts it there."""
    weights = cache.folder(TRAIN, dict(task.needs)[TRAIN]) / "weights.safetensors"
    model = load_weights(prepared.build_of(prepared.regime(task.regime), task.seed), weights, what="trained weights")
    return erase(model, fit_rows(prepared.dataset, attribute), prepared.outline.verdict_sites, ERASER)[0]
