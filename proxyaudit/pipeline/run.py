"""The imperative shell: run the tasks of a plan, resume what is done, write the pack."""

from __future__ import annotations

import datetime
import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import joblib
import numpy as np

from proxyaudit.channels.signatures.make import signatures_of_run
from proxyaudit.consent import Consent
from proxyaudit.data.verbatim_overlap import passage_words
from proxyaudit.errors import InputError, TaskError
from proxyaudit.estimates.channel import all_channels
from proxyaudit.estimates.conclude import evidence_of
from proxyaudit.estimates.facts import Run
from proxyaudit.estimates.ledger import Drafts, decide_ledger
from proxyaudit.estimates.row_sums import row_parts
from proxyaudit.estimates.scope import read_scope
from proxyaudit.evidence.manifest import is_complete
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_pack, write_plan
from proxyaudit.pipeline.cache import Cache
from proxyaudit.pipeline.executed_code import code_of
from proxyaudit.pipeline.facts import read_facts
from proxyaudit.pipeline.measurements import SHARED
from proxyaudit.pipeline.plan import Prepared, odds_of_absence, prepare_file
from proxyaudit.pipeline.tasks import Outcome, Task, one_thread, run_task, task_digests
from proxyaudit.recipe.recipe import load_recipe
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.types import Evidence, NotTested

CACHE_FOLDER = ".proxyaudit-cache"
STAGES = ("synthesize", "train", "quantise", "measure")

_NOT_TESTED = (
    (
        "use through directions that no linear subspace holds, or at sites outside the verdict sites",
        "subspaces are linear, fitted (LEACE) or learned (DAS), and swapped at the verdict sites only",
    ),
)


@dataclass(frozen=True)
class ProgressEvent:
    """One finished task or started stage."""

    stage: str
    done: int
    total: int
    detail: str


@dataclass(frozen=True)
class RunResult:
    """Where the run lies and what it found; ``reused`` where it had been complete before."""

    folder: Path
    status: str
    evidence: Evidence
    reused: bool


def plan_audit(recipe_path: Path, overrides: tuple[str, ...] = (), *, consent: Consent | None = None) -> dict[str, Any]:
    """Expand a recipe into its plan without measuring or writing anything.

    Its ``absence`` says how probable it is that absence could be proved.

    Args:
        recipe_path: The recipe file.
        overrides: ``dotted.key=value`` strings.
        consent: What may be executed of the code that the recipe names; not asked for where it is left out.

    Raises:
        InputError: the recipe or a file it names cannot be used, or consent is missing.
    """
    with one_thread():
        _ask(consent, recipe_path, overrides)
        prepared = prepare_file(Path(recipe_path), overrides)
        return {**prepared.plan, "absence": odds_of_absence(prepared)}


def run_audit(
    recipe_path: Path,
    *,
    overrides: tuple[str, ...] = (),
    out: Path = Path("reports"),
    jobs: int | None = None,
    backend: str = "loky",
    fresh: bool = False,
    progress: Callable[[ProgressEvent], None] | None = None,
    consent: Consent | None = None,
) -> RunResult:
    """Run an audit, or resume one that was interrupted.

    Args:
        recipe_path: The recipe file.
        overrides: ``dotted.key=value`` strings.
        out: Folder of all runs; this one lies in ``<out>/<recipe name>/<run id>``.
        jobs: Worker processes; the number of cores if not given. Results do not depend on it.
        backend: ``loky`` or ``dask``.
        fresh: Forget what is done and measure again.
        progress: Called after every task.
        consent: What may be executed of the code that the recipe names; not asked for where it is left out.

    Raises:
        InputError: consent is missing, the recipe, its data, ``out`` or the backend cannot be used; nothing has been written then.
        TaskError: the inputs could not be measured.
    """
    started = time.time()
    if backend not in ("loky", "dask"):
        raise InputError(f"unknown backend '{backend}'", where="--backend", mend="use loky or dask")
    if jobs is not None and jobs < 1:
        raise InputError(f"{jobs} workers cannot work", where="--jobs", mend="give 1 or more")
    check_out(out)
    with one_thread():
        _ask(consent, recipe_path, overrides)
        prepared = prepare_file(Path(recipe_path), overrides)
    folder = out / prepared.recipe.name / prepared.plan["run_id"]
    cache = Cache(out / CACHE_FOLDER)
    tasks = task_digests(prepared)
    if fresh:
        for task in (task for stage in STAGES for task in tasks[stage]):
            cache.forget(task.kind, task.digest)
        cache.forget_all(SHARED)
    elif is_complete(folder):
        evidence = read_pack(folder).evidence
        if evidence.run.status == "complete":
            return RunResult(folder, evidence.run.status, evidence, reused=True)
    write_plan(folder, prepared.plan)
    cache.sweep()
    workers = jobs or joblib.cpu_count()
    failures = _run_stages(prepared, tasks, cache, workers, backend, progress)
    with one_thread():
        evidence, arrays = _assemble(prepared, tasks, cache, failures)
        signatures = signatures_of_run(prepared, tasks, cache, evidence) if prepared.recipe.signatures else {}
    environment = {
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "jobs": workers,
        "backend": backend,
        "platform": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": prepared.plan["versions"],
        "failures": [failure for found in failures.values() for failure in found],
        "failures_by_regime": failures,
    }
    recipe = prepared.recipe.model_dump(mode="json", exclude_none=True)
    pack = EvidencePack(evidence, prepared.plan, recipe, environment, arrays)
    write_pack(pack, folder, reports={"report.html": render_html(pack), "report.md": render_markdown(pack)}, more=signatures)
    return RunResult(folder, evidence.run.status, evidence, reused=False)


