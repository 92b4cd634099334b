"""Errors that a user can act on. Each carries the exit code that the command line returns."""

import difflib
import errno
import os
import re
from collections.abc import Iterable, Sequence
from functools import partial

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # of a run, that is of a folder


class ProxyauditError(Exception):
    """Base of every error raised on purpose; ``exit_code`` is what the command line returns."""

    exit_code = 5


class InputError(ProxyauditError):
    """Bad usage or bad input: one line that says what is wrong, in which file, key or command, and what the user can do about it."""

    exit_code = 2
    each: tuple["InputError", ...] = ()  # the single ones, where it tells of several faults

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        """Keep the three parts and build the single line."""
        self.what, self.where, self.mend = what, where, mend
        place = ", ".join(dict.fromkeys(where.split(", ")))  # who passed it on may have named it again
        if os.sep in place and place in f"{what} {mend}":
            place = ""  # a path is told once
        line = what + (f" [{place}]" if place else "") + (f"; {mend}" if mend else "")
        super().__init__(" ".join(line.split()))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip back from a worker process."""
        return (partial(type(self), where=self.where, mend=self.mend), (self.what,))


_MOST_TOLD = 20


def together(faults: Sequence[InputError], *, where: str, mend: str = "") -> InputError:
    """One error about all faults (at least one) in ``where``; a remedy is told once, and that of ``mend``, the usual one, at the end."""
    if len(faults) == 1:
        return faults[0]
    lines, told = [], {mend}
    for number, one in enumerate(faults[:_MOST_TOLD], start=1):
        place = one.where.removeprefix(f"{where}: ")
        line = f"({number}) {one.what}" + (f" [{place}]" if place else "") + ("" if one.mend in told else f": {one.mend}")
        lines.append(line if line.endswith("?") else f"{line}.")
        told.add(one.mend)
    more = [f"And {len(faults) - _MOST_TOLD} more."] if len(faults) > _MOST_TOLD else []
    usual = bool(mend) and any(one.mend == mend for one in faults)
    what = f"{len(faults)} faults: {' '.join([*lines, *more])}"
    found = InputError(what, where=where, mend=mend if usual else "mend each of them")
    found.each = tuple(faults)
    return found


class MachineError(InputError):
    """The machine cannot go on: a full disk, a folder without permission, too many open files."""


class IntegrityError(ProxyauditError):
    """A pack, cache or manifest does not match its recorded hashes."""

    exit_code = 4


class StaleError(ProxyauditError):
    """There is a complete run, and beside it a newer one that did not end: which of them is meant cannot be told."""

    exit_code = 3


class TaskError(ProxyauditError):
    """A training, capture or measuring task failed while the rest of the run went on."""


_AGAIN = "run the same command again: what is finished is kept"
_MACHINE = {
    errno.ENOSPC: ("no space is left on the disk", f"free some, and {_AGAIN}"),
    errno.EDQUOT: ("the disk quota is used up", f"free some space, and {_AGAIN}"),
    errno.EFBIG: ("a file would be larger than is allowed here", f"raise the limit (ulimit -f), and {_AGAIN}"),
    errno.EROFS: ("the disk may only be read", "name another folder"),
    errno.EACCES: ("permission denied", "change the permissions, or name another folder"),
    errno.EPERM: ("permission denied", "change the permissions, or name another folder"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n), or use fewer --jobs"),
    errno.ENFILE: ("too many files are open on this machine", "close other programs, or use fewer --jobs"),
    errno.ENOMEM: ("there is not enough memory", f"use fewer --jobs or rows, or a smaller model, and {_AGAIN}"),
    errno.EAGAIN: ("no more processes can be started", f"use fewer --jobs, and {_AGAIN}"),
}
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})
_NO_ROOM = re.compile(r"can't allocate memory|not enough memory|out of memory", re.IGNORECASE)  # as torch puts it
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # as libraries written in Rust put it


def machine_error(error: BaseException, *, full: bool = False) -> MachineError | None:
    """What the machine lacks, of any error that says so, in one line; else ``None``. If ``full``, only of disks and open files."""
    if isinstance(error, MachineError):
        return error
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_ROOM.search(str(error))):
        code: int | None = errno.ENOMEM
    else:
        written = _OS_ERROR.search(str(error))
        code = error.errno if isinstance(error, OSError) else int(written[1]) if written else None
    if code is None or (full and code not in _FULL):
        return None
    what, mend = _MACHINE.get(code, (os.strerror(code).lower(), f"mend that, and {_AGAIN}"))
    if code == errno.EFBIG and isinstance(error, OSError) and error.strerror != os.strerror(code):
        what, mend = str(error.strerror), "use a smaller file"  # our own limits, which say how they are raised
    where = getattr(error, "filename", None)
    return MachineError(what, where="" if where is None else str(where)[-200:], mend=mend)


def reason_of(error: BaseException) -> str:
    """Why something could not be read, in one line; of the machine's errors without the path, which the message tells already."""
    words = error.strerror if isinstance(error, OSError) else None
    return " ".join((words or str(error)).split())


