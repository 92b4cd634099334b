"""The size of the cache: what has not been used for longest goes first, a whole task at a time, and nothing that a run is using."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proxyaudit.cache import Cache, remove
from proxyaudit.errors import InputError

SIZE = "PROXYAUDIT_CACHE_SIZE"
MOST = "10GB"
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_WRITTEN = re.compile(r"(\d+(?:\.\d+)?) ?(kB|MB|GB|TB)", re.IGNORECASE)


@dataclass(frozen=True)
class Removed:
    """What was removed from a cache, and what could not be."""

    tasks: int
    size: int  # bytes
    last_used: str  # day (UTC) on which the latest of them was used
    left: int  # bytes that are still above the limit, all of them in use

    def words(self, root: Path) -> str:
        """As it is said to whoever runs a command."""
        said = f"the cache [{root}] held more than {_limit_words()}"
        if self.tasks:
            gone = f"{self.tasks} kept results ({in_words(self.size)}), last used by {self.last_used}, were removed"
            said += f": {gone}; a run that needs one makes it again"
        return said + (f"; {in_words(self.left)} above that are in use by a run" if self.left else "") + f". {SIZE} sets the limit"


def most_bytes() -> int:
    """The limit in bytes; ``InputError`` where the variable names none."""
    text = _limit_words()
    found = _WRITTEN.fullmatch(text.strip())
    if found is None:
        raise InputError(f"'{text[:40]}' is no size", where=SIZE, mend="write it as 500MB, 10GB or 1TB")
    return int(float(found[1]) * next(size for unit, size in _UNITS.items() if unit.upper() == found[2].upper()))


def _limit_words() -> str:
    return os.environ.get(SIZE) or MOST


def in_words(size: float) -> str:
    """A size for people."""
    unit = next((unit for unit in ("TB", "GB", "MB") if size >= _UNITS[unit]), "kB")
    return f"{size / _UNITS[unit]:,.1f} {unit}"


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.lstat().st_size for path in folder.iterdir())


def make_room(cache: Cache) -> Removed | None:
    """Remove the finished tasks that were used longest ago until the rest fits; ``None`` where there was room."""
    most, found = most_bytes(), list[tuple[int, Path, int]]()
    for folder in cache.entries():
        try:
            found.append((folder.stat().st_mtime_ns, folder, size_of(folder)))
        except OSError:  # removed a moment ago
            continue
    above = sum(size for _, _, size in found) - most
    if above <= 0:
        return None
    gone = list[tuple[int, int]]()
    for moment, folder, size in sorted(found):
        if above <= 0:
            break
        # Asked each time: a run may have begun since.
        if folder in _busy(cache):
            continue
        remove(folder)
        above -= size
        gone.append((moment, size))
    last = datetime.fromtimestamp(max(gone)[0] / 1e9, UTC).date().isoformat() if gone else ""
    return Removed(len(gone), sum(size for _, size in gone), last, max(above, 0))


def _busy(cache: Cache) -> set[Path]:
    return {folder for run in cache.running() for folder in cache.used(run)}
