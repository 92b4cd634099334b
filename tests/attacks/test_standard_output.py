"""Terminals that lack letters, output that nobody can take: the answer of a command is the same, or one clear line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxyaudit.cli.main import main

pytestmark = pytest.mark.long


def ended(words: list[str], stdout: int = subprocess.PIPE, **more: str) -> subprocess.CompletedProcess[bytes]:
    """A command in a process of its own, with variables of its own."""
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}
    return subprocess.run(
        [sys.executable, "-m", "proxyaudit.cli.main", *words], env=own, stdout=stdout, stderr=subprocess.PIPE, check=False
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1251"])
def test_a_terminal_that_lacks_letters_changes_no_answer(encoding: str, today: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mark of an answer ended 'gate' with 5."""
    code = main(["gate", str(today)])
    shown = capsys.readouterr().out
    assert not shown.isascii()
    found = ended(["gate", str(today)], PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (found.returncode, found.stderr) == (code, b"")
    lines = found.stdout.decode(encoding).splitlines()
    assert lines[-1] == shown.encode(encoding, "replace").decode(encoding).splitlines()[-1]


@pytest.mark.parametrize("command", [["gate"], ["verify", "--json"], ["schema"]], ids=" ".join)
def test_output_that_is_full_is_one_line(command: list[str], today: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    words = command if command == ["schema"] else [command[0], str(today), *command[1:]]
    with Path("/dev/full").open("wb") as full:
        found = ended(words, full.fileno())
    assert found.returncode == 2
    assert found.stderr.count(b"\n") == 1
    assert b"no space is left" in found.stderr


def closed(number: int) -> Callable[[], None]:
    return lambda: os.close(number)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_stream_that_was_closed_changes_no_answer(number: int, today: Path) -> None:
    own = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-m", "proxyaudit.cli.main", "gate", str(today)]
    found = subprocess.run(words, env=own, preexec_fn=closed(number), capture_output=True, check=False)
    assert found.returncode == main(["gate", str(today)])
    assert b"internal" not in found.stderr
    assert {path.name for path in today.iterdir() if path.is_file()} >= {"manifest.json", "evidence.json"}
    assert main(["verify", str(today)]) == 0  # nothing was printed into a file of the run
