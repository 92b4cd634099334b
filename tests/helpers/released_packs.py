"""Packs of every released schema, and how someone changes them knowing what they do."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import replace_files

PACKS = Path(__file__).parents[1] / "fixtures" / "packs"
# One pack of each kind for every schema version that was ever released; the changelog says how the next is added.
KINDS = ("run", "probe", "mitigation")
Document = dict[str, Any]


def unpack(kind: str, folder: Path) -> Path:
    (archive,) = PACKS.glob(f"{kind}-1.0.tar.xz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / kind


def mitigation(folder: Path) -> Path:
    return next(folder.glob("mitigation-*"))


def edit(folder: Path, change: Callable[[Document], None], name: str = "evidence.json") -> None:
    document = json.loads((folder / name).read_text(encoding="utf-8"))
    before = canonical_json(document)
    change(document)
    assert canonical_json(document) != before, "the edit changes nothing"
    replace_files(folder, {name: canonical_json(document)})
