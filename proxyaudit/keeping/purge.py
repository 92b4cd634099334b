"""Purge: delete what holds rows, or helps to infer from them, and leave a receipt. What a reader needs of a run stays, and stays valid.

Found of a run are its kept results in the cache, its row sums in the auditor's folder, and the restricted files in its own folder.
"""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from proxyaudit.cache import CLAIMS, LOCKS, OLD_CACHE, RUNS, Cache, is_cache, is_entry, remove
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.evidence.alone import alone_in
from proxyaudit.evidence.manifest import MANIFEST, read_manifest
from proxyaudit.evidence.receipts import Purge, Receipt, Removed, plan_digest_of, read_receipt, run_id_of, write_receipt
from proxyaudit.evidence.row_store import row_sums_file
from proxyaudit.evidence.tiers import BESIDE, RUN_ENCRYPTED, RUN_RESTRICTED, SIGNED_RECEIPT, is_restricted
from proxyaudit.files import TEMPORARY, is_left_over, most_of, open_plain
from proxyaudit.keeping.room import size_of
from proxyaudit.secret import KEYED, keyed

_MARKS = (MANIFEST, "plan.json", "evidence.json")
_MADE = re.compile(r"(?:mitigation-)?[0-9a-f]{12}")
_OURS = "'purge' deletes only what proxyaudit wrote"


@dataclass(frozen=True)
class Found:
    """Something that is to be deleted, and how the receipt names it."""

    path: Path
    removed: Removed


@dataclass(frozen=True)
class Purged:
    """What was deleted, or would be, of one folder; its receipt lies in it."""

    folder: Path
    removed: tuple[Removed, ...]

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return sum(one.bytes for one in self.removed)


def purge(path: Path, cache: Cache, *, dry_run: bool = False) -> tuple[Purged, ...]:
    """Delete what holds rows: of a run, of all runs below a folder, or all that lies in a cache; ``dry_run`` deletes nothing.

    Raises:
        InputError: there is no such folder, a run is being made that needs what would go, or something there is not ours. Nothing was
            deleted then.
        IntegrityError: a receipt or a restricted file is not what it was.
    """
    if path.is_symlink() or not path.is_dir():
        what = "a link is not followed" if path.is_symlink() else "no such folder"
        raise InputError(what, where=str(path), mend="name a run folder, a folder of runs, or a cache")
    folders = [path] if is_cache(path) or _is_folder(path) else [*_folders(path), *([path] if old_cache(path) else [])]
    found = {folder: _found_in(folder, cache) for folder in folders}
    _refuse_running(cache, path, {one.path for several in found.values() for one in several}, {run_id_of(folder) for folder in folders})
    done = []
    for folder, several in found.items():
        removed = tuple(one.removed for one in several)
        if not dry_run:
            # Nobody begins the run meanwhile; where there is no cache none is made for that.
            lock = Cache(cache.root, run_id_of(folder) or "").hold(folder) if cache.root.is_dir() else contextlib.nullcontext()
            with lock, alone_in(folder):
                if several:
                    _delete(folder, several, removed)
                _clear_away(folder, cache)
        done.append(Purged(folder, removed))
    return tuple(done)


def kept_folders(path: Path) -> list[Path]:
    """The folders of runs, mitigations and cures at or below a folder."""
    return [path] if _is_folder(path) else _folders(path)


def old_cache(folder: Path) -> Path | None:
    """The cache that an earlier version left in a folder of runs."""
    found = folder / OLD_CACHE
    return found if is_cache(found) else None


def _is_folder(folder: Path) -> bool:
    """Whether it is the folder of a run, a mitigation or a cure, ended or not."""
    return any((folder / mark).is_file() for mark in _MARKS) or _recipe_of_ours(folder)


def _recipe_of_ours(folder: Path) -> bool:
    """Whether ``cure`` or ``mitigate`` made a folder, which they may not have ended: by its name, and the recipe that they write first.

    The recipe alone tells nothing: whoever works with it copies it into a folder of their own, beside a release of their own.
    """
    if _MADE.fullmatch(folder.name) is None:
        return False
    for name in ("cured.yaml", "mitigated.yaml"):
        with contextlib.suppress(OSError), open_plain(folder / name) as stream:
            if stream.readline(100).startswith(b"# Written by 'proxyaudit "):
                return True
    return False


def _folders(folder: Path, depth: int = 3) -> list[Path]:
    if depth == 0:
        return []
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink() and not path.name.startswith("."))
    return [found for path in inside for found in ([path] if _is_folder(path) else _folders(path, depth - 1))]


