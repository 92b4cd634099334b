"""Tasks, and the cache of finished ones: a folder per digest of all inputs, committed by one rename."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from proxyaudit.data.cures import Cure
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError, MachineError, machine_error
from proxyaudit.files import hold, is_left_over, this_process

CACHE_FOLDER = ".proxyaudit-cache"  # beside the runs
INPUTS, SYNTHESIZE, ENCODE, TRAIN, MEASURE, CURE = "inputs", "synthesize", "encode", "train", "measure", "cure"
PART = "part"  # kind of what unfinished tasks have kept
_MARKER = "done.json"
_WORK, _LOCKS = ".work-", "locks"


@dataclass(frozen=True)
class Task:
    """One unit of work, in plain values, so that it travels to any process."""

    kind: str
    regime: str  # of encoding, the name of what is encoded
    seed: int  # repetition
    digest: str  # of all that its result depends on
    needs: tuple[tuple[str, str], ...] = ()  # kind and digest of the tasks whose results it reads
    measures: tuple[str, ...] = ()  # of a measuring task, who measures the model ("module:function"), in order
    cure: Cure | None = None  # that is tried


@dataclass(frozen=True)
class Cache:
    """Finished tasks under one folder, which is made on the first commit; nobody else on the machine may look into it.

    A task writes into a private folder; its files are hashed into a marker, synced, and the folder is renamed
    into place, so that a killed task leaves nothing that looks finished.
    """

    root: Path

    def folder(self, kind: str, digest: str) -> Path:
        """Folder of a task's results."""
        return self.root / kind / digest[:32]

    def has(self, kind: str, digest: str) -> bool:
        """Whether the task is finished and every file still has the bytes that were written."""
        folder = self.folder(kind, digest)
        try:
            marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
            return bool(marker["digest"] == digest) and all(file_digest(folder / name) == sha for name, sha in marker["files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def stands(self, kind: str, digest: str) -> bool:
        """Whether anything stands where the task's results belong."""
        return os.path.lexists(self.folder(kind, digest))

    def commit(self, kind: str, digest: str, write: Callable[[Path], None]) -> Path:
        """Run ``write`` on an empty folder and put the folder in place of what was spoilt; results that are whole stay.

        Raises ``MachineError``: the folder cannot be written.
        """
        try:
            return self._commit(kind, digest, write)
        except Exception as error:
            found = machine_error(error, full=True)
            raise error if found is None else found from None

    def _commit(self, kind: str, digest: str, write: Callable[[Path], None]) -> Path:
        self._make_folder(kind)
        target = self.folder(kind, digest)
        work = target.parent / f"{_WORK}{this_process()}-{digest[:32]}"
        remove(work)
        work.mkdir(mode=0o700)
        try:
            write(work)
            files = {path.name: file_digest(path) for path in sorted(work.iterdir())}
            marker = work / _MARKER
            marker.write_text(json.dumps({"digest": digest, "files": files}, sort_keys=True), encoding="utf-8")
            for path in work.iterdir():
                path.chmod(0o600)
                _sync(path)
            # Another run may be reading what it put there a moment ago.
            if not self.has(kind, digest):
                remove(target)
                try:
                    work.rename(target)
                except OSError:
                    if not self.has(kind, digest):
                        raise
                _sync(target.parent)
        finally:
            remove(work)
        return target

    def _make_folder(self, kind: str) -> None:
        """Make the folder of a kind, and what tells other programs to leave the cache alone."""
        self._make_root()
        folder = self.root / kind
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError:  # a file; a folder may be another worker's, made a moment ago
            folder.unlink(missing_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        ignore = self.root / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
            (self.root / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n", encoding="utf-8")

    def _make_root(self) -> None:
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            what = "a file stands where the cache belongs"
            raise MachineError(what, where=str(self.root), mend="remove it, and run the same command again") from None
        with contextlib.suppress(OSError):  # of an earlier version, or somebody else's
            self.root.chmod(0o700)

    def hold(self, folder: Path) -> IO[bytes]:
        """The lock of a run folder, for as long as what is returned; ``InputError`` where another process is making it."""
        self._make_folder(_LOCKS)
        try:
            return hold(self.root / _LOCKS / folder.name)
        except BlockingIOError:
            mend = "wait until it has ended and run the same command again: it finds the finished run"
            raise InputError("another process is making this very run", where=str(folder), mend=mend) from None

    def sweep(self) -> None:
        """Remove what killed tasks of this machine left half done."""
        for work in self.root.glob(f"*/{_WORK}*"):
            if is_left_over(work.name, _WORK):
                remove(work)

    def forget(self, kind: str, digest: str = "") -> None:
        """Drop a task's results, or all of a kind."""
        remove(self.folder(kind, digest))


def remove(path: Path) -> None:
    """Remove whatever stands there, as far as it can be."""
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        return
    with contextlib.suppress(OSError):
        path.chmod(0o700)
    shutil.rmtree(path, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
