"""The one place where commands that decide take a run from disk: nothing is believed before everything that can be checked was."""

from __future__ import annotations

from pathlib import Path

from proxyaudit.errors import IntegrityError
from proxyaudit.evidence.pack import EvidencePack, find_run
from proxyaudit.evidence.trusted import read_trusted
from proxyaudit.verification.run import verify_folder

__all__ = ["read_verified"]


def read_verified(path: Path) -> EvidencePack:
    """Read the run that ``path`` means, checked as ``proxyaudit verify`` does: bytes, and what follows from the numbers.

    Raises:
        InputError: there is no such run, more than one, or one that did not end.
        IntegrityError: a file is missing, was changed or was added, or a verdict does not follow from the pack.
    """
    pack = read_trusted(path)
    found = verify_folder(find_run(path))
    problem = next((problem for check in found.checks for problem in check.problems), None)
    if not found.verified:
        raise IntegrityError(f"{problem or 'the run is not as it was written'} [{path}]; run the recipe again or use an untouched copy")
    return pack
