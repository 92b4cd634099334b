"""The imperative shell: prepare, run the stages, read the facts, estimate, decide, conclude, publish."""

import datetime
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import joblib
import numpy as np

from proxyaudit.channels.proxies.record import overlap_notes
from proxyaudit.consent import Consent
from proxyaudit.digests import code_digest, digest_of
from proxyaudit.errors import InputError
from proxyaudit.estimates.channel import all_channels
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.ledger import Drafts, decide_ledger
from proxyaudit.estimates.not_tested import standing_notes
from proxyaudit.estimates.row_sums import row_parts
from proxyaudit.estimates.scope import read_scope
from proxyaudit.evidence.manifest import is_complete
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_pack, write_plan
from proxyaudit.files import hold
from proxyaudit.pipeline.cache import CACHE_FOLDER, CURE, Cache
from proxyaudit.pipeline.facts import read_facts, signatures_of_run
from proxyaudit.pipeline.measure import SHARED
from proxyaudit.pipeline.odds import verdict_odds
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.stages import Progress, Workers, one_thread, run_stages
from proxyaudit.pipeline.tasks import task_digests
from proxyaudit.pipeline.try_cures import try_cures
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.stats.intervals import LEVEL
from proxyaudit.types import SCHEMA_VERSION, Evidence, NotTested


@dataclass(frozen=True)
class RunResult:
    """Where the run lies and what it found; ``reused`` where it had been complete before."""

    folder: Path
    status: str
    evidence: Evidence
    reused: bool


def plan_audit(recipe_path: Path, overrides: tuple[str, ...] = (), *, consent: Consent | None = None) -> dict[str, Any]:
    """A recipe's plan and the ``odds`` of each verdict; measures and writes nothing, takes and raises what :func:`run_audit` does."""
    with one_thread():
        prepared = prepare_file(recipe_path, overrides, consent)
        return {**prepared.plan.as_dict(), "odds": verdict_odds(prepared)}


def run_audit(
    recipe_path: Path,
    *,
    overrides: tuple[str, ...] = (),
    out: Path = Path("reports"),
    jobs: int | None = None,
    backend: str = "loky",
    fresh: bool = False,
    progress: Progress | None = None,
    consent: Consent | None = None,
) -> RunResult:
    """Run an audit, or resume one that was interrupted; the run lies in ``<out>/<recipe name>/<run id>``.

    ``overrides`` are ``dotted.key=value`` strings. Results do not depend on the number of ``jobs`` (processes, one for each core if not
    given) nor on the ``backend`` (``loky`` or ``dask``). ``fresh`` measures again what is done; ``progress`` is called after every task;
    ``consent`` says what may be executed of the code that the recipe names, and is not asked for where it is left out. Raises
    ``InputError``: consent is missing, the recipe, its data, ``out`` or the backend cannot be used; nothing has been written then. Raises
    ``TaskError``: the inputs could not be measured.
    """
    started = time.time()
    workers = Workers(joblib.cpu_count() if jobs is None else jobs, backend)
    check_out(out)
    with one_thread():
        prepared = prepare_file(recipe_path, overrides, consent)
    folder, cache, tasks = out / prepared.recipe.name / prepared.plan.run_id, Cache(out / CACHE_FOLDER), task_digests(prepared)
    if fresh:
        for kind, digest in ((SHARED, ""), (CURE, ""), *((task.kind, task.digest) for stage in tasks.values() for task in stage)):
            cache.forget(kind, digest)
    elif is_complete(folder):
        evidence = read_pack(folder).evidence
        if evidence.run.status == "complete":
            return RunResult(folder, evidence.run.status, evidence, reused=True)
    held = _hold(cache, folder)
    write_plan(folder, prepared.plan.as_dict())
    cache.sweep()
    failures = run_stages(prepared, tasks, cache, workers, progress)
    with one_thread():
        facts = read_facts(prepared, tasks, cache, failures)
        drafts = Drafts().extend(channel.estimate(facts) for channel in all_channels() if channel.estimate)
        plan = prepared.plan.as_dict()
        recipe = prepared.recipe.model_dump(mode="json", exclude_none=True)
        scope = read_scope(plan, recipe, {"failures_by_regime": dict(failures)})
        ledger = decide_ledger(drafts, facts.no_absence, scope.roles)
        trials = try_cures(prepared, tasks, cache, workers, facts, ledger, scope, progress)
        facts = replace(facts, cured=trials.cured)
        for channel in all_channels():
            if channel.follow_up is not None:
                ledger.publish(channel.follow_up(facts, ledger))
        planned = [NotTested(**note) for note in prepared.plan.notes]
        not_tested = [*standing_notes(scope), *planned, *overlap_notes(facts.runs), *trials.notes]
        evidence = evidence_of(ledger, scope, plan, not_tested, facts)
        signatures = signatures_of_run(prepared, tasks, cache, evidence) if prepared.recipe.signatures else {}
    more = {"backend": workers.backend, "failures_by_regime": {regime: list(found) for regime, found in failures.items()}}
    environment = environment_of(started, workers.count, prepared.plan.versions, [f for found in failures.values() for f in found], **more)
    arrays = {f"{e.id}.seed_values": np.array(e.seed_values) for e in evidence.estimates if len(e.seed_values) > 1} | row_parts(ledger)
    publish(EvidencePack(evidence, prepared.plan.as_dict(), recipe, environment, arrays), folder, signatures)
    held.close()
    return RunResult(folder, evidence.run.status, evidence, reused=False)


