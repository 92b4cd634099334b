"""The file that holds what was captured of a model: safetensors, read as views of one memory map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from proxyaudit.activations.capture import Captured
from proxyaudit.errors import InputError
from proxyaudit.models.checkpoints import write_bytes

_ACTS_PREFIX, _OUTPUTS = "acts/", "outputs"
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def write_activations(captured: Captured, path: Path) -> None:
    """Write a capture as safetensors: ``acts/<site>`` float32 and ``outputs`` float64; whole or not at all."""
    tensors: dict[str, NDArray[Any]] = {_ACTS_PREFIX + site: np.ascontiguousarray(value) for site, value in captured.acts.items()}
    tensors[_OUTPUTS] = np.ascontiguousarray(captured.outputs)
    write_bytes(path, save(tensors, metadata={"sites": json.dumps(list(captured.acts))}))


def read_activations(path: Path) -> Captured:
    """Open a file of ``write_activations`` without reading it: arrays are read-only views of one memory map.

    Raises:
        InputError: the file is missing, is cut off, or is not such a file.
    """
    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            size = path.stat().st_size
            if not 2 <= length <= min(size - 8, 100_000_000):
                raise ValueError("its header does not fit in it")
            header = json.loads(stream.read(length))
        bytes_all = np.memmap(path, dtype=np.uint8, mode="r")
        arrays = {name: _view(bytes_all, 8 + length, entry) for name, entry in header.items() if name != "__metadata__"}
        sites = json.loads(header["__metadata__"]["sites"])
        acts = {site: arrays.pop(_ACTS_PREFIX + site) for site in sites}
        outputs = arrays.pop(_OUTPUTS)
        if (
            arrays
            or any(a.dtype != np.float32 or a.ndim != 2 or len(a) != len(outputs) for a in acts.values())
            or outputs.dtype != np.float64
        ):
            raise ValueError("its tensors do not fit together")
    except FileNotFoundError:
        raise InputError("no such activations file", where=str(path), mend="run the audit again") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        line = " ".join(str(error).split())[:120]
        raise InputError(f"not a readable activations file ({line})", where=str(path), mend="delete it and run the audit again") from None
    return Captured(acts, outputs)


def _view(bytes_all: NDArray[np.uint8], offset: int, entry: Any) -> NDArray[Any]:
    dtype = _DTYPES[entry["dtype"]]
    shape = tuple(int(v) for v in entry["shape"])
    start, stop = (int(v) for v in entry["data_offsets"])
    if not 0 <= start <= stop <= len(bytes_all) - offset or min(shape, default=1) < 0:
        raise ValueError("a tensor lies outside it")
    flat: NDArray[Any] = bytes_all[offset + start : offset + stop].view(dtype)
    return flat.reshape(shape)
