"""Every architecture of transformers passes its first forward pass, or is refused in one line before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from text_world import WORDS, save_tiny, texts, transformers

from proxyaudit.errors import InputError
from proxyaudit.pipeline.plan import prepare
from proxyaudit.recipe.recipe import parse_recipe

_WIDE = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_ENDS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
CONFIGS: dict[str, Any] = {
    "Roberta": {**_WIDE, **_ENDS, "max_position_embeddings": 18, "type_vocab_size": 1},
    "XLMRoberta": {**_WIDE, **_ENDS, "max_position_embeddings": 18, "type_vocab_size": 1},
    "MPNet": {**_WIDE, **_ENDS, "max_position_embeddings": 18},
    "Longformer": {**_WIDE, **_ENDS, "max_position_embeddings": 18, "attention_window": [4, 4]},
    "XLNet": {"vocab_size": len(WORDS), "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24},
    "FNet": {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 24, "max_position_embeddings": 16},
    "Electra": {**_WIDE, "embedding_size": 16, "max_position_embeddings": 16},
    "GPTNeoX": {**_WIDE, "max_position_embeddings": 16},
    "Mamba": {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("architectures")
    texts(300, seed=3).to_csv(root / "t.csv", index=False)
    return root


def plan(folder: Path, kind: str, length: int, **more: Any) -> Any:
    t = transformers()
    if not (folder / kind).exists():
        save_tiny("bert", folder / kind)  # for its tokenizer
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            t.AutoModel.from_config(getattr(t, f"{kind}Config")(**CONFIGS[kind])).save_pretrained(folder / kind)
    data = {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"], "discover": 0}
    model = {"kind": "huggingface", "path": kind, "max_length": length, **more}
    document = {"name": "a", "data": data, "regimes": ["real"], "model": model, "seeds": 1, "effort": "decide"}
    return prepare(parse_recipe(document | {"references": {"reweighed": False}}), folder)


@pytest.mark.parametrize("kind", ["Roberta", "XLMRoberta", "MPNet"])
def test_places_that_are_kept_for_padding_are_not_counted(kind: str, folder: Path) -> None:
    for length in (17, 18, 600):
        with pytest.raises(InputError, match=r"the model takes 16 tokens.*lower it to 16"):
            plan(folder, kind, length)
    assert plan(folder, kind, 16)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("XLNet", "one vector for each token"), ("Longformer", "one vector for each token"), ("FNet", "depend on the texts beside it")],
)
def test_what_an_audit_cannot_read_is_refused_before_any_work(kind: str, words: str, folder: Path) -> None:
    with pytest.raises(InputError, match=words) as caught:
        plan(folder, kind, 16)
    assert "\n" not in str(caught.value)
    assert caught.value.mend


@pytest.mark.parametrize("kind", ["Electra", "GPTNeoX", "Mamba"])
def test_others_pass(kind: str, folder: Path) -> None:
    assert plan(folder, kind, 16)
