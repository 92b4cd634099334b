"""Planning: everything that is fixed before anything is measured, and its digest."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from proxyaudit.activations.capture import capture
from proxyaudit.channels.localisation.budget import describe_localisation
from proxyaudit.channels.proxies.discover import discover
from proxyaudit.channels.proxies.text_discover import discover_habits
from proxyaudit.channels.proxy_plan import ProxyPlan
from proxyaudit.channels.signatures.contexts import check_contexts
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.public_counts import public_count
from proxyaudit.data.releases import load_releases, release_notes, unseen_of
from proxyaudit.digests import code_digest, digest_of, file_digest
from proxyaudit.errors import InputError
from proxyaudit.estimates.row_order import rows_digest
from proxyaudit.language.lineage import trace_language_models
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights
from proxyaudit.models.devices import device_name
from proxyaudit.models.huggingface import model_hashes
from proxyaudit.models.module import factory_path
from proxyaudit.models.text_inputs import attach_tokenizer
from proxyaudit.recipe.models import HuggingFaceSpec
from proxyaudit.recipe.recipe import Recipe, load_recipe
from proxyaudit.regimes import Regime, common_training_size, make_regimes
from proxyaudit.seeding import integer_seed
from proxyaudit.stats.intervals import LEVEL
from proxyaudit.stats.power import power_of_absence
from proxyaudit.types import SCHEMA_VERSION, NotTested

FEWEST_PERMUTATIONS = 999
_PACKAGES = ("proxyaudit", "captum", "numpy", "pandas", "scikit-learn", "scipy", "sdv", "torch", "safetensors", "rtdl_revisiting_models")
_TEXT_PACKAGES = ("transformers", "tokenizers", "peft")


@dataclass(frozen=True)
class Prepared:
    """A recipe with its data loaded, its regimes expanded and its model built once."""

    recipe: Recipe
    base: Path
    dataset: Dataset
    regimes: tuple[Regime, ...]
    releases: dict[str, pd.DataFrame]
    size: int
    model: TrainedModel
    plan: dict[str, Any]
    proxies: ProxyPlan

    def regime(self, name: str) -> Regime:
        """The regime of a name."""
        return next(regime for regime in self.regimes if regime.name == name)

    def seeds_of(self, regime: Regime) -> int:
        """Repetitions of a regime: its checkpoints, or the recipe's seeds."""
        if regime.kind == "quantised":
            return self.seeds_of(self.regime(str(regime.of)))
        return len(regime.checkpoints) if regime.kind == "checkpoints" else self.recipe.seeds

    def build(self, seed: int, erase: tuple[str, ...] = ()) -> TrainedModel:
        """The model with its initial weights of one seed; the same for every regime, so that regimes are paired.

        ``erase`` names sites with an affine map that the regime's checkpoints fill.
        """
        return _build(self.recipe, self.base, self.dataset, seed, erase)


def prepare(recipe: Recipe, base: Path) -> Prepared:
    """Load, check and expand everything; measure nothing and write nothing.

    Raises:
        InputError: anything in the recipe or the files it names that would make a task fail later.
    """
    dataset = attach_tokenizer(recipe, base, load_dataset(recipe, base))
    dataset, proxies = discover(recipe, dataset) if dataset.text is None else discover_habits(recipe, dataset)
    check_contexts(recipe.signatures, dataset)
    regimes = make_regimes(recipe, base)
    notes: list[NotTested] = []
    releases = load_releases(recipe, dataset, base, notes)
    dataset = replace(dataset, notes=(*dataset.notes, *notes))
    trained = [regime for regime in regimes if regime.needs_training]
    size = common_training_size(recipe, dataset, releases) if trained else 0
    model = _build(recipe, base, dataset, 0)
    for regime in regimes:
        holder = _build(recipe, base, dataset, 0, regime.erase) if regime.erase else model
        for path in regime.checkpoints:
            load_weights(holder, path, what=f"checkpoint of regime '{regime.name}'")
    plan = _plan(recipe, base, dataset, regimes, releases, size, model, proxies)
    return Prepared(recipe, base, dataset, regimes, releases, size, model, plan, proxies)


def _build(recipe: Recipe, base: Path, dataset: Dataset, seed: int, erase: tuple[str, ...] = ()) -> TrainedModel:
    return build_model(
        recipe.model,
        recipe.sites,
        n_inputs=len(dataset.encoder.columns),
        n_classes=len(dataset.classes),
        base=base,
        seed=integer_seed(recipe.seed, "model", seed),
        erase=erase,
    )