def _hold(cache: Cache, folder: Path) -> IO[bytes]:
    """The lock of a run; ``InputError`` where another process is making it."""
    try:
        return hold(cache.root / "locks" / folder.name)
    except BlockingIOError:
        mend = "wait until it has ended and run the same command again: it finds the finished run"
        raise InputError("another process is making this very run", where=str(folder), mend=mend) from None


def run_once(out: Path, plan: dict[str, Any], make: Callable[[], EvidencePack]) -> tuple[Path, EvidencePack, bool]:
    """The run directory of a plan, its pack, and whether it was there already; else the pack is made and written."""
    folder = out / plan["name"] / plan["run_id"]
    if is_complete(folder):
        return folder, read_pack(folder), True
    write_plan(folder, plan)
    pack = make()
    publish(pack, folder)
    return folder, pack, False


def plan_without_training(name: str, regimes: Iterable[str], kind: str, recipe: dict[str, Any], **own: Any) -> dict[str, Any]:
    """Plan, with its digest, of an audit whose regimes, all of one kind, are given; ``own`` is what else is fixed beforehand."""
    unknown = dict.fromkeys(("of", "ratio", "sees_protected", "training_rows"))
    listed = [{"name": regime, "kind": kind, **unknown} for regime in regimes]
    plan = {"name": name, "regimes": listed, "level": LEVEL, "schema_version": SCHEMA_VERSION, **own}
    digest = digest_of({"plan": plan, "recipe": recipe, "code": code_digest()})
    return {"digest": digest, "run_id": digest[:12], "code": code_digest(), **plan}


def check_out(out: Path) -> None:
    """Refuse, before anything is computed, a folder that cannot be written."""
    try:
        there = next(path for path in (out, *out.absolute().parents) if path.exists())
    except OSError as error:
        raise InputError(f"the folder cannot be used ({error.strerror})", where=f"--out {out}"[:200], mend="name another folder") from None
    if not there.is_dir():
        raise InputError(f"'{there}' is a file, not a folder", where=f"--out {out}", mend="name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"'{there}' may not be written", where=f"--out {out}", mend="name another folder, or change its permissions")


def environment_of(started: float, jobs: int, versions: dict[str, str], failures: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """When, for how long and on what an audit ran."""
    return {
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "jobs": jobs,
        "platform": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": versions,
        "failures": list(failures),
        **more,
    }


def publish(pack: EvidencePack, folder: Path, signatures: Mapping[str, bytes] | None = None) -> None:
    """Write a run folder with both reports, and signatures where there are any."""
    write_pack(pack, folder, reports={"report.html": render_html(pack), "report.md": render_markdown(pack)}, more=signatures)
