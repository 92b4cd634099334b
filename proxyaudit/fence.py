"""What code from outside may not do: use a network, or take for ever. The code is a recipe's factory, or comes with a model.

The kernel refuses this process, all of its threads and whatever it starts every new socket (Linux, seccomp). That asks for no right, works
in containers, leaves users, files and locks as they are, and cannot be undone: only a process of our own may be closed. Sockets of the
machine (of a bus, of Docker) are refused too, since what listens there has a network; pairs of sockets, pipes and files stay.
"""

import contextlib
import ctypes
import errno
import math
import os
import platform
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator

from proxyaudit.errors import InputError
from proxyaudit.limits import CODE_SECONDS, at_most

SECONDS = "PROXYAUDIT_CODE_SECONDS"  # how long building a model may take where its code comes from outside
_LONGEST = 1e6
_GRACE = 5.0  # seconds that code which was told to end has to do so
# By machine: its number in the kernel's audit; then numbers of the calls seccomp, socket, ptrace and process_vm_writev.
_MACHINES = {"x86_64": (0xC000003E, 317, 41, 101, 311), "aarch64": (0xC00000B7, 277, 198, 117, 271)}
_IO_URING_SETUP, _PIDFD_GETFD = 425, 438  # the same everywhere; the first makes sockets without a call, the second takes those of others
_NO_NEW_PRIVS, _SET_FILTER, _ALL_THREADS = 38, 1, 1
_ALLOW, _REFUSE, _FOREIGN = 0x7FFF0000, 0x00050000, 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06

own_process: Callable[[str], None] | None = None
"""What ends this process with a line where it is ours alone; of a caller's process nothing is ended or closed."""
_closed = False


def close_network() -> str:
    """Close this process and all that it starts off from every network, for good; why that cannot be done here, or nothing."""
    global _closed
    numbers = _MACHINES.get(platform.machine())
    if not _closed:
        if sys.platform != "linux" or numbers is None or sys.maxsize < 2**32:
            return f"it can be closed on Linux alone (x86_64, aarch64), and this is {platform.system()} on {platform.machine()}"
        if why := _install(_program(*numbers), numbers[1]):
            return why
        _closed = True
    return ""


def _program(machine: int, _: int, *calls: int) -> bytes:
    """The kernel's filter: refuse calls for another machine, and those that lead to a network."""
    wanted, trace, write = calls
    refused = {wanted: errno.ENETDOWN, _IO_URING_SETUP: errno.ENOSYS} | dict.fromkeys((trace, write, _PIDFD_GETFD), errno.EPERM)
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _REFUSE | errno.EPERM), (_LOAD, 0, 0, 0)]
    lines += [(_AT_LEAST, 0, 1, _FOREIGN), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]
    for number, answer in refused.items():
        lines += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE | answer)]
    return b"".join(struct.pack("=HBBI", *line) for line in (*lines, (_RETURN, 0, 0, _ALLOW)))


def _install(program: bytes, seccomp: int) -> str:
    """Give the kernel a filter for all threads; why it does not take it, or nothing."""
    libc, held = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many lines, then where they are.
    asked = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(held)))
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return f"the system refuses it ({os.strerror(ctypes.get_errno()).lower()})"
    done = libc.syscall(ctypes.c_long(seccomp), ctypes.c_long(_SET_FILTER), ctypes.c_long(_ALL_THREADS), ctypes.byref(asked))
    if done != 0:
        return f"the system refuses it ({os.strerror(ctypes.get_errno()).lower() if done < 0 else 'threads differ'})"
    with contextlib.suppress(OSError):
        socket.socket().close()
        return "the system takes the filter and does not keep to it"
    return ""


def network_words(error: BaseException) -> str:
    """How to mend an error that comes of the closed network; nothing of any other error."""
    seen: BaseException | None = error
    while _closed and seen is not None:
        if isinstance(seen, socket.gaierror) or (isinstance(seen, OSError) and seen.errno == errno.ENETDOWN):
            return "code from outside has no network here: put what it fetches beside the recipe, or add --network open"
        seen = seen.__cause__ or seen.__context__
    return ""


class _LateError(BaseException):
    """Ends code that takes too long; no ``except Exception`` of it is meant to see this."""


class _Watch:
    """Watches that one thing ends in time."""

    at_work = False  # of what lies inside one another the outermost is watched

    def __init__(self, seconds: float, line: str) -> None:
        self.seconds, self.line = seconds, line
        self.done, self.lock = threading.Event(), threading.Lock()
        self.late = self.leaving = False
        # Only the main thread can be told.
        self.alarm = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()

    def tell(self, *_: object) -> None:
        if not self.leaving:
            raise _LateError

    def watch(self) -> None:
        self.done.wait(self.seconds)
        with self.lock:
            if self.done.is_set():
                return
            self.late = True
            if self.alarm:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
        if not self.done.wait(_GRACE) and own_process is not None:
            own_process(self.line)

    def end(self) -> None:
        self.leaving = True
        with self.lock:
            self.done.set()


@contextlib.contextmanager
def limited_time(where: str) -> Iterator[None]:
    """See that code from outside ends in time. Raises ``InputError``: it does not, or only after it was told to.

    Code that goes on when it is told to end is ended with the process, if that is our own. What runs in another thread than the main one of
    a caller's process is not watched.
    """
    seconds = _seconds()
    watch = _Watch(seconds, str(late := _late(where, seconds)))
    if not where or _Watch.at_work or not (watch.alarm or own_process):
        yield
        return
    _Watch.at_work = True
    before = signal.signal(signal.SIGALRM, watch.tell) if watch.alarm else None
    threading.Thread(target=watch.watch, daemon=True).start()
    try:
        try:
            yield
        finally:
            watch.end()
    except _LateError:
        raise late from None
    finally:
        watch.end()  # it may have been told while it ended by itself
        if watch.alarm:
            signal.signal(signal.SIGALRM, before)
        _Watch.at_work = False
    if watch.late:
        raise late


def _late(where: str, seconds: float) -> InputError:
    mend = f"mend that, or set {SECONDS}={10 * seconds:g} to wait longer"
    return InputError(f"the model's own code took more than {seconds:g} seconds to build it and to run it once", where=where, mend=mend)


def _seconds() -> float:
    try:
        given = float(os.environ.get(SECONDS) or CODE_SECONDS)
    except ValueError:
        given = CODE_SECONDS
    return min(max(at_most(given if 0 < given < math.inf else CODE_SECONDS), 1), _LONGEST)
