"""One case: what is changed, the command in this process, and whether its answer is one clear line, soon."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from proxyaudit.cli.main import main
from tests.fuzz.cases import CASES, Seeds

SECONDS = 10.0  # of the processor
CODES = (0, 1, 2, 3, 4)


class TooLongError(BaseException):
    """A command that does not come back."""


@dataclass(frozen=True)
class Found:
    """What a case came to; ``fault`` is empty where it was answered as it should be."""

    kind: str
    command: tuple[str, ...]
    code: int | None
    told: str
    fault: str


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise :class:`TooLongError` after so many seconds of this process."""

    def stop(*_: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def one_case(seeds: Seeds, seed: int, number: int, place: Path, kind: str | None = None) -> Found:
    """Make and run a case, in a folder of its own that is gone afterwards."""
    rng = random.Random(f"{seed}:{number}")
    names, weights = list(CASES), [weight for weight, _ in CASES.values()]
    kind = kind or rng.choices(names, weights)[0]
    folder = place / f"case-{number}"
    folder.mkdir()
    try:
        command = CASES[kind][1](rng, seeds, folder)
        code, told, fault = answer(command, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Found(kind, tuple(command), code, told, fault)


def answer(command: list[str], folder: Path) -> tuple[int | None, str, str]:
    """Exit code of a command, what it told, and what is wrong with that."""
    out, err, code, fault = io.StringIO(), io.StringIO(), None, ""
    set_ = patch.dict(os.environ, {"PROXYAUDIT_DEBUG": "1", "PROXYAUDIT_CACHE": str(folder / "cache")})
    try:
        with set_, contextlib.chdir(folder), warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            warnings.simplefilter("ignore")
            with at_most(SECONDS):
                code = main(command)
    except TooLongError:
        fault = f"more than {SECONDS:g} seconds"
    except BaseException as error:
        fault = f"raised {type(error).__name__}: {error}"
    told = err.getvalue()
    own = [line for line in told.splitlines() if line.startswith("proxyaudit: ")]
    if not fault and code not in CODES:
        fault = f"exit code {code}"
    elif not fault and "Traceback" in told:
        fault = "a traceback"
    elif not fault and code == 2 and (len(own) != 1 or (out.getvalue() and "--json" not in command)):
        fault = f"{len(own)} lines for one mistake"
    return code, told[-6000:], fault
