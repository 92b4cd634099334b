"""The workers: every unfinished task of a run, stage by stage, in one process or in many."""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name

import joblib
import torch
from threadpoolctl import threadpool_limits

from proxyaudit.errors import InputError, TaskError, safe_line
from proxyaudit.pipeline.cache import CURE, ENCODE, INPUTS, MEASURE, SYNTHESIZE, TRAIN, Cache, Task
from proxyaudit.pipeline.plan import prepared_again
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.tasks import STAGES

_RUNS = {
    INPUTS: "proxyaudit.pipeline.measure:run_inputs",
    SYNTHESIZE: "proxyaudit.pipeline.synthesize:run",
    ENCODE: "proxyaudit.pipeline.encode:run",
    TRAIN: "proxyaudit.pipeline.train:run",
    MEASURE: "proxyaudit.pipeline.measure:run",
    CURE: "proxyaudit.pipeline.cure:run",
}


@dataclass(frozen=True)
class ProgressEvent:
    """One finished task."""

    stage: str
    done: int
    total: int
    detail: str


Progress = Callable[[ProgressEvent], None]
Outcome = tuple[Task, str | None]  # a task, and why it failed


@dataclass(frozen=True)
class Workers:
    """Who does the tasks: so many processes, which results do not depend on, by ``loky`` or ``dask``."""

    count: int
    backend: str = "loky"

    def __post_init__(self) -> None:
        if self.backend not in ("loky", "dask"):
            raise InputError(f"unknown backend '{self.backend}'", where="--backend", mend="use loky or dask")
        if self.count < 1:
            raise InputError(f"{self.count} workers cannot work", where="--jobs", mend="give 1 or more")


def run_task(task: Task, recipe_json: str, base: str, plan_digest: str, cache_root: str) -> Outcome:
    """Run one task in this process; failures are returned, never raised, so that the other tasks go on."""
    cache = Cache(Path(cache_root))
    try:
        with one_thread():
            prepared = prepared_again(recipe_json, base, plan_digest)
            run = resolve_name(_RUNS[task.kind])
            cache.commit(task.kind, task.digest, lambda folder: run(task, prepared, cache, folder))
    except Exception as error:
        return task, safe_line(error)[:500]
    return task, None


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


def run_stages(
    prepared: Prepared, tasks: Mapping[str, Sequence[Task]], cache: Cache, workers: Workers, progress: Progress | None = None
) -> dict[str, list[str]]:
    """Run every unfinished task, stage by stage; returns the failures by regime. Raises ``TaskError``: the inputs could not be measured."""
    board = _Board(sum(len(tasks[stage]) for stage in STAGES), progress)
    for stage in STAGES:
        todo = []
        for task in tasks[stage]:
            if cache.has(task.kind, task.digest):
                board.tell(stage, task, "already done")
            elif (task.regime, task.seed) in board.failed:
                board.done += 1
            else:
                todo.append(task)
        for task, error in run_parallel(todo, prepared, cache, workers):
            if error is not None:
                board.fail(task.regime, task.seed, f"{stage} {task.regime}, repetition {task.seed}: {error}")
            board.tell(stage, task, "failed" if error else "done")
        for regime in prepared.regimes if stage == "synthesize" else ():
            for seed in (seed for of, seed in sorted(board.failed) if of == regime.of):
                board.fail(regime.name, seed, f"{regime.name}, repetition {seed}: its source {regime.of} failed")
        if INPUTS in board.failures:
            raise TaskError(f"the inputs could not be measured, so nothing else can be: {board.failures[INPUTS][0]}")
    return {regime: sorted(found) for regime, found in sorted(board.failures.items())}


@dataclass
class _Board:
    """How far a run is, and what failed."""

    total: int
    progress: Progress | None
    done: int = 0
    failed: set[tuple[str, int]] = field(default_factory=set)
    failures: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def fail(self, regime: str, seed: int, line: str) -> None:
        self.failed.add((regime, seed))
        self.failures[regime].append(line)

    def tell(self, stage: str, task: Task, word: str) -> None:
        self.done += 1
        if self.progress is not None:
            where = task.regime if task.kind == INPUTS else f"{task.regime}, repetition {task.seed + 1}"
            self.progress(ProgressEvent(stage, self.done, self.total, f"{where}: {word}"))


def arguments(prepared: Prepared, cache: Cache) -> tuple[str, str, str, str]:
    """What :func:`run_task` takes beside the task."""
    return prepared.recipe.model_dump_json(), str(prepared.base), prepared.plan.digest, str(cache.root)


def run_parallel(todo: list[Task], prepared: Prepared, cache: Cache, workers: Workers) -> Iterator[Outcome]:
    """Run tasks, in any order, and tell each as it ends."""
    shared = arguments(prepared, cache)
    calls = [joblib.delayed(run_task)(task, *shared) for task in todo]
    if workers.backend == "dask" and todo:
        yield from _dask(calls, workers.count)
    elif workers.count == 1:
        yield from (run_task(task, *shared) for task in todo)
    elif todo:
        with warnings.catch_warnings():
            # loky replaces a worker whose memory has grown; no task is lost by it, and a reader can do nothing about it.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
            processes = min(workers.count, len(todo))
            yield from joblib.Parallel(n_jobs=processes, backend="loky", return_as="generator_unordered", batch_size=1)(calls)


def _dask(calls: list[object], workers: int) -> list[Outcome]:
    try:
        from dask.distributed import Client, LocalCluster
    except ImportError:
        raise InputError("dask is not installed", where="--backend dask", mend="pip install '.[dask]'") from None
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        found: list[Outcome] = joblib.Parallel(n_jobs=workers, batch_size=1)(calls)
        return found
