"""Frozen transformers, run once: what they make of every text that a run needs, kept for all repetitions.

Where only the head is trained, the transformer gives the same text the same values in every regime and repetition. One task for each
way of scrubbing (and one for each release) runs it over the texts; training and capture then look values up. Texts are known by a
hash of their tokens, so no text lies in what is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from proxyaudit.activations.capture import Captured, capture
from proxyaudit.arrays import Singles
from proxyaudit.channels.proxies.text_measure import rewritten_texts
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.text import TextEncoder
from proxyaudit.models import TrainedModel, train_model
from proxyaudit.models.base import as_tensor, copy_module, inference, probabilities, to_logits
from proxyaudit.models.devices import placed
from proxyaudit.models.hooks import tapped
from proxyaudit.models.huggingface import make_tokenizer
from proxyaudit.models.quantise import quantise
from proxyaudit.models.read_downstream import check_readable
from proxyaudit.models.text import SPAN_STEPS, TextClassifier
from proxyaudit.recipe.recipe import HuggingFaceSpec, Recipe, TrainingSpec
from proxyaudit.regimes import Regime, TrainingData
from proxyaudit.types import NotTested

if TYPE_CHECKING:
    from proxyaudit.pipeline.plan import Prepared

ENCODE = "encode"
_KEYS, _FIRST = "keys", "first"
_AUDIT = "audit/"


def attach_tokenizer(recipe: Recipe, base: Path, dataset: Dataset) -> Dataset:
    """Give a data set of texts its model's tokenizer, and say what this version does not ask of texts."""
    if not isinstance(dataset.encoder, TextEncoder) or not isinstance(recipe.model, HuggingFaceSpec):
        return dataset
    tokenizer = make_tokenizer(recipe.model, base)
    check_readable(tokenizer, list(dataset.audit[dataset.encoder.column]), where=f"model.path '{recipe.model.path}'")
    encoder = replace(dataset.encoder, tokenize=tokenizer, token_names=tokenizer.names, special=tokenizer.special)
    table = encoder.transform(dataset.audit)
    longest = (table >= 0).sum(axis=1)
    notes = [*dataset.notes, *_NOTES]
    for digit, name in enumerate(recipe.model.spans):
        without = float((((table % 1 * SPAN_STEPS).astype(np.int64) >> digit) % 2 == 0).all(axis=1).mean())
        if name in (recipe.model.pooling, recipe.model.site_pooling) and without > 0:
            why = f"span '{name}' is not found in {without:.0%} of the audit texts, which are pooled over all of their tokens"
            notes.append(NotTested(what=f"span '{name}' in every text", why=why))
    cut = float((longest >= encoder.width).mean())
    if cut > 0:
        why = f"model.max_length cuts them; {cut:.0%} of the audit texts reach it"
        notes.append(NotTested(what=f"what stands after the first {encoder.width} tokens of a text", why=why))
    if recipe.model.trust_remote_code:
        why = "the recipe has it executed (model.trust_remote_code); it could do anything, and its forward pass is taken as it is"
        notes.append(NotTested(what="code that comes with the model", why=why))
    return replace(dataset, encoder=encoder, notes=tuple(notes))


_NOTES = (
    NotTested(
        what="what single tokens carry that their pooled value does not",
        why="sites inside the transformer are read as one vector a text (model.site_pooling), and so are all channels there",
    ),
    NotTested(
        what="the whole of the inputs' leak",
        why="the inputs are read as term and character patterns reduced to some 200 numbers: a lower bound of what the texts carry",
    ),
)


def is_frozen(recipe: Recipe) -> bool:
    """Whether the transformer is never trained."""
    return isinstance(recipe.model, HuggingFaceSpec) and recipe.model.tune == "head"


@dataclass(frozen=True)
class Encoded:
    """What is run through a frozen transformer at once.

    Attributes:
        rules: Scrubbing rules.
        release: The release whose rows it is; of real rows ``None``, and then the audit rows are among them.
        trains: Whether training rows are needed.
        quantise: How the transformer is quantised, or ``None``.
    """

    rules: tuple[str, ...]
    release: str | None
    trains: bool
    quantise: str | None = None


