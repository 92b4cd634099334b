"""What tests let worker processes do: importable there by name."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from proxyaudit.errors import InputError


def double(number: int, add: int) -> int:
    return 2 * number + add


def who(*_: object) -> tuple[int, str, str | None]:
    """The process, its folder of temporary files, and the script that it believes to be part of."""
    time.sleep(0.05)
    return os.getpid(), tempfile.gettempdir(), getattr(sys.modules["__main__"], "__file__", None)


def die_first(marker: str, tries: int) -> str:
    """Be killed in the first tries."""
    path = Path(marker)
    before = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (before + 1))
    if before < tries:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"try {before + 1}"


def leave(code: int) -> None:
    os._exit(code)


def fail(what: str) -> None:
    if what == "input":
        raise InputError("the table is empty", where="here", mend="fill it")
    if what == "disk":
        raise OSError(28, "No space left on device")
    raise ValueError("the value 'Alice' of 123456 rows")


def sleep(seconds: float, started: str) -> None:
    """Say in a file that it began, then be busy."""
    Path(started).write_text(str(os.getpid()))
    time.sleep(seconds)


def hears_interrupts() -> bool:
    """Whether Ctrl-C in a terminal would end this process, which ends with the one that started it."""
    return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
