"""Which cures are tried for which verdicts: screened with one model each, the best ones confirmed with more."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from proxyaudit.channels.cures.estimate import best_of, tried
from proxyaudit.data.cures import Cure, cures_of
from proxyaudit.data.dataset import Dataset
from proxyaudit.digests import code_digest, digest_of
from proxyaudit.estimates.facts import Cured, Facts
from proxyaudit.estimates.ledger import Ledger
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.record import Measurement
from proxyaudit.estimates.scope import Scope
from proxyaudit.pipeline.cache import CURE, SYNTHESIZE, Cache, Task
from proxyaudit.pipeline.facts import Tasks
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.pipeline.stages import Progress, ProgressEvent, Workers, run_parallel
from proxyaudit.regimes import Regime
from proxyaudit.types import Estimate, NotTested

CONFIRMED_WITH = 3  # models
_LEAST_SHARE = 0.05  # of the strongest carrier's product: what carries less is not worth treating
_TREATED = ("real", "synthetic", "release", "mixed")


@dataclass(frozen=True)
class Trials:
    """The cures that were tried, and notes of those that failed."""

    cured: tuple[Cured, ...] = ()
    notes: tuple[NotTested, ...] = ()


def try_cures(
    prepared: Prepared, tasks: Tasks, cache: Cache, workers: Workers, facts: Facts, ledger: Ledger, scope: Scope, progress: Progress | None
) -> Trials:
    """Try cures for every protected attribute that a trained regime did not remove; of tables only: texts have no columns to treat."""
    if not prepared.recipe.cures or prepared.dataset.text is not None:
        return Trials()
    run = _Runner(prepared, tasks, cache, workers, progress)
    numbers, cases = Numbers(ledger.estimates, scope), []
    for regime in prepared.regimes:
        measured = facts.run(regime.name)
        if regime.kind not in _TREATED or measured is None or not measured.measured:
            continue
        for attribute in prepared.dataset.protected:
            if numbers.decision(attribute, regime.name).verdict != "removed":
                known = regime.kind in ("real",) or _holds(prepared, regime, attribute)
                cases += [
                    (regime, cure)
                    for cure in cures_of(attribute, carriers_of(prepared.dataset, ledger.estimates, attribute, regime.name), known=known)
                ]
    first = run.cured(cases, range(1))
    # What is confirmed depends on what was screened, which is the same for any number of workers.
    more = range(1, min(CONFIRMED_WITH, prepared.recipe.seeds))
    chosen = [case for case in cases if len(more) and _is_chosen(case, first, facts, ledger)]
    return Trials(run.cured(chosen, more, first), tuple(run.notes))


def carriers_of(dataset: Dataset, estimates: Iterable[Estimate], attribute: str, regime: str) -> tuple[str, ...]:
    """The input columns that carry an attribute and move the outputs, the strongest product first; never those that may be used."""
    treated = {feature.name for feature in dataset.features} - {*dataset.legitimate}
    found = [e for e in estimates if (e.channel, e.attribute, e.regime) == ("proxy_use", attribute, regime) and e.subject in treated]
    ranked = sorted(found, key=lambda e: -(e.value or 0.0))
    least = _LEAST_SHARE * (ranked[0].value or 0.0) if ranked else 0.0
    return tuple(str(e.subject) for e in ranked if e.value is not None and e.value > max(least, 0.0))


def _holds(prepared: Prepared, regime: Regime, attribute: str) -> bool:
    """Whether the made rows of a regime hold the attribute."""
    source = prepared.regime(str(regime.of)) if regime.of else regime
    if source.name in prepared.releases:
        return attribute in prepared.releases[source.name]
    return source.synthetic is not None and source.synthetic.sees_protected


def _is_chosen(case: tuple[Regime, Cure], first: Sequence[Cured], facts: Facts, ledger: Ledger) -> bool:
    regime, cure = case
    return cure.name in best_of(tried(facts, ledger, [c for c in first if (c.regime, c.cure.attribute) == (regime.name, cure.attribute)]))


@dataclass
class _Runner:
    """Runs tasks of cures and reads what they left."""

    prepared: Prepared
    tasks: Tasks
    cache: Cache
    workers: Workers
    progress: Progress | None

    def __post_init__(self) -> None:
        self.notes: list[NotTested] = []

    def cured(self, cases: Sequence[tuple[Regime, Cure]], seeds: Iterable[int], before: Sequence[Cured] = ()) -> tuple[Cured, ...]:
        """``before`` and what these repetitions add to it; a cure that fails in its first repetition is noted and left out."""
        tasks = [self._task(regime, cure, seed) for regime, cure in cases for seed in seeds]
        self._run([task for task in tasks if not self.cache.has(CURE, task.digest)])
        found = {(one.regime, one.cure): one.measured for one in before}
        for task in tasks:
            if task.cure is not None and self.cache.has(CURE, task.digest):
                key = task.regime, task.cure
                found[key] = (*found.get(key, ()), Measurement.read(self.cache.folder(CURE, task.digest)))
        return tuple(Cured(regime, cure, measured) for (regime, cure), measured in found.items())

    def _run(self, todo: list[Task]) -> None:
        for count, (task, error) in enumerate(run_parallel(todo, self.prepared, self.cache, self.workers), start=1):
            words = "" if task.cure is None else f", {task.cure.name}"
            if error is not None:
                self.notes.append(NotTested(what=f"a cure of {task.regime}{words}", why=error))
            if self.progress is not None:
                self.progress(ProgressEvent("cure", count, len(todo), f"{task.regime}{words}: {'failed' if error else 'done'}"))
        self.notes.sort(key=lambda note: note.what)

    def _task(self, regime: Regime, cure: Cure, seed: int) -> Task:
        trained = next(task for task in self.tasks["train"] if (task.regime, task.seed) == (regime.name, seed))
        plan, recipe = self.prepared.plan, self.prepared.recipe
        own = {"trained": trained.digest, "cure": asdict(cure), "margins": recipe.margins.model_dump(), "permutations": plan.permutations}
        digest = digest_of({"code": code_digest("cure"), "attributes": plan.attributes, **own})
        return Task(CURE, regime.name, seed, digest, tuple(need for need in trained.needs if need[0] == SYNTHESIZE), cure=cure)
