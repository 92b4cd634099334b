"""Pretrained transformers: from a local folder (safetensors, or GGUF where transformers reads it), from a hub only when asked.

The only place of ``models`` that imports transformers and peft, and only when a recipe names such a model. Pickled weights are never
read, and code that comes with a model is not executed unless the recipe says ``trust_remote_code: true``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proxyaudit.data.tables import is_inside, sha256_file
from proxyaudit.errors import InputError
from proxyaudit.model_specs import HuggingFaceSpec
from proxyaudit.models.base import copy_module, inference
from proxyaudit.models.text import Layer, Pooling, TextClassifier, pool

WHERE = "model"
_INSTALL = "pip install 'proxyaudit[text]'"
_WEIGHTS = (".safetensors", ".gguf")
_HASHED = (".safetensors", ".gguf", ".json", ".txt", ".model", ".py")
# The projections that end attention and feed-forward part, by the names that architectures give them.
_ATTENTION = re.compile(
    r"(?:^|\.)(?:attention\.output\.dense|attn\.c_proj|self_attn\.(?:o_proj|out_proj|dense)|SelfAttention\.o|attention\.out_lin"
    r"|attention\.dense|self_attention\.dense|attn\.attention\.out_proj|attn\.Wo|attention\.attn\.o)$"
)
_MLP = re.compile(
    r"(?:^output\.dense|mlp\.(?:c_proj|down_proj|dense_4h_to_h|Wo|fc2)|(?:^|\.)fc2|ffn\.lin2|(?:DenseReluDense|DenseGatedActDense)\.wo)$"
)
_PROBE = ((3, 4, 5, 6, 7, 8, 9), (4, 3, 5))


def _transformers() -> Any:
    # Importing it takes seconds, so only a recipe that names such a model pays for it.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import transformers
    except ImportError:
        raise InputError("models of kind 'huggingface' need the package transformers", where=WHERE, mend=_INSTALL) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def model_place(spec: HuggingFaceSpec, base: Path) -> str:
    """Folder of a model (or its hub name where the recipe says ``hub: true``).

    Raises:
        InputError: there is no such folder, it escapes the recipe's folder, or it has no weights that may be read.
    """
    if spec.hub:
        return spec.path
    folder = _package_folder(spec) if spec.package is not None else _local_folder(spec.path, base)
    if not folder.is_dir():
        raise InputError("there is no such model folder", where=f"model.path '{spec.path}'", mend="name the folder that holds config.json")
    if not any(path.name.endswith(_WEIGHTS) for path in folder.iterdir()):
        mend = "only safetensors and GGUF are read, since other formats can run code; convert it with save_pretrained"
        raise InputError("the model folder holds no safetensors weights", where=str(folder), mend=mend)
    return str(folder)


def _local_folder(text: str, base: Path) -> Path:
    if not text or "\0" in text:
        raise InputError("model.path is not a folder name", where=WHERE, mend="write the path of a model folder")
    if Path(text).is_absolute():
        return Path(text)
    roots = (base, Path.cwd())
    for root in roots:
        if (root / text).is_dir() and any(is_inside(root / text, inside) for inside in roots):
            return root / text
    mend = "paths are relative to the recipe's folder, then to the current folder; a name on a hub needs 'hub: true'"
    raise InputError("there is no such model folder", where=f"model.path '{text}'", mend=mend)


def _package_folder(spec: HuggingFaceSpec) -> Path:
    where = f"model.package '{spec.package}'"
    try:
        found = importlib.util.find_spec(str(spec.package).partition(".")[0])  # finds it, executes nothing
    except (ImportError, ValueError):
        found = None
    places = list(found.submodule_search_locations or []) if found is not None else []
    if not places:
        raise InputError("no such package is installed", where=where, mend="install the package that brings the model")
    root = Path(places[0]).joinpath(*str(spec.package).split(".")[1:])
    folder = root / spec.path
    if not is_inside(folder, root):
        raise InputError("the path leads out of the package", where=where, mend="name a folder inside it")
    return folder


def model_hashes(spec: HuggingFaceSpec, base: Path) -> dict[str, str]:
    """SHA-256 of every file of a local model that may decide a number; of a hub model its resolved commit."""
    place = model_place(spec, base)
    if spec.hub:
        config = _config(place, spec.revision, spec.trust_remote_code, hub=True, gguf_file=spec.gguf_file)
        return {"model": f"{spec.path}@{getattr(config, '_commit_hash', None) or spec.revision or 'unknown'}"}
    paths = sorted(path for path in Path(place).iterdir() if path.is_file() and path.name.endswith(_HASHED))
    return {f"model {path.name}": sha256_file(path) for path in paths}


def _asked(revision: str | None, trust: bool, hub: bool, gguf_file: str | None) -> dict[str, Any]:
    asked: dict[str, Any] = {"local_files_only": not hub, "trust_remote_code": trust}
    return asked | ({"revision": revision} if revision else {}) | ({"gguf_file": gguf_file} if gguf_file else {})


@contextmanager
def _told(place: str, what: str) -> Iterator[None]:
    """Turn whatever a loader raises into one line."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{what} needs another package ({_line(error)})", where=place, mend=_INSTALL) from None
    except Exception as error:
        mend = "check the folder: config.json, safetensors weights and the tokenizer's files belong together"
        if "trust_remote_code" in str(error):
            mend = "this model brings code of its own; set model.trust_remote_code: true to execute it"
        raise InputError(f"{what} cannot be loaded ({_line(error)})", where=place, mend=mend) from None


