"""What tasks have measured before they are done, so that one that is interrupted goes on from there, and what several measure alike."""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from proxyaudit.cache import PART, Cache
from proxyaudit.digests import code_digest, digest_of
from proxyaudit.estimates.record import Measurement

_STEPS = "steps.json"
_EVERY = 2.0  # seconds
SHARED = "site"  # kind of what several measuring tasks would measure alike


class Unfinished:
    """What a task has measured so far, kept every few seconds in one of two places, by turns: one is whole while the other is written."""

    def __init__(self, cache: Cache, digest: str) -> None:
        """Take up what an interrupted task of this digest has kept."""
        self.cache, self.places = cache, tuple(digest_of([digest, place]) for place in (0, 1))
        self.saved, self.times, self.done = time.monotonic(), 0, list[str]()
        self.out = Measurement(keep=self._keep)
        for place in self.places:
            if cache.has(PART, place):
                # Another process that makes the same task may be replacing it.
                with contextlib.suppress(OSError, ValueError):
                    self._take_up(cache.folder(PART, place))

    def _take_up(self, folder: Path) -> None:
        steps = json.loads((folder / _STEPS).read_text(encoding="utf-8"))
        if steps["times"] > self.times:
            found = Measurement.read(folder)
            if json.loads((folder / _STEPS).read_text(encoding="utf-8")) == steps:  # else half of it may be of one time, half of another
                self.times, self.done, self.out = steps["times"], steps["done"], replace(found, keep=self._keep)

    def _keep(self, out: Measurement) -> None:
        if time.monotonic() - self.saved < _EVERY:
            return
        self.times += 1
        place = self.places[self.times % 2]
        self.cache.forget(PART, place)  # the other one stays until this one is whole
        with contextlib.suppress(OSError):  # another process that makes the same task may be putting it there
            self.cache.commit(PART, place, self._write)
        self.saved = time.monotonic()

    def _write(self, folder: Path) -> None:
        self.out.write(folder)
        (folder / _STEPS).write_text(json.dumps({"times": self.times, "done": self.done}), encoding="utf-8")

    def forget(self) -> None:
        """Drop what was kept, once the task is finished."""
        for place in self.places:
            self.cache.forget(PART, place)


def remember(cache: Cache, inputs: str, what: Mapping[str, Any], make: Callable[[], Measurement]) -> Measurement:
    """A measurement that other tasks make too, looked up where one of them did; else ``make`` measures it.

    ``inputs``, the digest of the task that planted the placebos, depends on data, attributes and code; ``what`` says the rest.
    """
    digest = digest_of({"code": code_digest("measure"), "inputs": inputs, **what})
    if cache.has(SHARED, digest):
        with contextlib.suppress(OSError):  # another task of the same moment may be putting it there
            return Measurement.read(cache.folder(SHARED, digest))
    found = make()
    if not cache.has(SHARED, digest):
        with contextlib.suppress(OSError):
            cache.commit(SHARED, digest, found.write)
    return found
