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

from proxyaudit.cache import CURE, ENCODE, INPUTS, MEASURE, SYNTHESIZE, TRAIN, Cache, Task
from proxyaudit.errors import InputError, TaskError, safe_line
from proxyaudit.pipeline.cost import task_seconds
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
    """What is done of a command's work."""

    stage: str
    done: float  # predicted seconds of the finished tasks, or steps where all of them are of one size
    total: float
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
    kept = {task for stage in STAGES for task in tasks[stage] if cache.has(task.kind, task.digest)}
    seconds = {task: task_seconds(prepared, task) / workers.count for stage in STAGES for task in tasks[stage] if task not in kept}
    board = _Board(seconds, progress)
    for stage in STAGES:
        todo = [task for task in tasks[stage] if task not in kept and (task.regime, task.seed) not in board.failed]
        board.begin(stage, tasks[stage], todo)
        for task, error in _in_turn(todo, prepared, cache, workers):
            if error is not None and task.kind == SYNTHESIZE:
                board.fail_table(prepared, task, error)
            elif error is not None:
                board.fail(task.regime, task.seed, f"{stage} {task.regime}, repetition {task.seed}: {error}")
            board.tell(stage, task, "failed" if error else "done")
        if INPUTS in board.failures:
            raise TaskError(f"the inputs could not be measured, so nothing else can be: {board.failures[INPUTS][0]}")
    return {regime: sorted(found) for regime, found in sorted(board.failures.items())}


@dataclass
class _Board:
    """How far a run is, and what failed."""

    seconds: Mapping[Task, float]  # predicted, of each task that is not done already, on all workers
    progress: Progress | None
    done: float = 0.0
    failed: set[tuple[str, int]] = field(default_factory=set)
    failures: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def fail(self, regime: str, seed: int, line: str) -> None:
        self.failed.add((regime, seed))
        self.failures[regime].append(line)

    def fail_table(self, prepared: Prepared, task: Task, error: str) -> None:
        """Fail what is trained on a table that could not be made."""
        for regime, seed in prepared.repetitions.resting_on(task.regime, task.seed):
            own = f"synthesize {regime}, repetition {seed}: {error}"
            self.fail(regime, seed, own if regime == task.regime else f"{regime}, repetition {seed}: its source {task.regime} failed")

    def begin(self, stage: str, tasks: Sequence[Task], todo: Sequence[Task]) -> None:
        """Say what is to be done; what was done before counts for nothing, and what a failure has made impossible as done."""
        self.done += sum(self.seconds[task] for task in set(tasks) - set(todo) if task in self.seconds)
        if tasks:
            self._say(stage, f"{len(todo)} of {len(tasks)} tasks to do")

    def tell(self, stage: str, task: Task, word: str) -> None:
        self.done += self.seconds[task]
        where = task.regime if task.kind == INPUTS else f"{task.regime}, repetition {task.seed + 1}"
        self._say(stage, f"{where}: {word}")

    def _say(self, stage: str, detail: str) -> None:
        if self.progress is not None:
            self.progress(ProgressEvent(stage, self.done, sum(self.seconds.values()), detail))


def arguments(prepared: Prepared, cache: Cache) -> tuple[str, str, str, str]:
    """What :func:`run_task` takes beside the task."""
    return prepared.recipe.model_dump_json(), str(prepared.base), prepared.plan.digest, str(cache.root)


def _in_turn(todo: list[Task], prepared: Prepared, cache: Cache, workers: Workers) -> Iterator[Outcome]:
    """Tasks of a stage, those that read what another of them makes after it; where that failed, they fail too."""
    made = {(task.kind, task.digest) for task in todo}
    later = [task for task in todo if not made.isdisjoint(task.needs)]
    failed: set[tuple[str, str]] = set()
    for task, error in run_parallel([task for task in todo if made.isdisjoint(task.needs)], prepared, cache, workers):
        if error is not None:
            failed.add((task.kind, task.digest))
        yield task, error
    yield from ((task, "its first repetition failed") for task in later if not failed.isdisjoint(task.needs))
    yield from run_parallel([task for task in later if failed.isdisjoint(task.needs)], prepared, cache, workers)


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
