"""How many threads numbers are computed with."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_TOLD = "OMP_NUM_THREADS"


@contextmanager
def one_thread() -> Iterator[None]:
    """Fix the threads of one task, whatever the number of workers: bytes must not depend on it.

    Torch is not loaded for that. Where it is not there yet, what is loaded inside is told so by the environment, and keeps to it.
    """
    torch, told = sys.modules.get("torch"), os.environ.get(_TOLD)
    before = 1 if torch is None else torch.get_num_threads()
    if torch is None:
        os.environ[_TOLD] = "1"
    else:
        torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1), warnings.catch_warnings():
            # Kernels of products set flags for lanes that hold no number; finite products of finite numbers were told as invalid.
            warnings.filterwarnings("ignore", r".* encountered in matmul", RuntimeWarning)
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)
        elif told is None:
            del os.environ[_TOLD]
        else:
            os.environ[_TOLD] = told
