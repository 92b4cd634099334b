"""Time stamps (RFC 3161): a request to take to an authority, and its answer, checked without a network."""

import datetime
import hashlib
from pathlib import Path
from typing import Any

from proxyaudit.attestation.keys import needed
from proxyaudit.errors import InputError
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_STAMP


def request(data: bytes) -> bytes:
    """A request for a time stamp over ``data`` (SHA-256, with the authority's certificate), as DER."""
    client = needed("rfc3161_client")
    made = client.TimestampRequestBuilder().data(data).hash_algorithm(client.HashAlgorithm.SHA256).cert_request(cert_request=True).build()
    found: bytes = made.as_bytes()
    return found


def stamped(answer: bytes, data: bytes) -> str:
    """When an answer says that ``data`` was there (UTC, to the second); ``ValueError``: it is none, or is about something else.

    Who says so is not checked: that takes :func:`check`.
    """
    client = needed("rfc3161_client")
    try:
        found = client.decode_timestamp_response(answer)
        status, info = found.status, found.tst_info
        imprint, time = info.message_imprint.message, info.gen_time
    except ValueError as error:
        raise ValueError(f"it is no answer of a time stamp authority ({' '.join(str(error).split())[:80]})") from None
    if status != 0:
        raise ValueError("the authority refused the request")
    if imprint != hashlib.sha256(data).digest():
        raise ValueError("it is about other bytes")
    utc = time if time.tzinfo is not None else time.replace(tzinfo=datetime.UTC)
    return str(utc.astimezone(datetime.UTC).isoformat(timespec="seconds"))


def check(answer: bytes, data: bytes, roots: tuple[Any, ...]) -> str:
    """:func:`stamped`, and signed by an authority that one of ``roots`` vouches for; ``ValueError`` says what is wrong."""
    client, time = needed("rfc3161_client"), stamped(answer, data)
    builder = client.VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(root)
    try:
        builder.build().verify_message(client.decode_timestamp_response(answer), data)
    except (client.VerificationError, ValueError) as error:
        raise ValueError(f"no root certificate that was given vouches for it ({' '.join(str(error).split())[:120]})") from None
    return time


def read_roots(path: Path) -> tuple[Any, ...]:
    """The certificates of a PEM or DER file; ``InputError`` if there is none."""
    x509 = needed("cryptography.x509")
    try:
        data = read_file(path, MOST_STAMP)
        found = x509.load_pem_x509_certificates(data) if b"-----BEGIN" in data else [x509.load_der_x509_certificate(data)]
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it holds none"
        mend = "name the root certificate of the time stamp authority (PEM or DER)"
        raise InputError(f"the certificate cannot be read ({why})", where=str(path), mend=mend) from None
    return tuple(dict.fromkeys(found))
