"""What a run will take: a rough guide from seconds on one core, measured on Adult, and it says so."""

from __future__ import annotations

from proxyaudit.models.kind import model_kind
from proxyaudit.pipeline.prepared import Inputs
from proxyaudit.registry import load_plugin
from proxyaudit.synthesizers.base import seconds_of

_CELL = 1.5  # of each attribute at each site of each model, however few rows there are
_CORES = 2


def minutes(inputs: Inputs, sites: int) -> float:
    """Minutes that a run is expected to take on two cores."""
    recipe, dataset, kind = inputs.recipe, inputs.dataset, model_kind(inputs.recipe.model)
    thousands, seconds = inputs.size / 1000, 5.0
    for regime in inputs.regimes:
        runs = len(regime.checkpoints) or recipe.seeds
        if regime.kind == "synthetic" and regime.synthetic is not None:
            seconds += runs * thousands * seconds_of(load_plugin("synthesizers", regime.synthetic.plugin), regime.synthetic.epochs)
        if regime.needs_training:
            seconds += runs * thousands * kind.seconds * recipe.model.epochs
        seconds += runs * (sites + 1) * sum(_CELL + (0.1 + 0.06 * len(a.levels)) * len(dataset.audit) / 1000 for a in dataset.attributes)
    ways = 1 + sum(bool(regime.scrub or regime.quantise or regime.kind in ("synthetic", "release")) for regime in inputs.regimes)
    seconds += recipe.model.passes(ways, recipe.seeds) * (inputs.size + len(dataset.audit)) / 1000 * kind.pass_seconds(recipe.model)
    return round(seconds / 60 / _CORES, 1)
