"""What is larger than memory: stored activations that are probed, measured from outside the process that does the work."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from proxyaudit.activations.layouts import find_layout

# What, rows, dimensions (columns) and sites (files): the activations are 8 GB in half precision.
CASES: Final = (("activations", 122_000, 4096, 8),)
_AT_ONCE: Final = 4000


def run_case(seed: int, what: str, rows: int, width: int, count: int) -> dict[str, Any]:
    """Seconds and the largest memory of one command."""
    with tempfile.TemporaryDirectory() as folder:
        return {"activations": _activations}[what](Path(folder), seed, rows, width, count)


def measured(arguments: list[str]) -> tuple[float, float, str]:
    """Seconds, gigabytes at most and what it printed, of a command of one thread."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "proxyaudit.cli.main", *arguments], env=os.environ | one_thread, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6 * 1.024, done.stdout


def _activations(folder: Path, seed: int, rows: int, width: int, sites: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    sex = rng.integers(0, 2, rows)
    (folder / "acts").mkdir()
    mixing = rng.normal(size=(64, width)).astype(np.float32)
    for site in range(sites):
        mapped = np.lib.format.open_memmap(folder / "acts" / f"layer{site}.npy", "w+", np.float16, (rows, width))
        for start in range(0, rows, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            values = rng.standard_normal((len(sex[part]), width), dtype=np.float32)
            values += rng.standard_normal((len(values), 64), dtype=np.float32) @ mixing
            values[:, site] += 0.5 * sex[part]
            mapped[part] = values
        mapped.flush()
        del mapped
    pd.DataFrame({"sex": np.where(sex == 1, "f", "m")}).to_csv(folder / "labels.csv", index=False)
    stored = find_layout(folder / "acts", rows).sites
    start = time.perf_counter()
    for site in stored.values():
        for part in range(0, rows, _AT_ONCE):
            site.parts[0].read(slice(part, part + _AT_ONCE)).sum()
    reading = time.perf_counter() - start
    start = time.perf_counter()
    _whiten_once(stored["layer0"], rows, width)
    whitening = (time.perf_counter() - start) * sites
    given = ["probe", "--activations", f"real={folder / 'acts'}", "--labels", str(folder / "labels.csv"), "--attribute", "sex"]
    seconds, gigabytes, _ = measured([*given, "--cache", str(folder / "cache"), "--out", str(folder / "out"), "--jobs", "2"])
    size = {"rows": rows, "dimensions": width, "sites": sites, "gigabytes_on_disk": round(2 * rows * width * sites / 1e9, 1)}
    times = {"reading": round(reading), "whitening": round(whitening), "probe": round(seconds)}
    return {**size, **times, "memory": round(gigabytes, 2)}


def _whiten_once(site: Any, rows: int, width: int) -> None:
    """Exact whitening of all rows in double precision, a block at a time: one pass for the covariance, one for the coordinates."""
    total, products = np.zeros(width), np.zeros((width, width))
    for start in range(0, rows, _AT_ONCE):
        x = site.parts[0].read(slice(start, start + _AT_ONCE)).astype(np.float64)
        total += x.sum(axis=0)
        products += x.T @ x
    mean = total / rows
    values, vectors = np.linalg.eigh(products / rows - np.outer(mean, mean))
    axes = vectors / np.sqrt(values)
    for start in range(0, rows, _AT_ONCE):
        (site.parts[0].read(slice(start, start + _AT_ONCE)) - mean) @ axes
