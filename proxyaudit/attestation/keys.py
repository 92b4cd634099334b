"""Keys of signers: ed25519, the private part encrypted where it lies, the public part a small JSON file that says until when it holds."""

import datetime
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyaudit.errors import NAME, InputError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.files import read_file, sync_folder, write_file
from proxyaudit.limits import MOST_KEY

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PASSPHRASE = "PROXYAUDIT_KEY_PASSPHRASE"
FEWEST, MOST = 12, 512  # characters of a passphrase: the key's file may be copied, and guessed at without end
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# What signs with keys that lie in clouds, which securesystemslib loads where it finds it (a quarter of a second); ours are files.
_CLOUDS = {"boto3", "google.cloud", "azure.identity", "hvac"}
# Curve25519 in Edwards form: its field, and y of the eight points of which eight times one is nothing (RFC 8032, 5.1; x = 0 or y = 0,
# and those of order eight).
_FIELD = 2**255 - 19
_EIGHTH = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER = {0, 1, _FIELD - 1, _EIGHTH, _FIELD - _EIGHTH}
_PUBLIC = {"keyid", "keytype", "scheme", "keyval", "name", "not_after"}


@dataclass(frozen=True)
class PublicKey:
    """What signatures are checked with, and until when its owner wants it to be believed."""

    path: Path
    name: str
    keyid: str
    raw: str  # 32 bytes in hex
    not_after: str | None  # last day, UTC

    def expired(self, today: datetime.date | None = None) -> bool:
        """Whether its last day has passed."""
        day = today or datetime.datetime.now(datetime.UTC).date()
        return self.not_after is not None and day > datetime.date.fromisoformat(self.not_after)

    @property
    def told(self) -> str:
        """Name and the head of the id, for messages."""
        return f"'{self.name}' ({self.keyid[:12]})"

    def load(self) -> "SSlibKey":
        """As the library takes it."""
        return needed("securesystemslib.signer").SSlibKey(self.keyid, "ed25519", "ed25519", {"public": self.raw})


def needed(module: str) -> Any:
    """A module of the extra ``sign``; ``InputError`` where it is not installed."""
    hidden: Mapping[str, Any] = dict.fromkeys(_CLOUDS - sys.modules.keys())
    sys.modules.update(hidden)  # modules that are None count as not installed
    try:
        return import_module(module)
    except ImportError:
        what, mend = "signatures and time stamps need packages that are not installed", "in your clone of proxyaudit: pip install '.[sign]'"
        raise InputError(what, where=module.partition(".")[0], mend=mend) from None
    finally:
        for name in hidden:
            del sys.modules[name]


def check_passphrase(passphrase: str) -> bytes:
    """A new passphrase as bytes; ``InputError`` if it is too short or too long."""
    if not FEWEST <= len(passphrase) <= MOST:
        raise InputError(f"the passphrase has {len(passphrase)} characters", where=PASSPHRASE, mend=f"use {FEWEST} to {MOST}")
    return passphrase.encode("utf-8", "surrogateescape")


def new_key(name: str, folder: Path, passphrase: str, not_after: str | None = None) -> tuple[Path, PublicKey]:
    """Draw a key and write ``NAME.key`` (private, encrypted, mode 0600) and ``NAME.pub``; ``InputError`` where one of them is there."""
    if not NAME.fullmatch(name):
        raise InputError(f"'{name[:40]}' cannot name a key", where="NAME", mend="use letters, digits, '.', '_' and '-'")
    if not_after is not None and _day(not_after) is None:
        raise InputError(f"'{not_after[:40]}' is no day", where="--not-after", mend="write it as 2027-12-31")
    secret, private, public = check_passphrase(passphrase), folder / f"{name}.key", folder / f"{name}.pub"
    forms = needed("cryptography.hazmat.primitives.serialization")
    key = needed("cryptography.hazmat.primitives.asymmetric.ed25519").Ed25519PrivateKey.generate()
    made = needed("securesystemslib.signer").CryptoSigner(key).public_key
    encrypted = key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.BestAvailableEncryption(secret))
    found = PublicKey(public, name, made.keyid, made.keyval["public"], not_after)
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise InputError("there is a file of this name", where=str(path), mend="choose another name; a key is never overwritten")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(encrypted)
            stream.flush()
            os.fsync(stream.fileno())
        write_file(public, canonical_json({"name": name, "keyid": made.keyid, "not_after": not_after, **made.to_dict()}))
        sync_folder(folder)
    except OSError as error:
        raise InputError(f"the key cannot be written ({error.strerror})", where=str(folder), mend="name another folder") from None
    return private, found


def check_last_day(day: str | None) -> None:
    """Refuse a last day that has passed (``InputError``): the key would vouch for nothing from the first moment on."""
    last = _day(day)
    if last is not None and last < datetime.datetime.now(datetime.UTC).date():
        raise InputError(f"{day} has passed: the key would be expired", where="--not-after", mend="name a day that is yet to come")


