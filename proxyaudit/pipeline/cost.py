"""What the tasks of a run are predicted to take: what a plan promises and what progress counts.

Seconds of one core, from shapes alone, so that they depend on no clock. Constants were measured on Adult beside a timed training.
"""

from typing import Final

from proxyaudit.cache import CURE, ENCODE, INPUTS, MEASURE, SYNTHESIZE, Task
from proxyaudit.causal.proxy_use import DONORS, swapped_rows
from proxyaudit.channels.cures import cases
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.cures import SCRUBBED
from proxyaudit.data.many_levels import most_rows
from proxyaudit.models.kinds import model_kind
from proxyaudit.models.kinds.trees import can_erase
from proxyaudit.pipeline.prepared import Inputs, Prepared
from proxyaudit.recipe.circuits import circuits_of
from proxyaudit.regimes import Regime
from proxyaudit.registry import load_plugin
from proxyaudit.synthesizers.base import seconds_of

CORES: Final = 2  # that a plan speaks of
_AROUND: Final = 4.0  # to start, to estimate and to write the report
_CELL: Final = 0.4  # beside the linear leak, of each attribute at each site, however few rows there are
# What is asked at a verdict site beside the linear leak, in linear leaks: of a regime's first repetition, of the others, of everything.
_FIRST, _OTHERS, _EVERYTHING = 6.0, 1.6, 9.0
_CURED: Final = 0.2  # to read a model that was trained on altered rows
_EXCHANGES: Final = (250, 140)  # passes for each text that parts of a transformer are exchanged in: of a regime's model, of the untrained


def task_seconds(prepared: Prepared, task: Task) -> float:
    """Predicted seconds of one task."""
    if task.kind == INPUTS:
        return _inputs(prepared)
    if task.kind == ENCODE:
        return _pass(prepared) * (prepared.size + len(prepared.dataset.audit)) / 1000
    regime = prepared.regime(task.regime)
    if task.kind == CURE:
        scrubbed = _pass(prepared) * prepared.size / 1000 if task.cure is not None and task.cure.way == SCRUBBED else 0.0
        return _CURED + scrubbed + (0.0 if task.cure is not None and not task.cure.alters_rows else _training(prepared, regime))
    if task.kind == SYNTHESIZE:
        return _synthesis(prepared, regime)
    return _measuring(prepared, len(prepared.outline.sites), regime, task.seed) if task.kind == MEASURE else _training(prepared, regime)


def minutes(inputs: Inputs, sites: int) -> float:
    """Minutes that a run is expected to take on two cores."""
    recipe = inputs.recipe
    seconds = _AROUND + _inputs(inputs)
    for regime in inputs.regimes:
        for repetition in range(inputs.seeds_of(regime)):
            table = _synthesis(inputs, regime) if inputs.repetitions.designs[regime.name].is_first_of_table(repetition) else 0.0
            seconds += table + _training(inputs, regime) + _measuring(inputs, sites, regime, repetition)
        trained, erased = trials_of(inputs, regime)
        scrubbed = _pass(inputs) * inputs.size / 2000 if inputs.dataset.text is not None else 0.0  # of half of them
        seconds += trained * (_training(inputs, regime) + scrubbed + _CURED) + erased * _CURED
    ways = 1 + sum(
        bool(regime.scrub or regime.quantise or regime.folder or regime.kind in ("synthetic", "release")) for regime in inputs.regimes
    )
    passes = recipe.model.passes(ways, max(map(inputs.seeds_of, inputs.regimes))) if recipe.model.frozen or recipe.model.given else 0
    seconds += passes * (inputs.size + len(inputs.dataset.audit)) / 1000 * _pass(inputs)
    return round(seconds / 60 / CORES, 1)


def trials_of(inputs: Inputs, regime: Regime) -> tuple[int, int]:
    """Models that are trained to try cures of a regime, and those that get an eraser."""
    attributes = len(inputs.dataset.protected) if inputs.recipe.tries_cures else 0
    texts = inputs.dataset.text is not None
    return cases.trials_of(regime, inputs.regimes, attributes, erasable=can_erase(inputs.recipe.model) and not texts, texts=texts)


def _synthesis(inputs: Inputs, regime: Regime) -> float:
    if regime.kind != "synthetic" or regime.synthetic is None:
        return 0.0
    return inputs.size / 1000 * seconds_of(load_plugin("synthesizers", regime.synthetic.plugin), regime.synthetic.epochs)


def _training(inputs: Inputs, regime: Regime) -> float:
    spec = inputs.recipe.model
    tuned = 0.0 if spec.frozen or spec.given else spec.passes(1, 1) * _pass(inputs)
    return inputs.size / 1000 * (model_kind(spec).seconds * spec.rounds + tuned) if regime.needs_training else 0.1


def _pass(inputs: Inputs) -> float:
    """Seconds of a pass of 1,000 rows through a model that is costly to run."""
    return model_kind(inputs.recipe.model).pass_seconds(inputs.recipe.model)


def _inputs(inputs: Inputs) -> float:
    return 0.7 + 1.5 * sum(_linear(inputs, attribute) for attribute in inputs.dataset.attributes)


def _linear(inputs: Inputs, attribute: Attribute) -> float:
    """Seconds of the linear leak of one attribute at one site: plants of several classes are dear."""
    rows = len(attribute.codes) if inputs.recipe.effort == "everything" else most_rows(attribute)
    return 0.25 + (0.08 * attribute.classes if attribute.classes > 2 else 0.04) * rows / 1000


def _measuring(inputs: Inputs, sites: int, regime: Regime, repetition: int) -> float:
    """Seconds of one model: linear leaks at all sites and in the outputs, and at the verdict site what else is asked there."""
    linear = [_linear(inputs, attribute) for attribute in inputs.dataset.attributes]
    spec = circuits_of(inputs.recipe.circuits, inputs.recipe.effort, repetition) if regime.kind != "reweighed" else None
    passes = 0 if spec is None else len(inputs.dataset.protected) * spec.texts * _EXCHANGES[regime.is_reference]
    passes += 0 if inputs.dataset.text is not None else DONORS * swapped_rows(columns := len(inputs.dataset.features)) * columns
    if regime.is_reference:
        return (sites + 1) * sum(linear) + passes / 1000 * _pass(inputs)
    more = _EVERYTHING if inputs.recipe.effort == "everything" else _OTHERS if repetition else _FIRST
    return (sites + 1) * sum(one + _CELL for one in linear) + more * sum(linear) + passes / 1000 * _pass(inputs)
