"""Claims: who is making which task of a shared cache at this moment, so that several processes do not make the same one.

A claim is a file that its owner touches while it works. It saves work and decides nothing: results of a task that two make are the same,
and the first ones stay. Nothing but plain files is needed, so it works on any disk that machines share.
"""

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from proxyaudit.files import is_left_over, this_process

BEAT = 10.0  # seconds between the signs of life of whoever works
# Without a sign of life for so long an owner counts as dead. Disks on a network show a sign up to a minute late.
DEAD = 150.0


@dataclass(frozen=True)
class Claims:
    """The claims in a folder, which is made with the first one."""

    folder: Path

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Whether the block has the claim of a ``name`` for itself; it is given back when the block ends, and lapses if this process dies.

        A disk that takes no claims gives every one of them.
        """
        path = self.folder / name
        try:
            taken = self._take(path)
        except OSError:
            yield True
            return
        if not taken:
            yield False
            return
        ended = threading.Event()
        beat = threading.Thread(target=_beat, args=(path, ended), daemon=True)
        beat.start()
        try:
            yield True
        finally:
            ended.set()
            beat.join()
            with contextlib.suppress(OSError):
                if path.read_text(encoding="utf-8") == this_process():
                    path.unlink()

    def live(self, pattern: str) -> list[str]:
        """Names of the claims whose owners live, of those that fit a glob ``pattern``."""
        found = []
        for path in sorted(self.folder.glob(pattern)):
            with contextlib.suppress(OSError):
                if not self._lapsed(path):
                    found.append(path.name)
        return found

    def _take(self, path: Path) -> bool:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(2):
            try:
                handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except FileExistsError:
                if not self._lapsed(path):
                    return False
                path.unlink(missing_ok=True)  # two who do this at once make the task twice
                continue
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(this_process())
            return True
        return False

    def _lapsed(self, path: Path) -> bool:
        """Whether the owner of a claim is dead."""
        try:
            owner, beat = path.read_text(encoding="utf-8"), path.stat().st_mtime
        except FileNotFoundError:  # given back a moment ago
            return True
        return is_left_over(owner, "") or self._now() - beat > DEAD

    def _now(self) -> float:
        """The time by the clock of the disk: those of machines differ."""
        with tempfile.NamedTemporaryFile(prefix=".clock-", dir=self.folder) as clock:
            return os.fstat(clock.fileno()).st_mtime

    def sweep(self) -> None:
        """Remove what the dead left."""
        for path in self.folder.glob("*"):
            with contextlib.suppress(OSError):
                if self._lapsed(path):
                    path.unlink()


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)
