"""Mitigation as a causal intervention: erase an attribute from a run's models, save them, audit them beside what they were."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from proxyaudit.audits.again import carry_factory, check_asked, prepare_again, rewrite_paths
from proxyaudit.audits.mitigation.risks import remaining_risks
from proxyaudit.cache import Cache, cache_folder
from proxyaudit.causal.erase import SiteChange, erase, fit_rows
from proxyaudit.comparison.compare import channel_changes, task_change, verdict_changes
from proxyaudit.comparison.records import record_of_mitigation
from proxyaudit.consent import NO_CONSENT, Consent
from proxyaudit.digests import code_digest, digest_of, file_digest
from proxyaudit.errors import InputError, TaskError
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import MANIFEST, seal_folder
from proxyaudit.evidence.pack import EvidencePack, find_run
from proxyaudit.evidence.tiers import named_recipients
from proxyaudit.files import write_file
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.checkpoints import load_weights, save_weights
from proxyaudit.models.erasing import resolve_site, token_sites
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.run import RunResult, run_audit
from proxyaudit.pipeline.stages import run_task
from proxyaudit.pipeline.tasks import task_digests
from proxyaudit.progress import Progress, ProgressEvent
from proxyaudit.publication import check_out, write_record, write_restricted
from proxyaudit.recipe.yaml import dump_yaml
from proxyaudit.regimes import Regime
from proxyaudit.registry import check_plugin
from proxyaudit.reporting.mitigation import render_mitigation
from proxyaudit.threads import one_thread
from proxyaudit.types import Evidence

_TABLES_ONLY = (
    "this version erases in models of tables only, and not in quantised ones",
    "erase in a table's model, or audit checkpoints that you erased yourself",
)
MITIGATION_VERSION = "1.1"
MITIGATED = "-mitigated"
RECIPE_FILE = "mitigated.yaml"
_LONGEST_NAME = 80
_ORIGINS = {
    "cache": "the weights that the run had trained and kept",
    "checkpoints": "the checkpoints that the recipe names",
    "retrained": "trained again from the same seeds, since the cache does not hold them (another version or machine may give other bytes)",
}


@dataclass(frozen=True)
class MitigationRequest:
    """What to erase from the models of a regime, where (at the verdict sites if ``sites`` is empty), and by which registered eraser."""

    attribute: str
    regime: str
    sites: tuple[str, ...] = ()
    method: str = "leace"


@dataclass(frozen=True)
class Mitigation:
    """What was done, and where it lies: ``mitigation.json``, ``mitigation.md``, the recipe, the checkpoints, the new audit."""

    folder: Path
    audit: RunResult
    document: dict[str, Any]


def mitigate_run(
    path: Path,
    pack: EvidencePack,
    request: MitigationRequest,
    *,
    consent: Consent = NO_CONSENT,
    base: Path | None = None,
    out: Path = Path("reports"),
    jobs: int | None = None,
    progress: Progress | None = None,
    cache_root: Path | None = None,
) -> Mitigation:
    """Erase an attribute from the models of a finished run and audit them again.

    The mitigation lies in ``<out>/<recipe name>-mitigated/mitigation-<id>``, its audit beside it. ``path`` is a run folder, or one with a
    single run below it; ``pack`` is that run, verified. ``consent`` says what of the run's code may be executed; relative paths of its
    recipe start from ``base``, by default the current folder. ``progress`` is called after every model and task. ``InputError``: the run,
    the names or the data cannot be used, and nothing was written; ``TaskError``: the models had to be trained again, and that failed.
    """
    check_out(out)
    run = find_run(path)
    check_plugin("erasers", request.method, where="--method")
    check_asked(pack, request.attribute, request.regime, run)
    with one_thread():
        prepared = prepare_again(pack, run, base or Path.cwd(), consent, _TABLES_ONLY, given=base is not None)
        if prepared.regime(request.regime).quantise is not None:
            raise InputError(_TABLES_ONLY[0], where=str(run), mend=_TABLES_ONLY[1])
        attribute = next(a for a in prepared.dataset.attributes if a.name == request.attribute)
        regime, whole = prepared.regime(request.regime), prepared.model
        chosen = {resolve_site(name, whole.taps, whole.aliases, where="--site") for name in request.sites} or set(whole.verdict_sites)
        sites = tuple(sorted(chosen, key=whole.sites.index))  # in forward order, each once
        request = replace(request, sites=sites)
        rows = fit_rows(prepared.dataset, attribute)
        cache = Cache(cache_folder(cache_root), pack.evidence.run.id)
        models, origin = _trained(prepared, regime, cache)
        mended: list[tuple[TrainedModel, list[SiteChange]]] = []
        for seed, model in enumerate(models):
            mended.append(erase(model, rows, sites, request.method))
            if progress is not None:
                progress(ProgressEvent("erase", seed + 1, len(models), f"{regime.name}, repetition {seed + 1}: done"))
    identity = {"source": pack.plan["digest"], "request": [request.attribute, request.regime, sites, request.method], "code": code_digest()}
    name = mitigated_name(prepared.recipe.name)
    folder = out / name / f"mitigation-{digest_of(identity)[:12]}"
    with cache.hold(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        recipe = _save(folder, prepared, regime, models, [model for model, _ in mended], sites)
        result = run_audit(recipe, out=out, jobs=jobs, progress=progress, cache_root=cache_root)
        changes = [[change.as_dict() for change in changed] for _, changed in mended]
        document = _document(pack.evidence, prepared, request, origin, changes, result)
        document["checkpoints"] = {path.name: file_digest(path) for path in sorted(folder.glob("mitigated-*.safetensors"))}
        if recipients := named_recipients(pack.recipe):
            write_restricted(folder, {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}, recipients)
        write_file(folder / "mitigation.json", canonical_json(document))
        write_file(folder / "mitigation.md", render_mitigation(document).encode("utf-8", "replace"))
        write_record(folder, record_of_mitigation(document, folder.name))
        seal_folder(folder)
    return Mitigation(folder, result, document)


def _trained(prepared: Prepared, regime: Regime, cache: Cache) -> tuple[list[TrainedModel], str]:
    """The regime's models as they were audited, and where their weights came from."""
    holders = [prepared.build(seed, regime.erase) for seed in range(prepared.seeds_of(regime))]
    if regime.kind == "checkpoints":
        what = f"checkpoint of regime '{regime.name}'"
        return [load_weights(holder, path, what=what) for holder, path in zip(holders, regime.checkpoints, strict=True)], "checkpoints"
    tasks = task_digests(prepared)
    wanted = [task for task in tasks["train"] if task.regime == regime.name]
    found, origin = [], "cache"
    for holder, task in zip(holders, wanted, strict=True):
        if not cache.has("train", task.digest):
            origin = "retrained"
            sources = [source for source in tasks["synthesize"] if ("synthesize", source.digest) in task.needs]
            for needed in (*(source for source in sources if not cache.has("synthesize", source.digest)), task):
                _, error = run_task(needed, prepared, cache)
                if error is not None:
                    raise TaskError(f"{regime.name}, repetition {task.seed} could not be trained again: {error}")
        found.append(load_weights(holder, cache.folder("train", task.digest) / "weights.safetensors", what="trained weights"))
    return found, origin


