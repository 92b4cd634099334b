"""Tiny classifiers of transformers with heads of their own, made from a config: what their outputs say is set, so the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from text_world import MAX_TOKENS, WORDS, save_tiny, texts, tiny_config, transformers

KINDS = ("bert", "distilbert", "gpt2", "llama")
_SHE, _HE = WORDS.index("she"), WORDS.index("he")


def own_config(kind: str, **more: Any) -> Any:
    """A config of a classifier; ``more`` goes into it (``id2label``, ``num_labels``, ``problem_type``)."""
    if kind == "distilbert":
        sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": MAX_TOKENS}
        config = transformers().DistilBertConfig(vocab_size=len(WORDS), pad_token_id=0, initializer_range=0.5, **sizes)
    else:
        config = tiny_config(kind)
    for key, value in more.items():
        setattr(config, key, value)
    return config


def save_own(kind: str, folder: Path, *, reads: float = 6.0, seed: int = 0, **more: Any) -> Path:
    """Write a classifier whose second output is fitted to say yes to texts with 'he' (``reads``: spread of its log-odds)."""
    t = transformers()
    save_tiny("bert", folder)  # for the tokenizer
    (folder / "model.safetensors").unlink()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = t.AutoModelForSequenceClassification.from_config(own_config(kind, **more)).eval()
    head = [part for part in model.modules() if isinstance(part, torch.nn.Linear)][-1]
    if head.out_features == 2:
        _fit(model, head, reads)
    model.save_pretrained(folder)
    return folder


def _fit(model: Any, head: torch.nn.Linear, reads: float) -> None:
    """Set the head by least squares on what it is given."""
    frame = texts(600, seed=7, told=1.0)
    rows = [[WORDS.index(word) for word in text.split()] for text in frame["text"]]
    seen: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, -1] if args[0].ndim == 3 else args[0][0]))
    with torch.no_grad():
        for row in rows:
            model(input_ids=torch.tensor([row]))
    hook.remove()
    h = torch.stack(seen).double().numpy()
    sex = np.where(frame["sex"] == "m", 1.0, -1.0)
    centre = h.mean(axis=0)
    direction = np.linalg.solve((h - centre).T @ (h - centre) + 1e-3 * len(h) * np.eye(h.shape[1]), (h - centre).T @ sex)
    direction *= reads / max(float(((h - centre) @ direction).std()), 1e-9)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(np.stack([-direction / 2, direction / 2])))
        if head.bias is not None:
            middle = float(centre @ direction) / 2
            head.bias.copy_(torch.tensor([middle, -middle]))


def own_probabilities(folder: Path, lines: list[str]) -> np.ndarray:
    """What transformers itself says of each text alone, ``(n, labels)``."""
    t = transformers()
    model = t.AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = t.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return np.concatenate([model(input_ids=torch.tensor([tokenizer(line)["input_ids"]])).logits.double().softmax(1) for line in lines])
