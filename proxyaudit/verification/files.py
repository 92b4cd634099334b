"""The bytes of a run directory: the manifest, what it lists, and files that say one thing only."""

import json
import stat
from pathlib import Path
from typing import Any

import safetensors

from proxyaudit.errors import InputError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.manifest import MANIFEST, SHA256, check_manifest
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_ARRAYS, MOST_YAML
from proxyaudit.recipe.yaml import parse_yaml

_HEADER_KEYS = {"dtype", "shape", "data_offsets"}


def check_bytes(folder: Path, required: tuple[str, ...], optional: tuple[str, ...] | None, *, skip: tuple[str, ...] = ()) -> list[str]:
    """Compare every byte of a folder, with ``required`` and ``optional`` files (``None``: any), with its manifest; a line per fault.

    Files in ``skip`` may differ, or be missing.
    """
    problems = _manifest_problems(folder)
    wanted = tuple(name for name in required if name not in skip)
    problems += [line for line in check_manifest(folder, required=wanted, skip=skip) if line not in problems]
    listed = manifest_document(folder).get("files")
    if optional is not None and isinstance(listed, dict):
        known = {*required, *optional}
        problems += [f"{name!r} is listed in {MANIFEST}, but is no part of a run directory" for name in listed if name not in known]
    return problems


def manifest_document(folder: Path) -> dict[str, Any]:
    """The manifest as far as it can be read."""
    try:
        document = parse_json(read_file(folder / MANIFEST))
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
    if maker is not None and not (isinstance(maker, str) and SHA256.fullmatch(maker)):
        problems.append(f"{MANIFEST} has no digest under 'rendered_by'")
    return problems


def json_problems(path: Path) -> list[str]:
    """Faults of a JSON file that was written in canonical form: what is not, somebody else wrote."""
    try:
        data = read_file(path)
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
        parse_yaml(read_file(path, MOST_YAML).decode("utf-8"), path.name, "")
    except (OSError, ValueError, InputError) as error:
        return [f"{path.name} cannot be read ({str(error)[:120]})"]
    return []


def safetensors_problems(path: Path) -> list[str]:
    """Faults of a safetensors file: it is read whole, and its header leaves room for nothing but the arrays."""
    try:
        data = read_file(path, MOST_ARRAYS)
        size = int.from_bytes(data[:8], "little")
        if len(data) < 8 or size > len(data) - 8:
            return [f"{path.name} is cut short"]
        header = parse_json(data[8 : 8 + size])
        with safetensors.safe_open(path, framework="np"):
            pass  # opening checks shapes and lengths, and that every byte belongs to one array
    except (OSError, ValueError, RecursionError, safetensors.SafetensorError) as error:
        return [f"{path.name} cannot be read ({str(error)[:120]})"]
    if "__metadata__" in header:
        return [f"{path.name} has metadata, which a run never writes"]
    if any(set(entry) != _HEADER_KEYS for entry in header.values()):
        return [f"{path.name} says more of an array than its type, shape and place"]
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return [] if data[8 : 8 + size].rstrip(b" ") == text else [f"{path.name} has a header in another form than it is written in"]
