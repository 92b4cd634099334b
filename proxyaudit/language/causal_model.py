"""A causal language model: whether two come from one, what it writes, how probable continuations are, and swaps inside it.

``generate`` of transformers draws from torch's global generator. Here a row's text depends on the model, the prompt and given numbers.
What swaps follow is a share of the next token: the probability of the followed tokens among the compared ones. A site is the output of one
layer; a swap adds a shift at two positions of every prompt, the last token of the name and the last of all.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from proxyaudit.arrays import Floats
from proxyaudit.digests import digest_of, file_digest
from proxyaudit.errors import InputError
from proxyaudit.files import read_file
from proxyaudit.language.pretrained import (
    WEIGHTS,
    adapter_base,
    fetch_options,
    layer_list,
    load_body,
    load_tokenizer,
    loading,
    locate,
    model_files,
)
from proxyaudit.language.prompt_sets import Prompt
from proxyaudit.recipe.models import PretrainedSpec

_SHAPE_KEYS = ("model_type", "hidden_size", "n_embd", "num_hidden_layers", "n_layer", "vocab_size")
_BATCH_TOKENS = 2048


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
        """Logits ``(n, keep or l, V)`` of rows ``(n, l)``, of the last ``keep`` positions or of all, and the cache if it is used."""
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


def weights_digest(source: PretrainedSpec, base: Path) -> str:
    """SHA-256 over the weight files of a local model, whatever its folder is called; ``name@revision`` of one on a hub."""
    place, file = locate(source, base)
    if source.hub:
        return f"{place}@{source.revision or 'unknown'}"
    folders = [Path(place), *filter(None, [adapter_base(source, place, base)])]
    paths = [Path(place) / file] if file else [p for folder in folders for p in sorted(folder.iterdir()) if p.name.endswith(".safetensors")]
    if not paths:
        raise InputError("the folder holds GGUF files only", where=place, mend="name one with gguf_file")
    digests = [_digest(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def settings_digests(source: PretrainedSpec, base: Path, name: str) -> dict[str, str]:
    """SHA-256 over all other files of a local model's folder that may decide a number (config, tokenizer), under a ``name`` of its own."""
    place, file = locate(source, base)
    if source.hub or file:  # a GGUF file holds them
        return {}
    others = {
        path: digest for path, digest in model_files(Path(place), adapter_base(source, place, base)).items() if not path.endswith(WEIGHTS)
    }
    return {f"{name}: config and tokenizer": digest_of(others)}


@lru_cache(maxsize=64)
def _digest(path: str, size: int, changed: int) -> str:
    return file_digest(Path(path))


def same_base(teacher: PretrainedSpec, student: PretrainedSpec, base: Path) -> bool | None:
    """Whether two models have the same weights; None where sizes agree or cannot be told: fine-tuning moves every weight of one base."""
    if weights_digest(teacher, base) == weights_digest(student, base):
        return True
    shapes = [_shape(source, base) for source in (teacher, student)]
    return None if shapes[0] is None or shapes[1] is None or shapes[0] == shapes[1] else False


def _shape(source: PretrainedSpec, base: Path) -> dict[str, Any] | None:
    place, file = locate(source, base)
    path = (adapter_base(source, place, base) or Path(place)) / "config.json"
    if source.hub or file is not None or not path.is_file():
        return None
    try:
        config = json.loads(read_file(path))
    except (OSError, ValueError, RecursionError):
        return None
    return {key: config[key] for key in _SHAPE_KEYS if key in config} if isinstance(config, dict) else None


def load_causal(source: PretrainedSpec, base: Path) -> CausalModel:
    """Load a model and its tokenizer; global random states are left as found. Raises ``InputError``: it cannot be loaded, or holds NaN."""
    place, file = locate(source, base)
    mend = "config, safetensors weights and the tokenizer's files belong together, and the model must be a causal one"
    with loading(place, "the language model", mend=mend), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = fetch_options(source, file, adapter_base(source, place, base))
        tokenizer = load_tokenizer(place, options)
        model = load_body("AutoModelForCausalLM", place, options)
    return CausalModel(model.eval(), tokenizer, weights_digest(source, base))


