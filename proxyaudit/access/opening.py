"""Open the restricted files of a folder: checked against its manifest, logged, and only then handed out."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from proxyaudit.access.age import decrypted, read_identities
from proxyaudit.access.log import Opening, append, check_purpose
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError
from proxyaudit.evidence.manifest import MANIFEST
from proxyaudit.evidence.receipts import plan_digest_of, plan_name_of
from proxyaudit.evidence.tiers import AGE, is_restricted
from proxyaudit.files import read_file, write_file
from proxyaudit.limits import MOST_TABLE


@dataclass(frozen=True)
class Opened:
    """What was opened, where it was written if anywhere, and the line of the log."""

    files: dict[str, int]  # bytes by name
    out: Path | None
    entry: Opening


def open_restricted(folder: Path, identity: Path, purpose: str, passphrase: Callable[[], str], out: Path | None = None) -> Opened:
    """Open all encrypted files of a folder that was verified, and write them to ``out``, which only its owner may look into.

    ``InputError``: there are none, the identity is no recipient's, no purpose is given, or ``out`` is no new or empty folder;
    ``IntegrityError``: the log or a file is not what it was.
    """
    said, paths = check_purpose(purpose), sorted(path for path in folder.glob(f"*{AGE}") if is_restricted(path.name))
    if not paths:
        mend = "name recipients in the recipe (access: {recipients: [age1...]}) and run it again; what was purged is gone"
        raise InputError("nothing here is encrypted", where=str(folder), mend=mend)
    if out is not None:
        _check_out(out, folder)
    files = {path.name: read_file(path, MOST_TABLE) for path in paths}
    found, recipient = decrypted(files, read_identities(identity, passphrase), str(folder))
    entry = append(folder, log_of(folder), said, recipient, {path.name: file_digest(path) for path in paths})
    if out is not None:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        out.chmod(0o700)
        for name, data in found.items():
            write_file(out / name, data, private=True)
    return Opened({name: len(data) for name, data in found.items()}, out, entry)


def log_of(folder: Path) -> str:
    """What a folder's log is about: its plan, or, where it is no run, its name."""
    return plan_digest_of(folder) or folder.resolve().name


def _check_out(out: Path, folder: Path) -> None:
    mend = "name a new or an empty folder outside of every run, and of the folder that runs are written to"
    if os.path.lexists(out) and (out.is_symlink() or not out.is_dir() or any(out.iterdir())):
        raise InputError("there is something already", where=f"--out {out}", mend=mend)
    if any((parent / MANIFEST).exists() for parent in out.resolve().parents) or out.resolve().is_relative_to(folder.resolve()):
        raise InputError("a run folder takes no further files", where=f"--out {out}", mend=mend)
    if any(out.resolve().is_relative_to(place) for place in _shown(folder.resolve())):
        what = "this lies among the results, which others get to see, and what is opened may hold rows"
        raise InputError(what, where=f"--out {out}", mend=mend)


def _shown(folder: Path) -> list[Path]:
    """Folders that people hand on with a folder's results in them: of all runs of its name and, as OUT/NAME/ID tells, of all runs."""
    home = folder.parent
    named = home.name == plan_name_of(folder) or home.name.endswith(("-cured", "-mitigated"))
    return [home, home.parent] if named else [home]
