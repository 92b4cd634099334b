"""Write a cured release: the training rows of a run's regime, altered as a tried cure alters them, and a recipe that audits the result."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from proxyaudit.audits.again import check_asked, prepare_again, rewrite_paths
from proxyaudit.cache import CURE, Cache, Task, cache_folder
from proxyaudit.channels.cures.cases import carriers_of
from proxyaudit.comparison.records import before_cure, record_of_cure
from proxyaudit.consent import NO_CONSENT, Consent
from proxyaudit.data.cures import Cure, cures_of
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.sources import load_source
from proxyaudit.digests import digest_of
from proxyaudit.errors import InputError, TaskError
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import seal_folder
from proxyaudit.evidence.pack import CURE_FILE, EvidencePack, find_run
from proxyaudit.evidence.tiers import named_recipients
from proxyaudit.files import write_file
from proxyaudit.pipeline.cure import altered_rows
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.stages import one_thread, run_task
from proxyaudit.pipeline.tasks import task_digests
from proxyaudit.publication import check_out, write_record, write_restricted
from proxyaudit.recipe.yaml import dump_yaml
from proxyaudit.reporting.training import best_cure, tried_of
from proxyaudit.secret import keyed_hash
from proxyaudit.types import Estimate

RELEASE_FILE, RECIPE_FILE = "release.csv", "cured.yaml"
_LONGEST_NAME = 80
_TABLES_ONLY = ("this version cures tables only", "scrub texts by a regime of the recipe: {name: clean, scrub: [names, pronouns]}")


@dataclass(frozen=True)
class CuredRelease:
    """Where the altered rows and their recipe lie, and what the run promised of them."""

    folder: Path
    document: dict[str, Any]


def write_cure(
    path: Path,
    pack: EvidencePack,
    attribute: str,
    regime: str,
    name: str | None = None,
    *,
    consent: Consent = NO_CONSENT,
    base: Path | None = None,
    out: Path = Path("reports"),
    cache_root: Path | None = None,
) -> CuredRelease:
    """Write ``release.csv``, ``cured.yaml`` and ``cure.json`` into ``<out>/<recipe name>-cured/<id>``; nothing is trained.

    ``path`` is a run folder, or one with a single run below it; ``pack`` is that run, verified. Without a ``name`` the best cure of the run
    is taken: the smallest gap that is left, surely smaller than before, at a cost of at most .01 of AUROC. The rows are those of the first
    repetition.

    Raises:
        InputError: the run tried no such cure, or its data or consent are missing.
        TaskError: the synthetic rows had to be made again, and that failed.
    """
    check_out(out)
    run = find_run(path)
    check_asked(pack, attribute, regime, run)
    tried = cures_tried(pack.evidence.estimates, attribute, regime)
    chosen = choose(pack, tried, name, attribute, regime, run)
    with one_thread():
        prepared = prepare_again(pack, run, base or Path.cwd(), consent, _TABLES_ONLY, given=base is not None)
        cure = _cure(prepared, pack, attribute, regime, chosen)
        cache = Cache(cache_folder(cache_root), pack.evidence.run.id)
        rows = _rows(prepared, regime, cure, cache)
    identity = {"source": pack.plan["digest"], "regime": regime, "cure": [cure.name, attribute, cure.columns]}
    label = f"{prepared.recipe.name[: _LONGEST_NAME - 6]}-cured"
    folder = out / label / digest_of(identity)[:12]
    with cache.hold(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # First, so that 'purge' knows an interrupted folder as ours.
        write_file(folder / RECIPE_FILE, _recipe(prepared, regime, cure, label, folder).encode("utf-8", "backslashreplace"))
        release = {RELEASE_FILE: _as_file(rows, prepared.dataset, cure).encode("utf-8")}
        recipients, digest = named_recipients(pack.recipe), hashlib.sha256(release[RELEASE_FILE]).hexdigest()
        write_restricted(folder, release, recipients)
        written = {"file": RELEASE_FILE, "rows": len(rows) // 20 * 20, "sha256": keyed_hash(digest) if recipients else digest}
        document = _document(pack, (attribute, regime), cure, tried[chosen], written)
        write_file(folder / CURE_FILE, canonical_json(document))
        write_record(folder, record_of_cure(document, folder.name))
        seal_folder(folder)
    return CuredRelease(folder, document)


def _document(
    pack: EvidencePack, about: tuple[str, str], cure: Cure, numbers: Sequence[Estimate], release: dict[str, Any]
) -> dict[str, Any]:
    """``cure.json``: no row, no path of this machine, no time."""
    run, (attribute, regime) = pack.evidence.run, about
    return {
        "cure_version": "1.1",
        "source": {"name": run.name, "run_id": run.id, "plan_digest": run.plan_digest},
        "attribute": attribute,
        "regime": regime,
        "cure": cure.name,
        "words": cure.words(),
        "columns": list(cure.columns),
        "before": before_cure(pack.evidence.estimates, attribute, regime),
        "verdict": _verdict(pack, attribute, regime),
        "promised": {e.measure if e.site is None else f"{e.measure} at {e.site}": _figures(e) for e in numbers},
        "release": release,
        "recipe": RECIPE_FILE,
        "cured_regime": cured_name(regime, cure),
    }


def _verdict(pack: EvidencePack, attribute: str, regime: str) -> str | None:
    return next((f.verdict for f in pack.evidence.findings if (f.attribute, f.regime) == (attribute, regime)), None)


def cures_tried(estimates: tuple[Estimate, ...], attribute: str, regime: str) -> dict[str, list[Estimate]]:
    """The numbers of each cure that a run tried, by its name."""
    found: dict[str, list[Estimate]] = {}
    for e in estimates:
        if (e.channel, e.attribute, e.regime) == ("cure", attribute, regime) and e.subject is not None:
            found.setdefault(e.subject, []).append(e)
    return found


def choose(pack: EvidencePack, tried: Collection[str], name: str | None, attribute: str, regime: str, run: Path) -> str:
    """The cure that was named, or the one that the report calls best; ``InputError`` if it was not tried, or none helps at little cost."""
    if not tried:
        mend = "cures are tried for protected attributes of tables that are not called removed, unless the recipe says 'cures: false'"
        raise InputError(f"the run tried no cure of '{attribute}' after '{regime}'", where=str(run), mend=mend)
    if name is not None:
        if name not in tried:
            raise InputError(f"the run tried no cure '{name[:80]}'", where="--cure", mend=f"one of {', '.join(tried)}")
        return name
    evidence = pack.evidence
    finding = next((f for f in evidence.findings if (f.attribute, f.regime) == (attribute, regime)), None)
    wanted = "expressed", "gap", attribute, regime
    gap = next((e for e in evidence.estimates if (e.channel, e.measure, e.attribute, e.regime) == wanted), None)
    best = best_cure(tried_of(finding, {e.id: e for e in evidence.estimates}, None), gap)
    if best is None:
        mend = f"name one with --cure: {', '.join(tried)}"
        raise InputError("no cure that was tried surely makes the gap smaller and costs at most .01 of AUROC", where=str(run), mend=mend)
    return best.name


def _cure(prepared: Prepared, pack: EvidencePack, attribute: str, regime: str, name: str) -> Cure:
    """The cure of a name, with the columns that the run's own numbers call leading."""
    carriers = carriers_of(prepared.dataset, pack.evidence.estimates, attribute, regime)
    return next(cure for cure in cures_of(attribute, carriers, known=True) if cure.name == name)


