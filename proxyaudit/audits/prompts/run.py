"""The audit of a language model's behaviour on counterfactual prompts: no data, no training, only what it says next."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from proxyaudit.audits.prompts.estimate import assemble_prompts
from proxyaudit.audits.prompts.measure import measure_model, swap_layers
from proxyaudit.cache import Cache
from proxyaudit.digests import digest_of
from proxyaudit.errors import InputError
from proxyaudit.estimates.record import Measurement
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.language.causal_model import load_causal, settings_digests, weights_digest
from proxyaudit.language.prompt_sets import PromptSet
from proxyaudit.models.versions import versions
from proxyaudit.names import check_names, check_regime_names
from proxyaudit.progress import Progress, ProgressEvent
from proxyaudit.publication import check_out, environment_of, plan_without_training, run_once
from proxyaudit.recipe.models import PretrainedSpec
from proxyaudit.recipe.recipe import Margins
from proxyaudit.threads import one_thread
from proxyaudit.types import REFERENCES

NAME = "prompts"


@dataclass(frozen=True)
class PromptRequest:
    """What to ask of language models; the run lies in ``<out>/<name>/<run id>``."""

    models: Mapping[str, PretrainedSpec]  # by the name of their regime
    prompts: PromptSet
    real: str | None = None  # regime that the others are compared with
    tokens: int = 24  # length of the greedy answers that refusals are looked for in
    layers: tuple[int, ...] | None = None  # that are swapped at; None takes one third and two thirds of the depth
    margins: Margins = field(default_factory=Margins)
    seed: int = 0
    name: str = NAME
    circuits: bool = False  # exchange the models' parts too


def audit_prompts(
    request: PromptRequest, *, out: Path, progress: Progress | None, cache_root: Path | None = None
) -> tuple[Path, EvidencePack, bool]:
    """Ask every model every prompt: run folder, pack, and whether it was there; ``InputError`` if a model or the request does not fit."""
    base = Path.cwd()
    check_out(out)
    plan = make_plan(request, base)

    def measured(cache: Cache) -> EvidencePack:
        started = time.time()
        found = _measure_all(request, base, plan["digest"], cache, progress)
        evidence = assemble_prompts(request.prompts, found, plan, request.real)
        return EvidencePack(evidence, plan, _described(request), environment_of(started, 1, plan["versions"]), {})

    return run_once(out, plan, measured, cache_root)


def _measure_all(request: PromptRequest, base: Path, plan_digest: str, cache: Cache, progress: Progress | None) -> dict[str, Measurement]:
    """Measurements of every model, those of an interrupted run read from the cache."""
    measured: dict[str, Measurement] = {}
    total = len(request.models) * (len(request.prompts.templates) + len(request.prompts.requests) + 1)
    steps = count(1)

    def told(regime: str, detail: str) -> None:
        if progress is not None:
            progress(ProgressEvent("measure", next(steps), total, f"{regime}, {detail}: done"))

    for regime, source in request.models.items():
        digest = digest_of([plan_digest, regime])
        if not cache.has(NAME, digest):
            with one_thread():
                model = load_causal(source, base)
                depth = len(model.blocks)
                wrong = [layer for layer in request.layers or swap_layers(depth) if not 0 <= layer < depth]
                if wrong:
                    raise InputError(f"model '{regime}' has no layer {wrong[0]}", where="--layer", mend=f"its layers are 0 to {depth - 1}")
                asked = (request.prompts, request.seed, request.tokens, request.layers, partial(told, regime))
                found = measure_model(model, *asked, circuits=request.circuits)
            del model
            cache.commit(NAME, digest, found.write)
        measured[regime] = Measurement.read(cache.folder(NAME, digest))
    return measured


def make_plan(request: PromptRequest, base: Path) -> dict[str, Any]:
    """Everything that is fixed before anything is measured, with its digest."""
    if not request.models:
        raise InputError("no model was given", where="--model", mend="write --model PATH")
    for name in request.models:
        if name.lower() in REFERENCES:
            raise InputError(f"'{name}' is reserved for a reference", where="--model", mend="choose another name")
    check_regime_names(request.models, request.real, "--model")
    check_names([request.prompts.attribute], "attribute", "--set")
    if request.real is not None and request.real not in request.models:
        raise InputError(f"'{request.real}' is none of the models ({', '.join(request.models)})", where="--real", mend="name one of them")
    prompts = request.prompts
    hashes = {f"model {name}": weights_digest(source, base) for name, source in request.models.items()}
    for name, source in request.models.items():
        hashes |= settings_digests(source, base, f"model {name}")
    hashes["prompts"] = digest_of(prompts.model_dump(mode="json"))
    each = len(prompts.names) * len(prompts.contexts)
    own = {
        "seed": request.seed,
        "references": [],
        "sites": {"verdict": [], "profile": []},
        "attributes": [{"name": prompts.attribute, "role": "protected", "kind": "prompts", "levels": list(prompts.groups)}],
        "rows": {"audit": each * (len(prompts.templates) + len(prompts.requests))},
        "prompts": {
            "names": {group: len(names) for group, names in prompts.groups.items()},
            "contexts": len(prompts.contexts),
            "templates": [template.id for template in prompts.templates],
            "requests": [template.id for template in prompts.requests],
            "tokens": request.tokens,
            "layers": list(request.layers) if request.layers is not None else None,
            **({"circuits": True} if request.circuits else {}),
        },
        "margins": request.margins.model_dump(),
        "notes": [],
        "hashes": hashes,
        "versions": versions("transformers", "tokenizers", "gguf"),
    }
    return plan_without_training(request.name, request.models, "prompts", _described(request), **own)


def _described(request: PromptRequest) -> dict[str, Any]:
    """What was asked for; a model by the last part of its path, since its weights stand in the plan by their hash."""
    models = {
        name: source.model_dump() | {"path": source.path if source.hub else Path(source.path).name}
        for name, source in request.models.items()
    }
    layers = list(request.layers) if request.layers is not None else None
    asked = {"prompts": request.prompts.model_dump(mode="json"), "margins": request.margins.model_dump()}
    plain = {key: value for key, value in vars(request).items() if key != "circuits" or value}  # as before where it is not asked for
    return {**plain, **asked, "models": models, "layers": layers}
