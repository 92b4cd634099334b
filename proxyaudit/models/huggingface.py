"""Pretrained transformers as classifiers of texts: loading through ``language.pretrained``, layers, tokenizers, adapters of peft."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyaudit.data.dataset import Dataset
from proxyaudit.data.tables import resolve_path
from proxyaudit.data.text import TextEncoder
from proxyaudit.data.unseen import Unseen
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.language.parts import projections
from proxyaudit.language.pretrained import (
    adapter_base,
    fetch_options,
    import_transformers,
    is_widened,
    layer_list,
    load_body,
    load_tokenizer,
    loading,
    locate,
    model_files,
)
from proxyaudit.models.base import copy_module, inference
from proxyaudit.models.hooks import recorded
from proxyaudit.models.kinds.huggingface import POOLINGS, HeadSpec, HuggingFaceSpec
from proxyaudit.models.places import columns_of
from proxyaudit.models.text import SPAN_STEPS, Layer, TextClassifier, pool
from proxyaudit.names import in_short
from proxyaudit.recipe.patterns import Span, compile_spans
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.types import NotTested

MEND = "check the folder: config.json, safetensors weights and the tokenizer's files belong together"
_MOST_MARKED = 2**20  # token numbers of which float32 still holds sixteenths
_MOST_UNKNOWN = 0.9  # of the tokens of all texts that are not special ones
_MOST_UNREAD = 0.5  # of the texts, in which no token at all is an ordinary one
_ANY_TEXT = "a text"
_NOTES = (
    NotTested(
        what="what single tokens carry that their pooled value does not",
        why="sites inside the transformer are read as one vector a text (model.site_pooling), and so are all channels there",
    ),
    NotTested(
        what="the whole of the inputs' leak",
        why="the inputs are read as term and character patterns reduced to some 200 numbers: a lower bound of what the texts carry",
    ),
)
PROBE = ((3, 4, 5, 6, 7, 8, 9), (4, 3, 5))


def model_hashes(spec: HuggingFaceSpec, base: Path) -> dict[str, str]:
    """SHA-256 of every file of a local model that may decide a number; of a hub model its resolved commit."""
    place, file = locate(spec, base)
    if spec.hub:
        with loading(place, "the model's configuration", mend=MEND):
            config = import_transformers().AutoConfig.from_pretrained(place, **fetch_options(spec, file))
        return {"model": f"{spec.path}@{getattr(config, '_commit_hash', None) or spec.revision or 'unknown'}"}
    head = {} if (own := head_path(spec, base)) is None else {"model head": file_digest(own)}
    return {f"model {name}": digest for name, digest in model_files(Path(place), adapter_base(spec, place, base)).items()} | head


def head_path(spec: HuggingFaceSpec, base: Path) -> Path | None:
    """The file of a head that comes in one. Raises ``InputError``: it is not there."""
    return resolve_path(spec.head.path, base=base, what="model.head") if isinstance(spec.head, HeadSpec) else None


@lru_cache(maxsize=2)
def _backbone(place: str, options: tuple[tuple[str, Any], ...], fingerprint: str) -> nn.Module:
    """Load a model's body; kept, since every repetition starts from it. The fingerprint tells files of one name apart."""
    with loading(place, "the model", mend=MEND):
        model = load_body("AutoModel", place, dict(options), spare="pooler.")
    unread = model.unread
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    model.unread = unread
    model.config.use_cache = False
    if isinstance(getattr(model, "pooler", None), nn.Module):
        model.pooler = None  # what the head reads is pooled by us
    return model.eval()  # type: ignore[no-any-return]


def _body(spec: HuggingFaceSpec, base: Path) -> tuple[str, Any]:
    """Where a model lies, and its body, which nobody may change."""
    place, file = locate(spec, base)
    options = fetch_options(spec, file, adapter_base(spec, place, base))
    return place, _backbone(place, tuple(options.items()), fingerprint_of(spec, base))


def fingerprint_of(spec: HuggingFaceSpec, base: Path) -> str:
    """What tells the files of a model apart from others of the same names."""
    return spec.path if spec.hub else " ".join(f"{name}={digest}" for name, digest in model_hashes(spec, base).items())