def prepare_file(recipe_path: Path, overrides: tuple[str, ...] = ()) -> Prepared:
    """:func:`prepare` for a recipe file."""
    recipe = load_recipe(recipe_path, overrides)
    return prepare(recipe, Path(recipe_path).resolve().parent)


@lru_cache(maxsize=2)
def prepared_again(recipe_json: str, base: str, digest: str) -> Prepared:
    """The same preparation in a worker process, kept for the next task.

    Raises:
        InputError: the data changed since the plan was made.
    """
    prepared = prepare(Recipe.model_validate_json(recipe_json), Path(base))
    if prepared.plan["digest"] != digest:
        raise InputError("the data or the program changed while the audit ran", where=prepared.recipe.name, mend="run it again")
    return prepared


def versions(*, text: bool = False) -> dict[str, str]:
    """Versions that a number may depend on; those of models of texts where ``text``."""
    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *(_TEXT_PACKAGES if text else ())):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    device = device_name() if text else None
    return found if device is None else {**found, "device": device}


def permutations_needed(cells: int) -> int:
    """Enough permutations that Holm over the cells can be passed (R >= 40 x cells)."""
    return max(FEWEST_PERMUTATIONS, 40 * cells)


def _plan(
    recipe: Recipe,
    base: Path,
    dataset: Dataset,
    regimes: tuple[Regime, ...],
    releases: dict[str, pd.DataFrame],
    size: int,
    model: TrainedModel,
    proxies: ProxyPlan,
) -> dict[str, Any]:
    attributes = [{"name": a.name, "role": a.role, "kind": a.kind, "levels": list(a.levels)} for a in dataset.attributes]
    cells = len(attributes) * (len(model.sites) + 3)
    hashes = dict(dataset.hashes)
    if recipe.model.kind == "module":
        hashes["model factory"] = file_digest(factory_path(recipe.model, base))
    if isinstance(recipe.model, HuggingFaceSpec):
        hashes |= model_hashes(recipe.model, base)
    lineage = trace_language_models(recipe, dataset, base)
    hashes |= lineage.hashes
    tasks = 1 + sum(
        (2 if regime.kind != "synthetic" else 3) * (len(regime.checkpoints) if regime.kind == "checkpoints" else recipe.seeds)
        for regime in regimes
    )
    plan: dict[str, Any] = {
        "name": recipe.name,
        "seed": recipe.seed,
        "seeds": recipe.seeds,
        "regimes": [_describe(regime, size) for regime in regimes if not regime.is_reference],
        "references": [*(regime.name for regime in regimes if regime.is_reference), "placebo", "inputs", "floor"],
        "sites": {"verdict": list(model.verdict_sites), "profile": list(model.sites)},
        "attributes": attributes,
        "proxies": proxies.describe(),
        "localisation": describe_localisation(),
        "columns": list(dataset.encoder.columns) if dataset.text is None else [dataset.text],
        "rows": {
            name: public_count(n) for name, n in (("train", len(dataset.train)), ("audit", len(dataset.audit)), ("training_size", size))
        },
        "audit_rows": rows_digest(dataset.clusters, dataset.hashes["audit"]),
        "holdout": dataset.holdout,
        "target": {"name": dataset.target, "classes": list(dataset.classes)},
        "margins": recipe.margins.model_dump(),
        "level": LEVEL,
        "cells": cells,
        "permutations": permutations_needed(cells),
        "tasks": tasks,
        "notes": [note.model_dump() for note in (*dataset.notes, *release_notes(dataset, releases), *lineage.notes)],
        "hashes": hashes,
        "versions": versions(text=dataset.text is not None),
        "schema_version": SCHEMA_VERSION,
    }
    if lineage.described:
        plan["language_models"] = lineage.described
    if barred := _without_absence(dataset, regimes, releases):
        plan["no_absence"] = barred
    # Of what the run directory holds, and nothing else: `verify` makes the digest again from it.
    digest = digest_of({"plan": plan, "recipe": recipe.model_dump(mode="json", exclude_none=True), "code": code_digest()})
    return {
        "digest": digest,
        "run_id": digest[:12],
        "code": code_digest(),
        **plan,
        "estimated_minutes": _minutes(recipe, dataset, regimes, size, len(model.sites)),
    }


