"""Measuring: one model by every channel, and the inputs that all of them share."""

from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from proxyaudit.activations.capture import read_activations
from proxyaudit.activations.frozen import head_forward, is_inner
from proxyaudit.cache import INPUTS, MEASURE, SYNTHESIZE, TRAIN, Cache, Task
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.leak.measure import measure_site
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.channels.placebos import plant_placebos
from proxyaudit.channels.proxies.discover import measure_association
from proxyaudit.data.text import TextEncoder
from proxyaudit.estimates.record import INPUT_SITE, Measurement
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.quantise import quantise
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.train import read_features
from proxyaudit.unfinished import Unfinished, remember


def run_inputs(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    """Measure what the inputs themselves tell, and plant the placebos on them."""
    dataset, recipe = prepared.dataset, prepared.recipe
    x = dataset.encoder.features(dataset.audit)
    unfinished = Unfinished(cache, task.digest)
    out = unfinished.out
    probing = Probing(recipe.seed, recipe.margins, prepared.plan.permutations, nonlinear=False, every_row=recipe.effort == "everything")
    measure_site(x, dataset, probing, site=INPUT_SITE, placebos={}, out=out)
    placebos = plant_placebos(x, dataset, prepared.audit_labels(), recipe.references.placebos, recipe.seed)
    measure_association(dataset.audit, dataset, prepared.proxies, recipe.seed, out, rows=True)
    out.write(folder)
    stored = {f"{index}": placebos[a.name] for index, a in enumerate(dataset.attributes) if a.name in placebos}
    save_file({name: np.ascontiguousarray(value) for name, value in stored.items()}, folder / "placebos.safetensors")
    unfinished.forget()


def read_placebos(prepared: Prepared, cache: Cache, digest: str) -> dict[str, NDArray[Any]]:
    """Placebo label columns of each attribute."""
    stored = load_file(cache.folder(INPUTS, digest) / "placebos.safetensors")
    return {a.name: stored[str(index)] for index, a in enumerate(prepared.dataset.attributes) if str(index) in stored}


def run(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    """Measure one model by every channel."""
    view, unfinished = _view(task, prepared, cache), Unfinished(cache, task.digest)
    for path in task.measures:
        if path not in unfinished.done:
            resolve_name(path)(view, unfinished.out)
            unfinished.done.append(path)
    unfinished.out.write(folder)
    unfinished.forget()


def _view(task: Task, prepared: Prepared, cache: Cache) -> ModelView:
    recipe, regime, needs = prepared.recipe, prepared.regime(task.regime), dict(task.needs)
    trained = cache.folder(TRAIN, needs[TRAIN])
    captured = read_activations(trained / "activations.safetensors")
    model = load_weights(prepared.build_of(regime, task.seed), trained / "weights.safetensors", what="trained weights")
    if regime.quantise is not None:
        model = quantise(model, regime.quantise)
    features, frozen = read_features(task, cache), recipe.model.frozen
    return ModelView(
        recipe=recipe,
        regime=regime,
        repetition=task.seed,
        model=model,
        captured=captured,
        x=prepared.audit_inputs(regime),
        dataset=prepared.dataset,
        labels_n=prepared.audit_labels(),
        placebos=read_placebos(prepared, cache, needs[INPUTS]),
        followed=prepared.compared_groups(),
        proxies=prepared.proxies,
        permutations=prepared.plan.permutations,
        rows_trained=prepared.size * recipe.model.rounds,
        table=_own_table(task, prepared, cache),
        forward=None if features is None else head_forward(model, features),
        frozen=frozen,
        shared_sites=frozenset(site for site in captured.acts if frozen and is_inner(model, site)),
        remember=partial(remember, cache, needs[INPUTS]),
        first=Measurement.read(cache.folder(MEASURE, needs[MEASURE])) if MEASURE in needs else None,
    )


def _own_table(task: Task, prepared: Prepared, cache: Cache) -> pd.DataFrame | None:
    """The synthetic rows or the release behind a regime, or the scrubbed audit texts; what all repetitions share for the first one only."""
    synthesized = dict(task.needs).get(SYNTHESIZE)
    if synthesized is not None:
        if not prepared.repetitions.designs[task.regime].is_first_of_table(task.seed):
            return None  # it was read with the first model that was trained on it
        return pd.read_parquet(cache.folder(SYNTHESIZE, synthesized) / "table.parquet")
    regime, encoder = prepared.regime(task.regime), prepared.dataset.encoder
    if regime.kind == "scrubbed" and task.seed == 0 and isinstance(encoder, TextEncoder):
        return encoder.scrubbed(prepared.dataset.audit, regime.scrub)  # what the words still carry where some were scrubbed
    return prepared.releases.get(task.regime) if task.seed == 0 else None
