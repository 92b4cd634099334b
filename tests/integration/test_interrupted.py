"""A real run whose worker is killed, that a signal ends, and that is taken up again: the study of kills in small."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyaudit.cache import CACHE_FOLDER, Cache
from proxyaudit.cli.main import main
from tests.studies import kills


@pytest.fixture(scope="module")
def place() -> Iterator[kills.Scene]:
    with kills.scene() as made:
        yield made


def entries(place: kills.Scene, kind: str = "*") -> list[Path]:
    return list((place.out / CACHE_FOLDER).glob(f"{kind}/[!.]*/done.json"))


def test_a_killed_worker_and_a_signal_leave_nothing_and_the_next_call_goes_on(place: kills.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    process = place.start()
    deadline = time.monotonic() + 120
    while not (workers := kills.workers_of(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(workers[0], signal.SIGKILL)
    while not entries(place, "train") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    code, said = place.ended(process, "SIGTERM")  # waits until the whole group is gone
    assert (code, said) == (130, "proxyaudit: interrupted; run the same command again to go on from there")
    assert place.faults == []
    assert entries(place)
    assert not list(place.out.glob("tiny/*/manifest.json"))
    for left in ("out/.proxyaudit-cache/*/.work-*", "out/tiny/*/.writing-*", "temporary/proxyaudit-*"):
        assert not list(place.folder.glob(left)), left
    before = {path: path.stat().st_mtime_ns for path in entries(place)}
    monkeypatch.chdir(place.folder)
    assert main(["run", "recipe.yaml", "--out", "out", "--jobs", "1"]) == 0
    assert main(["run", "recipe.yaml", "--out", "undisturbed", "--jobs", "1"]) == 0
    (resumed,), (undisturbed,) = (list(place.folder.glob(f"{out}/tiny/*/evidence.json")) for out in ("out", "undisturbed"))
    assert resumed.read_bytes() == undisturbed.read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in before if "part" not in path.parts}
    assert kept.items() <= before.items()
    assert main(["verify", str(resumed.parent)]) == 0


def test_a_second_run_beside_the_first_is_told_in_one_line(place: kills.Scene, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = place.folder.glob("undisturbed/tiny/*/evidence.json")
    held = Cache(place.folder / "third" / CACHE_FOLDER).hold(run.parent)
    assert main(["run", str(place.folder / "recipe.yaml"), "--out", str(place.folder / "third"), "--jobs", "1"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "another process" in line]
    assert len(lines) == 1
    assert "run the same command again" in lines[0]
    held.close()