def encoded_sources(prepared: Prepared) -> dict[str, Encoded]:
    """What must be run through a frozen transformer, by name: a way of scrubbing, or a release."""
    if not is_frozen(prepared.recipe):
        return {}
    found: dict[str, Encoded] = {}
    for regime in prepared.regimes:
        name = audit_source(regime, prepared)
        if name is not None:
            trains = regime.needs_training and regime.kind != "release"
            found[name] = Encoded(regime.scrub, None, trains or (name in found and found[name].trains), regime.quantise)
    for name in prepared.releases:
        found[f"release {name}"] = Encoded((), name, True)
    return found


def audit_source(regime: Regime, prepared: Prepared) -> str | None:
    """Name of the audit texts as a regime meets them; ``None`` where a regime's transformer may be another one (checkpoints)."""
    original = prepared.regime(str(regime.of)) if regime.quantise is not None else regime
    if original.checkpoints:
        return None
    name = "texts scrubbed of " + ", ".join(regime.scrub) if regime.scrub else "real texts"
    return name if regime.quantise is None else f"{name}, {regime.quantise}"


def sources_of(regime: Regime, prepared: Prepared) -> tuple[str, ...]:
    """Names of what a regime's training and capture look up; the first holds the audit rows."""
    name = audit_source(regime, prepared)
    if not is_frozen(prepared.recipe) or name is None:
        return ()
    release = regime.of if regime.kind == "mixed" else regime.name
    return (name, *((f"release {release}",) if release in prepared.releases else ()))


def run_encode(name: str, prepared: Prepared, folder: Path) -> None:
    """Run the frozen transformer over one source and keep what it makes."""
    source = encoded_sources(prepared)[name]
    dataset = prepared.dataset
    model = prepared.model if source.quantise is None else quantise(prepared.model, source.quantise)
    assert isinstance(dataset.encoder, TextEncoder)
    rows = dataset.train if source.release is None else prepared.releases[source.release]
    x = dataset.encoder.transform(dataset.encoder.scrubbed(rows if source.trains else rows[:0], source.rules))
    first = first_site(model)
    stored: dict[str, NDArray[Any]] = {_KEYS: row_keys(x), _FIRST: pooled_texts(model, x)}
    if source.release is None:
        audit = dataset.encoder.transform(dataset.encoder.scrubbed(dataset.audit, source.rules))
        inner = tuple(site for site in model.sites if site == first or not _module(model).is_vector(site))
        acts = capture(replace(model, sites=tuple(dict.fromkeys((*inner, first))), taps=_module(model).fine_taps()), audit).acts
        stored |= {_AUDIT + site: value for site, value in acts.items()}
        texts = dataset.encoder.scrubbed(dataset.audit, source.rules)
        without = rewritten_texts(audit, texts, dataset.encoder, prepared.proxies, prepared.recipe.seed)
        if len(without):
            without = without[np.unique(row_keys(without), axis=0, return_index=True)[1]]
            parts = [values for values in (stored[_FIRST], pooled_texts(model, without)) if len(values)]
            stored |= {_KEYS: np.concatenate([stored[_KEYS], row_keys(without)]), _FIRST: np.concatenate(parts)}
    save_file({key: np.ascontiguousarray(value) for key, value in stored.items()}, folder / "features.safetensors")


@dataclass(frozen=True)
class Features:
    """What a frozen transformer made of texts.

    Attributes:
        rows: Row of ``first`` by key.
        first: ``(m, d)`` pooled last hidden states of training texts.
        audit: Activations of the audit rows by site.
    """

    rows: Mapping[bytes, int]
    first: Singles
    audit: Mapping[str, Singles]

    @classmethod
    def of_audit(cls, site: str, values: Singles) -> Features:
        """Values of one site on the audit rows alone."""
        return cls({}, np.zeros((0, 1), dtype=np.float32), {site: values})

    @classmethod
    def read(cls, folders: Sequence[Path]) -> Features:
        """Read the results of the tasks; the audit rows of the first that has them."""
        stored = [load_file(folder / "features.safetensors") for folder in folders]
        keys = np.concatenate([one[_KEYS] for one in stored])
        audit = {key.removeprefix(_AUDIT): value for key, value in stored[0].items() if key.startswith(_AUDIT)}
        return cls({key.tobytes(): row for row, key in enumerate(keys)}, np.concatenate([one[_FIRST] for one in stored]), audit)

    def of(self, x: Singles) -> Singles:
        """Pooled last hidden states of texts.

        Raises:
            KeyError: a text was not run through the transformer.
        """
        return self.first[[self.rows[key.tobytes()] for key in row_keys(x)]]


