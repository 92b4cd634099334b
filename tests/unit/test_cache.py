"""The cache of finished tasks: private, whole or not there, mended where it is spoilt, and one line where the machine gives no room."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError

import proxyaudit.unfinished
from proxyaudit.cache import PART, Cache
from proxyaudit.errors import InputError, MachineError, machine_error
from proxyaudit.estimates.record import Measurement
from proxyaudit.files import this_process, write_file
from proxyaudit.unfinished import Unfinished

DIGEST = "d" * 64


def write(folder: Path) -> None:
    (folder / "numbers.json").write_text("{}", encoding="utf-8")


def test_nobody_else_may_look_into_it(tmp_path: Path) -> None:
    root = tmp_path / "out" / "cache"
    root.mkdir(parents=True, mode=0o755)  # of an earlier version
    entry = Cache(root).commit("train", DIGEST, write)
    for path in (root, entry.parent, entry):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    assert {stat.S_IMODE(path.stat().st_mode) for path in entry.iterdir()} == {0o600}


def as_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("not a folder", encoding="utf-8")


def as_link(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to("/nowhere")


def cut(path: Path) -> None:
    (path / "numbers.json").write_text("", encoding="utf-8")


def folder_inside(path: Path) -> None:
    (path / "numbers.json").unlink()
    (path / "numbers.json").mkdir()


def shut(path: Path) -> None:
    (path / "done.json").chmod(0)
    (path / "numbers.json").write_text("spoilt", encoding="utf-8")
    path.chmod(0)


@pytest.mark.parametrize("spoil", [as_file, as_link, cut, folder_inside, shut, lambda path: as_file(path.parent)])
def test_a_spoilt_entry_is_made_anew(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    entry = cache.commit("train", DIGEST, write)
    spoil(entry)
    assert not cache.has("train", DIGEST)
    cache.commit("train", DIGEST, write)
    assert cache.has("train", DIGEST)
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_what_is_whole_stays_as_it_is(tmp_path: Path) -> None:
    """Two runs may make the same task at once; whoever reads what the first one left must not lose it."""
    cache = Cache(tmp_path)
    entry = cache.commit("train", DIGEST, write)
    before = (entry / "numbers.json").stat().st_ino
    cache.commit("train", DIGEST, write)
    assert (entry / "numbers.json").stat().st_ino == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space is left on the disk"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "the disk quota is used up"),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), "larger than is allowed"),
        (OSError(errno.EROFS, "Read-only file system"), "may only be read"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files are open"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "no space is left on the disk"),
    ],
)
def test_a_machine_that_gives_no_room_is_one_line_and_leaves_nothing(error: Exception, words: str, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise error

    with pytest.raises(MachineError, match=words) as found:
        Cache(tmp_path).commit("train", DIGEST, fail)
    assert found.value.exit_code == 2
    assert not list((tmp_path / "train").iterdir())


def test_what_a_task_does_wrong_stays_its_own_fault(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file", "weights")

    with pytest.raises(FileNotFoundError):
        Cache(tmp_path).commit("train", DIGEST, fail)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "permission denied [a/b]; change the permissions, or name another"),
        (MemoryError(), "there is not enough memory; use fewer --jobs or rows"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "there is not enough memory; use fewer",
        ),
        (OSError(errno.EIO, "Input/output error"), "input/output error; mend that, and run the same command again"),
        (OSError(errno.EFBIG, "it holds 9 MB", "x"), "it holds 9 MB [x]; use a smaller file"),
    ],
)
def test_faults_of_the_machine_are_said_in_one_line(error: Exception, line: str) -> None:
    assert str(machine_error(error)).startswith(line)


def test_other_faults_are_none_of_the_machine() -> None:
    assert machine_error(ValueError("no")) is None
    assert machine_error(PermissionError(errno.EACCES, "Permission denied"), full=True) is None


def test_a_file_in_place_of_the_cache_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("", encoding="utf-8")
    with pytest.raises(MachineError, match="a file stands where the cache belongs"):
        Cache(tmp_path / "cache").commit("train", DIGEST, write)


def test_one_process_at_a_time_makes_a_run(tmp_path: Path) -> None:
    cache, run = Cache(tmp_path), tmp_path / "audit" / "run"
    with cache.hold(run):
        script = "import sys, pathlib; from proxyaudit.cache import Cache; Cache(pathlib.Path(sys.argv[1])).hold(pathlib.Path(sys.argv[2]))"
        other = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(run)], capture_output=True, text=True, check=False)
        assert "another process is making this very run" in other.stderr
        with pytest.raises(InputError, match="another process is making this very run"):
            cache.hold(run)
        cache.hold(tmp_path / "audit" / "another").close()
    cache.hold(run).close()


def test_leftovers_of_dead_processes_are_swept_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.commit("train", DIGEST, write)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = this_process()
    machine = mine.partition("-")[0]
    names = (mine, f"{machine}-{dead.pid}", f"another{machine}-{dead.pid}")
    kept, left, elsewhere = (tmp_path / "train" / f".work-{name}-x" for name in names)
    for folder in (kept, left, elsewhere):
        folder.mkdir()
    cache.sweep()
    assert [folder.exists() for folder in (kept, left, elsewhere)] == [True, False, True]
    files = [tmp_path / f".writing-{name}-a.json" for name in names]
    for file in files:
        file.touch()
    write_file(tmp_path / "a.json", b"{}")
    assert [file.exists() for file in files] == [False, False, True]  # one of this very process is of an earlier one of its number


def put(out: Measurement, site: str) -> None:
    """One record, as a channel would."""
    out.numbers.setdefault("found", {})[site] = {"value": len(site)}
    out.arrays[site] = np.arange(3.0)
    assert out.keep is not None
    out.keep(out)


def test_what_an_interrupted_task_measured_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxyaudit.unfinished, "_EVERY", 0.0)
    cache = Cache(tmp_path)
    first = Unfinished(cache, DIGEST)
    for site in ("a", "bb", "ccc"):
        put(first.out, site)
        first.done.append(site)
    again = Unfinished(cache, DIGEST)
    assert again.out.numbers == first.out.numbers
    assert sorted(again.out.arrays) == ["a", "bb", "ccc"]
    assert again.done == ["a", "bb"]  # of the third it was not known yet that it had ended
    newest = max((tmp_path / PART).iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    (newest / "numbers.json").write_text("{", encoding="utf-8")  # killed or spoilt half-way: the one before still holds
    assert sorted(Unfinished(cache, DIGEST).out.arrays) == ["a", "bb"]
    again.forget()
    assert not list((tmp_path / PART).iterdir())
    assert Unfinished(cache, DIGEST).out.numbers == {}


def test_not_every_record_is_written_at_once(tmp_path: Path) -> None:
    unfinished = Unfinished(Cache(tmp_path), DIGEST)
    put(unfinished.out, "a")
    assert not (tmp_path / PART).exists()


def test_workers_that_begin_at_once_do_not_disturb_one_another(tmp_path: Path) -> None:
    """Each makes the folder of a kind if it is not there; none may take away what another has put into it."""
    script = (
        "import sys, pathlib; from proxyaudit.cache import Cache; sys.stdin.readline();"
        "[Cache(pathlib.Path(sys.argv[1])).commit(f'kind{n}', sys.argv[2] * 64, lambda f: (f / 'x').write_text('x')) for n in range(60)]"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "cache")]
    pipe = subprocess.PIPE
    both = [subprocess.Popen([*command, mark], stdin=pipe, stderr=pipe, text=True) for mark in "ab"]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0)] * 2
    assert all(Cache(tmp_path / "cache").has(f"kind{n}", mark * 64) for n in range(60) for mark in "ab")


def test_two_who_put_the_same_results_at_one_moment_leave_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, sound, asked = Cache(tmp_path), Cache.has, []

    def has(self: Cache, kind: str, digest: str) -> bool:
        asked.append(digest)
        if len(asked) > 1:
            return sound(self, kind, digest)
        work = self.folder(kind, digest).with_name("of-another")  # whose process puts it there just after it was asked for
        shutil.copytree(next(self.root.glob("train/.work-*")), work)
        work.rename(self.folder(kind, digest))
        return False

    monkeypatch.setattr(Cache, "has", has)
    entry = cache.commit("train", DIGEST, write)
    assert sound(cache, "train", DIGEST)
    assert len(asked) == 2
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_what_another_process_removes_meanwhile_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    for place in Unfinished(cache, DIGEST).places:
        cache.commit(PART, place, lambda folder: (folder / "steps.json").write_text('{"times": 1, "done": []}') and None)
    monkeypatch.setattr(Measurement, "read", lambda folder: (_ for _ in ()).throw(FileNotFoundError(errno.ENOENT, "gone")))
    assert Unfinished(cache, DIGEST).times == 0
