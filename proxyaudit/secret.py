"""The auditor's secret: a key that never leaves the auditor, by which digests of rows say nothing to anybody else.

A plain digest of rows is an oracle: whoever has all of them but a few labels tries every answer until the digest fits. Digests that are
published are therefore keyed. The same key gives the same digests, so that an auditor's own runs can be compared and made again.
"""

import hmac
import os
import secrets
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from proxyaudit.errors import InputError

VARIABLE, HOME = "PROXYAUDIT_SECRET", "PROXYAUDIT_HOME"
KEYED: Final = "keyed:"  # before a digest that only its auditor can make again
_FEWEST: Final = 32  # characters
# Releases, models and what describes columns are handed out, and anybody may check them. All else is taken for people's rows.
_HANDED_OUT: Final = ("metadata", "release", "checkpoint")


def own_folder() -> Path:
    """What an auditor keeps and never hands out lies here: ``PROXYAUDIT_HOME``, else in the user's configuration."""
    given = os.environ.get(HOME)
    return Path(given) if given else Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "proxyaudit"


def secret_file() -> Path:
    """Where the secret lies unless ``PROXYAUDIT_SECRET`` holds it."""
    return own_folder() / "secret"


def auditor_secret() -> bytes:
    """The secret of whoever runs this, drawn at first use; ``InputError`` if it is too short, open to others, or cannot be kept."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        if len(given) < _FEWEST:
            mend = "use at least 32 characters that nobody can guess, e.g. from 'openssl rand -hex 32'"
            raise InputError(f"the secret has {len(given)} characters, which can be guessed", where=VARIABLE, mend=mend)
        return given.encode("utf-8", "surrogateescape")
    path = Path("secret")
    try:
        path = secret_file()
        if not path.exists():
            _draw(path)
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise InputError("others on this machine can read the auditor's secret", where=str(path), mend=f"run: chmod 600 {path}")
        found = path.read_bytes().strip()
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        mend = f"make the folder writable, or set {VARIABLE} to at least 32 characters that nobody can guess"
        raise InputError(f"the auditor's secret cannot be kept ({why})", where=str(path), mend=mend) from None
    if len(found) < _FEWEST:
        raise InputError("the auditor's secret is cut short", where=str(path), mend="restore it, or remove the file to begin anew")
    return found


def has_secret() -> bool:
    """Whether there is a secret already; none is drawn."""
    return VARIABLE in os.environ or secret_file().exists()


def _draw(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        # Of two processes that draw one at once the first is believed.
        try:
            os.link(new, path)
        except FileExistsError:
            pass
        except OSError:  # a disk without links
            new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def keyed(*parts: str | bytes) -> str:
    """Digest of ``parts`` that only whoever has the secret can make."""
    found = hmac.new(auditor_secret(), digestmod="sha256")
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()


def keyed_hash(digest: str) -> str:
    """A file's digest as it is published where the file holds people's rows."""
    return KEYED + keyed("rows", digest)


def public_hashes(hashes: dict[str, str], known: Collection[str] = ()) -> dict[str, str]:
    """Digests by what they are of, those of people's rows keyed; ``known`` are those that are published anyway, with a data card."""
    plain = {name for name, value in hashes.items() if name.split(" ")[0] in _HANDED_OUT or value in known}
    return {name: value if name in plain else keyed_hash(value) for name, value in hashes.items()}
