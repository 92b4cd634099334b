"""Weights in several files: the index that names the file of each tensor, as transformers and accelerate write it."""

import json
from pathlib import Path

from proxyaudit.digests import digest_of, file_digest
from proxyaudit.errors import InputError
from proxyaudit.files import read_file

INDEX = ".index.json"


def is_index(path: Path) -> bool:
    """Whether a file is a list of shards, by its name."""
    return path.name.endswith(INDEX)


def read_shards(index: Path) -> dict[str, Path]:
    """File of each tensor; ``InputError``: the list cannot be read, or names what is no safetensors file beside it."""
    where = str(index)
    try:
        named = dict(json.loads(read_file(index))["weight_map"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        line = " ".join(str(error).split())[:200]
        what = f"the list of shards cannot be read ({type(error).__name__}: {line})"
        raise InputError(what, where=where, mend="copy the model again") from None
    for name in named.values():
        plain = isinstance(name, str) and name.endswith(".safetensors") and not any(mark in name for mark in "/\\\0")
        if not (plain and (index.parent / name).is_file()):
            mend = "shards are plain safetensors files beside it; save the model again"
            raise InputError(f"the list of shards names '{str(name)[:80]}'", where=where, mend=mend)
    return {str(tensor): index.parent / name for tensor, name in named.items()}


def weights_file_digest(path: Path) -> str:
    """SHA-256 of a file of weights; of a list of shards, over it and all of them."""
    if not is_index(path):
        return file_digest(path)
    files = [path, *sorted(set(read_shards(path).values()))]
    return digest_of([[file.name, file_digest(file)] for file in files])
