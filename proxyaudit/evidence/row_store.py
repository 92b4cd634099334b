"""Row sums of an auditor's own runs: they let two runs on the same rows be compared in pairs, and stay in the auditor's own folder.

A file is named by a keyed digest of the evidence that it belongs to. So nobody can put one beside a run that was delivered, and one whose
evidence was changed is not found.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from proxyaudit.errors import InputError
from proxyaudit.files import read_file, write_file
from proxyaudit.limits import MOST_ARRAYS, MOST_JSON
from proxyaudit.secret import keyed, own_folder

FOLDER = "row-sums"


def keep_row_sums(evidence: bytes, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Keep the row sums of a run; where the auditor's folder cannot be written its runs are later compared without pairs."""
    data = safetensors.numpy.save({name: arrays[name] for name in sorted(arrays)})
    with contextlib.suppress(OSError, RuntimeError):
        folder = own_folder() / FOLDER
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(folder / _name(evidence), data, private=True)


def read_row_sums(evidence: Path) -> dict[str, NDArray[Any]]:
    """The row sums of the run whose ``evidence.json`` this is; empty for whoever did not make it."""
    with contextlib.suppress(OSError, RuntimeError, InputError, ValueError, SafetensorError):
        loaded: dict[str, NDArray[Any]] = safetensors.numpy.load(read_file(row_sums_file(evidence), MOST_ARRAYS))
        return dict(sorted(loaded.items()))
    return {}


def row_sums_file(evidence: Path) -> Path:
    """Where the row sums of the run lie whose ``evidence.json`` this is; ``OSError`` where there are none."""
    folder = own_folder() / FOLDER
    if not folder.is_dir():  # then there is no secret either, and reading a run is no reason to draw one
        raise FileNotFoundError(folder)
    path = folder / _name(read_file(evidence, MOST_JSON))
    path.stat()
    return path


def _name(evidence: bytes) -> str:
    return f"{keyed('row sums', evidence)[:32]}.safetensors"
