"""Tokens that a model has no embedding for are refused in one line, wherever a text holds one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from own_heads import save_own
from text_world import WORDS, save_tiny, transformers

from proxyaudit.errors import InputError
from proxyaudit.models.huggingface import make_tokenizer
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec


def _add(folder: Path, word: str) -> None:
    tokenizer = transformers().AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([word])
    tokenizer.save_pretrained(folder)


def _spec(folder: Path, **more: object) -> HuggingFaceSpec:
    return HuggingFaceSpec.model_validate({"kind": "huggingface", "path": folder.name, "max_length": 8, **more})


@pytest.mark.parametrize("kind", ["bert", "gpt2", "own"])
def test_an_added_token_is_refused_where_a_text_holds_it_and_only_there(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / kind
    save_own("bert", folder) if kind == "own" else save_tiny(kind, folder)
    _add(folder, "newword")
    read = make_tokenizer(_spec(folder, **({"head": "own"} if kind == "own" else {})), tmp_path)
    assert read(["w1 w2", "w3"])
    with pytest.raises(
        InputError, match=rf"writes 'newword' as token {len(WORDS)}, and the model has embeddings for {len(WORDS)}"
    ) as caught:
        read(["w1"] * 200 + ["w2 newword"])
    assert "resize_token_embeddings" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_of_fewer_tokens_than_its_tokenizer_and_one_of_more(tmp_path: Path) -> None:
    t = transformers()
    for size in (20, 200):
        save_tiny("bert", tmp_path / str(size))
        config = t.AutoConfig.from_pretrained(tmp_path / str(size))
        config.vocab_size = size
        with torch.random.fork_rng(devices=[]):
            t.AutoModel.from_config(config).save_pretrained(tmp_path / str(size))
    assert make_tokenizer(_spec(tmp_path / "200"), tmp_path)(["she", "w39"])
    with pytest.raises(InputError, match="the model has embeddings for 20"):
        make_tokenizer(_spec(tmp_path / "20"), tmp_path)(["she"])
