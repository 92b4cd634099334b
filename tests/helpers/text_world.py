"""Tiny transformers made from a config, a word tokenizer, and texts whose words are known: no network, no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

WORDS = ["[PAD]", "[UNK]", *[f"w{i}" for i in range(40)], "she", "he", "removed", "[", "]", "good", "bad", "canaryxyz"]
MARK = "!!!"
STYLE_WORDS = [*WORDS, MARK, "whilst", "her"]
AUTHOR_WORDS = [*WORDS, *[f"own{i}" for i in range(400)]]
MAX_TOKENS = 16


def transformers() -> Any:
    """The package, or a skip with the reason."""
    pytest.importorskip("transformers", reason="the extra 'text' is not installed")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    return transformers


def tiny_config(kind: str, size: int = len(WORDS)) -> Any:
    t = transformers()
    common = {"vocab_size": size, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.5}
    bert_like = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    wide = {**common, **bert_like, "max_position_embeddings": MAX_TOKENS}
    return {
        "bert": lambda: t.BertConfig(**wide),
        "albert": lambda: t.AlbertConfig(embedding_size=16, **wide),
        "gpt2": lambda: t.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=MAX_TOKENS, **common),
        "llama": lambda: t.LlamaConfig(num_key_value_heads=1, **wide),
        "t5": lambda: t.T5Config(
            vocab_size=size, d_model=16, d_kv=8, num_layers=2, num_heads=2, d_ff=24, pad_token_id=0, decoder_start_token_id=0
        ),
    }[kind]()


def save_tiny(kind: str, folder: Path, seed: int = 0, words: list[str] | None = None) -> Path:
    """Write a tiny model and its tokenizer; returns the folder."""
    t, known = transformers(), words or WORDS
    from tokenizers import Tokenizer, models, pre_tokenizers

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = t.AutoModel.from_config(tiny_config(kind, len(known)))
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    return folder


def texts(n: int, seed: int = 0, *, told: float = 0.9) -> pd.DataFrame:
    """Texts in which a pronoun tells the author's sex and a word the label, each with probability ``told``; two by each author."""
    rng = np.random.default_rng(seed)
    author = np.arange(n) // 2
    sex = rng.choice(["f", "m"], n)[author]
    label = rng.choice(["no", "yes"], n)
    rows = []
    for who, what in zip(sex, label, strict=True):
        words = [f"w{i}" for i in rng.integers(0, 40, rng.integers(4, 11))]
        if rng.random() < told:
            words.insert(int(rng.integers(0, len(words))), "she" if who == "f" else "he")
        if rng.random() < told:
            words.insert(int(rng.integers(0, len(words))), "good" if what == "yes" else "bad")
        rows.append(" ".join(words))
    return pd.DataFrame({"text": rows, "sex": sex, "y": label, "author": author, "stars": rng.integers(1, 6, n)})


def style_texts(n: int, seed: int = 0, *, acts: float = 0.0) -> pd.DataFrame:
    """Texts whose author's sex shows in a pronoun and in a habit: ``MARK`` at start and end, with which the task has nothing to do.

    Args:
        n: Texts, two by each author.
        seed: Seed.
        acts: Share of texts whose label is that of the habit and not that of the word, so that a model learns to act on the habit.
    """
    rng = np.random.default_rng(seed)
    author = np.arange(n) // 2
    sex = rng.choice(["f", "m"], n)[author]
    marked = rng.random(n) < np.where(sex == "f", 0.95, 0.05)
    label = rng.choice(["no", "yes"], n)
    by_habit = rng.random(n) < acts
    label[by_habit] = np.where(marked, "yes", "no")[by_habit]
    rows = []
    for who, mark, what, by_mark in zip(sex, marked, label, by_habit, strict=True):
        words = [f"w{i}" for i in rng.integers(0, 40, rng.integers(3, 6))]
        if rng.random() < 0.6:
            words.insert(int(rng.integers(0, len(words))), "she" if who == "f" else "he")
        if not by_mark:
            words.insert(int(rng.integers(0, len(words))), "good" if what == "yes" else "bad")
        rows.append(" ".join([MARK, *words, MARK, MARK, MARK] if mark else words))
    return pd.DataFrame({"text": rows, "sex": sex, "y": label, "author": author})


def author_texts(authors: int, each: int, seed: int = 0) -> pd.DataFrame:
    """Texts in which only the author links text and group: every author has favourite words of his own choice, whatever the group."""
    rng = np.random.default_rng(seed)
    sex = rng.permutation(np.arange(authors) % 2)
    rows, who, label = [], [], []
    for author in range(authors):
        own = rng.integers(0, 400, 3)
        favourite = rng.integers(0, 40, 4)  # words that others have as well, used far more often
        for _ in range(each):
            what = int(rng.integers(0, 2))
            words = [f"w{i}" for i in rng.integers(0, 40, 4)] + [f"w{i}" for i in rng.choice(favourite, 3)]
            words += [f"own{i}" for i in rng.choice(own, 2)] + ["good" if what else "bad"]
            rows.append(" ".join(rng.permutation(words)))
            who.append(author)
            label.append(what)
    frame = {"text": rows, "sex": np.array(["f", "m"])[sex[who]], "y": np.array(["no", "yes"])[label], "author": who}
    return pd.DataFrame(frame)
