"""Pretrained transformers from a folder or, when asked, a hub: no pickle is read, no code of a model run unless ``trust_remote_code``."""

import importlib.util
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from proxyaudit.data.shards import INDEX, read_shards
from proxyaudit.data.tables import is_inside
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.fence import limited_time, network_words
from proxyaudit.files import read_file
from proxyaudit.language.adapters import find_base, is_adapter, load_adapted
from proxyaudit.later import Later
from proxyaudit.recipe.models import PretrainedSpec

if TYPE_CHECKING:
    from torch import nn

torch = Later("torch")  # slow to load, and needless where files are only looked for

INSTALL = "in your clone of proxyaudit: pip install '.[text]'"
WEIGHTS = (".safetensors", ".gguf")
WRAPPERS = r"^(?:_orig_mod\.|module\.)+"  # what torch.compile and data-parallel training put before every name
_VOCABULARY = re.compile(r"tokenizer\.json|vocab\.txt|tekken\.json|.+\.(?:model|spm|tiktoken)")  # any of these is a vocabulary by itself
_HASHED = (*WEIGHTS, ".json", ".txt", ".model", ".py", ".jinja", ".spm", ".tiktoken", ".vocab", ".bpe")
_ADAPTED = "adapter_of"
_PAIR = {"vocab.json", "merges.txt"}
_WIDENED = ("fp8",)  # stored in fewer digits; without its accelerator transformers widens them as it reads, exactly


def import_transformers() -> Any:
    """The package, silenced; imported only when needed, since it takes seconds. Raises ``InputError``: it is not installed."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import transformers
    except ImportError:
        raise InputError("pretrained models need the package transformers", where="model", mend=INSTALL) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def fetch_options(source: PretrainedSpec, file: str | None, adapted: Path | None = None) -> dict[str, Any]:
    """Arguments of loaders that say what may be fetched and executed; ``file`` is the GGUF file, ``adapted`` the base of an adapter."""
    asked: dict[str, Any] = {"local_files_only": not source.hub, "trust_remote_code": source.trust_remote_code}
    return (
        asked
        | ({"revision": source.revision} if source.revision else {})
        | ({"gguf_file": file} if file else {})
        | ({_ADAPTED: str(adapted)} if adapted else {})
    )


def adapter_base(source: PretrainedSpec, place: str, base: Path) -> Path | None:
    """Folder of the base of an adapter that lies at ``place``, ``None`` where that is a model itself. ``InputError``: it is not there."""
    if source.hub or not is_adapter(Path(place)):
        return None
    if source.trust_remote_code:
        mend = "leave out trust_remote_code, or merge it into its base (merge_and_unload), and save that"
        raise InputError("the base of an adapter is read without code of its own", where=place, mend=mend)
    found = find_base(Path(place), source.base, (base, Path.cwd()))
    _check_folder(found)
    return found


def locate(source: PretrainedSpec, base: Path) -> tuple[str, str | None]:
    """Folder (or hub name) and GGUF file. Raises ``InputError``: none there, outside recipe's folder or package, no weights to be read."""
    if source.hub:
        return source.path, source.gguf_file
    where = f"model '{source.path[:200]}'"
    if not source.path or "\0" in source.path:
        raise InputError("the path of the model is empty", where="model", mend="name its folder")
    given = Path(source.path)
    if source.package:
        root = _package_root(source.package)
        tried = [root / given]
        if not is_inside(tried[0], root):
            raise InputError("the path leads out of the package", where=f"package '{source.package}'", mend="name a folder inside it")
    else:
        roots = (base, Path.cwd())
        tried = [root / given for root in roots if any(is_inside(root / given, inside) for inside in roots)]
        tried = [given] if given.is_absolute() else tried
    place = next((path for path in tried if path.exists()), None)
    if place is None:
        mend = "paths are relative to the recipe's folder, then to the current folder; a name on a hub needs 'hub: true'"
        raise InputError("there is no such model", where=where, mend=mend)
    file = source.gguf_file
    if place.is_file():
        if place.suffix != ".gguf":
            raise InputError("this is no model folder and no GGUF file", where=where, mend="name the folder that holds config.json")
        place, file = place.parent, place.name
    if file is not None and not ((place / file).is_file() and is_inside(place / file, place)):
        raise InputError(f"there is no file '{file[:80]}' in the model's folder", where=where, mend="check gguf_file")
    _check_folder(place)
    adapter_base(source, str(place), base)
    if not any(path.name.endswith(WEIGHTS) for path in place.iterdir()):
        mend = "only safetensors and GGUF are read, since other formats can run code; convert it with save_pretrained"
        raise InputError("the model's folder holds no safetensors weights", where=where, mend=mend)
    return str(place), file


