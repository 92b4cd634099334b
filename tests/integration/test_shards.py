"""Shards: several calls make one run through a cache that they share; the last one, without a shard, collects the very same evidence."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from small_project import CURED, cache_of, command, evidence_bytes, finished, project, run

from proxyaudit.cache import Cache
from proxyaudit.cli.main import main
from proxyaudit.evidence.pack import find_run
from tests.studies.kills import members


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert run(project(folder / "project", CURED), folder / "out") == 0
    return folder / "out"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return project(tmp_path / "project", CURED)


def shard(recipe: Path, out: Path, number: int, count: int, *more: str) -> subprocess.Popen[str]:
    given = command(recipe, out, "--jobs", "1", "--shard", f"{number}/{count}", "--json", *more)
    return subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def ended(process: subprocess.Popen[str]) -> dict[str, object]:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return json.loads(out)  # type: ignore[no-any-return]


def half_done(cache: Path) -> list[Path]:
    return [path for pattern in ("*/.work-*", "part/*", "claims/*") for path in cache.glob(pattern)]


def collected(recipe: Path, out: Path, alone: Path) -> None:
    """The last call makes nothing, writes the run, and its evidence is that of one process."""
    before = finished(out)
    assert len(before) == len(finished(alone))
    assert not out.exists()
    assert run(recipe, out) == 0
    assert finished(out) == before
    assert evidence_bytes(out) == evidence_bytes(alone)
    assert main(["verify", str(find_run(out))]) == 0
    assert not half_done(cache_of(out))


@pytest.mark.long
def test_shards_of_which_one_is_killed_make_the_run_of_one_process(recipe: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pair = [shard(recipe, out, number, 2) for number in (1, 2)]
    owner, deadline = "", time.monotonic() + 120
    while not owner and time.monotonic() < deadline:
        time.sleep(0.005)
        with contextlib.suppress(StopIteration, FileNotFoundError):
            owner = next(cache_of(out).glob("claims/train.*")).read_text()
    dying = next(process for process in pair if owner.endswith(f"-{process.pid}"))
    os.killpg(dying.pid, signal.SIGKILL)
    dying.communicate(timeout=30)
    assert not members(dying.pid)
    (other,) = (process for process in pair if process is not dying)
    found = ended(other)
    assert found["run_id"] == find_run(alone).name
    assert found["failures"] == []
    collected(recipe, out, alone)


@pytest.mark.long
def test_two_shards_on_every_task_leave_the_same_bytes(recipe: Path, alone: Path, tmp_path: Path) -> None:
    """As on a disk that takes no claims."""
    out, cache = tmp_path / "out", Cache(cache_of(tmp_path / "out"))
    with cache.claim("anything"):
        pass
    cache.claims.sweep()
    cache.claims.folder.rmdir()
    cache.claims.folder.symlink_to("/dev/null")
    found = [ended(process) for process in [shard(recipe, out, 1, 2) for _ in range(2)]]
    assert [one["failures"] for one in found] == [[], []]
    collected(recipe, out, alone)


@pytest.mark.long
def test_one_shard_alone_makes_the_whole_run_and_of_a_finished_run_nothing(
    recipe: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(recipe, out, "--shard", "2/7") == 0
    told = capsys.readouterr().out
    assert f"Shard 2/7 of run {find_run(alone).name}: {len(finished(out))} tasks made here, 0 by others" in told
    assert "the same command without --shard" in told
    collected(recipe, out, alone)
    shutil.rmtree(cache_of(out))  # a finished run needs it no more
    assert run(recipe, out, "--shard", "1/7") == 0
    assert not finished(out)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0", "-1/4", "1/4/2", "٣/٤"])
def test_what_is_no_shard_is_told_in_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nowhere.yaml", "--shard", text]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is no shard [--shard]; write I/N with I from 1 to N" in line


@pytest.mark.parametrize("more", [("--fresh",), ("--seal", "plan.seal")])
def test_what_one_shard_cannot_do_for_all_is_refused(more: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "nowhere.yaml", "--shard", "1/2", *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"one shard cannot do that for all of them [{more[0]} with --shard]" in line


def test_a_shard_that_makes_another_run_is_told(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As with another secret, other data or other versions on another machine."""
    out = tmp_path / "out"
    with Cache(cache_of(out)).claim("shard-1of2-small-000000000000"), Cache(cache_of(out)).claim("shard-1of3-small-111111111111"):
        assert run(recipe, out, "--shard", "2/2") == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "they share nothing" in line)
    assert "shard 1/2 makes run 000000000000 and this one" in line
    assert "PROXYAUDIT_SECRET differ" in line


def test_a_task_that_fails_ends_a_shard_with_5(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failing = ("--set", "model.learning_rate=1.0e+38", "--set", "model.patience=null", "--shard", "1/2")
    assert run(recipe, tmp_path / "out", *failing) == 5
    assert "proxyaudit: failed: train real, repetition 0" in capsys.readouterr().err
    assert not half_done(cache_of(tmp_path / "out"))
