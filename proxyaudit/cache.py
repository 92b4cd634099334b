"""Tasks, and the cache of finished ones: a folder per digest of all inputs, committed by one rename."""

import json
import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from proxyaudit.data.cures import Cure
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.files import hold

CACHE_FOLDER = ".proxyaudit-cache"  # beside the runs
INPUTS, SYNTHESIZE, ENCODE, TRAIN, MEASURE, CURE = "inputs", "synthesize", "encode", "train", "measure", "cure"
_MARKER = "done.json"
_WORK = ".work-"


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
    """Finished tasks under one folder, which is made on the first commit.

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

    def commit(self, kind: str, digest: str, write: Callable[[Path], None]) -> Path:
        """Run ``write`` on an empty folder and put the folder in place."""
        target = self.folder(kind, digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        ignore = self.root / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")
            (self.root / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n", encoding="utf-8")
        work = target.parent / f"{_WORK}{digest[:32]}-{_host()}-{os.getpid()}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            write(work)
            files = {path.name: file_digest(path) for path in sorted(work.iterdir())}
            for path in work.iterdir():
                _sync(path)
            marker = work / _MARKER
            marker.write_text(json.dumps({"digest": digest, "files": files}, sort_keys=True), encoding="utf-8")
            _sync(marker)
            shutil.rmtree(target, ignore_errors=True)
            work.rename(target)
            _sync(target.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return target

    def hold(self, folder: Path) -> IO[bytes]:
        """The lock of a run folder, for as long as what is returned; ``InputError`` where another process is making it."""
        try:
            return hold(self.root / "locks" / folder.name)
        except BlockingIOError:
            mend = "wait until it has ended and run the same command again: it finds the finished run"
            raise InputError("another process is making this very run", where=str(folder), mend=mend) from None

    def sweep(self) -> None:
        """Remove what killed tasks of this machine left half done."""
        for work in self.root.glob(f"*/{_WORK}*-{_host()}-*"):
            if not _alive(int(work.name.rpartition("-")[2])):
                shutil.rmtree(work, ignore_errors=True)

    def forget(self, kind: str, digest: str = "") -> None:
        """Drop a task's results, or all of a kind."""
        shutil.rmtree(self.folder(kind, digest), ignore_errors=True)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", platform.node()) or "host"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
