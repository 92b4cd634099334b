"""Sign a run: put a signature beside its files, or one more."""

from pathlib import Path
from typing import TYPE_CHECKING

from proxyaudit.attestation.envelope import Envelope, envelopes_file, read_envelopes
from proxyaudit.attestation.statements import PAYLOAD, TestResult, make_statements, read_statement
from proxyaudit.errors import IntegrityError
from proxyaudit.evidence.manifest import ATTESTATION, read_manifest
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.files import read_file, write_file

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


def sign_run(folder: Path, pack: EvidencePack, decided: TestResult, signer: "CryptoSigner") -> tuple[list[str], int]:
    """Sign a run that was verified a moment ago; returns the ids of all who signed it now, and how many envelopes were dropped.

    Envelopes of others are kept where they are about just these files, whatever policy they went by; those about other bytes, and what
    this key signed before, are dropped. ``IntegrityError``: what lies there is no list of envelopes.
    """
    hashes, _ = read_manifest(folder)
    kept, dropped = [], 0
    for envelope in _there(folder):
        others = {keyid: sig for keyid, sig in envelope.signatures.items() if keyid != signer.public_key.keyid}
        covers = read_statement(envelope.payload).subjects == hashes
        dropped += not covers
        if covers and others:
            kept.append(Envelope(envelope.payload, envelope.kind, others))
    for payload in make_statements(hashes, pack, decided):
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


def _there(folder: Path) -> list[Envelope]:
    path = folder / ATTESTATION
    if not path.exists():
        return []
    try:
        found = read_envelopes(read_file(path))
        for envelope in found:
            read_statement(envelope.payload)
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{ATTESTATION} cannot be read ({str(error)[:120]}) [{path}]; remove it, then sign again") from None
    return found
