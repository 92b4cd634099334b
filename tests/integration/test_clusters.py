"""Clusters of dask and ray, started as processes of their own: the bytes of one process, also when workers or the scheduler die."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_project import SMALL, cache_of, command, evidence_bytes, finished, project, run

from proxyaudit.evidence.pack import find_run

RECIPE = SMALL.replace("  - synthetic: {name: vendor, path: release.csv}\n", "effort: decide\n").replace("seeds: 1", "seeds: 2")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert run(project(folder / "project", RECIPE), folder / "out") == 0
    return folder / "out"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return project(tmp_path / "project", RECIPE)


class Dask:
    """A scheduler at a port of its own and workers, each a process."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        self.folder, self.started = folder, list[subprocess.Popen[bytes]]()

    def start(self, workers: int) -> None:
        port = self.address.rpartition(":")[2]
        self._start("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        for _ in range(workers):
            self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder))

    def _start(self, *words: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        nothing = subprocess.DEVNULL
        self.started.append(subprocess.Popen([sys.executable, "-m", "dask", *words], env=environment, stdout=nothing, stderr=nothing))

    def stop(self) -> None:
        for process in self.started:
            process.kill()
            process.wait(timeout=30)
        self.started.clear()


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Dask]:
    pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    found = Dask(tmp_path)
    yield found
    found.stop()


def worker_at_work(cache: Path) -> int | None:
    """The process that is training a model at this moment."""
    with contextlib.suppress(OSError):
        for path in cache.glob("train/.work-*"):
            return int(path.name.split("-")[2])
    return None


@contextlib.contextmanager
def once_a_worker_works(cache: Path, do: Callable[[int], None]) -> Iterator[list[int]]:
    """Do something to the first process that is found at work, beside the block."""
    done: list[int] = []

    def watch() -> None:
        deadline = time.monotonic() + 200
        while not done and time.monotonic() < deadline:
            if (process := worker_at_work(cache)) is not None:
                do(process)
                done.append(process)
            time.sleep(0.002)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield done
    thread.join(timeout=10)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def over(recipe: Path, out: Path, *more: str) -> None:
    done = subprocess.run(command(recipe, out, *more), check=False, capture_output=True, timeout=280, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.long
def test_dask_with_a_scheduler_and_two_workers_of_which_one_is_killed(dask: Dask, recipe: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    dask.start(workers=2)
    with once_a_worker_works(cache_of(out), kill) as killed:
        over(recipe, out, "--backend", "dask", "--scheduler", dask.address)
    assert [process.pid for process in dask.started if process.poll() is not None] == killed
    assert len(killed) == 1
    assert evidence_bytes(out) == evidence_bytes(alone)


def test_dask_whose_scheduler_and_workers_are_started_again(dask: Dask, recipe: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    dask.start(workers=1)

    def again(_: int) -> None:
        dask.stop()
        dask.start(workers=1)

    with once_a_worker_works(cache_of(out), again) as killed:
        over(recipe, out, "--backend", "dask", "--scheduler", dask.address)
    assert len(killed) == 1
    assert evidence_bytes(out) == evidence_bytes(alone)
    assert {folder.name for folder in finished(out)} == {folder.name for folder in finished(alone)}


def test_ray_of_two_workers_of_which_one_is_killed(recipe: Path, alone: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    out = tmp_path / "out"
    with once_a_worker_works(cache_of(out), kill) as killed:
        over(recipe, out, "--backend", "ray", "--jobs", "2")
    assert len(killed) == 1
    assert evidence_bytes(out) == evidence_bytes(alone)
    assert find_run(out).name == find_run(alone).name