def check_length(body: nn.Module, spec: HuggingFaceSpec) -> None:
    """Refuse (``InputError``) more tokens than a model says it takes, less the places that RoBERTa and its kin keep for padding."""
    config: Any = body.config
    longest = getattr(config, "max_position_embeddings", None)
    if not isinstance(longest, int) or longest <= 0:
        return
    tables = [part for name, part in body.named_modules() if name.endswith("position_embeddings") and isinstance(part, nn.Embedding)]
    longest -= max((part.padding_idx + 1 for part in tables if part.padding_idx is not None and part.num_embeddings == longest), default=0)
    if longest < spec.max_length:
        raise InputError(f"the model takes {longest} tokens", where="model.max_length", mend=f"lower it to {longest}")


def open_body(spec: HuggingFaceSpec, base: Path) -> tuple[nn.Module, tuple[Layer, ...], int, bool]:
    """A copy of a model's body, and what :func:`find_layers` finds. ``InputError``: it cannot be loaded, or takes too few tokens."""
    place, kept = _body(spec, base)
    body = copy_module(kept)
    check_length(body, spec)
    return body, *find_layers(body, body.config, place)


def make_text(spec: HuggingFaceSpec, *, n_inputs: int, n_classes: int, base: Path) -> TextClassifier:
    """The classifier, its head drawn from the global generators; raises as :func:`open_body`."""
    body, layers, width, last = open_body(spec, base)
    module = TextClassifier(body, layers, spec, width=width, n_outputs=columns_of(n_classes))
    module.same_as_last = last and spec.pooling == spec.site_pooling
    if spec.precision == "bfloat16":
        body.to(torch.bfloat16)
    return module


