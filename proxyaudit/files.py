"""Files written whole and read within limits: never half of one, never a pipe or a device, never more than memory should hold."""

import contextlib
import errno
import os
import platform
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from glob import escape
from io import BufferedReader
from pathlib import Path
from typing import IO

from proxyaudit.limits import MOST_ARRAYS, MOST_JSON, MOST_PAGE, MOST_TABLE, MOST_YAML, at_most, how_to_raise

TEMPORARY = ".writing-"
_SCRATCH = "proxyaudit-"  # folders for what is needed for a moment; the number of the process follows
_MB = 2**20
_NUMBER = re.compile(r"\d+")
_BY_SUFFIX = {
    ".json": MOST_JSON,
    ".jsonl": MOST_JSON,
    ".yaml": MOST_YAML,
    ".html": MOST_PAGE,
    ".md": MOST_PAGE,
    ".safetensors": MOST_ARRAYS,
}


def most_of(path: Path) -> int:
    """Bytes that a file of a run may hold, by its name: asked before it is hashed, since holes of terabytes fit into a letter."""
    return _BY_SUFFIX.get(path.suffix, MOST_TABLE)


@contextlib.contextmanager
def open_plain(path: Path, most: int | None = None) -> Iterator[BufferedReader]:
    """Open a plain file for reading; ``OSError``: it is a pipe or a device, or holds more than ``most`` bytes."""
    # A pipe that nobody writes to would be waited for without end.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        if most is not None and found.st_size > at_most(most):
            sizes = f"it holds {found.st_size / _MB:,.0f} MB and at most {at_most(most) / _MB:,.0f} are read; {how_to_raise()}"
            raise OSError(errno.EFBIG, sizes, str(path))
        yield stream


def read_file(path: Path, most: int = MOST_JSON) -> bytes:
    """All bytes of a plain file; ``OSError`` as :func:`open_plain`, or if it cannot be read."""
    with open_plain(path, most) as stream:
        return stream.read(at_most(most) + 1)


def write_file(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never half of one; a ``private`` one is never anybody else's."""
    # Two processes that write one file must not write one temporary file.
    temporary = path.with_name(f"{TEMPORARY}{this_process()}-{path.name}")
    # Left by a process that was killed; and a link planted under the temporary name must not carry the write elsewhere.
    for left in path.parent.glob(f"{TEMPORARY}*-{escape(path.name)}"):
        if left == temporary or is_left_over(left.name, TEMPORARY):
            left.unlink(missing_ok=True)
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o600 if private else 0o666)) as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def hold(path: Path) -> IO[bytes]:
    """Take a lock that lasts as long as what is returned, and ends with this process however it ends; ``BlockingIOError`` if it is taken.

    The file stays: whoever removed it could take away the lock of a third. Systems and disks without locks let everybody in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("ab")
    if not lock(handle.fileno()):
        handle.close()
        raise BlockingIOError(errno.EWOULDBLOCK, "it is locked", str(path))
    return handle


def lock(handle: int) -> bool:
    """Take the lock of an open file or folder, until it is closed; whether nobody else has it. Without locks everybody is let in."""
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def this_process() -> str:
    """Machine and number of this process, as names of what it makes for a moment carry them: disks are shared by machines."""
    return f"{_machine()}-{os.getpid()}"


def is_left_over(name: str, prefix: str) -> bool:
    """Whether a name that begins with ``prefix`` and :func:`this_process` is that of a process of this machine that runs no more."""
    machine, _, rest = name.removeprefix(prefix).partition("-")
    process = rest.split("-")[0]
    if machine != _machine() or not process.isdigit():
        return False
    try:
        os.kill(int(process), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
    return False


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node()) or "host"


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Key that sorts names as people count: ``batch-2`` before ``batch-10``."""
    cut, out = 0, list[tuple[int, int, str]]()
    for found in _NUMBER.finditer(name):
        out += [(1, 0, name[cut : found.start()]), (0, int(found[0]), found[0])]
        cut = found.end()
    return (*out, (1, 0, name[cut:]))


def clear_up() -> None:
    """Remove the temporary folders of processes of ours that were killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        if is_left_over(left.name, _SCRATCH):
            shutil.rmtree(left, ignore_errors=True)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder that goes when the block ends; those of processes of ours that were killed go first."""
    clear_up()
    with tempfile.TemporaryDirectory(prefix=f"{_SCRATCH}{this_process()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def sync_folder(folder: Path) -> None:
    """Put a folder's own entries on disk."""
    # Renames are only safe once the folder itself is on disk; some systems cannot open folders.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
