"""Calls on any backend that joblib knows: its own, and those that a package has registered."""

from collections.abc import Iterator
from typing import Any

import joblib
from joblib.parallel import BACKENDS, EXTERNAL_BACKENDS

from proxyaudit.clusters.calls import Calls, ClusterLostError, make


def names() -> tuple[str, ...]:
    """Backends that are registered, sorted."""
    return tuple(sorted({*BACKENDS, *EXTERNAL_BACKENDS} - {"loky", "dask", "ray"}))


class Cluster:
    """What joblib knows by the name of a backend; joblib keeps what it starts."""

    def __init__(self, backend: str, count: int) -> None:
        """Of ``count`` workers."""
        self.backend, self.count = backend, count

    def calls(self, given: Calls) -> Iterator[tuple[int, Any]]:
        """Make calls there; see :class:`~proxyaudit.clusters.calls.Engine`."""
        with joblib.parallel_config(backend=self.backend, n_jobs=self.count):
            generates = joblib.parallel.get_active_backend()[0].supports_return_generator
            parallel = joblib.Parallel(return_as="generator_unordered" if generates else "list", batch_size=1)
            try:
                yield from parallel(joblib.delayed(_placed)(place, *given.call(place), given.shared) for place in given.given)
            except Exception as error:  # what a call raises comes as its result: this is the backend's own
                raise ClusterLostError(type(error).__name__) from None

    def close(self) -> None:
        """Nothing is left open."""


def _placed(place: int, *call: Any) -> tuple[int, tuple[bool, Any]]:
    return place, make(*call)
