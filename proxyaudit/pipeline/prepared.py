"""A recipe made ready: its data loaded, its regimes expanded, its plan fixed. What every task of a run starts from."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from proxyaudit.activations.first_pass import check_texts
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
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.own_classifier import GivenClassifier, settled
from proxyaudit.models.tree_files import with_room
from proxyaudit.models.versions import differing
from proxyaudit.recipe.plan import Plan
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.regimes import Regime, Repetitions, common_training_size, make_regimes
from proxyaudit.seeding import integer_seed
from proxyaudit.types import NotTested


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
    repetitions: Repetitions

    def regime(self, name: str) -> Regime:
        """The regime of a name."""
        return next(regime for regime in self.regimes if regime.name == name)

    def seeds_of(self, regime: Regime) -> int:
        """Repetitions of a regime, as many as there are so far."""
        return self.repetitions.of(regime.name)

    def place_of(self, regime: Regime | str, repetition: int) -> tuple[int, int]:
        """Table and model of a repetition."""
        return self.repetitions.designs[regime if isinstance(regime, str) else regime.name].place(repetition)

    def build_of(self, regime: Regime, repetition: int) -> TrainedModel:
        """The model of a repetition before it is trained, with maps to be filled where the regime erases; one that is given as it is."""
        seed = self.place_of(regime, repetition)[1]
        return self.build(seed, regime.erase, regime.folder, initial=regime.kind == "untrained")

    def build(self, seed: int, erase: tuple[str, ...] = (), folder: str | None = None, *, initial: bool = False) -> TrainedModel:
        """The model with a seed's initial weights, the same for every regime (paired), and maps to be filled at sites ``erase``.

        One that is given is read from the recipe's folder or another ``folder``; ``initial`` are its weights before any training.
        """
        drawn = integer_seed(self.recipe.seed, "model", seed)
        model = build_model(
            spec := self.recipe.model if folder is None else self.recipe.model.at(folder),
            self.recipe.sites,
            n_inputs=len(self.dataset.encoder.columns),
            n_classes=(aim := self.dataset.read).n_classes,
            base=self.base,
            seed=drawn,
            erase=erase,
            scale=aim.scale,
            several=aim.labels is not None,
        )
        if not (isinstance(model.module, GivenClassifier) and isinstance(spec, HuggingFaceSpec)):
            return model
        return settled(model, spec, aim, initial=drawn if initial else None)

    def audit_inputs(self, regime: Regime) -> Singles:
        """Encoded inputs of the audit rows ``(n, p)``, as a regime's models meet them: a scrubbing pipeline scrubs here too."""
        encoder, audit = self.dataset.encoder, self.dataset.audit
        return encoder.transform(encoder.scrubbed(audit, regime.scrub) if isinstance(encoder, TextEncoder) else audit)

    def audit_labels(self) -> Ints:
        """True label of the audit rows, shape ``(n,)``."""
        return self.dataset.target_codes(self.dataset.audit)

    def compared_groups(self) -> dict[str, Followed]:
        """Groups compared by interventions: chosen from the true labels, so that they are the same in every model."""
        truth = self.dataset.truth(self.dataset.audit)
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
        """Take it in and build the model. Raises ``InputError``: the program is another one here, or by now."""
        vars(self).update(state)
        if found := differing(self.plan.versions):
            what, mend = "a worker has other versions: " + "; ".join(found), "install the same on all machines"
            raise InputError(what, where=self.recipe.name, mend=mend)
        vars(self)["model"] = self.build(0)
        if code_digest() != self.plan.code:
            what = "the program changed while the audit ran, or a worker has another one"
            raise InputError(what, where=self.recipe.name, mend="run it again")


def load_inputs(recipe: Recipe, base: Path) -> tuple[Inputs, TrainedModel]:
    """All that a recipe names, checkpoints too, loaded and checked (``InputError``); beside it the model with its first initial weights."""
    dataset = attach_tokenizer(recipe, base, load_dataset(recipe, base))
    recipe, dataset, taken = with_room(recipe.of_target(dataset.read.task), base, dataset)
    regimes = make_regimes(recipe, base)
    left: list[NotTested] = []
    releases = load_releases(recipe, dataset, base, left)
    size = common_training_size(recipe, dataset, releases) if any(regime.needs_training for regime in regimes) else 0
    inputs = Inputs(recipe, base, dataset, regimes, releases, size, tuple(left), Repetitions.planned(recipe, regimes))
    model = inputs.build(0)
    others = {one.name: (one.folder, partial(inputs.build_of, one, 0)) for one in regimes if one.folder is not None and not one.quantise}
    notes = check_texts(recipe.model, dataset, base, model, others)
    for regime in regimes:
        holder = inputs.build(0, regime.erase) if regime.erase else model
        for path in regime.checkpoints:
            load_weights(holder, path, what=f"checkpoint of regime '{regime.name}'")
    return replace(inputs, notes=(*inputs.notes, *notes, *taken)), model
