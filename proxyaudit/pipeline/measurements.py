"""What a measuring task found, as files; what several tasks would measure alike is kept for all of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from proxyaudit.digests import code_digest, digest_of
from proxyaudit.estimates.record import Measurement
from proxyaudit.pipeline.cache import Cache

__all__ = ["SHARED", "read_measurement", "remember", "write_measurement"]

SHARED = "site"


def write_measurement(out: Measurement, folder: Path) -> None:
    """Write what a measuring task found."""
    (folder / "numbers.json").write_text(json.dumps(out.numbers, sort_keys=True, allow_nan=False), encoding="utf-8")
    save_file({name: np.ascontiguousarray(value) for name, value in out.arrays.items()}, folder / "arrays.safetensors")


def read_measurement(folder: Path) -> Measurement:
    """Read what a measuring task wrote."""
    numbers = json.loads((folder / "numbers.json").read_text(encoding="utf-8"))
    return Measurement(numbers, dict(load_file(folder / "arrays.safetensors")))


def remember(cache: Cache, inputs: str, what: Mapping[str, Any], make: Callable[[], Measurement]) -> Measurement:
    """A measurement that other tasks make too, looked up where one of them did.

    Args:
        cache: Where it is kept.
        inputs: Digest of the task that planted the placebos, which depends on data, attributes and code.
        what: What identifies it beside.
        make: Measures it.
    """
    digest = digest_of({"code": code_digest("measure"), "inputs": inputs, **what})
    if cache.has(SHARED, digest):
        with contextlib.suppress(OSError):  # another task of the same moment may be putting it there
            return read_measurement(cache.folder(SHARED, digest))
    found = make()
    if not cache.has(SHARED, digest):
        with contextlib.suppress(OSError):
            cache.commit(SHARED, digest, lambda folder: write_measurement(found, folder))
    return found
