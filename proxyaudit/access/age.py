"""Encryption to age recipients (age-encryption.org/v1), through the extra ``access``; nothing of it is our own cryptography."""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.evidence.tiers import AGE
from proxyaudit.files import read_file
from proxyaudit.limits import MOST_KEY

PASSPHRASE = "PROXYAUDIT_IDENTITY_PASSPHRASE"
_HEADER, _STANZA, _END = b"age-encryption.org/v1\n", b"-> ", b"---"
_GREASE = b"-grease"  # ends the kind of a line that age programs put in for nobody, so that readers get used to kinds they do not know
_ARMOUR = b"-----BEGIN AGE ENCRYPTED FILE-----"
_SECRET = "AGE-SECRET-KEY-1"


def _pyrage() -> Any:
    try:
        return import_module("pyrage")
    except ImportError:
        what, mend = "encryption needs a package that is not installed", "in your clone of proxyaudit: pip install '.[access]'"
        raise InputError(what, where="access", mend=mend) from None


def check_recipients(recipients: Sequence[str]) -> None:
    """See that every recipient is one, before anything is computed; ``InputError`` otherwise."""
    for index, text in enumerate(recipients):
        try:
            _pyrage().x25519.Recipient.from_str(text)
        except _pyrage().RecipientError:
            mend = "write the public key that begins with 'age1', as 'age-keygen' prints it"
            raise InputError("this is no age recipient", where=f"access.recipients.{index}", mend=mend) from None


def encrypted(files: Mapping[str, bytes], recipients: Sequence[str]) -> dict[str, bytes]:
    """Each file encrypted to all recipients, its name ending in ``.age``; whoever wrote them cannot open them again."""
    named = [_pyrage().x25519.Recipient.from_str(text) for text in recipients]
    return {f"{name}{AGE}": bytes(_pyrage().encrypt(data, named)) for name, data in files.items()}


def recipients_of(data: bytes) -> int | None:
    """To how many recipients a file is encrypted, by its header, of whatever kind they are; ``None`` if it is no age file."""
    if not data.startswith(_HEADER):
        return None
    lines = data[: 64 * 1024].split(b"\n")
    end = next((index for index, line in enumerate(lines) if line.startswith(_END)), None)
    if end is None:
        return None
    kinds = [line.removeprefix(_STANZA).partition(b" ")[0] for line in lines[:end] if line.startswith(_STANZA)]
    nobody = sum(kind.endswith(_GREASE) for kind in kinds)
    return len(kinds) - min(nobody, 1)  # programs put in one such line at most: a further one may be somebody's


def read_identities(path: Path, passphrase: Callable[[], str]) -> list[Any]:
    """The identities of a file, which may itself be encrypted with a passphrase, asked for then.

    ``InputError``: it cannot be read or opened, others can read it, or it holds no identity.
    """
    mend = "name the file that 'age-keygen' wrote"
    try:
        data = read_file(path, MOST_KEY)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise InputError("others on this machine can read the identity", where=str(path), mend=f"run: chmod 600 {path}")
    except OSError as error:
        raise InputError(f"the identity cannot be read ({error.strerror})", where=str(path), mend=mend) from None
    if data.startswith((_HEADER, _ARMOUR)):
        try:
            data = bytes(_pyrage().passphrase.decrypt(data, passphrase()))
        except _pyrage().DecryptError:
            raise InputError(
                "the passphrase does not open the identity", where=str(path), mend=f"give the right one ({PASSPHRASE})"
            ) from None
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    try:
        found = [_pyrage().x25519.Identity.from_str(line) for line in lines if line.startswith(_SECRET)]
    except _pyrage().IdentityError:
        found = []
    if not found:
        raise InputError("the file holds no age identity", where=str(path), mend=mend)
    return found


def decrypted(files: Mapping[str, bytes], identities: Sequence[Any], where: str) -> tuple[dict[str, bytes], str]:
    """Each file opened, by its name without ``.age``, and the recipient whose identity opened them.

    ``InputError``: none of the identities is a recipient's; ``IntegrityError``: one is, and the file is damaged.
    """
    for identity in identities:
        try:
            opened = {name.removesuffix(AGE): bytes(_pyrage().decrypt(data, [identity])) for name, data in files.items()}
        except _pyrage().DecryptError as error:
            if "No matching keys" not in str(error):
                raise IntegrityError(f"a restricted file cannot be decrypted [{where}]; it is damaged") from None
            continue
        return opened, str(identity.to_public())
    raise InputError("the identity is none of the recipients", where=where, mend="the recipe of the run names them (access.recipients)")
