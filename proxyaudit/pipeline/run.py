"""The imperative shell: prepare, run the stages, read the facts, estimate, decide, conclude, publish."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from proxyaudit.cache import Cache, cache_folder
from proxyaudit.channels.outputs.learnt import learnt_notes
from proxyaudit.channels.proxies.record import overlap_notes
from proxyaudit.consent import Consent
from proxyaudit.estimates.advice import settled_by_models
from proxyaudit.estimates.channel import all_channels
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.ledger import Drafts, Ledger, decide_ledger
from proxyaudit.estimates.not_tested import standing_notes
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.row_sums import row_parts
from proxyaudit.estimates.scope import Scope, read_scope
from proxyaudit.evidence.pack import EvidencePack, write_plan
from proxyaudit.pipeline.facts import read_facts, signatures_of_run
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.stages import run_stages
from proxyaudit.pipeline.tasks import task_digests
from proxyaudit.pipeline.try_cures import Runner, Trials, try_cures
from proxyaudit.progress import Progress
from proxyaudit.publication import check_out, environment_of, finished, publish
from proxyaudit.threads import one_thread
from proxyaudit.types import Evidence, NotTested
from proxyaudit.unfinished import SHARED
from proxyaudit.workers import Workers


@dataclass(frozen=True)
class RunResult:
    """Where the run lies and what it found; ``reused`` where it had been complete before."""

    folder: Path
    status: str
    evidence: Evidence
    reused: bool


def run_audit(
    recipe_path: Path,
    *,
    overrides: tuple[str, ...] = (),
    out: Path = Path("reports"),
    jobs: int | None = None,
    backend: str = "loky",
    scheduler: str | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    consent: Consent | None = None,
    beside: Callable[[dict[str, Any]], dict[str, Any]] = lambda plan: {},
    cache_root: Path | None = None,
) -> RunResult:
    """Run an audit, or resume one that was interrupted; the run lies in ``<out>/<recipe name>/<run id>``.

    ``overrides`` are ``dotted.key=value`` strings. Results do not depend on the number of ``jobs`` (processes, one for each core if not
    given) nor on the ``backend`` (``loky``, or a cluster, at an address ``scheduler``: see ``Workers``), whose machines share the cache and
    the files of the recipe. ``fresh`` measures again what is done; ``progress`` is called after every task;
    ``consent`` says what may be executed of the code that the recipe names, and is not asked for where it is left out; what ``beside``
    says of the plan stands in the environment; tasks are kept in ``cache_root``, the user's cache if not given. Raises ``InputError``:
    consent is missing, the recipe, its data, ``out`` or the backend cannot be used; nothing has been written then. Raises ``TaskError``:
    the inputs could not be measured.
    """
    started = time.time()
    workers = Workers(joblib.cpu_count() if jobs is None else jobs, backend, scheduler=scheduler)
    check_out(out)
    with one_thread():
        prepared = prepare_file(recipe_path, overrides, consent)
    more = beside(prepared.plan.as_dict())
    folder, cache = out / prepared.recipe.name / prepared.plan.run_id, Cache(cache_folder(cache_root).absolute(), prepared.plan.run_id)
    workers.shared = prepared, cache
    if not fresh and (found := finished(folder)) is not None:
        return RunResult(folder, found.run.status, found, reused=True)
    with cache.hold(folder) as held:
        workers.visible = str(held.name)
        # Whoever held it a moment ago may have made the run.
        if not fresh and (found := finished(folder)) is not None:
            return RunResult(folder, found.run.status, found, reused=True)
        write_plan(folder, prepared.plan.as_dict())
        if fresh:
            cache.forget(SHARED)
            for stage in task_digests(replace(prepared, repetitions=prepared.repetitions.at_most())).values():
                for task in stage:
                    cache.forget(task.kind, task.digest)
        try:
            return _publish(folder, settle(Runner(prepared, {}, cache, workers, progress, fresh, more)), started)
        finally:
            workers.close()
            cache.sweep()


@dataclass(frozen=True)
class Settled:
    """All that a run measured, and what follows from it."""

    run: Runner  # as many repetitions as it came to
    failures: dict[str, list[str]]  # by regime
    facts: Facts
    ledger: Ledger
    scope: Scope
    trials: Trials
    spoilt: int  # kept results that were made anew


def settle(run: Runner, spoilt: int = 0) -> Settled:
    """Do what is not done, go on to the next look where more models could settle something, and try cures."""
    prepared, cache = run.prepared, run.cache
    tasks = task_digests(prepared)
    every = [task for stage in tasks.values() for task in stage]
    kept = {task for task in every if cache.has(task.kind, task.digest)}
    spoilt += sum(cache.stands(task.kind, task.digest) for task in every if task not in kept)
    failures = run_stages(prepared, tasks, kept, run.workers, run.progress)
    with one_thread():
        facts = read_facts(prepared, tasks, cache, failures)
        drafts = Drafts().extend(channel.estimate(facts) for channel in all_channels() if channel.estimate)
        scope = read_scope(prepared.plan.as_dict(), prepared.recipe.published(), {"failures_by_regime": dict(failures)})
        ledger = decide_ledger(drafts, facts.no_absence, scope.roles, prepared.repetitions.looks())
    if repetitions := prepared.repetitions.next_look(settled_by_models(Numbers(ledger.estimates, scope))):
        return settle(replace(run, prepared=replace(prepared, repetitions=repetitions)), spoilt)
    run = replace(run, tasks=tasks)
    with one_thread():
        return Settled(run, failures, facts, ledger, scope, try_cures(run, facts, ledger, scope), spoilt)


def _publish(folder: Path, found: Settled, started: float) -> RunResult:
    """Conclude, and write what readers get."""
    run, ledger, scope, trials = found.run, found.ledger, found.scope, found.trials
    prepared, workers, failures = run.prepared, run.workers, found.failures
    plan, recipe = prepared.plan.as_dict(), prepared.recipe.published()
    with one_thread():
        facts = replace(found.facts, cured=trials.cured)
        for channel in all_channels():
            if channel.follow_up is not None:
                ledger.publish(channel.follow_up(facts, ledger))
        planned = [NotTested(**note) for note in prepared.plan.notes]
        not_tested = [*standing_notes(scope), *planned, *overlap_notes(facts.runs), *learnt_notes(facts, prepared.dataset), *trials.notes]
        evidence = evidence_of(ledger, scope, plan, not_tested, facts)
        signatures = signatures_of_run(prepared, run.tasks, run.cache, evidence) if prepared.recipe.keeps_signatures else {}
    more: dict[str, Any] = {"backend": workers.backend, "failures_by_regime": {regime: list(found) for regime, found in failures.items()}}
    more |= dict(run.beside or {}) | ({"made_anew": found.spoilt} if found.spoilt else {})
    environment = environment_of(started, workers.count, prepared.plan.versions, [f for found in failures.values() for f in found], **more)
    arrays = {f"{e.id}.seed_values": np.array(e.seed_values) for e in evidence.estimates if len(e.seed_values) > 1}
    pack = publish(EvidencePack(evidence, plan, recipe, environment, arrays, row_parts(ledger)), folder, signatures)
    return RunResult(folder, evidence.run.status, pack.evidence, reused=False)