def located(problem: str, path: object) -> str:
    """A problem and the path that it is about, told once.

    >>> located("a.json cannot be read", "runs/1f3a"), located("a.json cannot be read [runs/1f3a]", "runs/1f3a")
    ('a.json cannot be read [runs/1f3a]', 'a.json cannot be read [runs/1f3a]')
    """
    return problem if str(path) in problem else f"{problem} [{path}]"


def check_name(name: str, where: str = "--name") -> None:
    """Refuse a name that cannot be a folder's."""
    if not NAME.fullmatch(name):
        raise InputError(f"'{name[:40]}' cannot name a folder", where=where, mend="use letters, digits, '.', '_' and '-'")


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "", *, cutoff: float = 0.5) -> str:
    """How to mend an unknown name: the nearest known one, whatever its case, or ``otherwise``."""
    by_case = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), list(by_case), n=1, cutoff=cutoff)
    return f"did you mean '{by_case[near[0]]}'?" if near else otherwise


_QUOTED = re.compile(r"""(['"`]).*?\1|\[[^\]]*\]""", re.DOTALL)
_NUMBER = re.compile(r"[-+]?\d+\.\d+(e[-+]?\d+)?|\d{4,}")
# Folders of an absolute path: they tell of a machine and the people on it.
_FOLDERS = re.compile(r"(?<![\w.:/\\-])(?:/|[A-Za-z]:[\\/]|\\\\)(?:[^\s/\\'\"\]]+[/\\])+")
# Libraries that read and compare values of rows, and say them in their errors.
_READERS = ("pandas", "pyarrow", "sdv", "rdt", "copulas", "ctgan", "sklearn", "scipy", "numpy", "csv")


def safe_line(error: BaseException, *, first: bool = False) -> str:
    """One line about any error that holds no value of a row: what readers may see, on the terminal and in the evidence.

    Our own errors name columns and files only, a file by its last part. Of others the type is kept (and the ``first`` line alone, where
    asked); the text is left out where a library that reads rows wrote it, and elsewhere loses what is quoted, lists and long numbers.
    """
    if isinstance(error, ProxyauditError):
        return f"{type(error).__name__}: {' '.join(_FOLDERS.sub('', str(error)).split())}"
    name, trace = type(error).__name__, error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""
    if isinstance(error, KeyError) or module.split(".")[0] in _READERS:
        return f"{name} in {module or 'an unknown place'} (its text may hold values of rows, so it is left out)"
    text = _FOLDERS.sub("", str(error))
    text = _NUMBER.sub("...", _QUOTED.sub("'...'", "".join(text.splitlines()[:1]) if first else text))
    return " ".join(f"{name}: {text}".split())
