"""Files written whole: a reader sees the old one or the new one, never half of one."""

import contextlib
import os
from pathlib import Path

TEMPORARY = ".writing-"


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never half of one."""
    temporary = path.with_name(TEMPORARY + path.name)
    # A link planted under the temporary name must not carry the write elsewhere.
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's own entries on disk."""
    # Renames are only safe once the folder itself is on disk; some systems cannot open folders.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
