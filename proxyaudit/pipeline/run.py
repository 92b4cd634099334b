"""The imperative shell: prepare, run the stages, read the facts, estimate, decide, conclude, publish."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np

from proxyaudit.cache import CACHE_FOLDER, CURE, Cache
from proxyaudit.channels.proxies.record import overlap_notes
from proxyaudit.consent import Consent
from proxyaudit.estimates.channel import all_channels
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.ledger import Drafts, decide_ledger
from proxyaudit.estimates.not_tested import standing_notes
from proxyaudit.estimates.row_sums import row_parts
from proxyaudit.estimates.scope import read_scope
from proxyaudit.evidence.manifest import is_complete
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_plan
from proxyaudit.pipeline.facts import read_facts, signatures_of_run
from proxyaudit.pipeline.measure import SHARED
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.stages import Progress, Workers, one_thread, run_stages
from proxyaudit.pipeline.tasks import task_digests
from proxyaudit.pipeline.try_cures import try_cures
from proxyaudit.publication import check_out, environment_of, publish
from proxyaudit.types import Evidence, NotTested


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
    held = cache.hold(folder)
    write_plan(folder, prepared.plan.as_dict())
    cache.sweep()
    failures = run_stages(prepared, tasks, cache, workers, progress)
    with one_thread():
        facts = read_facts(prepared, tasks, cache, failures)
        drafts = Drafts().extend(channel.estimate(facts) for channel in all_channels() if channel.estimate)
        plan = prepared.plan.as_dict()
        recipe = prepared.recipe.published()
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
