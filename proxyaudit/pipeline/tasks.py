"""The tasks of a run, each with the digest of all that its result depends on."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from proxyaudit.cache import ENCODE, INPUTS, MEASURE, SYNTHESIZE, TRAIN, Task
from proxyaudit.digests import code_digest, digest_of
from proxyaudit.estimates.channel import all_channels
from proxyaudit.pipeline.encode import encoded_sources, sources_of
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.regimes import Regime

STAGES = ("synthesize", "train", "quantise", "measure")


def task_digests(prepared: Prepared) -> dict[str, list[Task]]:
    """Every task of a run by stage."""
    digests = _Digests(prepared)
    measures = tuple(channel.measure for channel in all_channels() if channel.measure is not None)
    inputs = Task(INPUTS, INPUTS, 0, digests.of("measure", INPUTS))
    synthesized = {
        (regime.name, table): Task(SYNTHESIZE, regime.name, table, digests.synthesized(regime, table))
        for regime in prepared.regimes
        if regime.kind == "synthetic"
        for table in prepared.repetitions.tables_of(regime.name)
    }
    encoded = {
        name: Task(ENCODE, name, 0, digests.of("encode", ENCODE, source=asdict(source), proxies=prepared.plan.proxies))
        for name, source in encoded_sources(prepared).items()
    }
    trained: dict[tuple[str, int], Task] = {}
    measured: list[Task] = []
    # A quantised model is made from a trained one, so its turn comes after.
    for regime in sorted(prepared.regimes, key=lambda regime: regime.kind == "quantised"):
        looked_up = [encoded[name] for name in sources_of(regime, prepared)]
        first: list[Task] = []  # says what is worth asking of the other repetitions
        for seed in range(prepared.seeds_of(regime)):
            made_from, made = (trained, seed) if regime.kind == "quantised" else (synthesized, prepared.place_of(regime, seed)[0])
            source = made_from.get((regime.of or regime.name, made))
            sources = [] if source is None else [source]
            digest = digests.trained(regime, seed, source, looked_up)
            trained[regime.name, seed] = Task(TRAIN, regime.name, seed, digest, _results(*sources, *looked_up))
            reads = [*(sources if regime.kind == "synthetic" else ()), trained[regime.name, seed], inputs, *looked_up[:1], *first]
            after = [task.digest for task in first]
            digest = digests.of("measure", MEASURE, captured=digest, inputs=inputs.digest, channels=measures, after=after)
            measured.append(Task(MEASURE, regime.name, seed, digest, _results(*reads), measures))
            if seed == 0 and prepared.recipe.effort != "everything" and not regime.is_reference:
                first = measured[-1:]
    quantised = {regime.name for regime in prepared.regimes if regime.kind == "quantised"}
    return {
        # The inputs are measured beside the synthesizers: both must be done before anything is trained or measured.
        "synthesize": [inputs, *synthesized.values(), *encoded.values()],
        "train": [task for task in trained.values() if task.regime not in quantised],
        "quantise": [task for task in trained.values() if task.regime in quantised],
        "measure": measured,
    }


def _results(*tasks: Task) -> tuple[tuple[str, str], ...]:
    return tuple((task.kind, task.digest) for task in tasks)


@dataclass(frozen=True)
class _Digests:
    """What each stage's results depend on: its code, versions, data and seed, and what the recipe asks of it."""

    prepared: Prepared

    def of(self, stage: str, kind: str, **own: Any) -> str:
        recipe, plan = self.prepared.recipe, self.prepared.plan
        common = {"code": code_digest(stage), "versions": plan.versions, "data": plan.hashes, "seed": recipe.seed}
        if stage == "measure":
            asked = {"effort", "references", "margins", "circuits"}
            own |= {**recipe.model_dump(mode="json", include=asked), "plan": plan.permutations}
            own |= {"attributes": plan.attributes, "proxies": plan.proxies}
        elif stage != "synthesize":
            own |= {"model": recipe.model.model_dump(mode="json"), "sites": recipe.sites.model_dump()}
        return digest_of({**common, "roles": recipe.data.model_dump(mode="json"), "kind": kind, **own})

    def synthesized(self, regime: Regime, seed: int) -> str:
        spec = None if regime.synthetic is None else regime.synthetic.model_dump()
        names = [a.name for a in self.prepared.dataset.attributes]
        return self.of("synthesize", SYNTHESIZE, spec=spec, size=self.prepared.size, repetition=seed, attributes=names)

    def trained(self, regime: Regime, seed: int, source: Task | None, looked_up: list[Task]) -> str:
        # Where files lie changes nothing; what they hold is among the data's hashes.
        plain = asdict(replace(regime, synthetic=None, checkpoints=(), folder=None))
        plain["checkpoints"] = [path.name for path in regime.checkpoints]
        made_from = {"source": "" if source is None else source.digest, "encoded": [task.digest for task in looked_up]}
        key = self.prepared.repetitions.designs[regime.name].key(seed)
        return self.of("train", TRAIN, regime=plain, repetition=key if len(key) > 1 else key[0], size=self.prepared.size, **made_from)
