"""Receipts of ``purge``: what was deleted of a run, and when. One lies beside the run's files and is not in the manifest.

A file of the restricted tier that a receipt names, with the very digest that the manifest has, is not missing: it was purged.
"""

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from proxyaudit.errors import IntegrityError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.moments import Moment
from proxyaudit.evidence.tiers import RECEIPT, is_restricted
from proxyaudit.files import read_file, write_file

_RUN_ID = re.compile(r"[0-9a-f]{12}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Removed(_Part):
    """Something that was deleted. Digests of what holds rows are keyed: only its auditor can make them again."""

    what: Literal["restricted file", "kept result", "row sums"]
    name: str  # of a file its name, of a kept result its kind
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^(keyed:)?[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _of_its_kind(self) -> "Removed":
        if self.what == "restricted file" and not is_restricted(self.name):
            raise ValueError("a file that is not restricted is called deleted")
        if self.what != "restricted file" and not self.sha256.startswith("keyed:"):
            raise ValueError("the digest of what held rows is not keyed")
        return self


class Purge(_Part):
    """One call; ``ended`` is missing where it was interrupted, and some of it may be there still."""

    began: Moment
    ended: Moment | None
    removed: tuple[Removed, ...]


class Receipt(_Part):
    """All calls for one folder."""

    receipt_version: Literal["1.0"]
    plan_digest: str | None  # of the run; missing where the folder is none
    purges: tuple[Purge, ...]


def read_receipt(folder: Path) -> Receipt | None:
    """The receipt of a folder, ``None`` where nothing was purged; ``IntegrityError`` if it is not what it should be."""
    path = folder / RECEIPT
    if not os.path.lexists(path):
        return None
    try:
        if path.is_symlink():
            raise ValueError("it is a link")
        return Receipt.model_validate_json(canonical_json(parse_json(read_file(path))))
    except (OSError, ValueError, RecursionError) as error:
        first = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise IntegrityError(f"{RECEIPT} is no receipt of 'purge' ({first[:120]}) [{folder}]") from None


def plan_digest_of(folder: Path) -> str | None:
    """Digest of the plan of a run's folder; ``None`` where it is no run, or its plan cannot be read."""
    return _of_plan(folder, "digest")


def plan_name_of(folder: Path) -> str | None:
    """Name of the audit of a run's folder; ``None`` as above."""
    return _of_plan(folder, "name")


def run_id_of(folder: Path) -> str | None:
    """Id of the run of a folder, by its plan; ``None`` if that names none that could be one: whoever sent it may have written anything."""
    found = _of_plan(folder, "run_id")
    return found if found is not None and _RUN_ID.fullmatch(found) else None


def _of_plan(folder: Path, key: str) -> str | None:
    try:
        document = parse_json(read_file(folder / "plan.json"))
    except (OSError, ValueError, RecursionError):
        return None
    found = document.get(key) if isinstance(document, dict) else None
    return found if isinstance(found, str) else None


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write it whole."""
    write_file(folder / RECEIPT, canonical_json(receipt.model_dump(mode="json")))


def last_purge(folder: Path) -> str | None:
    """Day of the last purge that ended, by a readable receipt of this very folder."""
    try:
        receipt = read_receipt(folder)
    except IntegrityError:
        return None
    if receipt is None or receipt.plan_digest != plan_digest_of(folder) or not receipt.purges or receipt.purges[-1].ended is None:
        return None
    return receipt.purges[-1].began[:10]


def sums_purged(folder: Path) -> bool:
    """Whether a readable receipt of this very folder calls its row sums deleted."""
    try:
        receipt = read_receipt(folder)
    except IntegrityError:
        return False
    if receipt is None or receipt.plan_digest != plan_digest_of(folder):
        return False
    return any(one.what == "row sums" for purge in receipt.purges for one in purge.removed)


def purged_files(folder: Path) -> set[tuple[str, str]]:
    """Name and sha256 of each restricted file that a receipt names; none where it cannot be read."""
    try:
        receipt = read_receipt(folder)
    except IntegrityError:
        return set()
    removed = [one for purge in receipt.purges for one in purge.removed] if receipt is not None else []
    return {(one.name, one.sha256) for one in removed if one.what == "restricted file" and is_restricted(one.name)}
