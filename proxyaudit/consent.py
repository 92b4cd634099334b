"""Consent to execute code: it comes from the caller alone, never from a pack, a recipe or a model folder.

Of a recipe of one's own ``any`` will do. What a pack names was written by whoever made the pack: there only the hash of the very
file counts, so that nobody executes what nobody has looked at.
"""

import hashlib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from proxyaudit.errors import InputError

OPTION = "--run-code"
_FORM = re.compile(r"(?P<file>.+)@sha256:(?P<hash>[0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Consent:
    """What the caller lets be executed: files by name and SHA-256, or any code of the caller's own recipe."""

    files: frozenset[tuple[str, str]] = frozenset()
    anything: bool = False
    fence: Callable[[str], None] = field(default=lambda need: None, compare=False)
    """Called before anything is executed, with what the audit itself needs a network for."""

    @classmethod
    def of(cls, given: Sequence[str], fence: Callable[[str], None] = lambda need: None) -> Self:
        """Read what was given as ``--run-code``. Raises ``InputError``: it is neither ``any`` nor ``FILE@sha256:HASH``."""
        files = set()
        for text in (text for text in given if text != "any"):
            found = _FORM.fullmatch(text)
            if found is None:
                mend = "write FILE@sha256:HASH (sha256sum FILE prints the hash), or 'any' for a recipe of your own"
                raise InputError(f"'{text[:80]}' names no file and its hash", where=OPTION, mend=mend)
            files.add((Path(found["file"]).name, found["hash"].lower()))
        return cls(frozenset(files), "any" in given, fence)

    def require(self, files: Mapping[str, Path | None], *, delivered: bool, network: str = "") -> None:
        """Refuse to go on where code would be executed without consent, else put the fence around it; nothing has been executed then.

        Files go by what they are; one that lies elsewhere (``None``) has no hash to consent to. Of what a pack ``delivered``, ``any`` does
        not count. ``network`` says what the audit itself needs one for. Raises ``InputError``: consent is missing; the line holds the flags
        ready to copy.
        """
        if not self.anything or delivered:
            self._look_at(files, delivered)
        if files:
            self.fence(network)

    def _look_at(self, files: Mapping[str, Path | None], delivered: bool) -> None:
        flags, names = [], []
        for what, path in files.items():
            if path is None:
                if delivered:
                    mend = "load the model into a folder, look at its code, and audit that"
                    raise InputError(f"{what} would execute code that lies elsewhere", where=OPTION, mend=mend)
                names.append(what)
                flags.append(f"{OPTION} any")
                continue
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if (path.name, digest) not in self.files:
                names.append(f"{what} ({path.name})")
                flags.append(f"{OPTION} {shlex.quote(f'{path.name}@sha256:{digest}')}")
        if flags:
            mend = f"look at it, and if you trust it add: {' '.join(dict.fromkeys(flags))}"
            raise InputError(f"{', '.join(names)} is code that would be executed with your rights", where=OPTION, mend=mend)


NO_CONSENT = Consent()
