"""The one place where commands that decide take a run from disk: nothing is believed before everything that can be checked was."""

from __future__ import annotations

from pathlib import Path

from proxyaudit.errors import IntegrityError
from proxyaudit.evidence.pack import EvidencePack, find_run, read_trusted
from proxyaudit.verification.run import verify_folder

__all__ = ["read_verified"]

# No decision rests on them: what a page or a sentence says is not read, the fields beside it are.
_WORDS = {"sentences", "reports"}


def read_verified(path: Path, notes: list[str] | None = None) -> EvidencePack:
    """Read the run that ``path`` means, checked as ``proxyaudit verify`` does: bytes, and what follows from the numbers.

    ``notes`` takes a line where words of the run could not be checked here, since another version wrote them.

    Raises:
        InputError: there is no such run, more than one, or one that did not end.
        IntegrityError: a file is missing, was changed or was added, a verdict does not follow from the pack, or anything but words
            could not be checked.
    """
    pack = read_trusted(path)
    found = verify_folder(find_run(path))
    problem = next(iter(found.problems), None)
    if problem is None and not _WORDS.issuperset(found.skipped):
        problem = f"it could not be checked here: {', '.join(sorted({*found.skipped} - _WORDS))}"
    if problem is not None:
        raise IntegrityError(f"{problem} [{path}]; run the recipe again or use an untouched copy")
    if found.skipped and notes is not None:
        run = pack.evidence.run
        skipped = " and ".join(found.skipped)
        notes.append(f"run {run.name} ({run.id}) was verified in part: another version wrote its {skipped}, which were not checked here")
    return pack