def _config(place: str, revision: str | None, trust: bool, *, hub: bool, gguf_file: str | None) -> Any:
    with _told(place, "the model's configuration"):
        return _transformers().AutoConfig.from_pretrained(place, **_asked(revision, trust, hub, gguf_file))


@lru_cache(maxsize=2)
def _backbone(place: str, revision: str | None, trust: bool, hub: bool, gguf_file: str | None, fingerprint: str) -> nn.Module:
    """Load a model's body in float32; kept, since every repetition starts from it. The fingerprint tells files of one name apart."""
    transformers = _transformers()
    asked = _asked(revision, trust, hub, gguf_file)
    quiet = contextlib.redirect_stderr(io.StringIO()) if gguf_file else contextlib.nullcontext()  # its bar knows no switch
    with _told(place, "the model"), quiet:
        kind = {} if gguf_file else {"use_safetensors": True}
        model = transformers.AutoModel.from_pretrained(place, **asked, **kind, attn_implementation="eager", dtype=torch.float32)
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    model.config.use_cache = False
    if isinstance(getattr(model, "pooler", None), nn.Module):
        model.pooler = None  # what the head reads is pooled by us
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"tensor '{name}' of the model holds NaN or infinite weights", where=place, mend="use another model")
    return model.eval()  # type: ignore[no-any-return]


def make_text(spec: HuggingFaceSpec, *, n_classes: int, base: Path) -> TextClassifier:
    """Build the classifier of a recipe; the head's weights come from the global generators, which the caller seeds.

    Raises:
        InputError: the model cannot be loaded, does not take so many tokens, or is of a kind whose layers cannot be told.
    """
    place = model_place(spec, base)
    fingerprint = place if spec.hub else " ".join(f"{n}={h}" for n, h in model_hashes(spec, base).items())
    body = copy_module(_backbone(place, spec.revision, spec.trust_remote_code, spec.hub, spec.gguf_file, fingerprint))
    config: Any = body.config
    longest = getattr(config, "max_position_embeddings", None)
    if isinstance(longest, int) and 0 < longest < spec.max_length:
        raise InputError(f"the model takes {longest} tokens", where="model.max_length", mend=f"lower it to {longest}")
    layers, width, last = find_layers(body, config, place)
    module = TextClassifier(
        body,
        layers,
        width=width,
        n_outputs=1 if n_classes == 2 else n_classes,
        pooling=spec.pooling,
        site_pooling=spec.site_pooling,
        hidden=spec.head_hidden,
        frozen=spec.tune == "head",
    )
    module.same_as_last = last and spec.pooling == spec.site_pooling
    if spec.precision == "bfloat16":
        body.to(torch.bfloat16)
    return module


