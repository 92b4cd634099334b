"""What a scan reads: a run's signatures, where its model is found again, the rows, and what models do on them.

A model runs once for each way in which the signatures' regimes use theirs: on scrubbed texts, or quantised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save_file

from proxyaudit.activations.capture import Captured, capture
from proxyaudit.activations.frozen import capture_head, first_site, pooled_texts
from proxyaudit.arrays import Floats, Ints
from proxyaudit.channels.contexts import context_codes, followed_output
from proxyaudit.channels.signatures import attribute_columns
from proxyaudit.consent import NO_CONSENT, Consent
from proxyaudit.data.attributes import Attribute, code_as
from proxyaudit.data.columns import Bands, ColumnKind, coerce, spellings_of
from proxyaudit.data.described_encoder import encoder_again
from proxyaudit.data.encoding import Encoder, check_seen
from proxyaudit.data.faults import Faults
from proxyaudit.data.reading import Reading, Told
from proxyaudit.data.spellings import spelling_notes
from proxyaudit.data.tables import read_table
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.unseen import Unseen
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.evidence.signatures import Signatures, read_signatures
from proxyaudit.files import temporary_folder
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import load_weights, tensor_names
from proxyaudit.models.huggingface import check_readable, make_tokenizer, model_hashes
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.models.module import code_of, factory_path, model_code
from proxyaudit.models.quantise import quantise
from proxyaudit.models.text import TextClassifier
from proxyaudit.models.tree_files import check_given, split_encoder
from proxyaudit.recipe.recipe import Recipe, SitesSpec, parse_recipe
from proxyaudit.types import NotTested
from proxyaudit.verification.run import read_verified

FEWEST_ROWS = 200
_MODEL = "the model"


@dataclass(frozen=True)
class Known:
    """A run with signatures, ready to have checkpoints scanned against it."""

    signatures: Signatures
    recipe: Recipe
    base: Path  # folder that the recipe's factory or base model is found from
    name: tuple[str, str]  # name and id of the run
    files: frozenset[str] = frozenset()  # hashes of the files that the run read


@dataclass(frozen=True)
class Inputs:
    """Rows that models are run on; ``columns`` has, by attribute, its numbers by level, ``None`` where the file does not hold it."""

    frame: pd.DataFrame
    encoder: Encoder | TextEncoder
    clusters: Ints  # rows that belong together; equal rows (or texts) do
    columns: dict[str, dict[str | None, Floats] | None]
    dropped: int = 0  # rows of the file without a text
    unseen: tuple[Unseen, ...] = ()  # columns of which the encoder cannot see some rows
    notes: tuple[NotTested, ...] = ()  # how the file was read
    kept: dict[Any, NDArray[np.float32]] = field(default_factory=dict, repr=False)  # what was made of the rows before, by what it is

    def table(self, rules: tuple[str, ...] = ()) -> NDArray[np.float32]:
        """Encoded table ``(n, p)``; texts are scrubbed by the rules first."""
        if rules not in self.kept:
            scrubbed = self.encoder.scrubbed(self.frame, rules) if isinstance(self.encoder, TextEncoder) else self.frame
            self.kept[rules] = self.encoder.transform(scrubbed)
        return self.kept[rules]


def open_signatures(
    run: Path, *, base: Path | None, near: Sequence[Path], consent: Consent = NO_CONSENT, opened: Path | None = None
) -> Known:
    """A run's signatures, the run verified (``IntegrityError`` if it was changed); nothing is executed here.

    Without ``base`` the factory or base model is looked for ``near``; ``InputError``: it, the run, signatures or consent are missing.
    """
    pack = read_verified(run)
    signatures = read_signatures(run if opened is None else opened)
    if signatures.document.plan_digest != pack.plan.get("digest"):
        raise IntegrityError(f"the signatures belong to another run [{run}]")
    recipe = parse_recipe(pack.recipe, where=str(run / "recipe.yaml"))
    found = pack.plan.get("hashes")
    hashes = {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
    spec, place = recipe.model, base or Path.cwd()
    if isinstance(spec, ModuleSpec):
        place = _factory_folder(spec, hashes, base, near)
    elif isinstance(spec, HuggingFaceSpec):
        if spec.hub and spec.trust_remote_code:
            # Its very hash takes executing what the hub holds now.
            consent.require(model_code("the run's model", None), delivered=True)
        spec, place = _base_model(spec, hashes, base, near)
        recipe = recipe.model_copy(update={"model": spec})
    # Synthesizers are no part of a scan.
    consent.require(code_of(recipe.model_copy(update={"regimes": ()}), place), delivered=True)
    if isinstance(spec, HuggingFaceSpec) != (signatures.document.text is not None):
        raise IntegrityError(f"the signatures do not fit the run's model [{run}]")
    return Known(signatures, recipe, place, (pack.evidence.run.name, pack.evidence.run.id), frozenset(hashes.values()))


def _base_model(spec: HuggingFaceSpec, hashes: dict[str, str], base: Path | None, near: Sequence[Path]) -> tuple[HuggingFaceSpec, Path]:
    """Where the very transformer lies that was audited: from a folder as the recipe names it, or the folder itself."""
    wanted = {key: value for key, value in hashes.items() if key == "model" or key.startswith("model ")}
    differs: str | None = None
    for folder in (base,) if base is not None else dict.fromkeys((Path.cwd(), *near)):
        itself = {"path": str(folder.absolute()), "package": None, "hub": False, "revision": None}
        for option in (spec, spec.model_copy(update=itself)) if (folder / "config.json").is_file() else (spec,):
            try:
                found = model_hashes(option, folder)
            except InputError:
                continue
            if found == wanted:
                return option, folder
            differs = differs or next(key for key in sorted({*found, *wanted}) if found.get(key) != wanted.get(key))
    mend = "name the folder of the run's recipe, or that of the very model, with --base"
    if differs is not None:
        what = f"the base model is not the one that was audited ({differs.removeprefix('model ')} differs)"
        raise InputError(what, where=f"model.path '{spec.path}'", mend=mend)
    raise InputError("the base model lies neither here nor beside the model", where=f"model.path '{spec.path}'", mend=mend)


def _factory_folder(spec: ModuleSpec, hashes: dict[str, str], base: Path | None, near: Sequence[Path]) -> Path:
    """Folder with the very factory that was audited; a factory is code, and no other is executed."""
    seen = False
    for folder in (base,) if base is not None else dict.fromkeys((Path.cwd(), *near)):
        try:
            path = factory_path(spec, folder)
        except InputError:
            if base is not None:
                raise
            continue
        if file_digest(path) == hashes.get("model factory"):
            return folder
        seen = True
    if seen:
        raise InputError("the factory's file is not the one that was audited", where=spec.factory, mend="restore it")
    mend = "name the folder of the run's recipe with --base"
    raise InputError("the model's factory lies neither here nor beside the model", where=spec.factory, mend=mend)


def read_inputs(known: Known, path: Path) -> Inputs:
    """Read the rows and encode them as the run did its own; ``InputError`` for a missing column, an unreadable value or too few rows."""
    document, where = known.signatures.document, str(path)
    if not path.is_file():
        raise InputError("no such file", where=where, mend="check the path given as --inputs")
    told, faults = Told(), Faults("--inputs", where)
    table = read_table(path, what="--inputs", reading=Reading.of(None, known.recipe.values, ""), told=told, faults=faults)
    for name in document.features:
        if name not in table.columns:
            faults.add(f"column '{name}' is missing", "the inputs must hold every column that the model reads")
    known_levels = {part["name"]: part.get("levels", ()) for part in document.encoder if "name" in part}
    known_levels |= {a.name: (*known_levels.get(a.name, ()), *a.levels) for a in document.attributes}
    kinds = {
        kind.name: ColumnKind(
            kind.name,
            kind.kind,
            kind.date,
            Bands(kind.edges, kind.levels) if kind.edges else None,
            spellings_of(pd.Series(list(known_levels[kind.name]), dtype=object)) if kind.name in known_levels else None,
        )
        for kind in document.kinds
    }
    try:
        coerced = {}
        for name, kind in kinds.items():
            if name in table.columns:
                with faults.gathering():
                    coerced[name] = coerce(table[name], kind, where=where)
        if not faults.found and len(table) < FEWEST_ROWS:
            faults.add(f"{len(table)} rows are too few to read a model by", f"give {FEWEST_ROWS} or more")
        faults.settle()
        frame, encoder = _encoder(known, pd.DataFrame(coerced))
        unseen = check_seen(encoder, frame, table="--inputs", where=where)
        notes = told.notes(kinds, "--inputs", recipe=False) + spelling_notes(table, kinds, "--inputs")
        empty = Inputs(frame, encoder, np.zeros(0, dtype=np.int64), {}, len(table) - len(frame), unseen, tuple(notes))
        for rules in {reference.scrub for reference in document.references} | {()}:
            empty.table(rules)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"the signatures' encoder cannot be used ({' '.join(str(error).split())[:120]})") from None
    columns: dict[str, dict[str | None, Floats] | None] = {}
    for a in document.attributes:
        columns[a.name] = None
        if a.name in frame.columns and frame[a.name].notna().any():
            attribute = Attribute(a.name, a.role, a.kind, a.levels, np.zeros(0))
            codes = code_as(attribute, frame[a.name], where=where)
            if a.kind != "continuous" and not (codes >= 0).any():
                mend = "spell its values as the audited table does, or leave the column out"
                raise InputError(f"column '{a.name}' holds none of the values {', '.join(a.levels[:4])}", where=where, mend=mend)
            columns[a.name] = dict(attribute_columns(attribute, codes))
    return replace(empty, clusters=_clusters(empty.table(), frame, document.group), columns=columns)


def _encoder(known: Known, frame: pd.DataFrame) -> tuple[pd.DataFrame, Encoder | TextEncoder]:
    """The rows that a model can read, and how it reads them."""
    document, spec = known.signatures.document, known.recipe.model
    if document.text is not None and isinstance(spec, HuggingFaceSpec):
        frame = frame[frame[document.text].notna()].reset_index(drop=True)
        if len(frame) < FEWEST_ROWS:
            raise InputError(f"{len(frame)} texts are too few to read a model by", where="--inputs", mend=f"give {FEWEST_ROWS} or more")
        tokenizer = make_tokenizer(spec, known.base)
        check_readable(tokenizer, list(frame[document.text]), where="--inputs")
        return frame, TextEncoder(document.text, frame[document.text], known.recipe.model.text_width, tokenizer)
    encoder = encoder_again(list(document.encoder), frame)
    if {part.name for part in encoder.parts} != set(document.features):
        raise ValueError("the encoder is not that of the features")
    return frame, encoder


def _clusters(x: NDArray[np.float32], frame: pd.DataFrame, group: str | None) -> Ints:
    if group is not None and group in frame.columns:
        return np.asarray(pd.factorize(frame[group], use_na_sentinel=False)[0], dtype=np.int64)
    rows = np.ascontiguousarray(x).view(np.dtype((np.void, x.dtype.itemsize * x.shape[1]))).ravel()
    return np.asarray(np.unique(rows, return_inverse=True)[1], dtype=np.int64)


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
        with temporary_folder() as folder:
            path = folder / "reference.safetensors"
            save_file({name: np.require(value, requirements="C") for name, value in weights.items()}, path)
            try:
                model = load_weights(_architecture(known, inputs, reference.erase), path, what="a reference of the signatures")
            except InputError as error:
                raise IntegrityError(f"the signatures do not fit their model: {error.what}") from None
        found.append(_run(model, inputs, Use(reference.scrub, reference.quantise)))
    return tuple(found)


def read_checkpoint(known: Known, path: Path, inputs: Inputs, references: tuple[Captured | None, ...]) -> Scanned:
    """Load a checkpoint, or another transformer's folder, into the run's model and run it on the rows; ``InputError`` if it is unfit."""
    model, own = _folder(known, path, inputs) if path.is_dir() else _checkpoint(known, path, inputs)
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


def _checkpoint(known: Known, path: Path, inputs: Inputs) -> tuple[TrainedModel, Inputs]:
    """The model of a file, and the rows as it reads them."""
    tune = None
    if isinstance(known.recipe.model, HuggingFaceSpec):
        # A head alone stands on the base model; a whole classifier brings a transformer of its own.
        tune = "full" if any(name.startswith("backbone.") for name in tensor_names(path, what=_MODEL)) else "head"
    found = check_given(known.recipe, path, inputs.encoder.columns, what=_MODEL)
    own = inputs if found is None else replace(inputs, encoder=split_encoder([found], inputs.encoder), kept={})
    # A mitigated checkpoint holds maps beside the weights.
    maps = {reference.erase for reference in known.signatures.document.references if reference.erase}
    refused: list[InputError] = []
    for erase in ((), *sorted(maps)):
        try:
            return load_weights(_architecture(known, inputs, erase, tune), path, what=_MODEL), own
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