def _without_absence(dataset: Dataset, regimes: tuple[Regime, ...], releases: dict[str, pd.DataFrame]) -> list[str]:
    """Regimes whose rows the encoder sees too little of to call anything absent."""
    blind = {name for name, rows in releases.items() if any(found.bars_absence for found in unseen_of(dataset, name, rows))}
    everywhere = any(found.bars_absence for found in dataset.unseen)
    barred: list[str] = []
    for regime in regimes:
        if everywhere or not {regime.name, regime.of}.isdisjoint({*blind, *barred}):
            barred.append(regime.name)
    return barred


def odds_of_absence(prepared: Prepared) -> list[dict[str, Any]]:
    """How probable it is that a linear leak that is not there could be called absent, for each attribute and verdict site.

    Of a single trained model: with several, each must show it.
    """
    dataset, margin = prepared.dataset, prepared.recipe.margins.leak
    acts = capture(prepared.model, dataset.encoder.transform(dataset.audit.head(64))).acts
    odds = []
    for attribute in dataset.attributes:
        codes = np.asarray(attribute.codes, dtype=np.float64)
        known = np.isfinite(codes) & (codes >= 0) if attribute.levels else np.isfinite(codes)
        rates = np.bincount(codes[known].astype(np.int64)) / known.sum() if attribute.levels else None
        rows = len(np.unique(dataset.clusters[known]))
        for site in prepared.model.verdict_sites:
            width = int(acts[site].shape[1])
            odds.append({"attribute": attribute.name, "site": site, "power": round(power_of_absence(rows, width, margin, rates), 3)})
    return odds


def _describe(regime: Regime, size: int) -> dict[str, Any]:
    sees = regime.synthetic.sees_protected if regime.kind == "synthetic" and regime.synthetic is not None else None
    rows = public_count(size) if regime.needs_training else None
    found: dict[str, Any] = {
        "name": regime.name,
        "kind": regime.kind,
        "of": regime.of,
        "ratio": regime.ratio,
        "sees_protected": sees,
        "training_rows": rows,
    }
    more = {"erase": list(regime.erase), "scrub": list(regime.scrub), "quantise": regime.quantise}
    return {**found, **{key: value for key, value in more.items() if value}}


# Seconds on one core for 1 000 rows, measured on Adult; a plan's cost is a rough guide and says so.
_SYNTHESIS = {"gaussian_copula": 0.08, "tvae": 0.06, "ctgan": 0.6, "copulagan": 0.7}
_WRITING = 600.0  # a language model of 135 million weights
_COUNTING = 1.5  # an n-gram model, fitted and drawn from
_CELL = 1.5  # of each attribute at each site of each model, however few rows there are
_ENCODING, _BACKWARD = 17.0, 3  # texts of 64 tokens through MiniLM; larger models take as much longer as they are larger
_EPOCH = {"mlp": 0.012, "resnet": 0.03, "ft_transformer": 1.5, "module": 0.02, "huggingface": 0.05}


def _minutes(recipe: Recipe, dataset: Dataset, regimes: tuple[Regime, ...], size: int, sites: int) -> float:
    thousands, seconds = size / 1000, 5.0
    for regime in regimes:
        runs = len(regime.checkpoints) or recipe.seeds
        if regime.kind == "synthetic" and regime.synthetic is not None and regime.synthetic.sdv is not None:
            seconds += runs * thousands * _SYNTHESIS.get(regime.synthetic.sdv, 0.5) * (regime.synthetic.epochs or 10)
        if regime.synthetic is not None and regime.synthetic.language_model is not None:
            seconds += runs * thousands * _WRITING
        if regime.synthetic is not None and regime.synthetic.ngram is not None:
            seconds += runs * thousands * _COUNTING
        if regime.needs_training:
            seconds += runs * thousands * _EPOCH[recipe.model.kind] * recipe.model.epochs
        seconds += runs * (sites + 1) * sum(_CELL + (0.1 + 0.06 * len(a.levels)) * len(dataset.audit) / 1000 for a in dataset.attributes)
    if isinstance(recipe.model, HuggingFaceSpec):
        ways = 1 + sum(bool(regime.scrub or regime.quantise or regime.kind in ("synthetic", "release")) for regime in regimes)
        passes = ways if recipe.model.tune == "head" else ways * recipe.seeds * recipe.model.epochs * _BACKWARD
        seconds += passes * (size + len(dataset.audit)) / 1000 * _ENCODING * recipe.model.max_length / 64
    return round(seconds / 60 / 2, 1)
