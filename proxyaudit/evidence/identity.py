"""Which code wrote something: digests that tell one version of the renderer from another."""

from __future__ import annotations

import hashlib
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path

# Packages whose version may move a byte of a report.
_PACKAGES = ("jinja2", "markupsafe", "matplotlib", "numpy", "pyyaml")
_SOURCES = (
    *("reporting/**/*", "types.py", "evidence/pack.py", "evidence/plans.py", "evidence/schema_1_0.py"),
    *("estimates/questions.py", "estimates/context.py", "channels/*/__init__.py", "channels/*/words.py"),  # what a check is called
)


@lru_cache(maxsize=1)
def rendering_digest() -> str:
    """SHA-256 over everything that decides the bytes of a report, the pack itself apart.

    The manifest keeps it, so that ``verify`` can tell a report that was edited from one that another version made.
    """
    root = Path(__file__).resolve().parents[1]
    total = hashlib.sha256(f"python {sys.version_info[0]}.{sys.version_info[1]}\0".encode())
    for package in _PACKAGES:
        try:
            total.update(f"{package} {metadata.version(package)}\0".encode())
        except metadata.PackageNotFoundError:
            continue
    for path in sorted({path for pattern in _SOURCES for path in root.glob(pattern)}):
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()
