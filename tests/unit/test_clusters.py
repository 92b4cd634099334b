"""Engines of other people: what is lost is asked again, what cannot work is one line, and any backend of joblib will do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import joblib
import pytest
from joblib._parallel_backends import ThreadingBackend

import proxyaudit.clusters.calls
import proxyaudit.clusters.dask
import proxyaudit.workers
from proxyaudit.clusters.calls import TRIES, Calls, ClusterLostError, Lost, calls_on, make
from proxyaudit.clusters.dask import Cluster as Dask
from proxyaudit.errors import InputError, MachineError, TaskError
from proxyaudit.workers import Workers


class Engine:
    """Makes calls here, and is lost after so many in each round."""

    def __init__(self, *rounds: int) -> None:
        self.rounds, self.asked = list(rounds), list[int]()

    def calls(self, given: Calls) -> Iterator[tuple[int, Any]]:
        left = self.rounds.pop(0) if self.rounds else len(given.given)
        for place in given.given:
            if not left:
                raise ClusterLostError("it is gone")
            left -= 1
            self.asked.append(place)
            yield place, make(*given.call(place), given.shared)

    def close(self) -> None:
        """Nothing is open."""


def found_by(engine: Engine, count: int = 5) -> dict[int, Any]:
    return dict(calls_on(engine, "worker_calls:double", [(number,) for number in range(count)], (100,), ""))


@pytest.mark.parametrize("rounds", [(), (2,), (0, 3), (1, 0, 0, 2), (0, 0)])
def test_what_a_lost_cluster_did_not_tell_is_asked_again_and_nothing_else(rounds: tuple[int, ...]) -> None:
    engine = Engine(*rounds)
    assert found_by(engine) == {number: 100 + 2 * number for number in range(5)}
    assert engine.asked == [0, 1, 2, 3, 4]


def test_a_cluster_that_does_not_come_back_is_one_line() -> None:
    with pytest.raises(MachineError, match=r"the cluster is lost \(it is gone\) .* run the same command again: what is finished is kept"):
        found_by(Engine(2, *[0] * TRIES))


def test_calls_that_no_worker_outlived_are_told_and_what_a_call_raises_is_raised() -> None:
    class Dying(Engine):
        def calls(self, given: Calls) -> Iterator[tuple[int, Any]]:
            yield from ((place, Lost("killed")) for place in given.given)

    assert found_by(Dying(), 2) == {0: Lost("killed"), 1: Lost("killed")}
    with pytest.raises(TaskError, match=r"^ValueError: the value '\.\.\.' of \.\.\. rows$"):
        list(calls_on(Engine(), "worker_calls:fail", [("other",)], (), ""))
    with pytest.raises(InputError, match="the table is empty"):
        list(calls_on(Engine(), "worker_calls:fail", [("input",)], (), ""))


def test_a_worker_that_does_not_see_the_cache_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxyaudit.clusters.calls, "_SEEN_WITHIN", 0.0)
    with pytest.raises(InputError, match=r"does not see the cache \[--cache .*cache\]; name a folder on a disk that all machines share"):
        list(calls_on(Engine(), "worker_calls:double", [(1,)], (1,), str(tmp_path / "cache" / "lock")))
    (tmp_path / "lock").touch()
    assert list(calls_on(Engine(), "worker_calls:double", [(1,)], (1,), str(tmp_path / "lock"))) == [(0, 3)]


class Flaky(ThreadingBackend):  # type: ignore[misc]
    """Loses what it is given the first time."""

    lost: ClassVar[list[int]] = []

    def submit(self, func: Any, callback: Any = None) -> Any:
        if not self.lost:
            self.lost.append(1)
            raise RuntimeError("a worker was lost")
        return super().submit(func, callback)


def test_any_backend_that_joblib_knows_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[str] = []

    def register() -> None:
        registered.append("flaky")
        joblib.register_parallel_backend("flaky", Flaky)

    with pytest.raises(InputError, match="unknown backend 'flaky'"):
        Workers(2, "flaky")
    monkeypatch.setattr(proxyaudit.workers, "plugin_names", lambda group: ("flaky",) if group == "backends" else ())
    monkeypatch.setattr(proxyaudit.workers, "load_plugin", lambda group, name, where: register)
    monkeypatch.setattr(joblib.parallel, "BACKENDS", dict(joblib.parallel.BACKENDS))
    monkeypatch.setattr(proxyaudit.clusters.joblib, "BACKENDS", joblib.parallel.BACKENDS)
    for backend in ("flaky", "threading", "sequential"):
        with Workers(2, backend, shared=(100,)) as workers:
            assert dict(workers.run("worker_calls:double", [(1,), (2,), (3,)])) == {0: 102, 1: 104, 2: 106}
    assert registered == ["flaky"]
    assert Flaky.lost == [1]


@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_an_engine_that_is_not_installed_is_one_line(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ray", "dask", "dask.distributed", "distributed"):
        monkeypatch.setitem(sys.modules, module, None)
    with (
        Workers(1, backend, scheduler="tcp://nowhere:1") as workers,
        pytest.raises(InputError, match=rf"{backend} is not installed .*\.\[{backend}\]"),
    ):
        list(workers.run("worker_calls:double", [(1,)]))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "nowhere.json"])
def test_an_address_without_a_scheduler_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra 'dask' is not installed")
    monkeypatch.setattr(proxyaudit.clusters.dask, "ANSWER", 0.3)
    cluster = Dask(1, address)
    with pytest.raises(InputError, match=rf"no dask scheduler answers .*--scheduler {address}.*give what 'dask scheduler' prints"):
        list(cluster.calls(Calls("worker_calls:double", {0: (1,)}, b"", "key")))
    cluster.close()


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_what_has_no_scheduler_takes_no_address(backend: str) -> None:
    with pytest.raises(InputError, match=f"'{backend}' has no scheduler"):
        Workers(1, backend, scheduler="tcp://nowhere:1")
