"""Which cures are tried for which verdicts: screened with one model each, the best ones confirmed with more."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from proxyaudit.cache import CURE, ENCODE, SYNTHESIZE, TRAIN, Cache, Task
from proxyaudit.channels.cures.cases import Case, cases_of, is_chosen, is_part, is_worth_parts
from proxyaudit.data.cures import RULES, SCRUBBED, Cure
from proxyaudit.digests import code_digest, digest_of
from proxyaudit.estimates.facts import Cured, Facts
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.scope import Scope
from proxyaudit.models.kinds.trees import can_erase
from proxyaudit.pipeline.cost import task_seconds
from proxyaudit.pipeline.encode import scrubbed_source
from proxyaudit.pipeline.facts import Tasks
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.stages import run_parallel
from proxyaudit.progress import Progress, ProgressEvent
from proxyaudit.regimes import Regime
from proxyaudit.types import NotTested
from proxyaudit.workers import Workers

CONFIRMED_WITH = 3  # models


@dataclass(frozen=True)
class Trials:
    """The cures that were tried, and notes of those that failed."""

    cured: tuple[Cured, ...] = ()
    notes: tuple[NotTested, ...] = ()


def try_cures(run: "Runner", facts: Facts, ledger: Ledger, scope: Scope) -> Trials:
    """Try cures for every protected attribute that a trained regime did not remove; of texts where the transformer stays as it is."""
    if not (prepared := run.prepared).recipe.tries_cures:
        return Trials()
    erasable = can_erase(prepared.recipe.model) and prepared.dataset.text is None
    cases = cases_of(prepared.dataset, prepared.regimes, prepared.releases, facts, ledger, scope, erasable=erasable)
    # What is tried after others, or confirmed, depends on these alone, which are the same for any number of workers.
    first = run.cured([case for case in cases if not is_part(case, cases)], range(1))
    first = run.cured([case for case in cases if is_part(case, cases) and is_worth_parts(*case, first, facts, ledger)], range(1), first)
    more = range(1, min([CONFIRMED_WITH, *(facts.whole(name) for regime, cure in cases for name in (regime.name, cure.source) if name)]))
    chosen = [case for case in cases if len(more) and is_chosen(*case, first, facts, ledger)]
    return Trials(run.cured(chosen, more, first), tuple(run.notes))


@dataclass
class Runner:
    """Runs tasks of cures and reads what they left."""

    prepared: Prepared
    tasks: Tasks
    cache: Cache
    workers: Workers
    progress: Progress | None
    fresh: bool = False  # whether what was kept is made again
    beside: Mapping[str, object] | None = None  # what else the environment of the run names

    def __post_init__(self) -> None:
        self.notes: list[NotTested] = []

    def cured(self, cases: Sequence[Case], seeds: Iterable[int], before: Sequence[Cured] = ()) -> tuple[Cured, ...]:
        """``before`` and what these repetitions add to it; a cure that fails in its first repetition is noted and left out."""
        tasks = [self._task(regime, cure, seed) for regime, cure in cases for seed in seeds]
        for task in tasks if self.fresh else ():
            self.cache.forget(CURE, task.digest)
        self._run([task for task in tasks if not self.cache.has(CURE, task.digest)])
        found = {(one.regime, one.cure): one.measured for one in before}
        for task in tasks:
            if (cure := task.cure) is None or not self.cache.has(CURE, task.digest):
                continue
            if len(known := found.get((task.regime, cure), ())) == task.seed:  # one that failed ends what can be compared
                found[task.regime, cure] = (*known, Measurement.read(self.cache.folder(CURE, task.digest)))
        return tuple(Cured(regime, cure, measured) for (regime, cure), measured in found.items())

    def _run(self, todo: list[Task]) -> None:
        seconds, done = [task_seconds(self.prepared, task) / self.workers.count for task in todo], 0.0
        for task, error in run_parallel(todo, self.workers):
            words = "" if task.cure is None else f", {task.cure.name} for {task.cure.attribute}"
            if error is not None:
                self.notes.append(NotTested(what=f"a cure of {task.regime}{words}", why=error))
            done += task_seconds(self.prepared, task) / self.workers.count
            if self.progress is not None:
                self.progress(ProgressEvent("cure", done, sum(seconds), f"{task.regime}{words}: {'failed' if error else 'done'}"))
        self.notes.sort(key=lambda note: note.what)

    def _task(self, regime: Regime, cure: Cure, seed: int) -> Task:
        made = {task.regime: task for task in self.tasks["train"] if task.seed == seed}
        trained, source = made[regime.name], made.get(cure.source)
        plan, recipe = self.prepared.plan, self.prepared.recipe
        own = {"trained": trained.digest, "cure": asdict(cure), "margins": recipe.margins.model_dump(), "permutations": plan.permutations}
        own["source"] = None if source is None else source.digest
        digest = digest_of({"code": code_digest("cure"), "attributes": plan.attributes, **own})
        # An eraser reads the model that was trained; altered rows are made of the tables that models were trained on.
        needs = _tables(trained) if cure.alters_rows else ((TRAIN, trained.digest),)
        if cure.way == SCRUBBED:
            same = scrubbed_source(RULES)  # where a regime scrubs real texts alike, the transformer has met them
            needs += tuple((task.kind, task.digest) for task in self.tasks["synthesize"] if (task.kind, task.regime) == (ENCODE, same))
        return Task(CURE, regime.name, seed, digest, needs, cure=cure, beside=() if source is None else _tables(source))


def _tables(trained: Task) -> tuple[tuple[str, str], ...]:
    """What training rows are made of, and what a frozen transformer makes of their texts."""
    return tuple(need for need in trained.needs if need[0] in (SYNTHESIZE, ENCODE))
