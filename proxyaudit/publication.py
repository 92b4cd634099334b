"""Run folders of every kind of audit: whether they can be written, who wrote them, and with which reports."""

import datetime
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from proxyaudit.access.age import encrypted
from proxyaudit.cache import Cache, cache_folder
from proxyaudit.controls.claims import with_controls
from proxyaudit.digests import code_digest, digest_of
from proxyaudit.errors import InputError
from proxyaudit.evidence.changes import CHANGE_FILE, CHANGE_PAGE, ChangeRecord
from proxyaudit.evidence.manifest import is_complete
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_pack, write_plan
from proxyaudit.evidence.tiers import AGE, ROW_SUMS, named_recipients
from proxyaudit.files import write_file
from proxyaudit.reporting.change import render_change
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.stats.intervals import LEVEL
from proxyaudit.types import SCHEMA_VERSION, Evidence


def run_once(
    out: Path, plan: dict[str, Any], make: Callable[[Cache], EvidencePack], cache_root: Path | None = None
) -> tuple[Path, EvidencePack, bool]:
    """The run directory of a plan, its pack, and whether it was there already; else the pack is made and written, by one process alone."""
    folder, cache = out / plan["name"] / plan["run_id"], Cache(cache_folder(cache_root), plan["run_id"])
    if is_complete(folder):
        return folder, read_pack(folder), True
    with cache.hold(folder):
        if is_complete(folder):  # whoever held it a moment ago has made it
            return folder, read_pack(folder), True
        write_plan(folder, plan)
        try:
            pack = make(cache)
        finally:
            cache.sweep()
        pack = publish(pack, folder)
    return folder, pack, False


def finished(folder: Path) -> Evidence | None:
    """The evidence of the run that lies there, if no task of it failed."""
    found = read_pack(folder).evidence if is_complete(folder) else None
    return found if found is not None and found.run.status == "complete" else None


def plan_without_training(name: str, regimes: Iterable[str], kind: str, recipe: dict[str, Any], **own: Any) -> dict[str, Any]:
    """Plan, with its digest, of an audit whose regimes, all of one kind, are given; ``own`` is what else is fixed beforehand."""
    unknown = dict.fromkeys(("of", "ratio", "sees_protected", "training_rows"))
    listed = [{"name": regime, "kind": kind, **unknown} for regime in regimes]
    plan = {"name": name, "regimes": listed, "level": LEVEL, "schema_version": SCHEMA_VERSION, **own}
    digest = digest_of({"plan": plan, "recipe": recipe, "code": code_digest()})
    return {"digest": digest, "run_id": digest[:12], "code": code_digest(), **plan}


def check_out(out: Path) -> None:
    """Refuse, before anything is computed, a folder that cannot be written."""
    try:
        there = next(path for path in (out, *out.absolute().parents) if path.exists())
    except OSError as error:
        raise InputError(f"the folder cannot be used ({error.strerror})", where=f"--out {out}"[:200], mend="name another folder") from None
    if not there.is_dir():
        raise InputError(f"'{there}' is a file, not a folder", where=f"--out {out}", mend="name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"'{there}' may not be written", where=f"--out {out}", mend="name another folder, or change its permissions")


def environment_of(started: float, jobs: int, versions: dict[str, str], failures: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """When, for how long and on what an audit ran."""
    return {
        "started": datetime.datetime.fromtimestamp(started, datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.time() - started, 1),
        "jobs": jobs,
        "platform": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "versions": versions,
        "failures": list(failures),
        **more,
    }


def write_restricted(folder: Path, files: Mapping[str, bytes], recipients: Sequence[str]) -> None:
    """Write restricted files into a folder: encrypted if there are recipients, else for their owner alone. The other form goes."""
    written = encrypted(files, recipients) if recipients else dict(files)
    for name, data in written.items():
        write_file(folder / name, data, private=True)
    for name in files:
        (folder / (name if recipients else f"{name}{AGE}")).unlink(missing_ok=True)


def write_record(folder: Path, record: ChangeRecord) -> None:
    """Put a change record and its page beside what the change made."""
    write_file(folder / CHANGE_FILE, record.content)
    write_file(folder / CHANGE_PAGE, render_change(record).encode("utf-8", "replace"))


def publish(pack: EvidencePack, folder: Path, restricted: Mapping[str, bytes] | None = None) -> EvidencePack:
    """Write a run folder with both reports, and restricted files where there are any: encrypted, if the recipe says to whom.

    Returns the pack as it was written: with the clauses that its findings support evidence for.
    """
    pack = with_controls(pack)
    files = dict(restricted or {})
    if recipients := named_recipients(pack.recipe):
        sums = {ROW_SUMS: save({name: pack.row_sums[name] for name in sorted(pack.row_sums)})} if pack.row_sums else {}
        files = encrypted(files | sums, recipients)
    write_pack(pack, folder, reports={"report.html": render_html(pack), "report.md": render_markdown(pack)}, more=files)
    return pack
