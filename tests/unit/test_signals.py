"""Signals, closed streams and faults of the machine: one line, the exit code of the contract, never an internal error."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from proxyaudit.cli import main as cli
from proxyaudit.cli import signals
from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.publication import publish


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_that_end_a_program_interrupt_it(number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    left: list[str] = []

    def command(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            left.append("in order")

    monkeypatch.setattr(cli, "_command", lambda: command)
    before = signal.getsignal(number)
    assert main(["run"]) == 130
    assert left == ["in order"]
    assert capsys.readouterr().err == "proxyaudit: interrupted; run the same command again to go on from there\n"
    assert signal.getsignal(number) == before


def test_a_second_signal_right_after_the_first_does_not_disturb_the_tidying_up() -> None:
    tidied = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            tidied.append(True)

    with signals.as_interrupts(), pytest.raises(KeyboardInterrupt):
        work()
    assert tidied


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.as_interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EMFILE, errno.EIO, errno.ENAMETOOLONG])
@pytest.mark.parametrize("json", [False, True])
def test_faults_of_the_machine_are_one_line(
    number: int, json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "reports/x")

    monkeypatch.setattr(cli, "_command", lambda: command)
    assert main(["run", *(["--json"] if json else [])]) == 2
    said = capsys.readouterr()
    assert "[reports/x]" in said.err
    assert said.err.count("\n") == 1
    assert "internal error" not in said.err + said.out
    assert bool(said.out) == json


@pytest.fixture
def reports(make_pack: Callable[..., EvidencePack], tmp_path: Path) -> Path:
    publish(make_pack(), tmp_path / "quickstart" / "abc123")
    return tmp_path


def told(folder: Path, *arguments: str, shell: str = "", **environment: str) -> tuple[int, str]:
    """Exit code and standard error of a command, with standard streams as a shell redirects them."""
    command = f'"{sys.executable}" -m proxyaudit.cli.main {" ".join(arguments)} {shell}'
    found = subprocess.run(command, shell=True, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    return found.returncode, found.stderr


ASCII = {"PYTHONIOENCODING": "ascii", "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}


@pytest.mark.parametrize("arguments", [("gate", "."), ("compare", ".", "."), ("ls", ".")])
def test_a_terminal_that_knows_ascii_only(arguments: tuple[str, ...], reports: Path) -> None:
    code, said = told(reports, *arguments, **ASCII)
    assert code in (0, 1, 3, 4)
    assert "error" not in said


@pytest.mark.long
@pytest.mark.parametrize(
    ("shell", "code", "words"),
    [("> /dev/full", 2, "no space is left on the disk"), (">&-", 0, ""), ("<&- >&- 2>&-", 0, "")],
)
def test_standard_streams_that_are_full_or_closed(shell: str, code: int, words: str, reports: Path) -> None:
    for json in ("", "--json"):
        found, said = told(reports, "ls", ".", json, shell=shell)
        assert (found, said.count("\n")) == (code, bool(words))
        assert words in said
