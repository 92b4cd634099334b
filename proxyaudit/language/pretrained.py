"""What loading a pretrained transformer takes, for whatever use: the package, what may be read and executed, one line for what fails.

Pickled weights are never read, and code that comes with a model is not executed unless ``trust_remote_code`` says so.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from proxyaudit.errors import InputError

__all__ = ["INSTALL", "WEIGHTS", "check_finite", "import_transformers", "load_tokenizer", "loading", "options", "package_root"]

INSTALL = "in your clone of proxyaudit: pip install '.[text]'"
WEIGHTS = (".safetensors", ".gguf")
_VOCABULARY = re.compile(r"tokenizer\.json|vocab\.txt|tekken\.json|.+\.(?:model|spm|tiktoken)")  # any of these is a vocabulary by itself
_PAIR = {"vocab.json", "merges.txt"}


def import_transformers() -> Any:
    """The package, silenced; importing it takes seconds, so only who names such a model pays for it.

    Raises:
        InputError: it is not installed.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import transformers
    except ImportError:
        raise InputError("pretrained models need the package transformers", where="model", mend=INSTALL) from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def options(*, hub: bool, trust: bool, revision: str | None, gguf_file: str | None) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` that say what may be fetched and executed."""
    asked: dict[str, Any] = {"local_files_only": not hub, "trust_remote_code": trust}
    return asked | ({"revision": revision} if revision else {}) | ({"gguf_file": gguf_file} if gguf_file else {})


@contextmanager
def loading(place: str, what: str, *, mend: str) -> Iterator[None]:
    """Turn whatever a loader raises into one line."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"{what} needs another package ({_line(error)})", where=place, mend=INSTALL) from None
    except Exception as error:
        if "trust_remote_code" in str(error):
            mend = "this model brings code of its own; set trust_remote_code: true to execute it"
        raise InputError(f"{what} cannot be loaded ({_line(error)})", where=place, mend=mend) from None


def load_tokenizer(place: str, asked: dict[str, Any], *, local: bool) -> Any:
    """Load a model's tokenizer, to be called within :func:`loading`.

    From a config alone transformers makes a tokenizer that knows no word, and says nothing.

    Args:
        place: Folder or hub name.
        asked: As :func:`options` gives them.
        local: Whether ``place`` is a folder that has to hold the tokenizer's files; a GGUF file brings its own.

    Raises:
        InputError: the folder holds no vocabulary, and the tokenizer works on more than bytes or characters, which need none.
    """
    try:
        tokenizer = import_transformers().AutoTokenizer.from_pretrained(place, **asked)
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


def check_finite(model: nn.Module, place: str) -> None:
    """Refuse weights that are no numbers.

    Raises:
        InputError: a tensor holds NaN or infinite values.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(f"tensor '{name}' of the model holds NaN or infinite weights", where=place, mend="use another model")


def package_root(name: str, where: str) -> Path:
    """Folder of an installed package, found without executing any of it.

    Raises:
        InputError: it is not installed.
    """
    try:
        found = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        found = None
    places = list(found.submodule_search_locations or []) if found is not None else []
    if not places:
        raise InputError("no such package is installed", where=where, mend="install the package that brings the model")
    return Path(places[0]).joinpath(*name.split(".")[1:])


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
