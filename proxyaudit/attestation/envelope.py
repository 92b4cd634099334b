"""DSSE envelopes: bytes of a kind, and who signed them. Reading needs no library; signing and checking are securesystemslib's.

One file holds a list of envelopes. Whoever signs the same bytes adds a signature to their envelope, else an envelope of their own.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proxyaudit.attestation.keys import PublicKey, needed
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.limits import MOST_ENVELOPES, at_most

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


@dataclass(frozen=True)
class Envelope:
    """Bytes of a kind, with signatures in base64 by the ids of their keys."""

    payload: bytes
    kind: str
    signatures: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As JSON, in the order in which they signed."""
        signed = [{"keyid": keyid, "sig": sig} for keyid, sig in self.signatures.items()]
        return {"payload": base64.b64encode(self.payload).decode(), "payloadType": self.kind, "signatures": signed}

    def signed_by(self, signer: "CryptoSigner") -> "Envelope":
        """The same with one more signature, or that key's anew."""
        made = needed("securesystemslib.dsse").Envelope(self.payload, self.kind, {}).sign(signer)
        sig = base64.b64encode(bytes.fromhex(made.signature)).decode()
        return Envelope(self.payload, self.kind, {**self.signatures, made.keyid: sig})

    def holds(self, key: PublicKey) -> bool:
        """Whether ``key`` signed just these bytes."""
        if key.keyid not in self.signatures:
            return False
        wrong = needed("securesystemslib.exceptions").VerificationError
        try:
            needed("securesystemslib.dsse").Envelope.from_dict(self.as_dict()).verify([key.load()], 1)
        except wrong:
            return False
        return True


def read_envelope(document: Any) -> Envelope:
    """An envelope from JSON; ``ValueError`` for anything that is not just one, in the one form in which it is written."""
    if not isinstance(document, dict) or set(document) != {"payload", "payloadType", "signatures"}:
        raise ValueError("an envelope has not just payload, payloadType and signatures")
    listed = document["signatures"]
    if not _is_word(document["payloadType"]) or not isinstance(listed, list) or not 0 < len(listed) <= at_most(MOST_ENVELOPES):
        raise ValueError("an envelope has no kind, or no signatures")
    signatures: dict[str, str] = {}
    for one in listed:
        if not isinstance(one, dict) or set(one) != {"keyid", "sig"} or not _is_word(one["keyid"]):
            raise ValueError("a signature has not just keyid and sig")
        if one["keyid"] in signatures:
            raise ValueError(f"the key {one['keyid'][:12]!r} signs an envelope twice")
        if len(_decoded(one["sig"])) != 64:
            raise ValueError("a signature is not 64 bytes long")
        signatures[one["keyid"]] = one["sig"]
    return Envelope(_decoded(document["payload"]), document["payloadType"], signatures)


def read_envelopes(data: bytes) -> list[Envelope]:
    """The envelopes of a file; ``ValueError`` says in a line what is wrong with it."""
    try:
        document = parse_json(data)
        same = canonical_json(document) == data
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(document, list) or not 0 < len(document) <= at_most(MOST_ENVELOPES):
        raise ValueError("it is no list of envelopes")
    if not same:
        raise ValueError("it is not in the form in which it is written (spaces, order or numbers were changed)")
    return [read_envelope(one) for one in document]


def envelopes_file(envelopes: list[Envelope]) -> bytes:
    """The file of envelopes."""
    return canonical_json([envelope.as_dict() for envelope in envelopes])


def _is_word(value: Any) -> bool:
    """Whether a value can be an id or the name of a kind: text that has one encoding, and nothing unseen."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and 0 < len(value) <= 200


def _decoded(text: Any) -> bytes:
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        data = None
    # One sequence of bytes, one text: else a signature could be told in two ways.
    if data is None or base64.b64encode(data).decode() != text:
        raise ValueError("an envelope holds what is not base64")
    return data
