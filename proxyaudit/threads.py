"""How many threads numbers are computed with."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Fix the threads of one task, whatever the number of workers: bytes must not depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1), warnings.catch_warnings():
            # Kernels of products set flags for lanes that hold no number; finite products of finite numbers were told as invalid.
            warnings.filterwarnings("ignore", r".* encountered in matmul", RuntimeWarning)
            yield
    finally:
        torch.set_num_threads(before)
