"""Shards: several calls of one command, on machines of their own, that make the tasks of a run together through a cache they share."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from proxyaudit.cache import Cache, Task
from proxyaudit.errors import InputError
from proxyaudit.workers import Workers

_LOOK, _LOOK_AT_MOST = 0.5, 15.0  # seconds between two looks at what others are making


@dataclass(frozen=True)
class Shard:
    """One of ``count`` calls; ``number`` counts from one."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``I/N``. Raises ``InputError``: it is none."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), re.ASCII)
        shard = cls(int(found[1]), int(found[2])) if found else None
        if shard is None or not 1 <= shard.number <= shard.count:
            mend = "write I/N with I from 1 to N, e.g. --shard 1/4; schedulers that count from 0 need 1 added"
            raise InputError(f"'{text[:20]}' is no shard", where="--shard", mend=mend)
        return shard

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def turn(self, task: Task) -> int:
        """When a task's turn comes: first the shard's own ones, then those of the next shard, and so on."""
        return (int(task.digest[:8], 16) - self.number) % self.count


@dataclass(frozen=True)
class _Taken:
    """Stands for the outcome of a task that another process is making."""


@dataclass(frozen=True)
class _Answer:
    outcome: Any
    made: bool  # here, or found among the kept results


@dataclass
class SharedWork(Workers):
    """Workers of one shard: each takes a task that nobody else is making, and what others make is waited for.

    Every shard sees every task to its end, so that one alone can make the whole run: what a dead one leaves, the others take up.
    """

    shard: Shard = Shard(1, 1)
    made: int = 0
    elsewhere: int = 0

    def run(self, function: str, calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """As :meth:`Workers.run`, of calls that take a task."""
        left, pause = sorted(range(len(calls)), key=lambda place: self.shard.turn(calls[place][0])), _LOOK
        while left:
            before = list(left)
            for index, answer in super().run("proxyaudit.shards:claimed", [(function, *calls[place]) for place in before]):
                if isinstance(answer, _Taken):
                    continue
                left.remove(before[index])
                if isinstance(answer, _Answer):
                    self.made += answer.made
                    self.elsewhere += answer.outcome[1] is None and not answer.made
                yield before[index], answer.outcome if isinstance(answer, _Answer) else answer
            pause = _LOOK if len(left) < len(before) else min(1.5 * pause, _LOOK_AT_MOST)
            if left:
                time.sleep(pause)


def claimed(function: str, task: Task, prepared: Any, cache: Cache) -> _Answer | _Taken:
    """Make a task unless it is made, or being made."""
    with cache.claim(f"{task.kind}.{task.digest[:32]}") as mine:
        # Asked under the claim: whoever had it a moment ago may have ended the task.
        if cache.has(task.kind, task.digest):
            return _Answer((task, None), made=False)
        if not mine:
            return _Taken()
        outcome = resolve_name(function)(task, prepared, cache)
        return _Answer(outcome, made=outcome[1] is None)