def probe_batch() -> tuple[Tensor, Tensor]:
    """Token numbers of two texts and their mask, each ``(2, tokens)``; one text is padded."""
    ids = torch.zeros(len(PROBE), len(PROBE[0]), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(PROBE):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = torch.tensor(tokens), 1
    return ids, mask


def find_layers(body: nn.Module, config: Any, place: str) -> tuple[tuple[Layer, ...], int, bool]:
    """A transformer's layers, width of the last hidden state, and whether that is the last layer's own output (no norm after it)."""
    name, found = layer_list(body, place)
    ids, mask = probe_batch()
    with inference(body), loading(place, "a forward pass of the model", mend=MEND), recorded(body) as runs:
        hidden: Tensor = body(input_ids=ids, attention_mask=mask).last_hidden_state
    names = [f"{name}.{at}" for at in range(len(found))]
    outs = {run.name: run.returned.value for run in runs}
    if any([run.name for run in runs].count(one) != 1 for one in names):
        what = "the model's layers do not each run once (shared weights?)"
        raise InputError(what, where=place, mend="use a model with layers of its own")
    last = outs[names[-1]][0] if isinstance(outs[names[-1]], tuple) else outs[names[-1]]
    if last.shape[:2] != mask.shape or hidden.shape[:2] != mask.shape:
        what = f"layers of this architecture hold values of shape {tuple(last.shape)} for {mask.shape[0]} texts of {mask.shape[1]} tokens"
        raise InputError(what, where=place, mend="use a transformer whose layers hold (texts, tokens, width), one vector for each token")
    heads = getattr(config, "num_attention_heads", None)
    told = heads if isinstance(heads, int) else 0
    layers = tuple(_layer(one, layer, told, isinstance(outs[one], tuple)) for one, layer in zip(names, found, strict=True))
    same = all(torch.equal(pool(last, mask.bool(), how), pool(hidden, mask.bool(), how)) for how in POOLINGS)
    return layers, int(hidden.shape[-1]), same


def _layer(name: str, layer: nn.Module, heads: int, is_tuple: bool) -> Layer:
    attention, mlp, width = projections(layer)
    told = heads if heads > 0 and width and width % heads == 0 else 0
    ends = [None if part is None else f"{name}.{part}" for part in (attention, mlp)]
    return Layer(name, ends[0], ends[1], told, width // told if told else 0, is_tuple)


class Tokenizer:
    """A model's own tokenizer: texts to token numbers, special tokens included, and what single tokens stand for."""

    def __init__(self, inner: Any, width: int, patterns: Mapping[str, Span] | None = None, embedded: int | None = None) -> None:
        """Wrap a tokenizer of transformers; texts are cut to ``width`` tokens, spans that match ``patterns`` marked in fractions.

        ``embedded`` is the number of tokens that the model knows, where it is told.
        """
        self._inner, self._width, self._patterns, self._embedded = inner, width, dict(patterns or {}), embedded
        self.special: tuple[int, ...] = tuple(sorted(inner.all_special_ids))  # of the start, the end, what is unknown, ...
        self.longest = float(getattr(inner, "model_max_length", np.inf))  # tokens that the model reads where it runs, if that is told
        self.unknown: int | None = inner.unk_token_id  # of what the tokenizer does not know, if there is one of its own

    def __call__(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """Token numbers of each text. Raises ``InputError``: the model has no embedding for one of them."""
        if not texts:
            return []
        asked = {"truncation": True, "max_length": self._width, "return_attention_mask": False}
        found = self._inner(texts, **asked, return_offsets_mapping=bool(self._patterns))
        largest = max((max(row, default=0) for row in found["input_ids"]), default=0)
        if self._embedded is not None and largest >= self._embedded:
            name = str(self._inner.decode([largest])).strip()[:40]
            what = f"the tokenizer writes '{name}' as token {largest}, and the model has embeddings for {self._embedded}"
            mend = "take the tokenizer that belongs to it, or save it after model.resize_token_embeddings(len(tokenizer))"
            raise InputError(what, where="model", mend=mend)
        if not self._patterns:
            return found["input_ids"]  # type: ignore[no-any-return]
        return [_marked(*one, self._patterns.values()) for one in zip(texts, found["input_ids"], found["offset_mapping"], strict=True)]

    def names(self, tokens: list[int]) -> list[str]:
        """What each token stands for, without blanks around it; empty for special tokens."""
        return ["" if token in self.special else str(self._inner.decode([token])).strip() for token in tokens]


def make_tokenizer(spec: HuggingFaceSpec, base: Path) -> Tokenizer:
    """The model's own tokenizer, cut to ``max_length``. Raises ``InputError``: there is none, or it cannot mark the spans named."""
    place, file = locate(spec, base)
    adapted = adapter_base(spec, place, base)
    with loading(place, "the tokenizer", mend=MEND):
        tokenizer = load_tokenizer(place, fetch_options(spec, file, adapted))
    types = [kind for kind in tokenizer(_ANY_TEXT).get("token_type_ids") or () if kind]
    if types and "token_type_ids" in tokenizer.model_input_names:
        what = f"the tokenizer marks tokens as of type {types[0]} (token_type_ids), which is not handed to the model here"
        raise InputError(
            what, where=f"model.path '{spec.path}'", mend="save it so that a single text is of type 0, as the model was trained"
        )
    patterns = compile_spans(spec.spans)
    if patterns and (not tokenizer.is_fast or len(tokenizer) > _MOST_MARKED):
        mend = "drop model.spans, or use a tokenizer of fewer than a million tokens that comes as tokenizer.json"
        raise InputError("this tokenizer cannot mark spans", where=f"model.path '{spec.path}'", mend=mend)
    return Tokenizer(tokenizer, spec.max_length, patterns, _embedded(spec, str(adapted or place), file))


def _embedded(spec: HuggingFaceSpec, place: str, file: str | None) -> int | None:
    """Number of tokens that a model has embeddings for, as its config says; ``None`` of a GGUF file, which brings its own tokenizer."""
    if file is not None or spec.trust_remote_code:
        return None
    with loading(place, "the model's configuration", mend=MEND):
        config = import_transformers().AutoConfig.from_pretrained(place, **fetch_options(spec, None)).get_text_config()
    size = getattr(config, "vocab_size", None)
    return size if isinstance(size, int) else None


def _marked(text: str, ids: list[int], places: list[tuple[int, int]], spans: Iterable[Span]) -> list[float]:
    """Token numbers, each with a fraction that says which spans it lies in; special tokens lie in none."""
    marks = [0] * len(ids)
    for digit, span in enumerate(spans):
        for first, last in span.find(text):
            for token, (start, end) in enumerate(places):
                if start < last and first < end and start < end:
                    marks[token] |= 1 << digit
    return [number + mark / SPAN_STEPS for number, mark in zip(ids, marks, strict=True)]


@contextmanager
def adapters(module: TextClassifier, spec: HuggingFaceSpec) -> Iterator[None]:
    """Low-rank adapters (Hu et al. 2021) on all linear layers in training, drawn from the global generators; merged in at the end."""
    with loading("model", "tune: lora", mend="check the package peft"):
        import peft
    body: Any = module.backbone
    asked = peft.LoraConfig(r=spec.lora_rank, lora_alpha=spec.lora_alpha, lora_dropout=0.0, target_modules="all-linear", bias="none")
    with _without_peft_warnings():
        wrapped: Any = peft.get_peft_model(body, asked)
    yield
    with _without_peft_warnings():
        module.backbone = wrapped.merge_and_unload()
    for parameter in module.backbone.parameters():
        parameter.requires_grad_(True)


@contextmanager
def _without_peft_warnings() -> Iterator[None]:
    """GPT-2's layers hold their weights turned: peft sees that, does what is right and says so; it also asks transformers old names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")
        warnings.simplefilter("ignore", FutureWarning)
        yield


def attach_tokenizer(recipe: Recipe, base: Path, dataset: Dataset) -> Dataset:
    """Give a data set of texts its model's tokenizer, and say what this version does not ask of texts."""
    if not isinstance(dataset.encoder, TextEncoder) or not isinstance(recipe.model, HuggingFaceSpec):
        return dataset
    tokenizer = make_tokenizer(recipe.model, base)
    check_readable(tokenizer, list(dataset.audit[dataset.encoder.column]), where=f"model.path '{recipe.model.path}'")
    encoder = replace(dataset.encoder, tokenize=tokenizer, token_names=tokenizer.names, special=tokenizer.special)
    table = encoder.transform(dataset.audit)
    notes = [*dataset.notes, *_NOTES]
    for digit, name in enumerate(recipe.model.spans):
        without = float((((table % 1 * SPAN_STEPS).astype(np.int64) >> digit) % 2 == 0).all(axis=1).mean())
        if name in (recipe.model.pooling, recipe.model.site_pooling) and without > 0:
            why = f"span '{name}' is not found in {without:.0%} of the audit texts, which are pooled over all of their tokens"
            notes.append(NotTested(what=f"span '{name}' in every text", why=why))
    cut = float(((table >= 0).sum(axis=1) >= encoder.width).mean())
    unseen = dataset.unseen
    if cut > 0 and recipe.model.given and encoder.width < tokenizer.longest:
        found = Unseen("the audit rows", encoder.column, cut, len(dataset.audit), encoder.width)
        unseen, notes = (*unseen, found), [*notes, found.note()]
    elif cut > 0:
        why = f"model.max_length cuts them; {cut:.0%} of the audit texts reach it"
        notes.append(NotTested(what=f"what stands after the first {encoder.width} tokens of a text", why=why))
    body = _body(recipe.model, base)[1] if not recipe.model.given else None
    unread = [] if body is None else list(body.unread)
    if body is not None and unread and any(str(name).endswith("ForSequenceClassification") for name in body.config.architectures or ()):
        why = f"'head: new' trains one of this package; 'head: own' audits the folder as it is (left out: {in_short(unread, 4)})"
        notes.append(NotTested(what="the classification head of the model's own folder", why=why))
    elif unread:
        why = f"its body has no place for them ({', '.join(unread[:3])}{', ...' if len(unread) > 3 else ''}), and a head is trained here"
        notes.append(NotTested(what=f"{len(unread)} tensors of the model's files", why=why))
    folder, file = locate(recipe.model, base)
    if not recipe.model.hub and (file is not None or is_widened(Path(folder))):
        why = "weights stored in fewer bits are widened to float32 as they are read; what runs in these rounds values inside too"
        notes.append(NotTested(what="the model's arithmetic in fewer digits", why=why))
    if recipe.model.trust_remote_code:
        why = "the recipe has it executed (model.trust_remote_code); it could do anything, and its forward pass is taken as it is"
        notes.append(NotTested(what="code that comes with the model", why=why))
    return replace(dataset, encoder=encoder, notes=tuple(notes), unseen=unseen)


def check_readable(tokenizer: Tokenizer, texts: Sequence[object], *, where: str) -> None:
    """Refuse texts that a tokenizer hardly knows: a model that reads unknown words only would be cleared for what it never saw.

    Blank texts do not count. ``InputError``: over nine tenths of the tokens unknown, or half of the texts without an ordinary one.
    """
    lines = [text for text in texts if isinstance(text, str) and text.strip()]
    rows = [[int(token) for token in row] for row in tokenizer(lines)]  # fractions mark spans
    used = sorted({token for row in rows for token in row})
    # Neither special nor a mere blank, which some tokenizers put before every word, known or not.
    ordinary = {token for token, name in zip(used, tokenizer.names(used), strict=True) if name}
    known = sum(token in ordinary for row in rows for token in row)
    unknown = sum(token == tokenizer.unknown for row in rows for token in row)
    unread = sum(ordinary.isdisjoint(row) for row in rows)
    if unknown > _MOST_UNKNOWN * (known + unknown) or unread > _MOST_UNREAD * len(lines):
        mend = "check that tokenizer and model belong together, and that it knows the language and the capitals of these texts"
        raise InputError("the model's tokenizer knows next to no word of the texts", where=where, mend=mend)