def read_public(path: Path) -> PublicKey:
    """A public key's file; ``InputError``: it cannot be read, is a private key, or is not what it says."""
    mend = "name the file NAME.pub that 'proxyaudit keys new' wrote"
    try:
        data = read_file(path, MOST_KEY)
        document = parse_json(data)
    except (OSError, ValueError, RecursionError) as error:
        private = not isinstance(error, OSError) and b"PRIVATE KEY" in data
        why = "this is the private key" if private else f"the public key cannot be read ({_why(error)})"
        raise InputError(why, where=str(path), mend=mend) from None
    fault = _fault(document)
    if fault is not None:
        raise InputError(f"this is no public key: {fault}", where=str(path), mend=mend)
    raw = document["keyval"]["public"]
    signer = needed("securesystemslib.signer")
    whole = needed("cryptography.hazmat.primitives.asymmetric.ed25519").Ed25519PublicKey.from_public_bytes(bytes.fromhex(raw))
    # The id says which signature is meant; it is made again, so that no file can claim another key's.
    if signer.SSlibKey.from_crypto(whole).keyid != document["keyid"]:
        raise InputError("this is no public key: its id is another key's", where=str(path), mend=mend)
    return PublicKey(path, document["name"], document["keyid"], raw, document["not_after"])


def _fault(document: Any) -> str | None:
    if not isinstance(document, dict) or set(document) != _PUBLIC:
        return f"it has not just the keys {', '.join(sorted(_PUBLIC))}"
    if document["keytype"] != "ed25519" or document["scheme"] != "ed25519":
        return "only ed25519 is known"
    keyval = document["keyval"]
    raw = keyval.get("public") if isinstance(keyval, dict) and set(keyval) == {"public"} else None
    if not (isinstance(raw, str) and len(raw) == 64 and set(raw) <= set("0123456789abcdef")):
        return "'public' is not 32 bytes in hex"
    if _is_of_nobody(raw):
        return "anybody can sign in its name"
    if not isinstance(document["keyid"], str) or not isinstance(document["name"], str):
        return "its id or name is no text"
    if not NAME.fullmatch(document["name"]):
        return "its name is none that 'keys new' gives"  # reports of checks name it: nothing else may be written with it
    if document["not_after"] is not None and _day(document["not_after"]) is None:
        return "'not_after' is no day"
    return None


def _is_of_nobody(raw: str) -> bool:
    """Whether a key, 32 bytes in hex, is a point of small order, for which anybody can write signatures, or one in a second spelling.

    No private key leads to one. Checking code takes the signature "R = 1, S = 0" under it for every message, or for one of a few.
    """
    y = int.from_bytes(bytes.fromhex(raw), "little") % 2**255  # the highest bit is the sign of x
    return y >= _FIELD or y in _SMALL_ORDER


def read_private(path: Path) -> bytes:
    """A private key's file, still encrypted; ``InputError``: it cannot be read, is no private key, or others can read it."""
    mend = "name the file NAME.key that 'proxyaudit keys new' wrote"
    try:
        data = read_file(path, MOST_KEY)
        if b"PRIVATE KEY" not in data:
            raise InputError("this is no private key", where=str(path), mend=mend)
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise InputError("others on this machine can read the private key", where=str(path), mend=f"run: chmod 600 {path}")
    except OSError as error:
        raise InputError(f"the private key cannot be read ({_why(error)})", where=str(path), mend=mend) from None
    return data


def read_signer(path: Path, passphrase: str) -> "CryptoSigner":
    """The signer of a private key's file; ``InputError``: it cannot be read or opened, others can read it, or it has expired."""
    mend = "name the file NAME.key that 'proxyaudit keys new' wrote"
    signer, forms = needed("securesystemslib.signer"), needed("cryptography.hazmat.primitives.serialization")
    data = read_private(path)
    try:
        key = forms.load_pem_private_key(data, passphrase.encode("utf-8", "surrogateescape"))
    except (ValueError, TypeError) as error:
        if b"ENCRYPTED PRIVATE KEY" in data and isinstance(error, ValueError):
            what, mend = "the passphrase does not open the private key", f"give the right one ({PASSPHRASE})"
            raise InputError(what, where=str(path), mend=mend) from None
        raise InputError("the private key is not encrypted", where=str(path), mend=mend) from None
    if not isinstance(key, needed("cryptography.hazmat.primitives.asymmetric.ed25519").Ed25519PrivateKey):
        raise InputError("only ed25519 keys sign", where=str(path), mend=mend)
    made: CryptoSigner = signer.CryptoSigner(key)
    public = path.with_suffix(".pub")
    if public.is_file():
        own = read_public(public)
        if own.keyid != made.public_key.keyid:
            raise InputError("the public key beside the private one is another key's", where=str(public), mend=mend)
        if own.expired():
            what, mend = f"the key {own.told} expired on {own.not_after}", "make another one: proxyaudit keys new NAME"
            raise InputError(what, where=str(public), mend=mend)
    return made


def read_keys(paths: Sequence[Path]) -> tuple[PublicKey, ...]:
    """Public keys; ``InputError`` where two files hold one key: whoever asks for two signers would get one."""
    found: dict[str, PublicKey] = {}
    for key in map(read_public, paths):
        first = found.setdefault(key.keyid, key)
        if first is not key:
            what = f"this is the key of {first.path} again ({key.keyid[:12]})"
            raise InputError(what, where=str(key.path), mend="give each signer's key once; two signers have two keys")
    return tuple(found.values())


def _day(text: Any) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text) if isinstance(text, str) and _DAY.fullmatch(text) else None
    except ValueError:
        return None


def _why(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error)[:120]
