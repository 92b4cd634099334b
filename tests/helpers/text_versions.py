"""Versions of one tiny classifier of texts whose truth is known: what its words tell and what its head reads are set by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from text_world import MAX_TOKENS, WORDS, save_tiny, texts

from proxyaudit.activations.frozen import pooled_texts
from proxyaudit.models.build import build_model
from proxyaudit.models.huggingface import make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.models.text import TextClassifier
from proxyaudit.recipe.recipe import SitesSpec

Weights = dict[str, NDArray[np.float32]]

_EMBEDDINGS = {"bert": "embeddings.word_embeddings.weight", "gpt2": "wte.weight"}
_SHE, _HE = WORDS.index("she"), WORDS.index("he")


def set_pronouns(folder: Path, kind: str, apart: float) -> Path:
    """Rewrite a tiny model so that the two pronouns differ by so much (0: it cannot tell them)."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    table = weights[_EMBEDDINGS[kind]].copy()
    middle, half = (table[_SHE] + table[_HE]) / 2, (table[_SHE] - table[_HE]) / 2
    table[_SHE], table[_HE] = middle + apart * half, middle - apart * half
    save_file({**weights, _EMBEDDINGS[kind]: table}, file, metadata={"format": "pt"})
    return folder


def tiny_base(folder: Path, kind: str, *, apart: float, seed: int = 0) -> Path:
    """A tiny transformer with its tokenizer."""
    return set_pronouns(save_tiny(kind, folder, seed), kind, apart)


def classifier(base: Path, *, reads: float, whole: bool, seed: int = 0, pooling: str = "mean") -> Weights:
    """Weights of a linear head on a transformer, fitted to the label; its reading of the author's sex is set.

    Args:
        base: The transformer's folder.
        reads: How far the head's logit moves with the sex, in spreads; 0 takes out what the fit found.
        whole: Whether the transformer's weights are among them (a fine-tuned model) or only the head's.
        seed: Of the texts that the head is fitted on.
        pooling: What the head reads.
    """
    spec = HuggingFaceSpec(kind="huggingface", path=str(base), max_length=MAX_TOKENS, pooling=pooling, tune="full" if whole else "head")
    model = build_model(spec, SitesSpec(), n_inputs=MAX_TOKENS, n_classes=2, base=base, seed=0)
    assert isinstance(model.module, TextClassifier)
    frame = texts(1200, seed=100 + seed)
    x = np.full((len(frame), MAX_TOKENS), -1, dtype=np.float32)
    for row, tokens in enumerate(make_tokenizer(spec, base)(list(frame["text"]))):
        x[row, : len(tokens)] = tokens
    h = pooled_texts(model, x).astype(np.float64)
    centre = h.mean(axis=0)
    h = h - centre
    label, sex = (np.where(frame[name] == one, 1.0, -1.0) for name, one in (("y", "yes"), ("sex", "m")))
    told = np.linalg.solve(h.T @ h + 1e-3 * len(h) * np.eye(h.shape[1]), h.T @ np.stack([label, sex], axis=1))
    # The head's direction, made free of what it tells of the sex, then given as much of it as asked.
    away = h.T @ sex / len(h)
    plain = told[:, 0] - (told[:, 0] @ away) / max(float(away @ away), 1e-12) * away
    head = 2.0 * plain / (h @ plain).std()
    if reads:
        head = head + reads * told[:, 1] / (h @ told[:, 1]).std()
    with torch.no_grad():
        model.module.head.weight.copy_(torch.tensor(head[None], dtype=torch.float32))
        model.module.head.bias.copy_(torch.tensor([-float(centre @ head)], dtype=torch.float32))
    kept = model.module.state_dict().items()
    return {name: value.numpy().copy() for name, value in kept if whole or not name.startswith("backbone.")}
