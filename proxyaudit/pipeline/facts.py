"""What the finished tasks of a run left in the cache: facts to estimate from, and models to make signatures of."""

from collections.abc import Mapping, Sequence

from safetensors.numpy import load_file

from proxyaudit.activations.capture import read_activations
from proxyaudit.cache import INPUTS, MEASURE, TRAIN, Cache, Task
from proxyaudit.channels.proxy_plan import people
from proxyaudit.channels.signatures import ReferenceModel, build_signatures
from proxyaudit.estimates.facts import Facts, Run, without_few
from proxyaudit.estimates.record import Measurement
from proxyaudit.evidence.signatures import Signatures, signature_files
from proxyaudit.pipeline.measure import read_placebos
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.recipe.recipe import SignaturesSpec
from proxyaudit.types import Evidence, State

Tasks = Mapping[str, Sequence[Task]]


def read_facts(prepared: Prepared, tasks: Tasks, cache: Cache, failures: Mapping[str, Sequence[str]]) -> Facts:
    """Everything that finished tasks measured."""
    dataset, inputs = prepared.dataset, tasks["synthesize"][0]
    runs = []
    for regime in prepared.regimes:
        mine = [task for task in tasks["measure"] if task.regime == regime.name and cache.has(MEASURE, task.digest)]
        measured = tuple(Measurement.read(cache.folder(MEASURE, task.digest)) for task in mine)
        failed, design = tuple(failures.get(regime.name, ())), prepared.repetitions.designs[regime.name]
        places = tuple(design.place(task.seed) for task in mine) if design.places else ()
        runs.append(Run(regime.name, measured, failed, regime.kind, regime.is_reference, places, tuple(task.seed for task in mine)))
    return Facts(
        attributes=dataset.attributes,
        clusters_n=dataset.clusters,
        people_n=people(dataset, dataset.audit),
        labels_n=prepared.audit_labels(),
        classes=dataset.classes,
        outcomes=dataset.read.outcomes(dataset.target),
        task=dataset.read.task,
        scale=dataset.read.scale,
        true_nc=None if dataset.read.task == "classes" else dataset.truth(dataset.audit),
        followed=prepared.compared_groups(),
        sites=prepared.outline.sites,
        verdict_sites=prepared.outline.verdict_sites,
        unprofiled=prepared.outline.unprofiled,
        margins=prepared.recipe.margins,
        selection=prepared.recipe.selection,
        runs=without_few(runs, dataset.clusters),
        inputs=Measurement.read(cache.folder(INPUTS, inputs.digest)),
        placebos=read_placebos(prepared, cache, inputs.digest),
        pairs=prepared.proxies.pairs,
        text=dataset.text is not None,
        no_absence=tuple(prepared.plan.no_absence),
    )


def signatures_of_run(prepared: Prepared, tasks: Tasks, cache: Cache, evidence: Evidence) -> dict[str, bytes]:
    """Files with the signatures of every model of the run that was trained or loaded; references have none."""
    models = []
    for task in (*tasks["train"], *tasks["quantise"]):
        regime = prepared.regime(task.regime)
        if regime.is_reference or not cache.has(TRAIN, task.digest):
            continue
        folder = cache.folder(TRAIN, task.digest)
        captured = read_activations(folder / "activations.safetensors")
        weights = load_file(folder / "weights.safetensors")
        used = (regime.erase, regime.scrub, regime.quantise)
        models.append(ReferenceModel(task.regime, task.seed, captured.acts, captured.outputs, weights, *used))
    leaks = [e for e in evidence.estimates if (e.channel, e.measure) == ("linear", "leak")]
    states = {(str(e.attribute), e.regime, str(e.site)): e.state for e in leaks if e.state is not None}
    return signature_files(signatures_of_models(prepared, models, states))


def signatures_of_models(prepared: Prepared, models: Sequence[ReferenceModel], states: Mapping[tuple[str, str, str], State]) -> Signatures:
    """Signatures of models of an audit; ``states`` of the linear channel by (attribute, regime, site)."""
    return build_signatures(
        models,
        states,
        dataset=prepared.dataset,
        sites=prepared.outline.verdict_sites,
        spec=prepared.recipe.signatures or SignaturesSpec(),
        margin=prepared.recipe.margins.leak,
        root=prepared.recipe.seed,
        plan_digest=prepared.plan.digest,
    )
