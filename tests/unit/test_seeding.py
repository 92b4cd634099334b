"""Streams: by path, by nothing else."""

import subprocess
import sys

import numpy as np

from proxyaudit.seeding import integer_seed, stream


def test_paths_are_independent_and_repeat():
    assert np.array_equal(stream(1, "a", 2).random(4), stream(1, "a", 2).random(4))
    firsts = {float(stream(root, *path).random()) for root, path in [(0, ("a",)), (1, ("a",)), (0, ("b",)), (0, ("a", 0)), (0, ("a", "0"))]}
    assert len(firsts) == 5


def test_no_path_runs_into_another():
    assert stream(0, "a", "b").random() != stream(0, "ab").random()


def test_same_in_another_process_with_another_hash_seed():
    code = "from proxyaudit.seeding import integer_seed; print(integer_seed(7, 'x', 3))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"})
    assert int(out.stdout) == integer_seed(7, "x", 3)
