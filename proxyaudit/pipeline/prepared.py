"""A recipe made ready: its data loaded, its regimes expanded, its plan fixed. What every task of a run starts from."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.arrays import Ints, Singles
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.data.attributes import Followed
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.releases import load_releases
from proxyaudit.data.text import TextEncoder
from proxyaudit.digests import code_digest
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.huggingface import attach_tokenizer
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.regimes import Regime, common_training_size, make_regimes
from proxyaudit.seeding import integer_seed
from proxyaudit.types import NotTested


@dataclass(frozen=True)
class Plan:
    """What is fixed before anything is measured, as ``plan.json`` holds it.

    The digest covers all of it but ``digest``, ``run_id``, ``code`` and ``estimated_minutes``, and the recipe and the code beside it.
    """

    name: str
    seed: int
    seeds: int
    regimes: list[dict[str, Any]]
    references: list[str]
    sites: dict[str, list[str]]
    attributes: list[dict[str, Any]]
    proxies: dict[str, Any]
    localisation: dict[str, Any]
    columns: list[str]
    rows: dict[str, Any]
    audit_rows: str
    holdout: bool
    target: dict[str, Any]
    margins: dict[str, float]
    level: float
    cells: int
    permutations: int
    tasks: int
    notes: list[dict[str, Any]]
    hashes: dict[str, str]
    versions: dict[str, str]
    schema_version: str
    language_models: list[dict[str, Any]] = field(default_factory=list)
    no_absence: list[str] = field(default_factory=list)
    digest: str = ""
    code: str = ""
    estimated_minutes: float = field(default=0.0, compare=False)

    @property
    def run_id(self) -> str:
        """Name of the run's folder."""
        return self.digest[:12]

    def content(self) -> dict[str, Any]:
        """What the digest is made of."""
        beside, where_any = {"digest", "code", "estimated_minutes"}, {"language_models", "no_absence"}
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in beside}
        return {key: value for key, value in found.items() if value or key not in where_any}

    def as_dict(self) -> dict[str, Any]:
        """The whole plan as ``plan.json`` holds it."""
        first = {"digest": self.digest, "run_id": self.run_id, "code": self.code}
        return {**first, **self.content(), "estimated_minutes": self.estimated_minutes}


@dataclass(frozen=True)
class Inputs:
    """What models are trained on and read: all that a recipe and its files decide before anything is measured."""

    recipe: Recipe
    base: Path  # folder that the recipe's relative paths start from
    dataset: Dataset  # the real data; of texts, with the model's tokenizer
    regimes: tuple[Regime, ...]  # regimes and references, in order
    releases: dict[str, pd.DataFrame]  # coerced rows of each release, by regime
    size: int  # training rows of every regime; 0 where nothing is trained
    notes: tuple[NotTested, ...]  # what was left out of releases, or could not be seen in them

    def regime(self, name: str) -> Regime:
        """The regime of a name."""
        return next(regime for regime in self.regimes if regime.name == name)

    def seeds_of(self, regime: Regime) -> int:
        """Repetitions of a regime: its checkpoints, or the recipe's seeds."""
        if regime.kind == "quantised":
            return self.seeds_of(self.regime(str(regime.of)))
        if regime.kind == "reweighed" and self.recipe.effort != "everything":
            return 1  # shown beside the others, and nothing is compared with it
        return len(regime.checkpoints) if regime.kind == "checkpoints" else self.recipe.seeds

    def build(self, seed: int, erase: tuple[str, ...] = ()) -> TrainedModel:
        """The model with a seed's initial weights, the same for every regime (paired), and maps to be filled at sites ``erase``."""
        return build_model(
            self.recipe.model,
            self.recipe.sites,
            n_inputs=len(self.dataset.encoder.columns),
            n_classes=len(self.dataset.classes),
            base=self.base,
            seed=integer_seed(self.recipe.seed, "model", seed),
            erase=erase,
        )

    def audit_inputs(self, regime: Regime) -> Singles:
        """Encoded inputs of the audit rows ``(n, p)``, as a regime's models meet them: a scrubbing pipeline scrubs here too."""
        encoder, audit = self.dataset.encoder, self.dataset.audit
        return encoder.transform(encoder.scrubbed(audit, regime.scrub) if isinstance(encoder, TextEncoder) else audit)

    def audit_labels(self) -> Ints:
        """True label of the audit rows, shape ``(n,)``."""
        return self.dataset.target_codes(self.dataset.audit)

    def compared_groups(self) -> dict[str, Followed]:
        """Groups compared by interventions: chosen from the true labels, so that they are the same in every model."""
        labels, classes = self.audit_labels(), len(self.dataset.classes)
        truth = (labels == 1)[:, None].astype(np.float64) if classes == 2 else (labels[:, None] == np.arange(classes)).astype(np.float64)
        return {a.name: Followed(*a.compared_groups(truth)) for a in self.dataset.attributes}


@dataclass(frozen=True)
class Prepared(Inputs):
    """Inputs with the model built once, the proxies that are followed, and the plan."""

    model: TrainedModel
    proxies: ProxyPlan
    plan: Plan

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker: all that was read and planned, but not the model, whose code may be a file of the user's."""
        return {name: value for name, value in vars(self).items() if name != "model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it in and build the model. Raises ``InputError``: the program is another one by now."""
        vars(self).update(state)
        vars(self)["model"] = self.build(0)
        if code_digest() != self.plan.code:
            raise InputError("the program changed while the audit ran", where=self.recipe.name, mend="run it again")


def load_inputs(recipe: Recipe, base: Path) -> tuple[Inputs, TrainedModel]:
    """All that a recipe names, checkpoints too, loaded and checked (``InputError``); beside it the model with its first initial weights."""
    dataset = attach_tokenizer(recipe, base, load_dataset(recipe, base))
    regimes = make_regimes(recipe, base)
    notes: list[NotTested] = []
    releases = load_releases(recipe, dataset, base, notes)
    size = common_training_size(recipe, dataset, releases) if any(regime.needs_training for regime in regimes) else 0
    inputs = Inputs(recipe, base, dataset, regimes, releases, size, tuple(notes))
    model = inputs.build(0)
    for regime in regimes:
        holder = inputs.build(0, regime.erase) if regime.erase else model
        for path in regime.checkpoints:
            load_weights(holder, path, what=f"checkpoint of regime '{regime.name}'")
    return inputs, model
