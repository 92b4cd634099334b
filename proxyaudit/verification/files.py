"""The bytes of a run directory: the manifest, what it lists, and files that say one thing only."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

from proxyaudit.errors import InputError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.manifest import MANIFEST, check_manifest
from proxyaudit.recipe.yaml import parse_yaml

__all__ = ["check_bytes", "json_problems", "manifest_document", "safetensors_problems", "yaml_problems"]

_HEADER_KEYS = {"dtype", "shape", "data_offsets"}
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_bytes(folder: Path, required: tuple[str, ...], optional: tuple[str, ...] | None) -> list[str]:
    """Compare every byte of a folder with its manifest.

    Args:
        folder: The run directory.
        required: Files that must be there.
        optional: Other files that may be; ``None`` for any.

    Returns:
        One line per fault, each naming the file.
    """
    problems = _manifest_problems(folder)
    problems += [line for line in check_manifest(folder, required=required) if line not in problems]
    document = manifest_document(folder)
    listed = document.get("files")
    if optional is not None and isinstance(listed, dict):
        known = {*required, *optional}
        problems += [f"{name!r} is listed in {MANIFEST}, but is no part of a run directory" for name in listed if name not in known]
    return problems


def manifest_document(folder: Path) -> dict[str, Any]:
    """The manifest as far as it can be read."""
    try:
        document = parse_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _manifest_problems(folder: Path) -> list[str]:
    path = folder / MANIFEST
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return [f"{MANIFEST} is not a plain file"]
    except FileNotFoundError:
        return [f"{MANIFEST} is missing: the run is incomplete, or its manifest was removed"]
    problems = json_problems(path)
    document = manifest_document(folder)
    strangers = sorted(set(document) - {"algorithm", "files", "rendered_by"})
    problems += [f"{MANIFEST} has an unknown key {key[:40]!r}" for key in strangers]
    maker = document.get("rendered_by")
    if maker is not None and not (isinstance(maker, str) and _SHA256.fullmatch(maker)):
        problems.append(f"{MANIFEST} has no digest under 'rendered_by'")
    return problems


def json_problems(path: Path) -> list[str]:
    """Faults of a JSON file that was written in canonical form: what is not, somebody else wrote."""
    try:
        data = path.read_bytes()
        document = parse_json(data)
    except (OSError, ValueError, RecursionError) as error:
        return [f"{path.name} cannot be read ({str(error)[:120]})"]
    try:
        same = canonical_json(document) == data
    except (ValueError, TypeError, RecursionError):
        same = False
    return [] if same else [f"{path.name} is not in the form in which it is written (spaces, order or numbers were changed)"]


def yaml_problems(path: Path) -> list[str]:
    """Faults of a YAML file: no key twice, nothing that executes."""
    try:
        parse_yaml(path.read_bytes().decode("utf-8"), path.name, "")
    except (OSError, ValueError, InputError) as error:
        return [f"{path.name} cannot be read ({str(error)[:120]})"]
    return []


def safetensors_problems(path: Path) -> list[str]:
    """Faults in the layout of a safetensors file: a header that leaves no byte unaccounted for and says nothing twice."""
    try:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        if len(data) < 8 or size > len(data) - 8:
            return [f"{path.name} is cut short"]
        header = parse_json(data[8 : 8 + size])
    except (OSError, ValueError, RecursionError) as error:
        return [f"{path.name} has a header that cannot be read ({str(error)[:120]})"]
    if not isinstance(header, dict):
        return [f"{path.name} has a header that is no list of arrays"]
    if "__metadata__" in header:
        return [f"{path.name} has metadata, which a run never writes"]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    if data[8 : 8 + size].rstrip(b" ") != text:
        return [f"{path.name} has a header in another form than it is written in"]
    spans = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != _HEADER_KEYS or entry["dtype"] not in _BYTES:
            return [f"{path.name} describes array {name[:40]!r} wrongly"]
        shape, offsets = entry["shape"], entry["data_offsets"]
        whole = isinstance(shape, list) and isinstance(offsets, list) and len(offsets) == 2
        if not whole or not all(type(n) is int and n >= 0 for n in (*shape, *offsets)):
            return [f"{path.name} describes array {name[:40]!r} wrongly"]
        length = _BYTES[entry["dtype"]]
        for n in shape:
            length *= n
        if offsets[1] - offsets[0] != length:
            return [f"{path.name} gives array {name[:40]!r} a length that its shape does not have"]
        spans.append(tuple(offsets))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            return [f"{path.name} has bytes that no array, or more than one, accounts for"]
        end = stop
    return [] if end == len(data) - 8 - size else [f"{path.name} has bytes after its last array"]
