"""A recipe made ready: its data loaded, its regimes expanded, its plan fixed. What every task of a run starts from."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from proxyaudit.arrays import Ints, Singles
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.data.attributes import Followed
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.releases import load_releases
from proxyaudit.data.text import TextEncoder
from proxyaudit.digests import code_digest
from proxyaudit.errors import InputError
from proxyaudit.models.kinds import model_kind
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.places import Outline
from proxyaudit.models.tree_files import with_room
from proxyaudit.models.versions import differing
from proxyaudit.recipe.plan import Plan
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.regimes import Regime, Repetitions, common_training_size, make_regimes
from proxyaudit.seeding import integer_seed
from proxyaudit.types import NotTested

if TYPE_CHECKING:
    from proxyaudit.models.base import TrainedModel


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

    def build_of(self, regime: Regime, repetition: int) -> "TrainedModel":
        """The model of a repetition before it is trained, with maps to be filled where the regime erases; one that is given as it is."""
        seed = self.place_of(regime, repetition)[1]
        return self.build(seed, regime.erase, regime.folder, initial=regime.kind == "untrained")

    def build(self, seed: int, erase: tuple[str, ...] = (), folder: str | None = None, *, initial: bool = False) -> "TrainedModel":
        """The model with a seed's initial weights, the same for every regime (paired), and maps to be filled at sites ``erase``.

        One that is given is read from the recipe's folder or another ``folder``; ``initial`` are its weights before any training.
        """
        from proxyaudit.models.build import build_model  # loads torch, which whoever only plans does without
        from proxyaudit.models.own_classifier import settled

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
    """Inputs with what is known of the model, the proxies that are followed, and the plan."""

    make: "Callable[[], TrainedModel]"  # the model with its first initial weights, made once and where it is asked for
    outline: Outline
    proxies: ProxyPlan
    plan: Plan

    @property
    def model(self) -> "TrainedModel":
        """The model with its first initial weights."""
        return self.make()

    def __getstate__(self) -> dict[str, Any]:
        """What travels to a worker: all that was read and planned, but not the model, whose code may be a file of the user's."""
        return {name: value for name, value in vars(self).items() if name != "make"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take it in. Raises ``InputError``: the program is another one here, or by now."""
        vars(self).update(state, make=cache(partial(self.build, 0)))
        if found := differing(self.plan.versions):
            what, mend = "a worker has other versions: " + "; ".join(found), "install the same on all machines"
            raise InputError(what, where=self.recipe.name, mend=mend)
        if code_digest() != self.plan.code:
            what = "the program changed while the audit ran, or a worker has another one"
            raise InputError(what, where=self.recipe.name, mend="run it again")


def load_inputs(recipe: Recipe, base: Path) -> tuple[Inputs, Outline, "Callable[[], TrainedModel]"]:
    """All that a recipe names, checkpoints too, loaded and checked (``InputError``); beside it what is known of the model, and it."""
    dataset = load_dataset(recipe, base)
    if isinstance(recipe.model, HuggingFaceSpec):
        from proxyaudit.models.huggingface import attach_tokenizer

        dataset = attach_tokenizer(recipe, base, dataset)
    recipe, dataset, taken = with_room(recipe.of_target(dataset.read.task), base, dataset)
    regimes = make_regimes(recipe, base)
    left: list[NotTested] = []
    releases = load_releases(recipe, dataset, base, left)
    size = common_training_size(recipe, dataset, releases) if any(regime.needs_training for regime in regimes) else 0
    inputs = Inputs(recipe, base, dataset, regimes, releases, size, (*left, *taken), Repetitions.planned(recipe, regimes))
    make = cache(partial(inputs.build, 0))
    outline = model_kind(recipe.model).outline(recipe.model, recipe.sites, dataset.read.n_classes)
    if outline is not None and not any(regime.erase or regime.checkpoints for regime in regimes):
        return inputs, outline, make
    from proxyaudit.activations.first_pass import check_models
    from proxyaudit.models.build import outline_of

    notes = check_models(recipe.model, dataset, base, make(), regimes, partial(inputs.build_of, repetition=0))
    return replace(inputs, notes=(*left, *notes, *taken)), outline or outline_of(make()), make
