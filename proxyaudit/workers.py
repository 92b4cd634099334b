"""Worker processes: each makes one call at a time; one that dies is replaced and its call tried again; all end with the process they serve.

Calls and results travel through a pipe between two processes of ours, which nobody else can write to, and never lie in shared memory.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pkgutil import resolve_name
from typing import Any

from proxyaudit import fence
from proxyaudit.clusters import joblib
from proxyaudit.clusters.calls import TRIES, Engine, Lost, calls_on
from proxyaudit.errors import InputError, ProxyauditError, TaskError, did_you_mean, machine_error, safe_line
from proxyaudit.files import clear_up, temporary_folder
from proxyaudit.garbage import collect_rarely
from proxyaudit.registry import load_plugin, plugin_names

_LEAVING = 5.0  # seconds that a worker may take to leave
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Worker:
    """A process, the pipe to it, and the call that it makes."""

    process: Any
    pipe: Connection
    place: int | None = None

    def send(self, message: Any) -> bool:
        """Whether it took the message; one that is dead takes none."""
        try:
            self.pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def end(self) -> str:
        """End it at once, or let it leave where its pipe is closed already; how it ended, in words."""
        if self.pipe.closed:
            self.process.join(_LEAVING)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode
        return f"it was killed by signal {-code}" if code is not None and code < 0 else f"it left with exit code {code}"


@dataclass
class Workers:
    """Who makes the calls: so many processes, which results do not depend on, on this machine (``loky``) or of a cluster.

    Clusters are those of ``dask`` and ``ray``, at an address ``scheduler`` or of this machine alone, and what joblib knows by the name of a
    ``backend``. One process alone is this very one. ``shared`` is what every call takes after its own arguments; it is sent to each worker
    once. Workers of clusters must see a file ``visible``, where one is named.
    """

    count: int
    backend: str = "loky"
    shared: tuple[Any, ...] = ()
    scheduler: str | None = None
    visible: str = ""
    crew: list[Worker] = field(default_factory=list)
    left: ExitStack = field(default_factory=ExitStack)  # what goes when the last worker has ended
    scratch: str = ""  # folder of the workers' temporary files

    def __post_init__(self) -> None:
        self.engine = None if self.backend == "loky" else _engine(self.backend, self.count, self.scheduler)
        if self.scheduler is not None and self.backend not in ("dask", "ray"):
            raise InputError(f"'{self.backend}' has no scheduler", where="--scheduler", mend="add --backend dask or --backend ray")
        if self.count < 1:
            raise InputError(f"{self.count} workers cannot work", where="--jobs", mend="give 1 or more")
        clear_up()  # also where all is done already and nobody will work

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process: those without a call in order, so that they tidy up, the others at once."""
        for worker in self.crew:
            if worker.place is None:
                worker.pipe.close()
        while self.crew:
            self.crew.pop().end()
        self.left.close()
        if self.engine is not None:
            self.engine.close()

    def run(self, function: str, calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """Make calls of ``"module:function"``, in any order; the place and result of each as it ends, :class:`Lost` where workers died.

        What a call raises is raised here, and ends the other calls. Raises ``MachineError``: no process can be started.
        """
        if self.engine is not None:
            yield from calls_on(self.engine, function, calls, self.shared, self.visible)
        elif self.count == 1:
            call = resolve_name(function)
            yield from ((place, call(*given, *self.shared)) for place, given in enumerate(calls))
        else:
            yield from self._run(function, calls)

    def _run(self, function: str, calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        if not self.crew:
            self.left.close()
            self.scratch = str(self.left.enter_context(temporary_folder()))
        waiting, tries = deque(range(len(calls))), [0] * len(calls)
        try:
            while waiting or any(worker.place is not None for worker in self.crew):
                for worker in self._at_hand(len(waiting)):
                    worker.place = waiting.popleft()
                    worker.send((function, calls[worker.place]))
                for place, found in self._heard():
                    if isinstance(found, Lost):
                        tries[place] += 1
                        if tries[place] < TRIES:
                            waiting.append(place)
                            continue
                        found = Lost(f"its worker process died {TRIES} times; the last time {found.why}")
                    yield place, found
        finally:
            # Whoever stops listening must not be told later of what was asked before.
            for worker in [worker for worker in self.crew if worker.place is not None]:
                self.crew.remove(worker)
                worker.end()

    def _at_hand(self, wanted: int) -> list[Worker]:
        """Workers without a call, at most so many; new ones are started up to the count."""
        idle = [worker for worker in self.crew if worker.place is None]
        new: list[Worker] = []
        while len(idle) + len(new) < wanted and len(self.crew) < self.count:
            try:
                new.append(_start(self.scratch))
            except OSError as error:
                if not self.crew:
                    raise machine_error(error) or error from error
                break  # the others go on
            self.crew.append(new[-1])
        for worker in new:  # all of them are starting by now
            worker.send(self.shared)
        return (idle + new)[:wanted]

    def _heard(self) -> list[tuple[int, Any]]:
        """What workers say next; those that died are no longer of the crew."""
        pipes = {worker.pipe: worker for worker in self.crew}
        found: list[tuple[int, Any]] = []
        for pipe in wait(list(pipes)):
            worker = pipes[pipe]  # type: ignore[index]
            try:
                good, value = worker.pipe.recv()
            except (EOFError, OSError):
                self.crew.remove(worker)
                why = worker.end()
                if worker.place is not None:
                    found.append((worker.place, Lost(why)))
                continue
            place, worker.place = worker.place, None
            if not good:
                raise value
            if place is not None:
                found.append((place, value))
        return found


def _start(scratch: str) -> Worker:
    """Start a process that waits for calls and keeps its temporary files in a folder ``scratch``."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, scratch), daemon=True)
    own = dict.fromkeys(_THREADS, "1") | dict.fromkeys(_TEMPORARY, scratch)
    main, before = sys.modules["__main__"], {name: os.environ.get(name) for name in own}
    # A worker needs nothing of the script that runs the audit, and must not run it again. One call is one thread.
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ.update(own)
    try:
        with _without_interrupts():
            process.start()
    except BaseException:
        ours.close()
        raise
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()
    return Worker(process, ours)


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let what is started here be deaf to Ctrl-C, which a terminal sends to the whole group: it ends with the process that started it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started on the way to the first process, it would let interrupts through again once it runs.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def serve(pipe: Connection, scratch: str) -> None:
    """Make the calls that come through a pipe, until it ends; ``scratch`` is the folder of the workers' temporary files."""
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    fence.own_process = _end
    collect_rarely()
    if sys.stdout is not None and sys.stderr is not None:  # standard output is for results
        os.dup2(2, 1)
    shared: tuple[Any, ...] | None = None
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            if shared is None:
                shared = ForkingPickler.loads(message)
                continue
            function, given = ForkingPickler.loads(message)
            del message
            answer = (True, resolve_name(function)(*given, *shared))
        except Exception as error:
            answer = (False, error if isinstance(error, ProxyauditError) else machine_error(error) or TaskError(safe_line(error)))
        try:
            pipe.send(answer)
        except OSError:
            return


def _end(line: str) -> None:
    """End this process at once, whatever it is doing."""
    os.write(2, f"proxyaudit: {line}\n".encode())
    os._exit(1)


def _end_with_parent(scratch: str) -> None:
    """End this process when the one that started it does, however that ends and whatever is being done here."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        # By its very name: where it is gone already, the system's folder for temporary files would take its place.
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)


def _engine(backend: str, count: int, address: str | None) -> Engine:
    """Who makes calls on a backend. A plugin of that name is called first: it registers the backend with joblib."""
    if backend in ("dask", "ray"):
        found: Engine = resolve_name(f"proxyaudit.clusters.{backend}:Cluster")(count, address)
        return found
    if backend in plugin_names("backends"):
        load_plugin("backends", backend, where="--backend")()
    if backend not in joblib.names():
        every = ("loky", "dask", "ray", *joblib.names(), *plugin_names("backends"))
        mend = did_you_mean(backend, every, f"known: {', '.join(every)}")
        raise InputError(f"unknown backend '{backend[:40]}'", where="--backend", mend=mend)
    return joblib.Cluster(backend, count)
