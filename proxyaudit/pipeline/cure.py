"""Trying one cure: the training rows of a repetition are altered, a model is trained on them and read on the audit rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from proxyaudit.activations.capture import capture
from proxyaudit.channels.leak.measure import Probing, measure_site
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.training import train_model
from proxyaudit.pipeline.cache import Cache, Task
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.train import made_tables, row_stream
from proxyaudit.regimes import draw_rows, encode_rows
from proxyaudit.seeding import integer_seed, stream


def altered_rows(task: Task, prepared: Prepared, cache: Cache) -> pd.DataFrame:
    """The training rows of a repetition as its cure alters them, with all columns that the regime's tables share."""
    if task.cure is None:
        raise ValueError("the task names no cure")
    regime, dataset = prepared.regime(task.regime), prepared.dataset
    rows, _ = draw_rows(regime, dataset, made_tables(task, prepared, cache), prepared.size, row_stream(task, prepared))
    rng = stream(prepared.recipe.seed, "cure", task.regime, task.cure.attribute, task.cure.name, task.seed)
    return task.cure.alter(rows, dataset.target, rng)


def run(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    """Train a model on altered rows, and keep its outputs and what a linear reader gets at the verdict sites."""
    if task.cure is None:
        raise ValueError("the task names no cure")
    recipe, dataset, cure = prepared.recipe, prepared.dataset, task.cure
    rows, rng = altered_rows(task, prepared, cache), stream(recipe.seed, "cure order", task.regime, cure.name, task.seed)
    data = encode_rows(prepared.regime(task.regime), dataset, rows, rng, np.ones(len(rows)))
    # The same initial weights and batches as the model that is cured.
    model = train_model(
        prepared.build(task.seed), data.x, data.y, data.weight, recipe.model, integer_seed(recipe.seed, "training", task.seed)
    )
    captured, out = capture(model, dataset.encoder.transform(cure.as_read(dataset.audit, rows))), Measurement()
    out.arrays["outputs"] = captured.outputs
    quick = Probing(recipe.seed, recipe.margins, prepared.plan.permutations, nonlinear=False)
    asked = replace(dataset, attributes=tuple(a for a in dataset.attributes if a.name == cure.attribute))
    for site in prepared.model.verdict_sites:
        measure_site(captured.acts[site], asked, quick, site=site, placebos={}, out=out)
    out.write(folder)
