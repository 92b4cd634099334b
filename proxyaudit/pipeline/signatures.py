"""Signatures of the models of a run: what its cache holds of them, handed to the channel that makes signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from safetensors.numpy import load_file

from proxyaudit.activations.capture import read_activations
from proxyaudit.channels.signatures.make import ReferenceModel, build_signatures
from proxyaudit.evidence.signatures import Signatures, signature_files
from proxyaudit.pipeline.cache import Cache
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.work import Task
from proxyaudit.recipe.recipe import SignaturesSpec
from proxyaudit.types import Evidence, State


def signatures_of_run(prepared: Prepared, tasks: Mapping[str, Sequence[Task]], cache: Cache, evidence: Evidence) -> dict[str, bytes]:
    """Files with the signatures of every model of the run that was trained or loaded; references have none."""
    models = []
    for task in (*tasks["train"], *tasks["quantise"]):
        regime = prepared.regime(task.regime)
        if regime.is_reference or not cache.has("train", task.digest):
            continue
        folder = cache.folder("train", task.digest)
        captured = read_activations(folder / "activations.safetensors")
        weights = load_file(folder / "weights.safetensors")
        used = (regime.erase, regime.scrub, regime.quantise)
        models.append(ReferenceModel(task.regime, task.seed, captured.acts, captured.outputs, weights, *used))
    states = {
        (str(e.attribute), e.regime, str(e.site)): e.state
        for e in evidence.estimates
        if (e.channel, e.measure) == ("linear", "leak") and e.state is not None
    }
    return signature_files(signatures_of_models(prepared, models, states))


def signatures_of_models(prepared: Prepared, models: Sequence[ReferenceModel], states: Mapping[tuple[str, str, str], State]) -> Signatures:
    """Signatures of models of an audit; ``states`` of the linear channel by (attribute, regime, site)."""
    return build_signatures(
        models,
        states,
        dataset=prepared.dataset,
        sites=prepared.model.verdict_sites,
        spec=prepared.recipe.signatures or SignaturesSpec(),
        margin=prepared.recipe.margins.leak,
        root=prepared.recipe.seed,
        plan_digest=prepared.plan.digest,
    )
