"""Tasks, and the cache of finished ones: a folder per digest of all inputs, committed by one rename.

The cache holds rows. It is the user's own and lies apart from what people publish; runs with tasks in common share it.
"""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from proxyaudit.claims import Claims
from proxyaudit.data.cures import Cure
from proxyaudit.digests import digest_of, file_digest
from proxyaudit.errors import InputError, MachineError, machine_error
from proxyaudit.files import hold, is_left_over, this_process

CACHE = "PROXYAUDIT_CACHE"
OLD_CACHE = ".proxyaudit-cache"  # where earlier versions kept it, beside the runs
INPUTS, SYNTHESIZE, ENCODE, TRAIN, MEASURE, CURE = "inputs", "synthesize", "encode", "train", "measure", "cure"
PART = "part"  # kind of what unfinished tasks have kept
_MARKER = "done.json"
_ENTRY = re.compile(r"[0-9a-f]{32}|\.work-[A-Za-z0-9]+-\d+-[0-9a-f]{32}")
_WORK, LOCKS, RUNS, CLAIMS, _TAG = ".work-", "locks", "runs", "claims", "CACHEDIR.TAG"


def cache_folder(given: Path | None = None) -> Path:
    """The folder that is ``given``, else ``PROXYAUDIT_CACHE``, else the user's own; ``InputError`` where it holds something else."""
    named = given or os.environ.get(CACHE)
    try:
        found = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proxyaudit"
        # Its permissions are taken away from everybody else, and what is in it is deleted one day.
        # Another process may be making it at this very moment.
        for pause in (0.1, 0.4, 0.0):
            if not (strange := found.is_dir() and not is_cache(found) and any(found.iterdir())):
                break
            time.sleep(pause)
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or "it cannot be told which folder is yours"
        raise InputError(f"the cache cannot be used ({why})", where="--cache", mend=f"name another folder, or set {CACHE}") from None
    if strange:
        raise InputError("the folder holds other things than a cache", where=f"--cache {found}", mend="name an empty or a new folder")
    return found


def is_cache(folder: Path) -> bool:
    """Whether a folder is a cache of ours, of this version or an earlier one."""
    return not folder.is_symlink() and (folder / _TAG).is_file() and (folder / ".gitignore").is_file()


def is_entry(folder: Path) -> bool:
    """Whether a folder in a cache has a name of ours: any program may mark its own folders as caches, as many do."""
    return _ENTRY.fullmatch(folder.name) is not None


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
    beside: tuple[tuple[str, str], ...] = ()  # of a mixture that is tried, what the other kind of training needs


