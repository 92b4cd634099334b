"""Audits of a tiny table as real processes that are killed at random moments, started three at once, or given a full disk.

Whatever happens, what is left in the end must be the very evidence of an undisturbed run, or one clear line; and nothing may stay behind:
no process, no temporary file, nothing in shared memory, no half-written cache entry.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

RECIPE = """\
name: tiny
data: {path: real.csv, target: pay, protected: [sex], discover: 0}
regimes: [real]
effort: decide
model: {kind: mlp, hidden: [4], epochs: 1, batch_size: 64}
references: {placebos: 20, reweighed: false}
seeds: 1
cures: false
"""
KILLS_IN_A_ROW = 4
WAYS = ("kill", "terminate", "interrupt", "hang up", "worker", "kill all", "terminate all", "interrupt all")
_SIGNALS = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT, "hang": signal.SIGHUP}
_LONGEST = 300.0  # seconds of one command
_NO_ROUND = "another process is making this very run"
_BAD = ("Traceback", "internal error", "Error:", "Exception ignored")


@dataclass
class Scene:
    """A folder with the table, a folder for temporary files, and what went wrong in it."""

    folder: Path
    faults: list[str] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """Folder of the results."""
        return self.folder / "out"

    @property
    def cache(self) -> Path:
        """Folder of what tasks leave."""
        return self.folder / "cache"

    def start(self, *more: str, most: int | None = None, out: Path | None = None) -> subprocess.Popen[str]:
        """Start the audit with two workers, in a process group of its own, with files of at most so many bytes."""
        command = [sys.executable, "-m", "proxyaudit.cli.main", "run", "recipe.yaml", "--out", str(out or self.out), "--jobs", "2", *more]
        environment = {
            **os.environ,
            "PROXYAUDIT_CACHE": str((out or self.out).with_name("cache")),
            "TMPDIR": str(self.folder / "temporary"),
            "OMP_NUM_THREADS": "1",
        }

        def prepare() -> None:
            for number in (signal.SIGINT, signal.SIGHUP):  # which a study in the background may be deaf to
                signal.signal(number, signal.SIG_DFL)
            if most is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=environment, start_new_session=True, preexec_fn=prepare, **pipes)

    def ended(self, process: subprocess.Popen[str], what: str) -> tuple[int, str]:
        """Exit code and last words, once the whole group is gone."""
        try:
            said = process.communicate(timeout=_LONGEST)[1]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said = process.communicate()[1]
            self.faults.append(f"{what}: it did not end")
        words = [line for line in said.splitlines() if line.strip()]
        self.faults += [f"{what}: {line[:200]}" for line in words if any(bad in line for bad in _BAD)]
        deadline = time.monotonic() + 20
        while members(process.pid):
            if time.monotonic() > deadline:
                self.faults.append(f"{what}: processes stayed alive")
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.02)
        self.faults += [f"{what}: {path} stayed" for path in Path("/dev/shm").glob(f"*{process.pid}*")]
        return process.returncode, words[-1] if words else ""

    def whole(self, what: str, jobs: int = 2) -> None:
        """Run it to its end, and see that it is the same and that nothing stayed."""
        code, said = self.ended(self.start("--jobs", str(jobs)), what)
        if code != 0:
            self.faults.append(f"{what}: exit code {code}, {said[:200]}")
        self.compare(what)

    @property
    def finished(self) -> bool:
        """Whether the run is whole, so that nothing is left to be disturbed."""
        return bool(list(self.out.glob("tiny/*/evidence.json")))

    def begin_anew(self) -> None:
        """Forget the run and what its tasks left."""
        for path in (self.out, self.cache):
            shutil.rmtree(path, ignore_errors=True)

    def compare(self, what: str) -> None:
        """See that the one run is that of nobody disturbing, that it can be verified, and that nothing stayed."""
        found = list(self.out.glob("tiny/*/evidence.json"))
        if [path.read_bytes() for path in found] != [undisturbed()]:
            self.faults.append(f"{what}: {len(found)} runs, not the same bytes")
        elif (code := verified(found[0].parent)) != 0:
            self.faults.append(f"{what}: verify says {code}")
        # Torch makes an empty folder of its own wherever it runs.
        left = [path for path in (self.folder / "temporary").iterdir() if not path.name.startswith("torchinductor")]
        for half_done in ("cache/*/.work-*", "cache/part/*", "out/tiny/*/.writing-*"):
            left += self.folder.glob(half_done)
        self.faults += [f"{what}: {path.relative_to(self.folder)} stayed" for path in left]


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """A fresh folder with a table and a recipe."""
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        (folder / "temporary").mkdir()
        rng = np.random.default_rng(0)
        sex = rng.choice(["f", "m"], 500)
        age = (rng.normal(40, 10, 500) + 6 * (sex == "m")).round(3)
        pay = np.where(age + rng.normal(0, 8, 500) > 43, "high", "low")
        pd.DataFrame({"age": age, "hours": rng.normal(38, 4, 500).round(3), "sex": sex, "pay": pay}).to_csv(
            folder / "real.csv", index=False
        )
        (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
        yield Scene(folder)


@cache
def undisturbed() -> bytes:
    """Evidence of a run that nobody disturbs, and how long it takes."""
    return _undisturbed()[0]


@cache
def seconds() -> float:
    """How long a run takes that nobody disturbs."""
    return _undisturbed()[1]


@cache
def _undisturbed() -> tuple[bytes, float]:
    with scene() as place:
        started = time.monotonic()
        code, said = place.ended(place.start(), "undisturbed")
        if code != 0 or place.faults:
            raise RuntimeError(f"the undisturbed run failed: {code}, {said}, {place.faults}")
        (found,) = place.out.glob("tiny/*/evidence.json")
        return found.read_bytes(), time.monotonic() - started


def verified(run: Path) -> int:
    """Exit code of ``verify``."""
    from proxyaudit.cli.main import main

    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        return main(["verify", str(run)])


def members(group: int) -> list[int]:
    """Processes of a group that run, its leader first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and state != "Z":
                found.append(int(stat.parent.name))
    return sorted(found, key=lambda one: (one != group, one))


