"""Claims: one owner at a time, given back or lapsed, on any disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import proxyaudit.claims
from proxyaudit.cache import Cache
from proxyaudit.claims import DEAD, Claims
from proxyaudit.files import this_process


def test_one_owner_at_a_time_who_gives_it_back(tmp_path: Path) -> None:
    claims = Claims(tmp_path / "claims")
    with claims.claim("train.1") as mine:
        assert mine
        assert claims.live("train.*") == ["train.1"]
        with claims.claim("train.1") as again, claims.claim("train.2") as other:
            assert (again, other) == (False, True)
        assert claims.live("train.*") == ["train.1"], "whoever was refused gives nothing back"
    assert claims.live("*") == []
    with pytest.raises(ValueError, match="in the block"), claims.claim("train.1"):
        raise ValueError("in the block")
    with claims.claim("train.1") as mine:
        assert mine


def dead_process() -> str:
    """A process of this machine that ended."""
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    return f"{this_process().rpartition('-')[0]}-{ended.stdout.strip()}"


@pytest.mark.parametrize(
    ("owner", "silent", "free"),
    [("process", 0.0, True), ("elsewhere-1", DEAD / 2, False), ("elsewhere-1", DEAD + 5, True), ("", 0.0, False), ("", DEAD + 5, True)],
)
def test_the_claim_of_the_dead_lapses(owner: str, silent: float, free: bool, tmp_path: Path) -> None:
    """On this machine at once, on another after a while without a sign of life."""
    path = tmp_path / "train.1"
    path.write_text(dead_process() if owner == "process" else owner)
    moment = time.time() - silent
    os.utime(path, (moment, moment))
    with Claims(tmp_path).claim("train.1") as mine:
        assert mine == free
    Claims(tmp_path).sweep()
    assert [one.name for one in tmp_path.iterdir()] == ([] if free else ["train.1"])


def test_who_works_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxyaudit.claims, "BEAT", 0.01)
    with Claims(tmp_path).claim("train.1"):
        os.utime(tmp_path / "train.1", (0, 0))
        deadline = time.monotonic() + 10
        while (tmp_path / "train.1").stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - (tmp_path / "train.1").stat().st_mtime < DEAD


def test_a_claim_that_another_took_over_is_left_to_it(tmp_path: Path) -> None:
    with Claims(tmp_path).claim("train.1"):
        (tmp_path / "train.1").write_text("elsewhere-1")
    assert (tmp_path / "train.1").read_text() == "elsewhere-1"


def test_a_disk_that_takes_no_claims_lets_everybody_work(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file")
    with Claims(tmp_path / "claims").claim("train.1") as mine, Claims(tmp_path / "claims").claim("train.1") as also:
        assert (mine, also) == (True, True)
    assert Claims(tmp_path / "claims").live("*") == []


def test_shards_elsewhere_count_as_running(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with cache.claim("shard-1of2-a-name.with-all-0123456789ab"):
        assert cache.running() == {"0123456789ab"}
    assert cache.running() == set()


def test_a_cache_that_another_process_is_just_making_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxyaudit.cache import cache_folder

    root = tmp_path / "cache"
    root.mkdir()
    (root / ".gitignore").write_text("*\n")
    monkeypatch.setattr("proxyaudit.cache.time.sleep", lambda _: (root / "CACHEDIR.TAG").touch())
    assert cache_folder(root) == root
