"""Signals that end a program (SIGTERM, SIGHUP) end it as Ctrl-C does: every block is left in order, so that nothing stays behind."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ONCE = 1.0  # seconds in which further signals say nothing new: a group and its leader are often told one after the other


@contextmanager
def as_interrupts() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` on each of them while the block runs; what was ignored before (``nohup``) stays ignored."""
    last = -_ONCE

    def interrupt(*_: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= _ONCE:
            last = time.monotonic()
            raise KeyboardInterrupt

    before: dict[int, Any] = {}
    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, interrupt)
    except ValueError:  # signals belong to the main thread: of a call from another one nothing is changed
        pass
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