def _rows(prepared: Prepared, regime: str, cure: Cure, cache: Cache) -> pd.DataFrame:
    """The altered training rows of the first repetition; synthetic ones from the cache of the run, else made again."""
    tasks = task_digests(prepared)
    trained = next(task for task in tasks["train"] if (task.regime, task.seed) == (regime, 0))
    needed = [task for task in tasks["synthesize"] if (task.kind, task.digest) in trained.needs]
    for task in needed:
        _, error = (None, None) if cache.has(task.kind, task.digest) else run_task(task, prepared, cache)
        if error is not None:
            raise TaskError(f"the synthetic rows of {task.regime} could not be made again: {error}")
    return altered_rows(Task(CURE, regime, 0, "", trained.needs, cure=cure), prepared, cache)


def _as_file(rows: pd.DataFrame, dataset: Dataset, cure: Cure) -> str:
    """The rows as CSV, as a release is read: dates as dates, no column in bands, none that was dropped."""
    kinds = {kind.name: kind for kind in dataset.kinds}
    kept = [name for name in rows.columns if kinds[name].bands is None and not (cure.way == "dropped" and name in cure.columns)]
    written = rows[kept].copy()
    for name in kept:
        if kinds[name].date:
            moments = pd.to_datetime(written[name], unit="D").dt.round("s")
            whole = bool((moments.dropna() == moments.dropna().dt.normalize()).all())
            written[name] = moments.dt.strftime("%Y-%m-%d" if whole else "%Y-%m-%dT%H:%M:%S")
    return str(written.to_csv(index=False))


def _recipe(prepared: Prepared, regime: str, cure: Cure, label: str, folder: Path) -> str:
    """The run's recipe with the cured release as its one regime; what was dropped is excluded from the model too."""
    recipe: dict[str, Any] = prepared.recipe.model_dump(mode="json", exclude_none=True)
    data = recipe["data"]
    if cure.way == "dropped":
        data["exclude"] = [*dict.fromkeys((*load_source(prepared.recipe.data, prepared.base).roles.exclude, *cure.columns))]
        data["proxies"] = [name for name in data.get("proxies", ()) if name not in cure.columns]
    rewrite_paths(data, prepared.base, folder)
    own = {"name": label, "regimes": [{"synthetic": {"name": cured_name(regime, cure), "path": RELEASE_FILE}}]}
    text = f"# Written by 'proxyaudit cure': {regime}, {cure.words()}.\n"
    return text + dump_yaml({**recipe, **own})


def cured_name(regime: str, cure: Cure) -> str:
    """Name of the cured regime."""
    return f"{regime[: _LONGEST_NAME - len(cure.name) - 1]}-{cure.name}"


def _figures(e: Estimate) -> dict[str, Any]:
    return {"value": e.value, "low": e.low, "high": e.high, "models": e.seeds}
