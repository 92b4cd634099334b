"""Models of a scan on its rows, run once for each way in which the signatures' regimes use theirs: on scrubbed texts, or quantised."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from proxyaudit.activations.capture import Captured, capture
from proxyaudit.activations.frozen import capture_head, first_site, pooled_texts
from proxyaudit.arrays import Ints
from proxyaudit.audits.scan.inputs import Inputs, Known
from proxyaudit.channels.signatures import context_codes, followed_output
from proxyaudit.data.text import TextEncoder
from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights, tensor_names
from proxyaudit.models.huggingface import check_readable, make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.quantise import quantise
from proxyaudit.models.text import TextClassifier
from proxyaudit.recipe.recipe import SitesSpec

_MODEL = "the model"
_REFERENCE = "a reference of the signatures"


@dataclass(frozen=True)
class Use:
    """How a regime uses its models."""

    scrub: tuple[str, ...] = ()
    quantise: str | None = None


@dataclass(frozen=True)
class Scanned:
    """One model and the references on the same rows."""

    inputs: Inputs
    models: Mapping[Use, Captured]  # the model, by how it is used
    references: tuple[Captured | None, ...]  # the reference models, ``None`` where the weights were too large to keep
    codes: Ints  # context of each row, -1 for none


def read_references(known: Known, inputs: Inputs) -> tuple[Captured | None, ...]:
    """Run every reference whose weights were kept on the rows; raises ``IntegrityError`` where they are not those of the model."""
    found: list[Captured | None] = []
    for reference, weights in zip(known.signatures.document.references, known.signatures.weights, strict=True):
        if not reference.kept:
            found.append(None)
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "reference.safetensors"
            save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, path)
            try:
                model = load_weights(_architecture(known, inputs, reference.erase), path, what=_REFERENCE)
            except InputError as error:
                raise IntegrityError(f"the signatures do not fit their model: {error.what}") from None
        found.append(_run(model, inputs, Use(reference.scrub, reference.quantise)))
    return tuple(found)


def read_checkpoint(known: Known, path: Path, inputs: Inputs, references: tuple[Captured | None, ...]) -> Scanned:
    """Load a checkpoint, or another transformer's folder, into the run's model and run it on the rows; ``InputError`` if it is unfit."""
    model, own = _folder(known, path, inputs) if path.is_dir() else (_checkpoint(known, path, inputs), inputs)
    kept = [followed_output(r.outputs) for r in references if r is not None]
    document = known.signatures.document
    codes = context_codes(document.contexts, inputs.frame, np.mean(kept, axis=0) if kept else None)
    uses = dict.fromkeys([Use(r.scrub, r.quantise) for r in document.references] or [Use()])
    return Scanned(inputs, {use: _run(model, own, use) for use in uses}, references, codes)


def _run(model: TrainedModel, inputs: Inputs, use: Use) -> Captured:
    """Activations and outputs; a frozen transformer, which every head shares, runs once for each way of using it."""
    x = inputs.table(use.scrub)
    used = model if use.quantise is None else quantise(model, use.quantise)
    if not (isinstance(used.module, TextClassifier) and used.module.frozen):
        return capture(used, x)
    if use not in inputs.kept:
        inputs.kept[use] = pooled_texts(used, x)
    return capture_head(used, {first_site(used): inputs.kept[use]})


def _checkpoint(known: Known, path: Path, inputs: Inputs) -> TrainedModel:
    tune = None
    if isinstance(known.recipe.model, HuggingFaceSpec):
        # A head alone stands on the base model; a whole classifier brings a transformer of its own.
        tune = "full" if any(name.startswith("backbone.") for name in tensor_names(path, what=_MODEL)) else "head"
    # A mitigated checkpoint holds maps beside the weights.
    maps = {reference.erase for reference in known.signatures.document.references if reference.erase}
    refused: list[InputError] = []
    for erase in ((), *sorted(maps)):
        try:
            return load_weights(_architecture(known, inputs, erase, tune), path, what=_MODEL)
        except InputError as error:
            refused.append(error)
    if tune is not None and (path.parent / "config.json").is_file():
        mend = f"give the whole folder if {path.name} is a transformer's file"
        raise InputError(refused[0].what, where=refused[0].where, mend=mend) from None
    raise refused[0]


def _folder(known: Known, path: Path, inputs: Inputs) -> tuple[TrainedModel, Inputs]:
    """Another transformer, with its own tokenizer, up to the pooling that the run's head reads; no code of it is executed."""
    spec, where = known.recipe.model, str(path)
    if not isinstance(spec, HuggingFaceSpec) or not isinstance(inputs.encoder, TextEncoder):
        raise InputError("the model is a folder", where=where, mend="give a checkpoint (one safetensors file) of the run's model")
    if not (path / "config.json").is_file():
        adapter = (path / "adapter_config.json").is_file()
        what = "the folder holds an adapter and no model" if adapter else "the folder holds no model of transformers"
        raise InputError(what, where=where, mend="merge it into its model and save that" if adapter else "it needs a config.json")
    own = {"path": str(path.absolute()), "package": None, "hub": False, "revision": None, "trust_remote_code": False, "gguf_file": None}
    there = replace(known, recipe=known.recipe.model_copy(update={"model": spec.model_copy(update={**own, "tune": "full"})}))
    model = _architecture(there, inputs, ())
    head = next((e.site for e in known.signatures.document.entries if e.site != first_site(model)), None)
    if head is not None:
        what = f"the signatures lie inside the head, at '{head}', and the folder holds no head of the run's"
        raise InputError(what, where=where, mend="give the checkpoint of a whole classifier (safetensors)")
    assert isinstance(there.recipe.model, HuggingFaceSpec)
    tokenize = make_tokenizer(there.recipe.model, path)
    check_readable(tokenize, list(inputs.frame[inputs.encoder.column]), where=where)
    return model, replace(inputs, encoder=replace(inputs.encoder, tokenize=tokenize), kept={})


def _architecture(known: Known, inputs: Inputs, erase: tuple[str, ...], tune: str | None = None) -> TrainedModel:
    spec, sites = known.recipe.model, known.recipe.sites
    if isinstance(spec, HuggingFaceSpec):
        # The layers' names are of no concern here: another transformer may have others.
        sites = SitesSpec(verdict=sites.verdict, profile=sites.verdict)
        spec = spec if tune is None else spec.model_copy(update={"tune": tune})
    classes, columns = known.signatures.document.classes, len(inputs.encoder.columns)
    return build_model(spec, sites, n_inputs=columns, n_classes=classes, base=known.base, seed=0, erase=erase)
