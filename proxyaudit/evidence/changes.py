"""Change records: what was changed about how models are made, what that did, what it did besides, and what is left.

``mitigate`` and ``cure`` write one beside what they made. It holds no row, no time and no path, so the same change gives the same bytes;
who vouches for it signs the folder.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxyaudit.errors import IntegrityError, reason_of
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.pack import CURE_FILE, MITIGATION_FILE, is_run
from proxyaudit.files import read_file

CHANGE_FILE, CHANGE_PAGE = "change.json", "change.md"
_Digest = Annotated[str, Field(pattern=r"^(keyed:)?[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NamedRun(_Part):
    """A run that a record speaks of."""

    name: str
    run_id: str
    plan_digest: str


class Side(_Part):
    """A number before or after a change, with its interval; its state where it decides something."""

    value: float | None
    low: float | None
    high: float | None
    state: str | None = None


class Changed(_Part):
    """One number before and after."""

    channel: str
    measure: str
    attribute: str | None
    site: str | None
    what: str  # in words
    unit: str
    before: Side | None
    after: Side | None


class Mechanism(_Part):
    """What was changed: the eraser and where, or the way in which rows are altered and which columns."""

    name: str
    words: str
    sites: tuple[str, ...]
    columns: tuple[str, ...]


class ChangeRecord(_Part):
    """The record of one change."""

    change_version: Literal["1.0"]
    id: str  # of the folder that it lies in
    kind: Literal["mitigation", "cure"]
    attribute: str
    regime: str
    changed_regime: str
    mechanism: Mechanism
    source: NamedRun  # whose models or rows were changed
    audit: NamedRun | None  # where the changed models were audited; None where the trial in the source run is all that was measured
    verdict_before: str | None
    verdict_after: str | None
    measured: tuple[Changed, ...]  # of the attribute itself
    side_effects: tuple[Changed, ...]  # on the task and on other attributes
    residual_risk: tuple[str, ...]
    artefacts: dict[str, _Digest]  # what the change made, by file

    @property
    def content(self) -> bytes:
        """The file."""
        return canonical_json(self.model_dump(mode="json"))

    @property
    def about(self) -> str:
        """The change in a few words."""
        return f"{self.kind} {self.id[-12:]}: {self.mechanism.words}"


def parse_change(data: bytes) -> ChangeRecord:
    """A record from its file; ``ValueError`` says in a line what it is not."""
    try:
        found = ChangeRecord.model_validate_json(canonical_json(parse_json(data)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))[:80]}: {first['msg'][:120]}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if found.content != data:
        raise ValueError("spaces, order or numbers were changed")
    return found


def read_change(folder: Path) -> ChangeRecord:
    """The record of a folder; ``IntegrityError`` if there is none, or it is not what it should be."""
    path = folder / CHANGE_FILE
    try:
        if path.is_symlink():
            raise ValueError("it is a link")
        return parse_change(read_file(path))
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{CHANGE_FILE} cannot be read ({reason_of(error)[:160]}) [{folder}]; use an untouched copy") from None


def is_change(folder: Path) -> bool:
    """Whether it is a folder of ``mitigate`` or ``cure``, whether or not it holds a record."""
    marks = (CHANGE_FILE, MITIGATION_FILE, CURE_FILE)
    return not is_run(folder) and any(os.path.lexists(folder / name) for name in marks)


def list_changes(folder: Path, *, depth: int = 3) -> list[Path]:
    """Folders with a record at or below ``folder``, sorted; hidden folders and links are left out."""
    if os.path.lexists(folder / CHANGE_FILE) and is_change(folder):
        return [folder]
    if depth == 0:
        return []
    try:
        inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and not p.name.startswith("."))
    except OSError:
        return []
    return [found for child in inside for found in list_changes(child, depth=depth - 1)]


def change_claims(record: ChangeRecord) -> dict[str, Any]:
    """What a signed statement repeats of a record."""
    told = ("id", "kind", "attribute", "regime", "changed_regime", "verdict_before", "verdict_after", "residual_risk")
    document = record.model_dump(mode="json")
    return {
        "change": {key: document[key] for key in told},
        "mechanism": document["mechanism"],
        **{k: document[k] for k in ("source", "audit")},
    }