def find_layers(body: nn.Module, config: Any, place: str) -> tuple[tuple[Layer, ...], int, bool]:
    """Find a transformer's layers by one small pass: the longest list of modules of one class, each of which runs once.

    Returns:
        The layers, the width of the last hidden state, and whether that is the last layer's own output (no norm after it).

    Raises:
        InputError: there is no such list, or its layers share weights and run more than once.
    """
    lists = {n: list(p.children()) for n, p in body.named_modules() if isinstance(p, nn.ModuleList) and len({type(c) for c in p}) == 1}
    outer = {n: c for n, c in lists.items() if not any(n.startswith(f"{other}.") for other in lists if other != n)}
    if not outer:
        raise InputError("no list of layers was found in the model", where=place, mend="use a transformer whose layers are a ModuleList")
    name = max(outer, key=lambda n: len(outer[n]))
    ran: dict[int, list[Any]] = {}
    handles = [
        layer.register_forward_hook(lambda _, __, out, at=at: ran.setdefault(at, []).append(out)) for at, layer in enumerate(outer[name])
    ]
    ids = torch.zeros(len(_PROBE), len(_PROBE[0]), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(_PROBE):
        ids[row, : len(tokens)], mask[row, : len(tokens)] = torch.tensor(tokens), 1
    try:
        with inference(body), _told(place, "a forward pass of the model"):
            hidden: Tensor = body(input_ids=ids, attention_mask=mask).last_hidden_state
    finally:
        for handle in handles:
            handle.remove()
    if len(ran) != len(outer[name]) or any(len(found) != 1 for found in ran.values()):
        raise InputError(
            "the model's layers do not each run once (shared weights?)", where=place, mend="use a model with layers of its own"
        )
    outs = [found[0][0] if isinstance(found[0], tuple) else found[0] for _, found in sorted(ran.items())]
    heads = getattr(config, "num_attention_heads", None)
    layers = tuple(
        _layer(f"{name}.{at}", layer, heads if isinstance(heads, int) else 0, isinstance(ran[at][0], tuple))
        for at, layer in enumerate(outer[name])
    )
    same = all(torch.equal(pool(outs[-1], mask.bool(), how), pool(hidden, mask.bool(), how)) for how in _POOLINGS)
    return layers, int(hidden.shape[-1]), same


_POOLINGS: tuple[Pooling, ...] = ("mean", "cls", "last")


def _layer(name: str, layer: nn.Module, heads: int, is_tuple: bool) -> Layer:
    inside = [part for part, _ in layer.named_modules() if part]
    attention = next((part for part in inside if _ATTENTION.search(part)), None)
    mlp = next((part for part in inside if _MLP.search(part)), None)
    width = 0
    if attention is not None:
        weight = layer.get_submodule(attention).weight
        assert isinstance(weight, Tensor)
        # GPT-2's Conv1D holds (inputs, outputs), nn.Linear (outputs, inputs).
        width = int(weight.shape[1] if isinstance(layer.get_submodule(attention), nn.Linear) else weight.shape[0])
    told = heads if heads > 0 and width and width % heads == 0 else 0
    return Layer(
        name,
        None if attention is None else f"{name}.{attention}",
        None if mlp is None else f"{name}.{mlp}",
        told,
        width // told if told else 0,
        is_tuple,
    )


def make_tokenizer(spec: HuggingFaceSpec, base: Path) -> Callable[[list[str]], list[list[int]]]:
    """The model's own tokenizer: texts to token numbers, special tokens included, cut to ``max_length``.

    Raises:
        InputError: the folder holds no tokenizer.
    """
    transformers = _transformers()
    place = model_place(spec, base)
    with _told(place, "the tokenizer"):
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            place, **_asked(spec.revision, spec.trust_remote_code, spec.hub, spec.gguf_file)
        )

    def tokenize(texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        found: list[list[int]] = tokenizer(texts, truncation=True, max_length=spec.max_length, return_attention_mask=False)["input_ids"]
        return found

    return tokenize


@contextmanager
def adapters(module: TextClassifier, spec: HuggingFaceSpec) -> Iterator[None]:
    """Low-rank adapters (Hu et al. 2021) on every linear layer of the transformer while it is trained; merged into it at the end.

    Their initial weights come from the global generators, which the caller seeds.
    """
    try:
        import peft
    except ImportError:
        raise InputError("tune: lora needs the package peft", where=WHERE, mend=_INSTALL) from None
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


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
