"""The cache is one for all folders of runs, does not grow without end, and keeps whatever a run is using."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxyaudit.cache import Cache, cache_folder
from proxyaudit.errors import InputError
from proxyaudit.keeping.room import make_room, most_bytes

MB = 10**6


def fill(cache: Cache, name: str, day: int) -> Path:
    """A finished task of 1 MB, last used on a day."""
    folder = cache.commit("train", name * 64, lambda made: (made / "weights").write_bytes(b"x" * MB) and None)
    os.utime(folder, (day * 86400, day * 86400))
    return folder


def test_the_users_own_folder_unless_another_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXYAUDIT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / "home" / ".cache" / "proxyaudit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "proxyaudit"
    monkeypatch.setenv("PROXYAUDIT_CACHE", str(tmp_path / "named"))
    assert cache_folder() == tmp_path / "named"
    assert cache_folder(tmp_path / "given") == tmp_path / "given"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="holds other things than a cache"):
        cache_folder(tmp_path)
    Cache(tmp_path / "new").commit("train", "d" * 64, lambda _: None)
    assert cache_folder(tmp_path / "new") == tmp_path / "new"


def test_what_was_used_longest_ago_goes_first_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path, "run-of-mine")
    old, used, new = (fill(cache, name, day) for name, day in (("a", 1), ("b", 2), ("c", 3)))
    assert make_room(cache) is None
    monkeypatch.setenv("PROXYAUDIT_CACHE_SIZE", "2.5 MB")
    assert cache.has("train", "a" * 64)  # it is used again now
    removed = make_room(cache)
    assert (old.exists(), used.exists(), new.exists()) == (True, False, True)
    assert removed is not None
    said = removed.words(tmp_path)
    assert "held more than 2.5 MB: 1 kept results (1.0 MB), last used by 1970-01-03, were removed" in said
    assert "PROXYAUDIT_CACHE_SIZE sets the limit" in said
    assert make_room(cache) is None


def test_nothing_that_a_run_is_using_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine, other = Cache(tmp_path, "mine"), Cache(tmp_path, "other")
    kept, gone = fill(mine, "a", 1), fill(other, "b", 2)
    monkeypatch.setenv("PROXYAUDIT_CACHE_SIZE", "0MB")
    script = (
        "import sys, pathlib; from proxyaudit.cache import Cache;"
        "held = Cache(pathlib.Path(sys.argv[1]), 'mine').hold(pathlib.Path('out')); print('held', flush=True); sys.stdin.readline()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert other.running() == {"mine"}
        removed = make_room(other)
        assert removed is not None
        assert (kept.exists(), gone.exists(), removed.tasks) == (True, False, 1)
        assert "1.0 MB above that are in use by a run" in removed.words(tmp_path)
        process.communicate("\n")
    assert other.running() == set()
    assert make_room(other) is not None
    assert not kept.exists()


@pytest.mark.parametrize("text", ["much", "10", "-1GB", "1 PB", "nanGB"])
def test_a_size_that_is_none_is_told(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXYAUDIT_CACHE_SIZE", text)
    with pytest.raises(InputError, match="is no size"):
        most_bytes()


def test_a_run_drops_only_its_own_of_a_kind(tmp_path: Path) -> None:
    mine, other = Cache(tmp_path, "mine"), Cache(tmp_path, "other")
    both = [fill(mine, "a", 1), fill(other, "b", 1)]
    mine.forget("train")
    assert [folder.exists() for folder in both] == [False, True]
