"""A causal language model, and whether two models come from one."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.language.pretrained import CausalSource, layer_list, load_body, load_tokenizer, loading, locate

__all__ = ["CausalModel", "load_causal", "same_base", "weights_digest"]

_SHAPE_KEYS = ("model_type", "hidden_size", "n_embd", "num_hidden_layers", "n_layer", "vocab_size")


@dataclass(frozen=True)
class CausalModel:
    """A loaded model in eval mode, float32 on the CPU, with its tokenizer."""

    model: nn.Module
    tokenizer: Any
    digest: str

    @property
    def config(self) -> Any:
        """The model's configuration."""
        return self.model.config

    @cached_property
    def stops(self) -> frozenset[int]:
        """Tokens that end a text."""
        found: set[int] = set()
        for holder in (self.tokenizer, self.config, getattr(self.model, "generation_config", None)):
            value = getattr(holder, "eos_token_id", None)
            found |= {value} if isinstance(value, int) else set(value or ())
        return frozenset(token for token in found if 0 <= token < self.vocabulary)

    @property
    def eos(self) -> int | None:
        """The token that ends a text, or None."""
        own = getattr(self.tokenizer, "eos_token_id", None)
        return own if own in self.stops else min(self.stops, default=None)

    @property
    def vocabulary(self) -> int:
        """Rows of the output layer."""
        return int(self.config.vocab_size)

    @property
    def longest(self) -> int:
        """Most tokens that the model takes."""
        found = [getattr(self.config, key, None) for key in ("max_position_embeddings", "n_positions")]
        return min([value for value in found if isinstance(value, int) and value > 0], default=2048)

    @cached_property
    def _takes(self) -> Mapping[str, Any]:
        return inspect.signature(self.model.forward).parameters

    def prompt(self, text: str) -> list[int]:
        """Tokens of the start of a text: the tokenizer's own special tokens, but none that ends it."""
        ids = list(self.tokenizer(text)["input_ids"])
        while len(ids) > 1 and ids[-1] in self.stops:
            ids.pop()
        start = getattr(self.tokenizer, "bos_token_id", None)
        return ids or [start if start is not None else (self.eos or 0)]

    def continuation(self, text: str) -> list[int]:
        """Tokens of what follows a prompt."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def request(self, text: str) -> list[int]:
        """Tokens of a request: in the model's chat form where it has one, else as plain text."""
        if getattr(self.tokenizer, "chat_template", None):
            turn = [{"role": "user", "content": text}]
            return self.continuation(self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False))
        return self.prompt(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of tokens, special ones left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def forward(self, ids: Tensor, *, cache: Any = None, use_cache: bool = False, keep: int = 0) -> tuple[Tensor, Any]:
        """Logits ``(n, keep or l, V)`` of equally long rows ``(n, l)``, and the cache of keys and values if it is used.

        ``keep`` is the number of last positions whose logits are wanted, 0 for all.
        """
        asked: dict[str, Any] = {"input_ids": ids, "use_cache": use_cache}
        if cache is not None:
            # transformers 5 renamed the argument along the way.
            asked["cache" if "cache" in self._takes else "past_key_values"] = cache
        if keep and "logits_to_keep" in self._takes:
            asked["logits_to_keep"] = keep
        out = self.model(**asked)
        logits: Tensor = out.logits[:, -keep:] if keep else out.logits
        held = next((out[key] for key in ("cache", "past_key_values") if key in out), None) if use_cache else None
        return logits, held

    @cached_property
    def blocks(self) -> tuple[nn.Module, ...]:
        """The layers."""
        return tuple(layer_list(self.model, "model")[1])


def weights_digest(source: CausalSource, base: Path) -> str:
    """SHA-256 over the weight files of a local model; ``name@revision`` of one on a hub.

    Two folders with the same weights have one digest, whatever they are called.
    """
    place, file = locate(source, base)
    if source.hub:
        return f"{place}@{source.revision or 'unknown'}"
    paths = [Path(place) / file] if file else sorted(p for p in Path(place).iterdir() if p.name.endswith(".safetensors"))
    if not paths:
        raise InputError("the folder holds GGUF files only", where=place, mend="name one with gguf_file")
    digests = [_digest(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


@lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> str:
    return file_digest(Path(path))


def same_base(teacher: CausalSource, student: CausalSource, base: Path) -> bool | None:
    """Whether two models have the same weights; None where sizes agree and weights do not, or where that cannot be told.

    One base that was fine-tuned or quantised differs in every weight, so equal sizes cannot rule a shared base out.
    """
    if weights_digest(teacher, base) == weights_digest(student, base):
        return True
    shapes = [_shape(source, base) for source in (teacher, student)]
    return None if shapes[0] is None or shapes[1] is None or shapes[0] == shapes[1] else False


def _shape(source: CausalSource, base: Path) -> dict[str, Any] | None:
    place, file = locate(source, base)
    path = Path(place) / "config.json"
    if source.hub or file is not None or not path.is_file():
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return {key: config[key] for key in _SHAPE_KEYS if key in config} if isinstance(config, dict) else None


def load_causal(source: CausalSource, base: Path) -> CausalModel:
    """Load a model and its tokenizer; global random states are left as found.

    Raises:
        InputError: it cannot be loaded, or holds NaN.
    """
    place, file = locate(source, base)
    mend = "config, safetensors weights and the tokenizer's files belong together, and the model must be a causal one"
    with loading(place, "the language model", mend=mend), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokenizer = load_tokenizer(source, place, file)
        model = load_body("AutoModelForCausalLM", source, place, file)
    return CausalModel(model.eval(), tokenizer, weights_digest(source, base))
