"""Tiny classifiers of transformers with heads of their own, made from a config and trained for a moment on what they are to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from text_world import MAX_TOKENS, WORDS, save_tiny, texts, tiny_config, transformers

KINDS = ("bert", "distilbert", "gpt2", "llama")


def own_config(kind: str, **more: Any) -> Any:
    """A config of a classifier; ``more`` goes into it (``id2label``, ``num_labels``, ``problem_type``)."""
    if kind == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": MAX_TOKENS}
        config = transformers().DistilBertConfig(vocab_size=len(WORDS), pad_token_id=0, **sizes)
    else:
        config = tiny_config(kind)
        config.initializer_range = 0.02  # as in a fresh model, so that it learns
    for key, value in more.items():
        setattr(config, key, value)
    return config


def save_own(kind: str, folder: Path, *, says: str | None = None, seed: int = 0, **more: Any) -> Path:
    """Write a classifier that is trained for a moment, so that its second output stands for ``he`` (``says: sex``) or ``good`` (``y``)."""
    t = transformers()
    save_tiny("bert", folder)  # for the tokenizer
    (folder / "model.safetensors").unlink()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = t.AutoModelForSequenceClassification.from_config(own_config(kind, **more))
        if says is not None:
            _train(model, says)
    model.eval().save_pretrained(folder)
    return folder


def _train(model: Any, says: str) -> None:
    frame = texts(600, seed=7, told=1.0)
    rows = [[WORDS.index(word) for word in text.split()] for text in frame["text"]]
    ids = torch.tensor([row + [0] * (MAX_TOKENS - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (MAX_TOKENS - len(row)) for row in rows])
    wanted = torch.tensor((frame[says] == {"sex": "m", "y": "yes"}[says]).to_numpy().astype(np.int64))
    steps = torch.optim.Adam(model.parameters(), 5e-3)
    for step in range(72):
        part = slice(step % 6 * 100, step % 6 * 100 + 100)
        logits = model(input_ids=ids[part], attention_mask=mask[part]).logits
        torch.nn.functional.cross_entropy(logits, wanted[part]).backward()
        steps.step()
        steps.zero_grad()


def own_probabilities(folder: Path, lines: list[str]) -> np.ndarray:
    """What transformers itself says of each text alone, ``(n, labels)``."""
    t = transformers()
    model = t.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return np.concatenate([model(input_ids=torch.tensor([tokenizer(line)["input_ids"]])).logits.double().softmax(1) for line in lines])
