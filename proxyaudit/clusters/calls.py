"""What every engine is given, what its workers do with it, and how often it is tried again."""

import hashlib
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol

from proxyaudit.errors import InputError, MachineError, ProxyauditError, TaskError, machine_error, safe_line

TRIES = 3  # of one call, before it counts as failed because its workers die; of a cluster, before it counts as gone
_SEEN_WITHIN = 5.0  # seconds after which a file is seen on a disk that machines share
_ONE = threading.Lock()  # threads of one worker would share random numbers and numbers of threads
_loaded: dict[str, tuple[Any, ...]] = {}


@dataclass(frozen=True)
class Lost:
    """Stands for the result of a call that no worker outlived."""

    why: str


class ClusterLostError(Exception):
    """The cluster, or what it held for us, is gone; what was told before stands."""


@dataclass(frozen=True)
class Calls:
    """Calls of ``"module:function"``: the arguments of each, by its place, and what all of them take after their own."""

    function: str
    given: dict[int, tuple[Any, ...]]
    shared: bytes  # travels once, and is read once by each process
    key: str  # its digest
    visible: str = ""  # a file that every worker must see

    def call(self, place: int) -> tuple[Any, ...]:
        """All arguments of :func:`make` but the last."""
        return self.function, self.given[place], self.visible, self.key


class Engine(Protocol):
    """Who makes calls."""

    def calls(self, given: Calls) -> Iterator[tuple[int, Any]]:
        """The place of each call as it ends, and what :func:`make` answered or :class:`Lost`. Raises :class:`ClusterLostError`."""

    def close(self) -> None:
        """Let go of everything."""


def make(function: str, given: tuple[Any, ...], visible: str, key: str, shared: bytes) -> tuple[bool, Any]:
    """Make one call in a worker: whether it ended well, and its result or what it raised, without values of rows."""
    with _ONE:
        try:
            _check_visible(visible)
            if key not in _loaded:
                _loaded.clear()
                _loaded[key] = ForkingPickler.loads(shared)
            return True, resolve_name(function)(*given, *_loaded[key])
        except Exception as error:
            return False, error if isinstance(error, ProxyauditError) else machine_error(error) or TaskError(safe_line(error))


def unable(error: Exception) -> InputError:
    """Of an error before a call began: the worker is no place for it."""
    mend = "install proxyaudit, in the same version and with the same extras, on all machines of the cluster"
    return InputError(f"a worker cannot take the work ({type(error).__name__})", where="--backend", mend=mend)


def _check_visible(visible: str) -> None:
    deadline = time.monotonic() + _SEEN_WITHIN
    while visible and not os.path.lexists(visible):
        if time.monotonic() > deadline:
            what = f"the worker on '{platform.node()}' does not see the cache"
            raise InputError(what, where=f"--cache {Path(visible).parent}", mend="name a folder on a disk that all machines share")
        time.sleep(0.1)


def calls_on(
    engine: Engine, function: str, calls: Sequence[tuple[Any, ...]], shared: tuple[Any, ...], visible: str
) -> Iterator[tuple[int, Any]]:
    """The place and result of each call as it ends, :class:`Lost` where workers died; what a call raises is raised here.

    What a cluster has not told when it is lost is asked again, of the cluster that comes back. Raises ``MachineError``: none does.
    """
    left, payload, fruitless = dict(enumerate(calls)), bytes(ForkingPickler.dumps(shared)), 0
    key = hashlib.sha256(payload).hexdigest()
    while left:
        before = len(left)
        try:
            for place, told in engine.calls(Calls(function, dict(left), payload, key, visible)):
                del left[place]
                if isinstance(told, Lost):
                    yield place, told
                    continue
                good, value = told
                if not good:
                    raise value
                yield place, value
        except ClusterLostError as error:
            fruitless = fruitless + 1 if len(left) == before else 0
            if fruitless == TRIES:
                mend = "see that it runs, and run the same command again: what is finished is kept"
                raise MachineError(f"the cluster is lost ({error})", where="--backend", mend=mend) from None
