"""Signed receipts of ``purge``: a statement over the very receipt that lies in a folder, and about which run, or folder, it is."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyaudit.attestation.envelope import Envelope, envelopes_file, read_envelopes
from proxyaudit.attestation.statements import PAYLOAD, make_statement, read_statement
from proxyaudit.evidence.alone import alone_in
from proxyaudit.evidence.receipts import Receipt, plan_digest_of, read_receipt
from proxyaudit.evidence.tiers import RECEIPT, SIGNED_RECEIPT
from proxyaudit.files import read_file, write_file

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

PURGE = "urn:proxyaudit:purge:0.1"


def sign_receipt(folder: Path, signer: "CryptoSigner") -> bool:
    """Sign the receipt that lies in a folder; ``False`` where nothing was purged. Signatures of others over the same receipt are kept."""
    with alone_in(folder):
        return _sign(folder, signer)


def _sign(folder: Path, signer: "CryptoSigner") -> bool:
    payload = _payload(folder)
    if payload is None:
        return False
    try:
        before = [one for one in read_envelopes(read_file(folder / SIGNED_RECEIPT)) if (one.payload, one.kind) == (payload, PAYLOAD)]
    except (OSError, ValueError):
        before = []
    envelope = before[0] if before else Envelope(payload, PAYLOAD)
    write_file(folder / SIGNED_RECEIPT, envelopes_file([envelope.signed_by(signer)]))
    return True


def signed_receipt(folder: Path) -> Envelope | None:
    """The signature beside a receipt, ``None`` where there is none; ``ValueError`` says in a line why it is not about this receipt."""
    path = folder / SIGNED_RECEIPT
    if path.is_symlink():
        raise ValueError("it is a link")
    if not path.exists():
        return None
    try:
        (envelope,) = read_envelopes(read_file(path))
        statement = read_statement(envelope.payload)
    except OSError as error:
        raise ValueError(str(error.strerror)) from None
    if statement.kind != PURGE or envelope.kind != PAYLOAD:
        raise ValueError("it is about something else than a purge")
    if envelope.payload != _payload(folder):
        raise ValueError("it is about another receipt, or this one was changed after it was signed")
    return envelope


def _payload(folder: Path) -> bytes | None:
    receipt = read_receipt(folder)
    if receipt is None:
        return None
    return make_statement({RECEIPT: hashlib.sha256(read_file(folder / RECEIPT)).hexdigest()}, PURGE, _says(folder, receipt))


def _says(folder: Path, receipt: Receipt) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for one in (removed for purge in receipt.purges for removed in purge.removed):
        counts[one.what] = counts.get(one.what, 0) + 1
    last = receipt.purges[-1] if receipt.purges else None
    times = {"began": None if last is None else last.began, "ended": None if last is None else last.ended}
    return {"about": plan_digest_of(folder) or folder.resolve().name, "purges": len(receipt.purges), "removed": counts, "last": times}