def _ask(consent: Consent | None, recipe_path: Path, overrides: tuple[str, ...]) -> None:
    if consent is not None:
        files = code_of(load_recipe(Path(recipe_path), overrides), Path(recipe_path).resolve().parent)
        consent.require(files, delivered=False)


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


def _run_stages(
    prepared: Prepared,
    tasks: dict[str, list[Task]],
    cache: Cache,
    workers: int,
    backend: str,
    progress: Callable[[ProgressEvent], None] | None,
) -> dict[str, list[str]]:
    """Run every unfinished task, stage by stage; returns the failures by regime."""
    failures: dict[str, list[str]] = {}
    failed: set[tuple[str, int]] = set()
    total = sum(len(tasks[stage]) for stage in STAGES)
    done = 0
    for stage in STAGES:
        todo = []
        for task in tasks[stage]:
            if cache.has(task.kind, task.digest):
                done += 1
                _tell(progress, stage, done, total, task, "already done")
            elif (task.regime, task.seed) in failed:
                done += 1
            else:
                todo.append(task)
        for outcome in _parallel(todo, prepared, cache, workers, backend):
            done += 1
            if outcome.error is not None:
                failed.add((outcome.task.regime, outcome.task.seed))
                failures.setdefault(outcome.task.regime, []).append(
                    f"{stage} {outcome.task.regime}, repetition {outcome.task.seed}: {outcome.error}"
                )
            _tell(progress, stage, done, total, outcome.task, "failed" if outcome.error else "done")
        if stage == "synthesize":
            for regime in prepared.regimes:
                for seed in range(prepared.seeds_of(regime)):
                    if regime.of is not None and (regime.of, seed) in failed:
                        failed.add((regime.name, seed))
                        failures.setdefault(regime.name, []).append(f"{regime.name}, repetition {seed}: its source {regime.of} failed")
        if "inputs" in failures:
            raise TaskError(f"the inputs could not be measured, so nothing else can be: {failures['inputs'][0]}")
    return {regime: sorted(found) for regime, found in sorted(failures.items())}


def _tell(progress: Callable[[ProgressEvent], None] | None, stage: str, done: int, total: int, task: Task, word: str) -> None:
    if progress is not None:
        where = task.regime if task.kind == "inputs" else f"{task.regime}, repetition {task.seed + 1}"
        progress(ProgressEvent(stage, done, total, f"{where}: {word}"))


def _parallel(todo: list[Task], prepared: Prepared, cache: Cache, workers: int, backend: str) -> Iterator[Outcome]:
    arguments = (prepared.recipe.model_dump_json(), str(prepared.base), prepared.plan["digest"], str(cache.root))
    if not todo:
        return
    if workers == 1 and backend == "loky":
        yield from (run_task(task, *arguments) for task in todo)
        return
    if backend == "dask":
        yield from _dask(todo, arguments, workers)
        return
    calls = (joblib.delayed(run_task)(task, *arguments) for task in todo)
    with warnings.catch_warnings():
        # loky replaces a worker whose memory has grown; no task is lost by it, and a reader can do nothing about it.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
        yield from joblib.Parallel(n_jobs=min(workers, len(todo)), backend="loky", return_as="generator_unordered", batch_size=1)(calls)


def _dask(todo: list[Task], arguments: tuple[str, str, str, str], workers: int) -> list[Outcome]:
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError:
        raise InputError("dask is not installed", where="--backend dask", mend="pip install 'proxyaudit[dask]'") from None
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        return list(joblib.Parallel(n_jobs=workers, batch_size=1)(joblib.delayed(run_task)(task, *arguments) for task in todo))


def _assemble(
    prepared: Prepared, tasks: dict[str, list[Task]], cache: Cache, failures: dict[str, list[str]]
) -> tuple[Evidence, dict[str, Any]]:
    facts = read_facts(prepared, tasks, cache, failures)
    channels = all_channels()
    ledger = decide_ledger(Drafts().extend(channel.estimate(facts) for channel in channels if channel.estimate), facts.no_absence)
    for channel in channels:
        if channel.follow_up is not None:
            ledger.publish(channel.follow_up(facts, ledger))
    scope = read_scope(prepared.plan, {}, {"failures_by_regime": failures})
    not_tested = [NotTested(what=what, why=why) for what, why in _NOT_TESTED] + [NotTested(**note) for note in prepared.plan["notes"]]
    not_tested += _passage_notes(facts.runs)
    status: Literal["complete", "partial"] = "partial" if failures else "complete"
    evidence = evidence_of(ledger, scope, prepared.plan, not_tested, status=status, facts=facts)
    arrays = {f"{e.id}.seed_values": np.array(e.seed_values) for e in evidence.estimates if len(e.seed_values) > 1}
    return evidence, arrays | row_parts(ledger)


def _passage_notes(runs: Sequence[Run]) -> list[NotTested]:
    """How much of real texts stands word for word in those of a synthetic regime: of its repetitions the one that repeats most."""
    notes = []
    for run in runs:
        found = [m.numbers["passages"] for m in run.measured if "passages" in m.numbers]
        if found:
            worst = max(found, key=lambda one: int(one["copied"]))
            notes.append(NotTested(what=f"{run.regime} apart from passages of real texts", why=passage_words(**worst)))
    return notes
