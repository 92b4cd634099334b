"""One process at a time where several may add to what lies in a folder."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from proxyaudit.errors import InputError
from proxyaudit.files import lock


@contextlib.contextmanager
def alone_in(folder: Path, seconds: float = 10.0) -> Iterator[None]:
    """Let one process at a time change what lies in a folder: who reads a list and writes it longer would else lose what another added.

    ``InputError``: another process holds it for longer than ``seconds``. Systems and disks without locks let everybody in.
    """
    if os.name != "posix":  # a folder cannot be opened there
        yield
        return
    ends, handle = time.monotonic() + seconds, os.open(folder, os.O_RDONLY)
    try:
        while not lock(handle):
            if time.monotonic() > ends:
                mend = "wait until it has ended, and run the same command again"
                raise InputError("another process is writing here", where=str(folder), mend=mend)
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)
