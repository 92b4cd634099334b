"""Canonical JSON: one value, one sequence of bytes."""

import json
import math
from typing import Any

import numpy as np


def canonical_json(value: Any) -> bytes:
    r"""Return ``value`` as UTF-8 JSON with sorted keys, an indent of one and a final newline.

    Numbers are written as they are (the pipeline has rounded them); NaN and infinities are refused (``ValueError``), because JSON has no
    word for them and a reader must not have to guess; so is what has no JSON form (``TypeError``).

    >>> canonical_json({"b": 1, "a": [0.5, None]})
    b'{\n "a": [\n  0.5,\n  null\n ],\n "b": 1\n}\n'
    """
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    # A lone surrogate has no UTF-8 form; backslashreplace writes it as \udxxx, which is its JSON escape.
    return (text + "\n").encode("utf-8", "backslashreplace")


def parse_json(data: bytes) -> Any:
    """Read JSON strictly (UTF-8, neither NaN nor infinite, no key given twice); ``ValueError`` for anything else."""
    return json.loads(data.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _finite(text: str) -> float:
    return value if math.isfinite(value := float(text)) else _refuse(text)  # 1e999 is read as infinite, without a word


def _refuse(word: str) -> Any:
    raise ValueError(f"{word[:40]} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key {key!r} is given twice")
        seen[key] = value
    return seen