def _check_folder(folder: Path) -> None:
    """Refuse (``InputError``) a folder whose files send a loader elsewhere, where nobody looked, or whose weights cannot be read here."""
    for index in sorted(folder.glob(f"*{INDEX}")):
        read_shards(index)
    if (method := _quantised_by(folder)) is not None and method not in _WIDENED:
        mend = "save it in full precision (where its library runs: model.dequantize(), then save_pretrained)"
        what = f"the model is quantised with {method or 'a method that it does not name'}, which cannot be read here"
        raise InputError(what, where=str(folder), mend=f"{mend}; {', '.join(_WIDENED)} and GGUF are read as they are")


def _quantised_by(folder: Path) -> str | None:
    """How the weights of a folder are quantised, as its config says; ``None`` where they are not."""
    try:
        said = json.loads(read_file(folder / "config.json")).get("quantization_config")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # whoever loads it will say so
    if said is None:
        return None
    return str(said.get("quant_method") or "")[:40] if isinstance(said, dict) else ""


def is_widened(folder: Path) -> bool:
    """Whether a folder's weights are stored in fewer digits and widened as they are read."""
    return _quantised_by(folder) in _WIDENED


def model_files(folder: Path, adapted: Path | None = None) -> dict[str, str]:
    """SHA-256 of every file of a model's folder that may decide a number, by its name; those of an adapter's base too."""
    found = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name.endswith(_HASHED)}
    return found | ({} if adapted is None else {f"base {name}": digest for name, digest in model_files(adapted).items()})


def _package_root(name: str) -> Path:
    """Folder of an installed package, found without executing any of it."""
    try:
        found = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        found = None
    places = list(found.submodule_search_locations or []) if found is not None else []
    if not places:
        raise InputError("no such package is installed", where=f"package '{name}'", mend="install the package that brings the model")
    return Path(places[0]).joinpath(*name.split(".")[1:])


