"""Errors that a user can act on. Each carries the exit code that the command line returns."""

from __future__ import annotations


class ProxyauditError(Exception):
    """Base of every error raised on purpose; ``exit_code`` is what the command line returns."""

    exit_code = 5


class InputError(ProxyauditError):
    """Bad usage or bad input: one line that says what is wrong, where, and how to mend it.

    Args:
        what: What is wrong, e.g. ``"column 'sex' is missing"``.
        where: The file, key or command it was found in.
        mend: What the user can do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        """Keep the three parts and build the single line."""
        self.what, self.where, self.mend = what, where, mend
        line = what + (f" [{where}]" if where else "") + (f"; {mend}" if mend else "")
        super().__init__(" ".join(line.split()))

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip back from a worker process."""
        return (_rebuild_input_error, (self.what, self.where, self.mend))


class IntegrityError(ProxyauditError):
    """A pack, cache or manifest does not match its recorded hashes."""

    exit_code = 4


class TaskError(ProxyauditError):
    """A training, capture or measuring task failed while the rest of the run went on."""

    exit_code = 5


def _rebuild_input_error(what: str, where: str, mend: str) -> InputError:
    return InputError(what, where=where, mend=mend)
