"""The log of openings of a restricted tier: one line each, every line chained to the one before by its digest, the first to the run.

A line that is changed, put in, taken out or moved is found where the lines after it were left alone. No secret makes the chain: whoever
writes the rest anew, or cuts lines off its end, is found only by somebody who kept the digest of a later line. And whoever holds an
identity can decrypt the files with any age program, which writes no log.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from proxyaudit.errors import InputError, IntegrityError, reason_of
from proxyaudit.evidence.canonical import parse_json
from proxyaudit.evidence.moments import Moment
from proxyaudit.evidence.tiers import ACCESS_LOG, AGE, is_restricted
from proxyaudit.files import hold, read_file
from proxyaudit.names import looks

LONGEST = 500  # characters of a purpose
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Encrypted = Annotated[str, AfterValidator(lambda name: _restricted(name))]


class Opening(BaseModel):
    """One line."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    number: int = Field(ge=1)
    time: Moment
    purpose: Annotated[str, AfterValidator(lambda text: _as_written(text))]
    opened_by: str = Field(pattern=r"^age1[0-9a-z]+$")  # the recipient whose identity was used
    files: Annotated[dict[_Encrypted, _Digest], Field(min_length=1)]  # as they lie in the run, encrypted
    previous: _Digest
    digest: _Digest

    def made_again(self) -> str:
        """The digest of all the rest."""
        return _digest(self.model_dump(mode="json", exclude={"digest"}))


def _line(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(_line(fields).encode()).hexdigest()


def first_link(about: str) -> str:
    """What the first line of a log is chained to: ``about`` is the run's plan digest, so that no other run's log fits."""
    return hashlib.sha256(f"proxyaudit access log of {about}".encode()).hexdigest()


def read_log(folder: Path, about: str) -> tuple[Opening, ...]:
    """All openings in order, none where nobody opened it; ``IntegrityError`` if the chain does not hold."""
    path = folder / ACCESS_LOG
    if not os.path.lexists(path):
        return ()
    try:
        if path.is_symlink():
            raise ValueError("it is a link")
        data = read_file(path).decode("ascii")
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{ACCESS_LOG} cannot be read ({reason_of(error)[:80]}) [{folder}]") from None
    lines, previous, found = data.split("\n"), first_link(about), list[Opening]()
    if lines.pop() != "":
        raise IntegrityError(f"{ACCESS_LOG}: its last line is cut [{folder}]")
    for number, line in enumerate(lines, start=1):
        try:
            one = Opening.model_validate(parse_json(line.encode()))
            same = _line(one.model_dump(mode="json")) == line
        except (ValueError, RecursionError, ValidationError):
            raise IntegrityError(f"{ACCESS_LOG}: line {number} is none that 'access' wrote [{folder}]") from None
        if not same or (one.number, one.previous, one.digest) != (number, previous, one.made_again()):
            raise IntegrityError(f"{ACCESS_LOG}: line {number} does not follow from the one before; the log was changed [{folder}]")
        previous = one.digest
        found.append(one)
    return tuple(found)


def check_purpose(purpose: str) -> str:
    """The purpose as one line; ``InputError`` if it says nothing or too much."""
    plain = " ".join(purpose.split())
    if not any(sign.isalpha() for sign in looks(plain)) or len(plain) > LONGEST or not plain.isprintable():
        raise InputError("this says no purpose", where="--purpose", mend=f"say in 1 to {LONGEST} characters what it is opened for")
    return plain


def _as_written(purpose: str) -> str:
    try:
        same = check_purpose(purpose) == purpose
    except InputError:
        same = False
    if not same:
        raise ValueError("it says no purpose as 'access' writes one")
    return purpose


def _restricted(name: str) -> str:
    if not (is_restricted(name) and name.endswith(AGE)):
        raise ValueError("it is no encrypted file")
    return name


def append(folder: Path, about: str, purpose: str, opened_by: str, files: Mapping[str, str]) -> Opening:
    """Add an opening before anybody gets to see what was opened.

    ``IntegrityError``: the chain does not hold; ``InputError``: the log cannot be written, or somebody else is writing it.
    """
    path = folder / ACCESS_LOG
    read_log(folder, about)  # a link or another's log is left alone
    try:
        if not path.exists():
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with hold(path) as stream:
            before = read_log(folder, about)
            fields: dict[str, Any] = {
                "number": len(before) + 1,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "purpose": purpose,
                "opened_by": opened_by,
                "files": dict(files),
                "previous": before[-1].digest if before else first_link(about),
            }
            made = Opening.model_validate({**fields, "digest": _digest(fields)})
            stream.write(f"{_line(made.model_dump(mode='json'))}\n".encode())
            stream.flush()
            os.fsync(stream.fileno())
        path.chmod(0o600)
    except OSError as error:
        mend = "nothing is opened that is not logged: make the folder writable, or try again once the other opening has ended"
        raise InputError(f"the access log cannot be written ({error.strerror})", where=str(path), mend=mend) from None
    return made