def _save(
    folder: Path, prepared: Prepared, regime: Regime, models: list[TrainedModel], mended: list[TrainedModel], sites: tuple[str, ...]
) -> Path:
    names: dict[str, list[str]] = {"before": [], "mitigated": []}
    for kind, group in (("before", models), ("mitigated", mended)):
        for seed, model in enumerate(group):
            names[kind].append(f"{kind}-{seed}.safetensors")
            save_weights(model, folder / names[kind][-1])
    already = {prepared.model.aliases.get(name, name) for name in regime.erase}
    erased = (*regime.erase, *(site for site in sites if site not in already))
    return write_recipe(folder, prepared, regime, names["before"], names["mitigated"], erased)


def _document(
    before: Evidence, prepared: Prepared, request: MitigationRequest, origin: str, models: list[list[dict[str, Any]]], result: RunResult
) -> dict[str, Any]:
    """``mitigation.json``: no raw row, no path of this machine, no time."""
    evidence, about = result.evidence, (result.evidence, request.regime, mitigated_name(request.regime))
    channels = channel_changes(*about)
    tokens = token_sites(prepared.model, request.sites, n_inputs=len(prepared.dataset.encoder.columns))
    not_tested = [(item.what, item.why) for item in evidence.not_tested]
    was, now = (
        next((e.value for e in found.estimates if (e.channel, e.regime) == ("task", request.regime)), None) for found in (before, evidence)
    )
    return {
        "mitigation_version": MITIGATION_VERSION,
        "status": result.status,
        "source": _named(before),
        "attribute": request.attribute,
        "regime": request.regime,
        "mitigated_regime": about[2],
        "method": request.method,
        "sites": list(request.sites),
        "weights": {"origin": origin, "words": _ORIGINS[origin], "same_task_figures": was is not None and was == now},
        "models": models,
        "audit": {**_named(evidence), "recipe": "mitigated.yaml"},
        "verdicts": verdict_changes(*about),
        "channels": channels,
        "task": task_change(*about),
        "remains": remaining_risks(channels, request.attribute, request.sites, prepared.model.sites, tokens, models, not_tested),
    }


def _named(evidence: Evidence) -> dict[str, str]:
    return {"name": evidence.run.name, "run_id": evidence.run.id, "plan_digest": evidence.run.plan_digest}


def mitigated_name(name: str) -> str:
    """Name of what was mitigated: a regime or a recipe."""
    return name[: _LONGEST_NAME - len(MITIGATED)] + MITIGATED


def write_recipe(
    folder: Path, prepared: Prepared, regime: Regime, before: list[str], mitigated: list[str], erased: tuple[str, ...]
) -> Path:
    """Write ``mitigated.yaml``: the run's recipe with two regimes of checkpoints that lie beside it, ``before`` and ``mitigated``.

    All else is that of the run, so the audit rows are the same. Paths are rewritten so that it can be run from where it lies; a factory's
    file is copied beside it. ``erased`` are the sites with a map in the mended ones.
    """
    recipe: dict[str, Any] = prepared.recipe.model_dump(mode="json", exclude_none=True)
    recipe["name"] = mitigated_name(prepared.recipe.name)
    recipe.pop("training_size", None)  # nothing is trained
    original: dict[str, Any] = {"name": regime.name, "checkpoints": before}
    if regime.erase:
        original["erase"] = list(regime.erase)
    recipe["regimes"] = [original, {"name": mitigated_name(regime.name), "checkpoints": mitigated, "erase": list(erased)}]
    rewrite_paths(recipe["data"], prepared.base, folder)
    carry_factory(recipe, prepared.recipe.model, prepared.base, folder, RECIPE_FILE)
    text = "# Written by 'proxyaudit mitigate'; audits the models as they were beside the mitigated ones.\n"
    text += dump_yaml(recipe)
    write_file(folder / RECIPE_FILE, text.encode("utf-8", "backslashreplace"))
    return folder / RECIPE_FILE
