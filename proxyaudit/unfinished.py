"""What tasks have measured before they are done, so that one that is interrupted goes on from there."""

import json
import time
from dataclasses import replace
from pathlib import Path

from proxyaudit.cache import PART, Cache
from proxyaudit.digests import digest_of
from proxyaudit.estimates.record import Measurement

_STEPS = "steps.json"
_EVERY = 2.0  # seconds


class Unfinished:
    """What a task has measured so far, kept every few seconds in one of two places, by turns: one is whole while the other is written."""

    def __init__(self, cache: Cache, digest: str) -> None:
        """Take up what an interrupted task of this digest has kept."""
        self.cache, self.places = cache, tuple(digest_of([digest, place]) for place in (0, 1))
        self.saved, self.times, self.done = time.monotonic(), 0, list[str]()
        self.out = Measurement(keep=self._keep)
        for folder in (cache.folder(PART, place) for place in self.places if cache.has(PART, place)):
            steps = json.loads((folder / _STEPS).read_text(encoding="utf-8"))
            if steps["times"] > self.times:
                found = Measurement.read(folder)
                self.times, self.done, self.out = steps["times"], steps["done"], replace(found, keep=self._keep)

    def _keep(self, out: Measurement) -> None:
        if time.monotonic() - self.saved < _EVERY:
            return
        self.times += 1
        place = self.places[self.times % 2]
        self.cache.forget(PART, place)  # the other one stays until this one is whole
        self.cache.commit(PART, place, self._write)
        self.saved = time.monotonic()

    def _write(self, folder: Path) -> None:
        self.out.write(folder)
        (folder / _STEPS).write_text(json.dumps({"times": self.times, "done": self.done}), encoding="utf-8")

    def forget(self) -> None:
        """Drop what was kept, once the task is finished."""
        for place in self.places:
            self.cache.forget(PART, place)
