"""A real run whose worker is killed, that a signal ends, and that is taken up again: the study of kills in small."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from proxyaudit.cache import Cache
from proxyaudit.cli.main import main
from proxyaudit.evidence.tiers import tier_of
from tests.studies import kills

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def place() -> Iterator[kills.Scene]:
    with kills.scene() as made:
        yield made


CANARY = 39.817293  # hours of two people


def plant(place: kills.Scene) -> None:
    table = pd.read_csv(place.folder / "real.csv")
    table.loc[[3, 400], "hours"] = CANARY
    table.to_csv(place.folder / "real.csv", index=False)


def told_of_rows(place: kills.Scene) -> list[str]:
    """Files outside of the data and the cache that hold the canary, and files of results that are not public."""
    forms = (b"39.817293", struct.pack("<d", CANARY), struct.pack("<f", CANARY))
    apart = (place.folder / "real.csv", place.cache)
    paths = [path for path in place.folder.rglob("*") if path.is_file() and not any(path.is_relative_to(kept) for kept in apart)]
    found = [path.name for path in paths if any(form in path.read_bytes() for form in forms)]
    results = [path.name.rpartition("-")[2] for path in place.out.rglob("*") if path.is_file()]  # one half written has a longer name
    return found + [name for name in results if tier_of(name) != "public"]


def entries(place: kills.Scene, kind: str = "*") -> list[Path]:
    return list(place.cache.glob(f"{kind}/[!.]*/done.json"))


def test_a_killed_worker_and_a_signal_leave_nothing_and_the_next_call_goes_on(place: kills.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(place)
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
    for left in ("cache/*/.work-*", "out/tiny/*/.writing-*", "temporary/proxyaudit-*"):
        assert not list(place.folder.glob(left)), left
    assert told_of_rows(place) == []
    before = {path: path.stat().st_mtime_ns for path in entries(place)}
    monkeypatch.chdir(place.folder)
    assert main(["run", "recipe.yaml", "--out", "out", "--jobs", "1", "--cache", "cache"]) == 0
    assert main(["run", "recipe.yaml", "--out", "undisturbed", "--jobs", "1", "--cache", "other"]) == 0
    (resumed,), (undisturbed,) = (list(place.folder.glob(f"{out}/tiny/*/evidence.json")) for out in ("out", "undisturbed"))
    assert resumed.read_bytes() == undisturbed.read_bytes()
    kept = {path: path.stat().st_mtime_ns for path in before if "part" not in path.parts}
    assert kept.items() <= before.items()
    assert main(["verify", str(resumed.parent)]) == 0


def test_what_is_killed_without_warning_leaves_no_row_among_the_results(place: kills.Scene) -> None:
    for path in (place.out, place.cache):
        shutil.rmtree(path)
    process = place.start()
    deadline = time.monotonic() + 120
    while not entries(place, "train") and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    _, said = place.ended(process, "SIGKILL")
    assert entries(place)
    assert "39.817293" not in said
    assert told_of_rows(place) == []


def test_a_second_run_beside_the_first_is_told_in_one_line(place: kills.Scene, capsys: pytest.CaptureFixture[str]) -> None:
    (run,) = place.folder.glob("undisturbed/tiny/*/evidence.json")
    held = Cache(place.cache, run.parent.name).hold(place.folder / "third" / "tiny" / run.parent.name)
    assert (
        main(["run", str(place.folder / "recipe.yaml"), "--out", str(place.folder / "third"), "--jobs", "1", "--cache", str(place.cache)])
        == 2
    )
    lines = [line for line in capsys.readouterr().err.splitlines() if "another process" in line]
    assert len(lines) == 1
    assert "run the same command again" in lines[0]
    held.close()
