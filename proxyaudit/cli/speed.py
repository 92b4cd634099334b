"""How fast this machine is: what a plan predicts, it predicts of another one."""

import time
from typing import Final

import numpy as np

from proxyaudit.threads import one_thread

NOMINAL: Final = 0.0225  # processor seconds of :func:`work` on the machine that predictions are of
_TRIES: Final = 4  # the best counts: others slow each of them down


def work() -> float:
    """Processor seconds of a little of what audits do: products of matrices, exponentials, sorting, and Python itself."""
    rng = np.random.default_rng(0)
    square, values = rng.random((384, 384), dtype=np.float32), rng.random(200_000)
    start, total = time.process_time(), 0
    for _ in range(6):
        square = square @ square
        square /= square.max()
        np.exp(-values).sum()
    np.sort(values)
    for number in range(120_000):
        total += number & 7
    return time.process_time() - start


def slowness() -> float:
    """How many times as long this machine takes, between a quarter and ten.

    By the root of what this little work takes: a machine that took 1.4 times as long over it took no longer over a whole audit.
    """
    with one_thread():
        return float(np.clip(np.sqrt(min(work() for _ in range(_TRIES)) / NOMINAL), 0.25, 10.0))
