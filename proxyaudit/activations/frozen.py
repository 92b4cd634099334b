"""Frozen transformers, run once for all repetitions; values are found by a hash of a text's tokens, so no text lies in what is kept."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import Tensor, nn

from proxyaudit.activations.capture import Captured
from proxyaudit.arrays import Singles
from proxyaudit.models.base import TrainedModel, as_tensor, copy_module, inference
from proxyaudit.models.hooks import tapped
from proxyaudit.models.text import TextClassifier, placed
from proxyaudit.models.training import train_model
from proxyaudit.recipe.models import KindSpec
from proxyaudit.regimes import TrainingData

KEYS, FIRST = "keys", "first"
AUDIT = "audit/"


@dataclass(frozen=True)
class Features:
    """What a frozen transformer made of texts."""

    rows: Mapping[bytes, int]  # row of ``first`` by key
    first: Singles  # ``(m, d)`` pooled last hidden states of training texts
    audit: Mapping[str, Singles]  # activations of the audit rows by site

    @classmethod
    def read(cls, folders: Sequence[Path]) -> Self:
        """Read the results of the tasks; the audit rows of the first that has them."""
        stored = [load_file(folder / "features.safetensors") for folder in folders]
        keys = np.concatenate([one[KEYS] for one in stored])
        audit = {key.removeprefix(AUDIT): value for key, value in stored[0].items() if key.startswith(AUDIT)}
        return cls({key.tobytes(): row for row, key in enumerate(keys)}, np.concatenate([one[FIRST] for one in stored]), audit)

    def of(self, x: Singles) -> Singles:
        """Pooled last hidden states of texts; ``KeyError`` where one was not run through the transformer."""
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
    hashed = (hashlib.blake2b(tokens.tobytes(), digest_size=16).digest() for tokens in np.asarray(x, dtype="<f4"))
    return np.frombuffer(b"".join(hashed), dtype=np.uint8).reshape(-1, 16)


def train_head(model: TrainedModel, data: TrainingData, features: Features, spec: KindSpec, seed: int) -> TrainedModel:
    """Train the head on the frozen transformer's values; the same as ``train_model``, without running the transformer."""
    module = copy_module(model.module)
    assert isinstance(module, TextClassifier)
    alone = replace(model, module=nn.Sequential(*module.dense, module.head), sites=(), verdict_sites=(), taps={})
    trained = train_model(alone, features.of(data.x), data.y, data.weight, spec, seed)
    *dense, head = trained.module.children()
    assert isinstance(head, nn.Linear)
    module.dense, module.head = nn.ModuleList(dense), head
    return replace(model, module=module.eval(), details=trained.details)


def head_forward(model: TrainedModel, features: Features) -> Callable[[Singles], Captured] | None:
    """What ``capture`` gives at the last verdict site on other texts that a source held; ``None`` for a site inside the transformer."""
    first, site = first_site(model), model.verdict_sites[-1]
    if not text_module(model).is_vector(site):
        return None
    return lambda x: capture_head(model, {first: completed(features, model, x).of(x)}, (site,))


def capture_head(model: TrainedModel, known: Mapping[str, Singles], sites: tuple[str, ...] | None = None) -> Captured:
    """What ``capture`` gives, of all sites or these: what follows the pooling is run, the transformer's values and the pooled are known."""
    module, first, sites = text_module(model), first_site(model), model.sites if sites is None else sites
    acts, pooled = dict(known), known[first]
    own = tuple(site for site in sites if module.is_vector(site) and site != first)

    def keep(site: str, value: Tensor) -> None:
        acts[site] = value.to(torch.float32).numpy().copy()

    with inference(module), tapped(model, keep, own):
        outputs = model.outputs(model.logits(module.after_pooling(as_tensor(pooled)), len(pooled)))
    return Captured({site: np.asarray(acts[site], dtype=np.float32) for site in sites}, outputs)


def is_inner(model: TrainedModel, site: str) -> bool:
    """Whether a site lies in the transformer or is its pooled output, and decides no verdict."""
    inner = site == first_site(model) or not text_module(model).is_vector(site)
    return inner and site not in model.verdict_sites


def first_site(model: TrainedModel) -> str:
    """The site that holds the pooled last hidden states."""
    return next(site for site in text_module(model).site_taps() if text_module(model).is_vector(site))


def text_module(model: TrainedModel) -> TextClassifier:
    """The classifier of texts inside a model."""
    assert isinstance(model.module, TextClassifier)
    return model.module


def pooled_texts(model: TrainedModel, x: Singles) -> Singles:
    """Run the transformer over texts: pooled last hidden states ``(n, d)``."""
    module = text_module(model)
    if not len(x):
        return np.zeros((0, 1), dtype=np.float32)
    with placed(module), inference(module):
        device = module.head.weight.device
        read = [(rows, module.encode(as_tensor(x[rows]).to(device)).cpu().numpy()) for rows in module.batches(x, 4096)]
    found = np.zeros((len(x), read[0][1].shape[1]), dtype=np.float32)
    for rows, values in read:
        found[rows] = values
    return found
