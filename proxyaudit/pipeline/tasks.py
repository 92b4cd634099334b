"""The tasks of a run: synthesize, train and capture, measure. Each is a pure function of its digest's inputs."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from threadpoolctl import threadpool_limits

from proxyaudit.activations.capture import capture, read_activations, write_activations
from proxyaudit.activations.frozen import (
    Features,
    capture_head,
    completed,
    head_forward,
    is_inner,
    train_head,
)
from proxyaudit.channels.base import ModelView
from proxyaudit.channels.leak.questions import Probing
from proxyaudit.channels.leak.site import measure_site
from proxyaudit.channels.placebos import plant_placebos
from proxyaudit.channels.proxies.column_measure import measure_association
from proxyaudit.data.text import TextEncoder
from proxyaudit.digests import code_digest, digest_of
from proxyaudit.errors import safe_line
from proxyaudit.estimates.channel import all_channels
from proxyaudit.estimates.facts import Followed
from proxyaudit.estimates.record import INPUT_SITE, Measurement
from proxyaudit.models import TrainedModel, load_weights, save_weights, train_model
from proxyaudit.models.quantise import quantise
from proxyaudit.pipeline.cache import Cache
from proxyaudit.pipeline.encode import ENCODE, encoded_sources, is_frozen, run_encode, sources_of
from proxyaudit.pipeline.measurements import remember, write_measurement
from proxyaudit.pipeline.plan import Prepared, prepared_again
from proxyaudit.regimes import Regime, make_training_data, synthesize
from proxyaudit.registry import load_function
from proxyaudit.seeding import integer_seed, stream

PROFILE_READERS = ("quadratic", "trees")
PROFILE_WORK = 1e11
_EDGE = 1e-6  # keeps the log-odds of a saturated output finite


@dataclass(frozen=True)
class Task:
    """One unit of work; plain strings and numbers only, so that it travels to any worker."""

    kind: str  # "inputs", "synthesize", "train" or "measure"
    regime: str
    seed: int
    digest: str
    needs: tuple[tuple[str, str], ...] = ()  # (kind, digest) of the tasks whose results it reads


@dataclass(frozen=True)
class Outcome:
    """What became of a task."""

    task: Task
    error: str | None
    trace: str | None = None


def task_digests(prepared: Prepared) -> dict[str, list[Task]]:
    """Every task of a run by kind, each with the digest of all that its result depends on."""
    recipe, data = prepared.recipe, prepared.plan["hashes"]
    common = {
        "code": code_digest(),
        "versions": prepared.plan["versions"],
        "data": data,
        "seed": recipe.seed,
        "roles": recipe.data.model_dump(mode="json"),
    }
    measuring = {
        **common,
        "references": recipe.references.model_dump(),
        "margins": recipe.margins.model_dump(),
        "plan": prepared.plan["permutations"],
        "attributes": prepared.plan["attributes"],
        "proxies": prepared.plan["proxies"],
    }
    inputs = Task("inputs", "inputs", 0, digest_of({**measuring, "kind": "inputs"}))
    # The inputs are measured beside the synthesizers: both must be done before anything is trained or measured.
    tasks: dict[str, list[Task]] = {"synthesize": [inputs], "train": [], "quantise": [], "measure": []}
    synthesized: dict[tuple[str, int], str] = {}
    for regime in prepared.regimes:
        if regime.kind == "synthetic" and regime.synthetic is not None:
            for seed in range(recipe.seeds):
                spec = regime.synthetic.model_dump()
                digest = digest_of({**common, "kind": "synthesize", "spec": spec, "size": prepared.size, "repetition": seed})
                synthesized[regime.name, seed] = digest
                tasks["synthesize"].append(Task("synthesize", regime.name, seed, digest))
    model = recipe.model.model_dump(mode="json")
    read = {"model": model, "sites": recipe.sites.model_dump(), "proxies": prepared.plan["proxies"]}
    encoded = {
        name: digest_of({**common, **read, "kind": ENCODE, "source": asdict(source)}) for name, source in encoded_sources(prepared).items()
    }
    tasks["synthesize"] += [Task(ENCODE, name, 0, digest) for name, digest in encoded.items()]
    digests: dict[tuple[str, int], str] = {}
    # A quantised model is made from a trained one, so its turn comes after.
    for regime in sorted(prepared.regimes, key=lambda regime: regime.kind == "quantised"):
        stage = "quantise" if regime.kind == "quantised" else "train"
        for seed in range(prepared.seeds_of(regime)):
            source = synthesized.get((regime.of or regime.name, seed), "")
            needs = (("synthesize", source),) if source else ()
            looked_up = tuple((ENCODE, encoded[name]) for name in sources_of(regime, prepared))
            if regime.kind == "quantised":
                source, needs = digests[str(regime.of), seed], (("train", digests[str(regime.of), seed]),)
            described = {
                "name": regime.name,
                "kind": regime.kind,
                "of": regime.of,
                "ratio": regime.ratio,
                "checkpoints": [p.name for p in regime.checkpoints],
                "erase": regime.erase,
                "scrub": regime.scrub,
                "quantise": regime.quantise,
            }
            trained = {
                **common,
                "kind": "train",
                "regime": described,
                "repetition": seed,
                "size": prepared.size,
                "source": source,
                "model": model,
                "sites": recipe.sites.model_dump(),
            }
            digest = digests[regime.name, seed] = digest_of(trained)
            tasks[stage].append(Task("train", regime.name, seed, digest, (*needs, *looked_up)))
            measured = digest_of({**measuring, "kind": "measure", "captured": digest, "inputs": inputs.digest})
            reads = (*(needs if regime.kind == "synthetic" else ()), ("train", digest), ("inputs", inputs.digest), *looked_up[:1])
            tasks["measure"].append(Task("measure", regime.name, seed, measured, reads))
    return tasks


def run_task(task: Task, recipe_json: str, base: str, plan_digest: str, cache_root: str) -> Outcome:
    """Run one task in this process; failures are returned, never raised, so that the other tasks go on."""
    cache = Cache(Path(cache_root))
    try:
        with one_thread():
            prepared = prepared_again(recipe_json, base, plan_digest)
            run = {"inputs": _run_inputs, ENCODE: _run_encode, "synthesize": _run_synthesize, "train": _run_train, "measure": _run_measure}[
                task.kind
            ]
            cache.commit(task.kind, task.digest, lambda folder: run(task, prepared, cache, folder))
    except Exception as error:
        return Outcome(task, safe_line(error)[:500], traceback.format_exc())
    return Outcome(task, None)


@contextmanager
def one_thread() -> Iterator[None]:
    """Fix the threads of one task, whatever the number of workers: bytes must not depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


