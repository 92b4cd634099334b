"""The manifest of a run folder: sha256 of every file, written last, checked before anything is believed."""

import errno
import hashlib
import os
import re
import stat
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from proxyaudit.digests import file_digest
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.receipts import purged_files
from proxyaudit.evidence.tiers import AGE, BESIDE, is_restricted
from proxyaudit.files import TEMPORARY, most_of, read_file, sync_folder, write_file

MANIFEST = "manifest.json"
ATTESTATION = "attestation.dsse.json"  # signs what the manifest lists, so the manifest cannot list it
SHA256 = re.compile(r"[0-9a-f]{64}")
# Packages whose version may move a byte of a report.
_PACKAGES = ("jinja2", "markupsafe", "numpy", "pyyaml")
_SOURCES = (
    *(
        "reporting/**/*",
        "types.py",
        "names.py",
        "evidence/pack.py",
        "evidence/changes.py",
        "evidence/moments.py",
        "evidence/schema.py",
        "estimates/scope.py",
        "estimates/task.py",
        "estimates/rounding.py",
        "comparison/*.py",
    ),
    *("estimates/questions.py", "estimates/channel.py", "channels/*/__init__.py", "channels/*/words.py"),  # what a check is called
    *("estimates/numbers.py", "estimates/sentences.py", "estimates/training.py", "evidence/seal.py"),
    *("channels/cures/estimate.py", "data/cures.py"),
    *("controls/*.py", "controls/frameworks/*"),  # the section of policy controls
)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` into ``folder`` (made if missing) and, last of all, the manifest that makes the folder complete."""
    folder.mkdir(parents=True, exist_ok=True)
    # A crash in between leaves a folder that is visibly incomplete rather than one whose hashes are wrong.
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / ATTESTATION).unlink(missing_ok=True)  # it is about the files that are replaced now
    for left_over in folder.glob(f"{TEMPORARY}*"):
        left_over.unlink()
    sync_folder(folder)
    for name in sorted(files):
        # Plain restricted files help to infer attributes: they are their owner's.
        write_file(folder / name, files[name], private=is_restricted(name) and not name.endswith(AGE))
    _write_manifest(folder, {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


def replace_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put new bytes for files that can be made again from the others (the reports), then the new manifest."""
    # The old one stays while they are written: the evidence beside them is whole, and rendering once more mends a crash in between.
    hashes, _ = read_manifest(folder)
    for name in sorted(files):
        write_file(folder / name, files[name])
    _write_manifest(folder, hashes | {name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


def seal_folder(folder: Path) -> None:
    """Write the manifest of whatever lies in a folder of plain files; a manifest there is replaced, and signatures of others are gone."""
    (folder / ATTESTATION).unlink(missing_ok=True)
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in (MANIFEST, *BESIDE))
    _write_manifest(folder, {name: file_digest(folder / name) for name in names})


def is_complete(folder: Path) -> bool:
    """Whether a run ended: its manifest is there. Says nothing about the hashes."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return sha256 by file name, and what is wrong with the manifest itself."""
    try:
        document = parse_json(read_file(folder / MANIFEST))
    except FileNotFoundError:
        return {}, [f"{MANIFEST} is missing: the run did not end"]
    except (OSError, ValueError, RecursionError) as error:
        return {}, [f"{MANIFEST} cannot be read ({error})"]
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, dict) or document.get("algorithm") != "sha256":
        return {}, [f"{MANIFEST} is not a list of sha256 hashes"]
    hashes: dict[str, str] = {}
    problems: list[str] = []
    for name, value in files.items():
        if name in ("", ".", "..", MANIFEST, ATTESTATION, *BESIDE) or any(mark in name for mark in "/\\\0"):
            problems.append(f"{MANIFEST} lists {name!r}, which is no plain file name")
        elif not isinstance(value, str) or not SHA256.fullmatch(value):
            problems.append(f"{MANIFEST} has no sha256 for {name!r}")
        else:
            hashes[name] = value
    return hashes, problems


def check_manifest(folder: Path, *, required: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> list[str]:
    """Compare a run folder with its manifest, which must list ``required`` files; those in ``skip`` may differ. A line per problem.

    Restricted files may be missing if a receipt says that these very bytes were purged. Signatures, receipts and logs may lie beside what
    is listed: what they are worth is another question.
    """
    hashes, problems = read_manifest(folder)
    if problems and not hashes:
        return problems
    problems += [f"{name} is not listed in {MANIFEST}" for name in required if name not in hashes]
    gone = {name for name, digest in purged_files(folder) if hashes.get(name) == digest and not os.path.lexists(folder / name)}
    found = (_compare(folder / name, hashes[name]) for name in sorted(hashes.keys() - set(skip) - gone))
    problems += [problem for problem in found if problem]
    beside = (ATTESTATION, *BESIDE)
    problems += [f"{name} is not a plain file" for name in beside if os.path.lexists(folder / name) and not _is_plain(folder / name)]
    known = {MANIFEST, *beside, *hashes, *required, *skip}
    problems += [f"{path.name} is not listed in {MANIFEST}" for path in sorted(folder.iterdir()) if path.name not in known]
    return problems


def _compare(path: Path, expected: str) -> str | None:
    try:
        # A link could point at a file that changes later, or outside the folder.
        if not _is_plain(path):
            return f"{path.name} is not a plain file"
        same = file_digest(path, most_of(path)) == expected
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        if error.errno == errno.EFBIG:
            return f"{path.name} is too large: {error.strerror}"
        same = False
    return None if same else f"{path.name} does not match its hash"


def _is_plain(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _write_manifest(folder: Path, hashes: Mapping[str, str]) -> None:
    write_file(folder / MANIFEST, canonical_json({"algorithm": "sha256", "files": dict(hashes), "rendered_by": rendering_digest()}))


def rendered_here(folder: Path) -> bool:
    """Whether the manifest says that this very version rendered the reports."""
    try:
        document = parse_json(read_file(folder / MANIFEST))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("rendered_by") == rendering_digest()


@lru_cache(maxsize=1)
def rendering_digest() -> str:
    """SHA-256 over everything that decides the bytes of a report, the pack itself apart.

    The manifest keeps it, so that ``verify`` can tell a report that was edited from one that another version made.
    """
    root = Path(__file__).resolve().parents[1]
    total = hashlib.sha256(f"python {sys.version_info[0]}.{sys.version_info[1]}\0".encode())
    for package in _PACKAGES:
        try:
            total.update(f"{package} {metadata.version(package)}\0".encode())
        except metadata.PackageNotFoundError:
            continue
    for path in sorted({path for pattern in _SOURCES for path in root.glob(pattern)}):
        if path.is_file() and "__pycache__" not in path.parts:
            total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()
