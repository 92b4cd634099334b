"""Calls on a ray cluster: one that has an address, or one of this machine."""

import logging
import os
from collections.abc import Iterator
from typing import Any

from proxyaudit.clusters.calls import TRIES, Calls, Lost, make, unable
from proxyaudit.errors import InputError

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}  # nothing is told to anybody
_LOOK = 60.0  # seconds


class Cluster:
    """A ray cluster; it is looked for, or started, at the first call."""

    def __init__(self, count: int, address: str | None) -> None:
        """Of ``count`` workers where there is no ``address``."""
        self.count, self.address = count, address
        self.ray: Any = None
        self.sent: tuple[str, Any] | None = None  # what all calls take: its key, and what stands for it there

    def calls(self, given: Calls) -> Iterator[tuple[int, Any]]:
        """Make calls there; see :class:`~proxyaudit.clusters.calls.Engine`."""
        if self.ray is None:
            self._connect()
        ray = self.ray
        if self.sent is None or self.sent[0] != given.key:
            self.sent = given.key, ray.put(given.shared)
        remote = ray.remote(num_cpus=1, max_retries=TRIES - 1)(make)
        pending = {remote.remote(*given.call(place), self.sent[1]): place for place in given.given}
        while pending:
            ended, _ = ray.wait(list(pending), timeout=_LOOK)
            for ref in ended:
                place = pending.pop(ref)
                try:
                    yield place, ray.get(ref)
                except ray.exceptions.RayTaskError as error:  # what a call raises comes as its result
                    yield place, (False, unable(error))
                except ray.exceptions.RayError as error:
                    yield place, Lost(f"its worker processes died ({type(error).__name__})")

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self.ray is not None:
            self.ray.shutdown()
        self.ray = self.sent = None

    def _connect(self) -> None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError:
            raise InputError("ray is not installed", where="--backend ray", mend="pip install '.[ray]' in your clone") from None
        own: dict[str, Any] = {"address": "local", "num_cpus": self.count, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **(own if self.address is None else {"address": self.address}))
        except (ConnectionError, ValueError, OSError, RuntimeError) as error:
            where, mend = f"--scheduler {self.address}", "give the address that 'ray start --head' prints, e.g. 10.0.0.1:6379, or auto"
            raise InputError(f"no ray cluster answers ({type(error).__name__})", where=where, mend=mend) from None
        self.ray = ray