@contextmanager
def loading(place: str, what: str, *, mend: str) -> Iterator[None]:
    """Turn whatever a loader raises into one line."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{what} needs another package ({one_line(error)})", where=place, mend=INSTALL) from None
    except Exception as error:
        if "trust_remote_code" in str(error):
            mend = "this model brings code of its own; set trust_remote_code: true to execute it"
        mend = network_words(error) or mend
        raise InputError(f"{what} cannot be loaded ({one_line(error)})", where=place, mend=mend) from None


def load_body(auto: str, place: str, options: Mapping[str, Any], *, spare: str | tuple[str, ...] = "") -> Any:
    """Load a float32 model by this ``auto`` class, within :func:`loading`.

    ``unread`` of the model names the tensors of its files that it has no place for. Raises ``InputError``: a tensor holds NaN or infinite
    values, or is missing, so that random numbers would stand in for it; those whose names begin with ``spare`` may be.
    """
    if _ADAPTED in options:
        own = {key: value for key, value in options.items() if key != _ADAPTED}

        brought = (spare,) if isinstance(spare, str) and spare else ()

        def load(kind: str, more: Mapping[str, Any], names: tuple[str, ...]) -> Any:
            return load_body(kind, options[_ADAPTED], {**own, **more}, spare=(*names, *brought))

        return load_adapted(auto, Path(place), load)
    # Of a GGUF file every tensor would be counted on standard error.
    quiet, safe = (redirect_stderr(io.StringIO()), {}) if "gguf_file" in options else (nullcontext(), {"use_safetensors": True})
    with quiet, limited_time(_own_code(place, options)):
        asked = {**options, **safe, "dtype": torch.float32, "attn_implementation": "eager"}
        if options["local_files_only"] and "gguf_file" not in options and _is_wrapped(Path(place)):
            asked["key_mapping"] = {WRAPPERS: ""}
        model: nn.Module
        model, told = getattr(import_transformers(), auto).from_pretrained(place, **asked, output_loading_info=True)
    lost = sorted(name for name in told["missing_keys"] if not (spare and name.startswith(spare)))
    lost += sorted(str(entry[0]) for entry in told.get("mismatched_keys", ()))
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        what = f"the model's files lack tensor '{lost[0]}'{more}, which would be random"
        raise InputError(what, where=place, mend="save the whole model again, with the config that belongs to it")
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"tensor '{name}' of the model holds NaN or infinite weights", where=place, mend="use another model")
    if options["local_files_only"] and "gguf_file" not in options:
        _check_digits(Path(place), model)
    # Torch declares every attribute of a module as a tensor or a module.
    model.unread = tuple(sorted(told["unexpected_keys"]))  # type: ignore[assignment]
    return model


def _check_digits(folder: Path, model: "nn.Module") -> None:
    """Refuse (``InputError``) weights that are stored as whole numbers, truth values or complex numbers: codes of a format nobody named."""
    wanted = {name for name, value in model.state_dict().items() if value.is_floating_point()}
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                kind = str(file.get_slice(name).get_dtype())
                if not kind.startswith(("F", "BF")) and wanted & {name, prefix + name, name.removeprefix(prefix)}:
                    what = f"tensor '{name}' of the model is stored as {kind}, which are no weights but codes for them"
                    mend = "save it in full precision (where its library runs: model.dequantize(), then save_pretrained)"
                    raise InputError(what, where=str(folder), mend=mend)


def _own_code(place: str, options: Mapping[str, Any]) -> str:
    """Where code that comes with a model lies; empty where none is executed, or it is fetched first, however long that takes."""
    return f"model '{place}'" if options["trust_remote_code"] and options["local_files_only"] else ""


def _is_wrapped(folder: Path) -> bool:
    """Whether the names of all tensors of a folder's weights begin as those of a wrapped module do."""
    names = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            names += list(file.keys())
    return bool(names) and all(re.match(WRAPPERS, name) for name in names)


def layer_list(model: "nn.Module", where: str) -> "tuple[str, list[nn.Module]]":
    """A transformer's layers: the longest list of one class in no other such list, and its name. Raises ``InputError``: there is none."""
    lists = {
        n: list(p.children()) for n, p in model.named_modules() if isinstance(p, torch.nn.ModuleList) and len({type(c) for c in p}) == 1
    }
    outer = {n: c for n, c in lists.items() if not any(n.startswith(f"{other}.") for other in lists if other != n)}
    if not outer:
        raise InputError("no list of layers was found in the model", where=where, mend="use a transformer whose layers are a ModuleList")
    return max(outer.items(), key=lambda item: len(item[1]))


def load_tokenizer(place: str, options: Mapping[str, Any]) -> Any:
    """Load a model's tokenizer, to be called within :func:`loading`.

    From a config alone transformers makes a tokenizer that knows no word, and says nothing: a folder (no GGUF file) has to hold its files.
    Raises ``InputError``: it holds no vocabulary, and the tokenizer works on more than bytes or characters, which need none.
    """
    local = options["local_files_only"] and "gguf_file" not in options
    options = dict(options)
    adapted = options.pop(_ADAPTED, None)
    if adapted is not None and not any(_VOCABULARY.fullmatch(path.name) for path in Path(place).iterdir()):
        place = adapted
    try:
        with limited_time(_own_code(place, options)):
            tokenizer = import_transformers().AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:
        if local and "trust_remote_code" not in str(error):
            _check_vocabulary(Path(place), set())
        raise
    wanted = set(tokenizer.vocab_files_names.values())
    if local and wanted:
        _check_vocabulary(Path(place), wanted)
    return tokenizer


def _check_vocabulary(folder: Path, wanted: set[str]) -> None:
    there = {path.name for path in folder.iterdir()}
    if not (any(map(_VOCABULARY.fullmatch, there)) or there >= _PAIR or (wanted and there >= wanted)):
        mend = "add tokenizer.json, or what its tokenizer is saved as (vocab.txt, vocab.json with merges.txt, tokenizer.model, ...)"
        raise InputError("the model folder holds no tokenizer", where=str(folder), mend=mend)


def one_line(error: BaseException) -> str:
    """The type and the text of an error, cut short."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
