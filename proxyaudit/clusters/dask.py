"""Calls on a dask cluster: one whose scheduler has an address, or one of this machine."""

import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import Any

from proxyaudit.clusters.calls import Calls, ClusterLostError, Lost, make, unable
from proxyaudit.errors import InputError

ANSWER, RETURN = 30.0, 120.0  # seconds in which a scheduler must answer at first, and in which one that is lost may come back
JOIN = 600.0  # seconds that are waited for a worker, where there is none
_LOOK = 5.0  # seconds between two looks at whether there are workers


class Cluster:
    """A dask cluster; it is looked for, or started, at the first call."""

    def __init__(self, count: int, address: str | None) -> None:
        """Of ``count`` workers where there is no ``address``."""
        self.count, self.address = count, address
        self.client: Any = None
        self.own: Any = None  # a cluster that was started here
        self.sent: tuple[str, Any] | None = None  # what all calls take: its key, and what stands for it there
        self.lost = False

    def calls(self, given: Calls) -> Iterator[tuple[int, Any]]:
        """Make calls there; see :class:`~proxyaudit.clusters.calls.Engine`."""
        try:
            if self.client is None:
                self._connect()
            yield from self._told(given)
        except (CancelledError, OSError, TimeoutError) as error:  # of the connection, or of what the scheduler knew
            self.close()
            self.lost = True
            raise ClusterLostError(type(error).__name__) from None

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        for one in (self.client, self.own):
            if one is not None:
                with suppress(Exception):
                    one.close(timeout=5)
        self.client = self.own = self.sent = None

    def _connect(self) -> None:
        try:
            from dask.distributed import Client, LocalCluster
        except ImportError:
            raise InputError("dask is not installed", where="--backend dask", mend="pip install '.[dask]' in your clone") from None
        if self.address is None:
            self.own = LocalCluster(n_workers=self.count, threads_per_worker=1, dashboard_address=None)
            self.client = Client(self.own)
            return
        is_file = Path(self.address).suffix == ".json"
        try:
            if is_file:
                Path(self.address).read_bytes()  # dask would wait for it without end
            self.client = Client(**{"scheduler_file" if is_file else "address": self.address}, timeout=RETURN if self.lost else ANSWER)
        except (OSError, ValueError, TypeError) as error:
            mend = "give what 'dask scheduler' prints, e.g. tcp://10.0.0.1:8786, or its --scheduler-file"
            where = f"--scheduler {self.address}"
            raise InputError(f"no dask scheduler answers ({type(error).__name__})", where=where, mend=mend) from None
        try:
            self.client.wait_for_workers(1, timeout=JOIN)
        except TimeoutError:
            mend = "start some with 'dask worker', and give its address"
            raise InputError("the dask scheduler has no worker", where=f"--scheduler {self.address}", mend=mend) from None

    def _told(self, given: Calls) -> Iterator[tuple[int, Any]]:
        from dask.distributed import KilledWorker, wait

        if self.sent is None or self.sent[0] != given.key:
            self.sent = given.key, self.client.scatter([given.shared], broadcast=True, hash=False)[0]
        pending = {self.client.submit(make, *given.call(place), self.sent[1], pure=False): place for place in given.given}
        alone = time.monotonic()
        while pending:
            try:
                ended = wait(list(pending), timeout=_LOOK, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                if self.client.status != "running":
                    raise ClusterLostError("the scheduler does not answer") from None
                if self.client.scheduler_info(n_workers=-1)["workers"]:
                    alone = time.monotonic()
                elif time.monotonic() - alone > JOIN:
                    raise ClusterLostError("it has no worker") from None
                continue
            for future in ended:
                place = pending.pop(future)
                try:
                    yield place, future.result()
                except KilledWorker:
                    yield place, Lost("its worker processes died")
                except (CancelledError, OSError, TimeoutError):
                    raise
                except Exception as error:  # what a call raises comes as its result
                    yield place, (False, unable(error))
