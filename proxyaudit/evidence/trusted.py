"""Reading a run whose every byte is checked, a missing manifest included; ``verification.trusted`` checks what follows from it as well."""

from __future__ import annotations

from pathlib import Path

from proxyaudit.errors import IntegrityError
from proxyaudit.evidence.manifest import MANIFEST, is_complete
from proxyaudit.evidence.pack import EvidencePack, find_run, read_pack

__all__ = ["read_trusted"]


def read_trusted(path: Path) -> EvidencePack:
    """Read the run that ``path`` means, every byte checked, reports included.

    Raises:
        InputError: there is no such run, more than one, or one that did not end.
        IntegrityError: a file is missing, was changed or was added.
    """
    folder = find_run(path)
    if not is_complete(folder) and (folder / "evidence.json").exists():
        # The manifest comes last and the evidence before it: a folder with one and not the other ended and was altered, or its
        # last write was cut off. Either way the evidence cannot be trusted.
        raise IntegrityError(
            f"{MANIFEST} is missing although evidence.json is there [{folder}]; run the recipe again or use an untouched copy"
        )
    return read_pack(folder)
