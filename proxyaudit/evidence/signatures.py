"""Signatures on disk: ``signatures.json`` and ``signatures.safetensors``, written into a run only where the recipe asks for them.

Whoever has one can read the attribute off a model. What is read here is untrusted: everything is checked before it is used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError

from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.tiers import AGE
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_ARRAYS
from proxyaudit.recipe.models import Strict
from proxyaudit.types import Role, State

SIGNATURE_FILES = ("signatures.json", "signatures.safetensors")
VERSION = "1.1"
_NUMBERS = ("direction", "shift", "placebo_direction", "placebo_shift")
_MODEL = "model"

Share = Annotated[float, Field(ge=0, le=1)]


class Kind(Strict):
    """Kind of a column of the inputs; ``edges`` and ``levels`` are where a number is cut into bands and what they are called."""

    name: str
    kind: Literal["numeric", "categorical"]
    date: bool = False
    edges: Annotated[tuple[float, ...], Field(max_length=20)] = ()
    levels: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _bands(self) -> "Kind":
        if len(self.levels) != (len(self.edges) + 1 if self.edges else 0) or list(self.edges) != sorted(set(self.edges)):
            raise ValueError("edges and levels of bands do not fit each other")
        return self


class KnownAttribute(Strict):
    """An attribute and the levels that it was coded by."""

    name: str
    role: Role
    kind: Literal["binary", "multiclass", "continuous"]
    levels: tuple[str, ...]


class Contexts(Strict):
    """Slices of the inputs."""

    column: str | None  # the column they go by; ``None`` for quantile slices of the reference models' mean output
    names: tuple[str, ...] = Field(min_length=1, max_length=64)  # name of each slice
    edges: tuple[float, ...] = ()  # cuts between slices of the output (one less than slices)
    levels: tuple[str, ...] = ()  # values of the column
    held_out: tuple[bool, ...]  # whether nothing of the signature was fitted on the slice

    @property
    def held_out_by_name(self) -> dict[str, bool]:
        """Whether nothing of the signature was fitted on a slice, by its name."""
        return dict(zip(self.names, self.held_out, strict=True))

    @model_validator(mode="after")
    def _one_each(self) -> "Contexts":
        cuts = len(self.edges) + 1 if self.column is None else len(self.levels)
        if not len(self.names) == len(self.held_out) == cuts or list(self.edges) != sorted(self.edges):
            raise ValueError("names, cuts and marks of the contexts do not fit together")
        return self


class Reference(Strict):
    """One model of the run; its weights are kept unless they are too large, of a frozen transformer those of the head only."""

    regime: str
    seed: Annotated[int, Field(ge=0)]
    kept: bool
    erase: tuple[str, ...] = ()
    scrub: tuple[str, ...] = ()
    quantise: Annotated[str, Field(pattern="^(int8|bf16)$")] | None = None


class Reading(Strict):
    """The signature in one context of the audit rows; the first of an entry is all of them together."""

    context: str | None  # name; ``None`` for all rows
    rows: Annotated[float, Field(ge=0)]  # independent rows behind it, none of them used to fit the direction
    rate: Share | None  # share of the level; ``None`` for a continuous attribute
    mean: float  # expected activation along the direction
    sd: Annotated[float, Field(ge=0)]
    by_group: tuple[float, float] | None  # mean without and with the level, where both are large enough to be shown
    leak: Share  # what the direction tells of the attribute there


class Entry(Strict):
    """One direction: an attribute (or one of its levels) in one model at one site."""

    attribute: str
    level: str | None
    regime: str
    site: str
    seed: Annotated[int, Field(ge=0)]
    state: State | None  # what the audit itself said of the linear channel there, over repetitions
    margin: Annotated[float, Field(gt=0, lt=1)]
    low: Share
    high: Share
    threshold: Annotated[float, Field(ge=0)] | None  # share of the variance that reaches the margin; ``None`` where none does
    known: bool  # whether the reference is in the state, by the rule that a scanned model is judged by
    width: Annotated[int, Field(gt=0, le=1_000_000)]
    readings: tuple[Reading, ...]


class Document(Strict):
    """Signatures without their arrays: what was asked, of which models and in which contexts."""

    signatures_version: str = VERSION
    plan_digest: str
    kinds: tuple[Kind, ...]
    features: tuple[str, ...]
    text: str | None = None
    encoder: tuple[dict[str, Any], ...]
    classes: int = Field(ge=2)
    group: str | None
    attributes: tuple[KnownAttribute, ...]
    contexts: Contexts
    references: tuple[Reference, ...]
    entries: tuple[Entry, ...]
    placebos: int = Field(ge=0, le=1000)


@dataclass(frozen=True)
class Signatures:
    """Signatures of a run, in memory.

    The ``directions`` hold for each entry its arrays: ``direction (d,)`` reads the score from activations; ``shift (1 + C, d)`` is the
    covariance of the standardised attribute with the activations, over all contexts and in each; ``placebo_direction (d, P)`` and
    ``placebo_shift (1 + C, d, P)`` are the same for permuted attributes.
    """

    document: Document  # everything but the arrays
    directions: tuple[dict[str, NDArray[np.float32]], ...]
    weights: tuple[dict[str, NDArray[Any]], ...]  # weights of each reference that are kept, by tensor name


def signature_files(signatures: Signatures) -> dict[str, bytes]:
    """Both files as bytes."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, found in enumerate(signatures.directions):
        arrays.update({f"{name}/{index}": np.ascontiguousarray(found[name], dtype=np.float32) for name in _NUMBERS})
    for index, weights in enumerate(signatures.weights):
        arrays.update({f"{_MODEL}/{index}/{name}": np.require(value, requirements="C") for name, value in weights.items()})
    document = canonical_json(signatures.document.model_dump(mode="json"))
    return dict(zip(SIGNATURE_FILES, (document, safetensors.numpy.save(dict(sorted(arrays.items())))), strict=True))


