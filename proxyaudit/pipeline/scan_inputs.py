"""What a scan reads: the run's model with another checkpoint's weights, the reference models, and the rows to run them on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save_file

from proxyaudit.activations import Captured, capture
from proxyaudit.data.attributes import Attribute, code_as
from proxyaudit.data.columns import ColumnKind, coerce
from proxyaudit.data.encoding import encoder_again
from proxyaudit.data.tables import read_table
from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.evidence.pack import REPORT_FILES, EvidencePack, read_pack
from proxyaudit.evidence.signatures import Signatures, read_signatures
from proxyaudit.models import TrainedModel, build_model, load_weights
from proxyaudit.models.module import factory_path
from proxyaudit.pipeline.cache import file_digest
from proxyaudit.pipeline.contexts import context_codes, followed_output
from proxyaudit.pipeline.signatures import attribute_columns
from proxyaudit.recipe import Recipe, parse_recipe

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST_ROWS = 200


@dataclass(frozen=True)
class Known:
    """A run with signatures, ready to have checkpoints scanned against it.

    Attributes:
        signatures: The signatures.
        recipe: The run's recipe.
        base: Folder that the recipe's factory lies in.
        name: Name and id of the run.
        files: Hashes of the files that the run read.
    """

    signatures: Signatures
    recipe: Recipe
    base: Path
    name: tuple[str, str]
    files: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Inputs:
    """Rows that models are run on.

    Attributes:
        x: Encoded table ``(n, p)``.
        frame: Coerced columns.
        clusters: Rows that belong together; equal rows do.
        columns: By attribute, its columns of numbers by level; ``None`` where the file does not hold it.
    """

    x: NDArray[np.float32]
    frame: pd.DataFrame
    clusters: Ints
    columns: dict[str, dict[str | None, Floats] | None]


@dataclass(frozen=True)
class Scanned:
    """One checkpoint and the references on the same rows.

    Attributes:
        inputs: The rows.
        model: The checkpoint.
        references: The reference models, ``None`` where the weights were too large to keep.
        codes: Context of each row, -1 for none.
    """

    inputs: Inputs
    model: Captured
    references: tuple[Captured | None, ...]
    codes: Ints


def open_signatures(run: Path, *, base: Path | None, near: Sequence[Path]) -> Known:
    """Read a run's signatures after its hashes were checked.

    Args:
        run: The run folder.
        base: Folder of the run's recipe, if given.
        near: Folders that are looked into for a factory where ``base`` is not given.

    Raises:
        InputError: no such run, no signatures, or the factory cannot be found.
        IntegrityError: the run was changed.
    """
    pack = read_pack(run, skip=REPORT_FILES)
    signatures = read_signatures(run)
    if signatures.document.plan_digest != pack.plan.get("digest"):
        raise IntegrityError(f"the signatures belong to another run [{run}]")
    recipe = parse_recipe(pack.recipe, where=str(run / "recipe.yaml"))
    hashes = pack.plan.get("hashes")
    files = frozenset(str(value) for value in hashes.values()) if isinstance(hashes, dict) else frozenset()
    return Known(signatures, recipe, _base(recipe, pack, base, near), (pack.evidence.run.name, pack.evidence.run.id), files)


def _base(recipe: Recipe, pack: EvidencePack, base: Path | None, near: Sequence[Path]) -> Path:
    """Folder with the very factory that was audited; a factory is code, and no other is executed."""
    if recipe.model.kind != "module":
        return base or Path.cwd()
    hashes = pack.plan.get("hashes")
    wanted = hashes.get("model factory") if isinstance(hashes, dict) else None
    seen = False
    for folder in (base,) if base is not None else dict.fromkeys((Path.cwd(), *near)):
        try:
            path = factory_path(recipe.model, folder)
        except InputError:
            if base is not None:
                raise
            continue
        if file_digest(path) == wanted:
            return folder
        seen = True
    if seen:
        raise InputError("the factory's file is not the one that was audited", where=recipe.model.factory, mend="restore it")
    mend = "name the folder of the run's recipe with --base"
    raise InputError("the model's factory lies neither here nor beside the model", where=recipe.model.factory, mend=mend)


def read_inputs(known: Known, path: Path) -> Inputs:
    """Read the rows and encode them as the run encoded its own.

    Raises:
        InputError: a column is missing, a value cannot be read, or there are too few rows.
    """
    document, where = known.signatures.document, str(path)
    if not path.is_file():
        raise InputError("no such file", where=where, mend="check the path given as --inputs")
    table = read_table(path, what="--inputs")
    missing = [name for name in document.features if name not in table.columns]
    if missing:
        raise InputError(f"column '{missing[0]}' is missing", where=where, mend="the inputs must hold every column that the model reads")
    if len(table) < FEWEST_ROWS:
        raise InputError(f"{len(table)} rows are too few to read a model by", where=where, mend=f"give {FEWEST_ROWS} or more")
    kinds = {kind.name: ColumnKind(kind.name, kind.kind, kind.date) for kind in document.kinds}
    try:
        frame = pd.DataFrame({name: coerce(table[name], kind, where=where) for name, kind in kinds.items() if name in table.columns})
        encoder = encoder_again(list(document.encoder), frame)
        if {part.name for part in encoder.parts} != set(document.features):
            raise ValueError("the encoder is not that of the features")
        x = encoder.transform(frame)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"the signatures' encoder cannot be used ({' '.join(str(error).split())[:120]})") from None
    columns: dict[str, dict[str | None, Floats] | None] = {}
    for a in document.attributes:
        columns[a.name] = None
        if a.name in frame.columns and frame[a.name].notna().any():
            attribute = Attribute(a.name, a.role, a.kind, a.levels, np.zeros(0))
            codes = code_as(attribute, frame[a.name], where=where)
            if a.kind != "continuous" and not (codes >= 0).any():
                raise InputError(
                    f"column '{a.name}' holds none of the values {', '.join(a.levels[:4])}",
                    where=where,
                    mend="spell its values as the audited table does, or leave the column out",
                )
            columns[a.name] = dict(attribute_columns(attribute, codes))
    return Inputs(x, frame, _clusters(x, frame, document.group), columns)


def _clusters(x: NDArray[np.float32], frame: pd.DataFrame, group: str | None) -> Ints:
    if group is not None and group in frame.columns:
        return np.asarray(pd.factorize(frame[group], use_na_sentinel=False)[0], dtype=np.int64)
    rows = np.ascontiguousarray(x).view(np.dtype((np.void, x.dtype.itemsize * x.shape[1]))).ravel()
    return np.asarray(np.unique(rows, return_inverse=True)[1], dtype=np.int64)


def read_references(known: Known, inputs: Inputs) -> tuple[Captured | None, ...]:
    """Run every reference whose weights were kept on the rows; done once for any number of checkpoints.

    Raises:
        IntegrityError: the weights kept with the signatures are not those of the model.
    """
    found: list[Captured | None] = []
    for reference, weights in zip(known.signatures.document.references, known.signatures.weights, strict=True):
        if not reference.kept:
            found.append(None)
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "reference.safetensors"
            save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, path)
            try:
                model = load_weights(_architecture(known, inputs.x.shape[1], reference.erase), path, what="a reference of the signatures")
            except InputError as error:
                raise IntegrityError(f"the signatures do not fit their model: {error.what}") from None
        found.append(capture(model, inputs.x))
    return tuple(found)


def read_checkpoint(known: Known, path: Path, inputs: Inputs, references: tuple[Captured | None, ...]) -> Scanned:
    """Load a checkpoint into the run's model and run it on the rows.

    Raises:
        InputError: the file is no checkpoint of this architecture.
    """
    plain = _architecture(known, inputs.x.shape[1], ())
    try:
        model = load_weights(plain, path, what="the model")
    except InputError:
        # A mitigated checkpoint holds maps beside the weights.
        maps = {reference.erase for reference in known.signatures.document.references if reference.erase}
        holders = (_architecture(known, inputs.x.shape[1], erase) for erase in sorted(maps))
        found = next((m for m in (_loaded(holder, path) for holder in holders) if m is not None), None)
        if found is None:
            raise
        model = found
    kept = [followed_output(r.outputs) for r in references if r is not None]
    contexts = known.signatures.document.contexts
    codes = context_codes(contexts, inputs.frame, np.mean(kept, axis=0) if kept else None)
    return Scanned(inputs, capture(model, inputs.x), references, codes)


def _loaded(holder: TrainedModel, path: Path) -> TrainedModel | None:
    try:
        return load_weights(holder, path, what="the model")
    except InputError:
        return None


def _architecture(known: Known, n_inputs: int, erase: tuple[str, ...]) -> TrainedModel:
    classes = known.signatures.document.classes
    return build_model(known.recipe.model, known.recipe.sites, n_inputs=n_inputs, n_classes=classes, base=known.base, seed=0, erase=erase)
