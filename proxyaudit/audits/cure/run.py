"""Write a cured release: the training rows of a run's regime, altered as a tried cure alters them, and a recipe that audits the result."""

import hashlib
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.audits.again import carry_factory, check_asked, prepare_again, rewrite_model, rewrite_paths
from proxyaudit.cache import CURE, SYNTHESIZE, Cache, Task, cache_folder
from proxyaudit.channels.cures.cases import carriers_of
from proxyaudit.comparison.records import before_cure, record_of_cure
from proxyaudit.consent import NO_CONSENT, Consent
from proxyaudit.data.columns import Column
from proxyaudit.data.cures import ERASED, Cure, cures_of, real_share
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.sources import load_source
from proxyaudit.digests import digest_of
from proxyaudit.errors import InputError, TaskError
from proxyaudit.estimates.scope import kinds_of
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import seal_folder
from proxyaudit.evidence.pack import CURE_FILE, EvidencePack, find_run
from proxyaudit.evidence.tiers import named_recipients
from proxyaudit.files import write_file
from proxyaudit.pipeline.cure import altered_rows
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.stages import run_task
from proxyaudit.pipeline.tasks import task_digests
from proxyaudit.publication import check_out, write_record, write_restricted
from proxyaudit.recipe.yaml import dump_yaml
from proxyaudit.reporting.training import best_cure, tried_of
from proxyaudit.secret import keyed_hash
from proxyaudit.threads import one_thread
from proxyaudit.types import Estimate

RELEASE_FILE, RECIPE_FILE = "release.csv", "cured.yaml"
_LONGEST_NAME = 80


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
    is taken: of those that surely help and cost at most .01 (AUROC or R²), the one that leaves the smallest gap. The rows are those of the
    first repetition.

    Raises:
        InputError: the run tried no such cure, or one that alters no rows; its data or consent are missing.
        TaskError: the synthetic rows had to be made again, and that failed.
    """
    check_out(out)
    run = find_run(path)
    check_asked(pack, attribute, regime, run)
    tried = cures_tried(pack.evidence.estimates, attribute, regime)
    chosen = choose(pack, tried, name, attribute, regime, run)
    with one_thread():
        prepared = prepare_again(pack, run, base or Path.cwd(), consent, given=base is not None)
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
        "cure_version": "1.2",
        "source": {"name": run.name, "run_id": run.id, "plan_digest": run.plan_digest},
        "attribute": attribute,
        "regime": regime,
        "cure": cure.name,
        "words": cure.words(),
        "columns": list(cure.columns),
        "holds_real_rows": holds_real_rows(pack, regime, cure),
        "before": before_cure(pack.evidence.estimates, attribute, regime),
        "verdict": _verdict(pack, attribute, regime),
        "promised": {e.measure if e.site is None else f"{e.measure} at {e.site}": _figures(e) for e in numbers},
        "release": release,
        "recipe": RECIPE_FILE,
        "cured_regime": cured_name(regime, cure),
    }


def holds_real_rows(pack: EvidencePack, regime: str, cure: Cure) -> bool:
    """Whether some of the altered rows are those of real people, their columns altered or not."""
    return real_share(kinds_of(pack.plan), regime, cure.name) != "none"


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
        why = "unless the recipe has 'cures: false' or 'effort: decide'"
        mend = f"cures are tried for protected attributes of tables that are not called removed, {why}"
        raise InputError(f"the run tried no cure of '{attribute}' after '{regime}'", where=str(run), mend=mend)
    if name is not None:
        if name not in tried:
            raise InputError(f"the run tried no cure '{name[:100]}'", where="--cure", mend=f"one of {', '.join(tried)}")
        return _of_rows(name, attribute, regime, run, "--cure", tried)
    evidence = pack.evidence
    finding = next((f for f in evidence.findings if (f.attribute, f.regime) == (attribute, regime)), None)
    wanted = "expressed", "gap", attribute, regime
    gap = next((e for e in evidence.estimates if (e.channel, e.measure, e.attribute, e.regime) == wanted), None)
    best = best_cure(tried_of(finding, {e.id: e for e in evidence.estimates}, None), gap)
    if best is None:
        mend = f"name one with --cure: {', '.join(tried)}"
        raise InputError(
            "no cure that was tried surely makes the gap smaller and costs at most .01 of the task's score", where=str(run), mend=mend
        )
    return _of_rows(best.name, attribute, regime, run, str(run), tried)


def _of_rows(name: str, attribute: str, regime: str, run: Path, where: str, tried: Collection[str]) -> str:
    """The name of a cure that alters rows; ``InputError`` for one that alters the model."""
    if name != ERASED:
        return name
    command = shlex.join(["proxyaudit", "mitigate", str(run), "--attribute", attribute, "--regime", regime])
    others = ", ".join(one for one in tried if one != ERASED)
    mend = f"'{command}' makes it" + (f"; --cure writes one of {others}" if others else "")
    raise InputError(
        f"the cure '{ERASED}' puts an eraser into the model and alters no rows: there is no release to write", where=where, mend=mend
    )


def _cure(prepared: Prepared, pack: EvidencePack, attribute: str, regime: str, name: str) -> Cure:
    """The cure of a name, with the columns that the run's own numbers call leading, or the kind of training that the name tells."""
    carriers = carriers_of(prepared.dataset, pack.evidence.estimates, attribute, regime)
    sources = (one.name for one in prepared.regimes if Cure("mixed", attribute, source=one.name).name == name)
    found = cures_of(attribute, carriers, known=True, source=next(sources, ""), text=prepared.dataset.text)
    return next(cure for cure in found if cure.name == name)


