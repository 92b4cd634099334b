"""How far a run is, how long it still takes, and the lines that say so where no terminal draws a bar."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

EVERY = 30.0  # seconds after which a line is written at the latest
_TRUSTED = 20.0  # seconds of predicted work that the prediction counts for beside what was seen
_AT_LEAST = 0.1  # of the last estimate: work that takes longer than predicted is not done
_SOON = "under 10 s left"


class Pace:
    """Share of the work done and time left, from events that count work in predicted seconds (or in steps of one size)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.started = self.told = clock()
        self.stage, self.detail, self.done, self.total = "prepare", "", 0.0, 0.0

    def take(self, event: Any) -> None:
        """Take in what a progress event says."""
        if not self.total:
            self.started = self.clock()  # what prepares is no work of the tasks
        self.told = self.clock()
        self.stage, self.detail, self.done, self.total = event.stage, event.detail, float(event.done), float(event.total)

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at the pace so far; ``None`` before anything is known."""
        if not self.total:
            return None
        slower = (self.told - self.started + _TRUSTED) / (self.done + _TRUSTED)
        whole = (self.total - self.done) * slower
        # What is overdue goes on for about as long as it is overdue: the time left never falls to nothing while all is silent.
        return max(abs(whole - (self.clock() - self.told)), _AT_LEAST * whole)

    def words(self) -> str:
        """Stage, share of the work and time left."""
        if not self.total:
            return self.stage
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.stage}: {int(100 * self.done / self.total)} % of the work done, {self.left_words()}{detail}"

    def left_words(self) -> str:
        """Time left."""
        left = self.left
        if left is None:
            return ""
        # No finer than it is known: minutes, then tens of seconds.
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {10 * math.ceil(left / 10)} s left" if left > 10 else _SOON


class Lines:
    """Says a line where a stage begins, and one every ``EVERY`` seconds at the latest."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.say, self.pace, self.lock = say, Pace(clock), threading.Lock()
        self.said = clock()

    def take(self, event: Any) -> None:
        """Take in an event."""
        with self.lock:
            begins = event.stage != self.pace.stage
            self.pace.take(event)
            self._speak(begins)

    def beat(self) -> float:
        """Say a line if it is time; seconds until the next one is due."""
        with self.lock:
            self._speak(False)
            return self.said + EVERY - self.pace.clock()

    def _speak(self, now: bool) -> None:
        if now or self.pace.clock() - self.said >= EVERY:
            self.said = self.pace.clock()
            self.say(self.pace.words())


@contextmanager
def alive(lines: Lines) -> Iterator[None]:
    """Let lines come on time while the work of this process goes on."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(max(lines.beat(), 0.01)):
            pass

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
