"""The tasks of a run, each with the digest of all that its result depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from proxyaudit.digests import code_digest, digest_of
from proxyaudit.estimates.channel import all_channels
from proxyaudit.pipeline.cache import ENCODE, INPUTS, MEASURE, SYNTHESIZE, TRAIN, Task
from proxyaudit.pipeline.encode import encoded_sources, sources_of
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.regimes import Regime

STAGES = ("synthesize", "train", "quantise", "measure")


def task_digests(prepared: Prepared) -> dict[str, list[Task]]:
    """Every task of a run by stage."""
    digests = _Digests(prepared)
    measures = tuple(channel.measure for channel in all_channels() if channel.measure is not None)
    inputs = Task(INPUTS, INPUTS, 0, digests.inputs())
    synthesized = {
        (regime.name, seed): Task(SYNTHESIZE, regime.name, seed, digests.synthesized(regime, seed))
        for regime in prepared.regimes
        if regime.kind == "synthetic"
        for seed in range(prepared.recipe.seeds)
    }
    encoded = {name: Task(ENCODE, name, 0, digests.encoded(source)) for name, source in encoded_sources(prepared).items()}
    trained: dict[tuple[str, int], Task] = {}
    measured = []
    # A quantised model is made from a trained one, so its turn comes after.
    for regime in sorted(prepared.regimes, key=lambda regime: regime.kind == "quantised"):
        looked_up = [encoded[name] for name in sources_of(regime, prepared)]
        for seed in range(prepared.seeds_of(regime)):
            made_from = trained if regime.kind == "quantised" else synthesized
            source = made_from.get((regime.of or regime.name, seed))
            sources = [] if source is None else [source]
            digest = digests.trained(regime, seed, source, looked_up)
            trained[regime.name, seed] = Task(TRAIN, regime.name, seed, digest, _results(*sources, *looked_up))
            reads = [*(sources if regime.kind == "synthetic" else ()), trained[regime.name, seed], inputs, *looked_up[:1]]
            digest = digests.measured(digest, inputs, measures)
            measured.append(Task(MEASURE, regime.name, seed, digest, _results(*reads), measures))
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

    def _common(self, stage: str) -> dict[str, Any]:
        recipe, plan = self.prepared.recipe, self.prepared.plan
        asked = {"seed": recipe.seed, "roles": recipe.data.model_dump(mode="json")}
        return {"code": code_digest(stage), "versions": plan.versions, "data": plan.hashes, **asked}

    def _model(self) -> dict[str, Any]:
        return {"model": self.prepared.recipe.model.model_dump(mode="json"), "sites": self.prepared.recipe.sites.model_dump()}

    def _measuring(self) -> dict[str, Any]:
        recipe, plan = self.prepared.recipe, self.prepared.plan
        asked = {"references": recipe.references.model_dump(), "margins": recipe.margins.model_dump(), "plan": plan.permutations}
        return {**self._common("measure"), **asked, "attributes": plan.attributes, "proxies": plan.proxies}

    def inputs(self) -> str:
        return digest_of({**self._measuring(), "kind": "inputs"})

    def synthesized(self, regime: Regime, seed: int) -> str:
        spec = None if regime.synthetic is None else regime.synthetic.model_dump()
        own = {"kind": "synthesize", "spec": spec, "size": self.prepared.size, "repetition": seed}
        return digest_of({**self._common("synthesize"), **own, "attributes": [a.name for a in self.prepared.dataset.attributes]})

    def encoded(self, source: Any) -> str:
        own = {"kind": ENCODE, "source": asdict(source), "proxies": self.prepared.plan.proxies}
        return digest_of({**self._common("encode"), **self._model(), **own})

    def trained(self, regime: Regime, seed: int, source: Task | None, looked_up: list[Task]) -> str:
        plain = replace(regime, synthetic=None, checkpoints=())
        own = {
            "kind": "train",
            "regime": {**asdict(plain), "checkpoints": [path.name for path in regime.checkpoints]},
            "repetition": seed,
            "size": self.prepared.size,
            "source": "" if source is None else source.digest,
            "encoded": [task.digest for task in looked_up],
        }
        return digest_of({**self._common("train"), **self._model(), **own})

    def measured(self, captured: str, inputs: Task, measures: tuple[str, ...]) -> str:
        return digest_of({**self._measuring(), "kind": "measure", "captured": captured, "inputs": inputs.digest, "channels": measures})
