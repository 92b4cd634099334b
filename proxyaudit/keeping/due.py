"""Folders whose day of retention has passed: of runs, mitigations and cures, ended or not, whole or damaged, that hold rows or may."""

import contextlib
import datetime
from dataclasses import replace
from pathlib import Path

from proxyaudit.cache import Cache
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import RunLine, describe_run, is_run, kept_until
from proxyaudit.evidence.receipts import last_purge
from proxyaudit.evidence.row_store import row_sums_file
from proxyaudit.evidence.tiers import is_restricted
from proxyaudit.keeping.purge import kept_folders


def due_folders(folder: Path, day: str, cache: Cache) -> list[RunLine]:
    """Those below ``folder`` that were to be purged before ``day``, and were not, or hold something again."""
    lines = [_described(path) for path in kept_folders(folder)]
    return [line for line in lines if _passed(line.retain_until, day) and _holds(line, cache)]


def _described(path: Path) -> RunLine:
    if is_run(path) or (path / "evidence.json").exists():
        return describe_run(path)
    kind, recipe = ("cure", "cured.yaml") if (path / "cured.yaml").exists() else ("mitigation", "mitigated.yaml")
    made = RunLine(path, path.parent.name, path.name, kind, "", {}, kept_until(path / recipe), last_purge(path))
    return made if (path / recipe).exists() else replace(describe_run(path), status="incomplete")


def _passed(until: str | None, day: str) -> bool:
    """Whether a day has passed; one that cannot be read may have."""
    try:
        return until is not None and datetime.date.fromisoformat(until).isoformat() < day
    except ValueError:
        return True


def _holds(line: RunLine, cache: Cache) -> bool:
    """Whether anything is left to purge; of a run that never was, what other caches keep is not known."""
    if any(is_restricted(path.name) for path in line.folder.iterdir()):
        return True
    if line.status in ("cure", "mitigation"):
        return False
    with contextlib.suppress(OSError, RuntimeError, InputError):
        return bool(row_sums_file(line.folder / "evidence.json"))
    return not line.purged or bool(cache.used(line.id))
