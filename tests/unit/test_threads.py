"""One thread for each task, and no flags of kernels told as warnings."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from proxyaudit.threads import one_thread


@pytest.mark.parametrize("kind", ["invalid value", "divide by zero", "overflow"])
def test_what_kernels_of_products_flag_is_not_told(kind: str) -> None:
    with one_thread(), warnings.catch_warnings(record=True) as caught:
        warnings.warn(f"{kind} encountered in matmul", RuntimeWarning, stacklevel=1)
    assert not caught


def test_all_else_is_told() -> None:
    with one_thread(), pytest.warns(RuntimeWarning, match="divide by zero encountered in divide"):
        np.ones(1) / np.zeros(1)
    with pytest.warns(RuntimeWarning, match="other"), one_thread():
        warnings.warn("other", RuntimeWarning, stacklevel=1)


def test_threads_are_as_before_when_it_ends() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
