"""Worker processes: one that dies is replaced, its call is tried again, and all end with the process that they serve."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import proxyaudit.workers
from proxyaudit.clusters.calls import TRIES, Lost
from proxyaudit.errors import InputError, MachineError, TaskError
from proxyaudit.files import this_process
from proxyaudit.workers import Workers


def called(workers: Workers, name: str, *calls: tuple[object, ...]) -> list[object]:
    """Results in the order of the calls."""
    found = dict(workers.run(f"worker_calls:{name}", calls))
    return [found[place] for place in range(len(calls))]


@pytest.mark.parametrize("count", [1, 2])
def test_results_do_not_depend_on_the_number_of_processes(count: int) -> None:
    with Workers(count, shared=(5,)) as workers:
        assert called(workers, "double", *((number,) for number in range(7))) == [2 * number + 5 for number in range(7)]
        assert called(workers, "double") == []


def test_processes_are_kept_and_have_a_temporary_folder_of_their_own_that_goes_with_them() -> None:
    with Workers(2) as workers:
        first, second = (called(workers, "who", *((number,) for number in range(8))) for _ in range(2))
        processes, folders, scripts = (set(values) for values in zip(*first, *second, strict=True))
        assert len(processes) == 2
        assert os.getpid() not in processes
        assert scripts == {None}  # the script that runs the audit is not run again
        (folder,) = folders
        assert Path(folder).is_dir()
        assert Path(folder).name.startswith(f"proxyaudit-{this_process()}-")
    assert not Path(folder).exists()
    assert not any(alive(process) for process in processes)


@pytest.mark.parametrize("tries", [1, TRIES - 1])
def test_a_killed_worker_is_replaced_and_its_call_tried_again(tries: int, tmp_path: Path) -> None:
    calls = [(str(tmp_path / "dies"), tries), (str(tmp_path / "lives"), 0)]
    with Workers(2) as workers:
        assert called(workers, "die_first", *calls) == [f"try {tries + 1}", "try 1"]


def test_what_no_worker_outlives_is_told_in_words_and_the_others_go_on(tmp_path: Path) -> None:
    calls = [(str(tmp_path / "dies"), TRIES), *((str(tmp_path / f"lives {number}"), 0) for number in range(3))]
    with Workers(2) as workers:
        lost, *others = called(workers, "die_first", *calls)
        assert others == ["try 1"] * 3
        assert lost == Lost("its worker process died 3 times; the last time it was killed by signal 9")
        assert called(workers, "leave", (7,)) == [Lost("its worker process died 3 times; the last time it left with exit code 7")]


def test_a_worker_that_died_idle_is_replaced() -> None:
    with Workers(2) as workers:
        processes = {found[0] for found in called(workers, "who", (1,), (2,))}  # type: ignore[index]
        for process in processes:
            os.kill(process, signal.SIGKILL)
        assert len(called(workers, "who", (1,), (2,), (3,))) == 3


@pytest.mark.parametrize(
    ("what", "kind", "line"),
    [
        ("input", InputError, "the table is empty [here]; fill it"),
        ("disk", MachineError, "no space is left on the disk; free some, and run the same command again: what is finished is kept"),
        ("other", TaskError, "ValueError: the value '...' of ... rows"),
    ],
)
def test_what_a_call_raises_is_raised_without_values(what: str, kind: type[Exception], line: str) -> None:
    with Workers(2) as workers:
        with pytest.raises(kind) as error:
            called(workers, "fail", (what,), (what,))
        assert str(error.value) == line
        workers.shared = ()
        assert called(workers, "who", (1,))  # goes on after it


def test_who_stops_listening_is_not_told_later(tmp_path: Path) -> None:
    with Workers(2, shared=()) as workers:
        told = workers.run("worker_calls:who", [(number,) for number in range(6)])
        next(told)
        told.close()  # type: ignore[attr-defined]
        assert called(workers, "die_first", (str(tmp_path / "file"), 0)) == ["try 1"]


def test_a_machine_without_processes_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(proxyaudit.workers, "_start", refuse)
    with Workers(2) as workers, pytest.raises(MachineError, match=r"no more processes can be started; use fewer --jobs"):
        called(workers, "who", (1,))


@pytest.mark.parametrize(("count", "backend", "words"), [(0, "loky", "0 workers"), (2, "threads", "unknown backend 'threads'")])
def test_workers_that_cannot_be(count: int, backend: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Workers(count, backend)


SCRIPT = """
import sys
from proxyaudit.workers import Workers
with Workers(2) as workers:
    for _ in workers.run("worker_calls:sleep", [(60.0, sys.argv[1]), (60.0, sys.argv[2])]):
        pass
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(number: int, tmp_path: Path) -> None:
    begun = [tmp_path / "one", tmp_path / "other"]
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(tmp_path / "temporary")}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *map(str, begun)], env=environment, stderr=subprocess.PIPE, text=True)
    until(lambda: all(path.exists() and path.read_text() for path in begun))
    workers = [int(path.read_text()) for path in begun]
    assert all(alive(worker) for worker in workers)
    process.send_signal(number)
    process.communicate(timeout=30)
    until(lambda: not any(alive(worker) for worker in workers))
    until(lambda: not list((tmp_path / "temporary").iterdir()))


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(true: object, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.02)


DEAF = """
import sys
from proxyaudit.workers import Workers
if __name__ == "__main__":
    with Workers(3) as workers:
        sys.exit(any(found for _, found in workers.run("worker_calls:hears_interrupts", [()] * 3)))
"""


def test_no_worker_hears_what_a_terminal_sends_to_the_whole_group(tmp_path: Path) -> None:
    """The first one too, on whose way the keeper of shared resources is started."""
    (tmp_path / "deaf.py").write_text(DEAF)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, str(tmp_path / "deaf.py")], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("left", [0, 1, 3])
def test_folders_of_who_was_killed_go_even_where_nobody_has_to_work(left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    machine = this_process().rpartition("-")[0]
    for number in range(left):
        (tmp_path / f"proxyaudit-{machine}-{dead.pid}-{number}").mkdir()
    own = tmp_path / f"proxyaudit-{this_process()}-own"
    own.mkdir()
    Workers(2).close()
    assert list(tmp_path.iterdir()) == [own]
