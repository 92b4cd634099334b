"""Benchmarks: how fast the parts are, beside what they replace or beside what cannot be avoided.

They are long, carry the marker ``study`` and so are never part of the default run. The one command that runs them:

    python -m pytest tests/benchmarks -m study -n 0 --benchmark-disable-gc

Nothing here asserts a time: cores are shared and machines differ. Two sides of a comparison run in turns within one test, and
the median of the ratios of neighbouring turns is what counts; absolute seconds are printed beside it. Each test prints one
line for each figure and keeps the same figures in pytest-benchmark's ``extra_info`` (``--benchmark-json=FILE`` writes them).
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from proxyaudit.data.attributes import Attribute


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count):
            yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class Turns:
    """Seconds of two sides that ran in turns."""

    ours_s: NDArray[np.float64]
    theirs_s: NDArray[np.float64]

    @property
    def ours(self) -> float:
        return float(np.median(self.ours_s))

    @property
    def theirs(self) -> float:
        return float(np.median(self.theirs_s))

    @property
    def ratio(self) -> float:
        """Median of theirs / ours over neighbouring turns."""
        return float(np.median(self.theirs_s / self.ours_s))


@dataclass(frozen=True)
class Planned:
    """Rows that are probed."""

    attributes: tuple[Attribute, ...]
    clusters: NDArray[np.int64]


def _activations(n: int, d: int, seed: int = 0) -> NDArray[np.float32]:
    """Rectified units of a decaying low-rank signal and a little noise: correlated, skewed, never quite singular."""
    rng = np.random.default_rng([seed, n, d])
    rank = max(2, d // 4)
    mixing = rng.standard_normal((rank, d)) * np.geomspace(3, 0.1, rank)[:, None]
    raw = rng.standard_normal((n, rank)) @ mixing + 0.3 * rng.standard_normal((n, d))
    return np.maximum(raw, 0.0).astype(np.float32)


def _labels(acts_nd: NDArray[Any], rate: float, strength: float, seed: int) -> NDArray[np.int64]:
    """Two classes of a base rate that depend on a random direction of the standardised units."""
    rng = np.random.default_rng([seed, *acts_nd.shape])
    score = acts_nd @ rng.standard_normal(acts_nd.shape[1]).astype(np.float32)
    noisy = strength * (score - score.mean()) / score.std() + rng.logistic(size=len(score))
    return (noisy > np.quantile(noisy, 1 - rate)).astype(np.int64)


@pytest.fixture
def threads() -> Callable[[int], Any]:
    """Context manager that fixes the threads of torch and BLAS."""
    return _threads


@pytest.fixture
def activations() -> Callable[..., NDArray[np.float32]]:
    return _activations


@pytest.fixture
def labels() -> Callable[..., NDArray[np.int64]]:
    return _labels


@pytest.fixture
def rows() -> Callable[[NDArray[Any], int], Planned]:
    """Binary attributes of several strengths on given activations; each row stands alone."""

    def make(acts_nd: NDArray[Any], count: int) -> Planned:
        kinds = [(0.4, 0.0), (0.3, 0.3), (0.5, 0.8), (0.2, 1.5), (0.35, 0.1), (0.45, 0.5), (0.25, 0.2), (0.15, 1.0)]
        codes = [_labels(acts_nd, rate, strength, seed=i) for i, (rate, strength) in enumerate(kinds[:count])]
        attributes = tuple(Attribute(f"a{i}", "protected", "binary", ("no", "yes"), c) for i, c in enumerate(codes))
        return Planned(attributes, np.arange(len(acts_nd)))

    return make


@pytest.fixture
def in_turns(benchmark: Any) -> Callable[..., Turns]:
    """Run ``theirs`` and ``ours`` in turns; pytest-benchmark times ``ours``. Each side is run once before, unless ``warm`` is off."""

    def run(ours: Callable[[], Any], theirs: Callable[[], Any], *, rounds: int, warm: bool = True) -> Turns:
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}

        def timed(name: str, call: Callable[[], Any]) -> None:
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)

        if warm:
            theirs()
            ours()

        def before() -> None:
            gc.collect()
            timed("theirs", theirs)

        benchmark.pedantic(lambda: timed("ours", ours), setup=before, rounds=rounds)
        return Turns(np.array(seconds["ours"]), np.array(seconds["theirs"]))

    return run


@pytest.fixture
def say(benchmark: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Print one line, captured or not, and keep its figures."""

    def tell(line: str, **figures: Any) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n  {line}\n")
            sys.stdout.flush()
        benchmark.extra_info.setdefault("lines", []).append(line)
        benchmark.extra_info.update(figures)

    return tell