def sample_continuations(
    model: CausalModel, prompt: Sequence[int], uniforms_nt: Floats, temperature: float = 1, top_p: float = 1, stops: Set[int] = frozenset()
) -> list[list[int]]:
    """Continue one prompt's tokens many times: ``n`` lists of at most ``t`` tokens, without the one that ended the text.

    ``uniforms_nt`` in [0, 1) say row by row and step by step where in the distribution the next token is taken. It is drawn from the
    smallest set of tokens whose probability reaches ``top_p`` (Holtzman et al. 2020). ``stops`` end a text beside the model's own.
    """
    n, steps = uniforms_nt.shape

    def choose(logits: Tensor, rows: NDArray[np.int64], step: int) -> Tensor:
        return _draw(logits, torch.as_tensor(uniforms_nt[rows, step]), temperature, top_p)

    return _continue(model, torch.tensor([list(prompt)]), n, steps, choose, model.stops | stops)


def continue_greedily(model: CausalModel, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
    """Continue each prompt with its most probable tokens; prompts of one length go through together."""
    found: list[list[int]] = [[] for _ in prompts]
    for rows in equal_lengths([len(prompt) for prompt in prompts], extra=tokens):
        ids = torch.tensor([list(prompts[row]) for row in rows])
        texts = _continue(model, ids, len(rows), tokens, lambda logits, *_: logits.argmax(dim=-1), model.stops)
        for row, text in zip(rows, texts, strict=True):
            found[row] = text
    return found


@torch.no_grad()
def continuation_scores(model: CausalModel, prompts: Sequence[Sequence[int]], options: Sequence[Sequence[Sequence[int]]]) -> list[Floats]:
    """Log-probability, in nats, of every option (at least one token) after its prompt, summed over the option's tokens."""
    # What must be read: the prompt, and of longer options all but the last token. Equal rows are read once.
    readers: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    scores = [np.empty(len(own)) for own in options]
    keep = 1
    for place, (prompt, own) in enumerate(zip(prompts, options, strict=True)):
        for number, option in enumerate(own):
            if not option:
                raise ValueError("an option has no tokens")
            readers.setdefault((*prompt, *option[:-1]), []).append((place, number))
            keep = max(keep, len(option))
    rows = list(readers)
    for batch in equal_lengths([len(row) for row in rows]):
        # The positions that options are read at lie among the last ``keep`` of a row.
        logits, _ = model.forward(torch.tensor([rows[row] for row in batch]), keep=min(keep, len(rows[batch[0]])))
        for row, log in zip(batch, torch.log_softmax(logits.double(), dim=-1), strict=True):
            for place, number in readers[rows[row]]:
                option = options[place][number]
                scores[place][number] = float(sum(log[len(log) - len(option) + at, token] for at, token in enumerate(option)))
    return scores


def equal_lengths(lengths: Sequence[int], *, extra: int = 0) -> list[list[int]]:
    """Row numbers in batches of one length, memory bounded: no padding, so no mask and no positions to get wrong."""
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        size = max(1, _BATCH_TOKENS // max(lengths[row] + extra, 1))
        if batches and lengths[batches[-1][0]] == lengths[row] and len(batches[-1]) < size:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> Tensor:
    p, tokens = torch.sort(torch.softmax(logits.double() / temperature, dim=-1), dim=-1, descending=True, stable=True)
    before = p.cumsum(dim=-1) - p
    p = torch.where(before < top_p, p, torch.zeros((), dtype=p.dtype))
    total = p.cumsum(dim=-1)
    place = (total <= uniform[:, None] * total[:, -1:]).sum(dim=-1).clamp_max(p.shape[-1] - 1)
    return tokens.gather(1, place[:, None])[:, 0]


@torch.no_grad()
def _continue(
    model: CausalModel, ids: Tensor, n: int, steps: int, choose: Callable[[Tensor, NDArray[np.int64], int], Tensor], stops: frozenset[int]
) -> list[list[int]]:
    """Grow ``n`` rows; one row of ``ids`` stands for all. Rows that have ended leave the batch."""
    texts: list[list[int]] = [[] for _ in range(n)]
    steps = min(steps, model.longest - ids.shape[1])
    if steps <= 0 or n == 0:
        return texts
    logits, cache = model.forward(ids, use_cache=True, keep=1)
    if len(ids) == 1 and n > 1:
        cache.batch_repeat_interleave(n)
        logits = logits.expand(n, -1, -1)
    rows = np.arange(n)
    for step in range(steps):
        tokens = choose(logits[:, -1], rows, step)
        going = [place for place, token in enumerate(tokens.tolist()) if token not in stops]
        for place in going:
            texts[int(rows[place])].append(int(tokens[place]))
        if not going or step == steps - 1:
            break
        if len(going) < len(rows):
            cache.batch_select_indices(torch.tensor(going))
            tokens, rows = tokens[going], rows[going]
        logits, cache = model.forward(tokens[:, None], cache=cache, use_cache=True, keep=1)
    return texts


@dataclass(frozen=True)
class Placed:
    """A prompt's tokens, the last token of the name and the last of all, and the first tokens of what is followed and compared with."""

    ids: tuple[int, ...]
    positions: tuple[int, int]
    yes: tuple[int, ...]
    no: tuple[int, ...]


def place(model: CausalModel, prompt: Prompt, yes: tuple[int, ...], no: tuple[int, ...]) -> Placed | None:
    """Tokens of a prompt and where its name ends; None where the tokenizer does not tell."""
    ids = model.prompt(prompt.text)
    if not getattr(model.tokenizer, "is_fast", False):
        return None
    spans = model.tokenizer(prompt.text, return_offsets_mapping=True)["offset_mapping"][: len(ids)]
    ends = [at for at, (start, end) in enumerate(spans) if start < prompt.end and end >= prompt.end and end > start]
    return Placed(tuple(ids), (ends[0], len(ids) - 1), yes, no) if ends else None


def read(model: CausalModel, prompts: Sequence[Placed], layers: Sequence[int]) -> tuple[dict[int, Floats], dict[int, Floats]]:
    """Residual stream ``(n, 2, d)`` at the two positions of every prompt, by layer, and the gradient of the followed share in it."""
    acts: dict[int, list[Floats]] = {layer: [np.empty(0)] * len(prompts) for layer in layers}
    gradients: dict[int, list[Floats]] = {layer: [np.empty(0)] * len(prompts) for layer in layers}
    for rows in equal_lengths([len(p.ids) for p in prompts]):
        held: dict[int, Tensor] = {}

        def keep(value: Tensor, layer: int, held: dict[int, Tensor] = held) -> Tensor:
            held[layer] = value if value.requires_grad else value.detach().requires_grad_(True)
            return held[layer]

        changes = {layer: lambda value, at=layer: keep(value, at) for layer in layers}
        with without_weights(model.model), _changed(model, changes), torch.enable_grad():  # type: ignore[arg-type]
            share = shares(model, [prompts[row] for row in rows]).sum()
        for (layer, value), gradient in zip(held.items(), torch.autograd.grad(share, list(held.values())), strict=True):
            for at, row in enumerate(rows):
                where = list(prompts[row].positions)
                acts[layer][row] = value.detach()[at, where].double().numpy()
                gradients[layer][row] = gradient[at, where].double().numpy()
    return {layer: np.stack(found) for layer, found in acts.items()}, {layer: np.stack(found) for layer, found in gradients.items()}


@torch.no_grad()
def swap(model: CausalModel, prompts: Sequence[Placed], layer: int, shifts_n2d: Floats) -> Floats:
    """Followed share of each prompt after adding shifts at its two positions of a layer, shape ``(n,)``."""
    share = np.empty(len(prompts))
    for rows in equal_lengths([len(p.ids) for p in prompts]):

        def shifted(value: Tensor, rows: list[int] = rows) -> Tensor:
            value = value.clone()
            for at, row in enumerate(rows):
                for place, shift in zip(prompts[row].positions, shifts_n2d[row], strict=True):
                    value[at, place] += torch.as_tensor(shift, dtype=value.dtype)
            return value

        with _changed(model, {layer: shifted}):
            share[rows] = shares(model, [prompts[row] for row in rows]).numpy()
    return share


def shares(model: CausalModel, prompts: Sequence[Placed]) -> Tensor:
    """Followed share of the next token after prompts of one length."""
    logits, _ = model.forward(torch.tensor([prompt.ids for prompt in prompts]), keep=1)
    parts = []
    for row, prompt in zip(logits[:, -1].double(), prompts, strict=True):
        yes, no = (torch.logsumexp(row[torch.tensor(tokens)], dim=0) for tokens in (prompt.yes, prompt.no))
        parts.append(torch.sigmoid(yes - no))
    return torch.stack(parts)


@contextmanager
def without_weights(module: nn.Module) -> Iterator[None]:
    """No gradients of weights meanwhile: they are not asked for, and products that can give them round otherwise."""
    asking = [p for p in module.parameters() if p.requires_grad]
    module.requires_grad_(False)
    try:
        yield
    finally:
        for p in asking:
            p.requires_grad_(True)


@contextmanager
def _changed(model: CausalModel, changes: dict[int, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Replace the outputs of layers while the block runs."""
    with ExitStack() as stack:
        for layer, change in changes.items():

            def replaced(_: nn.Module, __: Any, out: Any, change: Callable[[Tensor], Tensor] = change) -> Any:
                return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

            stack.enter_context(model.blocks[layer].register_forward_hook(replaced))
        yield