@dataclass(frozen=True)
class Cache:
    """Finished tasks under one folder, which is made on the first commit; nobody else on the machine may look into it.

    A task writes into a private folder; its files are hashed into a marker, synced, and the folder is renamed
    into place, so that a killed task leaves nothing that looks finished. What the ``run`` of an id used is written down as empty files, so
    that it can be purged; a folder's own time says when its results were last used.
    """

    root: Path
    run: str = ""

    @property
    def claims(self) -> Claims:
        """Who is making which task."""
        return Claims(self.root / CLAIMS)

    def claim(self, name: str) -> contextlib.AbstractContextManager[bool]:
        """Claim what goes by a name, for the length of a block: see :meth:`Claims.claim`."""
        self._make_folder(CLAIMS)
        return self.claims.claim(name)

    def folder(self, kind: str, digest: str) -> Path:
        """Folder of a task's results."""
        return self.root / kind / digest[:32]

    def has(self, kind: str, digest: str) -> bool:
        """Whether the task is finished and every file still has the bytes that were written."""
        folder = self.folder(kind, digest)
        self._use(folder)
        try:
            marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
            return bool(marker["digest"] == digest) and all(file_digest(folder / name) == sha for name, sha in marker["files"].items())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def entries(self) -> list[Path]:
        """Folders of all finished tasks, whoever used them."""
        found = (marker.parent for marker in self.root.glob(f"[!.]*/[!.]*/{_MARKER}"))
        return [folder for folder in found if is_entry(folder) and folder.parent.name not in (RUNS, LOCKS)]

    def stands(self, kind: str, digest: str) -> bool:
        """Whether anything stands where the task's results belong."""
        return os.path.lexists(self.folder(kind, digest))

    def _use(self, folder: Path) -> None:
        """Note that the run uses a task's results."""
        with contextlib.suppress(OSError):
            os.utime(folder)
            if self.run:
                noted = self.root / RUNS / self.run
                for made in (noted.parent, noted):
                    made.mkdir(mode=0o700, exist_ok=True)
                (noted / f"{folder.parent.name}.{folder.name}").touch(mode=0o600)

    def used(self, run: str) -> set[Path]:
        """Folders of all results that a run used, whether they are still there or not."""
        with contextlib.suppress(OSError):
            named = (path.name.partition(".") for path in (self.root / RUNS / run).iterdir())
            return {self.root / kind / digest for kind, _, digest in named}
        return set()

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
                self._put(work, target, kind, digest)
                _sync(target.parent)
        finally:
            remove(work)
        self._use(target)
        return target

    def _put(self, work: Path, target: Path, kind: str, digest: str) -> None:
        """Rename a finished folder into place, unless another process has put its own there since."""
        for last in (False, True):
            try:
                # First as if nothing stood there: whole results of another process are in the way of it, and stay.
                work.rename(target)
            except OSError:
                if self.has(kind, digest):
                    return
                if last:
                    raise
                remove(target)
            else:
                return

    def _make_folder(self, kind: str) -> None:
        """Make the folder of a kind, and what tells other programs to leave the cache alone."""
        self._make_root()
        if not (self.root / _TAG).exists():
            (self.root / ".gitignore").write_text("*\n", encoding="utf-8")
            (self.root / _TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n", encoding="utf-8")
        folder = self.root / kind
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError:  # a file; a folder may be another worker's, made a moment ago
            folder.unlink(missing_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)

    def _make_root(self) -> None:
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except FileExistsError:
            what = "a file stands where the cache belongs"
            raise MachineError(what, where=str(self.root), mend="remove it, and run the same command again") from None
        try:
            self.root.chmod(0o700)  # of an earlier version
        except OSError:
            # Shared disks may tell other owners than there are, so that whoever may change it owns it. Anybody else's owner can put other
            # results in the place of ours, and let everybody look on.
            if os.name == "posix" and os.geteuid() != self.root.stat().st_uid:
                what, mend = "the cache belongs to somebody else", "name a folder of your own (--cache)"
                raise MachineError(what, where=str(self.root), mend=mend) from None

    def hold(self, folder: Path) -> IO[bytes]:
        """The lock of a run folder, for as long as what is returned; ``InputError`` where another process is making it."""
        self._make_folder(LOCKS)
        lock = self.root / LOCKS / f"{self.run or folder.name}-{digest_of(str(folder.resolve()))[:12]}"
        for again in (True, True, False):
            try:
                return hold(lock)
            except BlockingIOError:
                if again:  # whoever asks which runs are being made holds each lock for a moment
                    time.sleep(0.05)
        mend = "wait until it has ended and run the same command again: it finds the finished run"
        raise InputError("another process is making this very run", where=str(folder), mend=mend)

    def running(self) -> set[str]:
        """Ids of the runs that are being made at this moment, by any process of this machine or any shard."""
        found = {name.rpartition("-")[2] for name in self.claims.live("shard-*")}
        for lock in (self.root / LOCKS).glob("*-*"):
            try:
                hold(lock).close()
            except BlockingIOError:
                found.add(lock.name.rpartition("-")[0])
        return found

    def sweep(self) -> None:
        """Remove what killed tasks of this machine left half done."""
        for work in self.root.glob(f"*/{_WORK}*"):
            if is_left_over(work.name, _WORK):
                remove(work)
        self.claims.sweep()

    def forget(self, kind: str, digest: str = "") -> None:
        """Drop a task's results, or all of a kind that the run used."""
        for folder in [self.folder(kind, digest)] if digest else [path for path in self.used(self.run) if path.parent.name == kind]:
            remove(folder)


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