def _rows(prepared: Prepared, regime: str, cure: Cure, cache: Cache) -> pd.DataFrame:
    """The altered training rows of the first repetition; synthetic ones from the cache of the run, else made again."""
    tasks = task_digests(prepared)
    needs = {task.regime: task.needs for task in tasks["train"] if task.seed == 0}
    beside = needs.get(cure.source, ())
    needed = [task for task in tasks["synthesize"] if (task.kind, task.digest) in {*needs[regime], *beside} and task.kind == SYNTHESIZE]
    for task in needed:
        _, error = (None, None) if cache.has(task.kind, task.digest) else run_task(task, prepared, cache)
        if error is not None:
            raise TaskError(f"the synthetic rows of {task.regime} could not be made again: {error}")
    return altered_rows(Task(CURE, regime, 0, "", needs[regime], cure=cure, beside=beside), cure, prepared, cache)


def _as_file(rows: pd.DataFrame, dataset: Dataset, cure: Cure) -> str:
    """The rows as CSV, as a release is read: dates as dates, no column in bands, none that was dropped."""
    kinds = {kind.name: kind for kind in dataset.kinds}
    kept = [name for name in rows.columns if kinds[name].bands is None and not (cure.way == "dropped" and name in cure.columns)]
    written = rows[kept].copy()
    for name in kept:
        if kinds[name].date:
            written[name] = _moments(written[name])
    return str(written.to_csv(index=False))


def _moments(days: Column) -> Column:
    """Days since 1970 as ISO dates, with times to the second where they are not all midnights; years after 2262 are dates, too."""
    known = days.notna().to_numpy()
    seconds = np.rint(days[known].to_numpy(dtype=np.float64) * 86_400).astype("datetime64[s]")
    whole = bool((seconds == seconds.astype("datetime64[D]")).all())
    text = pd.Series(None, index=days.index, name=days.name, dtype=object)
    text[known] = np.datetime_as_string(seconds, unit="D" if whole else "s")
    return text


def _recipe(prepared: Prepared, regime: str, cure: Cure, label: str, folder: Path) -> str:
    """The run's recipe with the cured release as its one regime; what was dropped is excluded from the model too."""
    recipe: dict[str, Any] = prepared.recipe.model_dump(mode="json", exclude_none=True)
    data = recipe["data"]
    if cure.way == "dropped":
        data["exclude"] = [*dict.fromkeys((*load_source(prepared.recipe.data, prepared.base).roles.exclude, *cure.columns))]
        data["proxies"] = [name for name in data.get("proxies", ()) if name not in cure.columns]
    rewrite_paths(data, prepared.base, folder)
    rewrite_model(recipe["model"], prepared.recipe.model, prepared.base, folder)
    carry_factory(recipe, prepared.recipe.model, prepared.base, folder, RECIPE_FILE)
    own = {"name": label, "regimes": [{"synthetic": {"name": cured_name(regime, cure), "path": RELEASE_FILE}}]}
    text = f"# Written by 'proxyaudit cure': {regime}, {cure.words()}.\n"
    return text + dump_yaml({**recipe, **own})


def cured_name(regime: str, cure: Cure) -> str:
    """Name of the cured regime, short enough for a recipe however long the names are that it is made of."""
    name = cure.name[: _LONGEST_NAME // 2]
    return f"{regime[: _LONGEST_NAME - len(name) - 1]}-{name}"


def _figures(e: Estimate) -> dict[str, Any]:
    return {"value": e.value, "low": e.low, "high": e.high, "models": e.seeds}
