"""Build a model with random initial weights and resolve its sites."""

from pathlib import Path
from typing import Any

from proxyaudit.errors import InputError
from proxyaudit.fence import limited_time
from proxyaudit.models.base import TabularModule, TrainedModel, seeded
from proxyaudit.models.erasing import install_maps
from proxyaudit.models.kinds import model_kind
from proxyaudit.models.places import Candidates, Outline, select_sites
from proxyaudit.models.sites import probe_sites
from proxyaudit.models.text import TextClassifier
from proxyaudit.models.text_parts import find_saes
from proxyaudit.recipe.models import KindSpec
from proxyaudit.recipe.recipe import SitesSpec
from proxyaudit.seeding import integer_seed
from proxyaudit.types import Task


def outline_of(model: TrainedModel) -> Outline:
    """What a plan says of a model that was made."""
    finest = len(model.module.fine_taps()) if isinstance(model.module, TabularModule) else len(model.sites)
    return Outline(model.sites, model.verdict_sites, tuple(model.unprofiled), model.unread, finest)


def build_model(
    spec: KindSpec,
    sites: SitesSpec,
    *,
    n_inputs: int,
    n_classes: int,
    base: Path,
    seed: int,
    erase: tuple[str, ...] = (),
    scale: tuple[float, float] | None = None,
    several: bool = False,
) -> TrainedModel:
    """Build the model of a recipe, in eval mode; its weights are a function of ``seed`` alone, global random states are left as found.

    Kind ``module`` executes the user's own Python file in the recipe's folder ``base``, because the recipe says so. Sites to ``erase`` get
    an affine map, which changes nothing until a checkpoint fills it. One class is a number, whose ``scale`` (mean and standard deviation)
    measures the outputs of a model that predicts it in units of its own. ``several`` says that the classes are labels, yes or no each.
    Raises ``InputError``: the kind is unknown, its factory cannot be used or takes too long, the module does not take the table, or a site
    glob matches nothing.
    """
    if n_inputs < 1 or n_classes < 1:
        raise ValueError("a model needs at least one input column and something to predict")
    task: Task = "labels" if several else "number" if n_classes == 1 else "classes"
    with seeded(integer_seed(seed, "initial weights")), limited_time(spec.outside):
        module = model_kind(spec).make(spec, n_inputs=n_inputs, n_classes=n_classes, base=base)
        if isinstance(module, TabularModule):
            taps, every = module.fine_taps(), tuple(module.site_taps())
            candidates = Candidates(taps, module.site_aliases())
        else:
            candidates = probe_sites(module, n_inputs=n_inputs, n_classes=n_classes, what=spec.described, task=task)
            every = tuple(getattr(spec, "sites", ("*",)))
    module.eval()
    if erase:
        install_maps(module, candidates, erase, n_inputs=n_inputs)
    names, verdict = select_sites(candidates, sites, every=every)
    # Swaps at a verdict site run what follows it thousands of times: of a transformer of texts that can be its head only.
    if isinstance(module, TextClassifier) and (len(verdict) > 1 or not module.is_vector(verdict[0])):
        mend = f"name one of {', '.join(filter(module.is_vector, module.site_taps()))}; other sites can be profiled"
        raise InputError("a model of texts has one verdict site, and it lies after the pooling", where="sites.verdict", mend=mend)
    parameters = sum(p.numel() for p in module.parameters())
    details = {"kind": spec.kind, "origin": "pretrained" if spec.pretrained else "initial", "parameters": parameters}
    aliases = {alias: site for alias, site in candidates.aliases.items() if site in names}
    read = {name: candidates.taps[name] for name in names}
    said: dict[str, Any] = {"task": task, "scale": scale, "in_units": spec.in_units}
    if not isinstance(module, TabularModule):
        return TrainedModel(module, n_classes, names, verdict, read, details, aliases, candidates.unprofiled(names), **said)
    # A block is looked at where its own site is: a head of it is not the whole of it.
    left = tuple(name for name in every if name not in names)
    saes = find_saes(module, sites.sae, base) if isinstance(module, TextClassifier) and sites.sae else ()
    return TrainedModel(module, n_classes, names, verdict, read, details, aliases, left, module.unread(names), saes, **said)
