"""The workers: every unfinished task of a run, stage by stage, in one process or in many."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pkgutil import resolve_name

from proxyaudit.cache import CURE, ENCODE, INPUTS, MEASURE, SYNTHESIZE, TRAIN, Cache, Task
from proxyaudit.clusters.calls import Lost
from proxyaudit.errors import MachineError, TaskError, safe_line
from proxyaudit.pipeline.cost import task_seconds
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.tasks import STAGES
from proxyaudit.progress import Progress, ProgressEvent
from proxyaudit.threads import one_thread
from proxyaudit.workers import Workers

_RUNS = {
    INPUTS: "proxyaudit.pipeline.measure:run_inputs",
    SYNTHESIZE: "proxyaudit.pipeline.synthesize:run",
    ENCODE: "proxyaudit.pipeline.encode:run",
    TRAIN: "proxyaudit.pipeline.train:run",
    MEASURE: "proxyaudit.pipeline.measure:run",
    CURE: "proxyaudit.pipeline.cure:run",
}


Outcome = tuple[Task, str | None]  # a task, and why it failed


def run_task(task: Task, prepared: Prepared, cache: Cache) -> Outcome:
    """Run one task in this process; failures are returned, so that the other tasks go on. Raises ``MachineError``: nothing can be kept."""
    try:
        with one_thread():
            run = resolve_name(_RUNS[task.kind])
            cache.commit(task.kind, task.digest, lambda folder: run(task, prepared, cache, folder))
    except MachineError:
        raise
    except Exception as error:
        return task, safe_line(error)[:500]
    return task, None


def run_stages(
    prepared: Prepared, tasks: Mapping[str, Sequence[Task]], kept: Set[Task], workers: Workers, progress: Progress | None = None
) -> dict[str, list[str]]:
    """Run every task but those that are ``kept``, stage by stage; returns the failures by regime.

    Raises ``TaskError``: the inputs could not be measured; ``MachineError``: nothing can be kept, or no process be started.
    """
    seconds = {task: task_seconds(prepared, task) / workers.count for stage in STAGES for task in tasks[stage] if task not in kept}
    board = _Board(seconds, progress)
    for stage in STAGES:
        todo = [task for task in tasks[stage] if task not in kept and (task.regime, task.seed) not in board.failed]
        board.begin(stage, tasks[stage], todo)
        for task, error in _in_turn(todo, workers):
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


def _in_turn(todo: list[Task], workers: Workers) -> Iterator[Outcome]:
    """Tasks of a stage, those that read what another of them makes after it; where that failed, they fail too."""
    made = {(task.kind, task.digest) for task in todo}
    later = [task for task in todo if not made.isdisjoint(task.needs)]
    failed: set[tuple[str, str]] = set()
    for task, error in run_parallel([task for task in todo if made.isdisjoint(task.needs)], workers):
        if error is not None:
            failed.add((task.kind, task.digest))
        yield task, error
    yield from ((task, "its first repetition failed") for task in later if not failed.isdisjoint(task.needs))
    yield from run_parallel([task for task in later if failed.isdisjoint(task.needs)], workers)


def run_parallel(todo: list[Task], workers: Workers) -> Iterator[Outcome]:
    """Run tasks, in any order, and tell each as it ends."""
    for place, found in workers.run("proxyaudit.pipeline.stages:run_task", [(task,) for task in todo]):
        yield (todo[place], found.why) if isinstance(found, Lost) else found