def completed(features: Features, model: TrainedModel, x: Singles) -> Features:
    """The same with texts that no source held, such as those a language model wrote for one repetition, run through the transformer."""
    keys = [key.tobytes() for key in row_keys(x)]
    new = {key: row for row, key in enumerate(keys) if key not in features.rows}
    if not new:
        return features
    rows = {**features.rows, **{key: len(features.first) + place for place, key in enumerate(new)}}
    return replace(features, rows=rows, first=np.concatenate([features.first, pooled_texts(model, x[list(new.values())])]))


def row_keys(x: Singles) -> NDArray[np.uint8]:
    """A hash of 16 bytes of each row of a token table."""
    keys = np.zeros((len(x), 16), dtype=np.uint8)
    for row, tokens in enumerate(np.asarray(x, dtype="<f4")):
        keys[row] = np.frombuffer(hashlib.blake2b(tokens.tobytes(), digest_size=16).digest(), dtype=np.uint8)
    return keys


def train_head(model: TrainedModel, data: TrainingData, features: Features, spec: TrainingSpec, seed: int) -> TrainedModel:
    """Train the head on the frozen transformer's values; the same as ``train_model``, without running the transformer."""
    module = copy_module(model.module)
    assert isinstance(module, TextClassifier)
    alone = TrainedModel(_Head(module.dense, module.head), model.n_classes, (), (), {}, model.details)
    trained = train_model(alone, features.of(data.x), data.y, data.weight, spec, seed)
    assert isinstance(trained.module, _Head)
    module.dense, module.head = trained.module.dense, trained.module.head
    return replace(model, module=module.eval(), details=trained.details)


def capture_head(model: TrainedModel, features: Features) -> Captured:
    """What ``capture`` gives on the audit rows, with the transformer's part looked up and the head's part run."""
    return _run_head(model, {site: np.asarray(value) for site, value in features.audit.items()}, model.sites)


def head_forward(model: TrainedModel, features: Features) -> Callable[[Singles], Captured] | None:
    """What ``capture`` gives at the last verdict site on other texts that a source held; ``None`` for a site inside the transformer."""
    first, site = first_site(model), model.verdict_sites[-1]
    if not _module(model).is_vector(site):
        return None
    return lambda x: _run_head(model, {first: completed(features, model, x).of(x)}, (site,))


def _run_head(model: TrainedModel, acts: dict[str, Singles], sites: tuple[str, ...]) -> Captured:
    """Run what follows the pooling, whose values are among ``acts``, and read these sites."""
    module, first = _module(model), first_site(model)
    pooled = acts[first]
    own = tuple(site for site in sites if module.is_vector(site) and site != first)

    def keep(site: str, value: Tensor) -> None:
        acts[site] = value.to(torch.float32).numpy().copy()

    with inference(module), tapped(model, keep, own):
        outputs = probabilities(to_logits(module.after_pooling(as_tensor(pooled)), model.n_classes, len(pooled)))
    return Captured({site: np.asarray(acts[site], dtype=np.float32) for site in sites}, outputs)


def is_inner(model: TrainedModel, site: str) -> bool:
    """Whether a site lies in the transformer or is its pooled output, and decides no verdict."""
    inner = site == first_site(model) or not _module(model).is_vector(site)
    return inner and site not in model.verdict_sites


def first_site(model: TrainedModel) -> str:
    """The site that holds the pooled last hidden states."""
    return next(site for site in _module(model).site_taps() if _module(model).is_vector(site))


class _Head(nn.Module):
    def __init__(self, dense: nn.ModuleList, head: nn.Linear) -> None:
        super().__init__()
        self.dense, self.head = dense, head

    def forward(self, value: Tensor) -> Tensor:
        for block in self.dense:
            value = block(value)
        logits: Tensor = self.head(value)
        return logits


def _module(model: TrainedModel) -> TextClassifier:
    assert isinstance(model.module, TextClassifier)
    return model.module


def pooled_texts(model: TrainedModel, x: Singles) -> Singles:
    """Run the transformer over texts: pooled last hidden states ``(n, d)``."""
    module = _module(model)
    if not len(x):
        return np.zeros((0, 1), dtype=np.float32)
    found: Singles | None = None
    with placed(module), inference(module):
        for rows in module.batches(x, 4096):
            values = module.encode(as_tensor(x[rows]).to(module.head.weight.device)).cpu().numpy()
            found = np.zeros((len(x), values.shape[1]), dtype=np.float32) if found is None else found
            found[rows] = values
    assert found is not None
    return found
