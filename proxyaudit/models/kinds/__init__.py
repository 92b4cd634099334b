"""The kinds of models that come along, and what a kind is: a plugin of the group ``proxyaudit.models``, built-in ones too.

A kind is one file: the part of the recipe that asks for it, who makes it, and what it costs. That file must not import torch where it
is imported itself, since a recipe is validated with it; who makes the model is therefore named as ``module:function``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from proxyaudit.models.places import Candidates, Outline, select_sites
from proxyaudit.recipe.models import KindSpec
from proxyaudit.recipe.recipe import Recipe, SitesSpec
from proxyaudit.registry import load_plugin

if TYPE_CHECKING:
    from torch import nn

GROUP = "models"


@dataclass(frozen=True)
class ModelKind:
    """One kind of model.

    ``factory`` is called as ``make(spec, n_inputs=, n_classes=, base=)``. It returns a ``torch.nn.Module`` from a table ``(n, n_inputs)``
    to logits (one column for two classes), with weights from torch's global generator, which the caller seeds. A
    :class:`~proxyaudit.models.base.TabularModule` names its own sites; those of another module are found by running it.
    """

    spec: type[KindSpec]  # the ``model`` section of a recipe; its field ``kind`` is a ``Literal`` of the registered name
    factory: str  # ``module:function``
    seconds: float  # what an epoch of 1,000 rows takes on one core
    hashes: str | None = None  # ``module:function`` of ``(spec, base)``: SHA-256 of files beside the recipe that decide a number
    # ``module:function`` of the arguments of ``train_model``, for models that no gradient trains; it returns the trained model.
    trainer: str | None = None
    # ``module:function`` of ``(model, x, spec, seed)``: the untrained model, where that takes rows and not just random weights.
    untrained: str | None = None
    packages: tuple[str, ...] = ()  # distributions that a number may depend on, beside those that every audit names
    pass_seconds: Callable[[Any], float] = lambda _: 0.0  # of a pass of 1,000 rows beside training, if costly
    # Of ``(spec, n_classes)``: the places of its models with their widths, the very ones that they name; ``None``: only a model tells them.
    places: Callable[[Any, int], Candidates] | None = None

    def make(self, spec: KindSpec, *, n_inputs: int, n_classes: int, base: Path) -> nn.Module:
        """The module with its initial weights."""
        made: nn.Module = resolve_name(self.factory)(spec, n_inputs=n_inputs, n_classes=n_classes, base=base)
        return made

    def outline(self, spec: KindSpec, sites: SitesSpec, n_classes: int) -> Outline | None:
        """What a plan says of its models, without making one; ``None`` where only a model tells it. Raises as :func:`select_sites`."""
        if self.places is None:
            return None
        found = self.places(spec, n_classes)
        names, verdict = select_sites(found, sites, every=tuple(found.taps))
        left = tuple(name for name in found.taps if name not in names)
        return Outline(names, verdict, left, finest=len(found.taps), widths={name: found.widths[name] for name in names})

    def file_hashes(self, spec: KindSpec, base: Path) -> dict[str, str]:
        """Hashes of the files that the model is made from."""
        return {} if self.hashes is None else dict(resolve_name(self.hashes)(spec, base))


def model_kind(spec: KindSpec) -> ModelKind:
    """The kind that a recipe asks for."""
    kind: ModelKind = load_plugin(GROUP, spec.kind, where="model.kind")
    return kind


def model_hashes(recipe: Recipe, base: Path) -> dict[str, str]:
    """Hashes of all files that a recipe's models are made from, those of the folders that its regimes name among them."""
    kind = model_kind(recipe.model)
    found = kind.file_hashes(recipe.model, base)
    for regime in recipe.regimes:
        if regime.path is not None:
            own = kind.file_hashes(recipe.model.at(regime.path), base)
            found |= {f"regime {regime.name}, {name}": digest for name, digest in own.items()}
    for one in recipe.sites.sae or ():
        found |= resolve_name("proxyaudit.models.sae:sae_hashes")(one, base)
    return found
