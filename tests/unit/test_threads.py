"""One thread for each task, and no flags of kernels told as warnings."""

from __future__ import annotations

import os
import subprocess
import sys
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


def test_torch_is_not_loaded_for_it_and_has_one_thread_where_it_is_loaded_inside() -> None:
    program = """
import os, sys
from proxyaudit.threads import one_thread
with one_thread():
    assert "torch" not in sys.modules
    import torch
    print(torch.get_num_threads(), "OMP_NUM_THREADS" in os.environ)
"""
    own = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    own["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, "-c", program], env=own, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "True"]


@pytest.mark.parametrize("before", [None, "3"])
def test_the_environment_is_as_before_when_it_ends(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if before is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    with one_thread():
        assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.environ.get("OMP_NUM_THREADS") == before