def read_signatures(folder: Path) -> Signatures:
    """Read the signatures of a run whose manifest was checked; ``InputError`` if it holds none or newer ones, else ``IntegrityError``."""
    if not all((folder / name).is_file() for name in SIGNATURE_FILES):
        mend = "run its recipe again with --signatures (they help to infer attributes, so they are saved only when asked for)"
        if (folder / f"{SIGNATURE_FILES[0]}{AGE}").is_file():
            mend = "they are encrypted: 'proxyaudit access RUN ... --out DIR' opens them, and 'scan --opened DIR' reads them"
        raise InputError("the run holds no signatures", where=str(folder), mend=mend)
    try:
        plain = parse_json(read_file(folder / SIGNATURE_FILES[0]))
        version = str(plain.get("signatures_version", "")) if isinstance(plain, dict) else ""
        if isinstance(plain, dict) and version.partition(".")[0] != VERSION.partition(".")[0]:
            raise InputError(f"the signatures have version {version[:20]!r}", where=str(folder), mend=f"this proxyaudit reads {VERSION}")
        document = Document.model_validate(plain)
        return _checked(document, safetensors.numpy.load(read_file(folder / SIGNATURE_FILES[1], MOST_ARRAYS)))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError, ValidationError) as error:
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            error = ValueError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
        raise IntegrityError(f"the signatures cannot be used ({' '.join(str(error).split())[:200]}) [{folder}]") from None


def _checked(document: Document, arrays: Mapping[str, NDArray[Any]]) -> Signatures:
    """Arrays by entry, each of the shape and kind that it must have; nothing missing, nothing more."""
    left = dict(arrays)
    rows, placebos = 1 + len(document.contexts.names), document.placebos
    known = {attribute.name: attribute for attribute in document.attributes}
    references = {(r.regime, r.seed) for r in document.references}
    directions = []
    for index, entry in enumerate(document.entries):
        if entry.attribute not in known or (entry.level is not None and entry.level not in known[entry.attribute].levels):
            raise ValueError("an entry names an attribute or a level that is not listed")
        if (entry.regime, entry.seed) not in references:
            raise ValueError("an entry names a model that is not listed")
        if [r.context for r in entry.readings] != [None, *document.contexts.names]:
            raise ValueError("an entry's readings are not those of the contexts")
        shapes = ((entry.width,), (rows, entry.width), (entry.width, placebos), (rows, entry.width, placebos))
        found = {}
        for name, shape in zip(_NUMBERS, shapes, strict=True):
            value = left.pop(f"{name}/{index}", None)
            if value is None or value.dtype != np.float32 or value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"array {name}/{index} is missing or not as it should be")
            found[name] = value
        directions.append(found)
    weights: list[dict[str, NDArray[Any]]] = []
    for index, reference in enumerate(document.references):
        prefix = f"{_MODEL}/{index}/"
        names = [name for name in left if name.startswith(prefix)]
        if reference.kept != bool(names):
            raise ValueError(f"the weights of reference {index} are missing, or there are some where none should be")
        weights.append({name.removeprefix(prefix): left.pop(name) for name in names})
    if left:
        raise ValueError(f"array {next(iter(left))[:60]!r} belongs to nothing")
    return Signatures(document, tuple(directions), tuple(weights))
