"""Seals as files: what ``plan --seal`` writes, and what ``run --seal`` reads.

Beside the seal ``FILE`` lie ``FILE.tsq`` (the request for a time stamp), ``FILE.tsr`` (the authority's answer, which its maker puts
there) and ``FILE.dsse.json`` (the seal signed).
"""

import base64
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyaudit.attestation.envelope import Envelope, read_envelope
from proxyaudit.attestation.timestamps import check, request, stamped
from proxyaudit.attestation.trust import read_seal
from proxyaudit.errors import InputError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.seal import NamedSeal, make_seal
from proxyaudit.files import read_file, write_file
from proxyaudit.limits import MOST_SEAL

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

PAYLOAD = "application/vnd.proxyaudit.seal+json"
_REQUEST, _ANSWER, _SIGNED = ".tsq", ".tsr", ".dsse.json"


def check_free(path: Path) -> None:
    """Refuse a seal where it, or a file that belongs to one, is there (``InputError``)."""
    for taken in (path, *(_beside(path, suffix) for suffix in (_REQUEST, _ANSWER, _SIGNED))):
        if taken.exists() or taken.is_symlink():
            raise InputError("there is a file of this name", where=str(taken), mend="name another seal; one that was made stays as it is")


def write_seal(path: Path, plan: Mapping[str, Any], policy: str | None, signer: "CryptoSigner | None" = None) -> tuple[list[Path], str]:
    """Write the seal of a plan, its request for a time stamp, and its signature; ``InputError`` where one of these files is there.

    Returns what was written, and why there is no request: the packages for it may not be installed.
    """
    check_free(path)
    seal = make_seal(plan, policy, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    files, lacking = {path: seal.content}, ""
    try:
        files[_beside(path, _REQUEST)] = request(seal.content)
    except InputError as error:
        lacking = str(error)
    if signer is not None:
        files[_beside(path, _SIGNED)] = canonical_json(Envelope(seal.content, PAYLOAD).signed_by(signer).as_dict())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_file(name, data)
    except OSError as error:
        raise InputError(f"the seal cannot be written ({error.strerror})", where=str(path), mend="name another file") from None
    return list(files), lacking


def read_named(path: Path, roots: tuple[Any, ...] = ()) -> NamedSeal:
    """A seal with what lies beside it, as a run names it; an answer is checked against ``roots`` where there are any.

    ``InputError``: one of the files is not what it must be, or roots are given and there is no answer.
    """
    seal, answer, signed = read_seal(path), _beside(path, _ANSWER), _beside(path, _SIGNED)
    found: dict[str, Any] = {"sha256": seal.digest, "document": seal}
    if roots and not answer.exists():
        raise InputError("the seal has no time stamp", where=str(answer), mend="put the authority's answer there, or leave --tsa-root out")
    what = answer
    try:
        if answer.exists():
            data = read_file(answer, MOST_SEAL)
            found["time"] = check(data, seal.content, roots) if roots else stamped(data, seal.content)
            found["timestamp"] = base64.b64encode(data).decode()
        if signed.exists():
            what, envelope = signed, parse_json(read_file(signed, MOST_SEAL))
            if (held := read_envelope(envelope)).payload != seal.content or held.kind != PAYLOAD:
                raise ValueError("it is about another seal")
            found["envelope"] = envelope
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or str(error)[:200]
        raise InputError(f"this does not belong to the seal: {why}", where=str(what), mend="use the files as they were written") from None
    return NamedSeal(**found)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