def workers_of(group: int) -> list[int]:
    """Worker processes of a run."""
    found = []
    for one in members(group)[1:]:
        with contextlib.suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes():
                found.append(one)
    return found


def run_kill(seed: int, index: int) -> dict[str, Any]:
    """One run that is disturbed at random moments, taken up again each time, and in the end left alone."""
    draw = random.Random(f"{seed} kill {index}")
    with scene() as place:
        met = []
        for turn in range(KILLS_IN_A_ROW):
            way, moment = WAYS[(index * KILLS_IN_A_ROW + turn) % len(WAYS)], draw.uniform(0, seconds())
            process = place.start()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moment)
            hit = process.poll() is None and _strike(process, way, draw)
            code, said = place.ended(process, way)
            _judge(place, way if hit else "nobody", code, said)
            met.append([way, hit, round(moment, 2), code])
            if place.finished and turn + 1 < KILLS_IN_A_ROW:
                place.whole(way)  # who is killed outright cannot clear up; the next one does
                place.begin_anew()
        place.whole("resumed", jobs=1)
        return {"met": met, "kills": sum(hit for _, hit, *_ in met), "faults": place.faults}


def _strike(process: subprocess.Popen[str], way: str, draw: random.Random) -> bool:
    if way == "worker":
        workers = workers_of(process.pid)
        with contextlib.suppress(ProcessLookupError):
            if workers:
                os.kill(draw.choice(workers), signal.SIGKILL)
        return bool(workers)
    number = _SIGNALS[way.split()[0]]
    with contextlib.suppress(ProcessLookupError):
        if way.endswith("all"):
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    return True


def _judge(place: Scene, way: str, code: int, said: str) -> None:
    """What may come of it: the same bytes where a worker died, else one clear line."""
    if way in ("worker", "nobody"):
        allowed = {0}
    elif way.startswith("kill"):
        allowed = {0, -signal.SIGKILL}
    else:  # before the program takes signals, they end it as they end any
        allowed = {0, 130, -_SIGNALS[way.split()[0]]}
    if code not in allowed:
        place.faults.append(f"{way}: exit code {code}, {said[:200]}")
    if code == 130 and "interrupted" not in said:
        place.faults.append(f"{way}: it said '{said[:200]}'")


def run_round(seed: int, index: int) -> dict[str, Any]:
    """Three identical runs at once."""
    draw = random.Random(f"{seed} round {index}")
    with scene() as place:
        processes = []
        for _ in range(3):
            processes.append(place.start())
            time.sleep(draw.choice((0.0, 0.0, draw.uniform(0, seconds()))))
        ends = [place.ended(process, "at once") for process in processes]
        for code, said in ends:
            if not (code == 0 or (code == 2 and _NO_ROUND in said)):
                place.faults.append(f"at once: exit code {code}, {said[:200]}")
        if all(code for code, _ in ends):
            place.faults.append("at once: nobody made the run")
        place.compare("at once")
        return {"codes": [code for code, _ in ends], "faults": place.faults}


def run_disk(seed: int, index: int) -> dict[str, Any]:
    """A run on a disk that is too small (where none can be mounted, with a limit on files), and again on one that is large enough."""
    draw = random.Random(f"{seed} disk {index}")
    size = int(10 ** draw.uniform(4.5, 6))
    with scene() as place, _small_disk(place.folder / "small", size) as mounted:
        out = place.folder / "small" / "out" if mounted else None
        code, said = place.ended(place.start(most=None if mounted else size // 4, out=out), "full disk")
        if not (code == 0 or (code == 2 and ("no space" in said or "larger than is allowed" in said))):
            place.faults.append(f"full disk: exit code {code}, {said[:200]}")
        for path in () if out is None else (out, out.with_name("cache")):
            if path.exists():
                shutil.copytree(path, place.folder / path.name)
        place.whole("resumed", jobs=1)
        return {"size": size, "mounted": mounted, "code": code, "faults": place.faults}


@contextlib.contextmanager
def _small_disk(folder: Path, size: int) -> Iterator[bool]:
    folder.mkdir()
    size = max(size, 40_000)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    ).returncode
    try:
        yield mounted == 0
    finally:
        if mounted == 0:
            subprocess.run(["umount", str(folder)], check=True)


CASES: dict[str, Callable[[int, int], dict[str, Any]]] = {"kill": run_kill, "round": run_round, "disk": run_disk}


def run_case(seed: int, kind: str, index: int) -> dict[str, Any]:
    """One case of a kind."""
    return {"kind": kind, **CASES[kind](seed, index)}


def outcomes(lines: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """How often what came of it, by kind: of each kill, each run of a round, and each disk."""
    found: dict[str, Counter[str]] = {}
    for line in lines:
        count = found.setdefault(line["kind"], Counter())
        if line["kind"] == "kill":
            count.update(f"{way} ({code})" for way, hit, _, code in line["met"] if hit)
        else:
            count.update(f"exit code {code}" for code in line.get("codes", [line.get("code")]))
        count["faults"] += bool(line["faults"])
        count["series" if line["kind"] == "kill" else "cases"] += 1
    return found