def _found_in(folder: Path, cache: Cache) -> list[Found]:
    read_receipt(folder)  # before anything is deleted: what follows is added to it
    if is_cache(folder):
        return list(_results(_entries(folder)))
    if not _is_folder(folder):
        old = old_cache(folder)
        return [] if old is None else list(_results(_entries(old)))
    found, run = list(_restricted(folder)), run_id_of(folder)
    if run is not None:
        found += _results(sorted(entry for entry in cache.used(run) if os.path.lexists(entry)))
    with contextlib.suppress(OSError, RuntimeError, InputError):
        sums = row_sums_file(folder / "evidence.json")
        found.append(Found(sums, Removed(what="row sums", name=sums.suffix, bytes=sums.stat().st_size, sha256=_keyed(file_digest(sums)))))
    return found


def _restricted(folder: Path) -> Iterable[Found]:
    """Restricted files of a folder: where it is complete those that its manifest lists, else those that a command writes there."""
    complete = (folder / MANIFEST).is_file()
    hashes = read_manifest(folder)[0] if complete else {}
    of_runs, of_others = complete or run_id_of(folder) is not None, complete or _recipe_of_ours(folder)
    for path in sorted(folder.iterdir()):
        if not is_restricted(path.name) or not (of_runs if path.name in (*RUN_RESTRICTED, *RUN_ENCRYPTED) else of_others):
            continue
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError("a restricted file is no plain file", where=str(path), mend=_OURS)
        if complete and path.name not in hashes:
            raise InputError(f"{MANIFEST} does not list this file", where=str(path), mend=_OURS)
        digest = file_digest(path, most_of(path))
        if complete and hashes[path.name] != digest:
            raise IntegrityError(f"{path.name} does not match its hash [{folder}]; {_OURS}")
        yield Found(path, Removed(what="restricted file", name=path.name, bytes=found.st_size, sha256=digest))


def _entries(root: Path) -> list[Path]:
    """All results in a cache, finished or not; ``InputError`` if anything else lies there."""
    found = []
    for kind in sorted(root.iterdir()):
        if kind.name in (".gitignore", "CACHEDIR.TAG", RUNS, LOCKS, CLAIMS, *BESIDE):
            continue
        if kind.is_symlink() or not kind.is_dir():
            raise InputError("something else than kept results lies in the cache", where=str(kind), mend=_OURS)
        found += sorted(kind.iterdir())
    return found


def _results(entries: Iterable[Path]) -> Iterable[Found]:
    for entry in entries:
        if (
            entry.is_symlink()
            or not entry.is_dir()
            or not is_entry(entry)
            or any(path.is_symlink() or not path.is_file() for path in entry.iterdir())
        ):
            raise InputError("this is no folder of kept results", where=str(entry), mend=_OURS)
        try:
            files = json.loads((entry / "done.json").read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError, TypeError):
            files = {path.name: file_digest(path) for path in sorted(entry.iterdir())}
        digest = _keyed(json.dumps(files, sort_keys=True))
        yield Found(entry, Removed(what="kept result", name=entry.parent.name, bytes=size_of(entry), sha256=digest))


def _keyed(text: str) -> str:
    return KEYED + keyed("purged", text)


def _refuse_running(cache: Cache, path: Path, paths: set[Path], runs: set[str | None]) -> None:
    """Refuse to take from a run what it is using."""
    for run in cache.running():
        if run in runs or not paths.isdisjoint(cache.used(run)):
            raise InputError(f"run {run} is being made and uses some of this", where=str(path), mend="wait until it has ended")


def _delete(folder: Path, several: list[Found], removed: tuple[Removed, ...]) -> None:
    """Say first what will be gone: whoever is interrupted has a receipt for the rest too."""
    plan_digest, known = plan_digest_of(folder), read_receipt(folder)
    before = () if known is None else known.purges
    began = _now()

    def told(ended: str | None) -> Receipt:
        return Receipt(receipt_version="1.0", plan_digest=plan_digest, purges=(*before, Purge(began=began, ended=ended, removed=removed)))

    (folder / SIGNED_RECEIPT).unlink(missing_ok=True)  # it is about the receipt as it was
    write_receipt(folder, told(None))
    for one in several:
        remove(one.path)
        if os.path.lexists(one.path):
            raise InputError("it cannot be deleted", where=str(one.path), mend="change its permissions, and run the same command again")
    write_receipt(folder, told(_now()))


def _clear_away(folder: Path, cache: Cache) -> None:
    """What named the results that are gone, and what killed processes left."""
    if (run := run_id_of(folder)) is not None:
        remove(cache.root / RUNS / run)
    if (old := old_cache(folder)) is not None:
        remove(old)
    for left in folder.glob(f"{TEMPORARY}*"):
        if is_left_over(left.name, TEMPORARY):
            left.unlink(missing_ok=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