def audit_inputs(prepared: Prepared, regime: Regime) -> NDArray[np.float32]:
    """Encoded inputs of the audit rows, shape ``(n, p)``, as a regime's models meet them: a scrubbing pipeline scrubs here too."""
    encoder, audit = prepared.dataset.encoder, prepared.dataset.audit
    return encoder.transform(encoder.scrubbed(audit, regime.scrub) if isinstance(encoder, TextEncoder) else audit)


def audit_labels(prepared: Prepared) -> NDArray[np.int64]:
    """True label of the audit rows, shape ``(n,)``."""
    return prepared.dataset.target_codes(prepared.dataset.audit)


def _run_inputs(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    x = prepared.dataset.encoder.features(prepared.dataset.audit)
    out = Measurement()
    probing = Probing(prepared.recipe.seed, prepared.recipe.margins, prepared.plan["permutations"], nonlinear=False)
    measure_site(x, prepared.dataset, probing, site=INPUT_SITE, placebos={}, out=out)
    leaks = {name: sites[INPUT_SITE].get("linear", {}).get("leak") for name, sites in out.numbers["cells"].items()}
    placebos = plant_placebos(x, prepared.dataset, leaks, prepared.recipe.references.placebos, prepared.recipe.seed)
    dataset = prepared.dataset
    measure_association(dataset.audit, dataset, prepared.proxies, prepared.recipe.seed, out, rows=True)
    write_measurement(out, folder)
    save_file(
        {f"{index}": np.ascontiguousarray(placebos[a.name]) for index, a in enumerate(prepared.dataset.attributes) if a.name in placebos},
        folder / "placebos.safetensors",
    )


def read_placebos(prepared: Prepared, cache: Cache, digest: str) -> dict[str, NDArray[Any]]:
    """Placebo label columns of each attribute."""
    stored = load_file(cache.folder("inputs", digest) / "placebos.safetensors")
    return {a.name: stored[str(index)] for index, a in enumerate(prepared.dataset.attributes) if str(index) in stored}


def _run_encode(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    run_encode(task.regime, prepared, folder)


def _run_synthesize(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    spec = prepared.regime(task.regime).synthetic
    if spec is None:
        raise ValueError(f"regime {task.regime!r} is not synthesized here")
    seed = integer_seed(prepared.recipe.seed, "synthesizer", task.regime, task.seed)
    table = synthesize(spec, prepared.dataset, prepared.size, seed, prepared.base)
    table.to_parquet(folder / "table.parquet", index=False)


def _train(task: Task, prepared: Prepared, cache: Cache) -> tuple[TrainedModel, dict[str, Any]]:
    regime = prepared.regime(task.regime)
    model = prepared.build(task.seed, regime.erase)
    if regime.kind == "checkpoints":
        return load_weights(model, regime.checkpoints[task.seed], what=f"checkpoint of regime '{regime.name}'"), {}
    if regime.kind == "untrained":
        return model, {}
    if regime.kind == "quantised":
        original = cache.folder("train", dict(task.needs)["train"]) / "weights.safetensors"
        return load_weights(model, original, what=f"weights of regime '{regime.of}'"), {}
    source = regime.of or regime.name
    tables = {source: prepared.releases[source]} if source in prepared.releases else {}
    for kind, digest in task.needs:
        if kind == "synthesize":
            tables[source] = pd.read_parquet(cache.folder(kind, digest) / "table.parquet")
    # Scrubbed rows are the real ones, the same in the same order.
    drawn = "real" if regime.kind == "scrubbed" else regime.name
    rng = stream(prepared.recipe.seed, "training rows", drawn, task.seed)
    data = make_training_data(regime, prepared.dataset, tables, prepared.size, rng)
    spec, seed = prepared.recipe.model, integer_seed(prepared.recipe.seed, "training", task.seed)
    features = _features(task, cache)
    if features is not None:
        trained = train_head(model, data, completed(features, model, data.x), spec, seed)
    else:
        trained = train_model(model, data.x, data.y, data.weight, spec, seed)
    return trained, {"rows": data.summary, "training": trained.details}


def _features(task: Task, cache: Cache) -> Features | None:
    """What a frozen transformer made of the texts that a training task needs, or ``None`` where it runs anew."""
    folders = [cache.folder(kind, digest) for kind, digest in task.needs if kind == ENCODE]
    return Features.read(folders) if folders else None


def _run_train(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    model, details = _train(task, prepared, cache)
    save_weights(model, folder / "weights.safetensors")
    features = _features(task, cache)
    regime = prepared.regime(task.regime)
    if regime.quantise is not None:
        model = quantise(model, regime.quantise)
    captured = capture(model, audit_inputs(prepared, regime)) if features is None else capture_head(model, features)
    write_activations(captured, folder / "activations.safetensors")
    (folder / "details.json").write_text(json.dumps(details, sort_keys=True, default=str), encoding="utf-8")


def _run_measure(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    recipe, regime, needs = prepared.recipe, prepared.regime(task.regime), dict(task.needs)
    trained = cache.folder("train", needs["train"])
    captured = read_activations(trained / "activations.safetensors")
    model = load_weights(prepared.build(task.seed, regime.erase), trained / "weights.safetensors", what="trained weights")
    if regime.quantise is not None:
        model = quantise(model, regime.quantise)
    features, frozen = _features(task, cache), is_frozen(recipe)
    view = ModelView(
        recipe=recipe,
        regime=regime,
        repetition=task.seed,
        model=model,
        captured=captured,
        x=audit_inputs(prepared, regime),
        dataset=prepared.dataset,
        labels_n=audit_labels(prepared),
        placebos=read_placebos(prepared, cache, needs["inputs"]),
        followed=compared_groups(prepared),
        proxies=prepared.proxies,
        permutations=prepared.plan["permutations"],
        rows_trained=prepared.size * recipe.model.epochs,
        table=_own_table(task, prepared, cache),
        forward=None if features is None else head_forward(model, features),
        frozen=frozen,
        shared_sites=frozenset(site for site in captured.acts if frozen and is_inner(model, site)),
        remember=partial(remember, cache, needs["inputs"]),
    )
    out = Measurement()
    for channel in all_channels():
        if channel.measure is not None:
            load_function(channel.measure)(view, out)
    write_measurement(out, folder)


def _own_table(task: Task, prepared: Prepared, cache: Cache) -> pd.DataFrame | None:
    """The synthetic rows or the release behind a regime, or the scrubbed audit texts; what all repetitions share for the first one only."""
    synthesized = dict(task.needs).get("synthesize")
    if synthesized is not None:
        return pd.read_parquet(cache.folder("synthesize", synthesized) / "table.parquet")
    regime, encoder = prepared.regime(task.regime), prepared.dataset.encoder
    if regime.kind == "scrubbed" and task.seed == 0 and isinstance(encoder, TextEncoder):
        return encoder.scrubbed(prepared.dataset.audit, regime.scrub)  # what the words still carry where some were scrubbed
    return prepared.releases.get(task.regime) if task.seed == 0 else None


def compared_groups(prepared: Prepared) -> dict[str, Followed]:
    """Groups compared by interventions: chosen from the true labels, so that they are the same in every model."""
    labels = audit_labels(prepared)
    classes = len(prepared.dataset.classes)
    truth = (labels == 1)[:, None].astype(np.float64) if classes == 2 else (labels[:, None] == np.arange(classes)).astype(np.float64)
    return {a.name: Followed(*a.compared_groups(truth)) for a in prepared.dataset.attributes}
