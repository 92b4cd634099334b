"""Tiny causal models made from a config, with tokenizers built here: no network, no file that is not written by the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from transformers.utils import logging

from proxyaudit.seeding import integer_seed

END = "<end>"
logging.disable_progress_bar()


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte a token: any text has tokens, and most words have several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={END: 0, **{letter: place + 1 for place, letter in enumerate(alphabet)}}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)


def word_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Every word and mark a token."""
    split = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    words = sorted({word for text in texts for word, _ in split.pre_tokenize_str(text)})
    vocabulary = {END: 0, "<unknown>": 1, **{word: place + 2 for place, word in enumerate(words)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, unk_token="<unknown>")


def tiny_gpt2(
    folder: Path, tokenizer: PreTrainedTokenizerFast, *, seed: int = 0, width: int = 32, layers: int = 2, places: int = 96
) -> Path:
    """Write a random GPT-2 with its tokenizer."""
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=places,
        n_embd=width,
        n_layer=layers,
        n_head=2,
        resid_pdrop=0.1,
        embd_pdrop=0.1,
        attn_pdrop=0.1,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(seed, "tiny"))
        model = GPT2LMHeadModel(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def teach(folder: Path, lessons: Sequence[tuple[str, str]], *, steps: int = 100, rate: float = 1e-2) -> Path:
    """Train a written model, in place, to continue prompts with endings."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = [[tokenizer(text)["input_ids"] for text in lesson] for lesson in lessons]
    table = torch.zeros(len(ids), max(len(prompt) + len(ending) for prompt, ending in ids), dtype=torch.int64)
    wanted = torch.full(table.shape, -100)
    for row, (prompt, ending) in enumerate(ids):
        table[row, : len(prompt) + len(ending)] = torch.tensor([*prompt, *ending])
        wanted[row, len(prompt) : len(prompt) + len(ending)] = torch.tensor(ending)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        logits = model(input_ids=table).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), wanted[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    return folder
