"""Sign a run or a change: put a signature beside its files, or one more."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proxyaudit.attestation.envelope import Envelope, envelopes_file, read_envelopes
from proxyaudit.attestation.statements import PAYLOAD, read_statement
from proxyaudit.errors import IntegrityError, reason_of
from proxyaudit.evidence.alone import alone_in
from proxyaudit.evidence.manifest import ATTESTATION, read_manifest
from proxyaudit.files import read_file, write_file

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


def sign_folder(folder: Path, payloads: Sequence[bytes], signer: "CryptoSigner") -> tuple[list[str], int]:
    """Sign statements about a run or a change that was verified a moment ago: ids of all who signed it now, and envelopes dropped.

    Envelopes of others are kept where they are about just these files, whatever policy they went by; those about other bytes, and what
    this key signed before, are dropped. ``IntegrityError``: what lies there is no list of envelopes.
    """
    with alone_in(folder):  # two signers at once would each keep their own signature only
        return _signed(folder, payloads, signer)


def _signed(folder: Path, payloads: Sequence[bytes], signer: "CryptoSigner") -> tuple[list[str], int]:
    hashes, _ = read_manifest(folder)
    kept, dropped = [], 0
    for envelope in _there(folder):
        others = {keyid: sig for keyid, sig in envelope.signatures.items() if keyid != signer.public_key.keyid}
        covers = read_statement(envelope.payload).subjects == hashes
        dropped += not covers
        if covers and others:
            kept.append(Envelope(envelope.payload, envelope.kind, others))
    for payload in payloads:
        same = next((envelope for envelope in kept if (envelope.payload, envelope.kind) == (payload, PAYLOAD)), None)
        if same is not None:
            kept.remove(same)
        kept.append((same or Envelope(payload, PAYLOAD)).signed_by(signer))
    write_file(folder / ATTESTATION, envelopes_file(kept))
    return list(dict.fromkeys(keyid for envelope in kept for keyid in envelope.signatures)), dropped


def covered(folder: Path) -> bool:
    """Whether the signatures of a run, if there are any, are about the files that its manifest lists now."""
    hashes, _ = read_manifest(folder)
    try:
        return all(read_statement(envelope.payload).subjects == hashes for envelope in _there(folder))
    except IntegrityError:
        return False


def signers_of(folder: Path) -> tuple[str, ...]:
    """Ids of the keys in whose names a folder's files as they are were signed; nobody checked them."""
    hashes, _ = read_manifest(folder)
    try:
        own = [envelope for envelope in _there(folder) if read_statement(envelope.payload).subjects == hashes]
    except IntegrityError:
        return ()
    return tuple(dict.fromkeys(keyid for envelope in own for keyid in envelope.signatures))


def _there(folder: Path) -> list[Envelope]:
    path = folder / ATTESTATION
    if not path.exists():
        return []
    try:
        found = read_envelopes(read_file(path))
        for envelope in found:
            read_statement(envelope.payload)
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{ATTESTATION} cannot be read ({reason_of(error)[:120]}) [{path}]; remove it, then sign again") from None
    return found
