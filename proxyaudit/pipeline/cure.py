"""Trying one cure: the training rows of a repetition are altered, a model is trained on them and read on the audit rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from proxyaudit.activations.capture import capture
from proxyaudit.cache import Cache, Task
from proxyaudit.channels.cures.record import CURED_SITES, CuredSite
from proxyaudit.channels.leak.measure import read_linear_leak
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.channels.prominence import measure as prominence
from proxyaudit.channels.prominence.record import PROMINENT
from proxyaudit.estimates.record import Measurement
from proxyaudit.models.training import train_model
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
    number = prepared.place_of(task.regime, task.seed)[1]
    model = train_model(prepared.build(number), data.x, data.y, data.weight, recipe.model, integer_seed(recipe.seed, "training", number))
    captured, out = capture(model, dataset.encoder.transform(cure.as_read(dataset.audit, rows))), Measurement()
    out.arrays["outputs"] = captured.outputs
    for site in prepared.model.verdict_sites:
        # The leak is costly: it is read of the cures that are confirmed, which have further repetitions.
        CURED_SITES.write(out, _site(prepared, cure.attribute, captured.acts[site], site, leaks=task.seed > 0), site)
    out.write(folder)


def _site(prepared: Prepared, name: str, acts_nd: NDArray[Any], site: str, *, leaks: bool) -> CuredSite:
    """What a linear reader gets of an attribute at a site, and how prominent it is there."""
    recipe, dataset, found = prepared.recipe, prepared.dataset, Measurement()
    asked = tuple(a for a in dataset.attributes if a.name == name)
    prominence.measure_site(acts_nd, asked, dataset.clusters, site=site, repetition=0, placebos={}, full=False, out=found)
    shown, read = PROMINENT.read(found, name, site), None
    if leaks:
        quick = Probing(recipe.seed, recipe.margins, prepared.plan.permutations, nonlinear=False)
        read = read_linear_leak(acts_nd, dataset, asked[0], quick)
    leak, leak_n = (None, None) if read is None else read
    return CuredSite(leak, shown.units, leak_n, shown.units_n)
